//! A mapped segment, to write and to read.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use super::pages::Pages;
use super::word::{observe, publish};
use crate::dir::{self, File};
use crate::format::ALIGN;
use crate::format::frame::{COMMIT_BYTES, HEADER_BYTES as FRAME_HEADER_BYTES};
use crate::format::header::HEADER_BYTES;

/// The commit word at `at`.
///
/// # Safety
/// `at` is a multiple of 16 and four bytes from it lie inside `map` and inside its file, and every
/// other access to them is atomic or ordered before or after by a commit word.
#[inline]
unsafe fn commit_word(map: &MmapRaw, at: u64) -> &AtomicU32 {
    // SAFETY: the caller says that the bytes are in bounds and that accesses do not race; mappings
    // start on a page and `at` is a multiple of 16, so the pointer is aligned.
    unsafe { AtomicU32::from_ptr(map.as_mut_ptr().add(at as usize).cast()) }
}

/// A segment mapped for its appender: one for all of the segment's life, however its file grows.
///
/// - `end` only rises. Bytes below it are committed: readers may hold references to them, and
///   nothing here writes to them.
/// - `end` and `ready` are multiples of 16 and `end <= ready <= mapping length`.
/// - Bytes below `ready` are backed by the file, so that storing to them cannot raise SIGBUS.
pub(crate) struct WriteMap {
    pages: Arc<Pages>,
    end: u64,
    ready: u64,
}

impl WriteMap {
    /// Maps `segment_bytes` of `file`, which may be shorter, to go on at `end`. Nothing is ready.
    pub(crate) fn new(file: &File, segment_bytes: u64, end: u64) -> io::Result<Self> {
        let map = MmapOptions::new().len(segment_bytes as usize).map_raw(file)?;
        Ok(WriteMap { pages: Arc::new(Pages::new(map)), end, ready: end })
    }

    #[inline]
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Moves the end up to `to`: others have appended below it, under the same lock. False, and nothing
    /// moves, if that is no place for an end here.
    pub(crate) fn advance(&mut self, to: u64) -> bool {
        let fits = to >= self.end && to.is_multiple_of(ALIGN) && to <= self.pages.map.len() as u64;
        if fits {
            self.end = to;
            // What others stored is backed.
            self.ready = self.ready.max(to);
        }
        fits
    }

    #[inline]
    pub(crate) fn ready(&self) -> u64 {
        self.ready
    }

    /// Touches the pages up to `to` for writing, so that a store there neither faults nor fails.
    /// The file must be allocated up to `to`.
    pub(crate) fn make_ready(&mut self, to: u64) -> io::Result<()> {
        let to = to.min(self.pages.map.len() as u64);
        if to > self.ready {
            self.pages.touch(self.ready..to)?;
            self.ready = to;
        }
        Ok(())
    }

    /// As [`make_ready`](Self::make_ready), as far as another thread has touched the pages: does nothing if
    /// that is not up to `needed`.
    pub(crate) fn take_ready(&mut self, needed: u64, to: u64) {
        let touched = self.pages.touched_from(self.ready).min(to);
        if touched >= needed {
            self.ready = self.ready.max(touched);
        }
    }

    /// For another thread to touch ahead.
    pub(crate) fn pages(&self) -> &Arc<Pages> {
        &self.pages
    }

    /// Bytes that nobody has seen: behind the commit word at the end, below what is ready.
    /// `None` if `range` leaves these bounds.
    #[inline]
    pub(crate) fn unpublished_mut(&mut self, range: Range<u64>) -> Option<&mut [u8]> {
        let len = self.unpublished_len(&range)?;
        // SAFETY: the range was checked to lie in the mapping, over allocated bytes (`ready`), and
        // above the commit word at the end: readers form references only below a commit word that
        // they observed, so none of them reaches here, and `&mut self` excludes another writer.
        Some(unsafe {
            std::slice::from_raw_parts_mut(
                self.pages.map.as_mut_ptr().add(range.start as usize),
                len,
            )
        })
    }

    /// The same bytes, to look at.
    #[inline]
    pub(crate) fn unpublished(&self, range: Range<u64>) -> Option<&[u8]> {
        let len = self.unpublished_len(&range)?;
        // SAFETY: as for `unpublished_mut`; who writes there needs `&mut self`.
        Some(unsafe {
            std::slice::from_raw_parts(self.pages.map.as_ptr().add(range.start as usize), len)
        })
    }

    #[inline]
    fn unpublished_len(&self, range: &Range<u64>) -> Option<usize> {
        let in_bounds = self.end + COMMIT_BYTES <= range.start
            && range.start <= range.end
            && range.end <= self.ready;
        in_bounds.then(|| (range.end - range.start) as usize)
    }

    /// Room for `bytes` of frames at the end, and for the word behind them. `None` if that is not ready.
    #[inline]
    pub(crate) fn room(&mut self, bytes: u64) -> Option<Room<'_>> {
        let left = (self.ready - self.end).checked_sub(bytes)?;
        let fits = left >= COMMIT_BYTES && bytes >= ALIGN && bytes.is_multiple_of(ALIGN);
        fits.then_some(Room { map: self, bytes })
    }

    /// Commits a frame of 16 bytes that is the segment's last: no word behind it is zeroed, since
    /// the segment may end there. The header behind the commit word is already in place.
    pub(crate) fn publish_last(&mut self, bits: u32) -> bool {
        if self.end + ALIGN > self.ready {
            return false;
        }
        // SAFETY: `end` is aligned and 16 bytes from it are ready.
        let here = unsafe { commit_word(&self.pages.map, self.end) };
        here.store(bits, Ordering::Release);
        self.end += ALIGN;
        true
    }
}

/// Room at the end of a segment, for the frames that are committed next.
///
/// - `bytes` is a multiple of 16 and not zero; so many are ready at the end, and the word behind them.
pub(crate) struct Room<'a> {
    map: &'a mut WriteMap,
    bytes: u64,
}

impl Room<'_> {
    /// The frames but for the first one's commit word, which nobody has seen.
    #[inline]
    pub(crate) fn body(&mut self) -> &mut [u8] {
        let (from, len) = (self.map.end + COMMIT_BYTES, self.bytes - COMMIT_BYTES);
        // SAFETY: the bytes are ready and above the commit word at the end, as in `unpublished_mut`.
        unsafe {
            let start = self.map.pages.map.as_mut_ptr().add(from as usize);
            std::slice::from_raw_parts_mut(start, len as usize)
        }
    }

    /// Commits the frames, by storing the first one's commit word last.
    #[inline]
    pub(crate) fn publish(self, bits: u32) {
        let Room { map, bytes } = self;
        let next = map.end + bytes;
        // SAFETY: `end` and `next` are multiples of 16, and the words there are ready. All accesses to the
        // word at the end are atomic until it is published, and nobody looks at the one at `next` before.
        let (here, behind) =
            unsafe { (commit_word(&map.pages.map, map.end), commit_word(&map.pages.map, next)) };
        publish(behind, here, bits);
        map.end = next;
    }
}

/// A segment mapped for reading. Lends the frames that were committed when it was told so.
///
/// - `lent` only rises, and bytes of frames below it never change again (G9): that is what makes a
///   `&[u8]` to them sound. Some are stored once more as they are, by pwrite(2), after a sync that nobody saw the
///   end of (`redo`): the kernel copies equal bytes over them.
/// - `lent <= backed <= mapping length`.
/// - `backed` only rises, and never passes a file size that `fstat` gave; no file ever shrinks: so
///   reading below it cannot raise SIGBUS for lack of a page.
/// - The header is not lent: its slots are rewritten.
pub(crate) struct ReadMap {
    map: MmapRaw,
    lent: AtomicU64,
    backed: AtomicU64,
}

/// Only a number: nothing else is known by it.
static READ_MAPS: AtomicUsize = AtomicUsize::new(0);

impl Drop for ReadMap {
    fn drop(&mut self) {
        READ_MAPS.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ReadMap {
    pub(crate) fn new(file: &File, bytes: u64) -> io::Result<Self> {
        let map = MmapOptions::new().len(bytes as usize).map_raw_read_only(file)?;
        READ_MAPS.fetch_add(1, Ordering::Relaxed);
        Ok(ReadMap { map, lent: AtomicU64::new(HEADER_BYTES), backed: AtomicU64::new(0) })
    }

    /// How many there are in this process.
    pub(crate) fn count() -> usize {
        READ_MAPS.load(Ordering::Relaxed)
    }

    /// Takes in how far `file`, the one that is mapped, reaches by now.
    pub(crate) fn measure(&self, file: &File) -> io::Result<()> {
        let bytes = dir::file_bytes(file)?.min(self.bytes());
        self.backed.fetch_max(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Where the file ended when it was measured; at most the mapping's length.
    #[inline]
    pub(crate) fn backed(&self) -> u64 {
        self.backed.load(Ordering::Relaxed)
    }

    /// Lends the frames below `to`, as far as the file was measured to reach.
    ///
    /// # Safety
    /// Everything between the header and `to` is committed: no thread or process writes to it again,
    /// and what was written to it happens before this call.
    #[inline]
    pub(crate) unsafe fn lend(&self, to: u64) {
        self.lent.fetch_max(to.min(self.backed()), Ordering::Release);
    }

    /// The commit word at `at`; if it is not zero, what was stored before it was published is visible.
    /// `None` if no frame's header fits there yet.
    #[inline]
    pub(crate) fn observe(&self, at: u64) -> Option<u32> {
        if !self.has_header_at(at) {
            return None;
        }
        // SAFETY: `at` was checked to be aligned and in bounds; whoever else accesses a word that may
        // be the one at the end does so atomically.
        Some(observe(unsafe { commit_word(&self.map, at) }))
    }

    #[inline]
    fn has_header_at(&self, at: u64) -> bool {
        at.is_multiple_of(ALIGN) && at.checked_add(ALIGN).is_some_and(|end| end <= self.backed())
    }

    /// A frame's header at `at`, read atomically: nothing is assumed of what stands there. Zeros where
    /// none fits.
    #[inline]
    pub(crate) fn header(&self, at: u64) -> [u8; FRAME_HEADER_BYTES as usize] {
        const HALF: usize = FRAME_HEADER_BYTES as usize / 2;
        let mut header = [0; FRAME_HEADER_BYTES as usize];
        if self.has_header_at(at) {
            for (index, half) in header.chunks_exact_mut(HALF).enumerate() {
                // SAFETY: 16 bytes from `at`, a multiple of 16, are backed; mappings start on a page.
                let word = unsafe {
                    AtomicU64::from_ptr(
                        self.map.as_mut_ptr().add(at as usize).cast::<u64>().add(index),
                    )
                };
                half.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
            }
        }
        header
    }

    /// Bytes that need not be lent; none where the file does not reach.
    ///
    /// # Safety
    /// They are committed: nobody writes to them while the slice lives, and what was written to them
    /// happens before this call.
    #[inline]
    pub(crate) unsafe fn committed(&self, range: Range<u64>) -> &[u8] {
        if range.start > range.end || range.end > self.backed() {
            return &[];
        }
        let len = (range.end - range.start) as usize;
        // SAFETY: the range is in bounds and backed; the caller says that nobody writes there.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(range.start as usize), len) }
    }

    /// The frames that are lent, from the end of the header on.
    #[inline]
    pub(crate) fn frames(&self) -> &[u8] {
        let len = (self.lent() - HEADER_BYTES) as usize;
        // SAFETY: `lent` starts at `HEADER_BYTES` and rises only in `lend`, which keeps it inside the
        // mapping and the file and whose caller says that nobody writes below it any more.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(HEADER_BYTES as usize), len) }
    }

    /// Where the lent bytes end.
    #[inline]
    pub(crate) fn lent(&self) -> u64 {
        self.lent.load(Ordering::Acquire)
    }

    /// The mapping's length.
    pub(crate) fn bytes(&self) -> u64 {
        self.map.len() as u64
    }
}
