//! Telling a process from a child that `fork` made of it.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::format::PAGE_BYTES;

/// The process that made a handle. A child of `fork` inherits the handle's memory, but not this: the
/// number stands on a page that the kernel wipes in a child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Birth {
    now: &'static AtomicU64,
    then: u64,
}

impl Birth {
    pub(crate) fn here() -> io::Result<Self> {
        let now = wiped_word()?;
        Ok(Birth { now, then: generation(now) })
    }

    /// False in a child that inherited this value.
    #[inline]
    pub(crate) fn is_this_process(&self) -> bool {
        self.now.load(Ordering::Relaxed) == self.then
    }
}

/// Counts the generations in this line of processes. It is ordinary memory: a child starts from its
/// parent's count, so its own number differs from all that it inherited.
static GENERATIONS: AtomicU64 = AtomicU64::new(0);
static WIPED: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

fn generation(word: &AtomicU64) -> u64 {
    let seen = word.load(Ordering::Relaxed);
    if seen != 0 {
        return seen;
    }
    let mine = GENERATIONS.fetch_add(1, Ordering::Relaxed) + 1;
    match word.compare_exchange(0, mine, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => mine,
        Err(another_threads) => another_threads,
    }
}

/// A word that is zero in every child of `fork` (`MADV_WIPEONFORK`, Linux 4.14).
fn wiped_word() -> io::Result<&'static AtomicU64> {
    let known = WIPED.load(Ordering::Acquire);
    let word = if known.is_null() { map_wiped_word()? } else { known };
    // SAFETY: the word lies at the start of a private page that is never unmapped once it stands in
    // `WIPED`, and everyone accesses it atomically.
    Ok(unsafe { &*word })
}

fn map_wiped_word() -> io::Result<*mut AtomicU64> {
    let bytes = PAGE_BYTES as usize;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new private mapping at an address of the kernel's choice touches nothing that exists.
    let page = unsafe { mmap_anonymous(ptr::null_mut(), bytes, access, MapFlags::PRIVATE)? };
    // SAFETY: the page is ours, private and anonymous, as WIPEONFORK wants; the advice changes
    // nothing in this process.
    let advised = unsafe { madvise(page, bytes, Advice::LinuxWipeOnFork) };
    let word: *mut AtomicU64 = page.cast();
    let lost = match advised {
        Err(_) => Some(word),
        Ok(()) => {
            WIPED.compare_exchange(ptr::null_mut(), word, Ordering::AcqRel, Ordering::Acquire).err()
        }
    };
    match lost {
        None => Ok(word),
        Some(winner) => {
            // SAFETY: this page was mapped above and no pointer to it was given to anyone.
            unsafe { munmap(page, bytes)? };
            advised?;
            Ok(winner)
        }
    }
}

/// A value of which every process has its own: a child of `fork` starts with a new one, whatever
/// its parent's threads were doing with theirs.
pub(crate) struct ProcessLocal<T> {
    value: AtomicPtr<(u64, T)>,
}

impl<T: Default + Sync> ProcessLocal<T> {
    pub(crate) const fn new() -> Self {
        ProcessLocal { value: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Never freed: one small allocation for each process in a line of forks.
    pub(crate) fn get(&'static self) -> io::Result<&'static T> {
        let generation = generation(wiped_word()?);
        loop {
            let known = self.value.load(Ordering::Acquire);
            // SAFETY: a pointer in `value` came from `Box::into_raw` below and is never freed.
            if let Some((of, value)) = unsafe { known.as_ref() }
                && *of == generation
            {
                return Ok(value);
            }
            let new = Box::into_raw(Box::new((generation, T::default())));
            if self.value.compare_exchange(known, new, Ordering::AcqRel, Ordering::Acquire).is_err()
            {
                // SAFETY: `new` came from `Box::into_raw` and was given to nobody.
                drop(unsafe { Box::from_raw(new) });
            }
        }
    }
}

/// Does `work` with all signals blocked for this thread, and so for those that it starts: they keep
/// them blocked.
pub(crate) fn without_signals<T>(work: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: `sigfillset` initialises the set that it is given (POSIX).
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: `all` was initialised above; `before` is written by the call.
    let masked =
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    let done = work();
    if masked == 0 {
        // SAFETY: the call that succeeded wrote `before`.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    }
    done
}
