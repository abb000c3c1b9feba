//! Many threads on one log, and what keeps a second process out.
#![allow(clippy::print_stderr)]

pub mod fork;
pub mod processes;

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use maplog::{ErrorKind, Log, Reader};

use crate::support::{SMALL, everything, open, read, tempdir};

const THREADS: u32 = 4;
const APPENDS: u32 = 1500;

/// Thread and count at the start; the rest follows from them.
fn payload(thread: u32, count: u32) -> Vec<u8> {
    let mut payload = [thread.to_le_bytes(), count.to_le_bytes()].concat();
    let more = thread.wrapping_mul(31).wrapping_add(count * 7) % 190;
    payload.extend((0..more).map(|at| (at ^ count ^ thread) as u8));
    payload
}

fn thread_and_count(data: &[u8]) -> (u32, u32) {
    let number = |at| u32::from_le_bytes(data[at..at + 4].try_into().unwrap());
    let (thread, count) = (number(0), number(4));
    assert!(data == payload(thread, count), "not what thread {thread} appended as {count}");
    (thread, count)
}

/// Appends `APPENDS` records, in all ways there are.
fn append_all(log: &Log, thread: u32) {
    let mut count = 0;
    while count < APPENDS {
        let next: Vec<_> = (count..(count + 4).min(APPENDS)).map(|n| payload(thread, n)).collect();
        match count / 4 % 4 {
            0 => next.iter().for_each(|one| {
                log.append(one).unwrap();
            }),
            1 => drop(log.append_batch(&next).unwrap()),
            2 => {
                let mut writer = log.writer().unwrap();
                next.iter().for_each(|one| {
                    writer.append(one).unwrap();
                });
            }
            _ => {
                let mut writer = log.writer().unwrap();
                for one in &next {
                    let _given_up = writer.reserve(one.len() + 30).unwrap();
                    let mut slot = writer.reserve(one.len()).unwrap();
                    slot.copy_from_slice(one);
                    slot.commit().unwrap();
                }
            }
        }
        count += next.len() as u32;
        if count % 400 == 0 {
            log.sync().unwrap();
        }
    }
}

/// Reads until everyone is done appending; gives all records in the order it saw them.
fn read_all(log: &Log, done: &AtomicBool, own: bool) -> Vec<(u32, u32)> {
    let take = || if own { log.reader() } else { read(log.path()).unwrap() };
    let mut reader = take();
    let mut seen = Vec::new();
    let mut durable_seq = 0;
    for turn in 0.. {
        let was_done = done.load(Ordering::Acquire);
        if turn % 50 == 0 {
            reader = take();
        }
        reader.refresh().unwrap();
        assert!(reader.next_seq() >= seen.len() as u64, "next_seq went back");
        assert!(durable_seq <= reader.durable_seq() && reader.durable_seq() <= reader.next_seq());
        durable_seq = reader.durable_seq();
        for item in reader.range(seen.len() as u64..) {
            let record = item.unwrap();
            assert_eq!(record.seq(), seen.len() as u64);
            seen.push(thread_and_count(record.data()));
        }
        assert_eq!(seen.len() as u64, reader.next_seq());
        if was_done {
            break;
        }
    }
    seen
}

/// G3, G4, G10: records are whole or not there, dense, in one order for all, and a view never goes back.
#[test]
fn readers_see_whole_records_in_one_order_while_four_threads_append() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    let done = AtomicBool::new(false);
    let orders: Vec<_> = thread::scope(|scope| {
        let (log, done) = (&log, &done);
        let reading: Vec<_> =
            (0..THREADS).map(|n| scope.spawn(move || read_all(log, done, n % 2 == 0))).collect();
        let appending: Vec<_> =
            (0..THREADS).map(|n| scope.spawn(move || append_all(log, n))).collect();
        let appended: Vec<_> = appending.into_iter().map(|thread| thread.join()).collect();
        done.store(true, Ordering::Release);
        appended.into_iter().for_each(Result::unwrap);
        reading.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for order in &orders {
        assert!(order == &orders[0], "two readers saw two orders");
    }
    for thread in 0..THREADS {
        let mine = orders[0].iter().filter(|(of, _)| *of == thread).map(|(_, count)| *count);
        assert!(mine.eq(0..APPENDS), "thread {thread} appended in another order");
    }
    assert_eq!(orders[0].len() as u64, log.next_seq());
    assert!(log.stats().unwrap().segments > 50);
}

/// A view keeps what it had, whoever appends meanwhile.
#[test]
fn a_fixed_view_stays_while_others_append() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    for count in 0..100 {
        log.append(payload(9, count)).unwrap();
    }
    let reader = log.reader();
    thread::scope(|scope| {
        let appending = scope.spawn(|| append_all(&log, 0));
        for _ in 0..30 {
            let records = everything(&reader).records;
            assert!(
                records.iter().map(|(_, data)| thread_and_count(data)).eq((0..100).map(|n| (9, n)))
            );
        }
        appending.join().unwrap();
    });
    assert_eq!((reader.next_seq(), log.next_seq()), (100, 100 + u64::from(APPENDS)));
}

#[test]
fn who_holds_the_writer_appends_without_others_between() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    let mut writer = log.writer().unwrap();
    let (started, starts) = channel();
    thread::scope(|scope| {
        let others: Vec<_> = (0..3)
            .map(|_| {
                let (log, started) = (&log, started.clone());
                scope.spawn(move || {
                    assert!(log.try_writer().unwrap().is_none());
                    started.send(()).unwrap();
                    log.append("waited").unwrap()
                })
            })
            .collect();
        starts.iter().take(3).for_each(drop);
        for seq in 0..20 {
            assert_eq!(writer.append("mine").unwrap(), seq);
            thread::sleep(Duration::from_millis(2));
        }
        drop(writer);
        let mut seqs: Vec<_> = others.into_iter().map(|other| other.join().unwrap()).collect();
        seqs.sort_unstable();
        assert_eq!(seqs, [20, 21, 22]);
    });
    assert!(log.try_writer().unwrap().is_some());
}

#[test]
fn a_thread_beside_its_own_writer_gets_deadlock_and_not_a_hang() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    let again = open(home.path()).unwrap();
    let mut writer = log.writer().unwrap();
    for log in [&log, &again] {
        let errors = [
            log.append("x").unwrap_err(),
            log.append_batch(&["x", "y"]).unwrap_err(),
            log.writer().unwrap_err(),
            log.try_writer().unwrap_err(),
        ];
        assert!(errors.iter().all(|error| error.kind() == ErrorKind::Deadlock), "{errors:?}");
    }
    assert_eq!(writer.append("through it").unwrap(), 0);
    assert_eq!(log.sync().unwrap(), 1, "syncing needs no append lock");
    assert_eq!(writer.finish().unwrap(), 1);
    assert_eq!(log.append("x").unwrap(), 1);

    let other = tempdir();
    let other = open(other.path()).unwrap();
    let _held = log.writer().unwrap();
    assert_eq!(other.append("another log").unwrap(), 0);
}

#[test]
fn two_opens_in_one_process_are_one_log() {
    let home = tempdir();
    let path = home.path().join("log");
    let one = open(&path).unwrap();
    std::os::unix::fs::symlink(&path, home.path().join("link")).unwrap();
    // SAFETY: only maplog touches the directory.
    let two =
        unsafe { Log::options().segment_bytes(4 * SMALL).open(home.path().join("link")) }.unwrap();
    assert_eq!((one.id(), one.max_record()), (two.id(), two.max_record()));
    assert_eq!(one.append("one").unwrap(), 0);
    assert_eq!(two.append("two").unwrap(), 1);
    assert_eq!((one.next_seq(), two.next_seq()), (2, 2));
    assert_eq!(one.reader().get(1).unwrap().unwrap().data(), b"two");
    one.close().unwrap();
    assert_eq!(two.append("still open").unwrap(), 2);
    two.close().unwrap();
    let log = open(&path).unwrap();
    assert!(log.recovery().clean);
    assert_eq!(log.next_seq(), 3);
}

/// Opening meets neither this process's own lock nor a log that another thread is closing.
#[test]
fn opening_and_closing_from_many_threads_is_never_in_use() {
    let home = tempdir();
    let turns = AtomicU32::new(0);
    let together = Barrier::new(6);
    thread::scope(|scope| {
        for number in 0..6_u32 {
            let (home, turns, together) = (home.path(), &turns, &together);
            scope.spawn(move || {
                together.wait();
                for turn in 0..40 {
                    let log = open(home).unwrap();
                    log.append(payload(number, turn)).unwrap();
                    turns.fetch_add(1, Ordering::Relaxed);
                    if number == 0 && turn % 8 == 4 {
                        // Longer than an opener waits for a lock that somebody holds.
                        thread::sleep(Duration::from_millis(250));
                    }
                    match (number + turn) % 3 {
                        0 => log.close().unwrap(),
                        1 => drop(log),
                        _ => drop((log.clone(), log.reader(), log)),
                    }
                }
            });
        }
    });
    let log = open(home.path()).unwrap();
    let seen: Vec<_> =
        log.reader().iter().map(|item| thread_and_count(item.unwrap().data())).collect();
    assert_eq!(seen.len(), 240);
    assert_eq!(turns.into_inner(), 240);
    for thread in 0..6 {
        assert!(seen.iter().filter(|(of, _)| *of == thread).map(|(_, n)| *n).eq(0..40));
    }
}

/// One reader and its records on many threads.
#[test]
fn one_reader_serves_many_threads() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append_all(&log, 0);
    let reader: Reader = log.reader();
    drop(log);
    let lent: Vec<_> = thread::scope(|scope| {
        let reading: Vec<_> = (0..4)
            .map(|n| {
                let reader = &reader;
                scope.spawn(move || {
                    for count in 0..APPENDS {
                        let record = reader.get(u64::from(count)).unwrap().unwrap();
                        assert_eq!(thread_and_count(record.data()), (0, count));
                    }
                    reader.get(n * 300).unwrap().unwrap().to_shared()
                })
            })
            .collect();
        reading.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    drop(reader);
    drop(home);
    for (record, n) in lent.iter().zip(0..) {
        assert_eq!(thread_and_count(record), (0, n * 300));
    }
}
