//! A coordination page that is live in a directory where it was not made: as if the files had
//! stayed where a process died.

use std::fs;
use std::path::Path;

use crate::dir::whereabouts;
use crate::format::{name, page};
use crate::map::PageMap;

/// False if the page was just being initialised, and so is live nowhere.
pub(super) fn write_live(dir: &Path, bytes: &[u8]) -> bool {
    let path = dir.join(name::SHARED);
    fs::write(&path, bytes).unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let here = whereabouts(&file).unwrap();
    let map = PageMap::new(&file, true).unwrap();
    map.store(page::MOUNT_ID, here.mount_id);
    map.store(page::INODE, here.inode);
    map.store(page::BIRTH_SECONDS, here.birth_seconds);
    map.store(page::BIRTH_NANOS, here.birth_nanos);
    map.load(page::MAGIC) == page::MAGIC_WORD
}
