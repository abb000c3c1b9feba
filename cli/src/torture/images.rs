//! A log's segments as bytes in memory, and what a power cut may leave of them.
//!
//! A power cut keeps what was synced, and of what was stored since, any sectors. From outside one cannot
//! see what a log synced by itself, so only these images are fair: between `before`, which was taken when a
//! sync had returned and nothing was appended since, and `now`, nobody asked for a sync. Headers, slots and names
//! are those of `now`: the log syncs them before it goes on. What frames were stored between the two may be there or not,
//! sector by sector; of a segment that was only rolled into, even the name may be gone.
//!
//! Does not know: what a log makes of them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use fastrand::Rng;

use super::frames::DATA_START;
use super::names::is_segment;

/// Segment files by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// What disks write whole or not at all.
pub(crate) const SECTOR_BYTES: usize = 512;
const PAGE_BYTES: usize = 4096;

/// The segments of a log that stands still.
pub(crate) fn read(log: &Path) -> io::Result<Files> {
    let mut files = Files::new();
    for entry in fs::read_dir(log)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if is_segment(&name) {
            files.insert(name, fs::read(&path)?);
        }
    }
    Ok(files)
}

/// Makes `log` a log of these segments, whatever it was.
pub(crate) fn write(log: &Path, files: &Files) -> io::Result<()> {
    match fs::remove_dir_all(log) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir(log)?,
    }
    files.iter().try_for_each(|(name, bytes)| fs::write(log.join(name), bytes))
}

/// Puts the coordination page of `log` into a copy of it. There it is another file, so nobody may believe it.
pub(crate) fn add_stale_page(log: &Path, copy: &Path) -> io::Result<()> {
    fs::copy(log.join("shared"), copy.join("shared")).map(drop)
}

/// What a power cut may leave.
pub(crate) fn after_power_cut(before: &Files, now: &Files, rng: &mut Rng) -> Files {
    let mut left = now.clone();
    for (name, bytes) in &mut left {
        let old = before.get(name).map_or(&[][..], Vec::as_slice);
        mix_sectors(bytes, old, rng);
    }
    left
}

/// Which of the sectors that changed are old again: as the dice fall, page by page, all but one, none
/// but one, all behind some place.
fn mix_sectors(bytes: &mut [u8], old: &[u8], rng: &mut Rng) {
    let unit = if rng.bool() { SECTOR_BYTES } else { PAGE_BYTES };
    let changed: Vec<usize> = (DATA_START..bytes.len())
        .step_by(unit)
        .filter(|at| !is_old(bytes, old, *at, unit))
        .collect();
    if changed.is_empty() {
        return;
    }
    let one = rng.usize(..changed.len());
    let way = rng.u8(..6);
    let share = rng.f64();
    for (index, at) in changed.into_iter().enumerate() {
        let is_lost = match way {
            0 => index == one,
            1 => index != one,
            2 => index >= one,
            3 => index < one,
            4 => index / 4 == one / 4,
            _ => rng.f64() < share,
        };
        if is_lost {
            restore(bytes, old, at, unit);
        }
    }
}

fn is_old(bytes: &[u8], old: &[u8], at: usize, unit: usize) -> bool {
    (at..bytes.len().min(at + unit)).all(|at| bytes[at] == old.get(at).copied().unwrap_or(0))
}

/// The bytes as they were before; zeros where the file was shorter.
pub(crate) fn restore(bytes: &mut [u8], old: &[u8], at: usize, count: usize) {
    for at in at..bytes.len().min(at + count) {
        bytes[at] = old.get(at).copied().unwrap_or(0);
    }
}
