//! Reading: a fixed view of the log, iterated, sliced by range, asked for one record.
//!
//! Only it may lend bytes to the public. Does not know: how anything is written.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::{Bound, Deref, Range, RangeBounds};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::error::{Error, ErrorKind, Result};
use crate::format::header::HEADER_BYTES as DATA_START;
use crate::scan::{Fault, Frames, Resync, Rules, Seen, look, member};
use crate::segment::ReadSegment;
use crate::survey::Span;
use crate::view::{Site, View};

/// A fixed view of a log: the records from [`first_seq`](Self::first_seq) to
/// [`next_seq`](Self::next_seq) as they were when it was taken.
///
/// It needs read permission only, takes no lock, and never makes a writer wait (G10). Every record is
/// checked against its CRC-32 when it is read (G3). What it lent stays as it is, and stays mapped,
/// until [`refresh`](Self::refresh) or the reader's end: a reader that goes through a very long log
/// maps one segment after the other.
///
/// A reader may outlive the [`Log`](crate::Log) that it came from.
pub struct Reader {
    site: Arc<Site>,
    view: View,
    /// A segment for each span of the view, once it was read: what records borrow from.
    pinned: Box<[OnceLock<Arc<ReadSegment>>]>,
    verify: bool,
}

impl Reader {
    /// Opens the log in the directory `path` for reading, in any process, while others append.
    ///
    /// It creates and changes nothing, and sees what is committed now; before anyone recovered the log
    /// after a crash, what recovery would keep. Cost: a directory listing, and after a power cut the
    /// reading of what was written since about the last sync.
    ///
    /// # Errors
    /// `NotFound`, `NotALog`, `PermissionDenied`, `UnsupportedVersion`, `UnsupportedFeature`, `Io`.
    ///
    /// # Safety
    /// Only maplog changes the files in this directory while readers, records or handles are alive:
    /// a record's bytes are those of the file, and safe code holds references to them. Damage from
    /// before it was opened is not part of the contract; that gives errors.
    #[allow(unsafe_code)]
    pub unsafe fn open(path: impl AsRef<Path>) -> Result<Self> {
        let site = Site::open(path.as_ref())?;
        let view = site.view()?;
        Ok(Self::new(Arc::new(site), view))
    }

    pub(crate) fn new(site: Arc<Site>, view: View) -> Self {
        let pinned = view.spans.iter().map(|_| OnceLock::new()).collect();
        Reader { site, view, pinned, verify: true }
    }

    /// Moves the view to what is committed now, and lets go of what was mapped for the old one.
    ///
    /// # Errors
    /// As [`open`](Self::open). Then the view stays as it was.
    pub fn refresh(&mut self) -> Result<()> {
        let view = self.site.view()?;
        *self = Reader { verify: self.verify, ..Self::new(self.site.clone(), view) };
        Ok(())
    }

    /// Turns the comparing of checksums off or on. Records that are not known to be durable are
    /// checked all the same, and with it off the structure of frames still is.
    #[must_use]
    pub fn verify(mut self, on: bool) -> Self {
        self.verify = on;
        self
    }

    /// The lowest sequence number that was not trimmed.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        self.view.first_seq
    }

    /// The sequence number that the next record gets.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.view.end.seq
    }

    /// Every record below it was on stable storage when the view was taken.
    #[must_use]
    pub fn durable_seq(&self) -> u64 {
        self.view.durable_seq
    }

    /// How many sequence numbers the view holds.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.next_seq() - self.first_seq()
    }

    /// True if the view holds no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The log's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.site.dir.path()
    }

    /// All records, in order. See [`Iter`].
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(self.first_seq()..self.next_seq())
    }

    /// The records whose sequence numbers lie in `range`, as far as the view has them.
    ///
    /// Cost: within its first segment it walks to the start of the range.
    pub fn range(&self, range: impl RangeBounds<u64>) -> Iter<'_> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let start = start.clamp(self.first_seq(), self.next_seq());
        self.iter_from(start..end.min(self.next_seq()).max(start))
    }

    /// The record `seq`; `None` at or past the view's end.
    ///
    /// Cost: it walks the segment that holds the record.
    ///
    /// # Errors
    /// `Trimmed` below [`first_seq`](Self::first_seq), with the first number left in
    /// [`Error::seq`]; `Damaged` if the record is lost; the errors of opening a segment.
    pub fn get(&self, seq: u64) -> Result<Option<Record<'_>>> {
        if seq < self.first_seq() {
            let text = format!("record {seq} was asked for, the first is {}", self.first_seq());
            return Err(Error::new(ErrorKind::Trimmed, text)
                .at_path(self.path())
                .at_seq(self.first_seq()));
        }
        match seq < self.next_seq() {
            true => self.iter_from(seq..seq + 1).next().transpose(),
            false => Ok(None),
        }
    }

    /// How much there is of the log.
    ///
    /// Cost: a call to the file system for each segment.
    ///
    /// # Errors
    /// Those of looking at the segments' files.
    pub fn stats(&self) -> Result<Stats> {
        let mut bytes = 0;
        for span in self.view.spans.iter() {
            let size = self.site.dir.bytes_of(&span.name.file_name());
            bytes += size.map_err(|source| self.error(span, "looking at a segment", source))?;
        }
        Ok(Stats {
            first_seq: self.first_seq(),
            next_seq: self.next_seq(),
            durable_seq: self.durable_seq(),
            segments: self.view.spans.len() as u64,
            bytes,
        })
    }

    fn error(&self, span: &Span, doing: &'static str, source: std::io::Error) -> Error {
        Error::io(doing, source).at_path(self.path()).in_segment(span.name.id)
    }

    fn iter_from(&self, range: Range<u64>) -> Iter<'_> {
        let spans = &self.view.spans;
        let span = spans.partition_point(|span| span.end_seq <= range.start);
        Iter { reader: self, span, current: None, seq: range.start, end: range.end }
    }

    /// The segment of the `index`-th span; what is lent from it lives as long as the reader.
    fn segment(&self, index: usize) -> Result<&Arc<ReadSegment>> {
        let pin = &self.pinned[index];
        if let Some(segment) = pin.get() {
            return Ok(segment);
        }
        let segment = self.site.map(&self.view, &self.view.spans[index])?;
        Ok(pin.get_or_init(|| segment))
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("path", &self.path())
            .field("first_seq", &self.first_seq())
            .field("next_seq", &self.next_seq())
            .finish_non_exhaustive()
    }
}

impl<'r> IntoIterator for &'r Reader {
    type Item = Result<Record<'r>>;
    type IntoIter = Iter<'r>;

    fn into_iter(self) -> Iter<'r> {
        self.iter()
    }
}

/// How much there is of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The lowest sequence number that was not trimmed.
    pub first_seq: u64,
    /// The sequence number that the next record gets.
    pub next_seq: u64,
    /// Every record below it is on stable storage.
    pub durable_seq: u64,
    /// Segment files.
    pub segments: u64,
    /// Their size, in bytes; of the last, with what is allocated ahead.
    pub bytes: u64,
}

/// A record, borrowed from the log's memory: no copy was made, none is needed to read it.
#[derive(Clone, Copy)]
pub struct Record<'r> {
    data: &'r [u8],
    seq: u64,
    at: u64,
    segment: &'r Arc<ReadSegment>,
}

impl<'r> Record<'r> {
    /// Its place in the log.
    #[inline]
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Its bytes, which start at a multiple of 16 in memory.
    #[inline]
    #[must_use]
    pub fn data(&self) -> &'r [u8] {
        self.data
    }

    /// The record with a share of its own in the mapping, to keep or to send to another thread.
    #[must_use]
    pub fn to_shared(&self) -> SharedRecord {
        let Record { data, seq, at, segment } = *self;
        SharedRecord { segment: segment.clone(), at, len: data.len() as u64, seq }
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_record(f, "Record", self.seq, self.data)
    }
}

/// A record that owns a share of the mapping it lies in: it may outlive reader and log, and its
/// bytes stay what they are.
#[derive(Clone)]
pub struct SharedRecord {
    segment: Arc<ReadSegment>,
    at: u64,
    len: u64,
    seq: u64,
}

impl SharedRecord {
    /// Its place in the log.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Its bytes, which start at a multiple of 16 in memory.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.segment.frames().bytes(self.at, self.len)
    }
}

impl Deref for SharedRecord {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.data()
    }
}

impl fmt::Debug for SharedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_record(f, "SharedRecord", self.seq, self.data())
    }
}

fn debug_record(f: &mut fmt::Formatter<'_>, name: &str, seq: u64, data: &[u8]) -> fmt::Result {
    f.debug_struct(name).field("seq", &seq).field("data", &data.escape_ascii().to_string()).finish()
}

/// Records of a [`Reader`], in order.
///
/// An item is a record or an error. A `Damaged` error names in [`Error::lost`] exactly the records
/// that are missing from here, and the iterator goes on behind them; other errors of a segment are
/// reported once, and it goes on with the next segment. Nothing is allocated for a record.
#[derive(Clone)]
pub struct Iter<'r> {
    reader: &'r Reader,
    /// The index of the span that `current` is of, or will be.
    span: usize,
    current: Option<Cursor<'r>>,
    /// The next record to give.
    seq: u64,
    end: u64,
}

/// A place in one segment.
#[derive(Clone)]
struct Cursor<'r> {
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
        let (len, next) = member(self.frames, self.at);
        Step::Record { len, next }
    }

    #[inline]
    fn take(&mut self, len: u64, next: u64) -> Record<'r> {
        let data = self.frames.bytes(self.at + crate::format::frame::HEADER_BYTES, len);
        let record = Record {
            data,
            seq: self.seq,
            at: self.at + crate::format::frame::HEADER_BYTES,
            segment: self.segment,
        };
        self.seq += 1;
        self.at = next;
        record
    }

    /// Finds the next valid frame, or ends the segment.
    #[cold]
    fn pass_damage(&mut self, fault: Fault) -> Step {
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
        let text = "a frame of a kind that this version must not skip";
        let error = Error::new(ErrorKind::UnsupportedFeature, text);
        let id = self.reader.view.spans[self.span].name.id;
        self.give_up(error.at_path(self.reader.path()).in_segment(id).at_offset(at))
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
        let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let is_segment = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "seg");
        let segment = files.filter(is_segment).next().unwrap();
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
