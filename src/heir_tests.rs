//! What others see while a cut or a reset of a process that died is taken over by another, and what keeps
//! that one waiting. G2, G4, G6 and attacks 2, 7, 15 and 17.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::attach::Seized;
use crate::crash_tests::{Company, killed, tempdir};
use crate::cut_tests::meanwhile;
use crate::hook::once_at;
use crate::map::Token;
use crate::takeover_tests::append_next;
use crate::{ErrorKind, Log, SyncPolicy};

/// Between the stores of a takeover, and behind them. `epoch.stored` moves with the store that it is of.
const MOMENTS: [&str; 4] =
    ["takeover.end_stored", "epoch.half_stored", "epoch.stored", "takeover.epoch_stored"];

/// Thirty records in several segments, all durable; nothing else is synced but when it is asked for.
fn thirty(path: &Path) -> Log {
    let options = Log::options().segment_bytes(1 << 14).sync(SyncPolicy::Manual);
    #[allow(unsafe_code)]
    // SAFETY: nobody changes the files but maplog.
    let log = unsafe { options.open(path).unwrap() };
    (0..30).for_each(|seq| assert_eq!(append_next(&log), seq));
    assert_eq!(log.sync().unwrap(), 30);
    log
}

/// An end from before the cut, synced in the epoch behind it, would make durable what is not written yet.
#[test]
fn g2_a_sync_beside_the_takeover_of_a_cut_makes_nothing_durable_that_it_did_not_sync() {
    for hook in MOMENTS {
        let dir = tempdir();
        let log = thirty(dir.path());
        killed(dir.path(), "truncate", "create.after_rename");
        let sync = || assert!(log.sync().is_ok());
        assert_eq!(meanwhile(hook, sync, || append_next(&log)), 10);
        (11..20).for_each(|seq| assert_eq!(append_next(&log), seq));
        assert_eq!(log.durable_seq(), 10, "{hook}");
        assert_eq!(log.sync_to(15).unwrap(), 20, "{hook}");
    }
}

/// A position taken meanwhile is of the epoch that its records were read in.
#[test]
fn g4_a_view_beside_the_takeover_of_a_cut_is_not_of_the_epoch_behind_it() {
    for hook in MOMENTS {
        let dir = tempdir();
        let log = thirty(dir.path());
        let epoch = log.epoch();
        killed(dir.path(), "truncate", "create.after_rename");
        let position = Rc::new(Cell::new(None));
        let (other, taken) = (log.clone(), position.clone());
        let look = move || {
            let reader = other.reader();
            taken.set(Some(reader.tail_from(reader.next_seq()).position()));
        };
        assert_eq!(once_at(hook, look, || append_next(&log)), 10);
        (11..40).for_each(|seq| assert_eq!(append_next(&log), seq));
        let position = position.take().unwrap();
        assert_eq!(position.seq, 10, "{hook}: {position:?}");
        assert!(position.epoch <= epoch + 1, "{hook}: {position:?}");
        let mut tail = log.reader().tail_at(&position).unwrap();
        match tail.try_recv() {
            Ok(record) => assert_eq!(record.unwrap().seq(), 10, "{hook}"),
            Err(error) => assert_eq!((error.kind(), error.seq()), (ErrorKind::Rewound, Some(10))),
        }
    }
}

/// What a reset dropped is not lost, at any moment.
#[test]
fn g6_nothing_is_reported_lost_beside_the_takeover_of_a_reset() {
    for hook in MOMENTS {
        let dir = tempdir();
        let log = thirty(dir.path());
        let mut tail = log.reader().tail_from(30);
        assert!(tail.try_recv().unwrap().is_none());
        killed(dir.path(), "reset", "create.after_rename");
        let (tail, errors) = (RefCell::new(tail), Rc::new(RefCell::new(Vec::new())));
        let (other, seen) = (log.clone(), errors.clone());
        let look = move || {
            let told = tail.borrow_mut().try_recv().err();
            let read = other.reader().iter().filter_map(Result::err).collect::<Vec<_>>();
            let lost = told.into_iter().chain(read).filter(|error| error.lost().is_some());
            seen.borrow_mut().extend(lost.map(|error| error.to_string()));
        };
        assert_eq!(once_at(hook, look, || append_next(&log)), 1000);
        assert_eq!(*errors.borrow(), Vec::<String>::new(), "{hook}");
    }
}

/// Attack 15: the cutter died before it told of the new epoch, and a place of it is nobody's future.
#[test]
fn attack_15_a_consumer_beside_a_cut_that_died_goes_on_where_it_was() {
    let dir = tempdir();
    let log = thirty(dir.path());
    let mut consumer = log.consumer("c").unwrap();
    for seq in 0..30 {
        assert_eq!(consumer.try_recv().unwrap().unwrap().seq(), seq);
    }
    consumer.ack(29).unwrap();
    killed(dir.path(), "truncate", "append.end_stored");
    let error = consumer.recv_timeout(Duration::from_secs(1)).unwrap_err();
    assert_eq!((error.kind(), error.seq()), (ErrorKind::Rewound, Some(10)));
    consumer.ack(9).unwrap();
    assert_eq!(consumer.acked_seq(), 10);
    drop(consumer);
    let known = log.consumers().unwrap();
    assert_eq!((known[0].next_seq, known[0].lag), (Some(10), 0), "{known:?}");
    let mut consumer = log.consumer("c").unwrap();
    assert_eq!(consumer.next_seq(), 10);
    assert!(consumer.try_recv().unwrap().is_none());
}

/// A live process that was stopped with the right to write slots keeps others from what needs it, with an
/// error, and not from appending.
#[test]
fn a_process_that_is_stopped_while_it_notes_stops_nobody_for_ever() {
    let dir = tempdir();
    let log = thirty(dir.path());
    let _alive = Company::join(dir.path());
    let page = log.core.home.page();
    let is_alive = |who: &usize| Seized::take(log.core.home.dir(), *who).unwrap().is_none();
    let other = (0..256).filter(|who| *who != log.core.home.participant()).find(is_alive);
    let theirs = Token::new(2, other.unwrap());
    assert!(page.begin_noting(None, theirs));
    assert_eq!(log.trim_before(5).unwrap_err().kind(), ErrorKind::LockTimeout);
    assert_eq!((append_next(&log), log.first_seq()), (30, 0));
    page.end_noting(theirs);
    assert_eq!(log.trim_before(5).unwrap(), 5);
}
