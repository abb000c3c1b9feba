//! Small words shared by the threads of this process.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Which thread holds a lock, so that the same thread asking again gets an error and not a hang.
#[derive(Debug, Default)]
pub(crate) struct Owner(AtomicUsize);

impl Owner {
    /// A number that this thread shares with no other living one: an address of its own.
    #[inline]
    fn this_thread() -> usize {
        thread_local!(static TOKEN: u8 = const { 0 });
        TOKEN.with(|token| std::ptr::from_ref(token).addr())
    }

    /// Only a thread's own store can make it equal its token, so no ordering is needed.
    #[inline]
    pub(crate) fn is_this_thread(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::this_thread()
    }

    #[inline]
    pub(crate) fn set(&self) {
        self.0.store(Self::this_thread(), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// A yes or no that threads tell each other, without any promise about what else they see.
#[derive(Debug)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) const fn new(set: bool) -> Self {
        Flag(AtomicBool::new(set))
    }

    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, set: bool) {
        self.0.store(set, Ordering::Relaxed);
    }
}
