//! Every kind of small harm to a small log, one at a time: a bit flipped, a file cut. Opening it for
//! real gives the outcome that docs/durability.md names, every record that is left, and exactly
//! the ranges that are not.
#![allow(clippy::print_stdout)]

pub mod model;

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use maplog::{ErrorKind, Reader};
use tempfile::TempDir;

use crate::support::{SMALL, open, read, tempdir};
use model::{Cut, Expected, Harm, Left, Model};

const SEGMENTS: usize = 3;
/// A header block: the fixed fields, the slot behind them, nothing.
const FIELD_BITS: usize = 512 * 8;
const SLOT_BITS: usize = 128 * 8;
const BLOCK_BITS: usize = 4096 * 8;
const HEADER_BITS: usize = 2 * BLOCK_BITS;

/// Every bit of fields and slots and each 16th of the rest. The fixed fields do not know how the log
/// was left, so every bit of them in one that was closed is enough.
pub fn flips(left: Left) -> impl Iterator<Item = Harm> {
    (0..SMALL as usize * 8)
        .filter(move |bit| {
            let in_block = bit % BLOCK_BITS;
            if *bit < HEADER_BITS && in_block < FIELD_BITS {
                left == Left::Closed || bit % 8 == bit / 8 % 8
            } else if *bit < HEADER_BITS && in_block < FIELD_BITS + SLOT_BITS {
                true
            } else {
                bit / 8 % 2 == 0 && bit % 8 == bit / 16 % 8
            }
        })
        .map(|bit| Harm::Flip { bit })
}

pub fn cuts(every: usize) -> impl Iterator<Item = Harm> {
    (0..SMALL as usize).step_by(every).map(|bytes| Harm::Cut { bytes })
}

/// The log's files in a directory where one at a time is harmed.
pub struct Patient<'m> {
    pub model: &'m Model,
    pub dir: TempDir,
    files: Vec<File>,
}

impl<'m> Patient<'m> {
    pub fn new(model: &'m Model) -> Self {
        let dir = tempdir();
        let mut files = Vec::new();
        for segment in &model.segments {
            let path = dir.path().join(&segment.file_name);
            fs::write(&path, &segment.bytes).unwrap();
            files.push(File::options().write(true).open(&path).unwrap());
        }
        Patient { model, dir, files }
    }

    pub fn harm(&self, segment: usize, harm: Harm) {
        match harm {
            Harm::Flip { bit } => {
                let byte = self.model.segments[segment].bytes[bit / 8] ^ 1 << (bit % 8);
                self.files[segment].write_all_at(&[byte], bit as u64 / 8).unwrap();
            }
            Harm::Cut { bytes } => self.files[segment].set_len(bytes as u64).unwrap(),
        }
    }

    pub fn heal(&self, segment: usize, harm: Harm) {
        let whole = &self.model.segments[segment].bytes;
        let from = match harm {
            Harm::Flip { bit } => bit / 8..bit / 8 + 1,
            Harm::Cut { bytes } => bytes..whole.len(),
        };
        self.files[segment].write_all_at(&whole[from.clone()], from.start as u64).unwrap();
    }
}

/// Every record of the reader against what was appended; gives what it reported lost.
fn lost(reader: &Reader, payloads: &[Vec<u8>], case: &dyn Fn() -> String) -> Vec<Range<u64>> {
    let mut lost: Vec<Range<u64>> = Vec::new();
    let mut seq = reader.first_seq();
    for item in reader {
        match item {
            Ok(record) => {
                assert_eq!(record.seq(), seq, "{}", case());
                assert!(record.data() == payloads[seq as usize], "wrong bytes: {}", case());
                seq += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Damaged, "{error}: {}", case());
                assert!(error.path().is_some() && error.segment().is_some(), "{error}");
                let range = error.lost().unwrap();
                assert!(range.start == seq && range.end > seq, "{range:?} at {seq}: {}", case());
                seq = range.end;
                match lost.last_mut() {
                    Some(last) if last.end == range.start => last.end = range.end,
                    _ => lost.push(range),
                }
            }
        }
    }
    assert_eq!(seq, reader.next_seq(), "{}", case());
    lost
}

fn check_reader(patient: &Patient<'_>, segment: usize, harm: Harm) {
    let model = patient.model;
    let case = || format!("{:?} log, segment {segment}, {harm:?}", model.left);
    let expected = model.expected(segment, harm);
    patient.harm(segment, harm);
    let reader = read(patient.dir.path()).unwrap_or_else(|error| panic!("{error}: {}", case()));
    assert_eq!((reader.first_seq(), reader.next_seq()), (0, expected.next_seq), "{}", case());
    assert_eq!(lost(&reader, &model.payloads, &case), expected.lost, "{}", case());
    let never_durable = model.left == Left::Open && reader.durable_seq() > model.synced_seq;
    assert!(!never_durable, "{} called durable: {}", reader.durable_seq(), case());
    drop(reader);
    patient.heal(segment, harm);
}

/// Opens the log to append, appends twenty records, and finds all again.
fn check_log(patient: &Patient<'_>, segment: usize, harm: Harm) {
    let model = patient.model;
    let case = || format!("{:?} log to append to, segment {segment}, {harm:?}", model.left);
    let Expected { lost: all_lost, next_seq, clean, found_lost, cut } =
        model.expected(segment, harm);
    patient.harm(segment, harm);
    let log = open(patient.dir.path()).unwrap_or_else(|error| panic!("{error}: {}", case()));
    let recovery = log.recovery();
    let found_cut = recovery.cut.map(|cut| Cut {
        segment: cut.segment,
        offset: cut.offset,
        bytes: cut.bytes,
        records: cut.records,
        segments: cut.segments,
    });
    let found = (recovery.clean, recovery.live, recovery.lost.clone(), found_cut);
    assert_eq!(found, (clean, false, found_lost, cut), "{}", case());
    assert_eq!(log.next_seq(), next_seq, "{}", case());
    let mut payloads = model.payloads[..next_seq as usize].to_vec();
    for n in 0..20 {
        let record = vec![n; n as usize * 37];
        assert_eq!(log.append(&record).unwrap(), payloads.len() as u64, "{}", case());
        payloads.push(record);
    }
    let reader = log.reader();
    assert_eq!(lost(&reader, &payloads, &case), all_lost, "{}", case());
    for gone in &all_lost {
        let error = reader.get(gone.start).unwrap_err();
        assert_eq!(error.lost(), Some(gone.start..gone.start + 1), "{}", case());
        let behind = reader.get(gone.end).unwrap().expect("twenty were appended behind");
        assert_eq!(behind.data(), payloads[gone.end as usize], "{}", case());
    }
    log.close().unwrap();
    let reader = read(patient.dir.path()).unwrap();
    assert_eq!(reader.next_seq(), next_seq + 20, "{}", case());
    assert_eq!(lost(&reader, &payloads, &case), all_lost, "reopened: {}", case());
}

/// Runs every harm on every segment, on two threads that each have a patient; gives their number.
pub fn sweep<S>(
    harms: impl Iterator<Item = Harm>,
    patient: impl Fn() -> S + Sync,
    check: impl Fn(&S, usize, Harm) + Sync,
) -> usize {
    let cases: Vec<_> =
        harms.flat_map(|harm| (0..SEGMENTS).map(move |segment| (segment, harm))).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let patient = patient();
        while let Some((segment, harm)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            check(&patient, *segment, *harm);
        }
    };
    thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    assert!(next.into_inner() >= cases.len());
    cases.len()
}

#[test]
fn a_reader_gets_all_that_a_flip_or_cut_left_and_hears_of_the_rest() {
    let mut opened = 0;
    for left in [Left::Closed, Left::Open] {
        let model = Model::new(left);
        opened += sweep(flips(left).chain(cuts(16)), || Patient::new(&model), check_reader);
    }
    println!("opened {opened} harmed logs to read");
    assert_eq!(opened, 91_392);
}

#[test]
fn a_harmed_log_opens_reports_exactly_and_takes_appends() {
    let mut opened = 0;
    for left in [Left::Closed, Left::Open] {
        let model = Model::new(left);
        let check = |_: &(), segment, harm| check_log(&Patient::new(&model), segment, harm);
        opened += sweep(flips(Left::Closed).step_by(97).chain(cuts(400)), || (), check);
    }
    println!("opened {opened} harmed logs to append to");
    assert_eq!(opened, 1_350);
}
