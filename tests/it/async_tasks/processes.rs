//! Tasks in processes of their own: whom they follow, the thread that waits for them, a sync that fails, a
//! child of `fork`.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use futures::{StreamExt, future};
use maplog::ErrorKind;

use super::{LONG, WOKEN, append, block_on, expect, poll_once, unsynced};
use crate::concurrent::processes::{Other, log_of_parent, say, wait_to_be_told};
use crate::strace::strace;
use crate::support::{everything, open, read, tempdir};

/// The threads of this process that wait for tasks.
fn waiters() -> Vec<PathBuf> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let is_waiter = |task: &PathBuf| {
        fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "maplog-waiter")
    };
    tasks.filter(is_waiter).collect()
}

/// A thread names itself, a moment after it was started.
fn until_waited_for() -> PathBuf {
    let begun = Instant::now();
    loop {
        match &waiters()[..] {
            [] => assert!(begun.elapsed() < LONG, "no thread waits"),
            [only] => return only.clone(),
            several => panic!("{several:?}"),
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

fn run(role: &str) {
    let home = tempdir();
    Other::start(role, home.path()).end();
}

#[test]
#[ignore = "a process of the test below"]
fn appends_when_told() {
    let log = open(log_of_parent()).unwrap();
    say("open");
    for _ in 0..30 {
        wait_to_be_told();
        append(&log, 1);
    }
}

/// The writer is another process, and its append wakes the task.
#[test]
fn a_stream_follows_another_process() {
    let home = tempdir();
    let mut other = Other::start("async_tasks::processes::appends_when_told", home.path());
    other.wait_for("open");
    let mut stream = read(home.path()).unwrap().tail_from(0).into_stream();
    let mut waits: Vec<_> = (0..30)
        .map(|seq| {
            assert!(poll_once(&mut stream.next()).is_pending());
            let begun = Instant::now();
            other.tell();
            block_on(expect(&mut stream, seq..seq + 1));
            begun.elapsed()
        })
        .collect();
    waits.sort();
    assert!(waits[15] < WOKEN, "{waits:?}");
    other.end();
}

#[test]
fn one_thread_waits_for_all_tasks() {
    run("async_tasks::processes::counts_its_threads");
}

#[test]
#[ignore = "a process of the test above"]
fn counts_its_threads() {
    let (log, other) = (unsynced(&log_of_parent()), tempdir());
    let other = unsynced(other.path());
    let before = threads();
    for round in 0..2 {
        assert_eq!((waiters().len(), threads()), (0, before), "nobody waits");
        let mut streams = [&log, &other, &log, &other].map(|log| {
            let reader = read(log.path()).unwrap();
            let tail = reader.tail_from(reader.next_seq());
            tail.into_stream()
        });
        let seq = log.next_seq();
        let mut futures: Vec<_> = (0..100).map(|more| log.durable(seq + more % 2)).collect();
        assert!(futures.iter_mut().all(|future| poll_once(future).is_pending()));
        let wait_for_all = async {
            let records = future::join_all(streams.iter_mut().map(StreamExt::next));
            future::join(records, future::join_all(futures)).await
        };
        let (records, positions) = thread::scope(|scope| {
            let waiting = scope.spawn(|| block_on(wait_for_all));
            thread::sleep(Duration::from_millis(30));
            assert_keeps_signals_out(&until_waited_for());
            assert_eq!(threads(), before + 2, "one beside the test's own");
            append(&log, 2);
            append(&other, 2);
            log.sync().unwrap();
            waiting.join().unwrap()
        });
        assert!(records.into_iter().all(|record| record.unwrap().unwrap().seq() == 2 * round));
        assert!(positions.into_iter().all(|position| position.unwrap() == seq + 2));
        let begun = Instant::now();
        while threads() > before {
            assert!(begun.elapsed() < LONG, "it stays, though nobody waits");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn assert_keeps_signals_out(task: &std::path::Path) {
    let status = fs::read_to_string(task.join("status")).unwrap();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
    let blocked = u64::from_str_radix(blocked, 16).unwrap();
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGALRM, libc::SIGCHLD, libc::SIGUSR1] {
        assert!(blocked & 1 << (signal - 1) != 0, "{signal} in {blocked:x}");
    }
}

/// G8: who waits for durability hears that there will be none; what was durable before stays so.
#[test]
fn who_waits_for_a_sync_that_fails_is_told() {
    let dir = tempdir();
    let log = dir.path().join("log");
    // The first is that of the new segment's header, the second that of the first sync.
    let calls =
        ["-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=3"];
    let Some(done) = strace(&calls, "async_tasks::processes::waits_for_a_sync_that_fails", &log)
    else {
        return;
    };
    assert!(done.status.success(), "{done:?}");
    assert_eq!(everything(&read(&log).unwrap()).records.len(), 2);
}

#[test]
#[ignore = "a process of the test above"]
fn waits_for_a_sync_that_fails() {
    let path = PathBuf::from(std::env::var("LOG").unwrap());
    let log = unsynced(&path);
    append(&log, 1);
    log.sync().unwrap();
    append(&log, 1);
    let mut records = log.reader().tail_from(2).into_stream();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| block_on(log.durable(1)));
        thread::sleep(Duration::from_millis(30));
        assert!(poll_once(&mut records.next()).is_pending());
        assert_eq!(log.sync().unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(waiting.join().unwrap().unwrap_err().kind(), ErrorKind::Poisoned);
    });
    assert_eq!(block_on(log.durable(1)).unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(block_on(log.durable(0)).unwrap(), 1);
    // To who reads it is no error: a later opening goes on.
    assert!(poll_once(&mut records.next()).is_pending());
}

#[test]
fn a_child_of_fork_waits_by_itself() {
    run("async_tasks::processes::forks_while_it_waits");
}

#[test]
#[ignore = "a process of the test above"]
fn forks_while_it_waits() {
    let log = unsynced(&log_of_parent());
    let mut stream = read(log.path()).unwrap().tail_from(0).into_stream();
    let mut future = log.durable(0);
    assert!(poll_once(&mut stream.next()).is_pending());
    assert!(poll_once(&mut future).is_pending());
    until_waited_for();
    let child = crate::concurrent::fork::start_child_of_fork(|| {
        assert_eq!(waiters().len(), 0);
        assert_eq!(block_on(future).unwrap_err().kind(), ErrorKind::Forked);
        block_on(expect(&mut stream, 0..3));
        until_waited_for();
    });
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(30));
        append(&log, 1);
    }
    assert!(crate::concurrent::fork::ended(child).success());
}
