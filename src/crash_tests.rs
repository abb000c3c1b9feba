//! Processes that die by SIGKILL between two stores or calls, at the places that `hook!` names.
//!
//! Each test runs this test binary again as a child that works on a log and dies, then opens what it
//! left: once as the next process of the same boot, once as a copy, which is judged as after a power
//! cut. G1, G4, G5 and attacks 1 and 3.
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::format::name::SegmentName;
use crate::{Log, Reader};

pub(crate) use crate::child_tests::{Company, killed, ran, spawned};

pub(crate) const SEGMENT_BYTES: u64 = 16 * 1024;

/// On the disk of the build: a real file system, as far as there is one.
pub(crate) fn tempdir() -> TempDir {
    let target = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    tempfile::tempdir_in(target).unwrap()
}

#[allow(unsafe_code)]
pub(crate) fn open(path: &Path) -> Log {
    // SAFETY: the tests change files only while no handle is alive.
    unsafe { Log::options().segment_bytes(SEGMENT_BYTES).open(path).unwrap() }
}

#[allow(unsafe_code)]
pub(crate) fn read(path: &Path) -> Vec<Vec<u8>> {
    // SAFETY: as for `open`.
    let reader = unsafe { Reader::open(path).unwrap() };
    reader.iter().map(|record| record.unwrap().data().to_vec()).collect()
}

/// The record with this number, in every test: a kilobyte or so.
pub(crate) fn payload(seq: u64) -> Vec<u8> {
    let len = 700 + (seq * 37 % 600) as usize;
    (0..len).map(|byte| (seq as usize + byte) as u8).collect()
}

pub(crate) fn copy(log: &Path) -> TempDir {
    let to = tempdir();
    for entry in std::fs::read_dir(log).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

/// Every record is the one that its number says, `told` of them at least and one batch more at most.
pub(crate) fn check(path: &Path, told: u64, batch: u64) -> u64 {
    let records = read(path);
    let count = records.len() as u64;
    assert!((told..=told + batch).contains(&count), "{told} were told of, {count} are there");
    assert_eq!(count % batch, 0, "half a batch");
    for (seq, record) in (0..).zip(&records) {
        assert_eq!(*record, payload(seq), "record {seq}");
    }
    count
}

/// What was left opens, holds what it should, and goes on; afterwards it closes and is clean.
fn goes_on(path: &Path, told: u64, batch: u64, live: bool) {
    let found = check(path, told, batch);
    let log = open(path);
    assert_eq!(log.recovery().live, live);
    assert_eq!(log.recovery().lost, []);
    assert_eq!(log.next_seq(), found, "reader before recovery and recovery disagree");
    for seq in found..found + 40 {
        assert_eq!(log.append(payload(seq)).unwrap(), seq);
    }
    log.close().unwrap();
    check(path, found + 40, 1);
    assert!(open(path).recovery().clean);
}

fn dies_and_goes_on(work: &str, hooks: &[&str], batch: u64) {
    let mut deaths = 0;
    for hook in hooks {
        for count in [1, 2, 3, 7, 13, 20] {
            let dir = tempdir();
            let log = dir.path().join("log");
            let told = killed(&log, work, &format!("{hook}:{count}"));
            // The page cache has it all, so a copy does too, though nothing was synced.
            goes_on(copy(&log).path(), told, batch, false);
            goes_on(&log, told, batch, true);
            deaths += 1;
        }
    }
    println!("{work}: {deaths} deaths at {} places", hooks.len());
}

#[test]
fn g1_a_death_inside_an_append_loses_nothing_that_returned() {
    let hooks = ["append.written", "append.published", "append.end_stored"];
    dies_and_goes_on("append", &hooks, 1);
}

#[test]
fn g5_a_death_inside_a_batch_leaves_all_of_it_or_nothing() {
    let hooks = ["batch.frame_written", "append.published", "append.end_stored"];
    dies_and_goes_on("batch", &hooks, 3);
}

#[test]
fn a_death_with_a_slot_in_hand_leaves_no_record_of_it() {
    dies_and_goes_on("slot", &["slot.sealed", "append.end_stored"], 1);
}

/// Attack 1, as far as one process shows it: the segment that got its name is where the log goes on.
#[test]
fn a_death_inside_a_roll_loses_nothing() {
    let dir = tempdir();
    for (hook, count) in [
        ("create.before_rename", 2),
        ("create.after_rename", 2),
        ("roll.ended", 1),
        ("create.before_rename", 4),
        ("create.after_rename", 4),
        ("roll.ended", 3),
    ] {
        let log = dir.path().join(format!("{hook}-{count}"));
        let told = killed(&log, "append", &format!("{hook}:{count}"));
        goes_on(copy(&log).path(), told, 1, false);
        goes_on(&log, told, 1, true);
    }
}

#[test]
fn a_death_while_the_log_is_created_leaves_a_log_or_none() {
    for hook in ["create.before_rename", "create.after_rename"] {
        let dir = tempdir();
        let log = dir.path().join("log");
        assert_eq!(killed(&log, "append", hook), 0);
        let log = open(&log);
        assert_eq!(log.append(payload(0)).unwrap(), 0);
    }
}

#[test]
fn g2_a_death_inside_a_sync_loses_nothing_that_was_synced() {
    dies_and_goes_on("sync", &["sync.before_data", "sync.before_position"], 1);
}

/// G8, attack 16: a process dies inside a sync, and nobody saw how that ended. What was in doubt is
/// copied, more than a segment of it, by one opener after the other that dies on the way.
#[test]
fn g8_copies_of_what_a_sync_left_in_doubt_are_complete_at_every_step() {
    let mut deaths = 0;
    let hooks = ["copy.before_name", "copy.before_directory_sync", "copy.before_note", "copy.done"];
    for hook in hooks {
        for count in [1, 2, 4, 7] {
            let dir = tempdir();
            let log = dir.path().join("log");
            assert_eq!(killed(&log, "late sync", "sync.before_data"), 100);
            assert_eq!(read(&log).len(), 100);
            if hook == "copy.before_name" || count == 1 {
                assert_eq!(killed(&log, "open", &format!("{hook}:{count}")), 0);
                deaths += 1;
            }
            // As the page cache has it, for a reader before the next opening and after a power cut.
            check(&log, 100, 1);
            goes_on(copy(&log).path(), 100, 1, false);
            let again = open(&log);
            assert_eq!(again.recovery().copied, 100);
            assert_eq!((again.durable_seq(), again.next_seq()), (100, 100));
            drop(again);
            check(&log, 100, 1);
            goes_on(copy(&log).path(), 100, 1, false);
        }
    }
    println!("{deaths} deaths among copies");
}

/// Flips a bit of the record `seq`, wherever it stands.
pub(crate) fn harm(log: &Path, seq: u64) {
    harm_in(std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path()).collect(), seq);
}

/// As `harm`, in the newest of the segments that hold the record.
fn harm_newest(log: &Path, seq: u64) {
    let names = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.filter_map(|name| SegmentName::parse(name.to_str()?));
    let mut names: Vec<_> = names.collect();
    names.sort();
    harm_in(names.into_iter().rev().map(|name| log.join(name.file_name())).collect(), seq);
}

fn harm_in(files: Vec<PathBuf>, seq: u64) {
    for path in files {
        let mut bytes = std::fs::read(&path).unwrap();
        // The number stands right before the payload.
        let record = [&seq.to_le_bytes()[..], &payload(seq)].concat();
        if let Some(at) = bytes.windows(record.len()).position(|window| window == record) {
            bytes[at + 8] ^= 1;
            return std::fs::write(&path, bytes).unwrap();
        }
    }
    panic!("record {seq} is nowhere");
}

/// G8: copies around a gap are durable with what tells that they are: a power cut right behind them
/// takes the gap for damage and not for a torn tail.
#[test]
fn g8_copies_behind_a_gap_survive_a_power_cut() {
    let dir = tempdir();
    let log = dir.path().join("log");
    assert_eq!(killed(&log, "late sync", "sync.before_data"), 100);
    harm(&log, 50);
    let opened = open(&log);
    assert_eq!(opened.durable_seq(), 100);
    let cut = copy(&log);
    for path in [&log, cut.path()] {
        let log = open(path);
        let reader = log.reader();
        let lost: Vec<_> = reader.iter().filter_map(|item| item.err()?.lost()).collect();
        assert_eq!((lost.len(), lost[0].clone(), log.next_seq()), (1, 50..51, 100));
        assert_eq!(reader.get(51).unwrap().unwrap().data(), payload(51));
    }
}

/// G6: a live page that names a segment which copies have cut, since who made them died before it was
/// told, is evidence all the same: what rots in a copy then is damage, and no torn tail.
#[test]
fn g6_what_rots_in_copies_that_the_page_does_not_know_is_damage() {
    let hooks =
        ["copy.before_name:2", "copy.before_directory_sync", "copy.before_note", "copy.done"];
    for hook in hooks {
        for seq in [40, 73, 99] {
            let dir = tempdir();
            let log = dir.path().join("log");
            assert_eq!(killed(&log, "late sync", "sync.before_data"), 100);
            assert_eq!(killed(&log, "open", hook), 0);
            harm_newest(&log, seq);
            let opened = open(&log);
            let reader = opened.reader();
            let lost: Vec<_> = reader.iter().filter_map(|item| item.err()?.lost()).collect();
            let read = reader.iter().filter(|item| item.is_ok()).count();
            assert_eq!((lost.len(), read), (1, 99), "{hook}, record {seq}");
            assert_eq!(lost[0], seq..seq + 1, "{hook}");
            assert_eq!(opened.next_seq(), 100, "{hook}, record {seq}");
        }
    }
}

/// G4: numbers that a power cut gave free are given under a higher epoch, though a sync died between.
#[test]
fn g4_a_sync_that_dies_before_the_fresh_segment_does_not_lower_the_epoch() {
    let dir = tempdir();
    let log = dir.path().join("log");
    assert!(killed(&log, "append", "append.end_stored:12") > 5);
    let torn = copy(&log);
    let seen = open(&log).epoch();
    harm(torn.path(), 5);
    assert_eq!(killed(torn.path(), "only sync", "sync.before_data"), 0);
    let log = open(torn.path());
    assert_eq!(log.append(payload(5)).unwrap(), 5);
    assert!(log.epoch() > seen, "{} {seen}", log.epoch());
}
