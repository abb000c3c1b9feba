//! How far a consumer has come: what it was given, what is done, what of that is stored.
//!
//! Does not know: the records.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::done::Done;
use crate::cursors::OwnCursor;
use crate::error::{Error, ErrorKind, Result};
use crate::format::cursor::{Cursor, USER_BYTES};
use crate::map::Birth;

/// Shared by a consumer and its ackers.
pub(super) struct Progress {
    pub(super) name: String,
    birth: Birth,
    /// How long a stored place may wait for its sync, if anything asks for one.
    sync_within: Option<Duration>,
    state: Mutex<State>,
}

struct State {
    own: OwnCursor,
    done: Done,
    /// Under which the records before `given` hold.
    epoch: u64,
    /// Records before it were given.
    given: u64,
    /// Counts how often numbers came to mean other records.
    generation: u64,
    /// Since when what was stored waits for its sync.
    unsynced_since: Option<Instant>,
}

impl Progress {
    /// `epoch` and `seq` are where the consumer goes on.
    pub(super) fn new(
        name: &str,
        own: OwnCursor,
        (epoch, seq): (u64, u64),
        sync_within: Option<Duration>,
    ) -> Self {
        let (birth, done) = (own.birth(), Done::below(seq));
        let (given, generation, unsynced_since) = (seq, 0, None);
        let state = State { own, done, epoch, given, generation, unsynced_since };
        Progress { name: name.to_owned(), birth, sync_within, state: Mutex::new(state) }
    }

    /// Refuses in a child of `fork`, before any lock: it may have been held at that moment.
    #[inline]
    pub(super) fn check_process(&self) -> Result<()> {
        match self.birth.is_this_process() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Forked, "open the log anew in the child")),
        }
    }

    /// Records before `next_seq` were given.
    #[inline]
    pub(super) fn gave(&self, epoch: u64, next_seq: u64) {
        let mut state = self.state.lock();
        (state.epoch, state.given) = (epoch, next_seq);
    }

    /// The tail said what became of its position, and goes on at `next_seq`.
    #[cold]
    pub(super) fn told(&self, error: &Error, epoch: u64, next_seq: u64) {
        let mut state = self.state.lock();
        match error.kind() {
            ErrorKind::Rewound => {
                state.done.cut(next_seq);
                state.generation += 1;
            }
            ErrorKind::Trimmed => state.done.add(0..next_seq),
            // Whoever was told can do no more about them.
            _ => state.done.add(error.lost().unwrap_or_default()),
        }
        (state.epoch, state.given) = (epoch, next_seq);
    }

    pub(super) fn generation(&self) -> u64 {
        self.look(|state| state.generation)
    }

    pub(super) fn lowest_open(&self) -> u64 {
        self.look(|state| state.done.lowest_open())
    }

    pub(super) fn user_data(&self) -> Vec<u8> {
        self.look(|state| state.own.place.user.clone())
    }

    /// Nothing is known in a child of `fork`, where nobody may give the lock back.
    fn look<T: Default>(&self, look: impl FnOnce(&State) -> T) -> T {
        match self.birth.is_this_process() {
            true => look(&self.state.lock()),
            false => T::default(),
        }
    }

    /// Record `seq` is done, with all before it if `with_all_before`; they were given in this `generation`,
    /// `None` for the last.
    pub(super) fn ack(
        &self,
        generation: Option<u64>,
        seq: u64,
        with_all_before: bool,
        user: Option<&[u8]>,
    ) -> Result<()> {
        self.check_process()?;
        if let Some(user) = user.filter(|user| user.len() > USER_BYTES) {
            let text =
                format!("{} bytes beside a consumer's place, of at most {USER_BYTES}", user.len());
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        let mut state = self.state.lock();
        if generation.is_some_and(|generation| generation != state.generation) {
            let text = format!("record {seq} was given before the consumer was set back");
            return Err(Error::new(ErrorKind::Rewound, text).at_seq(state.given));
        }
        if seq >= state.given {
            let text = format!("record {seq} was not given yet, the next is {}", state.given);
            return Err(Error::new(ErrorKind::OutOfRange, text).at_seq(seq));
        }
        let start = if with_all_before { 0 } else { seq };
        state.done.add(start..seq + 1);
        state.store(user)?;
        state.sync_if_due(self.sync_within)
    }

    /// Puts on stable storage what is done.
    pub(super) fn sync(&self) -> Result<()> {
        self.check_process()?;
        self.state.lock().sync()
    }
}

impl State {
    /// Stores the place, if it or what stands beside it is new.
    fn store(&mut self, user: Option<&[u8]>) -> Result<()> {
        let stored = &self.own.place;
        let seq = self.done.lowest_open();
        let is_new = (self.epoch, seq) != (stored.epoch, stored.seq)
            || user.is_some_and(|user| user != stored.user);
        if is_new {
            let user = user.unwrap_or(&stored.user).to_vec();
            let place = Cursor { epoch: self.epoch, seq, rewound: false, user, ..stored.clone() };
            self.own.store(place)?;
            self.unsynced_since.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    fn sync_if_due(&mut self, within: Option<Duration>) -> Result<()> {
        match self.unsynced_since.zip(within) {
            Some((since, within)) if since.elapsed() >= within => self.sync(),
            _ => Ok(()),
        }
    }

    fn sync(&mut self) -> Result<()> {
        if self.unsynced_since.is_some() {
            self.own.sync()?;
            self.unsynced_since = None;
        }
        Ok(())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.birth.is_this_process() {
            // Nobody is left to be told; what was not synced is given again after a power cut.
            let _as_well_as_it_can = self.state.get_mut().sync();
        }
    }
}
