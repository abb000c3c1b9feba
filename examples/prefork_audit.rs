//! A prefork server whose workers write one audit log, and what is left when they are killed.
//!
//! ```text
//! cargo run --release --example prefork_audit
//! ```
//!
//! The parent opens nothing, so its workers inherit nothing: each opens the log by itself, and all of them
//! append to it at once. Some are killed in the middle of whatever they do, and replaced. Then every record whose append
//! returned is there, once, and nobody had to clean up.
#![allow(clippy::print_stdout, unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::io::{self, BufRead, BufReader, PipeWriter, Write};
use std::path::Path;

use maplog::{Log, Reader};

const WORKERS: usize = 4;
const REQUESTS: usize = 12_000;
/// A worker is killed, and replaced, behind so many requests.
const KILL_EVERY: usize = 1500;

fn main() -> Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let (answers, told) = io::pipe()?;
    let mut answers = BufReader::new(answers).lines();
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(fork(|| serve(home.path(), &told))?);
    }
    let mut served = HashSet::new();
    while served.len() < REQUESTS {
        served.insert(answers.next().ok_or("no worker is left")??);
        if served.len().is_multiple_of(KILL_EVERY) {
            kill(workers.remove(0))?;
            workers.push(fork(|| serve(home.path(), &told))?);
        }
    }
    drop(told);
    workers.into_iter().try_for_each(kill)?;
    for answer in answers {
        served.insert(answer?);
    }
    check(home.path(), served)
}

/// A worker: writes a record for each request, and answers it when the append returned.
fn serve(log: &Path, mut answers: &PipeWriter) -> Result<(), Box<dyn Error>> {
    // SAFETY: only maplog, in these processes, changes the files of this log.
    let log = unsafe { Log::open(log)? };
    let worker = std::process::id();
    for request in 0.. {
        let audit = audit(worker, request);
        let seq = log.append(&audit)?;
        // So short a line goes into a pipe whole or not at all.
        answers.write_all(format!("{seq} {audit}\n").as_bytes())?;
    }
    Ok(())
}

fn audit(worker: u32, request: u64) -> String {
    format!("worker {worker} served request {request}")
}

/// Everything that was answered is in the log, and nothing else but what workers were killed in.
fn check(log: &Path, mut answers: HashSet<String>) -> Result<(), Box<dyn Error>> {
    let answered = answers.len() as u64;
    // SAFETY: as above.
    let reader = unsafe { Reader::open(log)? };
    let mut requests = HashMap::new();
    for record in &reader {
        let record = record?;
        let found = str::from_utf8(record.data())?;
        let worker = found.split(' ').nth(1).ok_or("no worker")?.parse()?;
        let request = requests.entry(worker).or_insert(0);
        assert_eq!(found, audit(worker, *request), "a worker's records, in order, each once");
        *request += 1;
        answers.remove(&format!("{} {found}", record.seq()));
    }
    assert!(answers.is_empty(), "records are gone: {answers:?}");
    let (records, workers) = (reader.len(), requests.len() as u64);
    let unanswered = records - answered;
    assert!(unanswered <= workers, "{unanswered}: each was killed in one request at most");
    println!(
        "{records} records of {workers} workers, all killed, {unanswered} before they answered"
    );
    Ok(())
}

/// A process that does `work` and ends.
fn fork(work: impl FnOnce() -> Result<(), Box<dyn Error>>) -> io::Result<libc::pid_t> {
    // SAFETY: this process has one thread, so the child may do whatever the parent may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let failed = work().inspect_err(|error| println!("{error}")).is_err();
            std::process::exit(failed.into())
        }
        worker => Ok(worker),
    }
}

fn kill(worker: libc::pid_t) -> io::Result<()> {
    // SAFETY: it is a child that nobody waited for, so the number is its own; neither call touches memory.
    match unsafe {
        libc::kill(worker, libc::SIGKILL) | libc::waitpid(worker, std::ptr::null_mut(), 0)
    } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
