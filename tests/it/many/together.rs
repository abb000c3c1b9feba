//! What one process does while another has the log open: failing syncs, opening and closing at once,
//! full limits, other mounts.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use maplog::ErrorKind;

use crate::strace::{can_trace, strace};
use crate::support::{child, everything, open, read, tempdir};

fn setting(name: &str) -> String {
    std::env::var(name).unwrap()
}

/// G8: a sync that fails in one process poisons the log in all of them; what was committed is read
/// meanwhile, and written anew when the last of them has closed.
#[test]
fn g8_a_failed_sync_poisons_every_process() {
    let dir = tempdir();
    let log = open(dir.path()).unwrap();
    log.append("first").unwrap();
    log.sync().unwrap();
    let fail = ["-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"];
    let Some(done) = strace(&fail, "many::together::fails_to_sync", dir.path()) else { return };
    assert!(done.status.success(), "{done:?}");
    for error in [log.append("third").unwrap_err(), log.sync().unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}");
    }
    assert_eq!((log.next_seq(), log.durable_seq()), (2, 1));
    assert_eq!(everything(&log.reader()).records.len(), 2);
    assert_eq!(everything(&read(dir.path()).unwrap()).records.len(), 2);
    let mut third = child("many::together::is_refused", &[("LOG", dir.path().to_str().unwrap())]);
    assert!(third.wait().unwrap().success());
    assert_eq!(log.close().unwrap_err().kind(), ErrorKind::Poisoned);
    let again = open(dir.path()).unwrap();
    assert_eq!((again.recovery().copied, again.durable_seq()), (1, 2));
    assert_eq!(again.append("third").unwrap(), 2);
}

#[test]
#[ignore = "a process of the test above"]
fn fails_to_sync() {
    let log = open(setting("LOG")).unwrap();
    assert!(log.recovery().joined);
    assert_eq!(log.append("second").unwrap(), 1);
    assert_eq!(log.sync().unwrap_err().kind(), ErrorKind::Poisoned);
}

#[test]
#[ignore = "a process of the test above"]
fn is_refused() {
    let error = open(setting("LOG")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}");
    assert!(error.to_string().contains("close the log in every process"), "{error}");
}

/// Attack 6: the process whose sync failed dies before it can say so. The survivor's own descriptor is
/// told, too.
#[test]
fn attack_6_a_survivor_is_told_of_the_error_that_killed_another() {
    if !can_trace() {
        return;
    }
    let dir = tempdir();
    let log = open(dir.path()).unwrap();
    log.append("first").unwrap();
    let kill = [
        "-o",
        "/dev/null",
        "-e",
        "trace=fdatasync",
        "-e",
        "inject=fdatasync:error=EIO:signal=SIGKILL",
    ];
    let done = strace(&kill, "many::together::fails_to_sync", dir.path()).unwrap();
    assert!(!done.status.success(), "it was to be killed");
    // The error was invented, so this one's descriptor, which is older, is told of none.
    assert_eq!(log.append("third").unwrap(), 2);
    assert_eq!(log.sync().unwrap(), 3);
    assert_eq!(log.sync().unwrap(), 3);
    log.close().unwrap();
    let again = open(dir.path()).unwrap();
    assert!(again.recovery().clean, "{:?}", again.recovery());
}

/// Attack 13: openers beside openers and beside closing last ones, some of them killed. Each append that
/// returned is there, and nobody finds damage.
#[test]
fn attack_13_openers_and_closers_at_once_find_one_log() {
    let dir = tempdir();
    let told = AtomicU64::new(0);
    let kills = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (told, kills, dir) = (&told, &kills, &dir);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                let since = Instant::now();
                let is_enough =
                    || told.load(Ordering::Relaxed) > 20 && kills.load(Ordering::Relaxed) > 3;
                let (least, most) = (Duration::from_secs(4), Duration::from_secs(60));
                while since.elapsed() < least || (!is_enough() && since.elapsed() < most) {
                    let log = dir.path().to_str().unwrap();
                    let mut one = child("many::together::comes_and_goes", &[("LOG", log)]);
                    if rng.bool() {
                        std::thread::sleep(Duration::from_millis(rng.u64(1..60)));
                        one.kill().unwrap();
                        kills.fetch_add(1, Ordering::Relaxed);
                    }
                    let output = one.wait_with_output().unwrap();
                    let text = String::from_utf8(output.stdout).unwrap();
                    assert!(!text.contains("panicked"), "{text}");
                    let appended = text.lines().filter(|line| *line == "appended").count();
                    told.fetch_add(appended as u64, Ordering::Relaxed);
                }
            });
        }
    });
    let (told, kills) = (told.into_inner(), kills.into_inner());
    let log = open(dir.path()).unwrap();
    let all = everything(&log.reader());
    assert_eq!(all.lost, []);
    let records = all.records.len() as u64;
    println!("{records} records of openers and closers, {told} told of, {kills} kills");
    assert!((told..=told + kills).contains(&records), "{told} {records} {kills}");
    assert!(told > 20 && kills > 3, "{told} {kills}");
}

#[test]
#[ignore = "a process of the test above"]
fn comes_and_goes() {
    for _ in 0..20 {
        let log = open(setting("LOG")).unwrap();
        assert_eq!(log.recovery().lost, []);
        log.append("mine").unwrap();
        println!("\nappended");
        log.close().unwrap();
    }
}

/// A container sees the same directory through a mount of its own, and joins.
#[test]
fn a_process_in_another_mount_namespace_joins() {
    let can = Command::new("unshare").args(["-m", "true"]).status();
    if !can.is_ok_and(|done| done.success()) {
        println!("skipped: needs unshare, and leave to make a mount namespace");
        return;
    }
    let dir = tempdir();
    let log = open(dir.path()).unwrap();
    log.append("first").unwrap();
    let script = "mount --bind \"$LOG\" /mnt && LOG=/mnt exec \"$0\" \"$@\"";
    let done = Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "many::together::appends_elsewhere", "--ignored", "--nocapture"])
        .env("LOG", dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && said.contains("joined true, seq 1"), "{said} {done:?}");
    assert_eq!(log.append("third").unwrap(), 2);
    assert_eq!(everything(&log.reader()).records.len(), 3);
}

#[test]
#[ignore = "a process of the test above"]
fn appends_elsewhere() {
    let log = open(setting("LOG")).unwrap();
    println!("\njoined {}, seq {}", log.recovery().joined, log.append("second").unwrap());
}

/// The page has words for so many participants.
#[test]
fn processes_past_the_limit_are_refused_and_the_place_of_one_that_ends_is_free() {
    let dir = tempdir();
    let log = dir.path().to_str().unwrap();
    let output = child("many::together::opens_256_times", &[("LOG", log)]).wait_with_output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// By children of its own, which shall not have copies of what other tests have open.
#[test]
#[ignore = "a process of the test above"]
fn opens_256_times() {
    let path = std::path::PathBuf::from(setting("LOG"));
    let log = open(&path).unwrap();
    log.append("first").unwrap();
    let mut others: Vec<_> = (0..255).map(|_| forked_opener(&path)).collect();
    let error = in_a_process_of_its_own(&path);
    assert!(error.contains("InUse") && error.contains("256 processes"), "{error}");
    others.pop().unwrap().end();
    assert!(in_a_process_of_its_own(&path).contains("opened"));
    others.into_iter().for_each(Opener::end);
    log.close().unwrap();
}

fn in_a_process_of_its_own(log: &Path) -> String {
    let one = child("many::together::tries_to_open", &[("LOG", log.to_str().unwrap())]);
    String::from_utf8(one.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
#[ignore = "a process of the test above"]
fn tries_to_open() {
    match open(setting("LOG")) {
        Ok(_) => println!("\nopened"),
        Err(error) => println!("\n{:?}: {error}", error.kind()),
    }
}

/// A child of fork that opened the log: cheaper than a program.
struct Opener {
    pid: libc::pid_t,
}

fn forked_opener(log: &Path) -> Opener {
    let mut ready = [0; 2];
    // SAFETY: a place for two descriptors.
    assert_eq!(unsafe { libc::pipe(ready.as_mut_ptr()) }, 0);
    // SAFETY: the child uses what a child of a process with several threads may not rely on (the
    // allocator, locks), as glibc lets it.
    match unsafe { libc::fork() } {
        0 => {
            let opened = open(log).map(std::mem::forget).is_ok();
            // SAFETY: one byte of a local; then the child sleeps until it is killed or told.
            unsafe {
                libc::write(ready[1], [u8::from(opened)].as_ptr().cast(), 1);
                loop {
                    libc::pause();
                }
            }
        }
        pid => {
            let mut byte = [0u8];
            // SAFETY: one byte into a local; the descriptors are this function's.
            unsafe {
                assert_eq!(libc::read(ready[0], byte.as_mut_ptr().cast(), 1), 1);
                libc::close(ready[0]);
                libc::close(ready[1]);
            }
            assert_eq!(byte, [1], "the child could not open the log");
            Opener { pid }
        }
    }
}

impl Opener {
    fn end(self) {
        // SAFETY: the pid is of a child that nobody else waits for.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
    }
}
