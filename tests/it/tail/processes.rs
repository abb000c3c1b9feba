//! A tail in a process of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use maplog::Log;

use super::{RECORDS, append_all, expect};
use crate::concurrent::processes::{Other, log_of_parent, say};
use crate::support::{SMALL, image, open, read, tempdir};

const NOBODY: u32 = 65_534;

#[test]
#[ignore = "a process of the tests below"]
fn follower() {
    let mut tail = read(log_of_parent()).unwrap().tail_from(0);
    say("open");
    expect(&mut tail, 0..RECORDS);
    say("read all");
}

/// G3, G4: two other processes see each record once, in order, through rolls.
#[test]
fn other_processes_see_each_record_once_through_rolls() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    let mut others = [0, 1].map(|_| Other::start("tail::processes::follower", home.path()));
    for other in &mut others {
        other.wait_for("open");
    }
    append_all(&log, 0..RECORDS);
    for mut other in others {
        other.wait_for("read all");
        other.end();
    }
    assert!(log.stats().unwrap().segments > 40);
}

#[test]
#[ignore = "a process of the test below"]
fn waits_without_a_page() {
    let mut tail = read(log_of_parent()).unwrap().tail_from(0);
    while tail.try_recv().unwrap().is_some() {}
    let read_bytes = || -> u64 {
        let io = fs::read_to_string("/proc/self/io").unwrap();
        io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    };
    assert!(tail.recv_timeout(Duration::from_millis(300)).unwrap().is_none());
    let before = read_bytes();
    assert!(tail.recv_timeout(Duration::from_secs(1)).unwrap().is_none());
    say(&format!("read {}", read_bytes() - before));
}

/// A survey of a log that was not synced reads much; who waits does not repeat it while nothing moves.
#[test]
fn waiting_without_a_page_reads_hardly_anything() {
    let home = tempdir();
    let options = Log::options().sync(maplog::SyncPolicy::Manual);
    // SAFETY: only maplog touches the directory.
    let log = unsafe { options.open(home.path()) }.unwrap();
    for _ in 0..4000 {
        log.append([5; 2000]).unwrap();
    }
    let copy = image(home.path());
    let mut waiting = Other::start("tail::processes::waits_without_a_page", copy.path());
    let read_bytes: u64 = waiting.wait_for("read ").parse().unwrap();
    waiting.end();
    eprintln!("8 MB not synced; {read_bytes} bytes read in a second of waiting");
    assert!(read_bytes < 400_000, "{read_bytes} bytes");
}

/// Starts a follower that may only read; `None`, with the reason printed, where that cannot be.
fn stranger(log: &Path) -> Option<Other> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can start a process of another user");
        return None;
    }
    let started = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tail::processes::follower", "--ignored", "--nocapture"])
        .env("MAPLOG_TEST_LOG", log)
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    match started {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            eprintln!("skipped: another user cannot reach the test binary: {error}");
            None
        }
        other => Some(Other::of(other.unwrap())),
    }
}

/// G10: read permission is enough. Who may not write `wake` polls, who may not even read `shared` surveys, and all of them
/// see every record.
#[test]
fn a_tail_with_read_permission_only_follows_by_polling() {
    for closed_to_others in [&[][..], &["wake"], &["wake", "shared"]] {
        let home = tempdir();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = home.path().join("log");
        // SAFETY: only maplog touches the directory.
        let log = unsafe { Log::options().segment_bytes(SMALL).mode(0o644).open(&path) }.unwrap();
        for name in closed_to_others {
            let mode = if *name == "wake" { 0o644 } else { 0o600 };
            fs::set_permissions(path.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let Some(mut stranger) = stranger(&path) else { return };
        stranger.wait_for("open");
        append_all(&log, 0..RECORDS);
        stranger.wait_for("read all");
        stranger.end();
        let owners: Vec<_> = fs::read_dir(&path)
            .unwrap()
            .map(|entry| std::os::unix::fs::MetadataExt::uid(&entry.unwrap().metadata().unwrap()))
            .collect();
        assert!(owners.iter().all(|owner| *owner == 0), "a reader made a file");
    }
}
