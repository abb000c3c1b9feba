//! Finding the next record: from segment to segment, from view to view, past damage.
//!
//! Does not know: how to wait.

use std::ops::Range;

use super::Tail;
use super::cursor::{Cursor, Found, Step};
use crate::error::{Error, ErrorKind, Result};
use crate::scan::Fault;
use crate::view::View;

impl Tail {
    /// As [`next`](Self::next), if it is as near as it mostly is; `None` says nothing.
    #[inline(always)]
    pub(super) fn next_at_hand(&mut self) -> Option<Found> {
        let cursor = self.cursor.as_mut()?;
        let may_give = !self.durable_only || cursor.seq < self.durable_seq;
        if !may_give || cursor.seq != self.seq {
            return None;
        }
        let (len, next) = cursor.single()?;
        if self.site.has_moved(self.watch) {
            return None;
        }
        let found = cursor.take(len, next);
        self.seq = found.seq + 1;
        Some(found)
    }

    /// Finds the next record and goes behind it.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Found>> {
        loop {
            let Some(cursor) = &mut self.cursor else {
                if self.enter()? {
                    continue;
                }
                return Ok(None);
            };
            if self.durable_only && cursor.seq >= self.durable_seq && cursor.seq >= self.seq {
                if self.ask_durable()? {
                    continue;
                }
                return Ok(None);
            }
            let page = if self.view.live { self.site.page() } else { None };
            match cursor.step(page)? {
                Step::Record { len, next } => {
                    if self.site.has_moved(self.watch) {
                        self.refresh()?;
                        continue;
                    }
                    let found = cursor.take(len, next);
                    if found.seq >= self.seq {
                        self.seq = found.seq + 1;
                        return Ok(Some(found));
                    }
                }
                Step::Passed => {}
                other => {
                    if !self.stop(other)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// There is no record here. True if it pays to look again.
    #[inline(never)]
    fn stop(&mut self, step: Step) -> Result<bool> {
        match step {
            Step::Ended if self.cursor.as_ref().is_some_and(|cursor| !cursor.is_tip()) => {
                self.cursor = None;
                Ok(true)
            }
            Step::Invalid(fault) => self.pass_damage(fault),
            Step::Refused => Err(self.refused()),
            _ if self.look_around()? => Ok(true),
            // The file ends before the log does, or the frames before this place end it too early.
            _ if self.cursor.as_ref().is_some_and(|cursor| cursor.lacks(self.view.end)) => {
                self.pass_damage(Fault::Sequence)
            }
            _ => Ok(false),
        }
    }

    /// Looks whether the page sends it elsewhere; true if it does.
    fn look_around(&mut self) -> Result<bool> {
        if !self.view.live {
            return Ok(false);
        }
        match self.site.has_moved(self.watch) || self.site.names_moved(&self.view) {
            true => self.refresh(),
            false => Ok(false),
        }
    }

    /// Whether more is durable than was known.
    fn ask_durable(&mut self) -> Result<bool> {
        let before = self.durable_seq;
        if let Some(page) = self.site.page().filter(|_| self.view.live) {
            // One of the last epoch speaks of records that were cut.
            self.durable_seq = page.durable_seq_in_epoch().unwrap_or(before).max(before);
        }
        if self.durable_seq > before { Ok(true) } else { self.look_around() }
    }

    /// Takes a new view. True if it is another than the last. An error says what became of the
    /// position, which is another from then on.
    #[cold]
    pub(super) fn refresh(&mut self) -> Result<bool> {
        // Before the view: what moves while that is taken is seen the next time.
        let watch = self.site.watch();
        let view = self.site.view_again().inspect_err(|error| {
            if error.kind() == ErrorKind::Replaced {
                // There is nowhere to go on: so it stays.
                self.cursor = None;
                self.has_begun = false;
            }
        })?;
        let cut = self.site.cut_above(&view, self.epoch)?;
        let end_seq = cut.map_or(u64::MAX, |cut| cut.base_seq).min(view.end.seq);
        // Right at a cut nothing of what was read is known to be gone, unless an earlier cut is hidden.
        let is_behind = self.seq > end_seq
            || cut.is_some_and(|cut| cut.hides_others && cut.base_seq <= self.seq);
        // Then nothing is left of the epoch that it was in, and it may have ended before.
        let anew = match cut.is_some_and(|cut| cut.base_seq <= view.first_seq) {
            true => "what was cut may have been trimmed since, numbers begin anew before or at",
            false => "numbers begin anew at",
        };
        let last = std::mem::replace(&mut self.view, view);
        let has_history = std::mem::replace(&mut self.has_history, true);
        self.has_begun = true;
        (self.watch, self.epoch, self.durable_seq) =
            (watch, self.view.epoch, self.view.durable_seq);
        if is_behind {
            return Err(match has_history || cut.is_some() {
                true => self.move_to(end_seq, ErrorKind::Rewound, anew),
                false => self.move_to(end_seq, ErrorKind::OutOfRange, "the log ends at"),
            });
        }
        self.check_trimmed()?;
        if let Some(cursor) = &mut self.cursor {
            let kept = cursor.keep(&self.site, &self.view);
            if !matches!(kept, Ok(true)) {
                // What it knows is of an older view; the next call enters under this one.
                self.cursor = None;
                return kept.map(|_| true);
            }
        }
        let View { spans, end, live, .. } = &self.view;
        Ok(*end != last.end || *live != last.live || *spans != last.spans)
    }

    fn check_trimmed(&mut self) -> Result<()> {
        let first_seq = self.view.first_seq;
        match self.seq < first_seq {
            true => Err(self.move_to(first_seq, ErrorKind::Trimmed, "the first left is")),
            false => Ok(()),
        }
    }

    fn move_to(&mut self, seq: u64, kind: ErrorKind, what: &'static str) -> Error {
        let text = format!("record {} was next, {what} {seq}", self.seq);
        self.seq = seq;
        self.cursor = None;
        Error::new(kind, text).at_path(self.path()).at_seq(seq)
    }

    /// Enters the segment that holds the next record. True if it pays to look there.
    #[cold]
    fn enter(&mut self) -> Result<bool> {
        if !self.has_begun {
            self.refresh()?;
        }
        // It may have been told where numbers begin anew, and those are trimmed, too.
        self.check_trimmed()?;
        let index = self.view.spans.partition_point(|span| span.end_seq <= self.seq);
        let Some(span) = self.view.spans.get(index).copied() else { return self.look_around() };
        if self.seq < span.name.base_seq {
            let missing = self.seq..span.name.base_seq;
            return Err(self.lose(missing, "their segment is missing"));
        }
        match Cursor::open(&self.site, &self.view, &span, self.seq) {
            Ok(cursor) => {
                self.cursor = Some(cursor);
                Ok(true)
            }
            // It was unlinked since the view was taken: a new one says where to go on.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::Trimmed | ErrorKind::Rewound
                ) =>
            {
                if self.refresh()? {
                    Ok(true)
                } else {
                    Err(error)
                }
            }
            Err(error) if error.kind() == ErrorKind::Damaged => {
                let unreadable = self.seq..span.end_seq.min(self.view.end.seq);
                if unreadable.is_empty() {
                    return self.look_around();
                }
                self.seq = unreadable.end;
                Err(error.losing(unreadable))
            }
            Err(error) => Err(error),
        }
    }

    /// What stands here is not what was committed here, if anything was. True if it was passed without
    /// a loss.
    #[cold]
    fn pass_damage(&mut self, fault: Fault) -> Result<bool> {
        // What is known of the end may be older than what was seen.
        self.refresh()?;
        let Some(cursor) = &mut self.cursor else { return Ok(true) };
        if cursor.is_tip() && !cursor.is_before(self.view.end) {
            return Ok(false);
        }
        let (id, from) = (cursor.segment_id(), cursor.seq);
        let to = cursor.pass_damage(&self.view);
        let lost = from.max(self.seq)..to;
        if lost.is_empty() {
            return Ok(true);
        }
        Err(self.lose(lost, fault.phrase()).in_segment(id))
    }

    fn lose(&mut self, lost: Range<u64>, why: &'static str) -> Error {
        self.seq = lost.end;
        Error::loss(lost, why).at_path(self.path())
    }

    #[cold]
    fn refused(&self) -> Error {
        let (id, at) = self.cursor.as_ref().map_or((0, 0), |c| (c.segment_id(), c.at));
        Error::refused_frame(self.path(), id, at)
    }
}
