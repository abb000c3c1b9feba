//! Sleeping on words of shared memory until somebody says that they changed (futex(2)).

use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use rustix::thread::futex::{self, Flags};
use rustix::time::Timespec;

/// The half of a word that changes most, by which the kernel compares.
fn low_half(word: &AtomicU64) -> &AtomicU32 {
    let place = usize::from(cfg!(target_endian = "big"));
    // SAFETY: both halves lie inside the word, aligned for four bytes, and live as long. Nothing is
    // accessed through the reference: its address goes to the kernel.
    unsafe { AtomicU32::from_ptr(word.as_ptr().cast::<u32>().add(place)) }
}

/// Sleeps while the word's lower half is that of `value`, for `timeout` at most. May return early.
pub(super) fn wait_low_half(word: &AtomicU64, value: u64, timeout: Duration) {
    let timeout = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // Changed already, timed out, interrupted: in each case the caller looks again.
    let _woken = futex::wait(low_half(word), Flags::empty(), value as u32, Some(&timeout));
}

/// Wakes up to `sleepers` of those that sleep on the word.
pub(super) fn wake_low_half(word: &AtomicU64, sleepers: u32) {
    // It fails for addresses that are not mapped; these are.
    let _woken = futex::wake(low_half(word), Flags::empty(), sleepers);
}
