//! Going through a view, record by record and past damage.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Range;

use super::back::Back;
use super::cursor::{Cursor, Step};
use super::{Reader, Record};
use crate::error::{Error, ErrorKind, Result};

/// Records of a [`Reader`], in order.
///
/// An item is a record or an error. A `Damaged` error names in [`Error::lost`] exactly the records
/// that are missing from here, and the iterator goes on behind them; other errors of a segment are
/// reported once, and it goes on with the next segment. Nothing is allocated for a record.
#[derive(Clone)]
pub struct Iter<'r> {
    pub(super) reader: &'r Reader,
    /// The index of the span that `current` is of, or will be.
    pub(super) span: usize,
    pub(super) current: Option<Cursor<'r>>,
    /// The next record to give.
    pub(super) seq: u64,
    pub(super) end: u64,
    pub(super) back: Option<Box<Back<'r>>>,
}

/// Why records before the first segment are lost.
pub(super) const NO_SEGMENT: &str = "their segment is missing";

impl<'r> Iterator for Iter<'r> {
    type Item = Result<Record<'r>>;

    // In the caller's loop: a call and its result in memory would be a tenth of a small record's time.
    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.seq < self.end
                && let Some(cursor) = &mut self.current
                && cursor.seq == self.seq
                && let Some(record) = cursor.take_single()
            {
                self.seq += 1;
                return Some(Ok(record));
            }
            if let Some(given) = self.next_of_any() {
                return given;
            }
        }
    }
}

impl FusedIterator for Iter<'_> {}

impl fmt::Debug for Iter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter")
            .field("seq", &self.seq)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl<'r> Iter<'r> {
    /// One step of `next`, wherever this is and whatever stands there; what it gives, if it gives anything.
    #[inline(never)]
    fn next_of_any(&mut self) -> Option<Option<Result<Record<'r>>>> {
        if self.seq >= self.end {
            return Some(None);
        }
        let Some(cursor) = &mut self.current else {
            return self.enter().err().map(|error| Some(Err(error)));
        };
        if cursor.seq >= cursor.end_seq {
            self.span += 1;
            self.current = None;
            return None;
        }
        match cursor.step() {
            Step::Record { len, next } => {
                let record = cursor.take(len, next);
                if record.seq < self.seq {
                    return None;
                }
                self.seq = record.seq + 1;
                Some(Some(Ok(record)))
            }
            Step::Passed | Step::Marked(..) => None,
            Step::Lost(range, fault) => {
                self.lost(range, fault.phrase()).map(|error| Some(Err(error)))
            }
            Step::Refused => {
                let at = cursor.at;
                Some(Some(Err(self.refused(at))))
            }
        }
    }

    /// Enters the segment that holds the next record.
    #[cold]
    fn enter(&mut self) -> Result<()> {
        let spans = &self.reader.view.spans;
        let base = spans.get(self.span).map_or(self.end, |span| span.name.base_seq);
        if self.seq < base {
            // The segment that held these is not there.
            let lost = self.lost(self.seq..base, NO_SEGMENT);
            return lost.map_or(Ok(()), Err);
        }
        match Cursor::open(self.reader, self.span, self.seq) {
            Ok(cursor) => {
                self.current = Some(cursor);
                Ok(())
            }
            Err(error) => Err(self.give_up(error)),
        }
    }

    /// The segment cannot be read: its records are lost if that is damage, and out of reach if not.
    fn give_up(&mut self, error: Error) -> Error {
        let end_seq = self.reader.view.spans[self.span].end_seq.min(self.end);
        let range = self.seq..end_seq;
        self.span += 1;
        self.current = None;
        // What else was trimmed meanwhile is told with it.
        let left = error.seq().filter(|_| error.kind() == ErrorKind::Trimmed);
        self.seq = end_seq.max(left.unwrap_or(0)).min(self.end);
        while self.reader.view.spans.get(self.span).is_some_and(|span| span.end_seq <= self.seq) {
            self.span += 1;
        }
        Self::out_of_reach(error, range)
    }

    /// The error of a segment that cannot be read, for its records.
    pub(super) fn out_of_reach(error: Error, range: Range<u64>) -> Error {
        match error.kind() {
            ErrorKind::Damaged => error.losing(range),
            ErrorKind::Trimmed | ErrorKind::Rewound => error,
            _ => error.at_seq(range.start),
        }
    }

    #[cold]
    fn refused(&mut self, at: u64) -> Error {
        let id = self.reader.view.spans[self.span].name.id;
        self.give_up(Error::refused_frame(self.reader.path(), id, at))
    }

    /// Passes what is lost; an error if any of it had been asked for.
    fn lost(&mut self, range: Range<u64>, why: &'static str) -> Option<Error> {
        let asked = range.start.max(self.seq)..range.end.min(self.end);
        if asked.is_empty() {
            return None;
        }
        self.seq = asked.end;
        let mut error = self.loss(asked, why);
        if let Some(cursor) = &self.current {
            error = error.in_segment(cursor.segment.name.id);
        }
        Some(error)
    }

    pub(super) fn loss(&self, range: Range<u64>, why: &'static str) -> Error {
        Error::loss(range, why).at_path(self.reader.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Log;

    /// G3: on the way to a record only structure is looked at, but a batch that it lies in is a thing
    /// of its own.
    #[test]
    fn a_record_in_the_middle_of_a_batch_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        // SAFETY: the file is changed only while the log is closed.
        #[allow(unsafe_code)]
        let open = || unsafe { Log::open(dir.path()) }.unwrap();
        let log = open();
        log.append_batch(&[[1; 64], [2; 64], [3; 64]]).unwrap();
        log.append([4; 64]).unwrap();
        log.close().unwrap();
        let mut files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let is_segment = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "seg");
        let segment = files.find(is_segment).unwrap();
        let mut bytes = std::fs::read(&segment).unwrap();
        let second = bytes.windows(64).position(|window| window == [2; 64]).unwrap();
        bytes[second + 10] ^= 1;
        std::fs::write(&segment, bytes).unwrap();

        let reader = open().reader();
        for seq in 0..3 {
            let error = reader.get(seq).unwrap_err();
            assert_eq!((error.kind(), error.lost()), (ErrorKind::Damaged, Some(seq..seq + 1)));
        }
        assert_eq!(reader.get(3).unwrap().unwrap().data(), [4; 64]);
    }
}
