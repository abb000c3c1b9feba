//! Random `get`s beside the same access through an array of every record's offset, in the same run.
//!
//! That array is the floor: what memory and its translation cost, with the same check of each record. Both
//! give how many records and bytes they met and a sum over them, and these must be equal.
#![allow(missing_docs, unreachable_pub, clippy::print_stdout)]

mod common;

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use maplog::Reader;
use memmap2::{MmapOptions, MmapRaw};

use common::bare::{Table, Walk};
use common::{Payloads, Settings, open, print_table};

/// Payload bytes and records; the last only if the arguments name `--large`: 8 GB of disk.
const LOGS: [(usize, u64); 3] = [(64, 1_000_000), (1024, 100_000), (64, 100_000_000)];

fn main() {
    let settings = Settings::from_args();
    let dir = common::tempdir();
    settings.print("Get", dir.path());
    let large = std::env::args().any(|arg| arg == "--large");
    let sizes = Settings::sizes(&[64, 1024]);
    let (mut gets, mut first, mut passes) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (size, records)) in LOGS.into_iter().enumerate() {
        if !sizes.contains(&size) || index == 2 && !large {
            continue;
        }
        let is_quick = settings.rounds == 1;
        let records = if is_quick { records.min(settings.records(size)) } else { records };
        let path = dir.path().join(index.to_string());
        write(&path, records, size);
        let name = format!("{records} x {size} B");
        let maps = maps(&path);
        let table = Table::of(&maps);
        let order = order(records);
        let mut rows = [(); 3].map(|()| vec![Vec::new(), Vec::new()]);
        for _ in 0..settings.rounds.min(if index == 2 { 3 } else { usize::MAX }) {
            let reader = read(&path);
            let (floor, expected) = time(|| table.get_all(&maps, &order));
            // Nothing is known yet; what this meets is noted.
            let (cold, found) = time(|| get_all(&reader, &order));
            assert_eq!(found, expected);
            rows[1][0].push(floor);
            rows[1][1].push(cold);
            for _ in 0..3 {
                rows[0][0].push(time(|| table.get_all(&maps, &order)).0);
                let (warm, found) = time(|| get_all(&reader, &order));
                assert_eq!(found, expected);
                rows[0][1].push(warm);
            }
            println!("{name}: index of {} bytes", reader.stats().expect("files").index_bytes);
            let reader = read(&path);
            println!("{name}: {}", points(&reader, records));
            let reader = read(&path);
            let (forward, met) = time(|| walk(reader.iter()));
            let (backward, reversed) = time(|| walk(reader.iter().rev()));
            assert_eq!((met.records, met.bytes), (records, records * size as u64));
            assert_eq!((reversed.records, reversed.bytes), (met.records, met.bytes));
            rows[2][0].push(forward);
            rows[2][1].push(backward);
        }
        let [warm, cold, pass] = rows;
        gets.push((name.clone(), warm));
        first.push((name.clone(), cold));
        passes.push((name, pass));
    }
    let kinds = ["array of offsets", "`reader.get()`"];
    print_table("ns a random record, checked (ratio to the array)", &kinds, &gets);
    print_table("The first pass of a reader that knows nothing yet", &kinds, &first);
    let kinds = ["`iter()`", "`iter().rev()`"];
    print_table("ns a record, checked, forwards and backwards", &kinds, &passes);
}

fn write(path: &Path, records: u64, size: usize) {
    let payloads = Payloads::new(size);
    let log = open(path);
    let mut writer = log.writer().expect("a free lock");
    for seq in 0..records {
        writer.append(payloads.of(seq)).expect("room");
    }
    drop(writer);
    log.close().expect("a working disk");
    let reader = read(path);
    assert_eq!(reader.len(), records);
    for seq in (0..records).step_by(records as usize / 1000) {
        let record = reader.get(seq).expect("a whole record").expect("a record");
        assert!(record.data() == payloads.of(seq), "payload of record {seq}");
    }
}

/// Sequence numbers in random order, as many as are enough to leave every cache.
fn order(records: u64) -> Vec<u32> {
    let mut random = fastrand::Rng::with_seed(records);
    (0..records.min(1_000_000)).map(|_| random.u64(..records) as u32).collect()
}

/// How many records `partition_point` asks about, in a reader that knows nothing yet, and how long it takes.
fn points(reader: &Reader, records: u64) -> String {
    const POINTS: u32 = 1000;
    let mut random = fastrand::Rng::with_seed(5);
    let (mut asked, mut most) = (0_u64, 0);
    let start = Instant::now();
    for _ in 0..POINTS {
        let wanted = random.u64(..=records);
        let mut now = 0;
        let found = reader.partition_point(|record| {
            now += 1;
            record.seq() < wanted
        });
        assert_eq!(found.expect("a whole log"), wanted);
        (asked, most) = (asked + now, most.max(now));
    }
    let micros = start.elapsed().as_secs_f64() * 1e6 / f64::from(POINTS);
    let mean = asked as f64 / f64::from(POINTS);
    assert!(most <= u64::from(records.ilog2()) + 1);
    format!("partition_point asks about {mean:.1} records, at most {most}, in {micros:.1} us")
}

fn get_all(reader: &Reader, order: &[u32]) -> Walk {
    let mut walk = Walk::default();
    for seq in order {
        let record = reader.get(u64::from(*seq)).expect("a whole record").expect("a record");
        walk.add(record.seq(), record.data());
    }
    walk
}

fn walk<'r>(iter: impl Iterator<Item = maplog::Result<maplog::Record<'r>>>) -> Walk {
    let mut walk = Walk::default();
    for record in iter {
        let record = record.expect("a whole record");
        walk.add(record.seq(), record.data());
    }
    walk
}

/// Nanoseconds a record.
fn time(work: impl FnOnce() -> Walk) -> (f64, Walk) {
    let start = Instant::now();
    let walk = work();
    (start.elapsed().as_nanos() as f64 / walk.records as f64, walk)
}

#[allow(unsafe_code)]
fn read(path: &Path) -> Reader {
    // SAFETY: nothing changes the files of this bench.
    unsafe { Reader::open(path) }.expect("the log that was written")
}

/// The log's segments, in order.
fn maps(path: &Path) -> Vec<MmapRaw> {
    let files = std::fs::read_dir(path).expect("the log's directory");
    let mut files: Vec<_> = files.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    files.sort();
    let map = |path| MmapOptions::new().map_raw_read_only(&File::open(path).expect("a segment"));
    files.iter().map(|path| map(path).expect("address space")).collect()
}
