//! Work on a log, at random, that a tape keeps record of.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::check::compare;
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
    assert!(tape.is_dead() || durable == tape.borrow().told.records.len() as u64);
    tape.returned("synced");
}

/// Appends `appends` times with syncs in between, of which one is in the middle; the first append
/// says in its epoch that numbers which readers saw, as `told`, are given again.
pub(super) fn go_on(
    log: &Log,
    tape: &Shared,
    told: &Told,
    rng: &mut fastrand::Rng,
    appends: usize,
) {
    let found = log.next_seq();
    for number in 0..appends {
        let len = if rng.u8(..32) == 0 { rng.usize(..2000) } else { rng.usize(..120) };
        append_some(log, tape, rng, len);
        if log.next_seq() > found {
            for (epoch, seen) in &told.seen {
                assert!(
                    *seen <= found || log.epoch() > *epoch,
                    "numbers from {found} on are given again in epoch {}, seen up to {seen} in {epoch}",
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
    /// How many records the last death left. As long as none is added, closing says so nowhere: what
    /// was found after a death stays as it is.
    risen_with: Option<usize>,
}

impl Work {
    pub(super) fn start(tape: impl FnOnce(&Path) -> Shared, segment_bytes: u64) -> Self {
        let dir = on_disk();
        let tape = tape(dir.path());
        tape.start();
        let mut work = Work { dirs: vec![dir], log: None, tape, segment_bytes, risen_with: None };
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
        self.risen_with != Some(self.tape.borrow().told.records.len())
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
        let found = log.next_seq();
        {
            let told = &mut self.tape.borrow_mut().told;
            let cut = told.cut.take();
            let least = |seen: u64| cut.map_or(seen, |cut| seen.min(cut));
            assert!(told.seen.last().is_none_or(|(_, seen)| found >= least(*seen)), "G1");
            let records = std::rc::Rc::make_mut(&mut told.records);
            let under_way = records.last().map_or(0, |last| last.batch.start);
            let whole = [Some(records.len() as u64), Some(under_way), cut];
            assert!(whole.contains(&Some(found)), "G1, G5");
            records.truncate(found as usize);
            assert_eq!(compare(&log.reader(), records), found);
        }
        self.risen_with = Some(found as usize);
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
            7 => self.truncate(rng),
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
    fn truncate(&mut self, rng: &mut fastrand::Rng) {
        let records = self.tape.borrow().told.records.clone();
        if records.is_empty() {
            return;
        }
        let seq = records[rng.usize(..records.len())].batch.start;
        self.tape.cuts(seq);
        self.log().truncate_from(seq).unwrap();
        self.tape.was_cut(seq);
    }

    fn last_file(&self) -> PathBuf {
        let files = fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path());
        let segments = files.filter(|path| path.extension().is_some_and(|ending| ending == "seg"));
        segments.max().unwrap()
    }
}
