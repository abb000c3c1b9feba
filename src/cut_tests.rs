//! Processes that die by SIGKILL while they cut, reset or trim a log, beside one that has it open or
//! alone. G4 and attacks 2, 7, 17 and 43.
#![allow(clippy::print_stdout)]

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use crate::crash_tests::{copy, killed, open, payload, tempdir};
use crate::hook::{Change, listen};
use crate::takeover_tests::append_next;
use crate::{Log, Reader};

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
