//! The protocols by which bytes pass between threads and processes, over a word that loom can swap
//! for its own: publishing a frame by its commit word, the end in two copies, and waking who waits.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

#[cfg(loom)]
use loom::sync::atomic::fence;
#[cfg(not(loom))]
use std::sync::atomic::fence;

use crate::format::wake::{ONE, WAITERS};

/// A word in shared memory.
///
/// There is no acquiring load: on a mapping without write permission std defines only relaxed
/// loads, so an observer loads relaxed and then fences.
pub(crate) trait Word<T> {
    fn load_relaxed(&self) -> T;
    fn store_relaxed(&self, value: T);
    fn store_release(&self, value: T);
}

macro_rules! word {
    ($atomic:ty, $value:ty) => {
        impl Word<$value> for $atomic {
            #[inline]
            fn load_relaxed(&self) -> $value {
                self.load(Ordering::Relaxed)
            }
            #[inline]
            fn store_relaxed(&self, value: $value) {
                self.store(value, Ordering::Relaxed);
            }
            #[inline]
            fn store_release(&self, value: $value) {
                self.store(value, Ordering::Release);
            }
        }
    };
}

word!(AtomicU32, u32);
word!(AtomicU64, u64);
#[cfg(loom)]
word!(loom::sync::atomic::AtomicU32, u32);
#[cfg(loom)]
word!(loom::sync::atomic::AtomicU64, u64);

/// Publishes the frame whose commit word is `this`.
///
/// | word at the end | means | next |
/// |---|---|---|
/// | zero | nothing is committed here | the writer stores payload, sequence number and checksum behind it |
/// | zero, frame written | still nothing, to anyone | a death here leaves no frame |
/// | kind and length | committed: never written again | `next` is the end, and zero |
///
/// `next`, the word behind the frame, is zeroed first: what an abandoned reservation left there is
/// never taken for a frame. The release pairs with the fence of [`observe`].
#[inline]
pub(crate) fn publish<W: Word<u32>>(next: &W, this: &W, bits: u32) {
    if !broken!("no_zero_word") {
        next.store_relaxed(0);
    }
    hook!("publish.zeroed");
    this.store_release(bits);
}

/// The commit word at `this`; if it is not zero, everything stored before it was published is
/// visible. The fence pairs with the release of [`publish`].
#[inline]
pub(crate) fn observe<W: Word<u32>>(this: &W) -> u32 {
    let bits = this.load_relaxed();
    if bits != 0 {
        fence(Ordering::Acquire);
    }
    bits
}

/// Three words that are read together, though nobody may wait for their writer: it stores into the
/// copy that does not count and then moves the turn, so a writer that stops anywhere leaves a whole
/// copy. One writer at a time.
pub(crate) struct Twin<'a, W> {
    pub(crate) turn: &'a W,
    pub(crate) copies: &'a [[W; 3]; 2],
}

impl<W: Word<u64>> Twin<'_, W> {
    #[inline]
    pub(crate) fn store(&self, values: [u64; 3]) {
        let turn = self.turn.load_relaxed().wrapping_add(1);
        // Pairs with the fence before the second look in `load`: who reads any word stored below
        // also sees the turn that was stored before this fence, and looks again.
        fence(Ordering::Release);
        for (word, value) in self.copy(turn).iter().zip(values) {
            word.store_relaxed(value);
        }
        hook!("end.half_stored");
        // Pairs with the first fence in `load`.
        self.turn.store_release(turn);
    }

    /// `None` if the writer came by meanwhile; then there is news, and asking again pays.
    #[inline]
    pub(crate) fn load(&self) -> Option<[u64; 3]> {
        let turn = self.turn.load_relaxed();
        fence(Ordering::Acquire);
        let values = self.copy(turn).each_ref().map(W::load_relaxed);
        fence(Ordering::Acquire);
        (self.turn.load_relaxed() == turn).then_some(values)
    }

    #[inline]
    fn copy(&self, turn: u64) -> &[W; 3] {
        &self.copies[(turn & 1) as usize]
    }
}

/// A word that is waited on: a count, and below it a bit that says that somebody waits.
pub(crate) trait WakeWord: Word<u32> {
    /// Adds, with release order, and gives what stood there.
    fn add(&self, count: u32) -> u32;
    /// Takes bits away; what was added before stays released.
    fn clear(&self, bits: u32);
    /// Replaces `old` by `new`, with acquire order; gives what stood there if that was not `old`.
    fn replace(&self, old: u32, new: u32) -> Result<(), u32>;
}

macro_rules! wake_word {
    ($atomic:ty) => {
        impl WakeWord for $atomic {
            #[inline]
            fn add(&self, count: u32) -> u32 {
                self.fetch_add(count, Ordering::Release)
            }
            fn clear(&self, bits: u32) {
                self.fetch_and(!bits, Ordering::Relaxed);
            }
            fn replace(&self, old: u32, new: u32) -> Result<(), u32> {
                self.compare_exchange(old, new, Ordering::Acquire, Ordering::Relaxed).map(drop)
            }
        }
    };
}

wake_word!(AtomicU32);
#[cfg(loom)]
wake_word!(loom::sync::atomic::AtomicU32);

/// Says that there is news, which was published before; `wake` is called only if somebody may wait.
///
/// | who waits has | then |
/// |---|---|
/// | not set the bit yet | setting it acquires this addition, and the look behind that finds the news |
/// | set the bit, not begun to wait | the count is another than the one it will wait on: it does not |
/// | begun to wait | this addition finds the bit, and wakes |
///
/// It is one addition, and not a load and a swap, so that anyone may do it at any time: the count never
/// goes back to what somebody waits on. Whoever dies between the addition and waking leaves others asleep
/// until their own limit.
#[inline]
pub(crate) fn bump<W: WakeWord>(word: &W, wake: impl FnOnce()) {
    if word.add(ONE) & WAITERS != 0 {
        // Those who set the bit from here on have seen the new count.
        word.clear(WAITERS);
        wake();
    }
}

/// As [`bump`], for who has news all the time: it only looks, and adds where somebody waits. This look may
/// come before the news is visible, but not past the barrier of who waits: see [`announce`].
#[inline]
pub(crate) fn bump_if_awaited<W: WakeWord>(word: &W, wake: impl FnOnce()) {
    own_barrier();
    if word.load_relaxed() & WAITERS != 0 {
        bump(word, wake);
    }
}

/// Keeps the compiler from moving the look before the news; the processor is kept from it by
/// [`announce`]'s barrier, of which the model makes one fence on either side.
#[inline]
fn own_barrier() {
    #[cfg(not(loom))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}

/// Says that somebody is about to wait; gives the value to wait on, after one more look for news. The
/// acquire pairs with the release in [`bump`].
///
/// `barrier` is one for every thread that calls [`bump_if_awaited`], wherever it is just now:
///
/// | its news was stored | then |
/// |---|---|
/// | before the barrier | the look behind that finds the news |
/// | behind it | so its look for the bit comes behind it too, and finds the bit, which was set before |
///
/// Who finds the bit set by another needs a barrier of its own: the other's may be still to come.
pub(crate) fn announce<W: WakeWord>(word: &W, barrier: impl FnOnce()) -> u32 {
    let mut seen = word.load_relaxed();
    while seen & WAITERS == 0 {
        match word.replace(seen, seen | WAITERS) {
            Ok(()) => seen |= WAITERS,
            Err(now) => seen = now,
        }
    }
    fence(Ordering::Acquire);
    barrier();
    seen
}

#[cfg(all(test, loom))]
mod tests;
