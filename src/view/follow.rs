//! What following a log needs of its site: what moves in the page, and what is committed behind what
//! a view knew of.

use std::io;
use std::sync::Arc;

use super::{Site, View};
use crate::error::{Error, ErrorKind, Result};
use crate::format::header::Reason;
use crate::format::name::SegmentName;
use crate::format::slot::Slot;
use crate::map::End;
use crate::scan::{Rules, Seen};
use crate::segment::{ReadSegment, SegmentFile};
use crate::shared::Page;
use crate::survey::{Span, list};
use crate::wake::Wake;

/// What a page said when somebody looked: another value means that records which were in the log may
/// not be in it any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watch {
    instance: u64,
    epoch: u64,
    first_seq: u64,
}

impl Watch {
    #[inline]
    fn of(page: &Page) -> Self {
        Watch { instance: page.instance(), epoch: page.epoch(), first_seq: page.first_seq() }
    }
}

/// What tells, without a survey, that one would find what the last one found.
#[derive(PartialEq, Eq)]
pub(crate) struct Traces {
    watch: Watch,
    names: Vec<SegmentName>,
    /// Of the segment that is followed: its size, the word where its reader is, its newest slot.
    segment: Option<(u64, Option<u32>, Option<Slot>)>,
}

/// Where numbers begin anew: what was read under an older epoch holds up to there at most.
#[derive(Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) base_seq: u64,
    /// Segments before it, which may have told of another cut, are trimmed.
    pub(crate) hides_others: bool,
}

impl Site {
    /// The traces of who appends, as a reader at `at` in `followed` sees them.
    pub(crate) fn traces(&self, followed: Option<(&Followed, u64)>) -> Result<Traces> {
        self.check_place()?;
        let watch = self.watch();
        let names = list(&self.dir, self.page())?;
        let segment = followed.map(|(followed, at)| followed.traces(at)).transpose();
        let segment = segment
            .map_err(|source| Error::io("looking at a segment", source).at_path(self.dir.path()))?;
        Ok(Traces { watch, names, segment })
    }

    pub(crate) fn watch(&self) -> Watch {
        self.page().map(Watch::of).unwrap_or_default()
    }

    /// True if the page was initialised, the epoch rose or records were trimmed since `watch`.
    #[inline]
    pub(crate) fn has_moved(&self, watch: Watch) -> bool {
        self.page().is_some_and(|page| Watch::of(page) != watch)
    }

    /// True if segments may have come or gone since `view` was taken of a live page.
    #[inline]
    pub(crate) fn names_moved(&self, view: &View) -> bool {
        self.page().is_some_and(|page| Some(page.directory()) != view.counter)
    }

    /// Refuses when other files took this log's place.
    pub(crate) fn check_place(&self) -> Result<()> {
        let Some(page) = &self.page else { return Ok(()) };
        match page.is_in_place(&self.dir) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.replaced()),
            Err(source) => Err(Error::io("looking at the page", source).at_path(self.dir.path())),
        }
    }

    /// As [`view`](Self::view), for who saw segments here before.
    pub(crate) fn view_again(&self) -> Result<View> {
        self.check_place()?;
        match self.view() {
            Err(error) if error.kind() == ErrorKind::NotALog && error.segment().is_none() => {
                Err(self.replaced())
            }
            other => other,
        }
    }

    /// The log's id, if any of the segments of `view` can tell.
    pub(crate) fn id(&self, view: &View) -> Result<Option<[u8; 16]>> {
        for span in view.spans.iter().rev() {
            if let Some(known) = self.log_id.get() {
                return Ok(Some(*known));
            }
            if let Some(file) = self.unless_gone(span)? {
                self.log_id.get_or_init(|| file.header.log_id);
            }
        }
        Ok(self.log_id.get().copied())
    }

    /// The lowest base of a segment with an epoch above `epoch`.
    pub(crate) fn cut_above(&self, view: &View, epoch: u64) -> Result<Option<Cut>> {
        if view.epoch <= epoch {
            return Ok(None);
        }
        let mut lowest = None;
        for span in view.spans.iter().rev() {
            match self.unless_gone(span)? {
                Some(file) if file.header.epoch <= epoch => break,
                Some(SegmentFile { header, .. }) => {
                    let begins =
                        matches!(header.reason, Reason::Cut | Reason::Reset | Reason::Recovery);
                    let is_first = begins && header.epoch == epoch + 1;
                    let base_seq = span.name.base_seq;
                    let hides_others = !is_first && base_seq <= view.first_seq;
                    lowest = Some(Cut { base_seq, hides_others });
                }
                // It tells no epoch; what lies before it may. If it was removed, its numbers are gone.
                None => {}
            }
        }
        Ok(lowest)
    }

    /// `None` if it is damaged, or was removed since the view was taken.
    fn unless_gone(&self, span: &Span) -> Result<Option<SegmentFile>> {
        match SegmentFile::open_to_read(&self.dir, span.name) {
            Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound) => {
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// The wake words; `None` where this process may not write to them.
    pub(crate) fn wake(&self) -> Result<Option<Wake>> {
        Wake::open_to_wait(&self.dir)
            .map_err(|source| Error::io("opening the wake words", source).at_path(self.dir.path()))
    }

    /// The segment of `span`, to be read as it grows.
    pub(crate) fn follow(&self, view: &View, span: &Span) -> Result<Followed> {
        let segment = self.map(view, span)?;
        Ok(Followed { segment, file: SegmentFile::open_to_read(&self.dir, span.name)? })
    }
}

/// A segment that is read as it grows.
pub(crate) struct Followed {
    pub(crate) segment: Arc<ReadSegment>,
    file: SegmentFile,
}

impl Followed {
    pub(crate) fn id(&self) -> u64 {
        self.file.name.id
    }

    fn traces(&self, at: u64) -> io::Result<(u64, Option<u32>, Option<Slot>)> {
        let word = self.segment.observe(&self.file, at)?;
        Ok((self.file.bytes()?, word, self.file.slots()?.newest()))
    }

    /// What stands at `at`, where the lent frames end, in the segment that the log of a live page
    /// ends in. If it is a whole frame or batch, it is lent from now on.
    #[inline]
    #[allow(unsafe_code)]
    pub(crate) fn look_ahead(&self, rules: &Rules, at: u64, seq: u64) -> io::Result<Seen> {
        match self.segment.observe(&self.file, at)? {
            None | Some(0) => Ok(Seen::Vacant),
            // SAFETY: frames are lent up to here because they are committed, so this was the log's end
            // when the last of them was published. At the end there is a zero word until whoever holds the append lock
            // publishes a frame there, whole, or with it a whole batch.
            Some(_) => unsafe { self.segment.look_ahead(&self.file, rules, at, seq) },
        }
    }

    /// As [`look_ahead`](Self::look_ahead), for the payload's length and the end of a record that has a frame
    /// of its own; `None` if there is another thing, or the file may have grown since it was measured.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub(crate) fn single_ahead(&self, rules: &Rules, at: u64, seq: u64) -> Option<(u64, u64)> {
        // SAFETY: as above.
        unsafe { self.segment.single_ahead(rules, at, seq) }
    }

    /// Lends what lies below the page's end, which is asked for; gives that end if it is in here.
    #[allow(unsafe_code)]
    pub(crate) fn catch_up(&self, page: &Page) -> io::Result<Option<End>> {
        let end = page.end();
        if end.segment_id != self.id() {
            return Ok(None);
        }
        // SAFETY: of a live page everything below the end is committed.
        unsafe { self.segment.lend(&self.file, end.offset) }?;
        Ok(Some(end))
    }
}
