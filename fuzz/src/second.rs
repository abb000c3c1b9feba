//! The tests' second reader, which is written from docs/format.md alone and shares no line with the crate:
//! the truth that the targets hold maplog to. And what it says of a log that goes on.
#![allow(dead_code)]

#[path = "../../tests/it/golden/format.rs"]
pub mod format;
#[path = "../../tests/it/golden/reader.rs"]
pub mod reader;

pub mod script {
    use std::collections::BTreeMap;

    /// The segment files of a log: name and bytes.
    pub type Files = BTreeMap<String, Vec<u8>>;
}

use format::{HEADER_BYTES, Slot};
use reader::{End, Found, Seen, read_all, segments};
use script::Files;

/// As `reader::read_below`, once a segment of a higher id has its base at `end`: by its name alone it ends the one before,
/// which is read to the end of its file.
pub fn read_cut(files: &Files, first_seq: u64, end: End) -> Found {
    let mut segments = segments(files, end.segment_id);
    if let Some(last) = segments.last_mut() {
        last.share.end = end.seq;
    }
    read_all(&segments, first_seq, end.seq)
}

/// True if who comes from the start of the end's segment finds a frame that is written at `end`.
pub fn leads_to(files: &Files, end: End) -> bool {
    let mut segments = segments(files, end.segment_id);
    let Some(last) = segments.last_mut().filter(|last| last.header.is_some()) else {
        return false;
    };
    last.bytes.truncate(usize::try_from(end.offset).unwrap_or(usize::MAX));
    let (mut at, mut seq) = (HEADER_BYTES, last.share.start);
    loop {
        last.walk(&mut at, &mut seq, |_, _| {}, |_| {});
        match last.resync(at, seq) {
            Some(found) => (at, seq) = found,
            None => break,
        }
    }
    let behind = end.offset.checked_sub(at as u64);
    behind.is_some_and(|bytes| (seq..=seq + bytes / 16).contains(&end.seq))
}

/// A page's end, moved behind the one append that may stand there.
pub fn past_one_append(files: &Files, end: End) -> End {
    match seen_at(files, end) {
        Some(Seen::Records(payloads, next)) => {
            let seq = end.seq + payloads.len() as u64;
            End { offset: next as u64, seq, ..end }
        }
        _ => end,
    }
}

/// The newest valid slot of the segment `id`, if that counts.
pub fn newest_slot(files: &Files, id: u64) -> Option<Slot> {
    segments(files, u64::MAX).iter().find(|segment| segment.id == id)?.newest()
}

/// What stands at `end`, if that is a place.
pub fn seen_at(files: &Files, end: End) -> Option<Seen> {
    let segments = segments(files, end.segment_id);
    let segment = segments.last().filter(|segment| segment.id == end.segment_id)?;
    let at = usize::try_from(end.offset).ok()?;
    let is_a_place = at.is_multiple_of(16) && (HEADER_BYTES..=segment.bytes.len()).contains(&at);
    is_a_place.then(|| segment.look(at, end.seq))
}
