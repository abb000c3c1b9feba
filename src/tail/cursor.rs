//! A place in one segment of a log that is followed.
//!
//! Does not know: other segments, who waits.

use crate::error::Result;
use crate::format::frame::HEADER_BYTES;
use crate::format::header::HEADER_BYTES as DATA_START;
use crate::map::End;
use crate::reader::Record;
use crate::scan::{Fault, Resync, Rules, Seen, look, look_for_single, place_of};
use crate::shared::Page;
use crate::survey::Span;
use crate::view::{Followed, Site, View};

/// The page's end is asked for once in so many bytes of frames: its writer stores there all the time,
/// and each look from another core makes the next store wait.
const CATCH_UP_BYTES: u64 = 4096;

pub(super) struct Cursor {
    followed: Followed,
    rules: Rules,
    resync: Resync,
    pub(super) at: u64,
    /// The record expected at `at`.
    pub(super) seq: u64,
    /// Records from `at` on that belong to a batch found whole.
    in_batch: u64,
    /// Where this segment's share of the log ends.
    end_seq: u64,
    /// Without a live page, where the log ends: what stands there or behind was not committed. With one,
    /// nobody knows.
    known_seq: u64,
    /// The log ends in this segment, as far as the view knows.
    is_tip: bool,
    /// Where the page's end is to be asked for again.
    catch_up_at: u64,
}

/// A record that was found, and how many bytes it has. `at` is its payload's place.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(super) at: u64,
    pub(super) len: u64,
    pub(super) seq: u64,
}

/// A place to come back to.
#[derive(Clone, Copy)]
pub(super) struct Bookmark {
    at: u64,
    seq: u64,
    in_batch: u64,
}

/// What a step gave.
pub(super) enum Step {
    /// A record of `len` bytes, to be taken.
    Record { len: u64, next: u64 },
    /// Only a note; go on.
    Passed,
    /// Nothing is committed here yet.
    Vacant,
    /// The log goes on in another segment.
    Ended,
    /// Not what was committed here.
    Invalid(Fault),
    /// A frame of a later version that must not be passed over.
    Refused,
}

impl Cursor {
    /// In the segment of `span`, on the way to the record `seq`.
    pub(super) fn open(site: &Site, view: &View, span: &Span, seq: u64) -> Result<Self> {
        let followed = site.follow(view, span)?;
        let is_tip = span.name.id == view.end.segment_id;
        let (at, seq) = match is_tip && seq == view.end.seq {
            true => (view.end.offset, seq),
            false => (DATA_START, span.name.base_seq),
        };
        let header = &followed.segment.header;
        Ok(Cursor {
            rules: Rules { salt: header.salt, cut_seq: span.end_seq, check: true },
            resync: Resync::new(header.segment_bytes),
            followed,
            at,
            seq,
            in_batch: 0,
            end_seq: span.end_seq,
            known_seq: known_seq(view),
            is_tip,
            catch_up_at: at.saturating_add(CATCH_UP_BYTES),
        })
    }

    pub(super) fn segment_id(&self) -> u64 {
        self.followed.id()
    }

    pub(super) fn is_tip(&self) -> bool {
        self.is_tip
    }

    /// Goes on under a new view. False if this segment, or this place in it, is no part of that.
    pub(super) fn keep(&mut self, site: &Site, view: &View) -> Result<bool> {
        let id = self.segment_id();
        let index = view.spans.partition_point(|span| span.name.id < id);
        let Some(span) = view.spans.get(index).filter(|span| span.name.id == id) else {
            return Ok(false);
        };
        if self.seq > span.end_seq {
            return Ok(false);
        }
        // It is mapped already, so this lends what the view knows to be committed, and no more.
        self.followed.segment = site.map(view, span)?;
        self.is_tip = id == view.end.segment_id;
        (self.end_seq, self.known_seq) = (span.end_seq, known_seq(view));
        self.rules.cut_seq = span.end_seq;
        Ok(true)
    }

    /// The payload's length and the end of the record that stands here, if it has a frame of its own, as
    /// nearly all have. `None` says nothing of what stands here: [`step`](Self::step) tells.
    #[inline(always)]
    pub(super) fn single(&self) -> Option<(u64, u64)> {
        if self.in_batch > 0 || self.seq >= self.known_seq {
            return None;
        }
        match self.at < self.followed.segment.lent() {
            true => self.single_lent(),
            false if self.is_tip && self.is_live() && self.at < self.catch_up_at => {
                self.followed.single_ahead(&self.rules, self.at, self.seq)
            }
            false => None,
        }
    }

    #[inline(always)]
    fn single_lent(&self) -> Option<(u64, u64)> {
        let mut frames = self.followed.segment.frames();
        let Ok(single) = look_for_single(&mut frames, &self.rules, self.at, self.seq);
        let (_, next) = single?;
        frames.prefetch_ahead(self.at, next);
        single
    }

    #[inline(always)]
    fn is_live(&self) -> bool {
        self.known_seq == u64::MAX
    }

    /// Looks at what stands here. `page` is that of a live log.
    #[inline]
    pub(super) fn step(&mut self, page: Option<&Page>) -> Result<Step> {
        if self.seq >= self.end_seq {
            return Ok(Step::Ended);
        }
        if self.seq >= self.known_seq {
            return Ok(Step::Vacant);
        }
        if self.in_batch > 0 {
            return Ok(self.next_in_batch());
        }
        let seen = if self.at < self.followed.segment.lent() {
            let mut frames = self.followed.segment.frames();
            let Ok(seen) = look(&mut frames, &self.rules, self.at, self.seq);
            match seen {
                // Only in the segment where the log ends may one end before its share does.
                Seen::End { .. } if !self.is_tip => Seen::Invalid(Fault::Sequence),
                Seen::Vacant => Seen::Invalid(Fault::Sequence),
                seen => seen,
            }
        } else {
            match page {
                _ if !self.is_tip => Seen::Invalid(Fault::Sequence),
                None => Seen::Vacant,
                Some(page) => self.look_ahead(page)?,
            }
        };
        Ok(match seen {
            Seen::Single { len, next } => Step::Record { len, next },
            Seen::Batch { records, .. } => {
                self.in_batch = records;
                self.next_in_batch()
            }
            Seen::Mark { next, .. } | Seen::Skipped { next } => {
                self.at = next;
                Step::Passed
            }
            Seen::End { .. } => Step::Ended,
            Seen::Vacant => Step::Vacant,
            Seen::Invalid(fault) => Step::Invalid(fault),
            Seen::Refused => Step::Refused,
        })
    }

    #[inline]
    fn next_in_batch(&self) -> Step {
        let Ok((len, next)) = place_of(&mut self.followed.segment.frames(), self.at);
        Step::Record { len, next }
    }

    #[inline]
    fn look_ahead(&mut self, page: &Page) -> Result<Seen> {
        let Cursor { followed, rules, at, seq, .. } = self;
        let seen = followed.look_ahead(rules, *at, *seq);
        let seen = seen.map_err(|source| self.fault(source))?;
        if self.at >= self.catch_up_at && seen.next().is_some() {
            self.catch_up(page)?;
        }
        Ok(seen)
    }

    #[inline(never)]
    fn catch_up(&mut self, page: &Page) -> Result<()> {
        self.followed.catch_up(page).map_err(|source| self.fault(source))?;
        self.catch_up_at = self.followed.segment.lent().saturating_add(CATCH_UP_BYTES);
        Ok(())
    }

    #[cold]
    fn fault(&self, source: std::io::Error) -> crate::Error {
        crate::Error::io("reading a segment", source).in_segment(self.segment_id())
    }

    /// Takes the record that a step gave.
    #[inline]
    pub(super) fn take(&mut self, len: u64, next: u64) -> Found {
        let found = Found { at: self.at + HEADER_BYTES, len, seq: self.seq };
        self.seq += 1;
        self.at = next;
        self.in_batch = self.in_batch.saturating_sub(1);
        found
    }

    #[inline]
    pub(super) fn record(&self, found: Found) -> Record<'_> {
        Record::at(&self.followed.segment, found.at, found.len, found.seq)
    }

    pub(super) fn followed(&self) -> &Followed {
        &self.followed
    }

    pub(super) fn bookmark(&self) -> Bookmark {
        Bookmark { at: self.at, seq: self.seq, in_batch: self.in_batch }
    }

    pub(super) fn go_back(&mut self, to: Bookmark) {
        (self.at, self.seq, self.in_batch) = (to.at, to.seq, to.in_batch);
    }

    /// True if a log that ends there ends behind this place, in this segment: then what is here is
    /// committed.
    pub(super) fn is_before(&self, end: End) -> bool {
        end.segment_id == self.segment_id() && (end.offset > self.at || self.lacks(end))
    }

    /// True if a log that ends there, in this segment, has records that were not met up to here.
    pub(super) fn lacks(&self, end: End) -> bool {
        end.segment_id == self.segment_id() && end.seq > self.seq
    }

    /// Finds the next valid frame, below the end of what is lent; else goes to the end of this
    /// segment's share of `view`. Gives the first number that is not lost.
    pub(super) fn pass_damage(&mut self, view: &View) -> u64 {
        let mut frames = self.followed.segment.frames();
        let (until, to_seq) = match self.is_tip {
            true => (view.end.offset, view.end.seq),
            false => (u64::MAX, self.end_seq),
        };
        self.resync = self.resync.below(until);
        let Ok(found) = self.resync.next(&mut frames, &self.rules, self.at, self.seq);
        self.in_batch = 0;
        match found {
            Some((at, seq)) if seq <= to_seq => (self.at, self.seq) = (at, seq),
            _ if self.is_tip => (self.at, self.seq) = (until.max(self.at), to_seq.max(self.seq)),
            _ => self.seq = to_seq,
        }
        self.seq
    }
}

fn known_seq(view: &View) -> u64 {
    if view.live { u64::MAX } else { view.end.seq }
}
