//! The pages of a segment mapped for writing, which a thread beside the appending one may touch.
//!
//! Does not know: where frames are.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Advice, MmapRaw};

use crate::format::{PAGE_BYTES, round_up};

/// A mapping, and which run of its pages was touched for who appends.
///
/// - Touching stores nothing: it makes the kernel do what a store into the page would make it do, so it
///   cannot race with a store of any thread or process, nor change what a page holds
///   (madvise(2), `MADV_POPULATE_WRITE`). What it cannot do is an error, and never a signal.
/// - `run` is the run's first page and the page behind its last, in one word, so that nobody sees a run
///   that there never was. One thread at a time changes it.
pub(crate) struct Pages {
    pub(super) map: MmapRaw,
    run: AtomicU64,
}

impl Pages {
    pub(super) fn new(map: MmapRaw) -> Self {
        Pages { map, run: AtomicU64::new(0) }
    }

    /// Makes the pages that hold `range` ready to be stored to. They must be allocated in the file.
    pub(super) fn touch(&self, range: Range<u64>) -> io::Result<()> {
        let from = range.start & !(PAGE_BYTES - 1);
        let to = round_up(range.end.min(self.map.len() as u64), PAGE_BYTES);
        if from >= to {
            return Ok(());
        }
        loop {
            let bytes = (to - from) as usize;
            match self.map.advise_range(Advice::PopulateWrite, from as usize, bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Linux before 5.14: the pages fault one by one, over blocks that are allocated.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(()),
                touched => return touched,
            }
        }
    }

    /// As [`touch`](Self::touch), whole pages, for another thread, which finds them in
    /// [`touched_from`](Self::touched_from). A range behind the run lengthens it, any other begins it anew.
    pub(crate) fn touch_ahead(&self, range: Range<u64>) -> io::Result<()> {
        self.touch(range.clone())?;
        let run = self.run();
        let joins = (run.start..=run.end).contains(&range.start);
        let (start, end) = match joins {
            true => (run.start, run.end.max(range.end)),
            false => (range.start, range.end),
        };
        let word = ((start / PAGE_BYTES) << u32::BITS) | (end / PAGE_BYTES);
        // The kernel's own order is what counts: whoever finds the run finds the pages.
        self.run.store(word, Ordering::Release);
        Ok(())
    }

    fn run(&self) -> Range<u64> {
        let word = self.run.load(Ordering::Acquire);
        (word >> u32::BITS) * PAGE_BYTES..(word & u64::from(u32::MAX)) * PAGE_BYTES
    }

    /// Where the pages end that were touched ahead from `at` on; `at`, if that was not.
    pub(crate) fn touched_from(&self, at: u64) -> u64 {
        let run = self.run();
        if run.contains(&at) { run.end } else { at }
    }
}
