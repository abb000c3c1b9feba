//! What readers share: a log's directory, its page, its segments as far as they are mapped.
//!
//! The same for readers in the appending process and in others; nothing here can write, but through
//! the page. Does not know: records.

mod follow;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use crate::dir::Dir;
use crate::error::{Error, ErrorKind, Result};
use crate::format::frame::{EMPTY_FRAME_BYTES, MAX_SEQ};
use crate::format::header::HEADER_BYTES as DATA_START;
use crate::format::name::SegmentName;
use crate::format::page::Due;
use crate::index::{Extent, Indexes, SegmentIndex};
use crate::map::{End, ReadMap};
use crate::scan::{Rules, Seen, Source, look};
use crate::segment::{ReadSegment, SegmentFile};
use crate::shared::Page;
use crate::survey::{Live, Span, list, of_another_log, spans, survey};

pub(crate) use follow::{Followed, Traces, Watch};

/// A log as its readers see it.
pub(crate) struct Site {
    pub(crate) dir: Dir,
    page: Option<Arc<Page>>,
    listing: Mutex<Listing>,
    mapped: Mutex<HashMap<u64, Weak<ReadSegment>>>,
    /// Where records are in them, as far as this process has met them.
    pub(crate) indexes: Indexes,
    /// What all segments must have, known from the first that was looked at.
    log_id: OnceLock<[u8; 16]>,
}

/// The segments at one moment.
#[derive(Clone, Default)]
struct Listing {
    /// The page's directory counter then.
    counter: u64,
    /// All of them, those that are wholly cut included.
    names: Vec<SegmentName>,
    /// Their shares.
    spans: Arc<[Span]>,
}

impl Listing {
    fn new(counter: u64, names: Vec<SegmentName>) -> Self {
        let spans = spans(&names).into();
        Listing { counter, names, spans }
    }

    /// The shares as they are while the log ends in the segment `tip`. Those behind it do not count
    /// yet: they are being made, or copied, or about to be cut. `None` if `tip` is not there.
    fn shares(&self, tip: u64) -> Option<Shares> {
        if self.names.last().is_some_and(|last| last.id == tip) {
            return Some(Shares { spans: self.spans.clone(), counter: Some(self.counter) });
        }
        let behind = self.names.partition_point(|name| name.id <= tip);
        let until = &self.names[..behind];
        let ends_there = until.last().is_some_and(|last| last.id == tip);
        ends_there.then(|| Shares { spans: spans(until).into(), counter: None })
    }
}

/// The segments' shares, and the directory counter if they will change only when it moves.
struct Shares {
    spans: Arc<[Span]>,
    counter: Option<u64>,
}

/// The records from `first_seq` to `end.seq`, in these segments.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) spans: Arc<[Span]>,
    pub(crate) first_seq: u64,
    pub(crate) end: End,
    pub(crate) durable_seq: u64,
    /// Of the segment that the log ends in.
    pub(crate) epoch: u64,
    /// The page's directory counter at which nothing stood behind the segment that the log ends in;
    /// `None` if something did, or there is no page.
    pub(crate) counter: Option<u64>,
    /// The page said so, and not a survey.
    pub(crate) live: bool,
}

/// Segments that a process maps at once to read: half of `vm.max_map_count` as Linux has it, so that the
/// other half is left to the program.
const MAX_MAPPED: usize = 32 * 1024;

/// How often a view is tried anew while segments come faster than they are listed.
const TRIES: usize = 10;

impl Site {
    /// For the appending process, which initialised `page`, or joined others; `counter` is the page's directory
    /// counter from before it listed `spans`.
    pub(crate) fn of_log(
        dir: Dir,
        page: Arc<Page>,
        spans: Vec<Span>,
        counter: u64,
        log_id: [u8; 16],
    ) -> Self {
        let names = spans.iter().map(|span| span.name).collect();
        let listing = Mutex::new(Listing::new(counter, names));
        let (mapped, indexes) = Default::default();
        Site { dir, page: Some(page), listing, mapped, indexes, log_id: OnceLock::from(log_id) }
    }

    /// For a reader in any process; changes and creates nothing.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let at = |source| Error::io("opening the log", source).at_path(path);
        let dir = Dir::open(path).map_err(at)?;
        // A page that this user may not read tells nothing, as one that does not exist.
        let page = match Page::open_to_read(&dir) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            other => other.map_err(at)?.map(Arc::new),
        };
        let (listing, mapped, indexes) = Default::default();
        Ok(Site { dir, page, listing, mapped, indexes, log_id: OnceLock::new() })
    }

    /// The page of a log that this process appends to.
    #[inline]
    pub(crate) fn page(&self) -> Option<&Page> {
        self.page.as_deref()
    }

    /// What is committed now.
    pub(crate) fn view(&self) -> Result<View> {
        match &self.page {
            Some(page) if self.is_live(page)? => self.live_view(page),
            page => self.surveyed_view(page.as_deref()),
        }
    }

    fn replaced(&self) -> Error {
        let text = "its files were removed or replaced";
        Error::new(ErrorKind::Replaced, text).at_path(self.dir.path())
    }

    fn is_live(&self, page: &Page) -> Result<bool> {
        page.is_live()
            .map_err(|source| Error::io("reading the page", source).at_path(self.dir.path()))
    }

    fn live_view(&self, page: &Page) -> Result<View> {
        for _ in 0..TRIES {
            let (epoch, end) = page.epoch_and_end();
            if let Some(view) = view_of(self.listed(page, end)?, page, epoch, end) {
                return self.past_the_hint(view);
            }
            // The end is in a segment that came after the listing, or was never there.
            self.listing.lock().counter = u64::MAX;
        }
        Err(self.end_is_missing(page))
    }

    /// A writer that died between publishing a frame and storing the end left one append behind the
    /// stored end. It is committed, as recovery will say too.
    fn past_the_hint(&self, mut view: View) -> Result<View> {
        let Some(tip) = view.spans.last() else { return Ok(view) };
        let file = match SegmentFile::open_to_read(&self.dir, tip.name) {
            // Readers report what is lost there when they come to it.
            Err(error) if error.kind() == ErrorKind::Damaged => return Ok(view),
            other => other?,
        };
        view.epoch = file.header.epoch;
        self.log_id.get_or_init(|| file.header.log_id);
        let rules = Rules { salt: file.header.salt, cut_seq: tip.end_seq, check: true };
        let End { offset, seq, .. } = view.end;
        let seen = file.pread().and_then(|mut source| look(&mut source, &rules, offset, seq));
        let (records, next) =
            match seen.map_err(|source| self.fault("reading a segment", source, tip))? {
                Seen::Single { next, .. } => (1, next),
                Seen::Batch { records, next } => (records, next),
                _ => return Ok(view),
            };
        view.end = End { offset: next, seq: seq + records, ..view.end };
        Ok(view)
    }

    fn fault(&self, doing: &'static str, source: io::Error, span: &Span) -> Error {
        Error::io(doing, source).at_path(self.dir.path()).in_segment(span.name.id)
    }

    /// What is committed now, by what this process knows of its own segments. Never fails.
    pub(crate) fn own_view(&self, page: &Page) -> View {
        let (epoch, end) = page.epoch_and_end();
        hook!("view.end_known");
        let (shares, known) = {
            let listing = self.listing.lock();
            (listing.shares(end.segment_id), listing.spans.clone())
        };
        if let Some(view) = view_of(shares, page, epoch, end) {
            return view;
        }
        // A segment is known before the end moves there, but not in a child of `fork`, which does
        // not hear of what its parent makes. If it cannot list them either, it sees the log as
        // it was when the last one that it knows began.
        self.live_view(page).unwrap_or_else(|_| {
            let last = known.last().map_or(SegmentName { id: 0, base_seq: 0 }, |span| span.name);
            let end = End { segment_id: last.id, offset: DATA_START, seq: last.base_seq };
            let first_seq = page.first_seq().min(end.seq);
            let durable_seq = page.durable_seq().min(end.seq);
            View { spans: known, first_seq, end, durable_seq, epoch, counter: None, live: true }
        })
    }

    fn listed(&self, page: &Page, end: End) -> Result<Option<Shares>> {
        let counter = page.directory();
        let listing = self.listing.lock();
        let known = listing.counter;
        if known == counter {
            return Ok(listing.shares(end.segment_id));
        }
        drop(listing);
        // Not under the lock: a child of `fork` has it as it was, and not the thread that holds it.
        let listed = Listing::new(counter, list(&self.dir, Some(page))?);
        let shares = listed.shares(end.segment_id);
        let mut listing = self.listing.lock();
        if listing.counter == known {
            *listing = listed;
        }
        Ok(shares)
    }

    /// The appending process tells of a segment that it made, before the log's end moves into it. If
    /// another process made one since the last listing, the next look lists anew.
    pub(crate) fn add(&self, page: &Page, name: SegmentName) {
        let mut listing = self.listing.lock();
        let counter = page.directory();
        if listing.counter.wrapping_add(2) == counter {
            let mut names = std::mem::take(&mut listing.names);
            names.push(name);
            *listing = Listing::new(counter, names);
        }
    }

    /// The segments' shares up to the one that the log ends in now, and what the page's directory counter
    /// was when they were listed.
    pub(crate) fn shares(&self, page: &Page) -> Result<(Arc<[Span]>, End)> {
        for _ in 0..TRIES {
            let end = page.end();
            if let Some(shares) = self.listed(page, end)? {
                return Ok((shares.spans, end));
            }
            self.listing.lock().counter = u64::MAX;
        }
        Err(self.end_is_missing(page))
    }

    fn end_is_missing(&self, page: &Page) -> Error {
        let lost = Error::new(ErrorKind::Damaged, "the segment that the log ends in is missing");
        lost.at_path(self.dir.path()).in_segment(page.end().segment_id)
    }

    fn surveyed_view(&self, page: Option<&Page>) -> Result<View> {
        let names = list(&self.dir, page)?;
        if names.is_empty() {
            let text = "the directory holds no segments";
            return Err(Error::new(ErrorKind::NotALog, text).at_path(self.dir.path()));
        }
        let found = survey(&self.dir, &names, None)?;
        if let Some(log_id) = found.log_id
            && *self.log_id.get_or_init(|| log_id) != log_id
        {
            return Err(self.replaced());
        }
        Ok(View {
            spans: found.spans.into(),
            first_seq: found.first_seq,
            end: found.end,
            durable_seq: found.durable_seq,
            epoch: found.epoch,
            counter: None,
            live: false,
        })
    }

    /// The segment of `span`, mapped and lent as far as `view` reaches.
    #[allow(unsafe_code)]
    pub(crate) fn map(&self, view: &View, span: &Span) -> Result<Arc<ReadSegment>> {
        let name = span.name;
        let is_tip = name.id == view.end.segment_id;
        let known = self.mapped.lock().get(&name.id).and_then(Weak::upgrade);
        // A segment that was the last when it was mapped may have ended since: it is mapped whole,
        // so lending more of it is all that it takes.
        let to = if is_tip { view.end.offset } else { u64::MAX };
        if let Some(segment) = &known
            && segment.lends(to)
        {
            return Ok(segment.clone());
        }
        let file = SegmentFile::open_to_read(&self.dir, name)
            .map_err(|error| self.gone_since(view, span, error))?;
        if *self.log_id.get_or_init(|| file.header.log_id) != file.header.log_id {
            return Err(of_another_log(&self.dir, name));
        }
        let at = |source| {
            Error::io("mapping a segment", source).at_path(self.dir.path()).in_segment(name.id)
        };
        let segment = match known {
            Some(segment) => segment,
            None if ReadMap::count() >= MAX_MAPPED => return Err(self.too_many_mapped(name)),
            None => Arc::new(ReadSegment::map(&file, is_tip).map_err(at)?),
        };
        // SAFETY: in the last segment `to` is the log's end, of which the page or a survey said that
        // everything below it is committed; nothing is appended to any other segment, ever, since a
        // higher one has its name and the end has moved there. (Beside a writer that this reader takes
        // for none, as in another mount namespace, a survey may see that name before the older segment's
        // end frame is stored: 16 bytes behind all that is ever lent to a caller.)
        unsafe { segment.lend(&file, to) }.map_err(at)?;
        let mut mapped = self.mapped.lock();
        if mapped.len() == mapped.capacity() {
            // Before it would grow, and not each time: that would cost the square of a long log.
            mapped.retain(|_, segment| segment.strong_count() > 0);
        }
        mapped.insert(name.id, Arc::downgrade(&segment));
        Ok(segment)
    }

    /// A segment of the view that cannot be opened: it may have been removed since the view was taken.
    fn gone_since(&self, view: &View, span: &Span, error: Error) -> Error {
        let now = match error.kind() {
            ErrorKind::NotFound => self.view(),
            _ => return error,
        };
        let (kind, seq, text) = match now {
            Ok(now) if now.first_seq >= span.end_seq.min(view.end.seq) => {
                (ErrorKind::Trimmed, now.first_seq, "its records were trimmed since")
            }
            Ok(now) if now.epoch > view.epoch => {
                (ErrorKind::Rewound, now.first_seq, "the log was cut since")
            }
            _ => return error,
        };
        Error::new(kind, text).at_path(self.dir.path()).in_segment(span.name.id).at_seq(seq)
    }

    fn too_many_mapped(&self, name: SegmentName) -> Error {
        let text = format!(
            "{MAX_MAPPED} segments are mapped, half of what Linux allows a process; `Reader::release` \
             lets go of those that were read"
        );
        Error::new(ErrorKind::AddressSpace, text).at_path(self.dir.path()).in_segment(name.id)
    }

    /// Where records are in a segment that was mapped for `view`.
    pub(crate) fn index(
        &self,
        view: &View,
        span: &Span,
        segment: &ReadSegment,
    ) -> Arc<SegmentIndex> {
        let grows = span.name.id == view.end.segment_id;
        // A page may say any end; what can be indexed is what can be read.
        let until = if grows { view.end.offset } else { u64::MAX };
        let bytes = until.min(segment.frames().limit()).saturating_sub(DATA_START);
        let base_seq = span.name.base_seq;
        let records = span.end_seq.min(view.end.seq).saturating_sub(base_seq);
        self.indexes.of(&Extent {
            segment_id: span.name.id,
            base_seq,
            // What a name claims, its file must have room for.
            records: records.min(bytes / EMPTY_FRAME_BYTES),
            bytes,
            grows,
            segments: view.spans.len() as u64,
        })
    }

    /// What a live page says, for a survey.
    pub(crate) fn live(page: &Page) -> Live {
        Live {
            end: page.end(),
            durable_seq: page.durable_seq(),
            first_seq: page.first_seq(),
            epoch: page.epoch(),
            fresh_due: page.due() == Due::Fresh,
        }
    }
}

/// `None` if there are no shares: the segment that the log ends in is not among those known.
fn view_of(shares: Option<Shares>, page: &Page, epoch: u64, end: End) -> Option<View> {
    let Shares { spans, counter } = shares?;
    // A page may say anything; no log has more numbers.
    let end = End { seq: end.seq.min(MAX_SEQ + 1), ..end };
    let first_seq = page.first_seq().min(end.seq);
    let durable_seq = page.durable_seq().min(end.seq);
    Some(View { spans, first_seq, end, durable_seq, epoch, counter, live: true })
}
