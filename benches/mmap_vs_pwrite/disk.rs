//! What was written to the disk.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Bytes that this process made the disk write, as the kernel counts them (proc_pid_io(5)): a page counts
/// when it becomes dirty. 0 where the kernel does not count.
pub fn written_by_process() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

/// Bytes that everybody wrote to the disk that holds `dir`. 0 where there is none, as on tmpfs.
pub fn written_to_device(dir: &Path) -> u64 {
    const SECTOR: u64 = 512;
    // The seventh field (Documentation/block/stat.rst).
    let stat = fs::read_to_string(device(dir).join("stat")).unwrap_or_default();
    let sectors = stat.split_whitespace().nth(6).and_then(|sectors| sectors.parse::<u64>().ok());
    sectors.unwrap_or(0) * SECTOR
}

/// Does the disk want a page to stay as it is while it is written? Then a store into it waits.
pub fn stable_writes(dir: &Path) -> &'static str {
    let device = device(dir);
    // A partition's queue is its disk's.
    let queues = ["queue", "../queue"].map(|queue| device.join(queue).join("stable_writes"));
    match queues.iter().find_map(|queue| fs::read_to_string(queue).ok()).as_deref().map(str::trim) {
        Some("0") => "pages may change while they are written",
        Some("1") => "pages may not change while they are written",
        _ => "whether pages may change while they are written, nobody says",
    }
}

fn device(dir: &Path) -> PathBuf {
    let device = fs::metadata(dir).expect("the bench's directory").dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    PathBuf::from(format!("/sys/dev/block/{major}:{minor}"))
}
