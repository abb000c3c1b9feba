//! When records reach the disk by themselves, and what opening costs afterwards.

use std::os::unix::process::ExitStatusExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use maplog::{ErrorKind, Log, Result, SyncPolicy};

use crate::support::{child, everything, image, read, tempdir};

fn open(path: &std::path::Path, policy: SyncPolicy) -> Result<Log> {
    // SAFETY: tests change files only while no handle is alive.
    unsafe { Log::options().segment_bytes(1 << 20).sync(policy).open(path) }
}

/// Waits for what another thread will do, for as long as a busy machine may need.
fn eventually(what: impl Fn() -> bool) -> bool {
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(30) {
        if what() {
            return true;
        }
        sleep(Duration::from_millis(2));
    }
    false
}

#[test]
fn every_makes_records_durable_without_being_asked() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path(), SyncPolicy::Every(Duration::from_millis(20)))?;
    for round in 1..4 {
        for _ in 0..10 {
            log.append([1; 100])?;
        }
        assert!(eventually(|| log.durable_seq() == round * 10), "round {round}");
        // Long enough for the helper to fall asleep: the next record wakes it.
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// The log falls idle: the slot says how far it is durable, so that after a power cut rot below that
/// is damage and not a torn tail.
#[test]
fn an_idle_log_notes_how_far_it_is_durable() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path(), SyncPolicy::Every(Duration::from_millis(5)))?;
    for _ in 0..50 {
        log.append([1; 100])?;
        sleep(Duration::from_millis(1));
    }
    let noted = || {
        let cut = image(dir.path());
        let log = open(cut.path(), SyncPolicy::Manual).unwrap();
        log.durable_seq() == 50
    };
    assert!(eventually(noted));
    Ok(())
}

#[test]
fn always_returns_when_the_record_is_durable() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path(), SyncPolicy::Always)?;
    for _ in 0..5 {
        let seq = log.append([1; 100])?;
        assert!(log.durable_seq() > seq);
        let seqs = log.append_batch(&[[2; 10], [3; 10]])?;
        assert!(log.durable_seq() >= seqs.end);
    }
    let mut writer = log.writer()?;
    writer.append(b"by hand")?;
    assert_eq!(writer.finish()?, log.next_seq());
    Ok(())
}

#[test]
fn manual_waits_to_be_told() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path(), SyncPolicy::Manual)?;
    for _ in 0..5 {
        log.append([1; 100])?;
    }
    sleep(Duration::from_millis(50));
    assert_eq!(log.durable_seq(), 0);
    assert!(log.sync_to(2)? > 2);
    assert_eq!(log.sync_to(99).unwrap_err().kind(), ErrorKind::OutOfRange);
    Ok(())
}

#[test]
fn the_policy_belongs_to_the_handle() -> Result<()> {
    let dir = tempdir();
    let manual = open(dir.path(), SyncPolicy::Manual)?;
    let always = open(dir.path(), SyncPolicy::Always)?;
    manual.append([1; 100])?;
    assert_eq!(manual.durable_seq(), 0);
    always.append([1; 100])?;
    assert_eq!(manual.durable_seq(), 2, "one log");
    Ok(())
}

/// G12: after SIGKILL recovery reads what was written since about the last sync, and not the log.
#[test]
fn recovery_reads_about_what_was_not_synced() -> Result<()> {
    let mebibytes = std::env::var("MAPLOG_RECOVERY_MIB").unwrap_or_else(|_| "64".into());
    let dir = tempdir();
    let settings = [("LOG", dir.path().to_str().unwrap()), ("MIB", &mebibytes)];
    let done = child("policies::fills_a_log_and_dies", &settings).wait_with_output().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&done.status), Some(9), "{done:?}");

    let total: u64 = mebibytes.parse::<u64>().unwrap() << 20;
    let cut = image(dir.path());
    // SAFETY: nobody else touches the directories.
    let [live, after_cut] = [dir.path(), cut.path()].map(|path| unsafe { Log::open(path) });
    let (live, after_cut) = (live?, after_cut?);
    let read = [&live, &after_cut].map(|log| log.recovery().scanned_bytes);
    println!(
        "{mebibytes} MiB, 1 MiB not synced: {} bytes read after SIGKILL, {} after a power cut",
        read[0], read[1]
    );
    assert!(live.recovery().live && live.next_seq() >= total / 1024);
    assert!(read[0] <= 2 << 20, "{} bytes", read[0]);
    assert_eq!(after_cut.next_seq(), live.next_seq());
    // It also looks behind the end, over what was allocated ahead, for what a cut may have left.
    assert!(read[1] <= 80 << 20, "{} bytes", read[1]);
    Ok(())
}

#[test]
#[ignore = "a child of the test above"]
fn fills_a_log_and_dies() {
    let mebibytes: u64 = std::env::var("MIB").unwrap().parse().unwrap();
    let path = std::env::var("LOG").unwrap();
    // SAFETY: nobody else touches the directory.
    let log = unsafe { Log::options().sync(SyncPolicy::Manual).open(path) }.unwrap();
    for _ in 0..mebibytes {
        for _ in 0..1024 {
            log.append([7; 1008]).unwrap();
        }
        log.sync().unwrap();
    }
    for _ in 0..1024 {
        log.append([7; 1008]).unwrap();
    }
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    sleep(Duration::from_secs(60));
}

#[test]
fn what_a_log_held_is_there_whatever_its_policy() -> Result<()> {
    for policy in
        [SyncPolicy::Manual, SyncPolicy::Always, SyncPolicy::Every(Duration::from_millis(1))]
    {
        let dir = tempdir();
        let log = open(dir.path(), policy)?;
        for seq in 0..20_u64 {
            log.append(seq.to_le_bytes())?;
        }
        drop(log);
        let cut = image(dir.path());
        assert_eq!(everything(&read(cut.path())?).records.len(), 20, "{policy:?}");
    }
    Ok(())
}

/// A process that leaves while its helper syncs all the time leaves nothing in doubt, and does not sync.
#[test]
fn who_leaves_leaves_no_sync_unfinished() -> Result<()> {
    for round in 0..8 {
        let dir = tempdir();
        let log = dir.path().join("log");
        let mut child = child("policies::leaves", &[("LOG", log.to_str().unwrap())]);
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        let log = open(&log, SyncPolicy::Manual)?;
        let found = log.recovery();
        assert!(found.live && !found.clean, "it was not closed: {found:?}");
        assert_eq!((found.copied, log.next_seq()), (0, 20_000), "round {round}");
    }
    Ok(())
}

#[test]
#[ignore = "a child of the test above"]
fn leaves() {
    let path = std::env::var("LOG").unwrap();
    let log = open(path.as_ref(), SyncPolicy::Every(Duration::from_millis(1))).unwrap();
    let also = log.clone();
    log.append("first").unwrap();
    log.leave();
    // Another handle goes on.
    for seq in 1..20_000_u64 {
        also.append(seq.to_le_bytes()).unwrap();
    }
    also.leave();
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

#[test]
fn stats_count_the_syncs_of_this_process() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path(), SyncPolicy::Manual)?;
    assert_eq!(log.stats()?.syncs, 0);
    let since = Instant::now();
    for seq in 0..5_u64 {
        log.append(seq.to_le_bytes())?;
        log.sync()?;
        log.sync()?;
    }
    let stats = log.stats()?;
    assert_eq!(stats.syncs, 5, "what is durable is not synced again");
    assert!(stats.longest_sync * 5 >= stats.sync_time && stats.sync_time <= since.elapsed());
    assert!(stats.longest_sync > Duration::ZERO);
    assert_eq!(log.reader().stats()?.syncs, 0, "a reader syncs nothing");
    Ok(())
}
