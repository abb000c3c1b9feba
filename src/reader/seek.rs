//! Finding by something else than a sequence number: by what records hold, and by time.

use std::time::{SystemTime, UNIX_EPOCH};

use super::cursor::{Cursor, Step};
use super::{Reader, Record};
use crate::error::{ErrorKind, Result};

/// A mark, and the number of the record behind it.
struct Marked {
    time_nanos: u64,
    seq: u64,
}

impl Reader {
    /// The first sequence number whose record `pred` denies, as
    /// [`slice::partition_point`]: it must hold for all records before some place and for none behind. The
    /// view's end if it holds for all.
    ///
    /// A lost record counts as the first whole record behind it; `pred` denies those that have none. So the
    /// answer is never inside lost records but at their first, and only if the record behind them is denied.
    /// If the records are not partitioned, the answer is some place where `pred` goes over, or an end.
    ///
    /// Cost: it asks `pred` about the binary logarithm of [`len`](Self::len), rounded up, at most, and finds
    /// each record as [`get`](Self::get) does.
    ///
    /// # Errors
    /// Those of opening a segment, but for damage.
    pub fn partition_point(&self, mut pred: impl FnMut(Record<'_>) -> bool) -> Result<u64> {
        let (mut low, mut high) = (self.first_seq(), self.next_seq());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.first_whole(middle, high)? {
                Some(record) if pred(record) => low = record.seq() + 1,
                Some(_) | None => high = middle,
            }
        }
        Ok(low)
    }

    /// The first record from `seq` to `end` that is not lost.
    fn first_whole(&self, seq: u64, end: u64) -> Result<Option<Record<'_>>> {
        for item in self.range(seq..end) {
            match item {
                Err(error) if error.kind() == ErrorKind::Damaged => {}
                whole => return whole.map(Some),
            }
        }
        Ok(None)
    }

    /// The sequence number of the first record not known to be older than `time`.
    ///
    /// What is known are the log's marks: one with the first append after each opening and into each segment,
    /// and one about every 4 KiB of records, never inside a batch. A mark tells when the record behind it was
    /// appended, so all before it are at least as old. The answer is the place of the last mark older than
    /// `time`, or the view's first number: all before it are older, and of the records between it and the next
    /// mark some may be. The marks that damage took are as if they had not been written.
    ///
    /// That holds if the clock never went back. If it did, the marks may go over from older to not older in
    /// several places, and the answer is one of them.
    ///
    /// Cost: about the binary logarithm of [`len`](Self::len) marks, each found as
    /// [`get`](Self::get) finds a record and by a walk to the next mark.
    ///
    /// # Errors
    /// Those of opening a segment, but for damage.
    pub fn seek_time(&self, time: SystemTime) -> Result<u64> {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let mut answer = self.first_seq();
        let (mut low, mut high) = (self.first_seq(), self.next_seq());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.mark_behind(middle, high)? {
                Some(mark) if mark.time_nanos < nanos => (answer, low) = (mark.seq, mark.seq + 1),
                Some(_) | None => high = middle,
            }
        }
        Ok(answer)
    }

    /// The first mark that stands behind the record before `seq`, and before the record `end`.
    fn mark_behind(&self, seq: u64, end: u64) -> Result<Option<Marked>> {
        let spans = &self.view.spans;
        let mut span = self.span_of(seq);
        while span < spans.len() && spans[span].name.base_seq < end {
            match self.mark_in(span, seq, end) {
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Damaged => {}
                found => return found,
            }
            span += 1;
        }
        Ok(None)
    }

    fn mark_in(&self, span: usize, seq: u64, end: u64) -> Result<Option<Marked>> {
        // A mark stands before its record: from the record before that it is met.
        let seq = seq.max(self.view.spans[span].name.base_seq);
        let mut cursor = Cursor::open(self, span, seq.saturating_sub(1))?;
        while cursor.seq < cursor.end_seq.min(end) {
            match cursor.step() {
                Step::Marked(mark, at_seq) if at_seq >= seq => {
                    return Ok(Some(Marked { time_nanos: mark.time_nanos, seq: at_seq }));
                }
                Step::Record { len, next } => _ = cursor.take(len, next),
                Step::Refused => return Ok(None),
                Step::Marked(..) | Step::Passed | Step::Lost(..) => {}
            }
        }
        Ok(None)
    }
}
