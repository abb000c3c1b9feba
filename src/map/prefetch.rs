//! Asking the processor for memory before it is needed.

use std::ops::Range;

/// How far ahead of itself a walk asks for memory. A page: the processor's own prefetching ends where a page
/// does, so that without this the first lines of each are waited for.
pub(crate) const AHEAD_BYTES: u64 = 4096;

const LINE_BYTES: u64 = 64;

/// Asks for the lines of `range`, in bytes from `base`, and perhaps one behind it. It is a wish: nothing is
/// read, nothing has to be there, and processors other than x86-64 are not asked.
#[inline(always)]
pub(crate) fn prefetch(base: *const u8, range: Range<u64>) {
    let ask_at = |at: u64| ask(base.wrapping_add(at as usize));
    // What most frames need, without a loop.
    ask_at(range.start);
    ask_at(range.start + LINE_BYTES);
    let mut at = range.start + 2 * LINE_BYTES;
    while at < range.end {
        ask_at(at);
        at += LINE_BYTES;
    }
}

/// For who is about to store to all of `place`, and goes on behind it: asks for as much some way ahead.
#[inline(always)]
pub(crate) fn prefetch_behind(place: &[u8]) {
    // More at once would push itself out again.
    const MOST_BYTES: u64 = 32 * 1024;
    let len = place.len() as u64;
    if len <= MOST_BYTES {
        prefetch(place.as_ptr(), AHEAD_BYTES..AHEAD_BYTES + len);
    }
}

#[inline(always)]
fn ask(line: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction is part of every x86-64 processor, and takes any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}
