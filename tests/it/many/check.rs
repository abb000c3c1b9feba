//! What the appenders were told, against what the log holds.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::processes::log_in;
use crate::support::{read, segments};

/// The record with this count of one thread of one process.
pub fn payload(number: u32, thread: u32, count: u64) -> Vec<u8> {
    let mut payload = Vec::new();
    payload.extend(number.to_le_bytes());
    payload.extend(thread.to_le_bytes());
    payload.extend(count.to_le_bytes());
    let filler = (u64::from(number) * 31 + u64::from(thread) * 7 + count * 13) % 150;
    payload.extend((0..filler).map(|byte| byte as u8 ^ count as u8));
    payload
}

/// Whose record it is, and which of its.
fn maker(payload: &[u8]) -> ((u32, u32), u64) {
    let word = |at: usize| u32::from_le_bytes(payload[at..at + 4].try_into().unwrap());
    ((word(0), word(4)), u64::from_le_bytes(payload[8..16].try_into().unwrap()))
}

/// Of records and their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(pub u32);

impl Digest {
    pub fn add(&mut self, seq: u64, payload: &[u8]) {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        hasher.update(&seq.to_le_bytes());
        hasher.update(payload);
        self.0 = hasher.finalize();
    }
}

/// An append that returned.
pub struct Note {
    pub seq: u64,
    pub count: u64,
    pub records: u64,
}

impl Note {
    const BYTES: usize = 24;

    pub fn encode(&self) -> [u8; Self::BYTES] {
        let words = [self.seq, self.count, self.records].map(u64::to_le_bytes);
        words.concat().try_into().unwrap()
    }

    fn decode(bytes: &[u8]) -> Self {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        Note { seq: word(0), count: word(8), records: word(16) }
    }
}

/// All appends that returned, by who made them.
pub struct Told(HashMap<(u32, u32), Vec<Note>>);

impl Told {
    pub fn read(home: &Path) -> Self {
        let mut told = HashMap::new();
        for entry in fs::read_dir(home).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let Some(maker) = name.strip_prefix("told-") else { continue };
            let (number, thread) = maker.split_once('-').unwrap();
            let bytes = fs::read(&path).unwrap();
            // The last note may be torn: its thread was killed while it wrote it.
            let notes = bytes.chunks_exact(Note::BYTES).map(Note::decode).collect();
            told.insert((number.parse().unwrap(), thread.parse().unwrap()), notes);
        }
        Told(told)
    }
}

pub struct Checked {
    pub records: u64,
    pub told: u64,
    pub segments: usize,
    pub digest: Digest,
}

/// Each maker's records are there once, in its order; what it was told stands where it was told; and no
/// more than one append of each had not returned.
pub fn check(home: &Path, told: &Told) -> Checked {
    let reader = read(log_in(home)).unwrap();
    let mut digest = Digest::default();
    let mut seqs: HashMap<(u32, u32), Vec<u64>> = HashMap::new();
    let mut next_seq = 0;
    for item in &reader {
        let record = item.unwrap();
        assert_eq!(record.seq(), next_seq);
        let (maker, count) = maker(record.data());
        assert_eq!(record.data(), payload(maker.0, maker.1, count));
        let of_maker = seqs.entry(maker).or_default();
        assert_eq!(of_maker.len() as u64, count, "{maker:?} lost or doubled a record");
        of_maker.push(next_seq);
        digest.add(next_seq, record.data());
        next_seq += 1;
    }
    let mut records_told = 0;
    for (maker, notes) in &told.0 {
        let empty = Vec::new();
        let seqs = seqs.get(maker).unwrap_or(&empty);
        let mut returned = 0;
        for note in notes {
            assert_eq!(note.count, returned);
            for record in 0..note.records {
                let at = (note.count + record) as usize;
                assert_eq!(seqs.get(at), Some(&(note.seq + record)), "{maker:?}, record {at}");
            }
            returned += note.records;
        }
        let unreturned = seqs.len() as u64 - returned;
        assert!(
            unreturned <= 4,
            "{maker:?}: {unreturned} records of an append that did not return"
        );
        records_told += returned;
    }
    let segments = segments(&log_in(home)).len();
    Checked { records: next_seq, told: records_told, segments, digest }
}
