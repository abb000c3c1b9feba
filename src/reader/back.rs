//! Going backwards: frames only lead forward, so a piece of a segment is walked and then given from its end.
//!
//! Does not know: how a piece is found.

use std::ops::Range;

use super::cursor::{Cursor, Step};
use super::{Iter, Record};
use crate::error::{Error, Result};
use crate::scan::Fault;

/// The length of a piece whose beginning has to be walked to, in bytes of frames.
const PIECE_BYTES: u64 = 64 * 1024;

/// What lies before an iterator's end, as far as it was walked.
#[derive(Clone, Default)]
pub(super) struct Back<'r> {
    /// The items right before the end, in ascending order.
    items: Vec<Item<'r>>,
    /// Where the pieces before those begin, in ascending order; empty where that is not known yet.
    pieces: Vec<Cursor<'r>>,
}

#[derive(Clone)]
enum Item<'r> {
    Record(Record<'r>),
    Lost {
        range: Range<u64>,
        fault: Fault,
        segment: u64,
    },
    /// From here on nothing of the segment may be read.
    Refused {
        from: u64,
        at: u64,
        segment: u64,
    },
}

impl<'r> DoubleEndedIterator for Iter<'r> {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            if self.seq >= self.end {
                return None;
            }
            let back = self.back.get_or_insert_default();
            if let Some(item) = back.items.pop() {
                if let Some(given) = self.give_back(item) {
                    return Some(given);
                }
            } else if let Some(cursor) = back.pieces.pop() {
                back.walk(cursor, self.end);
            } else if let Err(error) = self.enter_back() {
                return Some(Err(error));
            }
        }
    }
}

impl<'r> Iter<'r> {
    /// The last item, clipped to what was asked for; `None` if nothing of it was.
    fn give_back(&mut self, item: Item<'r>) -> Option<Result<Record<'r>>> {
        match item {
            Item::Record(record) => {
                let is_asked = record.seq() < self.end;
                self.end = self.end.min(record.seq());
                (is_asked && record.seq() >= self.seq).then_some(Ok(record))
            }
            Item::Lost { range, fault, segment } => {
                let asked = self.clip_back(range)?;
                Some(Err(self.loss(asked, fault.phrase()).in_segment(segment)))
            }
            Item::Refused { from, at, segment } => {
                let asked = self.clip_back(from..self.end)?;
                let error = Error::refused_frame(self.reader.path(), segment, at);
                Some(Err(error.at_seq(asked.start)))
            }
        }
    }

    /// The part of `range` that was asked for, which is passed; `None` if there is none.
    fn clip_back(&mut self, range: Range<u64>) -> Option<Range<u64>> {
        let asked = range.start.max(self.seq)..range.end.min(self.end);
        self.end = self.end.min(asked.start);
        (!asked.is_empty()).then_some(asked)
    }

    /// Enters the piece before the end.
    #[cold]
    fn enter_back(&mut self) -> Result<()> {
        let spans = &self.reader.view.spans;
        let last = self.end - 1;
        let index = self.reader.span_of(last);
        let base_seq = spans.get(index).map_or(u64::MAX, |span| span.name.base_seq);
        if last < base_seq {
            // The segment that held these is not there.
            let range = self.seq..self.end;
            self.end = self.seq;
            return Err(self.loss(range, super::iter::NO_SEGMENT));
        }
        let walked = self.walk_piece(index, base_seq).and_then(|whole| match whole {
            true => Ok(()),
            false => self.walk_segment(index, base_seq),
        });
        walked.map_err(|error| {
            let range = base_seq.max(self.seq)..self.end;
            self.end = range.start;
            Self::out_of_reach(error, range)
        })
    }

    /// Walks to the end from a place shortly before it. False if that is not enough: something is damaged,
    /// or the place is in a batch that begins far before it.
    fn walk_piece(&mut self, index: usize, base_seq: u64) -> Result<bool> {
        let records = self.reader.pin(index)?.index.records_in(PIECE_BYTES);
        let start = base_seq + (self.end - 1 - base_seq) / records * records;
        let start = start.max(self.seq);
        let mut cursor = Cursor::open(self.reader, index, start)?;
        let back = self.back.get_or_insert_default();
        back.items.clear();
        let mut passed = 0;
        while cursor.seq < self.end {
            let before = cursor.seq;
            let step = cursor.step();
            match step {
                Step::Record { len, next } => {
                    let record = cursor.take(len, next);
                    if record.seq() >= start {
                        back.items.push(Item::Record(record));
                    } else {
                        passed += 1;
                    }
                }
                Step::Passed | Step::Marked(..) if cursor.seq == before => {}
                _ => passed = u64::MAX,
            }
            if passed > 2 * records {
                back.items.clear();
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Walks from the segment's start to the end, and notes where its pieces begin.
    fn walk_segment(&mut self, index: usize, base_seq: u64) -> Result<()> {
        let mut cursor = Cursor::at_start(self.reader, index, base_seq)?;
        let mut pieces = vec![cursor.clone()];
        while cursor.seq < self.end {
            let last = pieces.last().map_or(0, |piece| piece.at);
            if cursor.at < last {
                // It started over, and checks what it did not before.
                pieces.clear();
            }
            if cursor.at < last || cursor.at - last >= PIECE_BYTES {
                if cursor.seq <= self.seq {
                    pieces.clear();
                }
                pieces.push(cursor.clone());
            }
            match cursor.step() {
                Step::Record { len, next } => _ = cursor.take(len, next),
                Step::Refused => break,
                Step::Passed | Step::Marked(..) | Step::Lost(..) => {}
            }
        }
        self.back.get_or_insert_default().pieces = pieces;
        Ok(())
    }
}

impl<'r> Back<'r> {
    /// Fills the items with what stands from `cursor` on before `end`.
    fn walk(&mut self, mut cursor: Cursor<'r>, end: u64) {
        let segment = cursor.segment.name.id;
        while cursor.seq < end {
            let from = cursor.seq;
            self.items.push(match cursor.step() {
                Step::Record { len, next } => Item::Record(cursor.take(len, next)),
                Step::Lost(range, fault) => Item::Lost { range, fault, segment },
                Step::Passed | Step::Marked(..) => continue,
                Step::Refused => {
                    self.items.push(Item::Refused { from, at: cursor.at, segment });
                    return;
                }
            });
        }
    }
}
