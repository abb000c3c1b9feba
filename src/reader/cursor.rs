//! Going through one segment, frame by frame and past damage.
//!
//! Does not know: the segments before and behind it.

use std::ops::Range;
use std::sync::Arc;

use super::{Pin, Reader, Record};
use crate::error::Result;
use crate::format::frame::{HEADER_BYTES, Mark};
use crate::format::header::HEADER_BYTES as DATA_START;
use crate::index::SegmentIndex;
use crate::probe::{Anchor, locate};
use crate::scan::{
    Fault, Frames, Resync, Rules, Seen, Source, look, look_closely, look_for_single, number_at,
    place_of,
};
use crate::segment::ReadSegment;

/// A place in one segment.
#[derive(Clone)]
pub(super) struct Cursor<'r> {
    pub(super) segment: &'r Arc<ReadSegment>,
    index: &'r SegmentIndex,
    frames: Frames<'r>,
    rules: Rules,
    resync: Resync,
    pub(super) at: u64,
    /// The record expected at `at`; below the iterator's while that walks to its start.
    pub(super) seq: u64,
    /// Where this segment's share of the log ends.
    pub(super) end_seq: u64,
    /// Checksums are compared from this record on.
    checked_from: u64,
    /// Records from `at` on that belong to a batch found whole.
    in_batch: u64,
    /// Every frame from the segment's first to `at` was met, so that what is damage here is known.
    from_start: bool,
}

/// What a step of a cursor gave.
pub(super) enum Step {
    /// A record of `len` bytes, to be taken.
    Record {
        len: u64,
        next: u64,
    },
    Lost(Range<u64>, Fault),
    /// A frame of a later version that must not be passed over.
    Refused,
    /// A mark, with the next record's number; go on.
    Marked(Mark, u64),
    /// Go on.
    Passed,
}

impl<'r> Cursor<'r> {
    /// At the record `seq` of a span's share or shortly before it, as far as that can be found without a
    /// walk from the segment's start.
    pub(super) fn open(reader: &'r Reader, span: usize, seq: u64) -> Result<Self> {
        let mut cursor = Self::at_start(reader, span, seq)?;
        if seq > cursor.seq
            && let Some(anchor) = cursor.anchor(reader, seq)
        {
            (cursor.at, cursor.seq) = (anchor.at, anchor.seq);
            cursor.from_start = false;
        }
        Ok(cursor)
    }

    /// At the start of a segment, on the way to the record `seq`.
    pub(super) fn at_start(reader: &'r Reader, span: usize, seq: u64) -> Result<Self> {
        let Pin { segment, index } = reader.pin(span)?;
        let span = &reader.view.spans[span];
        Ok(Cursor {
            segment,
            index,
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
            from_start: true,
        })
    }

    /// A place at or before the record `seq` and near it, if one is known or found.
    #[inline]
    fn anchor(&mut self, reader: &Reader, seq: u64) -> Option<Anchor> {
        if seq >= self.end_seq {
            return None;
        }
        let place = self.index.place(seq);
        if let Some(at) = place
            && self.index.is_fine()
        {
            self.frames.prefetch(at, self.index.bytes_of(seq - self.index.noted_seq(seq) + 1));
        }
        let known = place.and_then(|at| self.noted(at, seq));
        if known.is_some() && self.index.is_fine() {
            return known;
        }
        self.find(reader, known, seq)
    }

    /// What was noted is believed if a record stands there that is not behind `seq`.
    #[inline]
    fn noted(&mut self, at: u64, seq: u64) -> Option<Anchor> {
        let Ok(number) = number_at(&mut self.frames, at);
        let number = number.filter(|number| (self.segment.name.base_seq..=seq).contains(number));
        number.map(|seq| Anchor { at, seq })
    }

    #[cold]
    fn find(&mut self, reader: &Reader, known: Option<Anchor>, seq: u64) -> Option<Anchor> {
        let end = reader.view.end;
        // Nothing is looked at that this reader does not know to be committed.
        let until = if self.segment.name.id == end.segment_id { end.offset } else { u64::MAX };
        let to = Anchor { at: until.min(self.frames.limit()), seq: self.end_seq };
        let from = Anchor { at: self.at, seq: self.seq };
        let (before, behind) = self.index.around(seq);
        let from = known.or(before.and_then(|at| self.noted(at, seq))).unwrap_or(from);
        let behind = behind.and_then(|at| self.noted(at, to.seq));
        let to = behind.filter(|behind| behind.seq > seq && behind.at < to.at).unwrap_or(to);
        // From the record on whose place is noted, so that it will be.
        let wanted = if self.index.is_fine() { self.index.noted_seq(seq) } else { seq };
        let wanted = wanted.max(from.seq);
        let Ok(found) = locate(&mut self.frames, &self.rules, from, to, wanted);
        found
    }

    /// The next record, if it has a frame of its own here: that is most of what there is.
    #[inline(always)]
    pub(super) fn take_single(&mut self) -> Option<Record<'r>> {
        // Copies, so that nothing is looked at again behind the call that takes the checksum.
        let Cursor { mut frames, rules, at, seq, segment, .. } = *self;
        if self.in_batch > 0 || seq >= self.end_seq {
            return None;
        }
        let rules = Rules { check: seq >= self.checked_from, ..rules };
        let Ok(seen) = look_for_single(&mut frames, &rules, at, seq);
        let (len, next) = seen?;
        self.index.note(seq, at);
        frames.prefetch_ahead(at, next);
        (self.at, self.seq) = (next, seq + 1);
        Some(Record {
            data: frames.bytes(at + HEADER_BYTES, len),
            seq,
            at: at + HEADER_BYTES,
            segment,
        })
    }

    #[inline]
    pub(super) fn step(&mut self) -> Step {
        self.rules.check = self.seq >= self.checked_from;
        if self.in_batch > 0 {
            return self.step_in_batch();
        }
        let Ok(seen) = look_closely(&mut self.frames, &self.rules, self.at, self.seq);
        match seen {
            Seen::Single { len, next } => {
                self.index.note(self.seq, self.at);
                Step::Record { len, next }
            }
            Seen::Batch { records, .. } => self.enter_batch(records),
            Seen::Mark { mark, next } => {
                self.at = next;
                Step::Marked(mark, self.seq)
            }
            Seen::Skipped { next } => {
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
        self.index.note_batch(self.seq..self.seq + records, self.at);
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
    pub(super) fn take(&mut self, len: u64, next: u64) -> Record<'r> {
        let data = self.frames.bytes(self.at + HEADER_BYTES, len);
        let record =
            Record { data, seq: self.seq, at: self.at + HEADER_BYTES, segment: self.segment };
        self.seq += 1;
        self.at = next;
        record
    }

    /// What went wrong behind frames whose checksums were not compared, or that were not met at all, may
    /// have gone wrong in one of them: goes back to the segment's start and compares them all. False if
    /// they were compared.
    #[cold]
    fn start_over(&mut self) -> bool {
        let base_seq = self.segment.name.base_seq;
        if self.from_start && self.checked_from <= base_seq {
            return false;
        }
        (self.checked_from, self.from_start) = (base_seq, true);
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
