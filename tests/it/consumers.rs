//! Durable named cursors: at least once, one owner, nothing passed over in silence.

mod cuts;
mod files;
mod owners;
mod space;

use std::path::Path;
use std::time::Duration;

use maplog::{Consumer, ErrorKind, Log, SyncPolicy};

use crate::support::{SMALL, open, tempdir};

const LONG: Duration = Duration::from_secs(30);

fn payload(seq: u64) -> Vec<u8> {
    let more = (seq * 29 % 200) as usize;
    [&seq.to_le_bytes()[..], &vec![seq as u8; more]].concat()
}

fn append(log: &Log, records: u64) {
    for _ in 0..records {
        let seq = log.next_seq();
        assert_eq!(log.append(payload(seq)).unwrap(), seq);
    }
}

fn append_durably(log: &Log, records: u64) {
    append(log, records);
    log.sync().unwrap();
}

/// Receives the records of `seqs`, which must come one after the other.
fn expect(consumer: &mut Consumer, seqs: std::ops::Range<u64>) {
    for seq in seqs {
        let record = consumer.recv_timeout(LONG).unwrap().unwrap_or_else(|| panic!("no {seq}"));
        assert_eq!((record.seq(), record.data()), (seq, &payload(seq)[..]));
    }
}

fn assert_nothing(consumer: &mut Consumer) {
    assert!(consumer.try_recv().unwrap().is_none());
}

fn open_manual(path: &Path) -> Log {
    // SAFETY: tests change files only while no handle is alive.
    unsafe { Log::options().segment_bytes(SMALL).sync(SyncPolicy::Manual).open(path) }.unwrap()
}

#[test]
fn a_consumer_goes_on_behind_what_it_acknowledged() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append_durably(&log, 500);
    for (acked, given) in [(0, 10), (99, 120), (99, 99), (480, 500)] {
        let mut consumer = log.consumer("billing").unwrap();
        assert_eq!(consumer.next_seq(), consumer.acked_seq());
        let next_seq = consumer.next_seq();
        expect(&mut consumer, next_seq..given);
        if acked > 0 {
            consumer.ack(acked - 1).unwrap();
        }
        assert_eq!(consumer.acked_seq(), acked);
    }
    let mut another = log.consumer("audit").unwrap();
    expect(&mut another, 0..500);
    let log_again = open(home.path()).unwrap();
    drop((log, another));
    let mut consumer = log_again.consumer("billing").unwrap();
    expect(&mut consumer, 480..500);
    assert_nothing(&mut consumer);
}

#[test]
fn records_are_given_in_all_the_ways_of_a_tail() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append_durably(&log, 100);
    let mut consumer = log.consumer("a").unwrap().spin(Duration::ZERO);
    assert_eq!(consumer.recv().unwrap().seq(), 0);
    assert_eq!(consumer.try_recv().unwrap().unwrap().seq(), 1);
    assert_eq!(consumer.recv_timeout(LONG).unwrap().unwrap().data(), payload(2));
    let batch = consumer.recv_batch(1000).unwrap();
    let got: Vec<_> = batch.map(|record| (record.seq(), record.data().to_vec())).collect();
    assert!(got.len() > 2);
    for (index, (seq, data)) in got.iter().enumerate() {
        assert_eq!((*seq, data), (3 + index as u64, &payload(*seq)));
    }
    // All that a batch held was given.
    let next_seq = 3 + got.len() as u64;
    consumer.ack(next_seq - 1).unwrap();
    assert_eq!(consumer.ack(next_seq).unwrap_err().kind(), ErrorKind::OutOfRange);
    while let Some(batch) = consumer.try_recv_batch(usize::MAX).unwrap() {
        assert!(batch.count() > 0);
    }
    assert_eq!(consumer.next_seq(), 100);
    assert!(consumer.recv_timeout(Duration::from_millis(5)).unwrap().is_none());
}

#[test]
fn only_durable_records_are_given_unless_others_are_asked_for() {
    let home = tempdir();
    let log = open_manual(home.path());
    append_durably(&log, 10);
    append(&log, 10);
    let mut careful = log.consumer("careful").unwrap();
    let mut eager = log.consumer("eager").unwrap().include_volatile();
    expect(&mut careful, 0..10);
    assert_nothing(&mut careful);
    expect(&mut eager, 0..20);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            log.sync().unwrap();
        });
        assert_eq!(careful.recv().unwrap().seq(), 10, "a sync wakes it");
    });
    expect(&mut careful, 11..20);
}

#[test]
fn a_consumer_begins_at_the_first_record_that_is_left() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append_durably(&log, 200);
    log.trim_before(150).unwrap();
    expect(&mut log.consumer("late").unwrap(), 150..200);
}

#[test]
fn what_is_acknowledged_out_of_order_moves_the_place_to_the_lowest_that_is_not() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append_durably(&log, 1000);
    let mut consumer = log.consumer("pool").unwrap();
    let ackers: Vec<_> = (0..4).map(|_| consumer.acker()).collect();
    let mut held_back = Vec::new();
    std::thread::scope(|scope| {
        let mut senders = Vec::new();
        for acker in ackers {
            let (sender, receiver) = std::sync::mpsc::channel::<u64>();
            senders.push(sender);
            scope.spawn(move || {
                // Each worker takes its records in another order than they came.
                let mut mine: Vec<u64> = receiver.iter().collect();
                mine.reverse();
                mine.iter().for_each(|seq| acker.ack_one(*seq).unwrap());
            });
        }
        for seq in 0..1000 {
            assert_eq!(consumer.recv().unwrap().seq(), seq);
            match seq % 333 {
                77 => held_back.push(seq),
                _ => senders[seq as usize % 4].send(seq).unwrap(),
            }
        }
    });
    assert_eq!(held_back, [77, 410, 743]);
    for (seq, next) in [(743, 77), (77, 410), (410, 1000)] {
        consumer.ack_one(seq).unwrap();
        assert_eq!(consumer.acked_seq(), next);
    }
    drop(consumer);
    assert_eq!(log.consumer("pool").unwrap().next_seq(), 1000);
}

#[test]
fn a_consumers_own_bytes_are_stored_with_its_place() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append_durably(&log, 10);
    let mut consumer = log.consumer("a").unwrap();
    assert_eq!(consumer.user_data(), b"");
    expect(&mut consumer, 0..10);
    consumer.ack_with(3, b"three").unwrap();
    consumer.ack_with(3, b"three again").unwrap();
    consumer.ack(5).unwrap();
    let too_many = vec![1; Consumer::USER_DATA_BYTES + 1];
    assert_eq!(consumer.ack_with(7, &too_many).unwrap_err().kind(), ErrorKind::TooLarge);
    drop(consumer);
    let mut consumer = log.consumer("a").unwrap();
    assert_eq!((consumer.next_seq(), &consumer.user_data()[..]), (6, &b"three again"[..]));
    expect(&mut consumer, 6..10);
    consumer.ack_with(9, &too_many[1..]).unwrap();
    drop(consumer);
    assert_eq!(log.consumer("a").unwrap().user_data(), &too_many[1..]);
}

#[test]
fn all_consumers_are_listed_with_what_they_have_not_done() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    assert_eq!(log.consumers().unwrap(), []);
    append_durably(&log, 100);
    let mut b = log.consumer("b").unwrap();
    expect(&mut b, 0..30);
    b.ack(19).unwrap();
    drop(log.consumer("a").unwrap());
    let listed = |log: &Log| -> Vec<_> {
        let all = [
            log.consumers().unwrap(),
            crate::support::read(home.path()).unwrap().consumers().unwrap(),
        ];
        assert_eq!(all[0], all[1]);
        let [all, _] = all;
        all.into_iter().map(|one| (one.name, one.next_seq, one.lag, one.owned)).collect()
    };
    let [a, b_name] = ["a", "b"].map(String::from);
    assert_eq!(
        listed(&log),
        [(a.clone(), Some(0), 100, false), (b_name.clone(), Some(20), 80, true)]
    );
    log.trim_before(50).unwrap();
    assert_eq!(listed(&log), [(a.clone(), Some(50), 50, false), (b_name, Some(50), 50, true)]);
    assert_eq!(log.remove_consumer("b").unwrap_err().kind(), ErrorKind::ConsumerInUse);
    drop(b);
    assert!(log.remove_consumer("b").unwrap());
    assert!(!log.remove_consumer("b").unwrap());
    assert!(!log.remove_consumer("never").unwrap());
    assert_eq!(listed(&log), [(a, Some(50), 50, false)]);
    // A later one of the name begins anew.
    expect(&mut log.consumer("b").unwrap(), 50..100);
}

/// A reader lists consumers beside what it saw, also when files of that were removed since.
#[test]
fn a_reader_of_before_a_trim_lists_consumers_of_before_a_cut() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append_durably(&log, 100);
    let mut consumer = log.consumer("a").unwrap();
    expect(&mut consumer, 0..80);
    consumer.ack(9).unwrap();
    log.truncate_from(50).unwrap();
    append_durably(&log, 2000);
    let reader = log.reader();
    log.trim_before(1500).unwrap();
    let listed = reader.consumers().unwrap();
    assert_eq!((listed[0].next_seq, listed[0].lag), (Some(10), 2040));
    let listed = log.consumers().unwrap();
    assert_eq!((listed[0].next_seq, listed[0].lag), (Some(1500), 550));
}

#[test]
fn names_that_are_no_file_names_are_refused() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    for name in ["", ".", "..", "../orders", "a/b", ".next-0", "a b", "é", &"n".repeat(101)] {
        assert_eq!(log.consumer(name).unwrap_err().kind(), ErrorKind::InvalidName, "{name:?}");
        assert_eq!(log.remove_consumer(name).unwrap_err().kind(), ErrorKind::InvalidName);
    }
    assert!(!home.path().join("consumers").exists());
    log.consumer(&"n".repeat(100)).unwrap();
}
