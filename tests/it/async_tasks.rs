//! Streams and futures: any executor, one thread that waits for all of them.
#![allow(clippy::print_stderr)]

mod processes;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use futures::stream::FusedStream;
use futures::{FutureExt, StreamExt, future, stream};
use maplog::{Durable, ErrorKind, Log, SyncPolicy, TailStream};

use crate::support::{SMALL, open, read, tempdir};

/// Longer than anything here takes, so that a test which waits for ever fails.
const LONG: Duration = Duration::from_secs(30);

/// Well below the 100 ms after which a task looks for itself.
const WOKEN: Duration = Duration::from_millis(40);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The least that an executor can be: it polls when it was woken, and never otherwise.
fn block_on<F: Future>(future: F) -> F::Output {
    let (mut future, begun) = (pin!(future), Instant::now());
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        thread::park_timeout(LONG.saturating_sub(begun.elapsed()));
        assert!(begun.elapsed() < LONG, "nobody woke it");
    }
}

fn tokio(workers: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_time()
        .build()
        .unwrap()
}

/// A log that is synced only when told to.
fn unsynced(path: &std::path::Path) -> Log {
    // SAFETY: tests change files only while no handle is alive.
    unsafe { Log::options().segment_bytes(SMALL).sync(SyncPolicy::Manual).open(path) }.unwrap()
}

fn payload(seq: u64) -> Vec<u8> {
    [&seq.to_le_bytes()[..], &vec![seq as u8; (seq * 37 % 300) as usize]].concat()
}

fn append(log: &Log, records: u64) {
    for _ in 0..records {
        log.append(payload(log.next_seq())).unwrap();
    }
}

/// Receives the records of `seqs`, which must come one after the other.
async fn expect(stream: &mut TailStream, seqs: std::ops::Range<u64>) {
    for seq in seqs {
        let record = stream.next().await.expect("a tail does not end").unwrap();
        assert_eq!((record.seq(), record.data()), (seq, &payload(seq)[..]));
    }
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn assert_is_sendable<T: Send + Sync + Unpin + 'static>(value: T) -> T {
    value
}

/// G3, G4: streams and bare tails see the same, whoever runs them.
#[test]
fn streams_give_each_record_once_through_rolls() {
    const RECORDS: u64 = 3000;
    let home = tempdir();
    let log = open(home.path()).unwrap();
    let stream = || assert_is_sendable(read(home.path()).unwrap().tail_from(0).into_stream());
    let tokio = tokio(2);
    let tasks = [stream(), log.reader().tail_from(0).into_stream()]
        .map(|mut stream| tokio.spawn(async move { expect(&mut stream, 0..RECORDS).await }));
    thread::scope(|scope| {
        scope.spawn(|| block_on(expect(&mut stream(), 0..RECORDS)));
        scope.spawn(|| futures::executor::block_on(expect(&mut stream(), 0..RECORDS)));
        for _ in 0..RECORDS / 100 {
            append(&log, 100);
            thread::sleep(Duration::from_millis(1));
        }
    });
    for task in tasks {
        tokio.block_on(async { tokio::time::timeout(LONG, task).await.unwrap().unwrap() });
    }
    assert!(log.stats().unwrap().segments > 20);
}

/// What waits is woken by the news, into a new segment too, and not by the time after which it looks for itself.
#[test]
fn who_waits_is_woken() {
    let home = tempdir();
    let log = unsynced(home.path());
    let mut records = read(home.path()).unwrap().tail_from(0).into_stream();
    let mut durable = read(home.path()).unwrap().tail_from(0).durable_only().into_stream();
    let mut waits: [Vec<Duration>; 3] = Default::default();
    for seq in 0..15 {
        thread::scope(|scope| {
            let since = |moment| move |found: Instant| found.saturating_duration_since(moment);
            let record = scope
                .spawn(|| block_on(expect(&mut records, seq..seq + 1).map(|()| Instant::now())));
            let only = scope
                .spawn(|| block_on(expect(&mut durable, seq..seq + 1).map(|()| Instant::now())));
            let future = scope.spawn(|| {
                let position = block_on(log.durable(seq)).unwrap();
                assert_eq!(position, seq + 1);
                Instant::now()
            });
            // Most of them are asleep by now.
            thread::sleep(Duration::from_millis(10));
            let appending = Instant::now();
            append(&log, 1);
            waits[0].push(since(appending)(record.join().unwrap()));
            thread::sleep(Duration::from_millis(10));
            assert!(!only.is_finished() && !future.is_finished(), "it is not durable yet");
            log.sync().unwrap();
            let synced = Instant::now();
            waits[1].push(since(synced)(only.join().unwrap()));
            waits[2].push(since(synced)(future.join().unwrap()));
        });
    }
    for waits in &mut waits {
        waits.sort();
        assert!(waits[7] < WOKEN, "{waits:?}");
    }
    eprintln!("45 waits, medians {:?} {:?} {:?}", waits[0][7], waits[1][7], waits[2][7]);
}

/// The news finds a wait that nobody waits in any more; the next begins where it was.
#[test]
fn a_wait_that_was_dropped_takes_no_record_with_it() {
    let home = tempdir();
    let log = unsynced(home.path());
    let mut stream = read(home.path()).unwrap().tail_from(0).into_stream();
    for seq in 0..300 {
        assert!(poll_once(&mut stream.next()).is_pending());
        assert!(poll_once(&mut log.durable(seq)).is_pending());
        append(&log, 1);
        if seq % 3 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        let Poll::Ready(Some(Ok(record))) = poll_once(&mut stream.next()) else {
            panic!("record {seq} is gone");
        };
        assert_eq!((record.seq(), record.data()), (seq, &payload(seq)[..]));
    }
    log.sync().unwrap();
    assert_eq!(block_on(log.durable(299)).unwrap(), 300);
}

/// As timeouts and `select!` drop them all the time.
#[test]
fn losing_races_loses_no_record() {
    const RECORDS: u64 = 300;
    let home = tempdir();
    let log = unsynced(home.path());
    let mut stream = read(home.path()).unwrap().tail_from(0).into_stream();
    let tokio = tokio(1);
    let mut dropped = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..RECORDS {
                append(&log, 1);
                thread::sleep(Duration::from_millis(2));
            }
            log.sync().unwrap();
        });
        tokio.block_on(async {
            let mut seq = 0;
            while seq < RECORDS {
                let patience = Duration::from_micros(200 * (seq % 8));
                tokio::select! {
                    biased;
                    position = log.durable(RECORDS - 1) => assert_eq!(position.unwrap(), RECORDS),
                    record = stream.next() => {
                        let record = record.unwrap().unwrap();
                        assert_eq!((record.seq(), record.data()), (seq, &payload(seq)[..]));
                        seq += 1;
                    }
                    () = tokio::time::sleep(patience) => dropped += 1,
                }
            }
            let waited = tokio::time::timeout(LONG, log.durable(RECORDS - 1)).await;
            assert_eq!(waited.expect("woken").unwrap(), RECORDS);
        });
    });
    assert!(dropped > 0, "no wait was dropped");
    // The place in the tail is that behind the last record, as if nobody had waited.
    append(&log, 1);
    assert_eq!(stream.into_tail().try_recv().unwrap().unwrap().seq(), RECORDS);
}

/// More words than one call can wait on: then it looks for itself, often enough.
#[test]
fn many_tails_wait_at_once() {
    const TAILS: usize = 200;
    let home = tempdir();
    let log = open(home.path()).unwrap();
    let reader = read(home.path()).unwrap();
    let tails: Vec<_> = (0..TAILS).map(|_| reader.tail_from(0).into_stream()).collect();
    let mut all = stream::select_all(tails);
    let mut waits: Vec<_> = (0..9)
        .map(|round| {
            assert!(poll_once(&mut all.next()).is_pending());
            // All of them are asleep by now.
            thread::sleep(Duration::from_millis(10));
            append(&log, 1);
            let begun = Instant::now();
            let records = block_on(all.by_ref().take(TAILS).collect::<Vec<_>>());
            assert!(records.into_iter().all(|record| record.unwrap().seq() == round));
            begun.elapsed()
        })
        .collect();
    waits.sort();
    assert!(waits[4] < WOKEN, "{waits:?}");
}

/// A waker belongs to whoever polls last.
#[test]
fn a_task_that_moved_is_woken_where_it_is() {
    let home = tempdir();
    let log = unsynced(home.path());
    append(&log, 1);
    let mut future: Durable = assert_is_sendable(log.durable(0));
    let mut stream = log.reader().tail_from(1).into_stream();
    for _ in 0..3 {
        assert!(poll_once(&mut future).is_pending());
        assert!(poll_once(&mut stream.next()).is_pending());
    }
    thread::scope(|scope| {
        let moved = scope.spawn(|| block_on(future::join(future, expect(&mut stream, 1..2))));
        thread::sleep(Duration::from_millis(10));
        append(&log, 1);
        log.sync().unwrap();
        assert_eq!(moved.join().unwrap().0.unwrap(), 2);
    });
}

/// A number that is given again after a cut is another record's.
#[test]
fn a_record_that_was_cut_is_never_durable() {
    let home = tempdir();
    let log = unsynced(home.path());
    append(&log, 4);
    let mut futures = [0, 1, 2, 3, 4].map(|seq| log.durable(seq));
    assert!(futures.iter_mut().all(|future| poll_once(future).is_pending()));
    log.truncate_from(2).unwrap();
    append(&log, 3);
    log.sync().unwrap();
    let done = block_on(future::join_all(futures));
    for (seq, done) in done.into_iter().enumerate() {
        match seq {
            0 | 1 => assert_eq!(done.unwrap(), 5),
            _ => {
                let error = done.unwrap_err();
                assert_eq!((error.kind(), error.seq()), (ErrorKind::Rewound, Some(2)));
            }
        }
    }
    assert_eq!(block_on(log.durable(2)).unwrap(), 5);
}

struct Tells(mpsc::Sender<()>);

impl Wake for Tells {
    fn wake(self: Arc<Self>) {
        // Nobody listens any more once the task was woken.
        let _told = self.0.send(());
    }
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        std::panic::panic_any("this waker panics, as it should");
    }
}

#[test]
fn a_waker_that_panics_leaves_the_others_awake() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    let mut harmed = log.reader().tail_from(0).into_stream();
    let mut other = log.reader().tail_from(0).into_stream();
    for seq in 0..3 {
        let waker = Waker::from(Arc::new(Panics));
        assert!(harmed.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending());
        let (tell, told) = mpsc::channel();
        let waker = Waker::from(Arc::new(Tells(tell)));
        assert!(other.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending());
        append(&log, 1);
        told.recv_timeout(Duration::from_secs(10)).expect("the other task was never woken");
        block_on(expect(&mut other, seq..seq + 1));
        block_on(expect(&mut harmed, seq..seq + 1));
    }
}

/// Without a live page nobody can be woken; the stream looks for itself, and finds who comes.
#[test]
fn a_stream_waits_for_a_log_that_nobody_has_open() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append(&log, 2);
    log.close().unwrap();
    let mut stream = read(home.path()).unwrap().tail_from(0).into_stream();
    block_on(expect(&mut stream, 0..2));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| block_on(expect(&mut stream, 2..4)));
        thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished());
        let log = open(home.path()).unwrap();
        append(&log, 1);
        thread::sleep(Duration::from_millis(50));
        append(&log, 1);
        waiting.join().unwrap();
    });
}

/// An error is an item; only behind `Replaced`, where there is nowhere to go on, the stream ends. A future that waits
/// for a log whose files are gone is told too.
#[test]
fn errors_are_items_and_replaced_is_the_last() {
    let home = tempdir();
    let path = home.path().join("log");
    let log = unsynced(&path);
    append(&log, 3);
    let mut stream = read(&path).unwrap().tail_from(7).into_stream();
    let error = block_on(stream.next()).unwrap().unwrap_err();
    assert_eq!((error.kind(), error.seq()), (ErrorKind::OutOfRange, Some(3)));
    append(&log, 1);
    block_on(expect(&mut stream, 3..4));
    std::fs::remove_dir_all(&path).unwrap();
    drop(open(&path).unwrap());
    let error = block_on(stream.next()).unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Replaced);
    assert!(stream.is_terminated());
    assert!(block_on(stream.next()).is_none());
    assert_eq!(block_on(log.durable(3)).unwrap_err().kind(), ErrorKind::Replaced);
}
