//! The short way to a record: between two places that are known, records of one size stand where they
//! would have to.
//!
//! Does not know: what to do where the guess is wrong.

use super::{Pin, Reader, Record};
use crate::format::ALIGN;
use crate::format::frame::{HEADER_BYTES, MARK_FRAME_BYTES};
use crate::scan::{Rules, single_at};

impl Reader {
    /// The record `seq` of a span, if the places around it are known and it stands where equal records would,
    /// with or without a mark before it. Like any frame that was not walked to, it counts only if its
    /// checksum says so, whatever the reader wants.
    #[inline]
    pub(super) fn guessed(&self, span: usize, seq: u64) -> Option<Record<'_>> {
        let Pin { segment, index } = self.pinned.get(span)?.get()?;
        if seq < segment.name.base_seq {
            return None;
        }
        let (from, to, nth, records) = index.between(seq)?;
        let mut frames = segment.frames();
        let cut_seq = self.view.spans[span].end_seq;
        let rules = Rules { salt: segment.header.salt, cut_seq, check: true };
        let bytes = to.checked_sub(from)?;
        let equal = bytes / records / ALIGN * ALIGN;
        let at = from + nth * equal;
        let behind_mark = at + MARK_FRAME_BYTES;
        let tries = [at, behind_mark];
        for at in &tries[..if bytes == equal * records { 1 } else { 2 }] {
            let Ok(len) = single_at(&mut frames, &rules, *at, seq, to);
            if let Some(len) = len {
                let at = at + HEADER_BYTES;
                return Some(Record { data: frames.bytes(at, len), seq, at, segment });
            }
        }
        None
    }
}
