//! Sleeping on many wake words at once, and on a bell by which another thread calls the sleeper back.

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::futex::{self, Wait, WaitFlags, WaitPtr, WaitvFlags};
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::wake::{Waited, WakeMap};
use crate::format::wake::Place;

/// As many words as the kernel waits on at once (`FUTEX_WAITV_MAX`), the bell among them.
const MOST_WORDS: usize = 128;

/// Calls one thread of this process back from its sleep.
#[derive(Default)]
pub(crate) struct Bell(AtomicU32);

impl Bell {
    /// How often it was rung.
    pub(crate) fn rung(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// What was done before is seen by who is called back. Pairs with [`rung`](Self::rung).
    pub(crate) fn ring(&self) {
        self.0.fetch_add(1, Ordering::Release);
        // It fails for addresses that are not mapped; this is.
        let _woken = futex::wake(&self.0, futex::Flags::PRIVATE, 1);
    }

    /// Sleeps until it is rung more often than `rung`, for `limit` at most. May return early.
    pub(crate) fn wait(&self, rung: u32, limit: Duration) {
        // Changed already, timed out, interrupted: in each case the caller looks again.
        let _woken = futex::wait(&self.0, futex::Flags::PRIVATE, rung, Some(&timespec(limit)));
    }

    /// As [`wait`](Self::wait), and until one of `words` is not what was seen of it. Refused if there are too
    /// many, or the kernel is older than Linux 5.16.
    pub(crate) fn wait_for_any<'w>(
        &self,
        rung: u32,
        words: impl ExactSizeIterator<Item = Awaited<'w>>,
        limit: Duration,
    ) -> Waited {
        if words.len() >= MOST_WORDS {
            return Waited::Refused;
        }
        let bell = wait_on(&self.0, rung, WaitFlags::SIZE_U32 | WaitFlags::PRIVATE);
        // Without the private flag: who wakes may be another process.
        let words = words.map(|Awaited { map, place, seen }| {
            wait_on(map.word(place), seen, WaitFlags::SIZE_U32)
        });
        let all: Vec<_> = std::iter::once(bell).chain(words).collect();
        // The call wants a time and not a duration.
        let now = clock_gettime(ClockId::Monotonic);
        let until = Duration::new(now.tv_sec as u64, now.tv_nsec as u32).saturating_add(limit);
        use rustix::io::Errno;
        match futex::waitv(&all, WaitvFlags::empty(), Some(&timespec(until)), ClockId::Monotonic) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => Waited::Slept,
            Err(_) => Waited::Refused,
        }
    }
}

/// A wake word, and the value to wait on.
#[derive(Clone, Copy)]
pub(crate) struct Awaited<'w> {
    pub(crate) map: &'w WakeMap,
    pub(crate) place: Place,
    pub(crate) seen: u32,
}

impl Awaited<'_> {
    pub(crate) fn has_moved(&self) -> bool {
        use super::word::Word;
        self.map.word(self.place).load_relaxed() != self.seen
    }

    /// What is alike for those that one sleep can stand for.
    pub(crate) fn key(&self) -> (usize, u32) {
        (ptr::from_ref(self.map.word(self.place)).addr(), self.seen)
    }
}

fn wait_on(word: &AtomicU32, seen: u32, flags: WaitFlags) -> Wait {
    let mut wait = Wait::new();
    wait.val = seen.into();
    wait.uaddr = WaitPtr::new(word.as_ptr().cast());
    wait.flags = flags;
    wait
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: time.as_secs().min(i32::MAX as u64) as i64,
        tv_nsec: time.subsec_nanos().into(),
    }
}
