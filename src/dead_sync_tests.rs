//! Processes that die by SIGKILL inside a sync, or before anybody synced what they appended, while others
//! have the log open. G2, G8 and attack 6.

use std::time::{Duration, Instant};

use crate::ErrorKind;
use crate::crash_tests::{Company, check, copy, harm, killed, open, tempdir};
use crate::format::name::SegmentName;
use crate::hook::once_at;
use crate::takeover_tests::append_next;

/// Attack 6, the reverse: a process killed inside a healthy fdatasync poisons nobody, and what it was
/// to make durable the next sync does.
#[test]
fn g8_a_death_inside_a_sync_poisons_no_survivor() {
    for place in ["sync.before_data:2", "sync.before_position:2"] {
        let dir = tempdir();
        let log = open(dir.path());
        let before = append_next(&log) + 1;
        let told = before + killed(dir.path(), "sync", place);
        let next = log.next_seq();
        assert!((told..=told + 1).contains(&next), "{place}: {told} {next}");
        for _ in 0..3 {
            append_next(&log);
            assert_eq!(log.sync().unwrap(), log.next_seq(), "{place}");
        }
        log.close().unwrap();
        let again = open(dir.path());
        assert!(again.recovery().clean, "{place}: {:?}", again.recovery());
        assert_eq!(again.recovery().copied, 0, "{place}");
    }
}

/// Attack 6: a process died inside a sync, and all descriptors of this one are younger than that: it
/// could not be told of an error. What is there is stored again; what is not there any more poisons.
#[test]
fn g8_a_sync_that_nobody_saw_the_end_of_is_done_again_by_who_came_later() {
    for harmed in [false, true] {
        let dir = tempdir();
        let company = Company::join(dir.path());
        assert_eq!(killed(dir.path(), "late sync", "sync.before_data"), 100);
        let log = open(dir.path());
        assert!(log.recovery().joined);
        assert_eq!((log.next_seq(), log.durable_seq()), (100, 0));
        if harmed {
            harm(dir.path(), 50);
            let error = log.sync().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}");
            assert_eq!(log.append("more").unwrap_err().kind(), ErrorKind::Poisoned);
            continue;
        }
        assert_eq!(log.sync().unwrap(), 100);
        assert_eq!(check(copy(dir.path()).path(), 100, 1), 100);
        append_next(&log);
        log.close().unwrap();
        drop(company);
        let log = open(dir.path());
        assert!(log.recovery().clean, "{:?}", log.recovery());
        assert_eq!((log.recovery().copied, log.next_seq()), (0, 101));
    }
}

/// Attack 6, the same: a record that ends in zeros is there, also where no end frame stands behind it, as if
/// its writer had died before that.
#[test]
fn g8_a_last_record_of_zeros_is_no_loss_when_it_is_stored_again() {
    let dir = tempdir();
    let company = Company::join(dir.path());
    killed(dir.path(), "zeros", "append.end_stored:20");
    killed(dir.path(), "only sync", "sync.before_data");
    let log = open(dir.path());
    let records = log.next_seq();
    assert!(records > 5 && log.durable_seq() == 0, "in two segments: {records}");
    let ended = dir.path().join(SegmentName { id: 1, base_seq: 0 }.file_name());
    let mut bytes = std::fs::read(&ended).unwrap();
    let end = bytes.rchunks_exact(16).position(|unit| unit.iter().any(|byte| *byte != 0)).unwrap();
    let end = bytes.len() - 16 * (end + 1);
    bytes[end..].fill(0);
    std::fs::write(&ended, bytes).unwrap();
    assert_eq!(log.sync().unwrap(), records);
    assert!(log.reader().iter().all(|record| record.unwrap().data() == [0; 1500]));
    drop(company);
}

/// Attack 6, the same, and somebody cuts the log while it is stored again: what was cut is not missed.
#[test]
fn g8_a_cut_meanwhile_is_no_loss_when_a_sync_in_doubt_is_done_again() {
    let dir = tempdir();
    let company = Company::join(dir.path());
    assert_eq!(killed(dir.path(), "late sync", "sync.before_data"), 100);
    let log = open(dir.path());
    let path = dir.path().to_owned();
    let cut = move || _ = killed(&path, "drop one", "create.intent_withdrawn");
    assert_eq!(once_at("redo.listed", cut, || log.sync()).unwrap(), 99);
    assert_eq!((log.next_seq(), log.epoch()), (99, 2));
    drop(company);
}

/// Attack 6, the same, and the dead process's sync went further than this one had looked: all that it
/// may have lost is stored again and checked, before anybody forgets that there was such a sync.
#[test]
fn g8_a_sync_in_doubt_is_done_again_as_far_as_it_went() {
    let dir = tempdir();
    let log = open(dir.path());
    append_next(&log);
    killed(dir.path(), "append", "append.end_stored:30");
    let path = dir.path().to_owned();
    let end = log.next_seq();
    let go_further = move || {
        assert_eq!(killed(&path, "late sync", "sync.before_data"), 100);
        harm(&path, end + 1);
    };
    let error = once_at("learn.listed", go_further, || log.sync().map_err(|error| error.kind()));
    let error = error.and_then(|_| log.sync().map_err(|error| error.kind()));
    assert_eq!(error, Err(ErrorKind::Poisoned), "{end}");
}

/// A sync that fails before it asked the disk for anything forgets nothing that the next one has to do:
/// neither the directory's names, nor syncs in doubt.
#[test]
fn g8_a_sync_that_fails_early_leaves_doubts_and_names_to_the_next() {
    let dir = tempdir();
    let company = Company::join(dir.path());
    assert_eq!(killed(dir.path(), "late sync", "sync.before_data"), 100);
    let log = open(dir.path());
    harm(dir.path(), 50);
    // Nobody can be asked whether that process is dead.
    let [lock, away] = ["lock", "away"].map(|name| dir.path().join(name));
    std::fs::rename(&lock, &away).unwrap();
    assert_eq!(log.sync().unwrap_err().kind(), ErrorKind::NotFound);
    assert!(log.core.home.unsynced.lock().names);
    std::fs::rename(&away, &lock).unwrap();
    assert_eq!(log.durable_seq(), 0);
    assert_eq!(log.sync().map_err(|error| error.kind()), Err(ErrorKind::Poisoned));
    drop(company);
}

/// At most the last second: what a dead process appended is synced by any that lives and has a policy,
/// whether it ever appended itself or not.
#[test]
fn g2_records_of_the_dead_are_synced_by_who_only_has_the_log_open() {
    for appends in [false, true] {
        let dir = tempdir();
        let log = open(dir.path());
        if appends {
            append_next(&log);
            // Long enough to be synced, and to fall idle.
            std::thread::sleep(Duration::from_millis(3500));
            assert_eq!(log.durable_seq(), 1);
        }
        assert!(killed(dir.path(), "append", "append.end_stored:5") > 0);
        let (since, end) = (Instant::now(), log.next_seq());
        while log.durable_seq() < end && since.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let waited = since.elapsed();
        assert!(waited < Duration::from_millis(1500), "appends {appends}: {waited:?}");
    }
}
