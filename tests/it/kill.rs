//! SIGKILL: a child appends and says through a pipe what was acknowledged; it is killed at a random
//! moment, and whatever it said must be there.
//!
//! `MAPLOG_KILLS=5000` kills that many children in place of 70.
#![allow(clippy::print_stderr)]

mod appender;

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use maplog::{Log, Reader};

use crate::support::{child, open, read, tempdir};

use appender::Word;

const KILLS: u64 = 70;
const KINDS: u64 = 7;
/// Each log is killed so often, one child after the other.
const LIVES: u64 = 10;

/// G1, G4: one thread appends record by record.
#[test]
fn what_one_thread_was_told_survives_sigkill() {
    kill_often("single", 1);
}

/// G1, G4: four threads append; numbers are dense in one order.
#[test]
fn what_four_threads_were_told_survives_sigkill() {
    kill_often("single", 4);
}

/// G5: batches of two threads are there whole or not at all.
#[test]
fn batches_are_whole_after_sigkill() {
    kill_often("batch", 2);
}

/// G1: records written in place, among reservations that are given up.
#[test]
fn committed_reservations_survive_sigkill_and_dropped_ones_leave_nothing() {
    kill_often("reserve", 2);
}

/// G1: everything at once, with syncs.
#[test]
fn all_ways_to_append_with_syncs_survive_sigkill() {
    kill_often("mixed", 4);
}

/// G1, G4, G10: a reader in another process goes on through the writer's death, sees at once whatever
/// was acknowledged, and never sees less than before.
#[test]
fn a_reader_goes_on_through_sigkill_and_recovery() {
    let home = tempdir();
    let mut life = Life::new(home.path().join("log"));
    for _ in 0..lives() {
        let appending = Appending::start(&life, "mixed", 3);
        appending.wait_until_ready();
        let dead = AtomicBool::new(false);
        let (told, mut reader, count) = thread::scope(|scope| {
            let following = scope.spawn(|| follow(&life, &dead));
            thread::sleep(a_moment());
            let told = appending.kill();
            dead.store(true, Ordering::Release);
            let (reader, count) = following.join().unwrap();
            (told, reader, count)
        });
        life.check_told(&told, &contents(&reader));
        let log = life.check_and_go_on(&told, true);
        assert!(count <= log.next_seq());
        let before = reader.next_seq();
        reader.refresh().unwrap();
        assert!(before < reader.next_seq() && reader.next_seq() == log.next_seq());
        log.close().unwrap();
        life.number += 1;
    }
}

/// G1: killed while it opens, recovers, creates or makes its first appends. Whether the page was live
/// is not asked here: it may have been killed before it was.
#[test]
fn killed_while_it_opens() {
    let home = tempdir();
    let mut life = Life::new(home.path().join("log"));
    for _ in 0..lives() {
        let appending = Appending::start(&life, "mixed", 2);
        thread::sleep(Duration::from_micros(fastrand::u64(0..12_000)));
        let told = appending.kill();
        let log = life.check_and_go_on(&told, false);
        // The next child finds the log closed, or as another death left it.
        if life.number.is_multiple_of(2) {
            log.close().unwrap();
        } else {
            drop(log);
        }
        life.number += 1;
    }
}

fn lives() -> u64 {
    std::env::var("MAPLOG_KILLS").map_or(KILLS, |kills| kills.parse().unwrap()).div_ceil(KINDS)
}

fn kill_often(how: &str, threads: u32) {
    let mut left = lives();
    let mut records = 0;
    while left > 0 {
        let home = tempdir();
        let mut life = Life::new(home.path().join("log"));
        for _ in 0..left.min(LIVES) {
            let appending = Appending::start(&life, how, threads);
            appending.wait_until_ready();
            thread::sleep(a_moment());
            let told = appending.kill();
            let log = life.check_and_go_on(&told, true);
            log.close().unwrap();
            let log = open(&life.path).unwrap();
            assert!(log.recovery().clean, "{:?}", log.recovery());
            life.check_told(&told, &contents(&log.reader()));
            records += told.len();
            left -= 1;
            life.number += 1;
            if life.number.is_multiple_of(2) {
                // The next child opens a log that was opened and closed without an append.
                log.close().unwrap();
            }
        }
    }
    eprintln!("{how}, {threads} threads: {records} acknowledged records, all there");
}

fn a_moment() -> Duration {
    Duration::from_micros(fastrand::u64(0..15_000))
}

/// The records of a view, which are whole and dense from 0.
fn contents(reader: &Reader) -> Vec<Word> {
    let words: Vec<_> = (0..)
        .zip(reader)
        .map(|(seq, item)| {
            let record = item.unwrap();
            assert_eq!(record.seq(), seq);
            Word::of_payload(record.data()).unwrap_or_else(|| panic!("{record:?} was not appended"))
        })
        .collect();
    assert_eq!(words.len() as u64, reader.next_seq());
    words
}

/// One log through the deaths of its writers.
struct Life {
    path: PathBuf,
    number: u64,
}

impl Life {
    fn new(path: PathBuf) -> Self {
        Life { path, number: 0 }
    }

    fn check_and_go_on(&self, told: &[(u64, Word)], page_was_live: bool) -> Log {
        let before = read(&self.path).map(|reader| contents(&reader));
        let log = open(&self.path).unwrap();
        let found = log.recovery();
        assert!(found.lost.is_empty() && found.cut.is_none(), "{found:?}");
        assert!(found.live || !page_was_live, "{found:?}");
        assert!(!found.clean || told.is_empty(), "{found:?}");
        let words = contents(&log.reader());
        if let Ok(before) = before {
            // A reader goes by the page, recovery by the frames: who held the append lock when it
            // died may have published without saying so.
            let news = words.strip_prefix(&before[..]).expect("as readers saw it before recovery");
            assert!(news.is_empty() || news[0].of as usize == news.len(), "{news:?}");
        }
        self.check_told(told, &words);
        self.check_order(&words);
        for count in 0..20 {
            let word = Word { life: self.number, thread: u32::MAX, count, index: 0, of: 1 };
            assert_eq!(log.append(word.payload()).unwrap(), words.len() as u64 + count);
        }
        self.check_told(told, &contents(&log.reader()));
        log
    }

    fn check_told(&self, told: &[(u64, Word)], words: &[Word]) {
        for (seq, word) in told {
            assert_eq!(words.get(*seq as usize), Some(word), "record {seq} was acknowledged");
        }
    }

    /// Each thread's appends are there in its order, each once, none left out, batches whole.
    fn check_order(&self, words: &[Word]) {
        let mut counts = HashMap::new();
        let mut rest = words;
        while let [first, ..] = rest {
            let (batch, behind) = rest.split_at_checked(first.of as usize).expect("half a batch");
            for (word, index) in batch.iter().zip(0..) {
                assert_eq!(*word, Word { index, ..*first }, "batches are whole");
            }
            let next: &mut u64 = counts.entry((first.life, first.thread)).or_default();
            assert_eq!(first.count, *next, "life {} thread {}", first.life, first.thread);
            *next += 1;
            rest = behind;
        }
    }
}

/// A child that appends until it is killed.
struct Appending {
    child: Child,
    told: Receiver<Option<(u64, Word)>>,
}

impl Appending {
    fn start(life: &Life, how: &str, threads: u32) -> Self {
        let mut child = child(
            "kill::appender::appends_until_it_is_killed",
            &[
                ("MAPLOG_TEST_LOG", life.path.to_str().unwrap()),
                ("MAPLOG_TEST_HOW", how),
                ("MAPLOG_TEST_THREADS", &threads.to_string()),
                ("MAPLOG_TEST_LIFE", &life.number.to_string()),
            ],
        );
        let output = BufReader::new(child.stdout.take().unwrap());
        let (tell, told) = channel();
        thread::spawn(move || {
            for line in output.lines() {
                let line = line.unwrap();
                let said = line.strip_prefix("told ").map(|said| {
                    let (seq, word) = said.split_once(' ').unwrap();
                    (seq.parse().unwrap(), Word::of_fields(word).unwrap())
                });
                if said.is_some() || line == "ready" {
                    let _the_test_may_have_failed = tell.send(said);
                }
            }
        });
        Appending { child, told }
    }

    fn wait_until_ready(&self) {
        assert_eq!(self.told.recv_timeout(Duration::from_secs(60)).unwrap(), None);
    }

    /// Gives what it had said when it died.
    fn kill(mut self) -> Vec<(u64, Word)> {
        assert_eq!(self.child.try_wait().unwrap(), None, "died by itself");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.told.iter().flatten().collect()
    }
}

impl Drop for Appending {
    fn drop(&mut self) {
        let _dead_already = self.child.kill();
        let _waited_for_already = self.child.wait();
    }
}

/// Follows the log until its writer is dead and nothing new comes; gives how many records it saw.
fn follow(life: &Life, dead: &AtomicBool) -> (Reader, u64) {
    let mut reader = read(&life.path).unwrap();
    let mut next_seq = 0;
    let mut words = Vec::new();
    loop {
        let was_dead = dead.load(Ordering::Acquire);
        reader.refresh().unwrap();
        assert!(reader.next_seq() >= next_seq, "{} after {next_seq}", reader.next_seq());
        for item in reader.range(next_seq..) {
            let record = item.unwrap();
            assert_eq!(record.seq(), next_seq);
            words.push(Word::of_payload(record.data()).expect("a record, whole"));
            next_seq += 1;
        }
        assert_eq!(next_seq, reader.next_seq());
        if was_dead {
            life.check_order(&words);
            return (reader, next_seq);
        }
    }
}
