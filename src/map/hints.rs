//! Numbers that threads leave for each other and that nobody relies on.

use std::sync::atomic::{AtomicU32, Ordering};

/// A row of numbers, zero until somebody notes one. Whoever reads one checks what it leads to, so that
/// none of them promises anything about what else a thread sees.
pub(crate) struct Hints(Box<[AtomicU32]>);

impl Hints {
    /// `len` zeros. Of a long row only what is used takes memory.
    pub(crate) fn new(len: usize) -> Self {
        let zeros = Box::into_raw(vec![0_u32; len].into_boxed_slice());
        // SAFETY: the slice was just given up by the box that owned it, and std says that an `AtomicU32`
        // has the size, alignment and bit validity of a `u32` on this platform, where both are aligned to 4.
        Hints(unsafe { Box::from_raw(zeros as *mut [AtomicU32]) })
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The number at `index`; zero behind the row's end.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> u32 {
        self.0.get(index).map_or(0, |hint| hint.load(Ordering::Relaxed))
    }

    /// Notes `number`, if nothing is noted at `index` yet.
    #[inline]
    pub(crate) fn note(&self, index: usize, number: u32) {
        if let Some(hint) = self.0.get(index)
            && hint.load(Ordering::Relaxed) == 0
        {
            hint.store(number, Ordering::Relaxed);
        }
    }
}
