//! Following a log beside a bare checked walk over the same bytes in the same run.
//!
//! What is followed is there already: this is what a record costs that need not be waited for. All
//! give how many records and bytes they met and a sum over them, and these must be equal.
#![allow(missing_docs, unreachable_pub, clippy::print_stdout)]

mod common;

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use maplog::{Log, Tail};
use memmap2::{MmapOptions, MmapRaw};

use common::bare::{Walk, crc32fast, walk_log};
use common::touch::segment_of;
use common::{Payloads, Settings, open, print_table};

const SIZES: [usize; 3] = [16, 64, 1024];
const KINDS: [&str; 5] = [
    "bare checked walk",
    "`tail.try_recv()`",
    "`tail.recv_batch(64 KiB)`",
    "`try_recv` of what came since",
    "`recv_batch` of what came since",
];
const BATCH_BYTES: usize = 64 * 1024;

fn main() {
    let settings = Settings::from_args();
    let dir = common::tempdir();
    settings.print("Tail", dir.path());
    let mut rows = Vec::new();
    for size in Settings::sizes(&SIZES) {
        let mut figures = vec![Vec::new(); KINDS.len()];
        for round in 0..settings.rounds {
            let path = dir.path().join(format!("{size}-{round}"));
            let log = open(&path);
            // Made before there is anything, so that each record is found by its commit word.
            let [mut one, mut many] = [0; 2].map(|_| log.reader().tail_from(0));
            assert!(one.try_recv().expect("a log").is_none());
            assert!(many.try_recv().expect("a log").is_none());
            let expected = write(&log, &settings, size);
            let map = map(&segment_of(&path));
            figures[3].push(time(expected, || one_by_one(&mut one, expected.records)));
            figures[4].push(time(expected, || in_batches(&mut many, expected.records)));
            for _ in 0..2 {
                figures[0].push(time(expected, || walk_log(&map, crc32fast)));
                let mut tail = log.reader().tail_from(0);
                figures[1].push(time(expected, || one_by_one(&mut tail, expected.records)));
                let mut tail = log.reader().tail_from(0);
                figures[2].push(time(expected, || in_batches(&mut tail, expected.records)));
            }
            drop((one, many, log));
            std::fs::remove_dir_all(&path).expect("its own directory");
        }
        rows.push((format!("{size} B"), figures));
    }
    print_table("ns a record, every record checked, pages cached (ratio to bare)", &KINDS, &rows);
}

/// Fills one segment, and says what following it must come to.
fn write(log: &Log, settings: &Settings, size: usize) -> Walk {
    let payloads = Payloads::new(size);
    let mut writer = log.writer().expect("a free lock");
    let mut expected = Walk::default();
    for seq in 0..settings.records(size) {
        writer.append(payloads.of(seq)).expect("room");
        expected.add(seq, payloads.of(seq));
    }
    expected
}

fn time(expected: Walk, walk: impl FnOnce() -> Walk) -> f64 {
    let start = Instant::now();
    let found = walk();
    let took = start.elapsed();
    assert_eq!(found, expected);
    took.as_nanos() as f64 / found.records as f64
}

fn one_by_one(tail: &mut Tail, records: u64) -> Walk {
    let mut walk = Walk::default();
    while walk.records < records {
        let record = tail.try_recv().expect("a whole record").expect("a record");
        walk.add(record.seq(), record.data());
    }
    walk
}

fn in_batches(tail: &mut Tail, records: u64) -> Walk {
    let mut walk = Walk::default();
    while walk.records < records {
        for record in tail.recv_batch(BATCH_BYTES).expect("whole records") {
            walk.add(record.seq(), record.data());
        }
    }
    walk
}

fn map(path: &Path) -> MmapRaw {
    let file = File::open(path).expect("a segment");
    MmapOptions::new().map_raw_read_only(&file).expect("address space")
}
