//! Appending through `append`, `writer`, `reserve` and `append_batch`, beside a bare mapping in the same run.
//!
//! Every run is read back, from a log opened anew, and compared byte by byte.
#![allow(missing_docs, unreachable_pub, clippy::print_stdout)]

mod common;

use std::path::Path;

use maplog::{Log, Reader};

use common::bare::{self, two_passes};
use common::{Payloads, Settings, Timing, open, print_table, time_appends, warm_free_memory};

const SIZES: [usize; 7] = [16, 64, 256, 1024, 4096, 16384, 65536];
const KINDS: [&str; 6] = [
    "bare",
    "`writer().append`",
    "`append`",
    "`reserve`",
    "`append_batch` of 100, or 16 KiB",
    "bare with maplog's checksum",
];

fn main() {
    let settings = Settings::from_args();
    let dir = common::tempdir();
    settings.print("Append", dir.path());
    let mut whole = Vec::new();
    let mut ready = Vec::new();
    for size in Settings::sizes(&SIZES) {
        let mut runs: Vec<Vec<Timing>> = vec![Vec::new(); KINDS.len()];
        let mut again = Vec::new();
        for _ in 0..settings.rounds {
            let (first, second) = two_passes(dir.path(), &settings, size, bare::crc32fast);
            runs[0].push(first);
            again.push(second);
            for (kind, run) in RUNS.into_iter().enumerate() {
                runs[kind + 1].push(maplog(dir.path(), &settings, size, run));
            }
            let (first, _) = two_passes(dir.path(), &settings, size, bare::maplogs);
            runs[KINDS.len() - 1].push(first);
        }
        let figures = |of: fn(&Timing) -> f64| -> Vec<Vec<f64>> {
            runs.iter().map(|kind| kind.iter().map(of).collect()).collect()
        };
        whole.push((format!("{size} B"), figures(|timing| timing.whole)));
        let mut figures = figures(|timing| timing.ready);
        figures.push(again.iter().map(|timing| timing.whole).collect());
        ready.push((format!("{size} B"), figures));
    }
    print_table(
        "New files: ns a record over the whole run, first touch of its pages included (ratio to bare)",
        &KINDS,
        &whole,
    );
    print_table(
        "The same runs while pages are ready: the lower quartile of bursts of 16 KiB, and bare once \
         more over pages all touched before (ratio to bare)",
        &[&KINDS[..], &["bare, second pass"]].concat(),
        &ready,
    );
}

type Run = fn(&Log, u64, &Payloads, usize) -> Timing;

/// Of the kinds between the bare ones, in their order.
const RUNS: [Run; KINDS.len() - 2] = [with_writer, with_append, with_reserve, with_batches];

fn with_writer(log: &Log, count: u64, payloads: &Payloads, size: usize) -> Timing {
    let mut writer = log.writer().expect("a free lock");
    time_appends(count, size, |seq| {
        let given = writer.append(payloads.of(seq)).expect("room");
        debug_assert_eq!(given, seq);
    })
}

fn with_append(log: &Log, count: u64, payloads: &Payloads, size: usize) -> Timing {
    time_appends(count, size, |seq| {
        let given = log.append(payloads.of(seq)).expect("room");
        debug_assert_eq!(given, seq);
    })
}

fn with_reserve(log: &Log, count: u64, payloads: &Payloads, size: usize) -> Timing {
    let mut writer = log.writer().expect("a free lock");
    time_appends(count, size, |seq| {
        let mut slot = writer.reserve(size).expect("room");
        slot.copy_from_slice(payloads.of(seq));
        let given = slot.commit().expect("room");
        debug_assert_eq!(given, seq);
    })
}

/// Making the slice of slices counts, too.
fn with_batches(log: &Log, count: u64, payloads: &Payloads, size: usize) -> Timing {
    let mut writer = log.writer().expect("a free lock");
    let most = common::batch(size);
    let mut batch = Vec::new();
    time_appends(count, size, |seq| {
        batch.push(payloads.of(seq));
        if batch.len() as u64 == most || seq + 1 == count {
            let given = writer.append_batch(&batch).expect("room");
            debug_assert_eq!(given.end, seq + 1);
            batch.clear();
        }
    })
}

fn maplog(dir: &Path, settings: &Settings, size: usize, run: Run) -> Timing {
    let path = dir.join("log");
    let payloads = Payloads::new(size);
    let count = settings.records(size);
    let log = open(&path);
    warm_free_memory(settings.run_bytes);
    let timing = run(&log, count, &payloads, size);
    log.close().expect("a working disk");
    check(&path, count, &payloads);
    std::fs::remove_dir_all(path).expect("its own directory");
    timing
}

/// Reads everything back from the files and compares it with what was meant to be there.
#[allow(unsafe_code)]
fn check(path: &Path, count: u64, payloads: &Payloads) {
    // SAFETY: nothing changes the files of this bench.
    let reader = unsafe { Reader::open(path) }.expect("the log that was written");
    common::check(&reader, count, payloads);
}
