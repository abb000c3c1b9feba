//! A value that threads wait on for as long as it takes: for their turn, for something to do.
//!
//! Over std's locks, where a sleeping thread is known to nobody but the kernel. parking_lot keeps all
//! sleepers of a process in one table; a child of `fork` inherits the table and not the threads, and
//! the next thread that sleeps or wakes there may walk it for ever. So nobody sleeps in it for long:
//! its locks guard what is held for a moment. Does not know: what is waited for.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A value, and a way to be told that it changed.
#[derive(Debug, Default)]
pub(crate) struct Monitor<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Monitor<T> {
    pub(crate) fn new(value: T) -> Self {
        Monitor { value: Mutex::new(value), changed: Condvar::new() }
    }

    /// A panic under it leaves nothing half done: what it guards is a few words.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all who wait.
    pub(crate) fn tell(&self) {
        self.changed.notify_all();
    }

    /// Waits until it is told; may come back for nothing.
    pub(crate) fn wait<'m>(&'m self, value: MutexGuard<'m, T>) -> MutexGuard<'m, T> {
        self.changed.wait(value).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as `waits` says, until `deadline` at most; `None` stands for a time that never
    /// comes. What it says at last is to be asked of the value.
    pub(crate) fn wait_while_until<'m>(
        &'m self,
        mut value: MutexGuard<'m, T>,
        deadline: Option<Instant>,
        waits: impl Fn(&T) -> bool,
    ) -> MutexGuard<'m, T> {
        while waits(&value) {
            let Some(deadline) = deadline else {
                value = self.wait(value);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                break;
            }
            let waited = self.changed.wait_timeout(value, left);
            value = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        value
    }
}

/// When `timeout` is over; `None` if that is beyond all time.
pub(crate) fn deadline(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}
