//! A log's pages, touched before anything is measured: its segment is allocated whole, and every page put
//! into the page table of whoever will use it, in the mappings that the log itself uses.

use std::fs::OpenOptions;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::mm::Advice;

/// What a segment needs beyond its records: its header, and the pages that an appender wants ahead.
pub const HEADROOM_BYTES: u64 = 512 * 1024;

/// For whoever opened the log here, to append with `LinuxPopulateWrite`, to read with `LinuxPopulateRead`; a
/// reader has a mapping when it has read something.
#[allow(unsafe_code)]
pub fn touch(log: &Path, advice: Advice) {
    let segment = segment_of(log);
    let file = OpenOptions::new().write(true).open(&segment).expect("the log's segment");
    let mappings = own_mappings(&segment, advice == Advice::LinuxPopulateWrite);
    assert!(!mappings.is_empty(), "{} is mapped", segment.display());
    for mapping in mappings {
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, mapping.len() as u64)
            .expect("room");
        let base = std::ptr::with_exposed_provenance_mut(mapping.start);
        // SAFETY: the range is one mapping of this process, and populating it changes no byte.
        let touched = unsafe { rustix::mm::madvise(base, mapping.len(), advice) };
        touched.expect("pages (Linux 5.14)");
    }
}

/// The one segment file of a log.
pub fn segment_of(log: &Path) -> PathBuf {
    let entries = std::fs::read_dir(log).expect("the log's directory");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "seg");
    let mut segments = files.filter(is_segment);
    let segment = segments.next().expect("a segment");
    assert!(segments.next().is_none(), "the run fits one segment");
    segment
}

/// Where this process has mapped `file`, to write to it or not.
fn own_mappings(file: &Path, to_write: bool) -> Vec<Range<usize>> {
    let file = file.canonicalize().expect("a file that exists");
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc");
    let of_file = maps.lines().filter(|line| line.ends_with(&*file.to_string_lossy()));
    let range = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        (rest.starts_with("rw") == to_write).then_some(range)
    };
    of_file.filter_map(range).collect()
}
