//! Processes that die by SIGKILL while they cut, reset or trim a log, beside one that has it open or
//! alone. G4 and attacks 2, 7, 17 and 43.
#![allow(clippy::print_stdout)]

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use crate::crash_tests::{copy, killed, open, payload, tempdir};
use crate::hook::{Change, listen, once_at};
use crate::takeover_tests::append_next;
use crate::{Log, Reader, Retention, SyncPolicy};

/// Thirty records, in several segments.
fn thirty(path: &Path) -> Log {
    let log = open(path);
    (0..30).for_each(|seq| assert_eq!(append_next(&log), seq));
    log
}

/// What a log holds: its first number, its next, and every record its own.
fn holds(path: &Path) -> (u64, u64) {
    #[allow(unsafe_code)]
    // SAFETY: nobody changes the files but maplog.
    let reader = unsafe { Reader::open(path).unwrap() };
    for item in &reader {
        let record = item.unwrap();
        assert_eq!(record.data(), payload(record.seq()));
    }
    assert_eq!(reader.iter().count() as u64, reader.len());
    (reader.first_seq(), reader.next_seq())
}

/// Attacks 2, 17 and 43, with a survivor and without: a death at any step of a cut, a reset or a trim
/// leaves the log as it was or as it was to be, and from its name on as it was to be.
#[test]
fn g4_a_death_anywhere_in_a_cut_leaves_the_old_log_or_the_new() {
    let makes = [
        ("create.announced", false),
        ("create.before_rename", false),
        ("names.announced", false),
        ("names.changed", true),
        ("create.after_rename", true),
        ("cut.durable", true),
        ("create.marks_stored", true),
        ("epoch.half_stored", true),
        ("create.epoch_stored", true),
        ("create.intent_withdrawn", true),
    ];
    let trims = [("trim.noted", true), ("trim.told", true), ("trim.removed:1", true)];
    let places = [("truncate", &makes[..], (0, 10)), ("reset", &makes, (1000, 1000))];
    let places = places.into_iter().chain([("trim", &trims[..], (25, 30))]);
    let mut deaths = 0;
    for (work, hooks, after) in places {
        for (hook, took) in hooks {
            let place = format!("{work}, {hook}");
            let expected = if *took { after } else { (0, 30) };
            for survivor in [true, false] {
                let dir = tempdir();
                let path = dir.path();
                let mut log = Some(thirty(path));
                let epoch = log.as_ref().map(Log::epoch).unwrap();
                if !survivor {
                    log.take().unwrap().sync().unwrap();
                }
                assert_eq!(killed(path, work, hook), 0);
                deaths += 1;
                let log = log.unwrap_or_else(|| open(path));
                let seq = append_next(&log);
                assert_eq!(seq, expected.1, "{place}");
                assert_eq!(holds(path), (expected.0, seq + 1), "{place}");
                assert_eq!(
                    (log.first_seq(), log.epoch() > epoch),
                    (expected.0, *took && work != "trim",),
                    "{place}"
                );
                log.sync().unwrap();
                assert_eq!(holds(copy(path).path()), (expected.0, seq + 1), "{place}, power lost");
                // What was begun can be done.
                log.trim_before(seq).unwrap();
                log.reset(5).unwrap();
                assert_eq!(log.append(payload(5)).unwrap(), 5, "{place}");
                log.close().unwrap();
                assert_eq!(holds(path), (5, 6), "{place}");
            }
        }
    }
    println!("{deaths} deaths in cuts, resets and trims");
}

/// Attack 7: a sync that was under way when the log was cut does not call durable what came since.
#[test]
fn attack_7_a_sync_captured_before_a_cut_moves_nothing() {
    let dir = tempdir();
    let log = thirty(dir.path());
    let page = log.core.home.page();
    let (epoch, end) = (page.epoch(), page.end());
    log.truncate_from(10).unwrap();
    (10..15).for_each(|seq| assert_eq!(append_next(&log), seq));
    assert!(!page.raise_durable(epoch, end.seq));
    assert_eq!(log.durable_seq(), 10);
    assert_eq!(log.sync().unwrap(), 15);
}

/// G8: who dies inside a sync leaves a word that says so. A trim beside that sync, which syncs a slot
/// itself, does not say that it is over.
#[test]
fn g8_a_trim_beside_a_sync_does_not_say_that_the_sync_is_over() {
    let dir = tempdir();
    let log = thirty(dir.path());
    let (inside, is_inside) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let first = Cell::new(true);
            let stops = move |change: Change<'_>| {
                if matches!(change, Change::Hook("sync.before_data")) && first.take() {
                    inside.send(()).unwrap();
                    may_go_on.recv().unwrap();
                }
            };
            listen(Some(Rc::new(stops)));
            log.sync().unwrap();
            listen(None);
        });
        is_inside.recv().unwrap();
        let page = log.core.home.page();
        assert!(page.any_syncing());
        let trim = scope.spawn(|| log.trim_before(12).unwrap());
        std::thread::sleep(Duration::from_millis(100));
        let is_known = page.any_syncing();
        go_on.send(()).unwrap();
        assert!(is_known, "nobody would have known of the sync if the process had died then");
        assert_eq!(trim.join().unwrap(), 12);
    });
    assert!(!log.core.home.page().any_syncing());
    assert_eq!(holds(dir.path()), (12, 30));
}

/// Has another thread do `then` when this one first reaches the hook in `work`.
pub(crate) fn meanwhile<T>(
    hook: &'static str,
    then: impl FnOnce() + Send,
    work: impl FnOnce() -> T,
) -> T {
    let (reached, is_reached) = mpsc::channel();
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            is_reached.recv().unwrap();
            then();
            done.send(()).unwrap();
        });
        let stop = move || {
            reached.send(()).unwrap();
            is_done.recv().unwrap();
        };
        once_at(hook, stop, work)
    })
}

/// A position taken while the log is cut is of the epoch that its records were read in: else what was
/// cut behind it would be passed over when it is taken up.
#[test]
fn g4_a_view_taken_beside_a_cut_is_not_of_the_epoch_behind_it() {
    let dir = tempdir();
    let log = thirty(dir.path());
    log.sync().unwrap();
    let epoch = log.epoch();
    let cut = || {
        log.truncate_from(10).unwrap();
        (10..40).for_each(|seq| assert_eq!(append_next(&log), seq));
    };
    let reader = meanwhile("view.end_known", cut, || log.reader());
    assert_eq!(log.epoch(), epoch + 1);
    let position = reader.tail_from(reader.next_seq()).position();
    assert_eq!((position.seq, position.epoch), (30, epoch));
    let mut tail = log.reader().tail_at(&position).unwrap();
    let error = tail.try_recv().unwrap_err();
    assert_eq!((error.kind(), error.seq()), (crate::ErrorKind::Rewound, Some(10)));
}

/// Nor is it of the one before, as if what it saw had been cut since.
#[test]
fn g4_a_view_taken_beside_a_cut_is_not_of_the_epoch_before_it() {
    let dir = tempdir();
    let log = thirty(dir.path());
    let epoch = log.epoch();
    let cut = || log.truncate_from(10).unwrap();
    let reader = meanwhile("page.epoch_known", cut, || log.reader());
    let position = reader.tail_from(reader.next_seq()).position();
    assert_eq!((position.seq, position.epoch), (10, epoch + 1));
    assert!(log.reader().tail_at(&position).unwrap().try_recv().unwrap().is_none());
}

/// A cut raises the epoch and then sets the durable position back: who asks in between what is durable
/// is not told of the records that were cut.
#[test]
fn g2_a_tail_of_durable_records_is_given_none_by_the_position_of_a_log_that_was_cut() {
    let dir = tempdir();
    #[allow(unsafe_code)]
    // SAFETY: nobody changes the files but maplog.
    let log = unsafe { Log::options().sync(SyncPolicy::Manual).open(dir.path()).unwrap() };
    (0..30).for_each(|seq| assert_eq!(append_next(&log), seq));
    log.sync().unwrap();
    let mut tail = log.reader().tail_from(0).durable_only();
    (0..10).for_each(|seq| assert_eq!(tail.try_recv().unwrap().unwrap().seq(), seq));
    let tail = Rc::new(RefCell::new(tail));
    let asked = tail.clone();
    let ask = move || assert!(asked.borrow_mut().try_recv().unwrap().is_none());
    once_at("epoch.half_stored", ask, || log.truncate_from(10).unwrap());
    (10..20).for_each(|seq| assert_eq!(append_next(&log), seq));
    assert_eq!(log.durable_seq(), 10);
    assert!(tail.borrow_mut().try_recv().unwrap().is_none(), "a power cut may still take it");
    log.sync().unwrap();
    assert_eq!(tail.borrow_mut().try_recv().unwrap().unwrap().seq(), 10);
}

/// Nor is a future, of a record that was not appended.
#[cfg(feature = "async")]
#[test]
fn g2_a_future_is_not_told_that_a_record_is_durable_which_was_cut_meanwhile() {
    let dir = tempdir();
    let log = thirty(dir.path());
    log.sync().unwrap();
    let ready = Rc::new(RefCell::new(Vec::new()));
    let (other, seen) = (log.clone(), ready.clone());
    let ask = move || {
        let mut durable = Box::pin(other.durable(20));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let polled = std::future::Future::poll(durable.as_mut(), &mut context);
        seen.borrow_mut().push(polled.map_err(|error| error.kind()));
    };
    once_at("epoch.half_stored", ask, || log.truncate_from(10).unwrap());
    assert_eq!(*ready.borrow(), [std::task::Poll::Pending]);
}

/// A tail of a reader from before a cut is told of the cut, and not that the log is shorter than it is.
#[test]
fn g4_a_tail_of_a_reader_from_before_a_cut_is_rewound() {
    let dir = tempdir();
    let log = thirty(dir.path());
    let reader = log.reader();
    log.truncate_from(10).unwrap();
    (10..60).for_each(|seq| assert_eq!(append_next(&log), seq));
    let mut tail = reader.tail_from(20);
    let error = tail.try_recv().unwrap_err();
    assert_eq!((error.kind(), error.seq()), (crate::ErrorKind::Rewound, Some(10)), "{error}");
    assert_eq!(tail.try_recv().unwrap().unwrap().seq(), 10);
}

/// What is trimmed while somebody counts is counted or not; it is no error.
#[test]
fn stats_beside_a_trim_are_of_what_is_left() {
    let dir = tempdir();
    let retention = Retention::default()
        .max_bytes(1 << 30)
        .max_age(Duration::from_secs(3600))
        .not_past("a", u64::MAX);
    #[allow(unsafe_code)]
    // SAFETY: nobody changes the files but maplog.
    let log =
        unsafe { Log::options().segment_bytes(1 << 14).retention(retention).open(dir.path()) };
    let log = log.unwrap();
    (0..30).for_each(|seq| assert_eq!(log.append([7; 2000]).unwrap(), seq));
    let before = log.stats().unwrap();
    let trim = || assert_eq!(log.trim_before(29).unwrap(), 29);
    let stats = meanwhile("keep.listed", trim, || log.stats()).unwrap();
    assert!(stats.segments < before.segments, "{stats:?}, {before:?}");
}
