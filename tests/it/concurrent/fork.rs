//! Children of `fork`: they inherit memory and descriptors, but neither the handle nor its lock.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitStatus;
use std::thread::Builder;
use std::time::{Duration, Instant};

use maplog::{Error, ErrorKind, Log};

use super::processes::{Other, is_in_use, log_of_parent, say, wait_to_be_told};
use super::{payload, thread_and_count};
use crate::support::{open, read, tempdir};

/// A child that hangs is ended by SIGALRM.
const PATIENCE_SECONDS: u32 = 20;

/// How a process is doubled: by the C library, or behind its back.
#[derive(Clone, Copy, Debug)]
enum Doubling {
    Fork,
    RawClone,
}

/// Runs `role` in a child of this process; gives how it ended.
fn in_a_child(doubling: Doubling, role: impl FnOnce()) -> ExitStatus {
    ended(start_child(doubling, role))
}

/// A child of this process by the C library, which runs `role`; to be given to [`ended`].
pub fn start_child_of_fork(role: impl FnOnce()) -> libc::pid_t {
    start_child(Doubling::Fork, role)
}

/// Waits for a child; gives how it ended.
pub fn ended(pid: libc::pid_t) -> ExitStatus {
    let mut status = 0;
    // SAFETY: `status` is a place for the status of a child that nobody else waits for.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    ExitStatus::from_raw(status)
}

fn start_child(doubling: Doubling, role: impl FnOnce()) -> libc::pid_t {
    // SAFETY: these run in processes of their own that have no other thread in the middle of
    // anything; the child ends by `_exit` and never returns into what was its parent.
    let pid = unsafe {
        match doubling {
            Doubling::Fork => libc::fork(),
            Doubling::RawClone => {
                libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as libc::pid_t
            }
        }
    };
    assert!(pid >= 0);
    if pid > 0 {
        return pid;
    }
    // SAFETY: no handler is set, so the signal ends a child that hangs; then it ends by itself.
    unsafe {
        libc::alarm(PATIENCE_SECONDS);
        let went_well = catch_unwind(AssertUnwindSafe(role)).is_ok();
        libc::_exit(i32::from(!went_well))
    }
}

/// # Safety
/// Nothing that owns one of these descriptors is used or dropped afterwards.
unsafe fn close_all_from(first: u32) {
    // SAFETY: the call touches no memory.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    assert_eq!(done, 0);
}

fn assert_forked<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Forked);
}

fn run(role: &str) {
    let home = tempdir();
    Other::start(role, home.path()).end();
}

#[test]
fn a_child_of_a_process_that_appends_at_full_speed_ends_and_the_parent_goes_on() {
    run("concurrent::fork::a_child_while_pages_are_touched_ahead");
}

fn rest() {
    std::thread::sleep(Duration::from_millis(100));
}

fn has_thread(name: &str) -> bool {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let mut names = threads.map(|of| std::fs::read_to_string(of.unwrap().path().join("comm")));
    names.any(|comm| comm.is_ok_and(|comm| comm.trim_end() == name))
}

#[test]
#[ignore = "a process of the test above"]
fn a_child_while_pages_are_touched_ahead() {
    const RECORD_BYTES: usize = 64 * 1024;
    let path = log_of_parent();
    // SAFETY: tests change files only while no handle is alive.
    let log = unsafe { Log::options().segment_bytes(6 << 20).open(&path) }.unwrap();
    let record = |seq: u64| vec![seq as u8; RECORD_BYTES];
    let (mut next, mut children) = (0, 0);
    while children < 4 {
        assert_eq!(log.append(record(next)).unwrap(), next);
        next += 1;
        if !next.is_multiple_of(64) {
            continue;
        }
        if ["maplog", "maplog-ahead"].iter().all(|name| has_thread(name)) {
            let status = in_a_child(Doubling::Fork, || {
                assert_forked(log.append("x"));
                // Threads of the child have the stacks of threads that it has not.
                let sizes = [128 * 1024, 2 << 20];
                let mine = sizes.map(|bytes| Builder::new().stack_size(bytes).spawn(rest).unwrap());
                // SAFETY: the child ends by `_exit`, and uses its copy no more.
                drop(unsafe { std::ptr::read(&raw const log) });
                assert!(mine.into_iter().all(|thread| thread.join().is_ok()));
            });
            assert!(status.success(), "{status}");
            children += 1;
        }
        // Pages may be about to be touched in segments that are gone then.
        log.trim_before(next - 8).unwrap();
        assert!(next < 64 * 1000, "too slow for pages to be touched ahead");
    }
    let reader = log.reader();
    assert!(reader.iter().all(|item| {
        let item = item.unwrap();
        item.data() == record(item.seq())
    }));
    assert_eq!((reader.first_seq(), reader.next_seq()), (next - 8, next));
    log.close().unwrap();
}

/// ATTACKS 14, 47.
#[test]
fn every_call_in_a_child_of_fork_is_forked_and_the_parent_goes_on() {
    run("concurrent::fork::calls_in_a_child");
}

#[test]
#[ignore = "a process of the test above"]
fn calls_in_a_child() {
    let path = log_of_parent();
    for doubling in [Doubling::Fork, Doubling::RawClone] {
        let log = open(&path).unwrap();
        let start = log.append(payload(0, 0)).unwrap();
        let status = in_a_child(doubling, || {
            assert_forked(log.append("x"));
            assert_forked(log.append_batch(&["x", "y"]));
            assert_forked(log.writer());
            assert_forked(log.try_writer());
            assert_forked(log.sync());
            assert_forked(log.sync_to(0));
            assert_forked(log.clone().close());
            // What only looks goes on, as of now or as of the fork.
            assert!(log.next_seq() > start);
            assert_eq!(log.reader().get(start).unwrap().unwrap().data(), payload(0, 0));
            let reader = read(&path).unwrap();
            assert_eq!(reader.get(start).unwrap().unwrap().data(), payload(0, 0));
            assert!(is_in_use(&path), "the parent has it open");
        });
        assert!(status.success(), "{doubling:?}: {status:?}");
        assert_eq!(log.append(payload(0, 1)).unwrap(), start + 1);
        assert_eq!(log.sync().unwrap(), start + 2);
        log.close().unwrap();
    }
    assert!(open(&path).unwrap().recovery().clean);
}

/// ATTACKS 14, 47: one owner, whatever a child does with what it inherited.
#[test]
fn a_child_that_drops_its_copy_leaves_the_lock_to_the_parent() {
    let home = tempdir();
    let mut parent = Other::start("concurrent::fork::drops_in_a_child", home.path());
    parent.wait_for("dropped");
    assert!(is_in_use(home.path()));
    parent.tell();
    parent.wait_for("closed");
    assert!(!is_in_use(home.path()));
    parent.tell();
    parent.end();
    let log = open(home.path()).unwrap();
    assert!(log.recovery().clean);
    let seen: Vec<_> =
        log.reader().iter().map(|item| thread_and_count(item.unwrap().data())).collect();
    assert_eq!(seen, [(0, 0), (0, 1), (0, 2)]);
}

#[test]
#[ignore = "a process of the test above"]
fn drops_in_a_child() {
    let log = open(log_of_parent()).unwrap();
    log.append(payload(0, 0)).unwrap();
    let mut mine = Some(log);
    for doubling in [Doubling::Fork, Doubling::RawClone] {
        assert!(in_a_child(doubling, || drop(mine.take())).success());
        let status = in_a_child(doubling, || assert_forked(mine.take().unwrap().close()));
        assert!(status.success());
        // As daemons do, of all that the child inherited.
        // SAFETY: the child uses none of the descriptors that it closes.
        let status = in_a_child(doubling, || unsafe { close_all_from(3) });
        assert!(status.success());
    }
    let log = mine.unwrap();
    log.append(payload(0, 1)).unwrap();
    say("dropped");
    wait_to_be_told();
    log.append(payload(0, 2)).unwrap();
    log.close().unwrap();
    say("closed");
    wait_to_be_told();
}

/// A handle that was opened and not appended to is in a child what any other is.
#[test]
fn closing_an_untouched_handle_in_a_child_is_forked() {
    run("concurrent::fork::closes_untouched");
}

#[test]
#[ignore = "a process of the test above"]
fn closes_untouched() {
    drop(open(log_of_parent()).unwrap());
    let mut log = Some(open(log_of_parent()).unwrap());
    let status = in_a_child(Doubling::Fork, || assert_forked(log.take().unwrap().close()));
    assert!(status.success(), "{status:?}");
}

/// ATTACKS 14: fork while a Writer is held, with a reservation open.
#[test]
fn a_writer_held_across_fork_is_the_parents() {
    run("concurrent::fork::holds_a_writer");
}

#[test]
#[ignore = "a process of the test above"]
fn holds_a_writer() {
    let log = open(log_of_parent()).unwrap();
    let mut writer = log.writer().unwrap();
    writer.append(payload(0, 0)).unwrap();
    for doubling in [Doubling::Fork, Doubling::RawClone] {
        let status = in_a_child(doubling, || {
            assert_forked(log.append("x"));
            assert_forked(log.try_writer());
            assert_forked(writer.append("x"));
            assert_forked(writer.append_batch(&["x", "y"]));
            assert_forked(writer.reserve(10));
        });
        assert!(status.success(), "{status:?}");
    }
    let mine = payload(0, 1);
    let mut slot = Some(writer.reserve(mine.len()).unwrap());
    slot.as_mut().unwrap().write_all(&mine).unwrap();
    let status = in_a_child(Doubling::Fork, || assert_forked(slot.take().unwrap().commit()));
    assert!(status.success(), "{status:?}");
    // The reserved bytes are the log's own memory, which parent and child share.
    let status = in_a_child(Doubling::Fork, || {
        let mut slot = slot.take().unwrap();
        slot.fill(0xff);
        assert!(slot.is_empty());
        let error = slot.write(b"x").unwrap_err();
        assert_eq!(error.downcast::<Error>().unwrap().kind(), ErrorKind::Forked);
    });
    assert!(status.success(), "{status:?}");
    assert_eq!(slot.as_deref().unwrap(), mine);
    assert_eq!(slot.unwrap().commit().unwrap(), 1);
    let mut writer = Some(writer);
    assert!(in_a_child(Doubling::Fork, || drop(writer.take())).success());
    // What the child dropped gave nothing back.
    let others = std::thread::scope(|scope| {
        scope.spawn(|| log.try_writer().map(|writer| writer.is_some()).unwrap()).join()
    });
    assert!(!others.unwrap());
    assert_eq!(writer.unwrap().append(payload(0, 2)).unwrap(), 2);
    let reader = log.reader();
    assert!(
        reader.iter().map(|item| thread_and_count(item.unwrap().data())).eq((0..3).map(|n| (0, n)))
    );
}

/// ATTACKS 14, 47: the child lives on, with or without its copy of the descriptors, and the log is free.
#[test]
fn a_child_that_outlives_its_killed_parent_keeps_no_lock() {
    for role in ["outlived", "outlived_raw_clone", "outlived_holding_a_writer"] {
        let home = tempdir();
        let mut parent = Other::start(&format!("concurrent::fork::{role}"), home.path());
        let child: libc::pid_t = parent.wait_for("child").parse().unwrap();
        assert!(is_in_use(home.path()));
        parent.kill();
        let log = open(home.path()).unwrap();
        assert!(log.recovery().live);
        assert_eq!(log.next_seq(), 1);
        assert_eq!(log.append(payload(0, 1)).unwrap(), 1);
        // SAFETY: a signal to the orphan, which sleeps and is nobody's child to be waited for.
        unsafe {
            assert_eq!(libc::kill(child, 0), 0, "the child did not live on");
            libc::kill(child, libc::SIGKILL);
        }
    }
}

fn outlive(doubling: Doubling, hold_a_writer: bool) {
    let log = open(log_of_parent()).unwrap();
    log.append(payload(0, 0)).unwrap();
    let writer = hold_a_writer.then(|| log.writer().unwrap());
    let pid = start_child(doubling, || std::thread::sleep(Duration::from_secs(15)));
    say(&format!("child {pid}"));
    wait_to_be_told();
    drop(writer);
}

#[test]
#[ignore = "a process of the test above"]
fn outlived() {
    outlive(Doubling::Fork, false);
}

#[test]
#[ignore = "a process of the test above"]
fn outlived_raw_clone() {
    outlive(Doubling::RawClone, false);
}

#[test]
#[ignore = "a process of the test above"]
fn outlived_holding_a_writer() {
    outlive(Doubling::Fork, true);
}

/// ATTACKS 14: a daemonizing close of all descriptors does not free the log that is still open.
#[test]
fn closing_all_descriptors_keeps_the_log_locked_until_the_process_dies() {
    let home = tempdir();
    let mut parent = Other::start("concurrent::fork::closes_all_descriptors", home.path());
    parent.wait_for("closed all");
    assert!(is_in_use(home.path()));
    parent.kill();
    let log = open(home.path()).unwrap();
    assert!(log.recovery().live);
    assert_eq!(log.next_seq(), 2);
}

#[test]
#[ignore = "a process of the test above"]
fn closes_all_descriptors() {
    let log = open(log_of_parent()).unwrap();
    log.append(payload(0, 0)).unwrap();
    // SAFETY: what uses these descriptors after this gets an error; the process is killed before
    // anything would close them again.
    unsafe { close_all_from(3) };
    assert_eq!(log.append(payload(0, 1)).unwrap(), 1, "the mapping is still there");
    say("closed all");
    wait_to_be_told();
    std::process::abort();
}

/// A child does not hear of the segments that its parent makes, and asks for a reader all the same.
#[test]
fn a_reader_in_a_child_comes_back_though_the_parent_rolled() {
    run("concurrent::fork::reads_after_the_parent_rolled");
}

#[test]
#[ignore = "a process of the test above"]
fn reads_after_the_parent_rolled() {
    let log = open(log_of_parent()).unwrap();
    log.append(payload(0, 0)).unwrap();
    let rolled = |log: &Log| log.next_seq() == 1001;
    let pid = start_child(Doubling::Fork, || {
        let since = Instant::now();
        while !rolled(&log) {
            assert!(since.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(1));
        }
        let reader = log.reader();
        assert_eq!(reader.get(0).unwrap().unwrap().data(), payload(0, 0));
        assert!(reader.iter().all(|item| item.is_ok()));
    });
    for count in 1..=1000 {
        log.append(payload(0, count)).unwrap();
    }
    let mut status = 0;
    // SAFETY: `status` is a place for the status of a child that nobody else waits for.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    let status = ExitStatus::from_raw(status);
    assert!(status.success(), "{status:?}");
}
