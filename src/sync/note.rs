//! Slots: noting in a segment how far the log is durable, and what was trimmed of it.
//!
//! Does not know: when that is so.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::POLL;
use crate::attach::Seized;
use crate::error::{ErrorKind, Result};
use crate::format::slot::Slot;
use crate::home::Home;
use crate::map::End;
use crate::segment::SegmentFile;

/// The slot is written when the durable position moved this far, or this long ago: written at each
/// sync it would double the bytes of a small durable append.
const NOTE_EVERY_BYTES: u64 = 1 << 20;
const NOTE_EVERY: Duration = Duration::from_millis(100);

/// How long the right to write slots is waited for. Who has it syncs a few files meanwhile, if it was not
/// stopped.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });

/// What this process noted last in a slot, and when.
pub(super) struct Noted {
    segment_id: u64,
    offset: u64,
    at: Instant,
}

/// Why a slot is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// To keep up; if another process is at it, that will do.
    IfNobodyDoes,
    /// The log is open again.
    Open,
    Closed,
}

/// The right to write slots, among all processes; given back when dropped.
pub(super) struct Pen<'h>(&'h Home);

impl<'h> Pen<'h> {
    /// `None` if another process has it and `note` does not need it.
    pub(super) fn take(home: &'h Home, note: Note) -> Result<Option<Self>> {
        let since = Instant::now();
        loop {
            let before = home.page().noting();
            let dead = match before {
                Some(token) => Seized::take(home.dir(), token.participant())?,
                None => None,
            };
            if (before.is_none() || dead.is_some()) && home.page().begin_noting(before, home.token)
            {
                return Ok(Some(Pen(home)));
            }
            if note == Note::IfNobodyDoes {
                return Ok(None);
            }
            if since.elapsed() > PATIENCE {
                let text = "another process notes how far the log is durable, and does not get on";
                return Err(home.error(ErrorKind::LockTimeout, text));
            }
            sleep(POLL);
        }
    }
}

impl Drop for Pen<'_> {
    fn drop(&mut self) {
        self.0.page().end_noting(self.0.token);
    }
}

impl Noted {
    pub(super) fn new() -> Self {
        Noted { segment_id: 0, offset: 0, at: Instant::now() }
    }

    pub(super) fn says(&self, end: End) -> bool {
        self.segment_id == end.segment_id && self.offset == end.offset
    }

    /// Writes the slot if it is due. It reaches the disk with a later sync.
    pub(super) fn take_in(&mut self, home: &Home, tip: &SegmentFile, end: End) -> Result<()> {
        let same = self.segment_id == tip.name.id;
        let moved = end.offset.saturating_sub(self.offset) >= NOTE_EVERY_BYTES;
        if same && !moved && self.at.elapsed() < NOTE_EVERY {
            return Ok(());
        }
        self.write(home, tip, end, Note::IfNobodyDoes)
    }

    pub(super) fn write(
        &mut self,
        home: &Home,
        tip: &SegmentFile,
        end: End,
        note: Note,
    ) -> Result<()> {
        let fault =
            |source| home.io_error("noting the durable position", source).in_segment(tip.name.id);
        self.at = Instant::now();
        let Some(_pen) = Pen::take(home, note)? else { return Ok(()) };
        let newest = tip.slots().map_err(fault)?.newest();
        let counter = newest.map_or(0, |slot| slot.counter).checked_add(1);
        let Some(counter) = counter else {
            // Nobody syncs so often: the number was forged.
            return Err(home.error(ErrorKind::OutOfRange, "a slot's counter is at its end"));
        };
        let slot = Slot {
            counter,
            epoch: tip.header.epoch,
            durable_offset: end.offset,
            durable_seq: end.seq,
            // Beside a reset the page may still say the first number of before, above all that there is.
            first_seq: home.page().first_seq().min(end.seq),
            closed: note == Note::Closed,
        };
        let outdated = newest.is_some_and(|newest| newest.durable_seq > end.seq);
        if !(outdated && note == Note::IfNobodyDoes) {
            tip.write_slot(&slot).map_err(fault)?;
        }
        self.segment_id = tip.name.id;
        self.offset = end.offset;
        Ok(())
    }
}

/// Says in the segment's slot that what lies below `first_seq` was trimmed; everything else it says stays.
/// Not durable yet. Only with the pen.
pub(super) fn write_first_seq(home: &Home, file: &SegmentFile, first_seq: u64) -> Result<()> {
    let id = file.name.id;
    let fault = |source| home.io_error("noting what was trimmed", source).in_segment(id);
    let Some(newest) = file.slots().map_err(fault)?.newest() else {
        let text = "neither slot is whole, so nothing can be noted there";
        return Err(home.error(ErrorKind::Damaged, text).in_segment(id));
    };
    let counter = newest.counter.checked_add(1);
    let counter = counter
        .ok_or_else(|| home.error(ErrorKind::OutOfRange, "a slot's counter is at its end"))?;
    file.write_slot(&Slot { counter, first_seq, ..newest }).map_err(fault)
}
