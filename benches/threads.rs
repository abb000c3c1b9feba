//! Several threads that append 64 bytes each to one log, beside the bare mapping under a parking_lot mutex in
//! the same run.
//!
//! Every record is read back: each thread's are all there, in its order, byte by byte.
#![allow(missing_docs, unreachable_pub, clippy::print_stdout)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use parking_lot::Mutex;

use common::bare::{Bare, crc32fast};
use common::{Settings, open, print_table, warm_free_memory};

const SIZE: usize = 64;
const THREADS: [u64; 3] = [1, 2, 4];
const KINDS: [&str; 2] = ["bare, in a mutex", "`append`"];

fn main() {
    let settings = Settings::from_args();
    let dir = common::tempdir();
    settings.print("Threads that append 64 bytes", dir.path());
    let mut rows = Vec::new();
    for threads in THREADS {
        let mut figures = vec![Vec::new(); KINDS.len()];
        for _ in 0..settings.rounds {
            figures[0].push(bare(dir.path(), &settings, threads));
            figures[1].push(maplog(dir.path(), &settings, threads));
        }
        rows.push((format!("{threads} threads"), figures));
    }
    print_table("ns a record, all threads together, new files (ratio to bare)", &KINDS, &rows);
}

/// What a thread appends: its number and how many it appended before, and the same again and again.
fn payload(thread: u64, count: u64) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    let word = (thread << 32 | count).to_le_bytes();
    bytes.chunks_exact_mut(word.len()).for_each(|chunk| chunk.copy_from_slice(&word));
    bytes
}

/// Nanoseconds a record, from when all threads are there until the last has appended its share.
fn time(threads: u64, share: u64, append: impl Fn(&[u8]) + Sync) -> f64 {
    let start_line = Barrier::new(threads as usize + 1);
    thread::scope(|scope| {
        for thread in 0..threads {
            let (start_line, append) = (&start_line, &append);
            scope.spawn(move || {
                start_line.wait();
                (0..share).for_each(|count| append(&payload(thread, count)));
                start_line.wait();
            });
        }
        start_line.wait();
        let start = Instant::now();
        start_line.wait();
        start.elapsed().as_nanos() as f64 / (threads * share) as f64
    })
}

/// Takes in records in their order and compares each with its thread's next.
struct Check {
    next: Vec<u64>,
}

impl Check {
    fn new(threads: u64) -> Self {
        Check { next: vec![0; threads as usize] }
    }

    fn take(&mut self, data: &[u8]) {
        let thread = u64::from(u32::from_le_bytes([data[4], data[5], data[6], data[7]]));
        let next = &mut self.next[thread as usize];
        assert!(data == payload(thread, *next), "record {next} of thread {thread}");
        *next += 1;
    }

    fn end(self, share: u64) {
        assert!(self.next.iter().all(|count| *count == share), "{:?} of {share}", self.next);
    }
}

fn bare(dir: &Path, settings: &Settings, threads: u64) -> f64 {
    let path = dir.join("bare");
    let share = settings.records(SIZE) / threads;
    warm_free_memory(settings.run_bytes);
    let log = Mutex::new((Bare::create(&path, settings.run_bytes), 0));
    let took = time(threads, share, |payload| {
        let (log, seq) = &mut *log.lock();
        log.append(*seq, payload, crc32fast);
        *seq += 1;
    });
    let mut check = Check::new(threads);
    let (log, count) = log.into_inner();
    log.read_back(&path, count, |_, data| check.take(data));
    check.end(share);
    fs::remove_file(path).expect("the bench's own file");
    took
}

fn maplog(dir: &Path, settings: &Settings, threads: u64) -> f64 {
    let path = dir.join("log");
    let share = settings.records(SIZE) / threads;
    warm_free_memory(settings.run_bytes);
    let log = open(&path);
    let took = time(threads, share, |payload| {
        log.append(payload).expect("room");
    });
    let mut check = Check::new(threads);
    log.reader().iter().for_each(|record| check.take(record.expect("a whole record").data()));
    check.end(share);
    drop(log);
    fs::remove_dir_all(path).expect("the bench's own directory");
    took
}
