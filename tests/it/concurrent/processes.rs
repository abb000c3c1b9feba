//! A second process: kept out of appending, free to read.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, thread};

use maplog::{ErrorKind, Log};

use super::{payload, thread_and_count};
use crate::support::{SMALL, child, open, read, tempdir};

const NOBODY: u32 = 65_534;

/// A process of this test binary, with its output line by line.
pub struct Other {
    pub child: Child,
    output: BufReader<ChildStdout>,
}

impl Other {
    pub fn start(role: &str, log: &Path) -> Self {
        Self::of(child(role, &[("MAPLOG_TEST_LOG", log.to_str().unwrap())]))
    }

    fn of(mut child: Child) -> Self {
        let output = BufReader::new(child.stdout.take().unwrap());
        Other { child, output }
    }

    /// Waits for a line that begins with `word` and gives what follows.
    pub fn wait_for(&mut self, word: &str) -> String {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "no {word:?} but:\n{all}");
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
            all.push_str(&line);
        }
    }

    pub fn tell(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"go on\n").unwrap();
    }

    pub fn end(mut self) {
        assert!(self.child.wait().unwrap().success());
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _dead_already = self.child.kill();
        let _waited_for_already = self.child.wait();
    }
}

/// Says something to the parent, on a line of its own.
#[allow(clippy::print_stdout)]
pub fn say(line: &str) {
    println!("\n{line}");
}

pub fn wait_to_be_told() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

pub fn log_of_parent() -> std::path::PathBuf {
    std::env::var("MAPLOG_TEST_LOG").unwrap().into()
}

/// True while some process has the log open to append.
pub fn is_in_use(log: &Path) -> bool {
    match maplog::repair(log).dry_run(true).run() {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
            true
        }
    }
}

#[test]
#[ignore = "a process of the tests below"]
fn holder() {
    let log = open(log_of_parent()).unwrap();
    log.append(payload(7, 0)).unwrap();
    say("open");
    wait_to_be_told();
    log.close().unwrap();
    say("closed");
    wait_to_be_told();
}

#[test]
fn a_second_process_joins_the_first_and_the_last_closes() {
    let home = tempdir();
    let mut holder = Other::start("concurrent::processes::holder", home.path());
    holder.wait_for("open");
    assert!(is_in_use(home.path()));
    assert_eq!(read(home.path()).unwrap().next_seq(), 1, "reading needs no lock");
    let log = open(home.path()).unwrap();
    assert!(log.recovery().joined && log.recovery().clean);
    assert_eq!(log.append("second").unwrap(), 1);
    holder.tell();
    holder.wait_for("closed");
    assert!(is_in_use(home.path()));
    assert_eq!(log.append("third").unwrap(), 2);
    log.close().unwrap();
    assert!(!is_in_use(home.path()));
    let log = open(home.path()).unwrap();
    assert!(log.recovery().clean && !log.recovery().joined);
    assert_eq!((log.next_seq(), log.durable_seq()), (3, 3));
    holder.tell();
    holder.end();
}

#[test]
fn a_second_process_opens_the_log_of_one_that_was_killed() {
    let home = tempdir();
    let mut holder = Other::start("concurrent::processes::holder", home.path());
    holder.wait_for("open");
    assert!(is_in_use(home.path()));
    holder.kill();
    let log = open(home.path()).unwrap();
    assert!(log.recovery().live && !log.recovery().clean);
    assert_eq!(log.append("second").unwrap(), 1);
}

/// Another thread that starts programs must not make the log's own lock linger: between fork and
/// exec a child has a copy of every descriptor.
#[test]
fn reopening_while_another_thread_starts_programs_is_never_in_use() {
    let home = tempdir();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    assert!(Command::new("true").status().unwrap().success());
                }
            });
        }
        let opened = (0..300).map(|_| open(home.path()).map(drop)).find(|opened| opened.is_err());
        done.store(true, Ordering::Release);
        assert!(opened.is_none(), "{opened:?}");
    });
}

#[test]
#[ignore = "a process of the test below"]
fn stranger() {
    let path = log_of_parent();
    // SAFETY: only maplog touches the directory.
    let refused = unsafe { Log::open(&path) }.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{refused}");
    let mut reader = read(&path).unwrap();
    say("open");
    let mut next_seq = 0;
    while next_seq < 3000 {
        reader.refresh().unwrap();
        assert!(reader.next_seq() >= next_seq, "next_seq went back");
        for item in reader.range(next_seq..) {
            let record = item.unwrap();
            assert_eq!(record.seq(), next_seq);
            assert_eq!(thread_and_count(record.data()), (1, next_seq as u32));
            next_seq += 1;
        }
    }
    say("read all");
}

/// G10: a reader with another user's rights, which can write nothing here, sees what is committed.
#[test]
fn a_reader_with_read_permission_only_follows_an_appending_process() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can start a process of another user");
        return;
    }
    let home = tempdir();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = home.path().join("log");
    // SAFETY: only maplog touches the directory.
    let log = unsafe { Log::options().segment_bytes(SMALL).mode(0o644).open(&path) }.unwrap();
    let started = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "concurrent::processes::stranger", "--ignored", "--nocapture"])
        .env("MAPLOG_TEST_LOG", &path)
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut stranger = match started {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            eprintln!("skipped: another user cannot reach the test binary: {error}");
            return;
        }
        other => Other::of(other.unwrap()),
    };
    stranger.wait_for("open");
    for count in 0..3000 {
        log.append(payload(1, count)).unwrap();
    }
    stranger.wait_for("read all");
    stranger.end();
    let owners: Vec<_> = fs::read_dir(&path)
        .unwrap()
        .map(|entry| std::os::unix::fs::MetadataExt::uid(&entry.unwrap().metadata().unwrap()))
        .collect();
    assert!(owners.iter().all(|owner| *owner == 0), "a reader made a file");
}
