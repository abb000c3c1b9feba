//! A log's directory for one run, in memory: nothing here fills a disk or asks what one holds.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::second::script::Files;

/// A directory that is gone when this is dropped.
pub struct Folder(PathBuf);

static MADE: AtomicU64 = AtomicU64::new(0);

impl Folder {
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("maplog-fuzz-{}-{number}", std::process::id()));
        // What a fuzzer that crashed under the same number left behind.
        let _none = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    /// A directory that holds these files and no page: as after a power cut.
    pub fn of(files: &Files) -> Self {
        let folder = Folder::new();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for Folder {
    fn default() -> Self {
        Folder::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _as_well_as_it_can = fs::remove_dir_all(&self.0);
    }
}

/// The segment files in `path`.
pub fn segments(path: &Path) -> Files {
    let mut files = Files::new();
    for entry in fs::read_dir(path).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".seg") {
            let bytes = fs::read(path.join(&name)).unwrap();
            files.insert(name, bytes);
        }
    }
    files
}
