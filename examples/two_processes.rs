//! Two processes, one log: the parent appends, the child follows it as it grows, and checks each record.
//!
//! ```text
//! cargo run --release --example two_processes
//! ```
//!
//! The child reads the bytes where the parent put them: nothing is sent, nothing is copied, and what it is
//! late for it finds in the history.
#![allow(clippy::print_stdout, unsafe_code)]

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use maplog::{Log, Reader};

const RECORDS: u64 = 200_000;

/// More than any record takes to come, if the parent lives.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args_os().nth(1) {
        None => append(),
        Some(log) => follow(log.as_ref()),
    }
}

/// The parent.
fn append() -> Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    // SAFETY: only maplog, in this process and its child, changes the files of this new log.
    let log = unsafe { Log::open(home.path())? };
    let mut child = Command::new(std::env::current_exe()?).arg(home.path()).spawn()?;

    let begun = Instant::now();
    let mut writer = log.writer()?;
    for seq in 0..RECORDS {
        writer.append(payload(seq))?;
    }
    drop(writer);
    report("parent", "appended", begun);

    if !child.wait()?.success() {
        return Err("the child did not find what was appended".into());
    }
    Ok(())
}

/// The child.
fn follow(log: &Path) -> Result<(), Box<dyn Error>> {
    // SAFETY: as above.
    let mut tail = unsafe { Reader::open(log)? }.tail_from(0);
    let mut begun = Instant::now();
    for seq in 0..RECORDS {
        let record = tail.recv_timeout(PATIENCE)?.ok_or("the parent appends no more")?;
        assert_eq!((record.seq(), record.data()), (seq, &payload(seq)[..]));
        if seq == 0 {
            begun = Instant::now();
        }
    }
    report("child", "received and checked", begun);
    Ok(())
}

/// 64 bytes that only the record `seq` has.
fn payload(seq: u64) -> [u8; 64] {
    let bytes = seq.to_le_bytes();
    std::array::from_fn(|at| bytes[at % 8])
}

fn report(who: &str, did: &str, begun: Instant) {
    let rate = RECORDS as f64 / begun.elapsed().as_secs_f64() / 1e6;
    println!("{who}: {did} {RECORDS} records of 64 bytes, {rate:.1} million a second");
}
