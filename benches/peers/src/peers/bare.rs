//! The bare mapping: the fewest instructions that leave checked records in a mapped file. An allocated
//! file, the copy, the CRC of the destination, a release store.

use std::fs::File;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::FallocateFlags;

use crate::peer::{About, Peer, Setup, Threads};
use crate::records::Feed;

pub struct Bare(Mutex<Inner>);

struct Inner {
    file: File,
    map: MmapRaw,
    end: usize,
    touched: usize,
    places: Vec<usize>,
}

const HEADER_BYTES: usize = 16;
/// Pages are touched in steps of this: cheaper than a fault for each.
const AHEAD_BYTES: usize = 128 * 1024;

fn next_frame(at: usize, len: usize) -> usize {
    at + (HEADER_BYTES + len).next_multiple_of(HEADER_BYTES)
}

impl Inner {
    #[inline]
    fn append(&mut self, payload: &[u8]) {
        let next = next_frame(self.end, payload.len());
        if next > self.touched {
            self.touch(next);
        }
        // SAFETY: `touch` asserted that the frame lies in the mapping; nothing else refers to these
        // bytes, and frames start on multiples of 16.
        unsafe {
            let frame = self.map.as_mut_ptr().add(self.end);
            let place = frame.add(HEADER_BYTES);
            place.copy_from_nonoverlapping(payload.as_ptr(), payload.len());
            let crc = crc32fast::hash(std::slice::from_raw_parts(place, payload.len()));
            frame.add(4).cast::<u32>().write(crc);
            AtomicU32::from_ptr(frame.cast()).store(payload.len() as u32, Ordering::Release);
        }
        self.end = next;
    }

    #[cold]
    fn touch(&mut self, to: usize) {
        assert!(to <= self.map.len(), "the run asked for too little room");
        let to = (to + AHEAD_BYTES).min(self.map.len());
        let (from, len) = (self.touched, to - self.touched);
        self.map.advise_range(Advice::PopulateWrite, from, len).expect("pages (Linux 5.14)");
        self.touched = to;
    }

    /// The payload of the frame at `at`, if there is one; it must be right.
    #[inline]
    fn read(&self, at: usize) -> Option<&[u8]> {
        if at + HEADER_BYTES > self.map.len() {
            return None;
        }
        // SAFETY: all that is read lies in the mapping, as is asserted; nobody writes meanwhile.
        unsafe {
            let frame = self.map.as_ptr().add(at);
            let len = frame.cast::<u32>().read() as usize;
            if len == 0 {
                return None;
            }
            assert!(at + HEADER_BYTES + len <= self.map.len(), "a length at {at}");
            let payload = std::slice::from_raw_parts(frame.add(HEADER_BYTES), len);
            assert!(crc32fast::hash(payload) == frame.add(4).cast::<u32>().read(), "CRC at {at}");
            Some(payload)
        }
    }

    fn walk(&self, take: &mut impl FnMut(&[u8])) -> usize {
        let mut at = 0;
        while let Some(payload) = self.read(at) {
            take(payload);
            at = next_frame(at, payload.len());
        }
        at
    }
}

impl Peer for Bare {
    const ABOUT: About = About {
        name: "bare-mapping",
        settings: "a file allocated whole, pages populated 128 KiB ahead; durable: `fdatasync` each, under a mutex",
        lacks: "no growth, recovery, lock or errors: a loop to compare with, not a log",
        threads: Threads::Mutex,
    };
    const BATCHES: bool = false;

    fn open(dir: &Path, setup: Setup) -> Self {
        let path = dir.join("bare");
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.expect("a file");
        let len = setup.bytes() + AHEAD_BYTES as u64;
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len).expect("room on the disk");
        let map = MmapOptions::new().len(len as usize).map_raw(&file).expect("address space");
        let mut inner = Inner { file, map, end: 0, touched: 0, places: Vec::new() };
        inner.end = inner.walk(&mut |_| {});
        inner.touched = inner.end;
        Bare(Mutex::new(inner))
    }

    fn append_all(&mut self, records: &mut Feed) {
        let inner = self.0.get_mut().expect("no panic");
        while let Some(record) = records.next() {
            inner.append(record);
        }
    }

    fn append_for_get(&mut self, records: &mut Feed) {
        let inner = self.0.get_mut().expect("no panic");
        while let Some(record) = records.next() {
            inner.places.push(inner.end);
            inner.append(record);
        }
    }

    fn append_beside(&self, _thread: usize, records: &mut Feed) {
        while let Some(record) = records.next() {
            self.0.lock().expect("no panic").append(record);
        }
    }

    fn append_durably(&self, _thread: usize, record: &[u8]) {
        let mut inner = self.0.lock().expect("no panic");
        inner.append(record);
        inner.file.sync_data().expect("a working disk");
    }

    fn walk(&mut self, take: &mut impl FnMut(&[u8])) {
        self.0.get_mut().expect("no panic").walk(take);
    }

    fn get_all(&mut self, order: &[u64], take: &mut impl FnMut(&[u8])) {
        let inner = self.0.get_mut().expect("no panic");
        for number in order {
            take(inner.read(inner.places[*number as usize]).expect("a record"));
        }
    }
}
