//! Random operations on a log and on a `Vec<Vec<u8>>` that does the same the naive way.
//!
//! `MAPLOG_TWIN_SEEDS=1000` runs that many logs in place of 26; `MAPLOG_TWIN_SEED=17` runs only that
//! one, which is what a failure names.
#![allow(clippy::print_stderr)]

pub mod cut;
mod looks;

use std::collections::VecDeque;
use std::io::Write;
use std::path::PathBuf;

use fastrand::Rng;
use maplog::{ErrorKind, Log, Options, Reader, SharedRecord, SyncPolicy, Writer};
use tempfile::TempDir;

use crate::support::{NamedOnFailure, SMALL, tempdir};

const SEEDS: u64 = 26;
const OPERATIONS: usize = 400;

/// G3, G4: whatever is done to it, the log holds what was appended, in that order.
#[test]
fn random_operations_leave_what_the_naive_twin_has() {
    let only = std::env::var("MAPLOG_TWIN_SEED").ok().map(|seed| seed.parse().unwrap());
    let count = std::env::var("MAPLOG_TWIN_SEEDS").map_or(SEEDS, |count| count.parse().unwrap());
    let seeds = only.map_or(0..count, |seed: u64| seed..seed + 1);
    let mut done = Done::default();
    for seed in seeds {
        let _named = NamedOnFailure("MAPLOG_TWIN_SEED", seed);
        let mut twin = Twin::new(seed);
        for _ in 0..OPERATIONS {
            twin.operation();
        }
        twin.compare_all();
        done.add(&twin.done);
    }
    eprintln!("{done:?}");
    if only.is_none() {
        assert!(done.operations >= 10_000 || count < SEEDS, "{done:?}");
        assert!(done.rolls > 100 && done.cuts > 10 && done.cuts_that_took > 0, "{done:?}");
    }
}

#[derive(Debug, Default)]
struct Done {
    operations: usize,
    records: usize,
    rolls: usize,
    reopened: usize,
    cuts: usize,
    cuts_that_took: usize,
    compared: usize,
    too_large: usize,
}

impl Done {
    fn add(&mut self, other: &Done) {
        self.operations += other.operations;
        self.records += other.records;
        self.rolls += other.rolls;
        self.reopened += other.reopened;
        self.cuts += other.cuts;
        self.cuts_that_took += other.cuts_that_took;
        self.compared += other.compared;
        self.too_large += other.too_large;
    }
}

struct Twin {
    rng: Rng,
    home: TempDir,
    /// `None` only within `reopen`.
    log: Option<Log>,
    first_seq: u64,
    /// What the log should hold, record `first_seq` first.
    records: Vec<Vec<u8>>,
    /// So many of them were synced.
    synced: usize,
    old_readers: VecDeque<(Reader, usize)>,
    lent: Vec<SharedRecord>,
    done: Done,
}

/// Of a log that syncs when it is told to: on a slow machine it would, within a second, between two looks at
/// its files.
fn options() -> Options {
    Log::options().sync(SyncPolicy::Manual)
}

impl Twin {
    fn new(seed: u64) -> Self {
        let home = tempdir();
        let first_seq = if seed.is_multiple_of(4) { seed << 40 } else { 0 };
        let options = options().segment_bytes(SMALL).first_seq(first_seq);
        // SAFETY: only this test touches the directory, and only through maplog.
        let log = unsafe { options.open(home.path().join("log")) };
        Twin {
            rng: Rng::with_seed(seed),
            home,
            log: Some(log.unwrap()),
            first_seq,
            records: Vec::new(),
            synced: 0,
            old_readers: VecDeque::new(),
            lent: Vec::new(),
            done: Done::default(),
        }
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("log")
    }

    fn log(&self) -> Log {
        self.log.clone().unwrap()
    }

    fn next_seq(&self) -> u64 {
        self.first_seq + self.records.len() as u64
    }

    fn operation(&mut self) {
        self.done.operations += 1;
        match self.rng.u32(0..100) {
            0..30 => self.append(),
            30..45 => self.batch(),
            45..60 => self.through_a_writer(),
            60..68 => self.sync(),
            68..74 => self.reopen(),
            74..80 => self.take_a_reader(),
            80..85 => self.look_at_an_old_reader(),
            85..93 => self.point_reads(),
            93..97 => self.compare_all(),
            97 => self.cut_the_power(),
            _ => self.ask_the_handle(),
        }
        assert_eq!(self.log().next_seq(), self.next_seq());
    }

    /// Mostly small; now and then empty, as large as can be, or too large.
    fn payload(&mut self, max: u64) -> Vec<u8> {
        let max = max as usize;
        let len = match self.rng.u32(0..60) {
            0..6 => 0,
            6..40 => self.rng.usize(1..80),
            40..55 => self.rng.usize(80..700),
            55..57 => self.rng.usize(700..=max.min(8000)),
            57 => max.min(70_000),
            58 => max.min(70_000) - self.rng.usize(0..40),
            _ => max + self.rng.usize(1..40),
        };
        let mut payload = vec![0; len];
        match self.rng.u32(0..4) {
            0 => {}
            1 => payload.fill(0xFF),
            _ => self.rng.fill(&mut payload),
        }
        payload
    }

    fn append(&mut self) {
        let log = self.log();
        let payload = self.payload(log.max_record());
        let seq = log.append(&payload);
        self.appended_one(seq, payload, log.max_record());
    }

    fn appended_one(&mut self, seq: maplog::Result<u64>, payload: Vec<u8>, max: u64) {
        if payload.len() as u64 > max {
            assert_eq!(seq.unwrap_err().kind(), ErrorKind::TooLarge);
            self.done.too_large += 1;
            return;
        }
        assert_eq!(seq.unwrap(), self.next_seq());
        self.records.push(payload);
        self.done.records += 1;
    }

    fn batch_of(&mut self, max: u64) -> Vec<Vec<u8>> {
        let count = self.rng.usize(0..20);
        (0..count).map(|_| self.payload(max)).collect()
    }

    fn batch(&mut self) {
        let log = self.log();
        let batch = self.batch_of(log.max_record());
        let seqs = log.append_batch(&batch);
        self.appended_batch(seqs, batch, log.max_record());
    }

    fn appended_batch(
        &mut self,
        seqs: maplog::Result<std::ops::Range<u64>>,
        batch: Vec<Vec<u8>>,
        max: u64,
    ) {
        let room: usize = batch.iter().map(|one| (16 + one.len()).next_multiple_of(16)).sum();
        // The longest record with its header is all that a segment has room for.
        let fits = room as u64 <= max + 16 && batch.iter().all(|one| one.len() as u64 <= max);
        if !fits {
            assert_eq!(seqs.unwrap_err().kind(), ErrorKind::TooLarge);
            self.done.too_large += 1;
            return;
        }
        let next_seq = self.next_seq();
        assert_eq!(seqs.unwrap(), next_seq..next_seq + batch.len() as u64);
        self.done.records += batch.len();
        self.records.extend(batch);
    }

    fn through_a_writer(&mut self) {
        let log = self.log();
        let max = log.max_record();
        let mut writer = log.writer().unwrap();
        for _ in 0..self.rng.u32(0..8) {
            match self.rng.u32(0..8) {
                0..3 => {
                    let payload = self.payload(max);
                    let seq = writer.append(&payload);
                    self.appended_one(seq, payload, max);
                }
                3 => {
                    let batch = self.batch_of(max);
                    let seqs = writer.append_batch(&batch);
                    self.appended_batch(seqs, batch, max);
                }
                4 => {
                    let beside = log.append("beside the writer").unwrap_err();
                    assert_eq!(beside.kind(), ErrorKind::Deadlock);
                }
                _ => self.reserve(&mut writer, max),
            }
        }
        if self.rng.u32(0..6) == 0 {
            assert_eq!(writer.finish().unwrap(), self.next_seq());
            self.synced = self.records.len();
        }
    }

    fn reserve(&mut self, writer: &mut Writer<'_>, max: u64) {
        let payload = self.payload(max);
        let slot = writer.reserve(payload.len());
        if payload.len() as u64 > max {
            assert_eq!(slot.unwrap_err().kind(), ErrorKind::TooLarge);
            self.done.too_large += 1;
            return;
        }
        let mut slot = slot.unwrap();
        assert_eq!(slot.len(), payload.len());
        assert!(slot.as_ptr().addr().is_multiple_of(16), "payloads are aligned");
        let whole = self.rng.bool();
        let filled = if whole { payload.len() } else { self.rng.usize(0..=payload.len()) };
        if self.rng.bool() {
            slot[..filled].copy_from_slice(&payload[..filled]);
        } else {
            for piece in payload[..filled].chunks(1 + self.rng.usize(0..200)) {
                slot.write_all(piece).unwrap();
            }
            assert_eq!(slot.written(), filled);
            if whole {
                assert_eq!(slot.write(b"more than was reserved").unwrap(), 0);
            }
        }
        if self.rng.bool() {
            slot.truncate(self.rng.usize(0..=payload.len() + 10));
        }
        let stands = slot.to_vec();
        let known = filled.min(stands.len());
        assert_eq!(stands[..known], payload[..known]);
        if self.rng.u32(0..3) == 0 {
            return;
        }
        let seq = slot.commit();
        self.appended_one(seq, stands, max);
    }

    fn sync(&mut self) {
        let log = self.log();
        if self.rng.u32(0..3) == 0 && !self.records.is_empty() {
            let wanted = self.rng.usize(0..self.records.len());
            let durable = log.sync_to(self.first_seq + wanted as u64).unwrap();
            assert!(durable > self.first_seq + wanted as u64);
            self.synced = self.synced.max(wanted + 1);
        } else {
            assert_eq!(log.sync().unwrap(), self.next_seq());
            self.synced = self.records.len();
        }
        let beyond = log.sync_to(self.next_seq()).unwrap_err();
        assert_eq!(beyond.kind(), ErrorKind::OutOfRange);
    }

    fn reopen(&mut self) {
        let id = self.log().id();
        let epoch = self.log().epoch();
        let log = self.log.take().unwrap();
        if self.rng.bool() {
            log.close().unwrap();
        } else {
            drop(log);
        }
        let segment_bytes = [SMALL, SMALL, SMALL, SMALL, 20_000, 40_000][self.rng.usize(0..6)];
        // SAFETY: only this test touches the directory, and only through maplog.
        let log = unsafe { options().segment_bytes(segment_bytes).open(self.path()) }.unwrap();
        let found = log.recovery();
        assert!(found.clean, "{found:?}");
        assert!(found.lost.is_empty() && found.cut.is_none(), "{found:?}");
        assert_eq!((log.id(), log.epoch()), (id, epoch));
        assert_eq!(log.durable_seq(), self.next_seq());
        self.synced = self.records.len();
        self.log = Some(log);
        self.done.reopened += 1;
    }
}
