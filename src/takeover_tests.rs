//! Processes that die by SIGKILL with the append lock while another has the log open: it takes over,
//! loses nothing that was returned and shows nothing that was half done. G1, G4, G5, G10 and attacks
//! 1, 3, 6 and 12.
#![allow(clippy::print_stdout)]

use std::cell::Cell;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::attach::{Gate, Seized};
use crate::crash_tests::{check, copy, killed, open, payload, tempdir};
use crate::dir::Dir;
use crate::format::frame::{MARK_EVERY_BYTES, frame_bytes};
use crate::format::name::SegmentName;
use crate::{ErrorKind, Log};

/// Appends the next record, whatever number that is.
pub(crate) fn append_next(log: &Log) -> u64 {
    let mut writer = log.writer().unwrap();
    let seq = log.next_seq();
    assert_eq!(writer.append(payload(seq)).unwrap(), seq);
    seq
}

/// The survivor appends at once, and on; gives how long its first append took.
fn survives(log: &Log, path: &Path, told: u64, batch: u64, place: &str) -> Duration {
    let seen = check(path, told, batch);
    let since = Instant::now();
    let seq = append_next(log);
    let waited = since.elapsed();
    assert_eq!(seq, seen, "{place}: a reader had seen others");
    // A mark came first, so that what follows stands where nothing of the dead process stood.
    let page = log.core.home.page();
    let frame = frame_bytes(payload(seq).len() as u64);
    assert_eq!(page.marks().due_at, page.end().offset - frame + MARK_EVERY_BYTES, "{place}");
    assert!(page.directory().is_multiple_of(2), "{place}: listings would never count");
    for _ in 0..30 {
        append_next(log);
    }
    let records = seq + 31;
    for (seq, item) in (0..records).zip(&log.reader()) {
        assert_eq!(item.unwrap().data(), payload(seq), "{place}");
    }
    assert_eq!(check(path, records, 1), records);
    log.sync().unwrap();
    assert_eq!(check(copy(path).path(), records, 1), records);
    waited
}

struct Waits(Vec<Duration>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.sort();
        if let [.., last] = self.0[..] {
            let median = self.0[self.0.len() / 2];
            println!("{} deaths under the lock: median {median:?}, longest {last:?}", self.0.len());
        }
    }
}

/// A process joins this one, works, and dies at the place.
fn one_dies(waits: &mut Waits, work: &str, place: &str, batch: u64) {
    let dir = tempdir();
    let log = open(dir.path());
    for _ in 0..batch {
        append_next(&log);
    }
    let told = batch + killed(dir.path(), work, place);
    waits.0.push(survives(&log, dir.path(), told, batch, place));
    log.close().unwrap();
    assert!(open(dir.path()).recovery().clean, "{place}");
}

#[test]
fn g10_a_death_anywhere_in_an_append_leaves_the_lock_to_the_survivor() {
    let mut waits = Waits(Vec::new());
    let places = ["append.written", "publish.zeroed", "append.published", "end.half_stored"];
    for place in places {
        for count in [1, 2, 17] {
            one_dies(&mut waits, "append", &format!("{place}:{count}"), 1);
        }
    }
    for count in [1, 5] {
        one_dies(&mut waits, "append", &format!("append.end_stored:{count}"), 1);
        one_dies(&mut waits, "slot", &format!("slot.sealed:{count}"), 1);
    }
    for count in [1, 2, 3, 31] {
        one_dies(&mut waits, "batch", &format!("batch.frame_written:{count}"), 3);
    }
}

/// Attack 1, with a survivor: each step of growing and of rolling.
#[test]
fn g10_a_death_anywhere_in_a_roll_leaves_the_lock_to_the_survivor() {
    let mut waits = Waits(Vec::new());
    let places = [
        "create.announced",
        "create.before_rename",
        "names.announced",
        "names.changed",
        "create.after_rename",
        "roll.ended",
        "create.marks_stored",
        "create.intent_withdrawn",
    ];
    for place in places {
        for count in [1, 3] {
            one_dies(&mut waits, "append", &format!("{place}:{count}"), 1);
        }
    }
    for place in ["grow.allocated", "grow.before_populate"] {
        one_dies(&mut waits, "append", place, 1);
    }
}

/// One dies with the lock, the next dies taking it over.
#[test]
fn g10_a_death_anywhere_in_a_takeover_leaves_the_lock_to_the_survivor() {
    let mut waits = Waits(Vec::new());
    let places = [
        "takeover.inherited",
        "takeover.announced",
        "takeover.names_settled",
        "takeover.epoch_stored",
        "takeover.end_stored",
    ];
    let first = ["append.published:3", "create.announced", "names.changed", "roll.ended:2"];
    for place in places {
        for first in first {
            let dir = tempdir();
            let log = open(dir.path());
            let before = append_next(&log) + 1;
            let told = before + killed(dir.path(), "append", first);
            assert_eq!(killed(dir.path(), "append", place), 0);
            let both = format!("{first}, {place}");
            waits.0.push(survives(&log, dir.path(), told, 1, &both));
            log.close().unwrap();
            assert!(open(dir.path()).recovery().clean, "{both}");
        }
    }
}

/// Who takes the lock over and cannot find out what the dead process left goes by nothing it knew
/// before: the next append finds it out, and stores nothing over what is committed.
#[test]
fn g3_a_takeover_that_fails_is_begun_anew_by_the_next_append() {
    let dir = tempdir();
    let log = open(dir.path());
    let before = append_next(&log) + 1;
    let told = before + killed(dir.path(), "append", "append.published:5");
    // Two files with one id: no survey goes on.
    let [base, other] = [0, 7].map(|base| SegmentName { id: 1, base_seq: base }.file_name());
    std::fs::copy(dir.path().join(base), dir.path().join(&other)).unwrap();
    for _ in 0..2 {
        assert_eq!(log.append("never").unwrap_err().kind(), ErrorKind::NotALog);
        assert_eq!(log.writer().map(drop).map_err(|error| error.kind()), Ok(()));
    }
    std::fs::remove_file(dir.path().join(&other)).unwrap();
    let seen = check(dir.path(), told, 1);
    assert_eq!(log.append(payload(seen)).unwrap(), seen);
    append_next(&log);
    assert_eq!(check(dir.path(), seen + 2, 1), seen + 2);
}

/// The fresh segment that is due after a power cut is made once, by who does not die.
#[test]
fn g4_a_death_in_a_fresh_segments_making_leaves_that_to_the_survivor() {
    let mut waits = Waits(Vec::new());
    for place in [
        "create.announced",
        "names.changed",
        "create.after_rename",
        "epoch.half_stored",
        "create.epoch_stored",
        "create.marks_stored",
        "create.intent_withdrawn",
    ] {
        let dir = tempdir();
        let told = killed(dir.path(), "append", "append.end_stored:12");
        let cut = copy(dir.path());
        let log = open(cut.path());
        let epoch = log.epoch();
        assert!(!log.recovery().live);
        assert_eq!(killed(cut.path(), "append", place), 0);
        waits.0.push(survives(&log, cut.path(), told, 1, place));
        assert!(log.epoch() > epoch, "{place}");
        log.close().unwrap();
        assert!(open(cut.path()).recovery().clean, "{place}");
    }
}

/// A death between the two words that an epoch is stored in: who closes the log next is not left moving
/// a durable position that never moves, behind the gate.
#[test]
fn g10_a_death_in_the_storing_of_an_epoch_hangs_nobody_who_closes() {
    for place in ["epoch.half_stored", "create.epoch_stored"] {
        let dir = tempdir();
        let told = killed(dir.path(), "append", "append.end_stored:12");
        let cut = copy(dir.path());
        let log = open(cut.path());
        assert_eq!(killed(cut.path(), "append", place), 0);
        log.close().unwrap();
        let again = open(cut.path());
        let seen = check(cut.path(), told, 1);
        assert_eq!(append_next(&again), seen, "{place}");
        again.close().unwrap();
    }
}

/// Attack 46: where other files took the log's place, their `lock` says nothing of this log's owner.
#[test]
fn attack_46_no_lock_is_inherited_by_the_word_of_another_logs_file() {
    let dir = tempdir();
    let log = open(dir.path());
    killed(dir.path(), "append", "append.written:3");
    let held = log.core.home.page().seen_lock();
    assert!(held.is_held());
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert_eq!(log.append("lost").unwrap_err().kind(), ErrorKind::Replaced);
    std::fs::write(dir.path().join("lock"), "").unwrap();
    assert_eq!(log.append("lost").unwrap_err().kind(), ErrorKind::Replaced);
    assert_eq!(log.core.home.page().seen_lock().token(), held.token(), "taken from the living");
}

/// A participant's place is looked at once its byte is held: until then its holder may be alive, take the
/// append lock and die with it, and who came in its place would be taken for that lock's living holder.
#[test]
fn attack_12_a_place_is_found_vacant_only_by_who_holds_its_byte() {
    let dir = tempdir();
    let dir = Dir::open(dir.path()).unwrap();
    let gate = Gate::pass(&dir, 0o640).unwrap();
    let asked = Cell::new(0);
    let attachment = gate.stay(&dir, |participant| {
        assert!(Seized::take(&dir, participant).unwrap().is_none(), "{participant} is free");
        asked.set(asked.get() + 1);
        participant == 2
    });
    assert_eq!((attachment.unwrap().participant(), asked.get()), (2, 3));
    // Those that were left are free again.
    assert!(Seized::take(&dir, 0).unwrap().is_some());
}

/// G10, for the impatient too: that its owner is dead is found out before the time is up, however short.
#[test]
fn g10_a_dead_owners_lock_is_taken_over_by_who_does_not_wait() {
    for timeout in [Duration::ZERO, Duration::from_millis(1)] {
        let dir = tempdir();
        let log = open(dir.path());
        #[allow(unsafe_code)]
        // SAFETY: nobody else changes the files.
        let hasty = unsafe { Log::options().lock_timeout(timeout).open(dir.path()).unwrap() };
        let told = killed(dir.path(), "append", "append.end_stored:5");
        let seen = check(dir.path(), told, 1);
        assert_eq!(hasty.append(payload(seen)).map_err(|error| error.kind()), Ok(seen));
        drop(log);
    }
}

/// A process that is alive keeps the lock, however long it takes.
#[test]
fn a_lock_held_elsewhere_is_waited_for_and_not_taken() {
    let dir = tempdir();
    let log = open(dir.path());
    #[allow(unsafe_code)]
    // SAFETY: nobody else changes the files.
    let hasty =
        unsafe { Log::options().lock_timeout(Duration::from_millis(50)).open(dir.path()).unwrap() };
    let (held, is_held) = mpsc::channel();
    let (done, is_done) = mpsc::channel();
    std::thread::scope(|scope| {
        let log = &log;
        scope.spawn(move || {
            let mut writer = log.writer().unwrap();
            held.send(()).unwrap();
            is_done.recv().unwrap();
            writer.append("mine").unwrap();
        });
        is_held.recv().unwrap();
        assert!(hasty.try_writer().unwrap().is_none());
        let error = hasty.append("theirs").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LockTimeout, "{error}");
        let error = hasty.writer().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LockTimeout, "{error}");
        done.send(()).unwrap();
        assert_eq!(hasty.append("theirs").unwrap(), 1);
    });
}
