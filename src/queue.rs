//! Waiting for the append lock, and taking it over from a process that died with it.
//!
//! A lock is never taken because time has passed: only when the kernel says that its holder's process
//! is gone. Does not know: what is done under the lock.

use std::hint::spin_loop;
use std::thread::yield_now;
use std::time::{Duration, Instant};

use crate::attach::Seized;
use crate::error::{ErrorKind, Result};
use crate::home::Home;
use crate::map::{Guarded, Held, Manner, Seen};
use crate::monitor::{Monitor, deadline};
use crate::writer::Appender;

/// Looks before the first sleep: an append takes less time than falling asleep.
const SPINS: usize = 100;
/// Who waited so long asks the kernel whether the lock's holder lives, and goes before those who come
/// later.
const PATIENCE: Duration = Duration::from_millis(2);
/// How long one sleep may be: a process that died between giving the lock back and waking somebody
/// wakes nobody.
const NAP: Duration = Duration::from_millis(5);

/// The threads of this process that wait for the lock: one of them at a time asks for it.
#[derive(Default)]
pub(crate) struct Queue {
    /// Whether one is asking.
    front: Monitor<bool>,
}

/// The right to ask, given back when dropped.
struct Front<'q>(&'q Monitor<bool>);

impl Drop for Front<'_> {
    fn drop(&mut self) {
        *self.0.lock() = false;
        self.0.tell();
    }
}

impl Queue {
    #[cold]
    pub(crate) fn wait<'l>(
        &self,
        home: &Home,
        appender: &'l Guarded<Appender>,
        timeout: Duration,
    ) -> Result<Held<'l, Appender>> {
        let since = Instant::now();
        let timed_out = || {
            let text = "another thread or process holds the append lock all the while";
            home.error(ErrorKind::LockTimeout, text)
        };
        let _front = self.come_to_the_front(timeout).ok_or_else(timed_out)?;
        for _ in 0..SPINS {
            if let Ok(held) = appender.try_lock(Manner::Polite) {
                return Ok(held);
            }
            spin_loop();
        }
        let mut manner = Manner::Polite;
        loop {
            let seen = match appender.try_lock(manner) {
                Ok(held) => return Ok(held),
                Err(seen) => seen,
            };
            let waited = since.elapsed();
            // At the end of all patience, too: a dead process keeps nobody from it, however short it is.
            if waited >= PATIENCE.min(timeout)
                && let Some(held) = inherit(home, appender, seen)?
            {
                return Ok(held);
            }
            if waited >= timeout {
                // Nobody may hold it, and who wished to go first may be gone.
                return appender.try_lock(Manner::Urgent).map_err(|_| timed_out());
            }
            if waited >= PATIENCE {
                appender.urge();
                manner = Manner::Urgent;
            }
            if seen.is_held() {
                appender.sleep(seen, NAP.min(timeout.saturating_sub(waited)));
                manner = if manner == Manner::Polite { Manner::Slept } else { manner };
            } else {
                yield_now();
            }
        }
    }
}

impl Queue {
    fn come_to_the_front(&self, timeout: Duration) -> Option<Front<'_>> {
        let taken = self.front.lock();
        let mut taken = self.front.wait_while_until(taken, deadline(timeout), |taken| *taken);
        let free = !std::mem::replace(&mut *taken, true);
        free.then(|| Front(&self.front))
    }
}

/// Takes the lock from the process that was `seen` to hold it, if that is dead, and finds out what it
/// left.
pub(crate) fn inherit<'l>(
    home: &Home,
    appender: &'l Guarded<Appender>,
    seen: Seen,
) -> Result<Option<Held<'l, Appender>>> {
    let owner = seen.token().participant();
    if !seen.is_held() || owner == home.participant() {
        return Ok(None);
    }
    // Of another log's file `lock` nobody holds a byte, though the owner lives.
    home.check_place()?;
    // As long as its byte is held nobody attaches as that participant, so it stays dead.
    let Some(_byte) = Seized::take(home.dir(), owner)? else { return Ok(None) };
    let Some(mut held) = appender.inherit(seen) else { return Ok(None) };
    hook!("takeover.inherited");
    held.take_over(home)?;
    Ok(Some(held))
}
