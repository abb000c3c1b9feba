//! The work by calls to the system: write, read, pread, fdatasync.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

use super::contest::{BATCH, Turn, Work};
use super::ours::{in_threads, remove};
use super::records::{Dice, Records};
use super::times::{Round, Times};
use crate::Failure;

pub(super) fn turn(work: Work, turn: Turn<'_>) -> Result<(), Failure> {
    let Turn { path, records, round, times } = turn;
    let fault = |error: io::Error| Failure::io(path.display(), &error);
    let file = File::options().read(true).write(true).create_new(true).open(path);
    let mut file = file.map_err(fault)?;
    let mut record = records.blank();
    let written = match work {
        Work::Append | Work::Sync => times.drive(round, |number| {
            Records::stamp(&mut record, number);
            file.write_all(&record).map_err(fault)?;
            if work == Work::Sync { file.sync_data().map_err(fault) } else { Ok(()) }
        })?,
        Work::Batch => {
            let mut batch = record.repeat(BATCH as usize);
            let calls = times.drive(round, |call| {
                for (number, record) in (call * BATCH..).zip(batch.chunks_mut(records.bytes())) {
                    Records::stamp(record, number);
                }
                file.write_all(&batch).map_err(fault)
            })?;
            calls * BATCH
        }
        Work::Group => {
            let next = Mutex::new(0);
            in_threads(records, round, times, |record, _| {
                if let Ok(mut next) = next.lock() {
                    Records::stamp(record, *next);
                    (&file).write_all(record).map_err(fault)?;
                    *next += 1;
                }
                file.sync_data().map_err(fault)
            })?;
            next.into_inner().unwrap_or_default()
        }
        Work::Iterate | Work::Get | Work::Tail => {
            let mut all = Vec::with_capacity(record.len() * round.calls as usize);
            for number in 0..round.calls {
                Records::stamp(&mut record, number);
                all.extend_from_slice(&record);
            }
            file.write_all(&all).map_err(fault)?;
            drop(all);
            read(work, path, records, round, times)?;
            round.calls
        }
    };
    drop(file);
    check(path, records, written)?;
    remove(path)
}

/// Read at once where records are read in order.
const READ_BYTES: usize = 256 * 1024;

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| Failure::io(path.display(), &error))
}

fn read(
    work: Work,
    path: &Path,
    records: &Records,
    round: Round,
    times: &mut Times,
) -> Result<(), Failure> {
    let fault = |error: io::Error| Failure::io(path.display(), &error);
    let file = open(path)?;
    let mut record = records.blank();
    if work == Work::Get {
        let dice = Dice::new();
        times.drive(round, |_| {
            let number = dice.below(round.calls);
            file.read_exact_at(&mut record, number * records.bytes() as u64).map_err(fault)?;
            records.check(&record, number)
        })?;
        return Ok(());
    }
    let mut input = BufReader::with_capacity(READ_BYTES, file);
    times.drive(round, |number| {
        input.read_exact(&mut record).map_err(fault)?;
        records.check(&record, number)
    })?;
    Ok(())
}

fn check(path: &Path, records: &Records, count: u64) -> Result<(), Failure> {
    let mut input = BufReader::with_capacity(READ_BYTES, open(path)?);
    let mut record = records.blank();
    for number in 0..count {
        let read = input.read_exact(&mut record);
        read.map_err(|error| Failure::io(path.display(), &error))?;
        records.check_all(&record, number)?;
    }
    Ok(())
}
