//! System calls, watched and made to fail by strace.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

use maplog::{ErrorKind, Result};

use crate::support::{everything, flip, image, open, read, records, segments, tempdir};

/// False, with the reason printed, where nothing can be traced.
pub fn can_trace() -> bool {
    let tried = Command::new("strace").args(["-o", "/dev/null", "true"]).status();
    let can = tried.is_ok_and(|done| done.success());
    if !can {
        println!("skipped: needs strace, and leave to trace");
    }
    can
}

/// What runs an ignored test of this binary under strace.
pub fn traced<A: AsRef<OsStr>>(arguments: &[A], role: &str, log: &Path) -> Command {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-y", "-qq"])
        .args(arguments)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", role, "--ignored", "--nocapture", "--test-threads", "1"])
        .env("LOG", log);
    command
}

/// Runs an ignored test of this binary under strace; `None`, with the reason printed, without it.
pub fn strace(arguments: &[&str], role: &str, log: &Path) -> Option<Output> {
    can_trace().then(|| traced(arguments, role, log).output().unwrap())
}

/// Attack 18: a log whose directory is new, its parent not synced, must not vanish in a power cut. So
/// the directory and its parent are synced before the first append returns.
#[test]
fn attack_18_a_new_log_is_durable_with_its_directory_and_parent() {
    let dir = tempdir();
    let (log, trace) = (dir.path().join("log"), dir.path().join("trace"));
    let calls = [
        "-o",
        trace.to_str().unwrap(),
        "-e",
        "trace=mkdir,mkdirat,fsync,fdatasync,renameat2,write",
    ];
    let Some(done) = strace(&calls, "strace::creates_a_log_and_appends", &log) else { return };
    assert!(done.status.success(), "{done:?}");
    let trace = std::fs::read_to_string(trace).unwrap();
    let place = |what: &dyn Fn(&str) -> bool| {
        trace.lines().position(what).unwrap_or_else(|| panic!("{trace}"))
    };
    let [log, parent] = [log.as_path(), dir.path()].map(|path| path.to_str().unwrap().to_owned());
    let made = place(&|line| line.contains("mkdir") && line.contains(&log));
    let header = place(&|line| line.contains("fdatasync(") && line.contains("next-0"));
    let named = place(&|line| line.contains("renameat2(") && line.contains("-1.seg"));
    let synced = place(&|line| line.contains("fsync(") && line.contains(&format!("<{log}>")));
    let parent_synced =
        place(&|line| line.contains("fsync(") && line.contains(&format!("<{parent}>")));
    let appended = place(&|line| line.contains("write(1") && line.contains("appended"));
    assert!(made < header && header < named && named < synced, "{trace}");
    assert!(synced < appended && parent_synced < appended, "{trace}");
}

#[test]
#[ignore = "a child"]
fn creates_a_log_and_appends() {
    let log = open(std::env::var("LOG").unwrap()).unwrap();
    log.append(b"first").unwrap();
    println!("appended");
}

/// Attack 27: a bad block under a header, a slot, recovery or resync is an error: nothing is cut,
/// nothing shortened, nothing reported lost that is there.
#[test]
fn attack_27_a_read_that_fails_is_an_error_and_changes_nothing() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path())?;
    for seq in 0..300_u64 {
        log.append(seq.to_string())?;
    }
    log.sync()?;
    for seq in 300..600_u64 {
        log.append(seq.to_string())?;
    }
    let cut = image(dir.path());
    drop(log);
    let tip = segments(cut.path()).last().unwrap().clone();
    let rotten = records(&tip)[5];
    flip(&tip, rotten.payload_at());
    let expected = everything(&read(cut.path())?);
    let mut failures = 0;
    let mut successes = 0;
    for file in segments(cut.path()) {
        for nth in 1..40 {
            let fresh = image(cut.path());
            let file = fresh.path().join(file.file_name().unwrap());
            let inject = format!("inject=pread64:error=EIO:when={nth}");
            let file = file.to_str().unwrap();
            let arguments = ["-o", "/dev/null", "-P", file, "-e", "trace=pread64", "-e", &inject];
            let Some(done) = strace(&arguments, "strace::opens_and_reads", fresh.path()) else {
                return Ok(());
            };
            let said = String::from_utf8_lossy(&done.stdout).into_owned();
            assert!(done.status.success(), "no panic, no signal: {said} {done:?}");
            match said.contains("kind Io") {
                true => failures += 1,
                false => {
                    assert!(
                        said.contains(&format!("records {}", expected.records.len())),
                        "{said}"
                    );
                    successes += 1;
                }
            }
            assert_eq!(everything(&read(fresh.path())?), expected, "pread {nth} of {file}");
            if !said.contains("kind Io") && nth > 8 {
                break;
            }
        }
    }
    println!(
        "{failures} failing reads were errors, {successes} were survived by a second copy or not reached"
    );
    assert!(failures > 5);
    Ok(())
}

#[test]
#[ignore = "a child"]
fn opens_and_reads() {
    let path = std::env::var("LOG").unwrap();
    match read(&path) {
        Ok(reader) => println!("records {}", reader.iter().filter(|item| item.is_ok()).count()),
        Err(error) => println!("kind {:?}: {error}", error.kind()),
    }
}

/// G8: after a failed sync nothing is accepted any more, by this handle or the next; what was synced
/// before is there, and readers go on.
#[test]
fn g8_a_failed_sync_poisons_the_log() -> Result<()> {
    // The first is that of the new segment's header, the second that of the first sync.
    for (nth, syncs_that_worked) in [(2, 0), (3, 1), (5, 3)] {
        let dir = tempdir();
        let log = dir.path().join("log");
        let inject = format!("inject=fdatasync:error=EIO:when={nth}");
        let arguments = ["-o", "/dev/null", "-e", "trace=fdatasync", "-e", &inject];
        let Some(done) = strace(&arguments, "strace::appends_and_syncs_until_it_fails", &log)
        else {
            return Ok(());
        };
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{said} {done:?}");
        assert!(said.contains(&format!("worked {syncs_that_worked}")), "{said}");

        let reader = read(&log)?;
        assert_eq!(everything(&reader).records.len() as u64, syncs_that_worked + 1);
        let kept: Vec<_> = reader.iter().map(|record| record.unwrap().to_shared()).collect();
        // The next opening writes anew what the sync left in doubt, and accepts appends again.
        let again = open(&log)?;
        assert_eq!((again.recovery().copied, again.recovery().lost.len()), (1, 0));
        assert_eq!(again.durable_seq(), syncs_that_worked + 1);
        assert_eq!(again.append(b"goes on")?, syncs_that_worked + 1);
        assert_eq!(everything(&again.reader()).records.len() as u64, syncs_that_worked + 2);
        assert!(kept.iter().all(|record| record[..] == *b"record"));
        assert_eq!(segments(&log).len(), 2, "nothing more goes into the file whose sync failed");
    }
    Ok(())
}

/// G8: the page is not live in another mount namespace, as that of a container started anew; that a
/// sync failed holds there too.
#[test]
fn g8_a_failed_sync_is_not_forgotten_in_another_mount_namespace() {
    let can = Command::new("unshare").args(["-m", "true"]).status();
    if !can.is_ok_and(|done| done.success()) {
        println!("skipped: needs unshare, and leave to make a mount namespace");
        return;
    }
    let dir = tempdir();
    let log = dir.path().join("log");
    let arguments =
        ["-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=3"];
    let Some(done) = strace(&arguments, "strace::appends_and_syncs_until_it_fails", &log) else {
        return;
    };
    assert!(done.status.success(), "{done:?}");
    let done = Command::new("unshare")
        .arg("-m")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "strace::opens_elsewhere", "--ignored", "--nocapture"])
        .env("LOG", &log)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(said.contains("live false, copied 1, next 2"), "{said} {done:?}");
}

#[test]
#[ignore = "a child"]
fn opens_elsewhere() {
    let log = open(std::env::var("LOG").unwrap()).unwrap();
    let found = log.recovery();
    println!("live {}, copied {}, next {}", found.live, found.copied, log.next_seq());
}

#[test]
#[ignore = "a child"]
fn appends_and_syncs_until_it_fails() {
    let log = open(std::env::var("LOG").unwrap()).unwrap();
    let mut worked = 0;
    let error = loop {
        log.append(b"record").unwrap();
        match log.sync() {
            Ok(durable) => worked = durable,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Poisoned);
    assert_eq!(log.append(b"more").unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(log.sync().unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(log.durable_seq(), worked);
    assert_eq!(log.reader().iter().filter(|item| item.is_ok()).count() as u64, worked + 1);
    assert_eq!(log.close().unwrap_err().kind(), ErrorKind::Poisoned);
    println!("worked {worked}");
}
