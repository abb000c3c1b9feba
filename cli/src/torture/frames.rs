//! Where a log's frames lie in its files, by docs/format.md: read only where nothing was harmed, so that what
//! is harmed then is known by its sequence numbers.
//!
//! Does not know: checksums.

use std::rc::Rc;

use super::images::Files;

/// Before a segment's frames.
pub(crate) const DATA_START: usize = 8192;
/// Before a frame's payload.
pub(crate) const HEADER_BYTES: usize = 16;
/// A mark with its header.
pub(crate) const MARK_BYTES: usize = 32;

/// A frame, as its first word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Single,
    First,
    Middle,
    Last,
    /// With the position that it claims durable.
    Mark(u64),
}

/// A frame of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The name of its segment's file.
    pub(crate) file: Rc<str>,
    /// Where it begins there.
    pub(crate) at: usize,
    /// Bytes of header and payload.
    pub(crate) bytes: usize,
    pub(crate) what: What,
    /// Its record's number; of a mark, the next record's.
    pub(crate) seq: u64,
}

impl Frame {
    pub(crate) fn is_record(&self) -> bool {
        !matches!(self.what, What::Mark(_))
    }

    /// Where the next one begins.
    pub(crate) fn end(&self) -> usize {
        self.at + self.bytes.next_multiple_of(16)
    }
}

/// The segments that count, in order, with where their share ends.
pub(crate) fn shares(files: &Files) -> Vec<(&str, u64, u64)> {
    let named = |name: &str| {
        let (base, id) = name.strip_suffix(".seg")?.split_once('-')?;
        Some((id.parse::<u64>().ok()?, base.parse::<u64>().ok()?))
    };
    let mut segments: Vec<_> =
        files.keys().filter_map(|name| named(name).map(|(id, base)| (id, base, name))).collect();
    segments.sort();
    let mut end = u64::MAX;
    let mut shares = Vec::new();
    for (_, base, name) in segments.into_iter().rev() {
        if base < end {
            shares.push((name.as_str(), base, end));
            end = base;
        }
    }
    shares.reverse();
    shares
}

/// All frames of the log but end frames, in order.
pub(crate) fn walk(files: &Files) -> Vec<Frame> {
    let shares = shares(files).into_iter();
    shares.flat_map(|(name, base, end)| walk_share(&files[name], name, base, end)).collect()
}

/// The frames of one segment's share.
pub(crate) fn walk_share(bytes: &[u8], name: &str, base: u64, end: u64) -> Vec<Frame> {
    let name: Rc<str> = name.into();
    let mut frames = Vec::new();
    let (mut at, mut seq) = (DATA_START, base);
    while let Some(frame) = look(bytes, &name, at, seq) {
        if frame.is_record() {
            if seq == end {
                break;
            }
            seq += 1;
        }
        at = frame.end();
        frames.push(frame);
    }
    frames
}

/// The frame at `at`, if one that fits there was committed.
pub(crate) fn look(bytes: &[u8], name: &Rc<str>, at: usize, seq: u64) -> Option<Frame> {
    let word = number(bytes.get(at..at + 4)?);
    let len = (word & 0x0fff_ffff) as usize;
    let payload = bytes.get(at + HEADER_BYTES..at + HEADER_BYTES + len)?;
    let what = match word >> 28 {
        1 => What::Single,
        2 => What::First,
        3 => What::Middle,
        4 => What::Last,
        6 => What::Mark(number(payload.get(8..16)?)),
        _ => return None,
    };
    let is_next = number(&bytes[at + 8..at + 16]) == seq;
    is_next.then(|| Frame { file: name.clone(), at, bytes: HEADER_BYTES + len, what, seq })
}

/// A number, little-endian.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
