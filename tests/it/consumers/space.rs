//! Retention that waits for consumers, and what `stats` says of it.

use std::path::Path;

use maplog::{ErrorKind, Log, Retention, SyncPolicy};

use super::{append, append_durably, expect};
use crate::strace::{can_trace, traced};
use crate::support::{SMALL, segments, tempdir};

fn open_with(path: &Path, retention: Retention) -> Log {
    // SAFETY: only maplog changes the files.
    unsafe { Log::options().segment_bytes(SMALL).retention(retention).open(path) }.unwrap()
}

const NEVER: u64 = u64::MAX;

#[test]
fn what_a_consumer_did_not_acknowledge_stays() {
    let home = tempdir();
    let log = open_with(home.path(), Retention::default().max_bytes(0).not_past("a", NEVER));
    append_durably(&log, 2000);
    assert!(segments(home.path()).len() > 10, "it has acknowledged nothing before it exists");
    let mut consumer = log.consumer("a").unwrap();
    expect(&mut consumer, 0..1500);
    for acked in [0, 300, 1500] {
        if acked > 0 {
            consumer.ack(acked - 1).unwrap();
        }
        let first_seq = log.enforce_retention().unwrap();
        assert!(first_seq <= acked && first_seq + 300 > acked, "{first_seq} of {acked}");
        let stats = log.stats().unwrap();
        let held = stats.held.unwrap();
        assert_eq!((&*held.consumer, held.next_seq), ("a", acked));
        // All but the segment that is appended to.
        assert!(held.bytes < stats.bytes && held.bytes + 4 * SMALL >= stats.bytes);
        assert!(stats.segments * SMALL >= stats.bytes);
        assert_eq!(log.reader().stats().unwrap().held, None, "a reader has no retention");
    }
    expect(&mut consumer, 1500..2000);
    consumer.ack(1999).unwrap();
    log.enforce_retention().unwrap();
    assert_eq!(segments(home.path()).len(), 1);
    assert_eq!(log.stats().unwrap().held, None);
    // At a roll, too, and at opening.
    append_durably(&log, 500);
    expect(&mut consumer, 2000..2500);
    consumer.ack(2499).unwrap();
    append(&log, 200);
    assert!(log.first_seq() > 2300);
}

#[test]
fn a_consumer_that_stands_still_holds_so_many_bytes_and_no_more() {
    let home = tempdir();
    let most = 6 * SMALL;
    let log = open_with(home.path(), Retention::default().max_segments(1).not_past_any(most));
    let mut slow = log.consumer("slow").unwrap();
    let mut quick = log.consumer("quick").unwrap();
    for _ in 0..100 {
        append_durably(&log, 20);
        while let Some(record) = quick.try_recv().unwrap() {
            let seq = record.seq();
            quick.ack(seq).unwrap();
        }
        assert!(log.stats().unwrap().bytes <= most + SMALL);
    }
    assert_eq!(quick.next_seq(), 2000, "it lost nothing");
    let held = log.stats().unwrap().held.unwrap();
    assert_eq!((&*held.consumer, held.next_seq), ("slow", log.first_seq()));
    assert!(log.first_seq() > 1000);
    let error = slow.try_recv().unwrap_err();
    assert_eq!((error.kind(), error.seq()), (ErrorKind::Trimmed, Some(log.first_seq())));
    // Once nobody knows it any more it holds nothing.
    drop(slow);
    assert!(log.remove_consumer("slow").unwrap());
    log.enforce_retention().unwrap();
    assert_eq!(segments(home.path()).len(), 1);
}

#[test]
fn a_consumer_whose_file_cannot_tell_holds_everything() {
    let home = tempdir();
    let log = open_with(home.path(), Retention::default().max_bytes(0).not_past("a", NEVER));
    append_durably(&log, 1000);
    let mut consumer = log.consumer("a").unwrap();
    expect(&mut consumer, 0..1000);
    consumer.ack(999).unwrap();
    drop(consumer);
    let file = home.path().join("consumers/a");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, [7; 8192]).unwrap();
    assert_eq!(log.enforce_retention().unwrap(), 0);
    std::fs::write(&file, whole).unwrap();
    assert!(log.enforce_retention().unwrap() > 800);
}

#[test]
fn stats_tell_what_was_trimmed_and_shares_a_segment_with_others() {
    let home = tempdir();
    let log = open_with(home.path(), Retention::default());
    append(&log, 10);
    assert_eq!(log.stats().unwrap().trimmed, 0);
    log.trim_before(7).unwrap();
    let stats = log.stats().unwrap();
    assert_eq!((stats.first_seq, stats.trimmed, stats.segments), (7, 7, 1));
    append(&log, 300);
    log.trim_before(250).unwrap();
    let stats = log.stats().unwrap();
    assert!(stats.trimmed < 200 && stats.segments > 1, "{stats:?}");
}

/// A power cut must not leave a place in front of what was dropped: it is on the disk before the trim is.
#[test]
fn a_place_is_synced_before_what_it_lets_go_is_dropped() {
    if !can_trace() {
        return;
    }
    let home = tempdir();
    let (log, trace) = (home.path().join("log"), home.path().join("trace"));
    let calls = ["-o", trace.to_str().unwrap(), "-e", "trace=pwrite64,fdatasync,unlinkat"];
    let done = traced(&calls, "consumers::space::acknowledges_and_drops", &log).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let trace = std::fs::read_to_string(trace).unwrap();
    let lines: Vec<_> = trace.lines().collect();
    let last = |call: &str, file: &str| {
        lines.iter().rposition(|line| line.contains(call) && line.contains(file)).unwrap()
    };
    let dropped = lines.iter().position(|line| line.contains("unlinkat(") && line.contains(".seg"));
    let (stored, synced) =
        (last("pwrite64(", "/consumers/a>"), last("fdatasync(", "/consumers/a>"));
    let noted = last("pwrite64(", ".seg>");
    assert!(stored < synced && synced < noted && noted < dropped.unwrap(), "{trace}");
}

#[test]
#[ignore = "a child"]
fn acknowledges_and_drops() {
    let retention = Retention::default().max_bytes(0).not_past("a", NEVER);
    let options = Log::options().segment_bytes(SMALL).retention(retention);
    // SAFETY: only maplog changes the files.
    let log =
        unsafe { options.sync(SyncPolicy::Manual).open(std::env::var("LOG").unwrap()) }.unwrap();
    append_durably(&log, 500);
    let mut consumer = log.consumer("a").unwrap();
    expect(&mut consumer, 0..500);
    consumer.ack(499).unwrap();
    assert!(log.enforce_retention().unwrap() > 400);
    // So that dropping it, which syncs, is not what is seen.
    std::mem::forget((consumer, log));
}
