//! Reading: a fixed view of the log, iterated, sliced by range, asked for one record.
//!
//! Only it may lend bytes to the public. Does not know: how anything is written.

mod back;
mod cursor;
mod guess;
mod inspect;
mod iter;
mod record;
mod seek;

use std::fmt;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::index::SegmentIndex;
use crate::retention::Held;
use crate::segment::ReadSegment;
use crate::survey::Span;
use crate::view::{Site, View};

pub use inspect::{SegmentReason, SegmentStat, SegmentState};
pub use iter::Iter;
pub use record::{Record, SharedRecord};

/// A fixed view of a log: the records from [`first_seq`](Self::first_seq) to
/// [`next_seq`](Self::next_seq) as they were when it was taken.
///
/// It needs read permission only, takes no lock, and never makes a writer wait (G10). Every record is
/// checked against its CRC-32 when it is read (G3). What it lent stays as it is, and stays mapped,
/// until [`release`](Self::release), [`refresh`](Self::refresh) or the reader's end: a reader that goes
/// through a very long log maps one segment after the other. Linux lets a process map 65,530 things; at
/// 32,768 segments, in all readers of the process, reading another one is an `AddressSpace` error. Who goes
/// through so many iterates by ranges and releases in between.
///
/// A reader may outlive the [`Log`](crate::Log) that it came from.
pub struct Reader {
    site: Arc<Site>,
    view: View,
    /// A segment for each span of the view, once it was read: what records borrow from.
    pinned: Box<[OnceLock<Pin>]>,
    verify: bool,
}

/// A segment as a reader holds it.
struct Pin {
    segment: Arc<ReadSegment>,
    index: Arc<SegmentIndex>,
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
        let pinned = unpinned(&view);
        Reader { site, view, pinned, verify: true }
    }

    pub(crate) fn site(&self) -> &Arc<Site> {
        &self.site
    }

    pub(crate) fn view(&self) -> &View {
        &self.view
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

    /// Lets go of what was mapped so far, and keeps the view: for going through a log that is larger
    /// than what should be mapped at once. What is read again is mapped again.
    pub fn release(&mut self) {
        self.pinned = unpinned(&self.view);
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
    /// Cost: its start is found as by [`get`](Self::get).
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
    /// Cost: if this process has read near the record before, a walk over about a KiB of frame headers;
    /// else some probes of a few pages each, over a segment of any size. The checksum of the record alone
    /// is compared, or of its whole batch. In a segment that is damaged before the record, and for a
    /// record that is lost, it may walk the segment.
    ///
    /// # Errors
    /// `Trimmed` below [`first_seq`](Self::first_seq), with the first number left in
    /// [`Error::seq`]; `Damaged` if the record is lost; the errors of opening a segment.
    #[inline]
    pub fn get(&self, seq: u64) -> Result<Option<Record<'_>>> {
        if (self.first_seq()..self.next_seq()).contains(&seq)
            && let Some(record) = self.guessed(self.span_of(seq), seq)
        {
            return Ok(Some(record));
        }
        self.get_by_walk(seq)
    }

    fn get_by_walk(&self, seq: u64) -> Result<Option<Record<'_>>> {
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

    /// The span whose share holds the record `seq`, or the first behind it.
    #[inline]
    fn span_of(&self, seq: u64) -> usize {
        self.view.spans.partition_point(|span| span.end_seq <= seq)
    }

    /// How much there is of the log.
    ///
    /// Cost: a call to the file system for each segment.
    ///
    /// # Errors
    /// Those of looking at the segments' files.
    pub fn stats(&self) -> Result<Stats> {
        let (first_seq, next_seq) = (self.first_seq(), self.next_seq());
        let (mut segments, mut bytes, mut trimmed) = (0, 0, 0);
        for span in self.view.spans.iter().filter(|span| span.end_seq > first_seq) {
            match self.site.dir.bytes_of(&span.name.file_name()) {
                // It was removed since the view was taken.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                size => {
                    bytes +=
                        size.map_err(|source| self.error(span, "looking at a segment", source))?;
                    segments += 1;
                    trimmed += first_seq.saturating_sub(span.name.base_seq);
                }
            }
        }
        Ok(Stats {
            first_seq,
            next_seq,
            durable_seq: self.durable_seq(),
            segments,
            bytes,
            trimmed,
            index_bytes: self.site.indexes.bytes(),
            held: None,
            syncs: 0,
            sync_time: Duration::ZERO,
            longest_sync: Duration::ZERO,
        })
    }

    fn error(&self, span: &Span, doing: &'static str, source: io::Error) -> Error {
        Error::io(doing, source).at_path(self.path()).in_segment(span.name.id)
    }

    fn iter_from(&self, range: Range<u64>) -> Iter<'_> {
        let span = self.span_of(range.start);
        Iter { reader: self, span, current: None, seq: range.start, end: range.end, back: None }
    }

    /// The segment of the `span`-th span; what is lent from it lives as long as the reader.
    #[inline]
    fn pin(&self, span: usize) -> Result<&Pin> {
        let pinned = &self.pinned[span];
        if let Some(pin) = pinned.get() {
            return Ok(pin);
        }
        let span = &self.view.spans[span];
        let segment = self.site.map(&self.view, span)?;
        let index = self.site.index(&self.view, span, &segment);
        Ok(pinned.get_or_init(|| Pin { segment, index }))
    }
}

fn unpinned(view: &View) -> Box<[OnceLock<Pin>]> {
    view.spans.iter().map(|_| OnceLock::new()).collect()
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
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The lowest sequence number that was not trimmed.
    pub first_seq: u64,
    /// The sequence number that the next record gets.
    pub next_seq: u64,
    /// Every record below it is on stable storage.
    pub durable_seq: u64,
    /// Segment files that hold a share of the log.
    pub segments: u64,
    /// Their size, in bytes; of the last, with what is allocated ahead. Files that were cut as a whole
    /// are not counted; [`verify`](crate::verify()) lists them.
    pub bytes: u64,
    /// Records below `first_seq` whose space is not given back yet: they share the first segment with others
    /// that are not trimmed.
    pub trimmed: u64,
    /// Memory in which this process notes where records are, in bytes: 4 for about each KiB of records
    /// in segments that were read, and at most 64 MiB.
    pub index_bytes: u64,
    /// What the [`Retention`](crate::Retention) of the handle would drop if a consumer had come further. `None` if nothing,
    /// or if it was asked of a [`Reader`], which has none.
    pub held: Option<Held>,
    /// How often this process has synced the log since it opened it; none, if it was asked of a [`Reader`].
    /// With group commit one sync serves many appends.
    pub syncs: u64,
    /// How long those took altogether.
    pub sync_time: Duration,
    /// How long the longest of them took.
    pub longest_sync: Duration,
}
