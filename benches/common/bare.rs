//! The bare machine: a mapped file and the fewest instructions that append and check records.
//!
//! It has no lock, no growth, no marks, no recovery and no errors: what maplog costs more is what
//! these cost.

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};

use super::{Payloads, Settings, Timing, time_appends, warm_free_memory};

const HEADER_BYTES: usize = 16;
/// Pages are touched in steps of this, as maplog does: cheaper than a fault for each.
const AHEAD_BYTES: usize = 128 * 1024;

pub fn frame_bytes(len: usize) -> u64 {
    (HEADER_BYTES + len).next_multiple_of(HEADER_BYTES) as u64
}

/// CRC-32 of bytes, continued from another.
pub trait Checksum: Fn(u32, &[u8]) -> u32 + Copy {}

impl<F: Fn(u32, &[u8]) -> u32 + Copy> Checksum for F {}

/// As everyone can have it, and as all bare loops do that say nothing else.
#[inline]
pub fn crc32fast(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// From the source of maplog's own: what a bare loop gains by it.
#[inline]
pub fn maplogs(seed: u32, bytes: &[u8]) -> u32 {
    crc::crc32(seed, bytes)
}

#[path = "../../src/format/crc.rs"]
mod crc;

/// An allocated file, mapped whole; a record is `len, crc, seq, payload, padding`.
pub struct Bare {
    map: MmapRaw,
    end: usize,
    touched: usize,
}

impl Bare {
    /// Room for `bytes` of frames, none of whose pages was touched.
    pub fn create(path: &Path, bytes: u64) -> Self {
        let len = bytes as usize + AHEAD_BYTES;
        let file = File::create_new(path).expect("a new file");
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len as u64)
            .expect("room on the disk");
        drop(file);
        let file = fs::OpenOptions::new().read(true).write(true).open(path).expect("its own file");
        let map = MmapOptions::new().len(len).map_raw(&file).expect("address space");
        Bare { map, end: 0, touched: 0 }
    }

    /// Appends go over the same pages again.
    pub fn rewind(&mut self) {
        self.end = 0;
    }

    /// The checksum is taken of the copy, whose lines the copying has just brought into the cache.
    #[inline]
    #[allow(unsafe_code)]
    pub fn append(&mut self, seq: u64, payload: &[u8], checksum: impl Checksum) {
        let next = self.end + frame_bytes(payload.len()) as usize;
        if next > self.touched {
            self.touch(next);
        }
        // SAFETY: `touch` asserted that the frame lies in the mapping; nothing else refers to these
        // bytes, and frames start on multiples of 16.
        unsafe {
            let frame = self.map.as_mut_ptr().add(self.end);
            let place = frame.add(HEADER_BYTES);
            place.copy_from_nonoverlapping(payload.as_ptr(), payload.len());
            let crc = checksum(0, std::slice::from_raw_parts(place, payload.len()));
            frame.add(4).cast::<u32>().write(crc);
            frame.add(8).cast::<u64>().write(seq);
            AtomicU32::from_ptr(frame.cast()).store(payload.len() as u32, Ordering::Release);
        }
        self.end = next;
    }

    #[cold]
    fn touch(&mut self, to: usize) {
        assert!(to <= self.map.len(), "the bench asked for too little room");
        let to = (to + AHEAD_BYTES).min(self.map.len());
        self.map
            .advise_range(Advice::PopulateWrite, self.touched, to - self.touched)
            .expect("pages");
        self.touched = to;
    }

    /// Reads everything back from the file and compares it with what was meant to be there.
    pub fn check(self, path: &Path, count: u64, payloads: &Payloads) {
        self.read_back(path, count, |seq, payload| {
            assert!(payload == payloads.of(seq), "payload of record {seq}");
        });
    }

    /// Gives each record from the file, with its number; `count` of them, and the headers must be right.
    pub fn read_back(self, path: &Path, count: u64, mut record: impl FnMut(u64, &[u8])) {
        drop(self.map);
        let bytes = fs::read(path).expect("the file that was written");
        let mut at = 0;
        for seq in 0..count {
            let (found, rest) = bytes[at..].split_at(HEADER_BYTES);
            let len = u32::from_le_bytes([found[0], found[1], found[2], found[3]]) as usize;
            let payload = &rest[..len];
            assert_eq!(found, header(len, crc32fast::hash(payload), seq), "header of record {seq}");
            record(seq, payload);
            at += frame_bytes(len) as usize;
        }
        assert_eq!(at, self.end, "the bytes that {count} records take");
    }
}

fn header(len: usize, crc: u32, seq: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&(len as u32).to_le_bytes());
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    header[8..].copy_from_slice(&seq.to_le_bytes());
    header
}

/// The first pass over a new file, and a second one over the same pages.
pub fn two_passes(
    dir: &Path,
    settings: &Settings,
    size: usize,
    checksum: impl Checksum,
) -> (Timing, Timing) {
    let path = dir.join("bare");
    let payloads = Payloads::new(size);
    let count = settings.records(size);
    let mut bare = Bare::create(&path, settings.run_bytes);
    warm_free_memory(settings.run_bytes);
    let first = time_appends(count, size, |seq| bare.append(seq, payloads.of(seq), checksum));
    bare.rewind();
    let second = time_appends(count, size, |seq| bare.append(seq, payloads.of(seq), checksum));
    bare.check(&path, count, &payloads);
    fs::remove_file(path).expect("its own file");
    (first, second)
}

/// What reading a log came to; equal walks read the same records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    pub records: u64,
    pub bytes: u64,
    /// Of the first and the last byte of each record and its number.
    pub sum: u64,
}

impl Walk {
    #[inline]
    pub fn add(&mut self, seq: u64, data: &[u8]) {
        self.records += 1;
        self.bytes += data.len() as u64;
        let [first, .., last] = data else { panic!("the benches append no shorter records") };
        self.sum =
            self.sum.wrapping_mul(31).wrapping_add(seq ^ u64::from(*first) << 8 ^ u64::from(*last));
    }
}

const DATA_START: usize = 8192;
const SALT_AT: usize = 72;
const SINGLE: u32 = 1;
const MARK: u32 = 6;
const END: u32 = 5;

/// A frame as it was found: kind, number, payload, and where the next one is.
struct Frame<'a> {
    kind: u32,
    seq: u64,
    payload: &'a [u8],
    next: usize,
}

/// The frame at `at`, whose checksum must be right; `None` where none is.
#[inline(always)]
#[allow(unsafe_code)]
fn frame(segment: &MmapRaw, salt: u64, at: usize, checksum: impl Checksum) -> Option<Frame<'_>> {
    if at + HEADER_BYTES > segment.len() {
        return None;
    }
    // SAFETY: every offset read lies below the mapping's length, as was checked; the log is closed, so
    // that nobody writes to it.
    unsafe {
        let frame = segment.as_ptr().add(at);
        let word = frame.cast::<u32>().read();
        let size = (word & 0x0FFF_FFFF) as usize;
        let next = at + frame_bytes(size) as usize;
        if word == 0 || next > segment.len() {
            return None;
        }
        let place = (at / 16) as u32;
        let seq = frame.add(8).cast::<u64>().read();
        let seed = place.wrapping_mul(0x9E37_79B1)
            ^ (word ^ (salt >> 32) as u32).wrapping_mul(0x85EB_CA77)
            ^ (seq as u32).wrapping_mul(0xC2B2_AE3D).rotate_left(11)
            ^ ((seq >> 32) as u32).wrapping_mul(0x27D4_EB2F).rotate_left(22)
            ^ salt as u32;
        let payload = std::slice::from_raw_parts(frame.add(HEADER_BYTES), size);
        let crc = checksum(seed, payload);
        assert!(crc == frame.add(4).cast::<u32>().read(), "checksum at {at}");
        Some(Frame { kind: word >> 28, seq, payload, next })
    }
}

#[allow(unsafe_code)]
fn salt(segment: &MmapRaw) -> u64 {
    assert!(segment.len() >= DATA_START, "a segment has a header");
    // SAFETY: the header was just found to be inside the mapping, and nobody writes to it.
    unsafe { segment.as_ptr().add(SALT_AT).cast::<u64>().read() }
}

/// Walks the frames of a log's segment file, header to header, and checks each checksum: what
/// docs/format.md asks of a reader and no more.
pub fn walk_log(segment: &MmapRaw, checksum: impl Checksum) -> Walk {
    let mut walk = Walk::default();
    walk_frames(segment, checksum, |frame, _| walk.add(frame.seq, frame.payload));
    walk
}

#[inline(always)]
fn walk_frames(
    segment: &MmapRaw,
    checksum: impl Checksum,
    mut record: impl FnMut(&Frame<'_>, usize),
) {
    let salt = salt(segment);
    let mut at = DATA_START;
    while let Some(frame) = frame(segment, salt, at, checksum) {
        match frame.kind {
            SINGLE => record(&frame, at),
            MARK => {}
            END => break,
            kind => panic!("kind {kind} at {at}"),
        }
        at = frame.next;
    }
}

/// The place of every record of a log: its segment and its offset there.
pub struct Table {
    salts: Vec<u64>,
    places: Vec<(u32, u32)>,
}

impl Table {
    pub fn of(segments: &[MmapRaw]) -> Self {
        let mut places = Vec::new();
        for (index, segment) in segments.iter().enumerate() {
            walk_frames(segment, crc32fast, |_, at| {
                places.push((index as u32, (at / HEADER_BYTES) as u32))
            });
        }
        Table { salts: segments.iter().map(salt).collect(), places }
    }

    /// Reads and checks the records of these numbers, in this order.
    pub fn get_all(&self, segments: &[MmapRaw], order: &[u32]) -> Walk {
        let mut walk = Walk::default();
        for seq in order {
            let (segment, place) = self.places[*seq as usize];
            let (segment, salt) = (&segments[segment as usize], self.salts[segment as usize]);
            let at = place as usize * HEADER_BYTES;
            let frame = frame(segment, salt, at, crc32fast).expect("a frame");
            assert!(frame.kind == SINGLE && frame.seq == u64::from(*seq), "record {seq}");
            walk.add(frame.seq, frame.payload);
        }
        walk
    }
}
