//! Putting what was appended on stable storage, and noting how far that is.
//!
//! The only place that moves the durable position: after the data it covers was synced, never
//! before. A sync that fails poisons the log. Does not know: how records are written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

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

/// Syncs one log, one at a time; who waited for another's may find its own work done.
pub(crate) struct Syncer {
    noted: Mutex<Noted>,
}

/// What the newest slot says, and since when.
struct Noted {
    segment_id: u64,
    counter: u64,
    offset: u64,
    at: Instant,
}

impl Syncer {
    pub(crate) fn new() -> Self {
        let noted = Noted { segment_id: 0, counter: 0, offset: 0, at: Instant::now() };
        Syncer { noted: Mutex::new(noted) }
    }

    /// Makes every record that is committed now durable; gives the first number that is not.
    pub(crate) fn sync(&self, home: &Home) -> Result<u64> {
        home.check()?;
        let wanted = home.page().end().seq;
        let mut noted = self.noted.lock();
        home.check()?;
        let durable = home.page().durable_seq();
        if durable >= wanted {
            return Ok(durable);
        }
        home.check_place()?;
        let end = sync_data(home)?;
        if let Some(tip) = tip(home, end) {
            noted.take_in(home, &tip, end)?;
        }
        Ok(home.page().durable_seq())
    }

    /// As `sync`, and says in the slot that the log was closed here. Nobody appends meanwhile.
    pub(crate) fn close(&self, home: &Home) -> Result<()> {
        home.check()?;
        let mut noted = self.noted.lock();
        let end = sync_data(home)?;
        let Some(tip) = tip(home, end) else { return Ok(()) };
        noted.write(home, &tip, end, true)?;
        dir::sync_data(&tip.file).map_err(|source| home.poison("closing the log", source))
    }

    /// Says in the slot, durably, that the log is open again, before its first append.
    pub(crate) fn reopen(&self, home: &Home, tip: &Arc<SegmentFile>) -> Result<()> {
        let mut noted = self.noted.lock();
        noted.write(home, tip, home.page().end(), false)?;
        dir::sync_data(&tip.file).map_err(|source| home.poison("opening the log to append", source))
    }
}

/// Syncs every segment from the durable position to the end, the directory if it changed, and only
/// then moves the durable position to that end.
fn sync_data(home: &Home) -> Result<End> {
    let epoch = home.page().epoch();
    let end = home.page().end();
    let (segments, names) = {
        let mut unsynced = home.unsynced.lock();
        (unsynced.segments.clone(), std::mem::take(&mut unsynced.names))
    };
    if broken!("position_before_sync") {
        home.page().raise_durable(epoch, end.seq);
    }
    for segment in &segments {
        hook!("sync.before_data");
        dir::sync_data(&segment.file).map_err(|source| {
            home.poison("syncing a segment", source).in_segment(segment.name.id)
        })?;
    }
    if names {
        dir::Dir::sync(home.dir())
            .map_err(|source| home.poison("syncing the directory", source))?;
    }
    hook!("sync.before_position");
    if !home.page().raise_durable(epoch, end.seq) {
        return Err(home.error(ErrorKind::Poisoned, "another sync failed meanwhile"));
    }
    // Nothing is appended below the end's segment any more.
    home.unsynced.lock().segments.retain(|segment| segment.name.id >= end.segment_id);
    Ok(end)
}

/// The segment that the end lies in, if this process has appended to it. Only there are slots
/// written: what was found after a crash stays as it is.
fn tip(home: &Home, end: End) -> Option<Arc<SegmentFile>> {
    home.unsynced.lock().tip.clone().filter(|tip| tip.name.id == end.segment_id)
}

impl Noted {
    /// Writes the slot if it is due. It reaches the disk with a later sync.
    fn take_in(&mut self, home: &Home, tip: &Arc<SegmentFile>, end: End) -> Result<()> {
        let same = self.segment_id == tip.name.id;
        let moved = end.offset.saturating_sub(self.offset) >= NOTE_EVERY_BYTES;
        if same && !moved && self.at.elapsed() < NOTE_EVERY {
            return Ok(());
        }
        self.write(home, tip, end, false)
    }

    fn write(&mut self, home: &Home, tip: &Arc<SegmentFile>, end: End, closed: bool) -> Result<()> {
        let fault =
            |source| home.io_error("noting the durable position", source).in_segment(tip.name.id);
        if self.segment_id != tip.name.id {
            let newest = tip.slots().map_err(fault)?.newest();
            self.counter = newest.map_or(0, |slot| slot.counter);
            self.segment_id = tip.name.id;
        }
        let slot = Slot {
            counter: self.counter + 1,
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
