//! What retention keeps, and that readers of what it drops come to no harm.

use std::path::Path;
use std::time::{Duration, Instant};

use maplog::{ErrorKind, Log, Options, Retention};

use crate::support::{SMALL, child, open, read, segments, tempdir};

fn options(retention: Retention) -> Options {
    Log::options().segment_bytes(SMALL).retention(retention)
}

fn open_with(path: &Path, retention: Retention) -> Log {
    // SAFETY: only maplog changes the files.
    unsafe { options(retention).open(path) }.unwrap()
}

fn payload(seq: u64) -> Vec<u8> {
    seq.to_le_bytes().repeat(12)
}

fn append(log: &Log, records: u64) {
    for _ in 0..records {
        let seq = log.next_seq();
        assert_eq!(log.append(payload(seq)).unwrap(), seq);
    }
}

/// Everything that is left is there, and nothing else.
fn check(log: &Log, path: &Path) {
    for reader in [log.reader(), read(path).unwrap()] {
        assert_eq!(reader.first_seq(), log.first_seq());
        let mut seq = log.first_seq();
        for item in &reader {
            let record = item.unwrap();
            assert_eq!((record.seq(), record.data()), (seq, &payload(seq)[..]));
            seq += 1;
        }
        assert_eq!(seq, log.next_seq());
        if let Some(before) = log.first_seq().checked_sub(1) {
            assert_eq!(reader.get(before).unwrap_err().kind(), ErrorKind::Trimmed);
        }
    }
}

#[test]
fn segments_are_dropped_at_each_roll() {
    for (retention, most) in [
        (Retention::default().max_segments(3), 3),
        (Retention::default().max_bytes(5 * SMALL), 5),
        (Retention::default().max_segments(0), 1),
    ] {
        let dir = tempdir();
        let log = open_with(dir.path(), retention.clone());
        let mut seen = 0;
        for _ in 0..40 {
            append(&log, 37);
            seen = seen.max(segments(dir.path()).len());
            check(&log, dir.path());
        }
        assert_eq!(seen, most, "{retention:?}");
        let first_seq = log.first_seq();
        assert!(first_seq > 500);
        log.close().unwrap();
        let log = open(dir.path()).unwrap();
        assert!(log.recovery().clean);
        assert_eq!(log.first_seq(), first_seq);
        check(&log, dir.path());
    }
}

#[test]
fn what_is_too_much_is_dropped_at_opening_and_on_call() {
    let dir = tempdir();
    let log = open(dir.path()).unwrap();
    append(&log, 1000);
    log.close().unwrap();
    assert!(segments(dir.path()).len() > 10);
    let log = open_with(dir.path(), Retention::default().max_segments(4));
    assert_eq!(segments(dir.path()).len(), 4);
    check(&log, dir.path());
    assert_eq!(log.enforce_retention().unwrap(), log.first_seq());
    append(&log, 5);
    check(&log, dir.path());
    // Nothing that was told to be kept.
    drop(log);
    let log = open(dir.path()).unwrap();
    let first_seq = log.first_seq();
    append(&log, 500);
    assert_eq!((log.enforce_retention().unwrap(), log.first_seq()), (first_seq, first_seq));
    check(&log, dir.path());
}

#[test]
fn what_is_old_is_dropped() {
    let dir = tempdir();
    let log = open_with(dir.path(), Retention::default().max_age(Duration::from_millis(300)));
    append(&log, 300);
    let (first_seq, files) = (log.first_seq(), segments(dir.path()).len());
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(log.first_seq(), first_seq, "nobody asked");
    let left = log.enforce_retention().unwrap();
    assert!(left > 200 && left < 300, "{left}");
    assert!(files > 3 && segments(dir.path()).len() == 1);
    check(&log, dir.path());
}

/// Readers in other processes iterate over what is being dropped: each finishes or is told; nobody reads
/// a wrong byte or dies.
#[test]
fn readers_of_what_is_dropped_finish_or_are_told() {
    let dir = tempdir();
    let log = open_with(dir.path(), Retention::default().max_segments(8));
    append(&log, 1000);
    let path = dir.path().to_str().unwrap();
    let names = ["0", "1", "2", "3"];
    let role = "retention::reads_all_the_while";
    let readers = names.map(|name| child(role, &[("LOG", path), ("READER", name)]));
    let since = Instant::now();
    let had_both = || names.iter().all(|name| dir.path().join(had_both(name)).exists());
    while !had_both() || since.elapsed() < Duration::from_secs(4) {
        assert!(since.elapsed() < Duration::from_secs(120), "a reader never had both");
        append(&log, 100);
    }
    std::fs::write(dir.path().join("stop"), "").unwrap();
    let (mut finished, mut told) = (0, 0);
    for reader in readers {
        let output = reader.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{:?}: {text}", output.status);
        let line = text.lines().find_map(|line| line.strip_prefix("passes ")).unwrap();
        let (done, trimmed) = line.split_once(' ').unwrap();
        finished += done.parse::<u64>().unwrap();
        told += trimmed.parse::<u64>().unwrap();
    }
    println!("{finished} passes over what was being dropped finished, {told} were told of it");
    assert!(finished >= 4 * BOTH && told >= 4 * BOTH, "{finished} {told}");
}

/// Passes that each reader finishes, and as many that it is told of, before it may stop.
const BOTH: u64 = 3;

fn had_both(reader: &str) -> String {
    format!("had-both-{reader}")
}

#[test]
#[ignore = "a process of the test above"]
fn reads_all_the_while() {
    let path = std::path::PathBuf::from(std::env::var("LOG").unwrap());
    let had_both = path.join(had_both(&std::env::var("READER").unwrap()));
    let stop = path.join("stop");
    let (mut finished, mut told) = (0, 0);
    for passes in 0_u64.. {
        if stop.exists() {
            break;
        }
        let reader = read(&path).unwrap();
        let mut next = reader.first_seq();
        let mut trimmed = false;
        for item in &reader {
            match item {
                Ok(record) => {
                    assert!(record.seq() >= next);
                    assert!(trimmed || record.seq() == next, "records left out in silence");
                    assert_eq!(record.data(), payload(record.seq()));
                    next = record.seq() + 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Trimmed, "{error}");
                    assert!(error.seq().is_some_and(|seq| seq > next), "{error}");
                    trimmed = true;
                }
            }
            // Now and then all that it saw is dropped before it goes on.
            if passes.is_multiple_of(16) && next == reader.first_seq() + 1 {
                while !stop.exists() && read(&path).unwrap().first_seq() < reader.next_seq() {
                    std::thread::yield_now();
                }
            }
        }
        match trimmed {
            true => told += 1,
            false => finished += 1,
        }
        if finished.min(told) == BOTH {
            std::fs::write(&had_both, "").unwrap();
        }
    }
    println!("\npasses {finished} {told}");
}
