//! Putting what was appended on stable storage, and noting how far that is.
//!
//! The only place that moves the durable position: after the data it covers was synced, never
//! before. A sync that fails poisons the log. Does not know: how records are written.

use std::io;
use std::sync::Arc;
use std::thread::yield_now;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::dir;
use crate::error::{ErrorKind, Result};
use crate::format::slot::Slot;
use crate::home::Home;
use crate::map::End;
use crate::segment::SegmentFile;

/// The slot is written when the durable position moved this far, or this long ago: written at each
/// sync it would double the bytes of a small durable append.
const NOTE_EVERY_BYTES: u64 = 1 << 20;
const NOTE_EVERY: Duration = Duration::from_millis(100);

/// How often one that is about to sync lets others append first, as long as they do.
const GATHER_TURNS: usize = 16;

/// Syncs one log. One thread at a time is at it; those that come meanwhile wait for it and then go
/// together: what they appended is covered by one more sync, which one of them does (group commit).
pub(crate) struct Syncer {
    queue: Mutex<Queue>,
    free: Condvar,
    noted: Mutex<Noted>,
}

/// What the newest slot says, and since when.
struct Noted {
    segment_id: u64,
    counter: u64,
    offset: u64,
    at: Instant,
}

#[derive(Default)]
struct Queue {
    busy: bool,
    /// Somebody waited since the last turn began.
    waited: bool,
}

/// The right to sync, given back when dropped.
struct Turn<'s> {
    syncer: &'s Syncer,
    /// Others waited meanwhile, so they are likely to append now.
    has_company: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.syncer.queue.lock().busy = false;
        self.syncer.free.notify_all();
    }
}

impl Syncer {
    pub(crate) fn new() -> Self {
        let noted = Noted { segment_id: 0, counter: 0, offset: 0, at: Instant::now() };
        Syncer { queue: Mutex::default(), free: Condvar::new(), noted: Mutex::new(noted) }
    }

    /// Makes every record that is committed now durable; gives the first number that is not.
    pub(crate) fn sync(&self, home: &Home) -> Result<u64> {
        self.sync_to(home, home.page().end().seq)
    }

    /// Makes every record below `wanted`, all of them committed, durable; gives the first number that
    /// is not. At once if they are.
    pub(crate) fn sync_to(&self, home: &Home, wanted: u64) -> Result<u64> {
        home.check()?;
        let Some(turn) =
            self.turn_unless(|| home.page().durable_seq() >= wanted || home.page().is_poisoned())
        else {
            home.check()?;
            return Ok(home.page().durable_seq());
        };
        home.check_place()?;
        if turn.has_company {
            gather(home);
        }
        if broken!("position_before_sync") {
            self.note_position(home, home.page().end());
        }
        let end = sync_data(home)?;
        self.note_position(home, end);
        Ok(home.page().durable_seq())
    }

    /// Notes in the slot, if that is due, that the log is durable up to `end`. A note that could not be
    /// written costs the next opening some reading, and the next sync tries again.
    fn note_position(&self, home: &Home, end: End) {
        if let Some(tip) = tip(home, end) {
            let _noted = self.noted.lock().take_in(home, &tip, end);
        }
    }

    /// Notes, durably, how far the log is durable, if the newest slot does not say so: for a log that
    /// nobody appends to for a while.
    pub(crate) fn note(&self, home: &Home) -> Result<()> {
        let Some(_turn) = self.turn_unless(|| home.page().is_poisoned()) else {
            return home.check();
        };
        let end = home.page().end();
        let mut noted = self.noted.lock();
        match tip(home, end) {
            Some(tip) if home.page().durable_seq() == end.seq && !noted.says(end) => {
                noted.write(home, &tip, end, false)?;
                sync_file(home, &tip, "noting the durable position")
            }
            _ => Ok(()),
        }
    }

    /// As `sync`, and says in the slot that the log was closed here. Nobody appends meanwhile.
    pub(crate) fn close(&self, home: &Home) -> Result<()> {
        let Some(_turn) = self.turn_unless(|| home.page().is_poisoned()) else {
            return home.check();
        };
        home.check_place()?;
        let end = sync_data(home)?;
        let Some(tip) = tip(home, end) else { return Ok(()) };
        self.noted.lock().write(home, &tip, end, true)?;
        sync_file(home, &tip, "closing the log")
    }

    /// Says in the slot, durably, that the log is open again, before its first append.
    pub(crate) fn reopen(&self, home: &Home, tip: &SegmentFile) -> Result<()> {
        let Some(_turn) = self.turn_unless(|| home.page().is_poisoned()) else {
            return home.check();
        };
        self.noted.lock().write(home, tip, home.page().end(), false)?;
        sync_file(home, tip, "opening the log to append")
    }

    /// Waits for its turn, or until nothing is left to be done.
    fn turn_unless(&self, done: impl Fn() -> bool) -> Option<Turn<'_>> {
        let mut queue = self.queue.lock();
        loop {
            if done() {
                return None;
            }
            if !queue.busy {
                queue.busy = true;
                let has_company = std::mem::take(&mut queue.waited);
                return Some(Turn { syncer: self, has_company });
            }
            queue.waited = true;
            self.free.wait(&mut queue);
        }
    }
}

/// Those that the last sync woke are about to append: one sync for all of them is worth a moment.
fn gather(home: &Home) {
    let mut seq = home.page().end().seq;
    for _ in 0..GATHER_TURNS {
        yield_now();
        let now = home.page().end().seq;
        if now == std::mem::replace(&mut seq, now) {
            return;
        }
    }
}

/// Syncs every segment from the durable position to the end, the directory if it changed, and only
/// then moves the durable position to that end.
fn sync_data(home: &Home) -> Result<End> {
    loop {
        let epoch = home.page().epoch();
        let end = home.page().end();
        let (segments, names) = {
            let mut unsynced = home.unsynced.lock();
            (unsynced.segments.clone(), std::mem::take(&mut unsynced.names))
        };
        for segment in &segments {
            sync_file(home, segment, "syncing a segment")?;
        }
        if names {
            syncing(home, "syncing the directory", || home.dir().sync())?;
        }
        hook!("sync.before_position");
        if home.page().raise_durable(epoch, end.seq) {
            home.wake.position_moved();
            // Nothing is appended below the end's segment any more.
            home.unsynced.lock().segments.retain(|segment| segment.name.id >= end.segment_id);
            return Ok(end);
        }
        // Another sync failed, or the epoch rose meanwhile: then it begins again.
        home.check()?;
    }
}

fn sync_file(home: &Home, segment: &SegmentFile, doing: &'static str) -> Result<()> {
    syncing(home, doing, || dir::sync_data(&segment.file))
        .map_err(|error| error.in_segment(segment.name.id))
}

/// Says in the page that a sync is under way, for as long as nobody knows how it ends.
fn syncing(home: &Home, doing: &'static str, sync: impl FnOnce() -> io::Result<()>) -> Result<()> {
    home.page().set_syncing(true);
    hook!("sync.before_data");
    sync().map_err(|source| home.poison(doing, source))?;
    home.page().set_syncing(false);
    Ok(())
}

/// The segment that the end lies in, if this process has appended to it. Only there are slots
/// written: what was found after a crash stays as it is.
fn tip(home: &Home, end: End) -> Option<Arc<SegmentFile>> {
    home.unsynced.lock().tip.clone().filter(|tip| tip.name.id == end.segment_id)
}

impl Noted {
    fn says(&self, end: End) -> bool {
        self.segment_id == end.segment_id && self.offset == end.offset
    }

    /// Writes the slot if it is due. It reaches the disk with a later sync.
    fn take_in(&mut self, home: &Home, tip: &SegmentFile, end: End) -> Result<()> {
        let same = self.segment_id == tip.name.id;
        let moved = end.offset.saturating_sub(self.offset) >= NOTE_EVERY_BYTES;
        if same && !moved && self.at.elapsed() < NOTE_EVERY {
            return Ok(());
        }
        self.write(home, tip, end, false)
    }

    fn write(&mut self, home: &Home, tip: &SegmentFile, end: End, closed: bool) -> Result<()> {
        let id = tip.name.id;
        let fault = |source| home.io_error("noting the durable position", source).in_segment(id);
        if self.segment_id != id {
            let newest = tip.slots().map_err(fault)?.newest();
            self.counter = newest.map_or(0, |slot| slot.counter);
            self.segment_id = id;
        }
        let Some(counter) = self.counter.checked_add(1) else {
            // Nobody syncs so often: the number was forged.
            return Err(home.error(ErrorKind::OutOfRange, "a slot's counter is at its end"));
        };
        let slot = Slot {
            counter,
            epoch: tip.header.epoch,
            durable_offset: end.offset,
            durable_seq: end.seq,
            first_seq: home.page().first_seq(),
            closed,
        };
        tip.write_slot(&slot).map_err(fault)?;
        self.counter = slot.counter;
        self.offset = end.offset;
        self.at = Instant::now();
        Ok(())
    }
}
