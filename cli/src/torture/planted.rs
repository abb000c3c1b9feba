//! What a power cut may leave that looks like the log's own: the rest of a dead batch under a new one,
//! and frames inside a torn record, of another log, from another place, or with a claim of their own.
//!
//! Does not know: how the library tells them apart; the frames are forged by docs/format.md.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use fastrand::Rng;
use maplog::Log;
use rustix::process::{Signal, set_parent_process_death_signal};

use super::Role;
use super::frames::{DATA_START, Frame, HEADER_BYTES, MARK_BYTES, What, look, walk};
use super::images::{self, Files, SECTOR_BYTES, restore};
use super::plan::{Plan, mix};
use super::power::check;
use super::round::{Round, close_log, open_log};
use super::stop::{Found, broke, loss};
use super::tally::Fault;
use super::twin::Twin;

pub(crate) fn run(round: &mut Round) -> Found {
    // Whether the batcher dies inside a batch is a matter of luck.
    for _ in 0..8 {
        if dead_batch(round)? {
            break;
        }
    }
    of_another_log(round)?;
    of_another_place(round)?;
    with_a_claim(round)
}

const BATCH: u64 = 64;
/// With its header, a frame of two sectors.
const PAYLOAD_BYTES: usize = 1024 - HEADER_BYTES;
/// How many records the new batch has.
const NEW: usize = 8;
/// At both ends of what is old in the image, records that are the same in each batch, since the frames
/// do not begin where sectors do.
const SAME: [usize; 2] = [1, NEW - 2];

fn batcher_plan(seed: u64) -> Plan {
    Plan::unsynced(seed, 64 << 20)
}

/// The records of the `number`-th batch.
fn batch(seed: u64, number: u64, records: usize) -> Vec<Vec<u8>> {
    let payload = |index| {
        let number = if SAME.contains(&index) { u64::MAX } else { number };
        let mut bytes = vec![0; PAYLOAD_BYTES];
        Rng::with_seed(mix(mix(seed, number), index as u64)).fill(&mut bytes);
        bytes
    };
    (0..records).map(payload).collect()
}

/// Appends one batch after the other until it is killed.
pub(crate) fn append_batches(log: &Path, seed: u64) -> Found {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    let log = open_log(log, &batcher_plan(seed))?;
    for number in 0.. {
        let records = batch(seed, number, BATCH as usize);
        log.append_batch(&records).map_err(|error| broke("appending a batch", error))?;
        if number == 0 {
            io::stdout().write_all(b"!")?;
            io::stdout().flush()?;
        }
        if number == 200 {
            // Killed long ago, but for a machine that stands still.
            break;
        }
    }
    Ok(())
}

/// A batch dies half-written; a new one is written over it, and a power cut leaves frames of both. Gives
/// false if it did not die there.
fn dead_batch(round: &mut Round) -> Found<bool> {
    let path = round.dir.join("batches");
    if path.exists() {
        std::fs::remove_dir_all(&path)?;
    }
    let seed = round.rng.u64(..);
    kill_a_batcher(round, &path, seed)?;
    let plan = batcher_plan(seed);
    let log = open_log(&path, &plan)?;
    let dead = images::read(&path)?;
    let mut twin = Twin::new(plan);
    let whole = log.next_seq() / BATCH;
    if log.next_seq() != whole * BATCH {
        return loss(format!(
            "batches of {BATCH} were appended, the log ends at {}",
            log.next_seq()
        ));
    }
    (0..whole).flat_map(|number| batch(seed, number, BATCH as usize)).for_each(|r| twin.append(r));
    let Some(end) = walk(&dead).pop().filter(|_| dead.len() == 1) else { return Ok(false) };
    // The first word is the last that a batch stores: it is not there. The others may be.
    let place = |index: usize| end.end() + index * (HEADER_BYTES + PAYLOAD_BYTES);
    let bytes = &dead[&*end.file];
    let durable = log.next_seq();
    let is_dead = |index: usize| {
        let frame = look(bytes, &end.file, place(index), durable + index as u64);
        frame.is_some_and(|frame| frame.what == What::Middle)
    };
    if !(1..NEW).all(is_dead) {
        return Ok(false);
    }
    let mut new = batch(seed, u64::MAX - 1, NEW);
    // A mark comes first, since the log was opened.
    new[0].truncate(PAYLOAD_BYTES - MARK_BYTES);
    log.append_batch(&new).map_err(|error| broke("appending a batch", error))?;
    new.iter().for_each(|record| twin.append(record.clone()));
    twin.epoch = log.epoch();
    let now = images::read(&path)?;
    drop(log);
    let stands = |frame: &Frame| frame.seq == durable + 1 && frame.at == place(1);
    if !walk(&now).iter().any(stands) {
        return Ok(false);
    }
    for _ in 0..4 {
        let mut left = now.clone();
        if let Some(bytes) = left.get_mut(&*end.file) {
            let from = place(SAME[0]).next_multiple_of(SECTOR_BYTES);
            let to = place(SAME[1]).next_multiple_of(SECTOR_BYTES);
            restore(bytes, &dead[&*end.file], from, to - from);
        }
        round.trying(Fault::DeadBatch);
        is_no_batch(round, &left, &twin, durable)?;
    }
    round.tally.appended += twin.next_seq();
    Ok(true)
}

fn is_no_batch(round: &mut Round, left: &Files, twin: &Twin, durable: u64) -> Found {
    let copy = round.copy();
    images::write(&copy, left)?;
    check(round, &copy, twin, durable)
}

fn kill_a_batcher(round: &mut Round, path: &Path, seed: u64) -> Found {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["torture", "--as", &Role::Batcher { seed }.to_string()]).arg(path);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    if let Some(mut stdout) = child.stdout.take() {
        let _it_began_or_died = stdout.read(&mut [0])?;
    }
    sleep(Duration::from_micros(round.rng.u64(..3000)));
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// A log of some records, of which the first is durable, and its twin.
fn small_log(round: &mut Round) -> Found<(Log, Twin, Files)> {
    let plan = Plan::unsynced(round.seed, 64 << 10);
    let path = round.log();
    images::write(&path, &Files::new())?;
    let log = open_log(&path, &plan)?;
    let mut twin = Twin::new(plan);
    append(round, &log, &mut twin, 100)?;
    log.sync().map_err(|error| broke("syncing", error))?;
    let before = images::read(&path)?;
    append(round, &log, &mut twin, 100)?;
    Ok((log, twin, before))
}

fn append(round: &mut Round, log: &Log, twin: &mut Twin, len: usize) -> Found {
    let mut bytes = vec![0; len];
    round.rng.fill(&mut bytes);
    append_bytes(log, twin, bytes)
}

fn append_bytes(log: &Log, twin: &mut Twin, bytes: Vec<u8>) -> Found {
    log.append(&bytes).map_err(|error| broke("appending", error))?;
    twin.append(bytes);
    Ok(())
}

/// Records, and among them marks that call the first of them durable.
fn append_and_claim(round: &mut Round, log: &Log, twin: &mut Twin) -> Found {
    for _ in 0..3 {
        append(round, log, twin, 200)?;
        log.sync().map_err(|error| broke("syncing", error))?;
    }
    append(round, log, twin, 200)?;
    append(round, log, twin, 200)
}

/// The bytes of a log with one segment, and where it ends in them.
fn only_segment(path: &Path) -> Found<(Vec<u8>, usize)> {
    let files = images::read(path)?;
    let end = walk(&files).last().map_or(DATA_START, Frame::end);
    Ok((files.into_values().next_back().unwrap_or_default(), end))
}

/// Frames of another log stand in a record in the very place where they stand there.
fn of_another_log(round: &mut Round) -> Found {
    let (log, mut twin, _) = small_log(round)?;
    let (_, at) = only_segment(log.path())?;
    append_and_claim(round, &log, &mut twin)?;
    let (other, end) = only_segment(log.path())?;
    close_log(log)?;

    let (log, mut twin, before) = small_log(round)?;
    append_bytes(&log, &mut twin, other[at + HEADER_BYTES..end].to_vec())?;
    try_torn(round, log, &twin, &before, 1)
}

/// A log is closed and copied, the copy goes on: its frames have the same salt, and another place.
fn of_another_place(round: &mut Round) -> Found {
    let (log, mut twin, _) = small_log(round)?;
    let (path, other) = (round.log(), round.dir.join("other"));
    close_log(log)?;
    let before = images::read(&path)?;
    let durable = twin.next_seq();
    images::write(&other, &before)?;
    let copied = open_log(&other, &twin.plan)?;
    let (_, at) = only_segment(&other)?;
    append_and_claim(round, &copied, &mut twin.clone())?;
    let (bytes, end) = only_segment(&other)?;
    close_log(copied)?;

    let log = open_log(&path, &twin.plan)?;
    append_bytes(&log, &mut twin, bytes[at..end].to_vec())?;
    try_torn(round, log, &twin, &before, durable)
}

/// A record holds a mark, right in every bit, that claims more than can be durable where it stands.
fn with_a_claim(round: &mut Round) -> Found {
    let (log, mut twin, _) = small_log(round)?;
    let durable = log.sync().map_err(|error| broke("syncing", error))?;
    let before = images::read(log.path())?;
    let (bytes, end) = only_segment(log.path())?;
    let salt = bytes[72..80].iter().rev().fold(0, |salt, byte| salt << 8 | u64::from(*byte));
    // The log's own mark comes first, since the durable position moved.
    let place = MARK_BYTES + HEADER_BYTES + SECTOR_BYTES;
    let mut record = vec![0; 900];
    round.rng.fill(&mut record[SECTOR_BYTES + MARK_BYTES..]);
    let claim = round.rng.u64(100..1 << 40);
    record[SECTOR_BYTES..SECTOR_BYTES + MARK_BYTES].copy_from_slice(&mark(
        salt,
        end + place,
        twin.next_seq(),
        claim,
    ));
    append_bytes(&log, &mut twin, record)?;
    try_torn(round, log, &twin, &before, durable)
}

/// A mark as docs/format.md has it.
fn mark(salt: u64, at: usize, seq: u64, durable: u64) -> [u8; MARK_BYTES] {
    let word = 0x6000_0010_u32;
    let mut payload = [0; 16];
    payload[8..].copy_from_slice(&durable.to_le_bytes());
    let (high, low) = (|number: u64| (number >> 32) as u32, |number: u64| number as u32);
    let seed = ((at / 16) as u32).wrapping_mul(0x9E37_79B1)
        ^ (word ^ high(salt)).wrapping_mul(0x85EB_CA77)
        ^ low(seq).wrapping_mul(0xC2B2_AE3D).rotate_left(11)
        ^ high(seq).wrapping_mul(0x27D4_EB2F).rotate_left(22)
        ^ low(salt);
    let mut crc = crc32fast::Hasher::new_with_initial(seed);
    crc.update(&payload);
    let mut mark = [0; MARK_BYTES];
    mark[..4].copy_from_slice(&word.to_le_bytes());
    mark[4..8].copy_from_slice(&crc.finalize().to_le_bytes());
    mark[8..16].copy_from_slice(&seq.to_le_bytes());
    mark[16..].copy_from_slice(&payload);
    mark
}

/// Power fails while the last record is stored: any one of its sectors is missing, or all up to one, so that what
/// it holds may look like frames.
fn try_torn(round: &mut Round, log: Log, twin: &Twin, before: &Files, durable: u64) -> Found {
    let mut twin = twin.clone();
    twin.epoch = log.epoch();
    let now = images::read(log.path())?;
    drop(log);
    let Some(last) = walk(&now).pop() else { return Ok(()) };
    let mut sector = last.at / SECTOR_BYTES * SECTOR_BYTES;
    while sector < last.end() {
        for from in [sector, last.at / SECTOR_BYTES * SECTOR_BYTES] {
            let mut left = now.clone();
            if let Some((bytes, old)) = left.get_mut(&*last.file).zip(before.get(&*last.file)) {
                restore(bytes, old, from, sector + SECTOR_BYTES - from);
            }
            round.trying(Fault::Planted);
            is_no_batch(round, &left, &twin, durable)?;
        }
        sector += SECTOR_BYTES;
    }
    round.tally.appended += twin.next_seq();
    Ok(())
}
