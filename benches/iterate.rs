//! Verified iteration beside a bare checked walk over the same mapped bytes in the same run.
//!
//! Both give how many records and bytes they met and a sum over them, and these must be equal.
#![allow(missing_docs, unreachable_pub, clippy::print_stdout)]

mod common;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use maplog::Reader;
use memmap2::{MmapOptions, MmapRaw};

use common::bare::{self, Walk, walk_log};
use common::{Payloads, Settings, median, open, print_table};

const SIZES: [usize; 3] = [16, 64, 1024];
/// Of each round the best one counts: a pass is long enough to be interrupted.
const PASSES: usize = 9;
const KINDS: [&str; 3] =
    ["bare checked walk", "`reader.iter()`", "bare walk with maplog's checksum"];

fn main() {
    let settings = Settings::from_args();
    let dir = common::tempdir();
    settings.print("Iterate", dir.path());
    let mut first = Vec::new();
    let mut again = Vec::new();
    for size in Settings::sizes(&SIZES) {
        let path = dir.path().join(size.to_string());
        let expected = write(&path, &settings, size);
        let mut firsts = vec![Vec::new(); KINDS.len()];
        let mut agains = vec![Vec::new(); KINDS.len()];
        for _ in 0..settings.rounds {
            let maps = [(); 2].map(|()| map(&segment(&path)));
            let reader = read(&path);
            let pass = || {
                [
                    time(expected, || walk_log(&maps[0], bare::crc32fast)),
                    time(expected, || iterate(&reader)),
                    time(expected, || walk_log(&maps[1], bare::maplogs)),
                ]
            };
            firsts.iter_mut().zip(pass()).for_each(|(figures, first)| figures.push(first));
            let mut best = [f64::INFINITY; KINDS.len()];
            for _ in 0..PASSES {
                best.iter_mut().zip(pass()).for_each(|(best, took)| *best = best.min(took));
            }
            agains.iter_mut().zip(best).for_each(|(figures, best)| figures.push(best));
        }
        first.push((format!("{size} B"), firsts));
        again.push((format!("{size} B"), agains));
    }
    print_table(
        "ns a record, every record checked, pages mapped before, the best pass of each round (ratio to bare)",
        &KINDS,
        &again,
    );
    print_table("The first pass over a new mapping of cached pages", &KINDS, &first);
    first_touches(dir.path(), &settings);
}

/// What the kernel takes to map a page, which each first pass pays: that hangs on how large the page cache's folios
/// are, and so on the writes that made them.
#[allow(unsafe_code)]
fn first_touches(dir: &Path, settings: &Settings) {
    const PAGE_BYTES: usize = 4096;
    println!("\nns a page of a cached file, touched in a new mapping for the first time:\n");
    for piece in [4096, 65536, 1 << 20] {
        let path = dir.join("pieces");
        let mut file = File::create(&path).expect("a new file");
        for _ in 0..settings.run_bytes as usize / piece {
            file.write_all(&vec![1; piece]).expect("room on the disk");
        }
        let mut rounds = Vec::new();
        for _ in 0..settings.rounds {
            let map = map(&path);
            // SAFETY: nothing changes the file of this bench.
            let bytes = unsafe { std::slice::from_raw_parts(map.as_ptr(), map.len()) };
            let start = Instant::now();
            let sum: usize = bytes.iter().step_by(PAGE_BYTES).map(|byte| usize::from(*byte)).sum();
            let took = start.elapsed();
            assert_eq!(sum, bytes.len() / PAGE_BYTES);
            rounds.push(took.as_nanos() as f64 / sum as f64);
        }
        println!("- written by {} KiB: {:.0}", piece >> 10, median(rounds));
    }
}

/// Writes a log of one segment, and says what a walk must come to.
fn write(path: &Path, settings: &Settings, size: usize) -> Walk {
    let payloads = Payloads::new(size);
    let log = open(path);
    let mut writer = log.writer().expect("a free lock");
    let mut expected = Walk::default();
    for seq in 0..settings.records(size) {
        writer.append(payloads.of(seq)).expect("room");
        expected.add(seq, payloads.of(seq));
    }
    drop(writer);
    log.close().expect("a working disk");
    // Each byte once, so that what is timed below reads what was meant to be there.
    for (seq, record) in read(path).iter().enumerate() {
        let record = record.expect("a whole record");
        assert!(record.data() == payloads.of(seq as u64), "payload of record {seq}");
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

fn iterate(reader: &Reader) -> Walk {
    let mut walk = Walk::default();
    for record in reader {
        let record = record.expect("a whole record");
        walk.add(record.seq(), record.data());
    }
    walk
}

#[allow(unsafe_code)]
fn read(path: &Path) -> Reader {
    // SAFETY: nothing changes the files of this bench.
    unsafe { Reader::open(path) }.expect("the log that was written")
}

/// The one segment file of a log.
fn segment(path: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(path).expect("the log's directory");
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "seg");
    let mut files = files.by_ref().map(|entry| entry.expect("an entry").path()).filter(is_segment);
    let file = files.next().expect("a segment");
    assert!(files.next().is_none(), "the run fits one segment");
    file
}

fn map(path: &Path) -> MmapRaw {
    let file = File::open(path).expect("the file");
    MmapOptions::new().map_raw_read_only(&file).expect("address space")
}
