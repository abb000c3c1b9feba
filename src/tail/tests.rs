//! Writers that die between two stores while a tail sleeps (attack 28), and poison.
#![allow(clippy::print_stderr, clippy::print_stdout)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::hook::KILL_AT;
use crate::wake::Awaited;
use crate::{Log, Reader};

const LOG: &str = "MAPLOG_TEST_LOG";

fn tempdir() -> TempDir {
    let target = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    tempfile::tempdir_in(target).unwrap()
}

#[allow(unsafe_code)]
fn open(path: &Path) -> Log {
    // SAFETY: only maplog changes the files.
    unsafe { Log::options().sync(crate::SyncPolicy::Manual).open(path).unwrap() }
}

#[allow(unsafe_code)]
fn read(path: &Path) -> Reader {
    // SAFETY: as for `open`.
    unsafe { Reader::open(path).unwrap() }
}

#[test]
#[ignore = "a child of the test below"]
fn child() {
    let log = open(Path::new(&std::env::var(LOG).unwrap()));
    log.append("the first").unwrap();
    println!("\nopen");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    log.append("the last").unwrap();
    unreachable!("it was to die in its second append");
}

fn start(log: &Path, hook: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tail::tests::child", "--ignored", "--nocapture"])
        .env(LOG, log)
        .env(KILL_AT, hook)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("open") {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "the child ended");
    }
    // The pipe stays open, lest the child meet its end.
    thread::spawn(move || drop(output.read_to_end(&mut Vec::new())));
    child
}

/// Waits until a tail of this log waits for `what`.
fn until_awaited(log: &Path, what: Awaited) {
    let wake = read(log).site().wake().unwrap().unwrap();
    let begun = Instant::now();
    while !wake.is_awaited(what) {
        assert!(begun.elapsed() < LONG, "nobody waits for {what:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

const LONG: Duration = Duration::from_secs(30);

/// Attack 28: the writer dies between commit and swap, or between swap and wake; the sleeping reader
/// has the record within 200 ms. A mark comes before the first record, so the last is the third frame.
#[test]
fn attack_28_a_reader_asleep_outlives_the_writer_that_was_to_wake_it() {
    let mut longest = Duration::ZERO;
    for hook in ["append.published:3", "append.end_stored:3", "wake.swapped:1"] {
        for delay in [0, 20, 45, 70, 90] {
            let dir = tempdir();
            let mut writer = start(dir.path(), hook);
            let mut tail = read(dir.path()).tail_from(1);
            thread::scope(|scope| {
                let waiting = scope.spawn(|| {
                    let record = tail.recv_timeout(LONG).unwrap().expect("the last record");
                    assert_eq!((record.seq(), record.data()), (1, &b"the last"[..]));
                    Instant::now()
                });
                until_awaited(dir.path(), Awaited::Records);
                // At different moments of its sleep of 100 ms.
                thread::sleep(Duration::from_millis(delay));
                writer.stdin.take().unwrap().write_all(b"go on\n").unwrap();
                let status = writer.wait().unwrap();
                let died = Instant::now();
                let signal = std::os::unix::process::ExitStatusExt::signal(&status);
                assert_eq!(signal, Some(9), "{hook}");
                let took = waiting.join().unwrap().saturating_duration_since(died);
                assert!(took < Duration::from_millis(200), "{hook}: {took:?}");
                longest = longest.max(took);
            });
            // What the tail gave is what recovery keeps.
            assert_eq!(open(dir.path()).next_seq(), 2);
        }
    }
    eprintln!("15 deaths, the longest wait {longest:?}");
}

/// An append wakes who sleeps; it does not have to wait for the limit of its sleep.
#[test]
fn a_sleeping_tail_is_woken_by_an_append() {
    let dir = tempdir();
    let log = open(dir.path());
    let mut tail = read(dir.path()).tail_from(0).spin(Duration::ZERO);
    let mut waits: Vec<_> = (0..15)
        .map(|_| {
            thread::scope(|scope| {
                let waiting = scope.spawn(|| {
                    tail.recv_timeout(LONG).unwrap().expect("a record");
                    Instant::now()
                });
                until_awaited(dir.path(), Awaited::Records);
                let begun = Instant::now();
                log.append("wake up").unwrap();
                let waited = waiting.join().unwrap().saturating_duration_since(begun);
                let wake = log.reader().site().wake().unwrap().unwrap();
                assert!(!wake.is_awaited(Awaited::Records), "the append did not look who waits");
                waited
            })
        })
        .collect();
    waits.sort();
    assert!(waits[7] < Duration::from_millis(40), "{waits:?}");
}

/// A failed sync wakes all who wait, for records as for the durable position; the tails go on waiting,
/// and have what the next opening makes of it.
#[test]
fn poison_wakes_who_waits() {
    let dir = tempdir();
    let log = open(dir.path());
    log.append("the first").unwrap();
    let mut tail = read(dir.path()).tail_from(0).durable_only();
    let wake = read(dir.path()).site().wake().unwrap().unwrap();
    for what in [Awaited::Records, Awaited::Durable] {
        let announced = wake.announce(what);
        assert!(wake.is_awaited(what));
        let home = &log.core.home;
        let _poisoned = home.poison("syncing", std::io::Error::from_raw_os_error(libc::EIO));
        assert!(!wake.is_awaited(what), "{what:?}");
        let begun = Instant::now();
        announced.sleep(LONG);
        assert!(begun.elapsed() < Duration::from_millis(90), "{what:?}: {:?}", begun.elapsed());
    }
    assert!(log.sync().is_err());
    assert!(tail.recv_timeout(Duration::from_millis(10)).unwrap().is_none());
    thread::scope(|scope| {
        let waiting =
            scope.spawn(|| tail.recv_timeout(LONG).unwrap().expect("the first").data().to_vec());
        until_awaited(dir.path(), Awaited::Durable);
        drop(log);
        let log = open(dir.path());
        assert_eq!((log.recovery().copied, log.durable_seq()), (1, 1));
        assert_eq!(waiting.join().unwrap(), b"the first");
    });
}
