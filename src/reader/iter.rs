//! Going through a view, record by record and past damage.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Range;
use std::sync::Arc;

use super::{Reader, Record};
use crate::error::{Error, ErrorKind, Result};
use crate::format::frame::HEADER_BYTES;
use crate::format::header::HEADER_BYTES as DATA_START;
use crate::scan::{Fault, Frames, Resync, Rules, Seen, look, place_of};
use crate::segment::ReadSegment;

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
}

/// A place in one segment.
#[derive(Clone)]
pub(super) struct Cursor<'r> {
    segment: &'r Arc<ReadSegment>,
    frames: Frames<'r>,
    rules: Rules,
    resync: Resync,
    at: u64,
    /// The record expected at `at`; below the iterator's while that walks to its start.
    seq: u64,
    /// Where this segment's share of the log ends.
    end_seq: u64,
    /// Checksums are compared from this record on.
    checked_from: u64,
    /// Records from `at` on that belong to a batch found whole.
    in_batch: u64,
}

/// What a step of a cursor gave.
enum Step {
    /// A record of `len` bytes, to be taken.
    Record {
        len: u64,
        next: u64,
    },
    Lost(Range<u64>, Fault),
    /// A frame of a later version that must not be passed over.
    Refused,
    /// Only a note; go on.
    Passed,
}

impl<'r> Cursor<'r> {
    /// At the start of a segment, on the way to the record `seq`.
    fn open(reader: &'r Reader, index: usize, seq: u64) -> Result<Self> {
        let span = reader.view.spans[index];
        let segment = reader.segment(index)?;
        Ok(Cursor {
            segment,
            frames: segment.frames(),
            rules: Rules { salt: segment.header.salt, cut_seq: span.end_seq, check: true },
            resync: Resync::new(segment.header.segment_bytes),
            at: DATA_START,
            seq: span.name.base_seq,
            end_seq: span.end_seq.min(reader.view.end.seq),
            // Before the first record that is wanted only the structure is looked at. Records that
            // are not known to be durable are checked whatever the reader wants.
            checked_from: reader.view.durable_seq.min(if reader.verify { seq } else { u64::MAX }),
            in_batch: 0,
        })
    }

    #[inline]
    fn step(&mut self) -> Step {
        if self.in_batch > 0 {
            return self.step_in_batch();
        }
        let Ok(seen) = look(&mut self.frames, &self.rules, self.at, self.seq);
        match seen {
            Seen::Single { len, next } => Step::Record { len, next },
            Seen::Batch { records, .. } => self.enter_batch(records),
            Seen::Mark { next, .. } | Seen::Skipped { next } => {
                self.at = next;
                Step::Passed
            }
            Seen::Refused if self.start_over() => Step::Passed,
            Seen::Refused => Step::Refused,
            Seen::Vacant | Seen::End { .. } => self.pass_damage(Fault::Sequence),
            Seen::Invalid(fault) => self.pass_damage(fault),
        }
    }

    /// A batch is checked as a whole, so all of it if any of its records is to be.
    fn enter_batch(&mut self, records: u64) -> Step {
        if !self.rules.check && self.seq + records > self.checked_from {
            self.rules.check = true;
            let Ok(seen) = look(&mut self.frames, &self.rules, self.at, self.seq);
            if let Seen::Invalid(fault) = seen {
                return self.pass_damage(fault);
            }
        }
        self.in_batch = records;
        self.step_in_batch()
    }

    /// The next record of a batch that was found whole.
    #[inline]
    fn step_in_batch(&mut self) -> Step {
        self.in_batch -= 1;
        let Ok((len, next)) = place_of(&mut self.frames, self.at);
        Step::Record { len, next }
    }

    #[inline]
    fn take(&mut self, len: u64, next: u64) -> Record<'r> {
        let data = self.frames.bytes(self.at + HEADER_BYTES, len);
        let record =
            Record { data, seq: self.seq, at: self.at + HEADER_BYTES, segment: self.segment };
        self.seq += 1;
        self.at = next;
        record
    }

    /// What went wrong behind frames whose checksums were not compared may have gone wrong in one of them:
    /// goes back to the segment's start and compares them all. False if they were compared.
    #[cold]
    fn start_over(&mut self) -> bool {
        let base_seq = self.segment.name.base_seq;
        if self.checked_from <= base_seq {
            return false;
        }
        self.checked_from = base_seq;
        (self.at, self.seq, self.in_batch) = (DATA_START, base_seq, 0);
        true
    }

    /// Finds the next valid frame, or ends the segment.
    #[cold]
    fn pass_damage(&mut self, fault: Fault) -> Step {
        if self.start_over() {
            return Step::Passed;
        }
        let from = self.seq;
        let Ok(found) = self.resync.next(&mut self.frames, &self.rules, self.at, from);
        match found {
            Some((at, seq)) => {
                self.at = at;
                self.seq = seq.min(self.end_seq);
            }
            None => self.seq = self.end_seq,
        }
        Step::Lost(from..self.seq, fault)
    }
}

impl<'r> Iterator for Iter<'r> {
    type Item = Result<Record<'r>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.seq >= self.end {
                return None;
            }
            let Some(cursor) = &mut self.current else {
                if let Err(error) = self.enter() {
                    return Some(Err(error));
                }
                continue;
            };
            if cursor.seq >= cursor.end_seq {
                self.span += 1;
                self.current = None;
                continue;
            }
            cursor.rules.check = cursor.seq >= cursor.checked_from;
            match cursor.step() {
                Step::Record { len, next } => {
                    let record = cursor.take(len, next);
                    if record.seq >= self.seq {
                        self.seq = record.seq + 1;
                        return Some(Ok(record));
                    }
                }
                Step::Passed => {}
                Step::Lost(range, fault) => {
                    if let Some(error) = self.lost(range, fault.phrase()) {
                        return Some(Err(error));
                    }
                }
                Step::Refused => {
                    let at = cursor.at;
                    return Some(Err(self.refused(at)));
                }
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

impl Iter<'_> {
    /// Enters the segment that holds the next record.
    #[cold]
    fn enter(&mut self) -> Result<()> {
        let spans = &self.reader.view.spans;
        let base = spans.get(self.span).map_or(self.end, |span| span.name.base_seq);
        if self.seq < base {
            // The segment that held these is not there.
            let lost = self.lost(self.seq..base, "their segment is missing");
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
        self.seq = end_seq;
        match error.kind() {
            ErrorKind::Damaged => error.losing(range),
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
        let mut error = Error::loss(asked, why).at_path(self.reader.path());
        if let Some(cursor) = &self.current {
            error = error.in_segment(cursor.segment.name.id);
        }
        Some(error)
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
