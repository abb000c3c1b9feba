//! Power cuts, played on copies: what was durable is there, what follows is a prefix of what was appended, and
//! nothing that was lost comes back.

use std::path::Path;

use fastrand::Rng;
use maplog::Log;

use super::images::{self, Files, after_power_cut};
use super::plan::{Op, Plan};
use super::round::{Round, close_log, open_log, read_log};
use super::stop::{Found, broke, loss};
use super::tally::Fault;
use super::twin::Twin;
use super::worker::perform;

/// Images of each round.
const IMAGES: usize = 12;

pub(crate) fn run(round: &mut Round) -> Found {
    let segment_bytes = [16 << 10, 64 << 10, 256 << 10][round.rng.usize(..3)];
    let plan = Plan::unsynced(round.seed, segment_bytes);
    let mut twin = Twin::new(plan);
    let path = round.log();
    let mut log = open_log(&path, &plan)?;
    let synced = round.rng.u64(1..150);
    (0..synced).try_for_each(|step| work(&log, &mut twin, step))?;
    let before = match round.rng.bool() {
        true => {
            close_log(log)?;
            let before = images::read(&path)?;
            log = open_log(&path, &plan)?;
            before
        }
        false => {
            log.sync().map_err(|error| broke("syncing", error))?;
            images::read(&path)?
        }
    };
    let durable = twin.next_seq();
    let unsynced = synced + round.rng.u64(1..60);
    (synced..unsynced).try_for_each(|step| work(&log, &mut twin, step))?;
    twin.epoch = log.epoch();
    round.lie_to(&mut twin);
    let now = images::read(&path)?;
    for _ in 0..IMAGES {
        let mut left = after_power_cut(&before, &now, &mut round.rng);
        lose_names(&mut left, &before, &mut round.rng);
        try_image(round, &left, &twin, durable)?;
    }
    closes_clean(round, log, &path, &mut twin, unsynced)
}

/// One thing that a worker would do, but no sync.
fn work(log: &Log, twin: &mut Twin, step: u64) -> Found {
    if matches!(twin.plan.op(0, step), Op::Sync | Op::Trim(_) | Op::Cut(_)) {
        return Ok(());
    }
    let mut told = None;
    perform(log, &twin.plan, 0, step, |message| {
        told = Some(message);
        Ok(())
    })?;
    told.map_or(Ok(()), |message| twin.take(0, message))
}

/// The names of the last segments that were rolled into since may not have reached the disk.
fn lose_names(left: &mut Files, before: &Files, rng: &mut Rng) {
    let mut new: Vec<String> =
        left.keys().filter(|name| !before.contains_key(*name)).cloned().collect();
    if rng.u8(..4) == 0 {
        for name in new.split_off(rng.usize(..=new.len())) {
            left.remove(&name);
        }
    }
}

/// Checks an image, appends to it, and checks an image of that.
fn try_image(round: &mut Round, left: &Files, twin: &Twin, durable: u64) -> Found {
    round.trying(Fault::PowerCut);
    check_copy(round, left, twin, durable)?;
    if round.rng.bool() {
        return Ok(());
    }
    let copy = round.copy();
    // The same cut; now power fails again before anything more was synced.
    images::write(&copy, left)?;
    let log = open_log(&copy, &twin.plan)?;
    let durable = log.next_seq();
    let mut again = twin.cut_by_power(durable);
    append_as_lost(round, &log, twin, &mut again)?;
    again.epoch = log.epoch();
    let now = images::read(&copy)?;
    let left = after_power_cut(left, &now, &mut round.rng);
    drop(log);
    round.trying(Fault::PowerCut);
    images::write(&copy, &left)?;
    check(round, &copy, &again, durable)
}

/// Checks a copy of the log of which only these segments are left.
pub(crate) fn check_copy(round: &mut Round, left: &Files, twin: &Twin, durable: u64) -> Found {
    let copy = round.copy();
    images::write(&copy, left)?;
    if round.rng.bool() {
        images::add_stale_page(&round.log(), &copy)?;
    }
    check(round, &copy, twin, durable)
}

/// Compares a log of which a power cut may have taken all behind `durable`, appends to it and closes it, and
/// compares again.
pub(crate) fn check(round: &mut Round, path: &Path, twin: &Twin, durable: u64) -> Found {
    let reader = read_log(path)?;
    let next = twin.compare_start(&reader, durable)?;
    round.tally.compared += reader.len();
    drop(reader);
    let log = open_log(path, &twin.plan)?;
    let recovery = log.recovery().clone();
    if recovery.live || !recovery.lost.is_empty() || log.next_seq() != next {
        let opened = log.next_seq();
        return loss(format!(
            "a reader found the end at {next}, opening at {opened}; durable {durable}: {recovery:?}"
        ));
    }
    let mut again = twin.cut_by_power(next);
    append_as_lost(round, &log, twin, &mut again)?;
    close_log(log)?;
    let log = open_log(path, &twin.plan)?;
    if !log.recovery().clean {
        return loss(format!("closed, and opening it again found {:?}", log.recovery()));
    }
    round.tally.compared += again.compare_start(&log.reader(), again.next_seq())?;
    close_log(log)
}

/// Appends records as long as those that were lost, where these had been: what is left of them must not
/// come back.
fn append_as_lost(round: &mut Round, log: &Log, lost: &Twin, twin: &mut Twin) -> Found {
    let next = log.next_seq();
    let numbers_come_again = next < lost.next_seq();
    for seq in next..next + round.rng.u64(1..9) {
        let mut bytes = vec![0; lost.record(seq).map_or(30, |bytes| bytes.len())];
        round.rng.fill(&mut bytes);
        let given = log.append(&bytes).map_err(|error| broke("appending after a cut", error))?;
        if given != seq {
            return loss(format!("record {seq} is the next, but an append gave {given}"));
        }
        twin.append(bytes);
    }
    if numbers_come_again && log.epoch() <= lost.epoch {
        let epoch = log.epoch();
        return loss(format!("numbers from {next} on are given again in epoch {epoch}"));
    }
    Ok(())
}

/// A log that was closed is found closed, whatever slots were given up before.
fn closes_clean(round: &mut Round, log: Log, path: &Path, twin: &mut Twin, step: u64) -> Found {
    round.trying(Fault::Closed);
    let large = round.rng.usize(1000..4000);
    let mut writer = log.writer().map_err(|error| broke("taking the lock", error))?;
    writer.reserve(large).map_err(|error| broke("reserving", error))?.fill(0xA5);
    drop(writer);
    (step..step + 3).try_for_each(|step| work(&log, twin, step))?;
    let bytes = vec![7; round.rng.usize(..40)];
    log.append(&bytes).map_err(|error| broke("appending", error))?;
    twin.append(bytes);
    close_log(log)?;
    let log = open_log(path, &twin.plan)?;
    if !log.recovery().clean {
        return loss(format!("closed, and opening it again found {:?}", log.recovery()));
    }
    round.tally.compared += twin.compare_start(&log.reader(), twin.next_seq())?;
    round.tally.appended += twin.appended;
    close_log(log)
}
