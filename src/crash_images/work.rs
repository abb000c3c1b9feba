//! Work on a log, at random, that a tape keeps record of.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::check::{Found, compare};
use super::moment::Told;
use super::tape::{Recording, Shared};
use crate::{Log, SyncPolicy};

/// The smallest segments, so that rolling happens all the time.
pub(super) const SEGMENT_BYTES: u64 = 16 * 1024;

#[allow(unsafe_code)]
pub(super) fn open_with(path: &Path, segment_bytes: u64) -> Log {
    let options = Log::options().segment_bytes(segment_bytes).sync(SyncPolicy::Manual);
    // SAFETY: the tests change files only while no handle is alive.
    unsafe { options.open(path).unwrap() }
}

pub(super) fn open(path: &Path) -> Log {
    open_with(path, SEGMENT_BYTES)
}

/// On the disk of the build: a real file system, as far as there is one.
pub(super) fn on_disk() -> TempDir {
    let target = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    tempfile::tempdir_in(target).unwrap()
}

pub(super) fn payload(rng: &mut fastrand::Rng, len: usize) -> Box<[u8]> {
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes);
    bytes.into()
}

/// Mostly short, so that a segment holds many.
fn some_len(rng: &mut fastrand::Rng) -> usize {
    match rng.u8(..16) {
        0 => 0,
        1..=10 => rng.usize(1..64),
        11..=14 => rng.usize(64..700),
        _ => rng.usize(700..3000),
    }
}

/// One record, in any of the ways in which it can be appended.
pub(super) fn append_some(log: &Log, tape: &Shared, rng: &mut fastrand::Rng, len: usize) {
    match rng.u8(..8) {
        0 => {
            let sizes = [len, rng.usize(..100), rng.usize(..100)];
            append_batch(log, tape, &sizes.map(|len| payload(rng, len)));
        }
        1 => append_in_place(log, tape, &payload(rng, len), rng.usize(..600)),
        2 => give_up(log, &payload(rng, len)),
        _ => append(log, tape, payload(rng, len)),
    }
}

pub(super) fn append(log: &Log, tape: &Shared, payload: Box<[u8]>) {
    let given = [payload];
    let seq = tape.give(&given);
    assert_eq!(log.append(&given[0]).unwrap(), seq);
    tape.returned("appended");
}

pub(super) fn append_batch(log: &Log, tape: &Shared, payloads: &[Box<[u8]>]) {
    let seq = tape.give(payloads);
    assert_eq!(log.append_batch(payloads).unwrap(), seq..seq + payloads.len() as u64);
    tape.returned("batch appended");
}

/// Fills a slot that is larger by `spare` bytes than the record is.
pub(super) fn append_in_place(log: &Log, tape: &Shared, payload: &[u8], spare: usize) {
    let mut writer = log.writer().unwrap();
    let mut slot = writer.reserve(payload.len() + spare).unwrap();
    slot.fill(0xA5);
    slot[..payload.len()].copy_from_slice(payload);
    slot.truncate(payload.len());
    let seq = tape.give(&[payload.into()]);
    assert_eq!(slot.commit().unwrap(), seq);
    tape.returned("slot committed");
}

/// Fills a slot and lets it go.
pub(super) fn give_up(log: &Log, bytes: &[u8]) {
    let mut writer = log.writer().unwrap();
    writer.reserve(bytes.len()).unwrap().copy_from_slice(bytes);
}

pub(super) fn sync(log: &Log, tape: &Shared) {
    let durable = log.sync().unwrap();
    tape.is_durable(durable);
    assert!(tape.is_dead() || durable == tape.borrow().told.end());
    tape.returned("synced");
}

/// Cuts the log before some record.
pub(super) fn cut_somewhere(log: &Log, tape: &Shared, rng: &mut fastrand::Rng) {
    if !log.is_empty() {
        cut(log, tape, rng.u64(log.first_seq()..log.next_seq()));
    }
}

pub(super) fn cut(log: &Log, tape: &Shared, seq: u64) {
    tape.cuts(seq);
    log.truncate_from(seq).unwrap();
    tape.was_cut(seq);
}

/// Drops the oldest records, as a rule not many more than half of them.
pub(super) fn trim_some(log: &Log, tape: &Shared, rng: &mut fastrand::Rng) {
    let most = if rng.u8(..4) == 0 { log.len() } else { log.len() / 2 };
    trim(log, tape, log.first_seq() + rng.u64(..=most));
}

pub(super) fn trim(log: &Log, tape: &Shared, seq: u64) {
    tape.trims(seq);
    assert_eq!(log.trim_before(seq).unwrap(), seq);
    tape.was_trimmed(seq);
}

/// Drops all records; the next number was given before, or not, or is far away.
pub(super) fn reset_somewhere(log: &Log, tape: &Shared, rng: &mut fastrand::Rng) {
    let next = log.next_seq();
    let seq = match rng.u8(..4) {
        0 => 0,
        1 => rng.u64(..=next),
        2 => next + rng.u64(..50),
        _ => next + rng.u64(..1 << 40),
    };
    reset(log, tape, seq);
}

pub(super) fn reset(log: &Log, tape: &Shared, seq: u64) {
    tape.resets(seq);
    log.reset(seq).unwrap();
    tape.was_reset(seq);
}

/// Appends so many times, with syncs in between, of which one is in the middle; if it `drops`, also drops
/// records now and then. Each append says in its epoch that numbers which readers saw, as `told`, are
/// given again.
pub(super) fn go_on(
    log: &Log,
    tape: &Shared,
    told: &Told,
    rng: &mut fastrand::Rng,
    (appends, drops): (usize, bool),
) {
    for number in 0..appends {
        if drops {
            match rng.u8(..64) {
                0 => cut_somewhere(log, tape, rng),
                1 => trim_some(log, tape, rng),
                2 => reset_somewhere(log, tape, rng),
                _ => {}
            }
        }
        let next = log.next_seq();
        let len = if rng.u8(..32) == 0 { rng.usize(..2000) } else { rng.usize(..120) };
        append_some(log, tape, rng, len);
        if log.next_seq() > next {
            for (epoch, seen) in &told.seen {
                assert!(
                    *seen <= next || log.epoch() > *epoch,
                    "numbers from {next} on are given again in epoch {}, seen up to {seen} in {epoch}",
                    log.epoch()
                );
            }
        }
        if number == appends / 2 || rng.u8(..32) == 0 {
            sync(log, tape);
        }
    }
}

/// A log that is worked on, closed, opened again, killed.
pub(super) struct Work {
    dirs: Vec<TempDir>,
    log: Option<Log>,
    pub(super) tape: Shared,
    segment_bytes: u64,
    /// It also drops records, all or the oldest, and cuts batches.
    drops: bool,
    /// Where the last death left the log's end. As long as none is added, closing says so nowhere: what
    /// was found after a death stays as it is.
    risen_with: Option<u64>,
}

impl Work {
    pub(super) fn start(
        tape: impl FnOnce(&Path) -> Shared,
        segment_bytes: u64,
        drops: bool,
    ) -> Self {
        let dir = on_disk();
        let tape = tape(dir.path());
        tape.start();
        let (dirs, log, risen_with) = (vec![dir], None, None);
        let mut work = Work { dirs, log, tape, segment_bytes, drops, risen_with };
        work.reopen();
        work
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dirs.last().unwrap().path().to_owned()
    }

    pub(super) fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    pub(super) fn close(&mut self) {
        self.log.take().unwrap().close().unwrap();
        self.tape.closed(self.says_closed());
    }

    fn says_closed(&self) -> bool {
        self.risen_with != Some(self.tape.borrow().told.end())
    }

    pub(super) fn reopen(&mut self) {
        let log = open_with(&self.path(), self.segment_bytes);
        let recovery = log.recovery();
        assert!(
            recovery.clean || !self.says_closed(),
            "a closed log is found closed, but {recovery:?}"
        );
        self.tape.watch(&log);
        self.log = Some(log);
    }

    /// The process is gone since the tape stopped; the next one finds what it stored, all of it.
    pub(super) fn rise_again(&mut self) {
        drop(self.log.take());
        let dir = on_disk();
        let live = self.tape.move_to(dir.path());
        self.dirs.push(dir);
        let log = open_with(&self.path(), self.segment_bytes);
        let recovery = log.recovery();
        assert!(recovery.live == live && recovery.lost.is_empty(), "{recovery:?}");
        let mut told = self.tape.borrow().told.clone();
        let Found { first, next, is_reset } = compare(&log.reader(), &told);
        if !is_reset {
            let least = |seen: u64| told.cut.map_or(seen, |cut| seen.min(cut));
            assert!(told.seen.last().is_none_or(|(_, seen)| next >= least(*seen)), "G1");
            let whole = [Some(told.end()), Some(told.under_way()), told.cut];
            assert!(whole.contains(&Some(next)), "G1, G5");
        }
        if is_reset || told.cut == Some(next) {
            told.durable = told.durable.min(next);
        }
        told.take_in(first, next, is_reset);
        self.tape.borrow_mut().told = told;
        self.risen_with = Some(next);
        self.tape.watch(&log);
        self.log = Some(log);
    }

    /// One step of work.
    pub(super) fn step(&mut self, rng: &mut fastrand::Rng) {
        match rng.u8(..32) {
            0..=3 => sync(self.log(), &self.tape),
            4 => {
                self.close();
                if !self.tape.is_dead() {
                    self.reopen();
                }
            }
            5 => self.tape.dies_in(rng.usize(1..12)),
            7 if self.drops => cut_somewhere(self.log(), &self.tape, rng),
            7 => self.cut_a_batch_off(rng),
            8 | 9 if self.drops => trim_some(self.log(), &self.tape, rng),
            10 if self.drops => reset_somewhere(self.log(), &self.tape, rng),
            6 => {
                // A record that holds what the log's own file holds: frames, header, slots.
                let own = fs::read(self.last_file()).unwrap();
                let from = rng.usize(..own.len() - 3000);
                let copy = own[from..from + rng.usize(..3000)].into();
                append(self.log(), &self.tape, copy);
            }
            _ => {
                let len = some_len(rng);
                append_some(self.log(), &self.tape, rng, len);
            }
        }
        if self.tape.is_dead() {
            self.rise_again();
        }
    }

    /// Cuts the log before some record or batch.
    fn cut_a_batch_off(&mut self, rng: &mut fastrand::Rng) {
        let records = self.tape.borrow().told.records.clone();
        if !records.is_empty() {
            cut(self.log(), &self.tape, records[rng.usize(..records.len())].batch.start);
        }
    }

    fn last_file(&self) -> PathBuf {
        let files = fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path());
        let segments = files.filter(|path| path.extension().is_some_and(|ending| ending == "seg"));
        segments.max().unwrap()
    }
}
