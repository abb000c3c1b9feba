//! Many records at once.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Range;
use std::sync::Arc;

use crate::format::frame::{HEADER_BYTES, Header, Kind};
use crate::reader::Record;
use crate::scan::Source;
use crate::segment::ReadSegment;

/// Records that a [`Tail`](super::Tail) received together. All of them were checked before it was made,
/// so going through it cannot fail, and the tail is behind all of them whether it is gone through or not.
#[derive(Clone)]
pub struct Batch<'t> {
    pub(super) segment: &'t Arc<ReadSegment>,
    /// The frame of the first record.
    pub(super) at: u64,
    pub(super) seqs: Range<u64>,
}

impl Batch<'_> {
    /// The sequence numbers of the records that are left.
    #[must_use]
    pub fn seqs(&self) -> Range<u64> {
        self.seqs.clone()
    }
}

impl<'t> Iterator for Batch<'t> {
    type Item = Record<'t>;

    #[inline]
    fn next(&mut self) -> Option<Record<'t>> {
        while self.seqs.start < self.seqs.end {
            let Ok(header) = self.segment.frames().sixteen(self.at);
            let word = Header::decode(&header).word;
            let at = self.at;
            self.at += word.frame_bytes();
            // Between records there may be notes.
            if let Some(Kind::Single | Kind::First | Kind::Middle | Kind::Last) = word.kind() {
                let seq = self.seqs.start;
                self.seqs.start += 1;
                return Some(Record::at(self.segment, at + HEADER_BYTES, word.len(), seq));
            }
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.seqs.end - self.seqs.start) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Batch<'_> {}

impl FusedIterator for Batch<'_> {}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("seqs", &self.seqs).finish_non_exhaustive()
    }
}
