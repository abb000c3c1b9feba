//! A real file system whose power goes: ext4 in a loop device, appended to by a child, stopped at
//! random moments and copied as it is then. The copy is mounted, which replays its journal, and the log
//! in it opened.
//!
//! A file that is copied while it is written is a mixture of moments that no power cut leaves. So the
//! disk's image lies on a disk of its own, and that one is frozen for the copy: then no block of the
//! inner disk changes, wherever its file system, or the child in its fdatasync, is. What is cut off is
//! what the inner file system had not given to its disk; that the disk itself drops and reorders is for
//! the images that are made sector by sector.
//!
//! `MAPLOG_POWER_CUTS=500 cargo test --test it faults::power -- --nocapture` makes more cuts than usual.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use maplog::{Log, Result, SyncPolicy};

use crate::disk::{Disk, run};
use crate::support::{Everything, child, everything, read, tempdir};

const CUTS: u64 = 24;
/// Cuts of one log, before it would get too long to check in no time.
const CUTS_OF_A_LOG: u64 = 4;
const SEED: u64 = 0x706F_7765_7220_6375;

/// Of eight records, four are one batch.
const CYCLE: u64 = 8;
const BATCH: std::ops::Range<u64> = 3..7;

fn open(path: &Path, sync: SyncPolicy) -> Result<Log> {
    // SAFETY: tests change files only while no handle is alive.
    unsafe { Log::options().segment_bytes(64 << 10).sync(sync).open(path) }
}

/// What record `seq` holds, whoever appends it.
fn payload(seq: u64) -> Vec<u8> {
    let len = seq.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 52;
    let mut bytes = format!("{seq} ").into_bytes();
    bytes.resize(bytes.len() + len as usize % 3000, seq as u8);
    bytes
}

/// Brings the log on by one record, or by the batch that is due.
fn append_next(log: &Log) -> Result<()> {
    let seq = log.next_seq();
    if seq % CYCLE == BATCH.start {
        let records: Vec<_> = (seq..seq + BATCH.end - BATCH.start).map(payload).collect();
        log.append_batch(&records).map(drop)
    } else {
        log.append(payload(seq)).map(drop)
    }
}

/// Appends, syncs, closes and opens until it is killed; tells what was durable when.
#[test]
#[ignore = "a child"]
fn appends_until_power_goes() {
    let path = std::env::var("LOG").unwrap();
    let always = std::env::var("SYNC").unwrap() == "always";
    let policy = if always { SyncPolicy::Always } else { SyncPolicy::Manual };
    let mut random = fastrand::Rng::with_seed(std::env::var("SEED").unwrap().parse().unwrap());
    loop {
        let log = open(Path::new(&path), policy).unwrap();
        for _ in 0..random.u32(1..40) {
            for _ in 0..random.u32(1..30) {
                append_next(&log).unwrap();
                if always {
                    println!("> {}", log.next_seq());
                }
            }
            if random.bool() {
                println!("> {}", log.sync().unwrap());
            }
        }
        match random.bool() {
            true => log.close().unwrap(),
            false => drop(log),
        }
    }
}

/// A file system that takes no writes while the value lives.
struct Frozen<'d>(&'d Path);

impl<'d> Frozen<'d> {
    fn new(mounted: &'d Path) -> std::result::Result<Self, String> {
        run("fsfreeze", &["--freeze", mounted.to_str().unwrap()])?;
        Ok(Frozen(mounted))
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        run("fsfreeze", &["--unfreeze", self.0.to_str().unwrap()]).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    run("cp", &["--sparse=always", from.to_str().unwrap(), to.to_str().unwrap()]).unwrap();
}

/// What stands on the disk when power is back: everything that was durable before, a prefix of what was
/// appended, batches whole. Then the log goes on. Gives how many records there are.
fn check(path: &Path, durable: u64, what: &str) -> u64 {
    let found = read(path).map(|reader| everything(&reader));
    let found = match found {
        Err(_) if durable == 0 => Everything::default(),
        other => other.unwrap_or_else(|error| panic!("{what}: {error}")),
    };
    let kept = found.records.len() as u64;
    assert_eq!(found.lost, [], "{what}: no damage");
    assert!(kept >= durable, "{what}: {durable} were durable, {kept} are there");
    for (seq, (found_seq, bytes)) in (0..).zip(&found.records) {
        assert_eq!(*found_seq, seq, "{what}: a prefix");
        assert!(*bytes == payload(seq), "{what}: record {seq} is as it was appended");
    }
    let in_cycle = kept % CYCLE;
    assert!(
        in_cycle <= BATCH.start || in_cycle >= BATCH.end,
        "{what}: {kept} records, a batch is whole or not there"
    );
    for opened_before in [false, true] {
        let log = open(path, SyncPolicy::Manual).unwrap();
        assert_eq!(log.recovery().live, opened_before, "{what}: the page is of another mount");
        let end = log.next_seq() + 100;
        while log.next_seq() < end {
            append_next(&log).unwrap();
        }
        log.close().unwrap();
    }
    let all = everything(&read(path).unwrap());
    assert!(all.records.len() as u64 >= kept + 200 && all.lost.is_empty(), "{what}");
    let right = |(seq, (found_seq, bytes)): (u64, &(u64, Vec<u8>))| {
        *found_seq == seq && *bytes == payload(seq)
    };
    assert!((0..).zip(&all.records).all(right), "{what}: what came after joins");
    assert!(maplog::verify(path, |_, _| {}).unwrap().is_intact(), "{what}");
    kept
}

/// G2, G5, G6 on a file system with a journal, cut off at random moments.
#[test]
fn g2_what_was_durable_when_power_went_is_there_when_it_is_back() {
    let cuts = std::env::var("MAPLOG_POWER_CUTS").map_or(CUTS, |cuts| cuts.parse().unwrap());
    let Some(mut outer) = Disk::new(400) else { return };
    let Some(inner) = Disk::inside(&outer, 300) else { return };
    if let Err(why) = Frozen::new(outer.path()).map(drop) {
        println!("skipped: needs fsfreeze ({why})");
        return;
    }
    let copies = tempdir();
    let [image, again] = ["image", "again"].map(|name| copies.path().join(name));
    let mut random = fastrand::Rng::with_seed(SEED);
    let [mut done, mut beyond, mut empty, mut torn] = [0, 0, 0, 0];
    while done < cuts {
        let log = inner.path().join("log");
        let settings = [
            ("LOG", log.to_str().unwrap()),
            ("SYNC", if (done / CUTS_OF_A_LOG).is_multiple_of(2) { "manual" } else { "always" }),
            ("SEED", &done.to_string()),
        ];
        let mut writer = child("faults::power::appends_until_power_goes", &settings);
        let out = BufReader::new(writer.stdout.take().unwrap());
        let told = Arc::new(AtomicU64::new(0));
        let heard = told.clone();
        let listener = std::thread::spawn(move || {
            for line in out.lines().map_while(std::result::Result::ok) {
                if let Some((_, durable)) = line.split_once("> ") {
                    heard.store(durable.parse().unwrap(), Ordering::Release);
                }
            }
        });
        for _ in 0..CUTS_OF_A_LOG.min(cuts - done) {
            let until = Instant::now() + Duration::from_micros(random.u64(1_000..150_000));
            while Instant::now() < until {
                std::thread::sleep(Duration::from_micros(100));
            }
            let durable = told.load(Ordering::Acquire);
            {
                let _frozen = Frozen::new(outer.path()).unwrap();
                copy(&inner.image(), &image);
                if done == 0 {
                    copy(&inner.image(), &again);
                    assert!(fs::read(&image).unwrap() == fs::read(&again).unwrap(), "frozen");
                    fs::remove_file(&again).unwrap();
                }
            }
            let mounted = outer.mount(&image).unwrap();
            let what = format!("cut {done} of seed {SEED:#x}");
            if mounted.join("log").exists() {
                let kept = check(&mounted.join("log"), durable, &what);
                beyond += u64::from(kept > durable);
                torn += kept - durable;
            } else {
                assert_eq!(durable, 0, "{what}: the log is gone");
                empty += 1;
            }
            outer.unmount_last();
            done += 1;
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        listener.join().unwrap();
        fs::remove_dir_all(&log).unwrap();
    }
    println!(
        "{done} power cuts: {empty} before the log was made, {beyond} kept more than was durable, \
         {torn} records in all"
    );
    assert!(done - empty > done / 2, "most cuts hit a log that was there");
}
