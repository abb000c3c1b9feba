//! One owner at a time, held by the kernel: other handles, other processes, children, deaths.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use maplog::{ErrorKind, Log, SyncPolicy};

use super::{append_durably, expect, payload};
use crate::concurrent::fork::{ended, start_child_of_fork};
use crate::support::{SMALL, child, open, tempdir};

#[test]
fn a_consumer_has_one_owner_in_its_process() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append_durably(&log, 10);
    let mut consumer = log.consumer("a").unwrap();
    expect(&mut consumer, 0..10);
    let again = open(home.path()).unwrap();
    assert_eq!(again.consumer("a").unwrap_err().kind(), ErrorKind::ConsumerInUse);
    let acker = consumer.acker();
    drop(consumer);
    // Who may still acknowledge owns it, too.
    assert_eq!(log.consumer("a").unwrap_err().kind(), ErrorKind::ConsumerInUse);
    acker.ack(4).unwrap();
    drop(acker);
    assert_eq!(log.consumer("a").unwrap().next_seq(), 5);
}

/// A name that is removed and made anew while others take it never has two owners: who locked a file that
/// lost its name has nothing.
#[test]
fn a_consumer_that_comes_and_goes_has_one_owner() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    let (owners, taken, removed) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    let since = Instant::now();
    let goes_on = || {
        let is_enough = taken.load(SeqCst) > 50 && removed.load(SeqCst) > 20;
        since.elapsed() < Duration::from_secs(if is_enough { 2 } else { 60 })
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while goes_on() {
                    let consumer = match log.consumer("a") {
                        Ok(consumer) => consumer,
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::ConsumerInUse, "{error}");
                            continue;
                        }
                    };
                    assert_eq!(owners.fetch_add(1, SeqCst), 0);
                    let listed = log.consumers().unwrap();
                    assert!(listed.len() == 1 && listed[0].owned, "its file has the name");
                    assert_eq!(owners.fetch_sub(1, SeqCst), 1);
                    taken.fetch_add(1, SeqCst);
                    drop(consumer);
                }
            });
        }
        for _ in 0..3 {
            scope.spawn(|| {
                while goes_on() {
                    if log.remove_consumer("a").is_ok_and(|removed| removed) {
                        removed.fetch_add(1, SeqCst);
                    }
                }
            });
        }
    });
    let (taken, removed) = (taken.into_inner(), removed.into_inner());
    println!("taken {taken} times, removed {removed} times");
    assert!(taken > 50 && removed > 20);
}

/// A process that is killed leaves nothing behind that keeps another from going on at once.
#[test]
fn a_consumer_has_one_owner_in_all_processes_until_that_dies() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append_durably(&log, 50);
    let path = home.path().to_str().unwrap();
    for round in 0..5 {
        let mut owner = child("consumers::owners::owns_it", &[("LOG", path)]);
        let mut line = String::new();
        let mut out = BufReader::new(owner.stdout.take().unwrap());
        while !line.contains("acked") {
            line.clear();
            assert!(out.read_line(&mut line).unwrap() > 0);
        }
        assert_eq!(log.consumer("a").unwrap_err().kind(), ErrorKind::ConsumerInUse);
        let listed = log.consumers().unwrap();
        assert!(listed[0].owned);
        owner.kill().unwrap();
        owner.wait().unwrap();
        let since = Instant::now();
        let consumer = log.consumer("a").unwrap();
        assert!(since.elapsed() < Duration::from_millis(200));
        assert_eq!(consumer.next_seq(), 7 * (round + 1), "what it acknowledged outlives it");
    }
}

#[test]
#[ignore = "a child"]
fn owns_it() {
    let log = open(std::env::var("LOG").unwrap()).unwrap();
    let mut consumer = log.consumer("a").unwrap();
    for _ in 0..7 {
        let seq = consumer.recv().unwrap().seq();
        consumer.ack(seq).unwrap();
    }
    writeln!(std::io::stdout(), "\nacked").unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

/// A child of `fork` neither has the consumer nor gives back its parent's.
#[test]
fn a_child_of_fork_has_no_consumer() {
    let home = tempdir();
    let mut role = child("consumers::owners::forks", &[("LOG", home.path().to_str().unwrap())]);
    assert!(role.wait().unwrap().success());
}

#[test]
#[ignore = "a process of the test above"]
fn forks() {
    let path = std::env::var("LOG").unwrap();
    let log = open(&path).unwrap();
    append_durably(&log, 20);
    let mut consumer = Some(log.consumer("a").unwrap());
    expect(consumer.as_mut().unwrap(), 0..10);
    let acker = consumer.as_ref().unwrap().acker();
    let child = start_child_of_fork(|| {
        let mut inherited = consumer.take().unwrap();
        assert_eq!(inherited.try_recv().unwrap_err().kind(), ErrorKind::Forked);
        assert_eq!(inherited.recv_batch(100).unwrap_err().kind(), ErrorKind::Forked);
        assert_eq!(inherited.ack(5).unwrap_err().kind(), ErrorKind::Forked);
        assert_eq!(inherited.sync().unwrap_err().kind(), ErrorKind::Forked);
        assert_eq!(acker.ack_one(5).unwrap_err().kind(), ErrorKind::Forked);
        assert_eq!(log.consumer("b").unwrap_err().kind(), ErrorKind::Forked);
        assert_eq!(log.remove_consumer("b").unwrap_err().kind(), ErrorKind::Forked);
        drop(inherited);
        // Its own handle sees that the parent has it.
        let mine = open(&path).unwrap();
        assert_eq!(mine.consumer("a").unwrap_err().kind(), ErrorKind::ConsumerInUse);
        expect(&mut mine.consumer("b").unwrap(), 0..20);
    });
    assert!(ended(child).success());
    let consumer = consumer.as_mut().unwrap();
    expect(consumer, 10..20);
    consumer.ack(19).unwrap();
    assert_eq!(log.consumer("a").unwrap_err().kind(), ErrorKind::ConsumerInUse);
}

/// Attack 14: what another thread was at when the process forked, a child never waits for.
#[test]
fn attack_14_a_child_of_fork_does_not_wait_for_who_acknowledges() {
    let home = tempdir();
    let path = home.path().to_str().unwrap();
    let mut role = child("consumers::owners::forks_beside_an_acker", &[("LOG", path)]);
    let since = Instant::now();
    let status = loop {
        if let Some(status) = role.try_wait().unwrap() {
            break status;
        }
        if since.elapsed() > Duration::from_secs(60) {
            role.kill().unwrap();
            panic!("a child hangs");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success());
}

#[test]
#[ignore = "a process of the test above"]
fn forks_beside_an_acker() {
    let path = std::env::var("LOG").unwrap();
    let options = Log::options().segment_bytes(SMALL).sync(SyncPolicy::Always);
    // SAFETY: only maplog changes the files.
    let log = unsafe { options.open(path) }.unwrap();
    let records = [[7; 8]; 100];
    for _ in 0..100 {
        log.append_batch(&records).unwrap();
    }
    let mut consumer = log.consumer("a").unwrap();
    while consumer.try_recv_batch(usize::MAX).unwrap().is_some() {}
    let acker = consumer.acker();
    let (acked, over) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        // Nearly all of the time it is in a sync, behind the lock.
        scope.spawn(|| {
            for seq in 0..10_000 {
                acker.ack_one(seq).unwrap();
                acked.fetch_add(1, SeqCst);
                if over.load(SeqCst) > 0 {
                    break;
                }
            }
        });
        while acked.load(SeqCst) == 0 {
            std::thread::yield_now();
        }
        for _ in 0..10 {
            let child = start_child_of_fork(|| {
                assert_eq!(consumer.ack(5).unwrap_err().kind(), ErrorKind::Forked);
                assert_eq!(consumer.ack_one(5).unwrap_err().kind(), ErrorKind::Forked);
                assert_eq!(consumer.ack_with(5, b"").unwrap_err().kind(), ErrorKind::Forked);
                assert_eq!(consumer.acker().ack(5).unwrap_err().kind(), ErrorKind::Forked);
                assert_eq!((consumer.acked_seq(), consumer.user_data()), (0, Vec::new()));
                drop(format!("{consumer:?}"));
            });
            assert!(ended(child).success());
        }
        over.store(1, SeqCst);
    });
    assert!(acked.into_inner() < 10_000, "nobody acknowledged while it forked");
}

/// Workers that are killed at any moment, beside an appending process: every record is done at least once,
/// and none again that was acknowledged.
#[test]
fn every_record_is_done_at_least_once_whoever_is_killed() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    let path = home.path().to_str().unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut done, mut acked, mut again, mut kills) = (BTreeSet::new(), 0, 0_u32, 0);
    // A kill between doing and acknowledging comes sooner or later.
    while acked < 3000 || kills < 25 || (again == 0 && kills < 500) {
        append_durably(&log, random.u64(50..300));
        let mut worker = child("consumers::owners::works", &[("LOG", path)]);
        let mut out = BufReader::new(worker.stdout.take().unwrap());
        let until = random.usize(1..400);
        let mut lines = Vec::new();
        let mut line = String::new();
        while lines.len() < until && out.read_line(&mut line).unwrap() > 0 {
            lines.push(std::mem::take(&mut line));
            if lines.last().unwrap().starts_with("idle") {
                break;
            }
        }
        worker.kill().unwrap();
        worker.wait().unwrap();
        kills += 1;
        lines.extend(out.lines().map_while(Result::ok));
        let known = acked;
        for line in &lines {
            // A line that the kill cut short says nothing.
            let words: Vec<_> = line.split_whitespace().collect();
            let [what, seq, "."] = words[..] else { continue };
            let seq: u64 = seq.parse().unwrap();
            match what {
                "done" => {
                    assert!(seq >= known, "{seq} again, though {known} were acknowledged");
                    again += u32::from(!done.insert(seq));
                }
                "acked" => acked = acked.max(seq + 1),
                _ => {}
            }
        }
        let next_seq = log.consumers().unwrap()[0].next_seq.unwrap();
        assert!(next_seq >= acked, "acknowledged up to {acked}, stored {next_seq}");
        acked = next_seq;
        assert!((0..acked).all(|seq| done.contains(&seq)), "none was left out");
    }
    println!("{acked} records done by workers with {kills} kills, {again} of them twice");
    assert!(again > 0, "a kill between doing and acknowledging never came");
}

#[test]
#[ignore = "a child"]
fn works() {
    let log = open(std::env::var("LOG").unwrap()).unwrap();
    let mut consumer = log.consumer("worker").unwrap();
    let out = std::io::stdout();
    let tell = |line: String| out.lock().write_all(line.as_bytes()).unwrap();
    tell("\n".into());
    loop {
        let Some(record) = consumer.try_recv().unwrap() else {
            tell("idle 0 .\n".into());
            std::thread::sleep(Duration::from_secs(60));
            continue;
        };
        let seq = record.seq();
        assert_eq!(record.data(), payload(seq));
        tell(format!("done {seq} .\n"));
        if seq % 3 == 0 {
            consumer.ack(seq).unwrap();
            tell(format!("acked {seq} .\n"));
        }
    }
}

/// What a process that died while making a consumer left is neither a consumer nor in the way.
#[test]
fn a_consumer_that_was_never_made_whole_is_none() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append_durably(&log, 5);
    let folder = home.path().join("consumers");
    fs::create_dir(&folder).unwrap();
    let left_over = folder.join(".next-00000000000000aa");
    fs::write(&left_over, [0; 100]).unwrap();
    assert_eq!(log.consumers().unwrap(), []);
    expect(&mut log.consumer("a").unwrap(), 0..5);
    assert_eq!(log.consumers().unwrap().len(), 1);
    log.close().unwrap();
    drop(open(home.path()).unwrap());
    assert!(!left_over.exists(), "opening removes it");
}
