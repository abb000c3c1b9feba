//! What rots, what is half told, and what is forged, beside what was promised.

use std::path::Path;

use tempfile::TempDir;

use crate::child_tests::ran;
use crate::crash_tests::{Company, copy, harm, killed, tempdir};
use crate::format::name::SegmentName;
use crate::hook::once_at;
use crate::takeover_tests::append_next;
use crate::{ErrorKind, Log, Reader, Retention, SyncPolicy, verify};

fn manual(path: &Path) -> Log {
    retaining(path, Retention::default())
}

#[allow(unsafe_code)]
fn retaining(path: &Path, retention: Retention) -> Log {
    let options = Log::options().segment_bytes(1 << 14).sync(SyncPolicy::Manual);
    // SAFETY: nobody changes the files but maplog, and these tests before it opens them.
    unsafe { options.retention(retention).open(path).unwrap() }
}

fn append_all(log: &Log, seqs: std::ops::Range<u64>) {
    seqs.for_each(|seq| assert_eq!(append_next(log), seq));
}

/// Flips a bit of the same byte in both blocks of a segment's header.
fn rot(log: &Path, name: SegmentName, at: usize) {
    let file = log.join(name.file_name());
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[at] ^= 1;
    bytes[4096 + at] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

const IN_HEADER: usize = 100;
const IN_SLOT: usize = 512 + 20;

/// A copy of a log whose reset to 1000 died before it removed what it dropped, and which went on, was synced and
/// closed; then its last segment rotted. Before the reset it was closed, or not.
fn rotten_behind_a_reset(closed: bool, at: usize) -> TempDir {
    let dir = tempdir();
    let log = manual(dir.path());
    append_all(&log, 0..30);
    log.sync().unwrap();
    match closed {
        true => log.close().unwrap(),
        false => log.leave(),
    }
    // It appends nothing, so a slot of the old segment that says closed stands.
    assert_eq!(killed(dir.path(), "reset", "create.intent_withdrawn"), 0);
    let log = manual(dir.path());
    append_all(&log, 1000..1005);
    assert_eq!((log.sync().unwrap(), log.first_seq(), log.epoch()), (1005, 1000, 2));
    let last = log.core.home.unsynced.lock().segments().last().unwrap().name;
    assert_eq!(last.base_seq, 1000);
    log.close().unwrap();
    let rotten = copy(dir.path());
    rot(rotten.path(), last, at);
    rotten
}

#[test]
fn g6_a_segment_behind_a_reset_whose_header_rots_is_damage_and_no_torn_tail() {
    for closed in [false, true] {
        let rotten = rotten_behind_a_reset(closed, IN_HEADER);
        let log = manual(rotten.path());
        let seq = log.append("next").unwrap();
        let lost = &log.recovery().lost;
        assert!(lost.iter().any(|lost| lost.contains(&1000) && lost.contains(&1004)), "{lost:?}");
        assert!(seq >= 1005, "number {seq} is given again");
    }
}

#[test]
fn g6_a_segment_behind_a_reset_whose_slots_rot_is_no_torn_tail() {
    for closed in [false, true] {
        let rotten = rotten_behind_a_reset(closed, IN_SLOT);
        let log = manual(rotten.path());
        let reader = log.reader();
        let there: Vec<_> = reader.iter().filter_map(|item| Some(item.ok()?.seq())).collect();
        assert!(there.ends_with(&[1000, 1001, 1002, 1003, 1004]), "{there:?}");
        assert!(log.next_seq() >= 1005);
    }
}

#[test]
fn g4_an_epoch_whose_header_rots_is_not_given_again() {
    let dir = tempdir();
    let log = manual(dir.path());
    append_all(&log, 0..30);
    for _ in 0..4 {
        log.truncate_from(25).unwrap();
        assert_eq!(log.append("first").unwrap(), 25);
    }
    let epoch = log.epoch();
    let position = log.reader().tail_from(26).position();
    assert_eq!((epoch, position.epoch, position.seq), (5, 5, 26));
    let last = SegmentName { id: log.core.home.page().end().segment_id, base_seq: 25 };
    log.close().unwrap();
    let rotten = copy(dir.path());
    rot(rotten.path(), last, IN_HEADER);
    let log = manual(rotten.path());
    log.append("next").unwrap();
    for _ in 0..3 {
        log.truncate_from(25).unwrap();
        assert_eq!(log.append("second").unwrap(), 25);
        assert_eq!(log.append("other").unwrap(), 26);
    }
    assert!(log.epoch() > epoch, "record 25 of epoch {} was another", log.epoch());
    let mut tail = log.reader().tail_at(&position).unwrap();
    assert!(
        tail.try_recv().is_err(),
        "a place behind another record 25 passes for one behind this"
    );
}

#[test]
fn g8_a_reset_that_died_half_way_is_no_loss_when_a_sync_in_doubt_is_done_again() {
    for hook in ["append.end_stored", "epoch.half_stored", "epoch.stored"] {
        let dir = tempdir();
        let resetter = Company::when_told(dir.path(), "reset when told", hook);
        assert_eq!(killed(dir.path(), "sync", "sync.before_data"), 0);
        let log = manual(dir.path());
        assert!(log.recovery().joined);
        assert_eq!((log.next_seq(), log.durable_seq()), (1, 0));
        drop(resetter);
        let synced = log.sync();
        assert!(synced.is_ok(), "{hook}: {}", synced.unwrap_err());
        assert_eq!(append_next(&log), 1000, "{hook}");
    }
}

#[test]
fn g8_what_rots_among_durable_records_is_no_failed_sync() {
    let dir = tempdir();
    let log = manual(dir.path());
    for seq in 0..8 {
        assert_eq!(append_next(&log), seq);
        log.sync().unwrap();
    }
    assert_eq!(killed(dir.path(), "sync", "sync.before_data"), 0);
    harm(dir.path(), 3);
    let company = Company::join(dir.path());
    log.leave();
    let log = manual(dir.path());
    assert!(log.recovery().joined);
    assert_eq!((log.next_seq(), log.durable_seq()), (9, 8));
    let synced = log.sync();
    assert!(synced.is_ok(), "{}", synced.unwrap_err());
    drop(company);
}

#[test]
fn a_consumer_of_a_later_version_stops_no_trimming() {
    let dir = tempdir();
    let log = retaining(dir.path(), Retention::default().max_segments(2).not_past_any(1 << 16));
    drop(log.consumer("a").unwrap());
    let file = dir.path().join("consumers").join("a");
    let mut bytes = std::fs::read(&file).unwrap();
    for block in [0, 4096] {
        bytes[block + 8] = 2;
        let sum = crc32fast::hash(&bytes[block..block + 508]);
        bytes[block + 508..block + 512].copy_from_slice(&sum.to_le_bytes());
    }
    std::fs::write(&file, bytes).unwrap();
    (0..400).for_each(|_| _ = append_next(&log));
    log.enforce_retention().unwrap();
    assert!(log.first_seq() > 0);
}

#[test]
fn what_is_no_consumers_file_stops_no_trimming() {
    let folder: fn(&Path) = |path| std::fs::create_dir(path).unwrap();
    let link: fn(&Path) = |path| std::os::unix::fs::symlink("/nowhere", path).unwrap();
    for make in [folder, link] {
        let guards = Retention::default().not_past("billing", 1 << 16).not_past_any(1 << 16);
        let dir = tempdir();
        let log = retaining(dir.path(), guards.max_segments(2));
        drop(log.consumer("a").unwrap());
        make(&dir.path().join("consumers").join("billing"));
        (0..400).for_each(|_| _ = append_next(&log));
        log.enforce_retention().unwrap();
        assert!(log.first_seq() > 0);
    }
}

#[test]
fn a_guard_that_no_consumer_can_be_is_refused() {
    let dir = tempdir();
    let options = Log::options().retention(Retention::default().not_past("../shared", 1 << 16));
    #[allow(unsafe_code)]
    // SAFETY: nobody changes the files but maplog.
    let opened = unsafe { options.open(dir.path()) };
    assert_eq!(opened.map(drop).unwrap_err().kind(), ErrorKind::InvalidName);
}

#[test]
fn a_sync_beside_a_reset_to_a_lower_number_is_no_error() {
    let dir = tempdir();
    let log = manual(dir.path());
    append_next(&log);
    killed(dir.path(), "append", "append.end_stored:40");
    let path = dir.path().to_owned();
    let reset = move || _ = killed(&path, "reset low", "trim.removed:2");
    let synced = once_at("learn.listed", reset, || log.sync());
    assert!(synced.is_ok(), "{}", synced.unwrap_err());
}

#[test]
fn verify_beside_a_reset_to_a_lower_number_is_no_missing_file() {
    let dir = tempdir();
    let log = manual(dir.path());
    append_all(&log, 0..40);
    let mut done = false;
    let verified = verify(dir.path(), |_, _| {
        if !std::mem::replace(&mut done, true) {
            log.reset(5).unwrap();
        }
    });
    assert!(done && verified.map_err(|error| error.kind()).err() != Some(ErrorKind::NotFound));
}

#[test]
fn g11_a_count_of_attachments_that_wraps_makes_no_token_that_says_nobody() {
    let dir = tempdir();
    let log = manual(dir.path());
    append_all(&log, 0..40);
    log.close().unwrap();
    let hostile = copy(dir.path());
    let shared = std::fs::File::options().write(true).open(hostile.path().join("shared")).unwrap();
    let (at, count) = (crate::format::page::ATTACHED.at() as u64, (1_u64 << 48) - 1);
    crate::dir::write_at(&shared, at, &count.to_le_bytes()).unwrap();
    let log = manual(hostile.path());
    assert!(!log.recovery().live);
    append_next(&log);
    log.sync().unwrap();
    append_next(&log);
    let path = hostile.path().to_owned();
    let sync = move || ran(&path, "only sync");
    assert_eq!(once_at("trim.noted", sync, || log.trim_before(25)).unwrap(), 25);
    let cut = copy(hostile.path());
    #[allow(unsafe_code)]
    // SAFETY: nobody changes the files but maplog.
    let reader = unsafe { Reader::open(cut.path()).unwrap() };
    let lost: Vec<_> = reader.iter().filter_map(|item| item.err()?.lost()).collect();
    assert_eq!((reader.first_seq(), lost), (25, vec![]));
}
