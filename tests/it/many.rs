//! Many processes, each with many threads, append to one log while others read it live and one process
//! a second is killed: G1, G4, G5, G10.
//!
//! `MAPLOG_MANY_SECONDS` and `MAPLOG_MANY_RECORDS` say how long it goes on, at least.

mod check;
mod processes;
mod together;

use std::time::{Duration, Instant};

use check::{Told, check};
use processes::{Crowd, signal};

use crate::support::tempdir;

const THREADS: usize = 4;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}

/// Every record that was returned is there once, in one order that all readers saw alike.
fn finish(crowd: Crowd, what: &str) -> u64 {
    let (home, digests) = crowd.finish();
    let told = Told::read(home.path());
    let checked = check(home.path(), &told);
    assert!(!digests.is_empty());
    for digest in digests {
        assert_eq!(digest, checked.digest, "{what}: a reader saw something else");
    }
    println!(
        "{what}: {} records, {} of them told of, {} segments",
        checked.records, checked.told, checked.segments
    );
    checked.records
}

#[test]
fn eight_processes_append_while_one_a_second_is_killed() {
    let seconds = setting("MAPLOG_MANY_SECONDS", 8);
    let wanted = setting("MAPLOG_MANY_RECORDS", 20_000);
    let mut crowd = Crowd::start(tempdir(), 8, THREADS, 4);
    let since = Instant::now();
    let mut kills = 0;
    let mut longest = Duration::ZERO;
    while since.elapsed() < Duration::from_secs(seconds) || crowd.records() < wanted {
        std::thread::sleep(Duration::from_secs(1));
        let (killed, before) = (Instant::now(), crowd.records());
        crowd.kill_one();
        kills += 1;
        while crowd.records() == before {
            assert!(killed.elapsed() < Duration::from_secs(60), "it stands still");
            std::thread::sleep(Duration::from_millis(1));
        }
        longest = longest.max(killed.elapsed());
        assert!(since.elapsed() < Duration::from_secs(10 * seconds + 60), "it stands still");
    }
    let what = format!("8 processes, 4 readers, {kills} kills, after which {longest:?} at most");
    let records = finish(crowd, &what);
    assert!(records >= wanted, "{records}");
}

/// Attack 35: the process that holds the lock is stopped. The others wait, as long as it takes, and
/// nothing overlaps.
#[test]
fn a_stopped_owner_of_the_lock_loses_nothing_and_overlaps_nothing() {
    let mut crowd = Crowd::start(tempdir(), 3, THREADS, 1);
    let owner = crowd.stop_the_owner();
    let before = crowd.records();
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(crowd.records(), before, "somebody took the lock from a process that lives");
    signal(owner, libc::SIGCONT);
    let since = Instant::now();
    while crowd.records() < before + 10_000 {
        assert!(since.elapsed() < Duration::from_secs(60), "nobody goes on");
        std::thread::sleep(Duration::from_millis(10));
    }
    finish(crowd, "a stopped owner");
}
