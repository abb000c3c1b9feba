//! What tails, consumers and futures are told when much happens between two of their looks, or a look fails.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::crash_tests::{copy, open, tempdir};
use crate::{ErrorKind, Log, Reader, Retention, SyncPolicy, Tail};

/// Appends `count` records that begin with `tag`.
fn append(log: &Log, tag: &str, count: u64) {
    for _ in 0..count {
        let mut record = tag.as_bytes().to_vec();
        record.resize(900, b'.');
        log.append(record).unwrap();
    }
}

fn reader(path: &Path) -> Reader {
    // SAFETY: nothing but this crate changes the directory's files while they are mapped.
    #[allow(unsafe_code)]
    unsafe { Reader::open(path) }.unwrap()
}

/// The kind of the error that the next call gives, or the record's number.
fn told(tail: &mut Tail) -> Result<Option<u64>, ErrorKind> {
    tail.try_recv().map(|record| record.map(|record| record.seq())).map_err(|error| error.kind())
}

/// G4: a look at a new view that failed half-way leaves no tail in what was cut.
#[test]
fn g4_a_tail_whose_look_failed_gives_no_record_that_was_cut() {
    for own in [true, false] {
        let dir = tempdir();
        // SAFETY: the directory is the test's own.
        #[allow(unsafe_code)]
        let log = unsafe { Log::options().segment_bytes(1 << 20).open(dir.path()) }.unwrap();
        append(&log, "old", 60);
        let mut tail = if own { log.reader() } else { reader(dir.path()) }.tail_from(0);
        for seq in 0..20 {
            assert_eq!(told(&mut tail), Ok(Some(seq)));
        }
        log.truncate_from(30).unwrap();
        append(&log, "new", 40);
        // Stands for any open that fails once.
        let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let first =
            files.filter(|path| path.extension().is_some_and(|e| e == "seg")).min().unwrap();
        let aside = dir.path().join("aside");
        std::fs::rename(&first, &aside).unwrap();
        let looked = told(&mut tail);
        assert!(looked.is_err() || !own, "{looked:?}");
        std::fs::rename(&aside, &first).unwrap();
        let mut next = if looked.is_ok() { 21 } else { 20 };
        while next < 70 {
            match tail.recv_timeout(Duration::from_secs(5)) {
                Ok(record) => {
                    let record = record.unwrap();
                    assert!(record.seq() >= next, "{} behind {next}", record.seq());
                    let tag = if record.seq() < 30 { "old" } else { "new" };
                    assert!(record.data().starts_with(tag.as_bytes()), "record {}", record.seq());
                    next = record.seq() + 1;
                }
                // Which of them its records are lost by is told.
                Err(error) => assert!(
                    error.lost().is_some() || error.kind() == ErrorKind::NotFound,
                    "{error}"
                ),
            }
        }
    }
}

/// The first segment's base behind record 10, of a log that was cut there and written anew.
fn where_it_rolls_when_written_anew() -> u64 {
    let dir = tempdir();
    let log = open(dir.path());
    append(&log, "old", 60);
    log.truncate_from(10).unwrap();
    append(&log, "new", 60);
    let reader = log.reader();
    let mut bases = reader.view().spans.iter().map(|span| span.name.base_seq);
    bases.find(|base| *base > 10).unwrap()
}

/// G4: what told of a cut is trimmed, right up to where a tail, a position or a consumer stands.
#[test]
fn g4_a_cut_that_was_trimmed_away_is_told_right_where_numbers_begin_anew() {
    for rolls in [true, false] {
        let at = if rolls { where_it_rolls_when_written_anew() } else { 20 };
        let dir = tempdir();
        let log = open(dir.path());
        append(&log, "old", 60);
        let mut tail = log.reader().tail_from(0);
        let mut consumer = log.consumer("c").unwrap().include_volatile();
        for seq in 0..at {
            assert_eq!(told(&mut tail), Ok(Some(seq)));
            assert_eq!(consumer.try_recv().unwrap().unwrap().seq(), seq);
            consumer.ack(seq).unwrap();
        }
        let position = tail.position();
        log.truncate_from(10).unwrap();
        append(&log, "new", 60);
        if !rolls {
            log.truncate_from(at).unwrap();
            append(&log, "new", 5);
        }
        assert_eq!(log.trim_before(at).unwrap(), at);
        assert_eq!(told(&mut tail), Err(ErrorKind::Rewound));
        assert_eq!(told(&mut tail), Ok(Some(at)));
        let mut later = log.reader().tail_at(&position).unwrap();
        assert_eq!(told(&mut later), Err(ErrorKind::Rewound));
        assert_eq!(consumer.try_recv().unwrap_err().kind(), ErrorKind::Rewound);
        assert_eq!(consumer.try_recv().unwrap().unwrap().seq(), at);
    }
}

/// Where one cut is all that happened, and its segment tells so, what was read before it holds.
#[test]
fn a_cut_right_where_a_tail_stands_is_no_news_to_it() {
    let dir = tempdir();
    let log = open(dir.path());
    append(&log, "old", 60);
    let mut tail = log.reader().tail_from(0);
    for seq in 0..20 {
        assert_eq!(told(&mut tail), Ok(Some(seq)));
    }
    log.truncate_from(20).unwrap();
    append(&log, "new", 5);
    assert_eq!(log.trim_before(20).unwrap(), 20);
    assert_eq!(told(&mut tail), Ok(Some(20)));
}

#[cfg(feature = "async")]
#[test]
fn g2_a_future_is_not_ready_for_a_record_whose_cut_was_trimmed_away() {
    let dir = tempdir();
    let log = open(dir.path());
    append(&log, "old", 30);
    let mut durable = Box::pin(log.durable(25));
    log.truncate_from(10).unwrap();
    append(&log, "new", 60);
    log.sync().unwrap();
    log.trim_before(60).unwrap();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::future::Future::poll(durable.as_mut(), &mut context) {
        std::task::Poll::Ready(Err(error)) => assert_eq!(error.kind(), ErrorKind::Rewound),
        other => panic!("{other:?}"),
    }
}

/// Whoever asks with no time to wait looks at all that others do.
#[test]
fn recv_timeout_of_no_time_finds_what_comes_without_a_live_page() {
    let dir = tempdir();
    let log = open(dir.path());
    append(&log, "old", 5);
    log.close().unwrap();
    let dir = copy(dir.path());
    let mut tail = reader(dir.path()).tail_from(5);
    assert!(tail.recv_timeout(Duration::ZERO).unwrap().is_none());
    append(&open(dir.path()), "new", 1);
    let begun = Instant::now();
    while tail.recv_timeout(Duration::ZERO).unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(10), "it never looks");
        thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn recv_timeout_of_no_time_is_told_of_a_log_in_this_ones_place() {
    let dir = tempdir();
    let path = dir.path().join("log");
    let log = open(&path);
    append(&log, "old", 5);
    let mut tail = reader(&path).tail_from(5);
    drop(log);
    assert!(tail.recv_timeout(Duration::ZERO).unwrap().is_none());
    std::fs::remove_dir_all(&path).unwrap();
    append(&open(&path), "new", 9);
    let begun = Instant::now();
    let error = loop {
        assert!(begun.elapsed() < Duration::from_secs(10), "it never looks");
        match tail.recv_timeout(Duration::ZERO) {
            Ok(_) => thread::sleep(Duration::from_micros(200)),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Replaced);
}

/// G4: a consumer is judged by the log as it is when its name is free, not as it was when it was asked for.
#[test]
fn g4_a_consumer_taken_beside_a_cut_goes_on_where_the_last_owner_was() {
    let dir = tempdir();
    let log = open(dir.path());
    append(&log, "old", 30);
    let mut first = log.consumer("c").unwrap().include_volatile();
    for seq in 0..30 {
        assert_eq!(first.try_recv().unwrap().unwrap().seq(), seq);
    }
    first.ack(29).unwrap();
    thread::scope(|scope| {
        let second = scope.spawn(|| {
            let mut second = log.consumer("c").unwrap().include_volatile();
            second.try_recv().map(|record| record.map(|record| record.seq())).map_err(|e| e.kind())
        });
        // It waits for the name a while.
        thread::sleep(Duration::from_millis(60));
        log.truncate_from(20).unwrap();
        append(&log, "new", 20);
        assert_eq!(first.try_recv().unwrap_err().kind(), ErrorKind::Rewound);
        for seq in 20..35 {
            assert_eq!(first.try_recv().unwrap().unwrap().seq(), seq);
        }
        first.ack(34).unwrap();
        drop(first);
        assert_eq!(second.join().unwrap(), Ok(Some(35)));
    });
}

#[test]
fn a_tail_may_spin_for_ever() {
    let dir = tempdir();
    let mut tail = open(dir.path()).reader().tail_from(0).spin(Duration::MAX);
    assert!(tail.recv_timeout(Duration::from_millis(1)).unwrap().is_none());
}

/// What is seconds old stays, wherever a clock is set.
#[test]
fn a_wall_clock_set_back_while_the_log_is_open_drops_nothing() {
    let dir = tempdir();
    let hour = Duration::from_secs(3600);
    let options =
        Log::options().segment_bytes(16 << 10).retention(Retention::default().max_age(hour));
    // SAFETY: the directory is the test's own.
    #[allow(unsafe_code)]
    let log = unsafe { options.open(dir.path()) }.unwrap();
    append(&log, "old", 60);
    crate::create::SET_BACK.set(2 * hour);
    append(&log, "new", 60);
    log.enforce_retention().unwrap();
    crate::create::SET_BACK.set(Duration::ZERO);
    assert_eq!(log.first_seq(), 0);
}

/// G9: a mapping made while the file was short lends what came when the file had grown, to readers and tails.
#[test]
fn g9_a_mapping_lends_what_its_file_grew_by() {
    let dir = tempdir();
    // Without the thread that makes the file much longer ahead.
    let options = Log::options().helper_thread(false).sync(SyncPolicy::Manual);
    // SAFETY: the directory is the test's own.
    #[allow(unsafe_code)]
    let log = unsafe { options.open(dir.path()) }.unwrap();
    append(&log, "old", 1);
    let (own, mut other) = (log.reader(), reader(dir.path()));
    let mut tail = other.tail_from(0);
    assert_eq!(told(&mut tail), Ok(Some(0)));
    // They keep their mappings.
    assert!(own.get(0).unwrap().is_some() && other.get(0).unwrap().is_some());
    append(&log, "new", 2000);
    other.refresh().unwrap();
    for reader in [&log.reader(), &other] {
        let seqs = reader.iter().map(|record| record.unwrap().seq());
        assert!(seqs.eq(0..2001));
    }
    for seq in 1..2001 {
        assert_eq!(told(&mut tail), Ok(Some(seq)));
    }
}
