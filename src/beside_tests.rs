//! States and moments that only a death, a stop, another process's trim or a hostile file brings about, between two steps
//! of opening, syncing, taking over, rolling or closing.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::crash_tests::{Company, copy, killed, payload, ran, spawned, tempdir};
use crate::cut_tests::meanwhile;
use crate::format::frame::{CommitWord, Kind, commit_bytes, seed};
use crate::hook::{Change, listen, once_at};
use crate::takeover_tests::append_next;
use crate::{Log, Reader, Retention, SyncPolicy};

#[allow(unsafe_code)]
fn manual(path: &Path) -> Log {
    let options = Log::options().segment_bytes(1 << 14).sync(SyncPolicy::Manual);
    // SAFETY: nobody changes the files but maplog.
    unsafe { options.open(path).unwrap() }
}

#[allow(unsafe_code)]
fn reader(path: &Path) -> Reader {
    // SAFETY: nobody changes the files but maplog.
    unsafe { Reader::open(path).unwrap() }
}

/// G11: a valid frame of 16 bytes, then one that claims the rest of the segment and whose checksum is
/// wrong, again and again.
#[test]
fn attack_32_gaps_that_claim_the_rest_of_the_segment_cost_no_square() {
    const BYTES: u64 = 2 << 20;
    const PAIRS: u64 = 200;
    let dir = tempdir();
    #[allow(unsafe_code)]
    // SAFETY: as above.
    let log = unsafe { Log::options().segment_bytes(BYTES).open(dir.path()).unwrap() };
    append_next(&log);
    let end = log.core.home.page().end();
    let segment = log.core.home.unsynced.lock().segments()[0].clone();
    let (salt, name) = (segment.header.salt, segment.name.file_name());
    log.leave();
    let hostile = copy(dir.path());
    let file = hostile.path().join(name);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.resize(BYTES as usize, 1);
    let (mut at, mut seq) = (end.offset, end.seq);
    let mut put = |at: u64, word: CommitWord, crc: u32, seq: u64| {
        let frame = &mut bytes[at as usize..at as usize + 16];
        frame[..4].copy_from_slice(&commit_bytes(word));
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
        frame[8..].copy_from_slice(&seq.to_le_bytes());
    };
    for _ in 0..PAIRS {
        let tiny = CommitWord::new(Kind::Single, 0);
        put(at, tiny, seed(salt, at, tiny, seq), seq);
        let long = CommitWord::new(Kind::Single, BYTES - at - 64);
        put(at + 16, long, 0xDEAD_BEEF, seq + 1);
        (at, seq) = (at + 32, seq + 1);
    }
    std::fs::write(&file, bytes).unwrap();
    #[allow(unsafe_code)]
    // SAFETY: as above.
    let log = unsafe { Log::options().segment_bytes(BYTES).open(hostile.path()).unwrap() };
    let scanned = log.recovery().scanned_bytes;
    assert!(scanned < 64 * BYTES, "{scanned} bytes of {BYTES}: {} times the file", scanned / BYTES);
}

/// G2: a sync beside a reset to a lower number, by a process that dies behind storing the end, notes the old
/// first number in the new segment: what is appended there, and synced, counts as trimmed after a crash.
#[test]
fn g2_a_first_number_from_before_a_reset_is_not_noted_behind_it() {
    let dir = tempdir();
    let log = manual(dir.path());
    (0..30).for_each(|seq| assert_eq!(append_next(&log), seq));
    log.sync().unwrap();
    assert_eq!(log.trim_before(12).unwrap(), 12);
    assert_eq!(append_next(&log), 30);
    let path = dir.path().to_owned();
    let reset = move || assert_eq!(killed(&path, "reset low", "append.end_stored"), 0);
    once_at("sync.begun", reset, || log.sync().unwrap());
    (5..11).for_each(|seq| assert_eq!(append_next(&log), seq));
    assert_eq!(log.first_seq(), 5);
    assert_eq!(log.sync().unwrap(), 11);
    let cut = copy(dir.path());
    log.leave();
    let dead = manual(dir.path());
    assert!(dead.recovery().live);
    let holds = |reader: &Reader| (reader.first_seq(), reader.next_seq(), reader.iter().count());
    let found = (holds(&dead.reader()), holds(&reader(cut.path())));
    assert_eq!(found, ((5, 11, 6), (5, 11, 6)), "behind a death, behind a power cut");
}

/// The heir of a dead process reads the durable position, and stores it again after another sync moved it.
#[test]
fn g2_a_sync_beside_a_takeover_is_not_taken_back() {
    let dir = tempdir();
    let log = manual(dir.path());
    (0..5).for_each(|seq| assert_eq!(append_next(&log), seq));
    killed(dir.path(), "append", "append.end_stored:3");
    let synced = AtomicU64::new(0);
    let sync = || synced.store(log.sync().unwrap(), Ordering::Relaxed);
    meanwhile("takeover.end_stored", sync, || append_next(&log));
    let synced = synced.into_inner();
    assert!(synced > 5);
    assert!(log.durable_seq() >= synced, "{synced} was durable, now {}", log.durable_seq());
}

/// Who never syncs and keeps little holds on to every file it ever made, removed or not.
#[test]
fn removed_segments_are_let_go_of_without_a_sync() {
    let dir = tempdir();
    let options = Log::options().segment_bytes(1 << 14).sync(SyncPolicy::Manual);
    let options = options.retention(Retention::default().max_segments(2));
    #[allow(unsafe_code)]
    // SAFETY: as above.
    let log = unsafe { options.open(dir.path()).unwrap() };
    (0..800).for_each(|_| _ = append_next(&log));
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let open = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let removed = open.filter(|path| {
        path.starts_with(dir.path()) && path.to_string_lossy().ends_with(".seg (deleted)")
    });
    let removed = removed.count();
    assert!(removed < 8, "{removed} descriptors of removed segments are open");
}

/// A segment that is trimmed between a sync's listing and its opening makes that sync fail.
#[test]
fn a_sync_beside_a_trim_is_no_error() {
    let dir = tempdir();
    let log = manual(dir.path());
    append_next(&log);
    killed(dir.path(), "append", "append.end_stored:40");
    let path = dir.path().to_owned();
    let trim = move || assert_eq!(killed(&path, "trim", "trim.removed:2"), 0);
    let synced = once_at("learn.listed", trim, || log.sync());
    assert!(synced.is_ok(), "{}", synced.unwrap_err());
}

/// Who joins stamps the listing that it made with a directory counter that it reads later.
#[test]
fn g6_a_segment_made_while_another_process_joins_is_not_overlooked() {
    let dir = tempdir();
    let company = Company::join(dir.path());
    // The first is the log's own.
    let roller = Cell::new(Some(Company::appending(dir.path(), "create.after_rename")));
    let roll = move || drop(roller.take());
    let log = once_at("open.listed", roll, || manual(dir.path()));
    // Another takes over, appends to the new segment, syncs and dies.
    assert_eq!(killed(dir.path(), "sync", "append.written:6"), 2);
    let next = log.next_seq();
    assert_eq!(log.durable_seq(), next);
    log.truncate_from(next - 1).unwrap();
    let lost: Vec<_> = log.reader().iter().filter_map(Result::err).collect();
    assert!(lost.is_empty(), "{lost:?}");
    drop(company);
}

/// Who opens with a retention waits for the append lock behind the gate, where nobody else may come.
#[test]
fn opening_does_not_wait_for_the_append_lock_behind_the_gate() {
    let dir = tempdir();
    let log = manual(dir.path());
    append_next(&log);
    let writer = log.writer().unwrap();
    let mut child = spawned(dir.path(), "open retaining");
    std::thread::sleep(Duration::from_millis(1500));
    let lock = std::fs::File::open(dir.path().join("lock")).unwrap();
    let is_held = crate::lock::is_locked(&lock, 0..1).unwrap();
    drop(writer);
    child.wait().unwrap();
    assert!(!is_held, "nobody can open or close the log for as long as somebody holds a writer");
}

/// A fresh segment is due, found by another's takeover; who has the old one mapped appends to it all the same.
#[test]
fn g9_who_has_the_last_segment_open_sees_that_a_fresh_one_is_due() {
    let dir = tempdir();
    let log = manual(dir.path());
    (0..3).for_each(|seq| assert_eq!(append_next(&log), seq));
    assert_eq!(killed(dir.path(), "append", "append.written"), 0);
    let end = log.core.home.page().end();
    // What rots while nobody looks.
    let name = crate::format::name::SegmentName { id: end.segment_id, base_seq: 0 }.file_name();
    let file = std::fs::File::options().write(true).open(dir.path().join(name)).unwrap();
    crate::dir::write_at(&file, end.offset, &[0xA5; 4]).unwrap();
    ran(dir.path(), "look");
    assert_eq!(log.core.home.page().due(), crate::format::page::Due::Fresh);
    assert_eq!(append_next(&log), 3);
    let now = log.core.home.page().end();
    assert_ne!(now.segment_id, end.segment_id, "written over bytes that nobody knows");
    assert_eq!(log.reader().get(3).unwrap().unwrap().data(), payload(3));
}

/// G10: what a process that died left of a segment in the making is there for as long as nobody gets its number.
#[test]
fn g10_who_opens_alone_removes_every_left_over() {
    let dir = tempdir();
    let company = manual(dir.path());
    killed(dir.path(), "append", "create.before_rename");
    assert!(dir.path().join("next-1").exists());
    company.close().unwrap();
    for _ in 0..3 {
        let log = manual(dir.path());
        (0..60).for_each(|_| _ = append_next(&log));
        log.leave();
    }
    assert!(!dir.path().join("next-1").exists(), "nobody removes it");
}

/// The durable word knows eight bits of the epoch: a sync that is stopped while the log is cut 256 times moves no
/// position of the last epoch by an end of the first.
#[test]
fn g2_a_sync_that_256_cuts_passed_by_syncs_again_before_it_moves_the_position() {
    let dir = tempdir();
    let log = manual(dir.path());
    (0..20).for_each(|seq| assert_eq!(append_next(&log), seq));
    let (path, synced) = (dir.path().to_owned(), Rc::new(Cell::new(0)));
    let (first, counted) = (Cell::new(true), synced.clone());
    listen(Some(Rc::new(move |change| match change {
        Change::Hook("sync.before_position") if first.take() => {
            ran(&path, "256 cuts");
            counted.set(0);
        }
        Change::DataSynced { .. } => counted.set(counted.get() + 1),
        _ => {}
    })));
    let durable = log.sync();
    listen(None);
    assert_eq!((durable.unwrap(), log.epoch()), (20, 257));
    assert!(synced.get() > 0, "durable by the word of a sync of other records");
}

/// What is trimmed while a log is verified is no error.
#[test]
fn verify_beside_a_trim_is_no_error() {
    let dir = tempdir();
    let log = manual(dir.path());
    (0..40).for_each(|seq| assert_eq!(append_next(&log), seq));
    let mut trimmed = false;
    let verified = crate::verify(dir.path(), |_, _| {
        if !std::mem::replace(&mut trimmed, true) {
            log.trim_before(35).unwrap();
        }
    });
    assert!(verified.is_ok(), "{}", verified.unwrap_err());
}

/// G10: somebody who waited long and gave up, or died, leaves its wish to go first behind: who waits for less
/// than 2 ms never gets the lock again, though nobody holds it.
#[test]
fn g10_who_gave_up_waiting_keeps_nobody_from_a_lock_that_is_free() {
    let dir = tempdir();
    let log = manual(dir.path());
    #[allow(unsafe_code)]
    // SAFETY: nobody changes the files but maplog.
    let with = |timeout| unsafe { Log::options().lock_timeout(timeout).open(dir.path()).unwrap() };
    let (hasty, patient) = (with(Duration::ZERO), with(Duration::from_millis(50)));
    assert!(hasty.append("free").is_ok());
    let (held, is_held) = std::sync::mpsc::channel();
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let log = &log;
        scope.spawn(move || {
            let writer = log.writer().unwrap();
            held.send(()).unwrap();
            is_done.recv().unwrap();
            drop(writer);
        });
        is_held.recv().unwrap();
        assert_eq!(patient.append("x").unwrap_err().kind(), crate::ErrorKind::LockTimeout);
        done.send(()).unwrap();
    });
    for _ in 0..3 {
        let appended = hasty.append("free again");
        assert!(appended.is_ok(), "{}", appended.unwrap_err());
    }
}

/// A survey of a log whose page is being initialised could take what is committed for a torn tail.
#[test]
fn g6_a_page_that_is_being_initialised_is_waited_for() {
    let dir = tempdir();
    let log = manual(dir.path());
    append_next(&log);
    let shared = std::fs::File::options().read(true).write(true).open(dir.path().join("shared"));
    let (shared, mut magic) = (shared.unwrap(), [0; 8]);
    crate::dir::read_at(&shared, 0, &mut magic).unwrap();
    crate::dir::write_at(&shared, 0, &[0; 8]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(3));
            crate::dir::write_at(&shared, 0, &magic).unwrap();
        });
        assert!(log.core.home.page().is_live().unwrap());
    });
    crate::dir::write_at(&shared, 0, &[0; 8]).unwrap();
    assert!(!log.core.home.page().is_live().unwrap(), "who initialised it died");
    crate::dir::write_at(&shared, 0, &magic).unwrap();
}
