//! The two protocols by which bytes pass between threads and processes, over a word that loom can
//! swap for its own: publishing a frame by its commit word, and the end in two copies.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

#[cfg(loom)]
use loom::sync::atomic::fence;
#[cfg(not(loom))]
use std::sync::atomic::fence;

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
#[cfg(loom)]
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
    pub(crate) copies: [[&'a W; 3]; 2],
}

impl<W: Word<u64>> Twin<'_, W> {
    #[inline]
    pub(crate) fn store(&self, values: [u64; 3]) {
        let turn = self.turn.load_relaxed().wrapping_add(1);
        // Pairs with the fence before the second look in `load`: who reads any word stored below
        // also sees the turn that was stored before this fence, and looks again.
        fence(Ordering::Release);
        // Not by index: that would put all six references into memory to choose three.
        let [even, odd] = self.copies;
        let copy = if turn & 1 == 0 { even } else { odd };
        for (word, value) in copy.into_iter().zip(values) {
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
        let values = self.copies[(turn & 1) as usize].map(|word| word.load_relaxed());
        fence(Ordering::Acquire);
        (self.turn.load_relaxed() == turn).then_some(values)
    }
}

#[cfg(all(test, loom))]
mod tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicU32, AtomicU64};
    use loom::thread;

    struct Memory {
        words: [AtomicU32; 3],
        payloads: [UnsafeCell<u64>; 2],
    }

    /// G3, G10: a reader sees a frame whole or not at all, and the word behind it before the
    /// writer's next frame.
    #[test]
    fn a_frame_is_seen_whole_or_not_at_all() {
        loom::model(|| {
            let memory = Arc::new(Memory {
                // The word behind the first frame holds what an abandoned reservation left.
                words: [AtomicU32::new(0), AtomicU32::new(77), AtomicU32::new(78)],
                payloads: [UnsafeCell::new(0), UnsafeCell::new(0)],
            });
            let writer = Arc::clone(&memory);
            let appending = thread::spawn(move || {
                for (at, value) in [(0, 10), (1, 11)] {
                    // SAFETY: loom checks that no reader looks at this payload meanwhile.
                    writer.payloads[at].with_mut(|payload| unsafe { *payload = value });
                    publish(&writer.words[at + 1], &writer.words[at], at as u32 + 1);
                }
            });
            for at in 0..2 {
                let seen = observe(&memory.words[at]);
                if seen == 0 {
                    break;
                }
                assert_eq!(seen, at as u32 + 1, "left-over taken for a frame");
                // SAFETY: loom checks that the writer is done with this payload.
                let value = memory.payloads[at].with(|payload| unsafe { *payload });
                assert_eq!(value, at as u64 + 10);
            }
            appending.join().unwrap();
        });
    }

    type Words = [AtomicU64; 7];

    fn words() -> Arc<Words> {
        Arc::new(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    fn twin(words: &Words) -> Twin<'_, AtomicU64> {
        let [turn, a, b, c, d, e, f] = words.each_ref();
        Twin { turn, copies: [[a, b, c], [d, e, f]] }
    }

    /// A reader never gets an end made of two, however the stores interleave.
    #[test]
    fn an_end_is_never_made_of_two() {
        loom::model(|| {
            let words = words();
            let writer = Arc::clone(&words);
            let appending = thread::spawn(move || {
                for end in 1..=3 {
                    twin(&writer).store([end, end, end]);
                }
            });
            if let Some([a, b, c]) = twin(&words).load() {
                assert!(a == b && b == c, "{a} {b} {c}");
            }
            appending.join().unwrap();
            assert_eq!(twin(&words).load(), Some([3, 3, 3]));
        });
    }

    /// G3: whoever reads an end sees every frame below it.
    #[test]
    fn what_lies_below_an_end_is_visible() {
        loom::model(|| {
            let words = words();
            let payloads: Arc<[UnsafeCell<u64>; 2]> =
                Arc::new([UnsafeCell::new(0), UnsafeCell::new(0)]);
            let (end, written) = (Arc::clone(&words), Arc::clone(&payloads));
            let appending = thread::spawn(move || {
                for at in 0..2 {
                    // SAFETY: loom checks that no reader looks at this payload meanwhile.
                    written[at].with_mut(|payload| unsafe { *payload = 10 + at as u64 });
                    let next = at as u64 + 1;
                    twin(&end).store([next, next, next]);
                }
            });
            if let Some([end, ..]) = twin(&words).load() {
                for (at, payload) in payloads.iter().enumerate().take(end as usize) {
                    // SAFETY: loom checks that the writer is done with this payload.
                    assert_eq!(payload.with(|payload| unsafe { *payload }), 10 + at as u64);
                }
            }
            appending.join().unwrap();
        });
    }
}
