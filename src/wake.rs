//! Waking who waits for a log: the file `wake`.
//!
//! Does not know: what there is news of.

use std::io;
#[cfg(feature = "async")]
use std::sync::Arc;
use std::time::Duration;

use crate::dir::{self, Dir};
use crate::format::name::WAKE;
use crate::format::wake;
#[cfg(feature = "async")]
use crate::map::AwaitedWord;
use crate::map::{Waited, WakeMap};

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    Records,
    /// The durable position.
    Durable,
}

/// The longest that anybody sleeps without looking: who was to wake them may have died before it did.
pub(crate) const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// How long who cannot be woken sleeps.
pub(crate) const NAP: Duration = Duration::from_millis(1);

/// The wake words of one log.
pub(crate) struct Wake {
    map: WakeMap,
}

impl Wake {
    /// Opens the words for a handle that appends, making their file if needed. Only under the gate.
    pub(crate) fn open(dir: &Dir, mode: u32) -> io::Result<Self> {
        let file = dir.open_or_create(WAKE, mode)?;
        if !dir::is_backed(&file, wake::BYTES)? {
            // It is new: whoever is allowed to read the log may ask to be woken. Later on its mode is
            // the business of whoever changes it.
            dir::set_mode(&file, wake::mode(dir::mode(&file)?))?;
            dir::allocate(&file, 0, wake::BYTES)?;
        }
        Ok(Wake { map: WakeMap::new(&file)?.within_reach() })
    }

    /// Opens the words for who waits; `None` if there are none, or it may not write to them.
    pub(crate) fn open_to_wait(dir: &Dir) -> io::Result<Option<Self>> {
        let file = match dir.open_to_write(WAKE) {
            Err(error) if cannot_write(error.kind()) => return Ok(None),
            other => other?,
        };
        if dir::file_bytes(&file)? < wake::BYTES {
            return Ok(None);
        }
        Ok(Some(Wake { map: WakeMap::new(&file)? }))
    }

    /// A record was published, and the page's end moved.
    #[inline]
    pub(crate) fn records_came(&self) {
        if !broken!("no_wake") {
            self.map.bump_if_awaited(wake::RECORDS);
        }
    }

    /// The durable position moved.
    pub(crate) fn position_moved(&self) {
        self.map.bump(wake::DURABLE);
    }

    /// Something else happened that all who wait should look at.
    pub(crate) fn everyone(&self) {
        self.map.bump(wake::RECORDS);
        self.map.bump(wake::DURABLE);
    }

    /// Says that somebody is about to wait; to be followed by a last look, and [`sleep`](Self::sleep).
    pub(crate) fn announce(&self, what: Awaited) -> Announced<'_> {
        let place = match what {
            Awaited::Records => wake::RECORDS,
            Awaited::Durable => wake::DURABLE,
        };
        Announced { wake: self, place, seen: self.map.announce(place) }
    }

    #[cfg(test)]
    pub(crate) fn is_awaited(&self, what: Awaited) -> bool {
        self.map.is_awaited(match what {
            Awaited::Records => wake::RECORDS,
            Awaited::Durable => wake::DURABLE,
        })
    }
}

/// A wait that was announced.
pub(crate) struct Announced<'w> {
    wake: &'w Wake,
    place: wake::Place,
    /// `None` where news may be slept through.
    seen: Option<u32>,
}

impl Announced<'_> {
    /// Sleeps until there is news since the announcement, and no longer than `limit`.
    pub(crate) fn sleep(self, limit: Duration) {
        let limit = limit.min(LONGEST_SLEEP);
        let waited = self.seen.map(|seen| self.wake.map.wait(self.place, seen, limit));
        if waited != Some(Waited::Slept) {
            std::thread::sleep(limit.min(NAP));
        }
    }
}

#[cfg(feature = "async")]
impl AsRef<Wake> for Wake {
    fn as_ref(&self) -> &Wake {
        self
    }
}

/// Whoever keeps wake words mapped.
#[cfg(feature = "async")]
pub(crate) type Keeper = Arc<dyn AsRef<Wake> + Send + Sync>;

/// A wait that was announced and that another thread may sleep through.
#[cfg(feature = "async")]
#[derive(Clone)]
pub(crate) struct Pending {
    keeper: Keeper,
    place: wake::Place,
    seen: u32,
}

#[cfg(feature = "async")]
impl Pending {
    /// As [`Wake::announce`]: to be followed by a last look. `None` where news may be slept through: then
    /// it is to be looked for now and then.
    pub(crate) fn announce(keeper: Keeper, what: Awaited) -> Option<Self> {
        let Announced { place, seen, .. } = (*keeper).as_ref().announce(what);
        seen.map(|seen| Pending { keeper, place, seen })
    }

    /// The word to sleep on.
    pub(crate) fn word(&self) -> AwaitedWord<'_> {
        let Pending { keeper, place, seen } = self;
        AwaitedWord { map: &(**keeper).as_ref().map, place: *place, seen: *seen }
    }
}

fn cannot_write(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(kind, NotFound | PermissionDenied | ReadOnlyFilesystem)
}
