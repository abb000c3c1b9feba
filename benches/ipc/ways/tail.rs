//! Following a log from another process: what docs/format.md asks of a live reader, and no more.
//! It looks at the commit word at the end, and checks the frame when there is one. It stands in for the
//! library's own tail: `open`, `try_recv` and `recv` are all that the bench knows of it.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::Duration;

use memmap2::{MmapOptions, MmapRaw};

use super::log::segment_of;

const DATA_START: u64 = 8192;
const SALT_AT: usize = 72;
const HEADER_BYTES: u64 = 16;
const MARK: u32 = 6;

pub struct Tail {
    file: File,
    map: MmapRaw,
    salt: u64,
    /// Below it the file had pages when it was last asked.
    readable: u64,
    at: u64,
}

impl Tail {
    /// A mapping may reach past the end of its file: one serves a segment for all its life.
    pub fn open(log: &Path, segment_bytes: u64) -> Self {
        let file = File::open(segment_of(log)).expect("the log's segment");
        let bytes = file.metadata().expect("its size").len();
        let mut options = MmapOptions::new();
        let map = options.len(segment_bytes as usize).map_raw_read_only(&file).expect("a mapping");
        assert!(bytes >= DATA_START, "a segment has a header");
        // SAFETY: the header lies below the file's size.
        #[allow(unsafe_code)]
        let salt = unsafe { map.as_ptr().add(SALT_AT).cast::<u64>().read() };
        Tail { file, map, salt, readable: bytes, at: DATA_START }
    }

    #[inline]
    #[allow(unsafe_code)]
    pub fn try_recv(&mut self) -> Option<&[u8]> {
        loop {
            if self.at + HEADER_BYTES > self.readable && !self.look_again(self.at + HEADER_BYTES) {
                return None;
            }
            // SAFETY: the frame's header lies below the file's size, and every store to the word is atomic.
            let (frame, word) = unsafe {
                let frame = self.map.as_mut_ptr().add(self.at as usize);
                (frame, AtomicU32::from_ptr(frame.cast()).load(Ordering::Relaxed))
            };
            if word == 0 {
                return None;
            }
            // Pairs with the Release of the commit word.
            fence(Ordering::Acquire);
            let len = u64::from(word & 0x0FFF_FFFF);
            let next = self.at + (HEADER_BYTES + len).next_multiple_of(HEADER_BYTES);
            assert!(next <= self.readable || self.look_again(next), "a frame inside its file");
            let place = (self.at / HEADER_BYTES) as u32;
            self.at = next;
            // SAFETY: the frame lies below the file's size, and nobody writes to it once it is committed.
            let data = unsafe {
                let seq = frame.add(8).cast::<u64>().read();
                let seed = place.wrapping_mul(0x9E37_79B1)
                    ^ (word ^ (self.salt >> 32) as u32).wrapping_mul(0x85EB_CA77)
                    ^ (seq as u32).wrapping_mul(0xC2B2_AE3D).rotate_left(11)
                    ^ ((seq >> 32) as u32).wrapping_mul(0x27D4_EB2F).rotate_left(22)
                    ^ self.salt as u32;
                let data =
                    std::slice::from_raw_parts(frame.add(HEADER_BYTES as usize), len as usize);
                let mut hasher = crc32fast::Hasher::new_with_initial(seed);
                hasher.update(data);
                assert_eq!(hasher.finalize(), frame.add(4).cast::<u32>().read(), "checksum");
                data
            };
            if word >> 28 != MARK {
                return Some(data);
            }
        }
    }

    #[cold]
    fn look_again(&mut self, to: u64) -> bool {
        self.readable = self.file.metadata().expect("its size").len();
        to <= self.readable
    }

    /// Nobody wakes a reader yet: it naps.
    pub fn recv(&mut self) -> &[u8] {
        loop {
            let before = self.at;
            if self.try_recv().is_some() {
                self.at = before;
                break;
            }
            std::thread::sleep(Duration::from_micros(5));
        }
        self.try_recv().expect("a record that was there")
    }
}
