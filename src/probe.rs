//! Finding a record in a segment without walking to it: the frames themselves are the index.
//!
//! Does not know: segments, readers, what was found before.

use crate::format::ALIGN;
use crate::index::SPACING_BYTES;
use crate::scan::{Resync, Rules, Seen, Source, look};

/// A place where a frame begins, and the record that is expected there next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) at: u64,
    pub(crate) seq: u64,
}

/// How far a probe steps on in search of a frame.
const WINDOW_BYTES: u64 = 16 * 1024;

/// More guesses than the halving of any segment takes, twice.
const GUESSES: u32 = 128;

/// So far it walks where the record is expected near.
const WALK_BYTES: u64 = 4 * 1024;

/// So many guesses are by proportion; then others halve what is left, whatever the frames
/// are like.
const FREE_GUESSES: u32 = 6;

/// Where the record `seq` stands, or a mark before it, or the first frame of its batch.
///
/// `from` is an anchor at or before it; `to`, behind it, is one or the end of what may be looked at. A
/// guess is a place between them, from which it steps on until a frame validates whose number can be right
/// between theirs; that frame is the new `from` or `to`. Where none is found near, as inside a large
/// record, the place moves back, each time twice as far. The last bytes are walked from frame to frame.
///
/// `None` if nothing fits: then only a walk can tell. What it checksums is bounded by the bytes between
/// `from` and `to`, and so are its steps.
pub(crate) fn locate<S: Source>(
    source: &mut S,
    rules: &Rules,
    from: Anchor,
    to: Anchor,
    seq: u64,
) -> Result<Option<Anchor>, S::Fault> {
    let budget = Resync::of_bytes(to.at.saturating_sub(from.at));
    let mut search = Search { source, rules, budget, from, to, barren_from: to.at, back: 0, seq };
    for guess in 0..GUESSES {
        if search.from.seq == seq {
            return Ok(Some(search.from));
        }
        let walk_to = if search.barren_from.saturating_sub(search.from.at) <= SPACING_BYTES {
            search.barren_from
        } else if guess % 2 == 1 && search.proportion() <= WALK_BYTES / 2 {
            search.from.at + WALK_BYTES
        } else {
            search.probe(guess)?;
            continue;
        };
        match search.walk(walk_to)? {
            Walked::ToBatch => return Ok(Some(search.from)),
            Walked::On => {}
            Walked::Nowhere => return Ok(None),
        }
    }
    Ok(None)
}

enum Walked {
    On,
    /// The record is in the batch that begins at `from`.
    ToBatch,
    /// There is no valid frame on the way.
    Nowhere,
}

/// - `from` is an anchor, and the record `seq` stands at it or behind;
/// - `seq` stands before `to`;
/// - a probe found no frame from `barren_from` on for the length of a window, or it is `to.at`.
struct Search<'a, S> {
    source: &'a mut S,
    rules: &'a Rules,
    budget: Resync,
    from: Anchor,
    to: Anchor,
    barren_from: u64,
    /// How far before `barren_from` the next guess is; 0 for a guess by proportion.
    back: u64,
    seq: u64,
}

impl<S: Source> Search<'_, S> {
    fn probe(&mut self, guess: u32) -> Result<(), S::Fault> {
        let at = self.guess(guess);
        let until = (at + WINDOW_BYTES).min(self.barren_from);
        let known = (self.from.at, self.from.seq);
        let last = self.to.seq;
        match self.budget.first_in(self.source, self.rules, at..until, known, last)? {
            Some((at, seq)) if seq <= self.seq => {
                self.from = Anchor { at, seq };
                self.back = 0;
            }
            Some((at, seq)) => {
                self.to = Anchor { at, seq };
                (self.barren_from, self.back) = (at, 0);
            }
            None => {
                self.barren_from = at;
                self.back = (self.back * 2).max(WINDOW_BYTES);
            }
        }
        Ok(())
    }

    /// A place behind `from` and before what is barren.
    fn guess(&self, guess: u32) -> u64 {
        let from = self.from.at + ALIGN;
        let room = self.barren_from - from;
        let offset = if self.back > 0 {
            room.saturating_sub(self.back)
        } else if guess > FREE_GUESSES && guess.is_multiple_of(2) {
            room / 2
        } else {
            // A little before it, since the first frame behind the guess is what is found.
            self.proportion().saturating_sub(SPACING_BYTES / 2)
        };
        (from + offset.min(room - ALIGN)) / ALIGN * ALIGN
    }

    /// How far behind `from` the record is, if all are alike.
    fn proportion(&self) -> u64 {
        let room = self.barren_from.saturating_sub(self.from.at);
        let records = (self.to.seq - self.from.seq).max(1);
        let share = u128::from(room) * u128::from(self.seq - self.from.seq);
        (share / u128::from(records)) as u64
    }

    /// Goes from frame to frame, to the record or to a frame at or behind `to`.
    fn walk(&mut self, to: u64) -> Result<Walked, S::Fault> {
        let rules = Rules { check: false, ..*self.rules };
        while self.from.at < to && self.from.seq < self.seq {
            let (records, next) = match look(self.source, &rules, self.from.at, self.from.seq)? {
                Seen::Single { next, .. } => (1, next),
                Seen::Batch { records, next } => (records, next),
                Seen::Mark { next, .. } | Seen::Skipped { next } => (0, next),
                _ => return Ok(Walked::Nowhere),
            };
            if self.from.seq + records > self.seq {
                return Ok(Walked::ToBatch);
            }
            self.from = Anchor { at: next, seq: self.from.seq + records };
        }
        if self.from.at >= self.barren_from {
            (self.barren_from, self.back) = (self.to.at, 0);
        }
        let is_between = self.from.at < self.to.at || self.from.seq == self.seq;
        Ok(if is_between { Walked::On } else { Walked::Nowhere })
    }
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
