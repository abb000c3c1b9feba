//! The processes: appenders, which write down what they were told, and readers.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use maplog::{Log, SyncPolicy};
use tempfile::TempDir;

use super::check::{Digest, Note, payload};
use crate::support::{child, read};

const HOME: &str = "MAPLOG_TEST_HOME";
const NUMBER: &str = "MAPLOG_TEST_NUMBER";
const THREADS: &str = "MAPLOG_TEST_THREADS";

/// Small segments, so that rolls are many.
const SEGMENT_BYTES: u64 = 256 * 1024;

pub fn log_in(home: &Path) -> PathBuf {
    home.join("log")
}

pub fn signal(pid: u32, signal: i32) {
    // SAFETY: a signal to a child that was not waited for.
    assert_eq!(unsafe { libc::kill(pid as libc::pid_t, signal) }, 0);
}

/// All processes at work on one log.
pub struct Crowd {
    home: TempDir,
    appenders: Vec<Child>,
    readers: Vec<Child>,
    threads: usize,
    started: usize,
    rng: fastrand::Rng,
}

impl Crowd {
    pub fn start(home: TempDir, appenders: usize, threads: usize, readers: usize) -> Self {
        let rng = fastrand::Rng::with_seed(7);
        let (none, nobody) = (Vec::new(), Vec::new());
        let mut crowd = Crowd { home, appenders: none, readers: nobody, threads, started: 0, rng };
        for _ in 0..appenders {
            let new = crowd.start_one("appender");
            crowd.appenders.push(new);
        }
        while read(log_in(crowd.home.path())).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        for _ in 0..readers {
            let new = crowd.start_one("reader");
            crowd.readers.push(new);
        }
        crowd
    }

    fn start_one(&mut self, role: &str) -> Child {
        self.started += 1;
        let settings = [
            (HOME, self.home.path().to_str().unwrap()),
            (NUMBER, &self.started.to_string()),
            (THREADS, &self.threads.to_string()),
        ];
        child(&format!("many::processes::{role}"), &settings)
    }

    /// How many records there are now.
    pub fn records(&self) -> u64 {
        read(log_in(self.home.path())).unwrap().next_seq()
    }

    /// Stops the process that holds the append lock.
    pub fn stop_the_owner(&mut self) -> u32 {
        for _ in 0..2000 {
            let index = self.rng.usize(..self.appenders.len());
            let pid = self.appenders[index].id();
            signal(pid, libc::SIGSTOP);
            let before = self.records();
            std::thread::sleep(Duration::from_millis(50));
            if self.is_locked() && self.records() == before {
                return pid;
            }
            signal(pid, libc::SIGCONT);
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the lock was never held by who was stopped");
    }

    /// The lowest bit of the append lock's word (docs/format.md).
    fn is_locked(&self) -> bool {
        fs::read(log_in(self.home.path()).join("shared")).unwrap()[256] & 1 == 1
    }

    /// Kills one process that appends and starts another in its place.
    pub fn kill_one(&mut self) {
        let new = self.start_one("appender");
        let index = self.rng.usize(..self.appenders.len());
        let mut old = std::mem::replace(&mut self.appenders[index], new);
        old.kill().unwrap();
        old.wait().unwrap();
    }

    /// Tells all to stop; gives what the readers saw.
    pub fn finish(mut self) -> (TempDir, Vec<Digest>) {
        File::create(self.home.path().join("stop")).unwrap();
        for appender in std::mem::take(&mut self.appenders) {
            let output = appender.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
        let total = self.records();
        // Written elsewhere first: a reader takes what it finds for whole.
        fs::write(self.home.path().join("total.new"), total.to_string()).unwrap();
        fs::rename(self.home.path().join("total.new"), self.home.path().join("total")).unwrap();
        let mut digests = Vec::new();
        for reader in std::mem::take(&mut self.readers) {
            let output = reader.wait_with_output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "{text}");
            let line = text.lines().find_map(|line| line.strip_prefix("saw "));
            digests.push(Digest(line.expect("a reader saw nothing").parse().unwrap()));
        }
        let gone = tempfile::tempdir().unwrap();
        (std::mem::replace(&mut self.home, gone), digests)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in self.appenders.iter_mut().chain(&mut self.readers) {
            let _dead_already = child.kill();
            let _waited_for_already = child.wait();
        }
    }
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap()
}

#[test]
#[ignore = "a process of the tests above"]
fn appender() {
    let home = PathBuf::from(env(HOME));
    let number: u32 = env(NUMBER).parse().unwrap();
    let threads: u32 = env(THREADS).parse().unwrap();
    let options = Log::options().segment_bytes(SEGMENT_BYTES).sync(SyncPolicy::Manual);
    // SAFETY: only maplog changes the log's files.
    let log = unsafe { options.open(log_in(&home)) }.unwrap();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (log, home) = (&log, &home);
            scope.spawn(move || append_until_told(log, home, number, thread));
        }
    });
    log.close().unwrap();
}

/// Appends, and writes down each number that was returned, as its parent reads it even if this process is
/// killed.
fn append_until_told(log: &Log, home: &Path, number: u32, thread: u32) {
    let mut told = File::create(home.join(format!("told-{number}-{thread}"))).unwrap();
    let mut rng = fastrand::Rng::with_seed(u64::from(number) << 8 | u64::from(thread));
    let mut count = 0;
    while rng.u8(..) > 0 || !home.join("stop").exists() {
        let records = if rng.u8(..8) == 0 { rng.u64(2..5) } else { 1 };
        let payloads: Vec<_> =
            (count..count + records).map(|count| payload(number, thread, count)).collect();
        let start = match &payloads[..] {
            [one] => log.append(one).unwrap(),
            batch => {
                let seqs = log.append_batch(batch).unwrap();
                assert_eq!(seqs.end - seqs.start, records);
                seqs.start
            }
        };
        told.write_all(&Note { seq: start, count, records }.encode()).unwrap();
        count += records;
        if thread == 0 && rng.u8(..100) == 0 {
            log.sync().unwrap();
        }
    }
}

#[test]
#[ignore = "a process of the tests above"]
fn reader() {
    let home = PathBuf::from(env(HOME));
    let mut tail = read(log_in(&home)).unwrap().tail_from(0);
    let mut digest = Digest::default();
    let mut total = None;
    while total != Some(tail.next_seq()) {
        // In turns, as there are two ways to receive.
        let wait = Duration::from_millis(20);
        while let Some(record) = tail.recv_timeout(wait).unwrap() {
            digest.add(record.seq(), record.data());
            let Some(batch) = tail.try_recv_batch(4096).unwrap() else { continue };
            for record in batch {
                digest.add(record.seq(), record.data());
            }
        }
        let written = fs::read_to_string(home.join("total"));
        total = written.ok().map(|total| total.parse().unwrap());
    }
    println!("\nsaw {}", digest.0);
}
