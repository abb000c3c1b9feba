//! The directory that the runs write to, on the file system of the build: on tmpfs nothing here would
//! mean anything.

use std::fs;
use std::path::{Path, PathBuf};

pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        let program = std::env::current_exe().expect("this program");
        let target = program.ancestors().nth(2).expect("target/release/maplog-peers");
        let tmp = target.join("tmp");
        fs::create_dir_all(&tmp).expect("the build's own directory");
        remove_left_over(&tmp);
        let path = tmp.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&path).expect("a directory of its own");
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// An empty directory, in the place of the one before.
    pub fn fresh(&self) -> PathBuf {
        let run = self.0.join("run");
        drop(fs::remove_dir_all(&run));
        fs::create_dir(&run).expect("the bench's own directory");
        run
    }
}

const PREFIX: &str = "peers-";

/// What a bench left that was killed.
fn remove_left_over(tmp: &Path) {
    for entry in fs::read_dir(tmp).expect("a directory").flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
