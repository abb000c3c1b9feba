//! What one writes oneself: `BufWriter`, a length and a CRC before each record.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Mutex;

use crate::peer::{About, Peer, Setup, Threads};
use crate::records::{Batches, Feed};

pub struct BufWriter(Mutex<Inner>);

struct Inner {
    writer: io::BufWriter<File>,
    end: u64,
    places: Vec<(u64, u32)>,
}

const BUFFER_BYTES: usize = 64 * 1024;
const HEADER_BYTES: usize = 8;

fn header(record: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&(record.len() as u32).to_le_bytes());
    header[4..].copy_from_slice(&crc32fast::hash(record).to_le_bytes());
    header
}

impl Inner {
    #[inline]
    fn append(&mut self, record: &[u8]) {
        self.writer.write_all(&header(record)).expect("room");
        self.writer.write_all(record).expect("room");
        self.end += (HEADER_BYTES + record.len()) as u64;
    }

    fn flush(&mut self) {
        self.writer.flush().expect("room");
    }

    fn walk(&mut self, take: &mut impl FnMut(&[u8])) -> u64 {
        let file = self.writer.get_mut();
        file.seek(SeekFrom::Start(0)).expect("a file");
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
        let (mut end, mut found, mut record) = (0, [0; HEADER_BYTES], Vec::new());
        while reader.read_exact(&mut found).is_ok() {
            record.resize(u32::from_le_bytes(found[..4].try_into().expect("four")) as usize, 0);
            if reader.read_exact(&mut record).is_err() || header(&record) != found {
                break;
            }
            take(&record);
            end += (HEADER_BYTES + record.len()) as u64;
        }
        let file = reader.into_inner();
        file.seek(SeekFrom::Start(end)).expect("a file");
        end
    }
}

impl Peer for BufWriter {
    const ABOUT: About = About {
        name: "BufWriter",
        settings: "64 KiB of buffer; length, crc32fast, record; durable: flush and `fdatasync` each, under a mutex",
        lacks: "an append that returned is in this process only; a reader sees it after the flush; opening reads all",
        threads: Threads::Mutex,
    };

    fn open(dir: &Path, _setup: Setup) -> Self {
        let path = dir.join("file");
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let writer = io::BufWriter::with_capacity(BUFFER_BYTES, file.expect("a file"));
        let mut inner = Inner { writer, end: 0, places: Vec::new() };
        inner.end = inner.walk(&mut |_| {});
        BufWriter(Mutex::new(inner))
    }

    fn append_all(&mut self, records: &mut Feed) {
        let inner = self.0.get_mut().expect("no panic");
        while let Some(record) = records.next() {
            inner.append(record);
        }
        inner.flush();
    }

    fn append_for_get(&mut self, records: &mut Feed) {
        let inner = self.0.get_mut().expect("no panic");
        while let Some(record) = records.next() {
            inner.places.push((inner.end, record.len() as u32));
            inner.append(record);
        }
        inner.flush();
    }

    fn append_batches(&mut self, batches: &mut Batches) {
        let inner = self.0.get_mut().expect("no panic");
        while let Some(batch) = batches.next() {
            batch.iter().for_each(|record| inner.append(record));
        }
        inner.flush();
    }

    fn append_beside(&self, _thread: usize, records: &mut Feed) {
        while let Some(record) = records.next() {
            self.0.lock().expect("no panic").append(record);
        }
        self.0.lock().expect("no panic").flush();
    }

    fn append_durably(&self, _thread: usize, record: &[u8]) {
        let mut inner = self.0.lock().expect("no panic");
        inner.append(record);
        inner.flush();
        inner.writer.get_ref().sync_data().expect("a working disk");
    }

    fn walk(&mut self, take: &mut impl FnMut(&[u8])) {
        self.0.get_mut().expect("no panic").walk(take);
    }

    fn get_all(&mut self, order: &[u64], take: &mut impl FnMut(&[u8])) {
        let inner = self.0.get_mut().expect("no panic");
        let mut frame = Vec::new();
        for number in order {
            let (at, len) = inner.places[*number as usize];
            frame.resize(HEADER_BYTES + len as usize, 0);
            inner.writer.get_ref().read_exact_at(&mut frame, at).expect("a record");
            let (found, record) = frame.split_at(HEADER_BYTES);
            assert!(header(record) == found, "CRC at {at}");
            take(record);
        }
    }
}
