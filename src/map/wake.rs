//! The wake words, mapped, and the protocol by which nobody sleeps through news.

use std::io;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use memmap2::{MmapOptions, MmapRaw};
use rustix::io::Errno;
use rustix::thread::{MembarrierCommand, futex, membarrier};

use super::word::{announce, bump, bump_if_awaited};
use crate::dir::File;
use crate::format::wake::{BYTES, Place};

/// The file `wake`, mapped for writing. It has its full size before it is mapped and is never resized.
pub(crate) struct WakeMap {
    map: MmapRaw,
    /// The barriers of those who wait reach this process.
    within_reach: bool,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// The time is up, or there may be news.
    Slept,
    /// The kernel cannot wait on this word.
    Refused,
}

impl WakeMap {
    /// `file` holds at least [`BYTES`]; its caller has checked that.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        let map = MmapOptions::new().len(BYTES as usize).map_raw(file)?;
        Ok(WakeMap { map, within_reach: false })
    }

    /// For who has news all the time: asks to be reached by the barriers of those who wait, so that
    /// [`bump_if_awaited`](Self::bump_if_awaited) is no more than a look.
    pub(crate) fn within_reach(self) -> Self {
        // Refused before Linux 4.16, and where it is filtered; then each news is an addition. It is the
        // process that is registered, and a child of `fork` opens the log anew.
        let within_reach = membarrier(MembarrierCommand::RegisterGlobalExpedited).is_ok();
        WakeMap { within_reach, ..self }
    }

    #[inline]
    pub(super) fn word(&self, place: Place) -> &AtomicU32 {
        let at = place.at();
        debug_assert!(at + 4 <= BYTES as usize && at.is_multiple_of(4));
        // SAFETY: every place is a constant of the layout, which asserts that it ends inside the
        // file and lies on a multiple of four; everyone accesses the words atomically.
        unsafe { AtomicU32::from_ptr(self.map.as_mut_ptr().add(at).cast()) }
    }

    /// Says that there is news, after it was published.
    #[inline]
    pub(crate) fn bump(&self, place: Place) {
        let word = self.word(place);
        bump(word, || self.wake(place));
    }

    /// As [`bump`](Self::bump); costs little while nobody waits.
    #[inline]
    pub(crate) fn bump_if_awaited(&self, place: Place) {
        let word = self.word(place);
        match self.within_reach {
            true => bump_if_awaited(word, || self.wake(place)),
            false => bump(word, || self.wake(place)),
        }
    }

    #[cold]
    fn wake(&self, place: Place) {
        hook!("wake.swapped");
        // Nothing can be done about a failure, and nobody waits longer than their own limit.
        let _woken = futex::wake(self.word(place), futex::Flags::empty(), i32::MAX as u32);
    }

    /// Says that somebody is about to wait; gives the value to wait on. Who looks for news behind this
    /// either finds it, or is woken by it. `None` if the kernel has no barrier for that: news may be
    /// slept through.
    pub(crate) fn announce(&self, place: Place) -> Option<u32> {
        let mut reached = false;
        // It interrupts only processors that run a registered process just now.
        let barrier = || reached = membarrier(MembarrierCommand::GlobalExpedited).is_ok();
        let seen = announce(self.word(place), barrier);
        reached.then_some(seen)
    }

    /// Waits while the word is `seen`, and no longer than `limit`.
    pub(crate) fn wait(&self, place: Place, seen: u32, limit: Duration) -> Waited {
        let limit = futex::Timespec {
            tv_sec: limit.as_secs().min(i32::MAX as u64) as i64,
            tv_nsec: limit.subsec_nanos().into(),
        };
        // Without the private flag: who wakes may be another process.
        match futex::wait(self.word(place), futex::Flags::empty(), seen, Some(&limit)) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => Waited::Slept,
            Err(_) => Waited::Refused,
        }
    }

    /// True if somebody has announced a wait since the last news.
    #[cfg(test)]
    pub(crate) fn is_awaited(&self, place: Place) -> bool {
        super::word::Word::load_relaxed(self.word(place)) & crate::format::wake::WAITERS != 0
    }
}
