//! How long single appends of 64 bytes take at a steady million a second, beside the bare mapping paced the
//! same way in the same run.
//!
//! Each append has its time, a microsecond after the one before, and counts from then: what waits behind
//! one that is slow counts as slow, too. So the figures are what a caller sees who has news at a steady
//! pace. Every record is read back and compared.
//!
//! `cargo bench --bench latency -- [SECONDS]`: so many of each kind, 60 by default.
#![allow(missing_docs, unreachable_pub, clippy::print_stdout)]

mod common;

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use maplog::{Log, Options, SyncPolicy};

use common::bare::{Bare, crc32fast, frame_bytes};
use common::{Payloads, Settings, warm_free_memory};

const SIZE: usize = 64;
const EACH: Duration = Duration::from_micros(1);
/// A round of each kind, in seconds; rounds of the kinds take turns.
const ROUND_SECONDS: u64 = 10;
const QUANTILES: [f64; 5] = [0.5, 0.99, 0.999, 0.9999, 1.0];

/// Whoever appends at this pace.
struct Kind {
    name: &'static str,
    run: fn(&Path, u64, &mut Histogram<u64>),
    /// Which of the kinds it is compared with.
    bare: usize,
}

const KINDS: [Kind; 5] = [
    Kind { name: "bare", run: |dir, count, times| bare(dir, count, times, false), bare: 0 },
    Kind { name: "`append`", run: never_synced, bare: 0 },
    Kind { name: "`append`, no helper threads", run: without_threads, bare: 0 },
    Kind {
        name: "bare, synced every second",
        run: |dir, count, times| bare(dir, count, times, true),
        bare: 3,
    },
    Kind { name: "`append`, synced every second", run: every_second, bare: 3 },
];

fn main() {
    let settings = Settings::from_args();
    let is_quick = settings.rounds == 1;
    let named = std::env::args().find_map(|argument| argument.parse().ok());
    let seconds: u64 = named.unwrap_or(60);
    let rounds = if is_quick { 1 } else { seconds.div_ceil(ROUND_SECONDS) };
    let count = if is_quick { 10_000 } else { 1_000_000 * seconds / rounds };
    let dir = common::tempdir();
    println!("\n## A million appends of {SIZE} bytes a second, {rounds} rounds of {count}\n");
    let new = || Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("sound bounds");
    let mut times: Vec<Histogram<u64>> = KINDS.iter().map(|_| new()).collect();
    for _ in 0..rounds {
        for (kind, times) in KINDS.iter().zip(&mut times) {
            warm_free_memory((count * frame_bytes(SIZE)).min(1 << 30));
            (kind.run)(dir.path(), count, times);
        }
    }
    println!(
        "| ns from its time to its end (ratio to bare) | p50 | p99 | p99.9 | p99.99 | longest |"
    );
    println!("|---|---|---|---|---|---|");
    for (kind, own) in KINDS.iter().zip(&times) {
        print!("| {} |", kind.name);
        for quantile in QUANTILES {
            let (own, bare) =
                (own.value_at_quantile(quantile), times[kind.bare].value_at_quantile(quantile));
            print!(" {own} ({:.2}) |", own as f64 / bare as f64);
        }
        println!();
    }
}

/// Calls `append` for each number at its time.
fn pace(count: u64, times: &mut Histogram<u64>, mut append: impl FnMut(u64)) {
    let start = Instant::now();
    for seq in 0..count {
        let due = start + EACH * seq as u32;
        let mut now = Instant::now();
        while now < due {
            std::hint::spin_loop();
            now = Instant::now();
        }
        append(seq);
        times.saturating_record(due.elapsed().as_nanos() as u64);
    }
}

fn bare(dir: &Path, count: u64, times: &mut Histogram<u64>, synced: bool) {
    let path = dir.join("bare");
    let payloads = Payloads::new(SIZE);
    let mut log = Bare::create(&path, count * frame_bytes(SIZE));
    let file = File::open(&path).expect("the file just made");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let syncs = || {
            while !done.load(Ordering::Relaxed) {
                std::thread::park_timeout(Duration::from_secs(1));
                file.sync_data().expect("a working disk");
            }
        };
        let thread = synced.then(|| scope.spawn(syncs));
        pace(count, times, |seq| log.append(seq, payloads.of(seq), crc32fast));
        done.store(true, Ordering::Relaxed);
        thread.inspect(|thread| thread.thread().unpark());
    });
    log.check(&path, count, &payloads);
    fs::remove_file(path).expect("the bench's own file");
}

fn never_synced(dir: &Path, count: u64, times: &mut Histogram<u64>) {
    maplog(dir, count, times, &Log::options().sync(SyncPolicy::Manual));
}

fn without_threads(dir: &Path, count: u64, times: &mut Histogram<u64>) {
    maplog(dir, count, times, &Log::options().sync(SyncPolicy::Manual).helper_thread(false));
}

fn every_second(dir: &Path, count: u64, times: &mut Histogram<u64>) {
    maplog(dir, count, times, &Log::options());
}

#[allow(unsafe_code)]
fn maplog(dir: &Path, count: u64, times: &mut Histogram<u64>, options: &Options) {
    let path = dir.join("log");
    let payloads = Payloads::new(SIZE);
    // SAFETY: the directory is the bench's own and nothing else changes it.
    let log = unsafe { options.open(&path) }.expect("a new log");
    pace(count, times, |seq| {
        let given = log.append(payloads.of(seq)).expect("room");
        debug_assert_eq!(given, seq);
    });
    common::check(&log.reader(), count, &payloads);
    drop(log);
    fs::remove_dir_all(path).expect("the bench's own directory");
}
