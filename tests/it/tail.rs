//! Following a log as it grows, in the process that appends and in others.
#![allow(clippy::print_stderr)]

mod cuts;
mod processes;
mod waking;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use maplog::{ErrorKind, Log, Position, Tail};

use crate::support::{open, read, tempdir};

/// Longer than anything here takes, so that a test which waits for ever fails.
const LONG: Duration = Duration::from_secs(30);

/// What the record `seq` of every log here holds: its number, and as many bytes as follow from it.
fn payload(seq: u64) -> Vec<u8> {
    let more = (seq * 37 % 300) as usize;
    [&seq.to_le_bytes()[..], &vec![seq as u8; more]].concat()
}

fn append(log: &Log, records: u64) {
    for _ in 0..records {
        let seq = log.next_seq();
        assert_eq!(log.append(payload(seq)).unwrap(), seq);
    }
}

/// Receives the records of `seqs`, which must come one after the other.
fn expect(tail: &mut Tail, seqs: std::ops::Range<u64>) {
    for seq in seqs {
        let record = tail.recv_timeout(LONG).unwrap().unwrap_or_else(|| panic!("no {seq}"));
        assert_eq!(record.seq(), seq);
        assert_eq!(record.data(), payload(seq));
    }
}

fn assert_nothing(tail: &mut Tail) {
    assert!(tail.try_recv().unwrap().is_none());
}

/// Appends `seqs` in batches of one to nine records, as singles, and in place, through many rolls.
fn append_all(log: &Log, seqs: std::ops::Range<u64>) {
    let mut seq = seqs.start;
    while seq < seqs.end {
        let records: Vec<_> = (seq..(seq + 1 + seq % 9).min(seqs.end)).map(payload).collect();
        if seq.is_multiple_of(5) {
            let mut writer = log.writer().unwrap();
            for record in &records {
                let mut slot = writer.reserve(record.len()).unwrap();
                slot.copy_from_slice(record);
                slot.commit().unwrap();
            }
        } else {
            log.append_batch(&records).unwrap();
        }
        seq += records.len() as u64;
    }
}

const RECORDS: u64 = 6000;

/// G3, G4: a tail in the appending process and one with a view of its own see every record once, in order,
/// through rolls, while they are appended.
#[test]
fn tails_see_each_record_once_through_rolls() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    let other = read(home.path()).unwrap();
    thread::scope(|scope| {
        for mut tail in [log.reader().tail_from(0), other.tail_from(0)] {
            scope.spawn(move || expect(&mut tail, 0..RECORDS));
        }
        for mut tail in [log.reader().tail_from(0), other.tail_from(0)] {
            scope.spawn(move || {
                let mut next = 0;
                while next < RECORDS {
                    let batch = tail.recv_batch(1000).unwrap();
                    assert_eq!(
                        (batch.seqs().start, batch.len() as u64),
                        (next, batch.seqs().end - next)
                    );
                    assert!(!batch.seqs().is_empty());
                    let mut bytes = 0;
                    for (index, record) in batch.enumerate() {
                        assert_eq!((record.seq(), record.data()), (next, &payload(next)[..]));
                        next += 1;
                        bytes += record.data().len();
                        assert!(bytes <= 1000 || index == 0, "{bytes} bytes");
                    }
                }
            });
        }
        append_all(&log, 0..RECORDS);
    });
    assert!(log.stats().unwrap().segments > 40);
}

/// G5: who gets the first record of a batch gets the others without waiting.
#[test]
fn a_batch_is_there_whole_or_not_at_all() {
    const BATCHES: u64 = 3000;
    let home = tempdir();
    let log = open(home.path()).unwrap();
    let mut tail = read(home.path()).unwrap().tail_from(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for batch in 0..BATCHES {
                log.append_batch(&[0, 1, 2].map(|index| payload(3 * batch + index))).unwrap();
            }
        });
        for batch in 0..BATCHES {
            expect(&mut tail, 3 * batch..3 * batch + 1);
            for seq in 3 * batch + 1..3 * batch + 3 {
                let record = tail.try_recv().unwrap().expect("the rest of the batch");
                assert_eq!((record.seq(), record.data()), (seq, &payload(seq)[..]));
            }
        }
    });
}

#[test]
fn try_recv_gives_nothing_at_the_end_and_recv_timeout_waits_no_longer_than_asked() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append(&log, 3);
    let mut tail = log.reader().tail_from(1);
    expect(&mut tail, 1..3);
    for _ in 0..3 {
        assert_nothing(&mut tail);
        assert!(tail.try_recv_batch(1000).unwrap().is_none());
    }
    for timeout in [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(250)] {
        let begun = Instant::now();
        assert!(tail.recv_timeout(timeout).unwrap().is_none());
        let took = begun.elapsed();
        assert!(took >= timeout && took < timeout + Duration::from_secs(5), "{took:?}");
    }
    append(&log, 1);
    assert_eq!(tail.try_recv().unwrap().unwrap().seq(), 3);
    assert_eq!(tail.next_seq(), 4);
}

/// A sleeping tail is woken into a new segment as into any other place.
#[test]
fn a_new_segment_delays_no_record() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    let mut tail = read(home.path()).unwrap().tail_from(0);
    let mut waits: Vec<_> = (0..15)
        .map(|_| {
            thread::scope(|scope| {
                let waiting = scope.spawn(|| {
                    assert!(tail.recv_timeout(LONG).unwrap().is_some());
                    Instant::now()
                });
                // Most of them are asleep by now.
                thread::sleep(Duration::from_millis(5));
                let begun = Instant::now();
                log.append([1; 7000]).unwrap();
                waiting.join().unwrap().saturating_duration_since(begun)
            })
        })
        .collect();
    assert!(log.stats().unwrap().segments >= 15);
    waits.sort();
    assert!(waits[7] < Duration::from_millis(40), "{waits:?}");
}

#[test]
fn a_tail_may_begin_anywhere_and_is_sent_back_to_the_end_from_behind_it() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append(&log, 300);
    assert!(log.stats().unwrap().segments > 2);
    for reader in [log.reader(), read(home.path()).unwrap()] {
        for first in 0..=300 {
            let mut tail = reader.tail_from(first);
            expect(&mut tail, first..300.min(first + 2));
        }
        let next_seq = log.next_seq();
        let mut tail = reader.tail_from(next_seq + 1);
        let error = tail.try_recv().unwrap_err();
        assert_eq!((error.kind(), error.seq()), (ErrorKind::OutOfRange, Some(next_seq)));
        assert_nothing(&mut tail);
        append(&log, 1);
        expect(&mut tail, next_seq..next_seq + 1);
    }
}

/// What a tail gave may be kept behind it, also when it has left the segment.
#[test]
fn a_shared_record_outlives_the_tail_and_its_segment_s_mapping() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append(&log, 300);
    let mut kept = Vec::new();
    let mut tail = log.reader().tail_from(0);
    for _ in 0..300 {
        kept.push(tail.recv().unwrap().to_shared());
    }
    drop((tail, log));
    for (seq, record) in (0..).zip(&kept) {
        assert_eq!((record.seq(), record.data()), (seq, &payload(seq)[..]));
    }
}

#[test]
fn durable_only_gives_a_record_when_it_is_synced_and_not_before() {
    let home = tempdir();
    // SAFETY: tests change files only while no handle is alive.
    let log = unsafe { Log::options().sync(maplog::SyncPolicy::Manual).open(home.path()) }.unwrap();
    let mut tail = read(home.path()).unwrap().tail_from(0).durable_only();
    let mut every = log.reader().tail_from(0);
    append(&log, 10);
    expect(&mut every, 0..10);
    assert_nothing(&mut tail);
    assert!(tail.recv_timeout(Duration::from_millis(150)).unwrap().is_none());
    log.sync().unwrap();
    append(&log, 5);
    expect(&mut tail, 0..10);
    assert_nothing(&mut tail);
    // Asleep, it is woken by the sync and not by the append.
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            expect(&mut tail, 10..15);
            Instant::now()
        });
        thread::sleep(Duration::from_millis(30));
        append(&log, 1);
        thread::sleep(Duration::from_millis(30));
        assert!(!waiting.is_finished());
        log.sync().unwrap();
        waiting.join().unwrap();
    });
    let batch = tail.recv_batch(usize::MAX).unwrap();
    assert_eq!(batch.seqs(), 15..16);
}

/// G4: a stored position is taken up where it was, by a process that comes later.
#[test]
fn a_position_is_taken_up_where_it_was() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append(&log, 500);
    let mut tail = log.reader().tail_from(0);
    expect(&mut tail, 0..123);
    let position = tail.position();
    assert_eq!(position, Position { id: log.id(), epoch: 1, seq: 123 });
    log.close().unwrap();
    let position = Position::from_bytes(&position.to_bytes()).unwrap();
    let log = open(home.path()).unwrap();
    for reader in [log.reader(), read(home.path()).unwrap()] {
        let mut tail = reader.tail_at(&position).unwrap();
        assert_eq!(tail.position(), position);
        expect(&mut tail, 123..500);
    }
    let foreign = Position { id: [1; 16], ..position };
    let refused = log.reader().tail_at(&foreign).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Replaced);
}

/// Attack 33, G10: a tail through 1000 segments has one mapped, and a file open, at a time.
#[test]
fn attack_33_a_tail_through_a_thousand_segments_maps_one_at_a_time() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    let record = [9; 7000];
    while log.stats().unwrap().segments < 1000 {
        for _ in 0..50 {
            log.append(record).unwrap();
        }
    }
    let records = log.next_seq();
    log.close().unwrap();
    let path = fs::canonicalize(home.path()).unwrap();
    let held = || {
        let is_segment =
            |line: &str| line.contains(path.to_str().unwrap()) && line.contains(".seg");
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let files = fs::read_dir("/proc/self/fd").unwrap();
        let files = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        (
            maps.lines().filter(|line| is_segment(line)).count(),
            files.filter(|file| is_segment(file.to_str().unwrap_or_default())).count(),
        )
    };
    let mut tail = read(home.path()).unwrap().tail_from(0);
    assert_eq!(held(), (0, 0));
    let mut looks = 0;
    for seq in 0..records {
        assert_eq!(tail.recv_timeout(LONG).unwrap().unwrap().seq(), seq);
        if seq % 20 == 0 {
            assert_eq!(held(), (1, 1), "at {seq}");
            looks += 1;
        }
    }
    assert_nothing(&mut tail);
    eprintln!("{records} records of 1000 segments, {looks} looks");
}

#[test]
fn a_tail_is_sent_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Tail>();
}
