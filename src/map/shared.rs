//! The coordination page, mapped: named words and the protocols on them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};

use super::append_lock::{Guarded, Seen, Token};
use super::process::Birth;
use super::word::Twin;
use crate::dir::File;
use crate::format::page;

use page::Place;

/// Where the next frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) segment_id: u64,
    pub(crate) offset: u64,
    pub(crate) seq: u64,
}

/// The page, mapped for reading or for writing. The file has its full size before it is mapped and
/// is never resized.
pub(crate) struct PageMap {
    map: MmapRaw,
    writable: bool,
}

impl PageMap {
    /// `file` holds at least the page's bytes; its caller has checked that.
    pub(crate) fn new(file: &File, writable: bool) -> io::Result<Self> {
        let mut options = MmapOptions::new();
        options.len(page::BYTES as usize);
        let map =
            if writable { options.map_raw(file)? } else { options.map_raw_read_only(file)? };
        Ok(PageMap { map, writable })
    }

    #[inline]
    fn word(&self, place: Place) -> &AtomicU64 {
        const { assert!(page::BYTES.is_multiple_of(8)) };
        let at = place.at();
        debug_assert!(at + 8 <= page::BYTES as usize && at.is_multiple_of(8));
        // SAFETY: every place is a constant of the layout, which asserts that it ends inside the
        // page and lies on a multiple of eight; everyone accesses the page atomically.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(at).cast()) }
    }

    #[inline]
    pub(crate) fn load(&self, place: Place) -> u64 {
        let value = self.word(place).load(Ordering::Relaxed);
        // Pairs with the release of `store` and `advance`. A fence, since the page may be mapped
        // without write permission.
        fence(Ordering::Acquire);
        value
    }

    /// Nothing on a page mapped for reading.
    #[inline]
    pub(crate) fn store(&self, place: Place, value: u64) {
        if self.writable {
            self.word(place).store(value, Ordering::Release);
        }
    }

    /// Replaces `old` by `new`; false if another value stood there.
    pub(crate) fn exchange(&self, place: Place, old: u64, new: u64) -> bool {
        self.writable
            && self
                .word(place)
                .compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    /// The append lock's word.
    #[inline]
    pub(super) fn lock_word(&self) -> &AtomicU64 {
        self.word(page::LOCK)
    }

    /// What the append lock's word says.
    pub(crate) fn seen_lock(&self) -> Seen {
        Seen::of_word(self.load(page::LOCK))
    }

    /// A value that belongs to who holds the append lock, of which `token` is this process's. `None` if
    /// the page may not be written to: then nobody here holds it, ever.
    pub(crate) fn guard<T>(
        self: &Arc<Self>,
        token: Token,
        birth: Birth,
        value: T,
    ) -> Option<Guarded<T>> {
        self.writable.then(|| Guarded::new(self.clone(), token, birth, value))
    }

    #[inline]
    fn end(&self) -> Twin<'_, AtomicU64> {
        // SAFETY: as for `word`; the layout asserts that the six words adjoin.
        let copies = unsafe {
            &*self.map.as_mut_ptr().add(page::END[0][0].at()).cast::<[[AtomicU64; 3]; 2]>()
        };
        Twin { turn: self.word(page::END_TURN), copies }
    }

    /// Stores the end, after the frame before it was published. Only the append lock's holder may.
    #[inline]
    pub(crate) fn store_end(&self, end: End) {
        if self.writable {
            self.end().store([end.segment_id, end.offset, end.seq]);
        }
    }

    /// The end; every frame below it is committed and visible.
    #[inline]
    pub(crate) fn load_end(&self) -> End {
        loop {
            if let Some([segment_id, offset, seq]) = self.end().load() {
                return End { segment_id, offset, seq };
            }
            std::hint::spin_loop();
        }
    }
}
