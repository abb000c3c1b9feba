//! Ways to append records to a file. All but maplog write the same bytes: a header of 16 bytes, the
//! payload, nothing to a multiple of 16.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use maplog::{Log, Reader};
use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::FallocateFlags;

use crate::common::{self, Payloads, bare::frame_bytes};

/// Appends records of consecutive numbers, and what makes durable what was appended.
pub trait Way: Sized {
    const NAME: &'static str;
    const SETTINGS: &'static str;

    /// In a directory of its own, with room for `bytes` of frames.
    fn create(dir: &Path, bytes: u64) -> Self;

    fn append(&mut self, seq: u64, payload: &[u8]);

    /// The kernel has all of it when this returns.
    fn flush(&mut self) {}

    /// Makes durable what the kernel has. Called by any thread, while another one appends.
    fn syncer(&self) -> Box<dyn Fn() + Send>;

    fn close(self) {}

    /// Reads all of it back, when it is closed, and compares it.
    fn check(dir: &Path, count: u64, payloads: &Payloads) {
        check_file(&file_in(dir), count, payloads);
    }
}

/// Something to be found out about each way.
pub trait Measure {
    fn run<W: Way>(&self, dir: &Path) -> Vec<f64>;
}

macro_rules! all {
    ($($way:ty,)*) => {
        /// Names, and how each is set up.
        pub const ALL: &[(&str, &str)] = &[$((<$way>::NAME, <$way>::SETTINGS),)*];

        pub fn measure(name: &str, measure: &impl Measure, dir: &Path) -> Vec<f64> {
            $(if name == <$way>::NAME {
                return measure.run::<$way>(dir);
            })*
            panic!("no way is called {name}")
        }
    };
}

// All figures are compared with the first one's.
all! {
    Mapping<true>,
    Mapping<false>,
    Maplog,
    Write<false>,
    Write<true>,
    Buffered,
}

const HEADER_BYTES: usize = 16;

fn header(seq: u64, payload: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[4..8].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    header[8..].copy_from_slice(&seq.to_le_bytes());
    header
}

fn file_in(dir: &Path) -> PathBuf {
    dir.join("file")
}

fn create_file(dir: &Path) -> File {
    let mut options = File::options();
    options.read(true).write(true).create_new(true).open(file_in(dir)).expect("a new file")
}

fn allocate(file: &File, bytes: u64) {
    rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes).expect("room on the disk");
}

/// This virtual machine's host takes back memory that is free for some seconds. Using and freeing some is
/// not enough here: whichever mapping came first still paid 7 us a page. So the memory is used the way that
/// a mapping will.
pub fn warm_page_cache(dir: &Path, bytes: u64) {
    common::warm_free_memory(bytes);
    let dir = dir.join("warm");
    fs::create_dir(&dir).expect("the bench's own directory");
    let mapping = Mapping::<true>::create(&dir, bytes);
    mapping.map.advise(Advice::PopulateWrite).expect("pages (Linux 5.14)");
    drop(mapping);
    fs::remove_dir_all(dir).expect("the bench's own directory");
}

fn syncer_of(file: &File) -> Box<dyn Fn() + Send> {
    let file = file.try_clone().expect("a descriptor");
    Box::new(move || file.sync_data().expect("a working disk"))
}

fn check_file(path: &Path, count: u64, payloads: &Payloads) {
    let bytes = fs::read(path).expect("the file that was written");
    let mut at = 0;
    for seq in 0..count {
        let payload = payloads.of(seq);
        assert!(bytes[at..].starts_with(&header(seq, payload)), "header of record {seq}");
        let found = &bytes[at + HEADER_BYTES..];
        assert!(found.starts_with(payload), "payload of record {seq}");
        at += frame_bytes(payload.len()) as usize;
    }
    let rest = &bytes[at..];
    assert!(rest.iter().all(|byte| *byte == 0), "nothing behind the last record");
}

/// Stores into a mapping of a file that was allocated whole. `AHEAD`: its pages are populated 128 KiB
/// ahead; else each is a page fault.
pub struct Mapping<const AHEAD: bool> {
    file: File,
    map: MmapRaw,
    end: usize,
    touched: usize,
}

const AHEAD_BYTES: usize = 128 * 1024;

impl<const AHEAD: bool> Mapping<AHEAD> {
    #[cold]
    fn touch(&mut self, to: usize) {
        assert!(to <= self.map.len(), "the bench asked for too little room");
        let to = (to + AHEAD_BYTES).min(self.map.len());
        if AHEAD {
            let (from, len) = (self.touched, to - self.touched);
            self.map.advise_range(Advice::PopulateWrite, from, len).expect("pages (Linux 5.14)");
        }
        self.touched = to;
    }
}

impl<const AHEAD: bool> Way for Mapping<AHEAD> {
    const NAME: &'static str = if AHEAD { "mapping, populated" } else { "mapping, faults" };
    const SETTINGS: &'static str = match AHEAD {
        true => "a file allocated whole, pages populated 128 KiB ahead",
        false => "the same, and each new page is a fault",
    };

    fn create(dir: &Path, bytes: u64) -> Self {
        let file = create_file(dir);
        let len = bytes as usize + AHEAD_BYTES;
        allocate(&file, len as u64);
        let map = MmapOptions::new().len(len).map_raw(&file).expect("address space");
        Mapping { file, map, end: 0, touched: 0 }
    }

    #[inline]
    #[allow(unsafe_code)]
    fn append(&mut self, seq: u64, payload: &[u8]) {
        let next = self.end + frame_bytes(payload.len()) as usize;
        if next > self.touched {
            self.touch(next);
        }
        // SAFETY: `touch` asserted that the frame lies in the mapping, and nothing refers to its bytes.
        unsafe {
            let frame = self.map.as_mut_ptr().add(self.end);
            let place = frame.add(HEADER_BYTES);
            place.copy_from_nonoverlapping(payload.as_ptr(), payload.len());
            let header = header(seq, std::slice::from_raw_parts(place, payload.len()));
            frame.copy_from_nonoverlapping(header.as_ptr(), HEADER_BYTES);
        }
        self.end = next;
    }

    fn syncer(&self) -> Box<dyn Fn() + Send> {
        syncer_of(&self.file)
    }
}

/// One call for each record, made in a buffer. `INTO`: `pwrite` into a file that was allocated whole;
/// else `write`, and the file grows.
pub struct Write<const INTO: bool> {
    file: File,
    frame: Vec<u8>,
    end: u64,
}

impl<const INTO: bool> Way for Write<INTO> {
    const NAME: &'static str = if INTO { "pwrite" } else { "write" };
    const SETTINGS: &'static str = match INTO {
        true => "`pwrite` of each record into a file allocated whole",
        false => "`write` of each record, which makes the file longer",
    };

    fn create(dir: &Path, bytes: u64) -> Self {
        let file = create_file(dir);
        if INTO {
            allocate(&file, bytes);
        }
        Write { file, frame: Vec::new(), end: 0 }
    }

    #[inline]
    fn append(&mut self, seq: u64, payload: &[u8]) {
        fill(&mut self.frame, seq, payload);
        match INTO {
            true => self.file.write_all_at(&self.frame, self.end).expect("room"),
            false => self.file.write_all(&self.frame).expect("room"),
        }
        self.end += self.frame.len() as u64;
    }

    fn syncer(&self) -> Box<dyn Fn() + Send> {
        syncer_of(&self.file)
    }
}

#[inline]
fn fill(frame: &mut Vec<u8>, seq: u64, payload: &[u8]) {
    frame.clear();
    frame.extend_from_slice(&header(seq, payload));
    frame.extend_from_slice(payload);
    frame.resize(frame_bytes(payload.len()) as usize, 0);
}

/// Through `BufWriter`: what is in the buffer is lost with the process, and nobody sees it.
pub struct Buffered {
    writer: BufWriter<File>,
    frame: Vec<u8>,
}

const BUFFER_BYTES: usize = 64 * 1024;

impl Way for Buffered {
    const NAME: &'static str = "BufWriter";
    const SETTINGS: &'static str = "`write` of 64 KiB at a time; what is in the buffer nobody else sees, and it dies with the process";

    fn create(dir: &Path, _bytes: u64) -> Self {
        let writer = BufWriter::with_capacity(BUFFER_BYTES, create_file(dir));
        Buffered { writer, frame: Vec::new() }
    }

    #[inline]
    fn append(&mut self, seq: u64, payload: &[u8]) {
        fill(&mut self.frame, seq, payload);
        self.writer.write_all(&self.frame).expect("room");
    }

    fn flush(&mut self) {
        self.writer.flush().expect("room");
    }

    fn syncer(&self) -> Box<dyn Fn() + Send> {
        syncer_of(self.writer.get_ref())
    }
}

pub struct Maplog(Log);

impl Way for Maplog {
    const NAME: &'static str = "maplog";
    const SETTINGS: &'static str =
        "`Log::append`, `SyncPolicy::Manual`, else as it comes; it grows while it is appended to";

    fn create(dir: &Path, _bytes: u64) -> Self {
        Maplog(common::open(&dir.join("log")))
    }

    #[inline]
    fn append(&mut self, seq: u64, payload: &[u8]) {
        let given = self.0.append(payload).expect("room");
        debug_assert_eq!(given, seq);
    }

    fn syncer(&self) -> Box<dyn Fn() + Send> {
        let log = self.0.clone();
        Box::new(move || {
            let _durable = log.sync().expect("a working disk");
        })
    }

    fn close(self) {
        self.0.close().expect("a working disk");
    }

    #[allow(unsafe_code)]
    fn check(dir: &Path, count: u64, payloads: &Payloads) {
        // SAFETY: nothing changes the files of this bench.
        let reader = unsafe { Reader::open(dir.join("log")) }.expect("the log that was written");
        common::check(&reader, count, payloads);
    }
}
