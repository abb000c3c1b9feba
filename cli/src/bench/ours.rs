//! The work as a log does it.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use maplog::{Log, SyncPolicy};

use super::contest::{BATCH, THREADS, Turn, Work};
use super::records::{Dice, Records};
use super::times::{Round, Times};
use crate::{Failure, open};

pub(super) fn turn(work: Work, turn: Turn<'_>) -> Result<(), Failure> {
    let Turn { path, records, round, times } = turn;
    let sync = if work == Work::Group { SyncPolicy::Always } else { SyncPolicy::Manual };
    let log = open::to_append(path, &Log::options().sync(sync))?;
    match work {
        Work::Append => {
            let mut record = records.blank();
            times.drive(round, |number| {
                Records::stamp(&mut record, number);
                log.append(&record)?;
                Ok(())
            })?;
        }
        Work::Batch => {
            let mut batch = vec![records.blank(); BATCH as usize];
            times.drive(round, |call| {
                for (number, record) in (call * BATCH..).zip(&mut batch) {
                    Records::stamp(record, number);
                }
                log.append_batch(&batch)?;
                Ok(())
            })?;
        }
        Work::Sync => {
            let mut record = records.blank();
            times.drive(round, |number| {
                Records::stamp(&mut record, number);
                log.append(&record)?;
                log.sync()?;
                Ok(())
            })?;
        }
        Work::Group => group(&log, records, round, times)?,
        Work::Iterate | Work::Get | Work::Tail => {
            fill(&log, records, round.calls)?;
            read(work, &log, records, round, times)?;
        }
    }
    check(&log, records, work == Work::Group)?;
    log.close()?;
    remove(path)
}

fn group(log: &Log, records: &Records, round: Round, times: &mut Times) -> Result<(), Failure> {
    let append = |record: &mut [u8], number: u64| {
        Records::stamp(record, number);
        log.append(&*record)?;
        Ok(())
    };
    in_threads(records, round, times, append)
}

/// Calls from so many threads at once, each with a record of its own and numbers that no other uses.
pub(super) fn in_threads(
    records: &Records,
    round: Round,
    times: &mut Times,
    call: impl Fn(&mut [u8], u64) -> Result<(), Failure> + Sync,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let calls = round.calls / THREADS;
    let stop = AtomicBool::new(false);
    let one = |thread: u64| {
        let (mut own, mut record) = (Times::new(), records.blank());
        let mut last = Instant::now();
        let mut done = 0;
        while done < calls.max(1) && last - begun < round.time && !stop.load(Ordering::Relaxed) {
            let called = call(&mut record, done * THREADS + thread);
            called.inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
            done += 1;
            let now = Instant::now();
            own.note(now - last);
            last = now;
        }
        Ok((own, done))
    };
    let one = &one;
    let all: Vec<Result<(Times, u64), Failure>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || one(thread))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let spent = begun.elapsed();
    let mut records = 0;
    for own in all {
        let (own, done) = own?;
        times.join(&own);
        records += done;
    }
    times.note_rate(records, spent);
    Ok(())
}

fn fill(log: &Log, records: &Records, count: u64) -> Result<(), Failure> {
    let mut writer = log.writer()?;
    let mut record = records.blank();
    for number in 0..count {
        Records::stamp(&mut record, number);
        writer.append(&record)?;
    }
    Ok(())
}

fn read(
    work: Work,
    log: &Log,
    records: &Records,
    round: Round,
    times: &mut Times,
) -> Result<(), Failure> {
    let reader = log.reader();
    if work == Work::Iterate {
        let mut items = reader.iter();
        times.drive(round, |number| match items.next() {
            Some(item) => records.check(item?.data(), number),
            None => Err(missing(number)),
        })?;
        return Ok(());
    }
    // So that it knows by now where records are, as a reader does that has been at it for a while.
    reader.iter().try_for_each(|item| item.map(drop))?;
    let dice = Dice::new();
    times.drive(round, |_| {
        let number = dice.below(round.calls);
        match reader.get(number)? {
            Some(record) => records.check(record.data(), number),
            None => Err(missing(number)),
        }
    })?;
    Ok(())
}

fn missing(number: u64) -> Failure {
    Failure::of(maplog::ErrorKind::Damaged, format!("record {number} was written and is not there"))
}

/// Every record that was appended is there, byte for byte: in order, or, of threads, each once.
fn check(log: &Log, records: &Records, any_order: bool) -> Result<(), Failure> {
    let mut numbers = Vec::new();
    for item in &log.reader() {
        let record = item?;
        let number = match any_order {
            true => records.number(record.data()).ok_or_else(|| missing(record.seq()))?,
            false => record.seq(),
        };
        records.check_all(record.data(), number)?;
        numbers.push(number);
    }
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.len() as u64 == log.next_seq() { Ok(()) } else { Err(missing(log.next_seq())) }
}

pub(super) fn remove(path: &Path) -> Result<(), Failure> {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    removed.map_err(|error| Failure::io(path.display(), &error))
}
