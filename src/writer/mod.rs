//! Appending: one record, a batch, or in place; marks.
//!
//! Only it may write frames. Does not know: who reads, when anything is durable.

mod cut;
mod extend;
mod keep;

use std::ops::Range;

use crate::ahead::Pace;
use crate::create::{Created, now_nanos};
use crate::error::{Error, ErrorKind, Result};
use crate::format::frame::{
    EMPTY_FRAME_BYTES, HEADER_BYTES, Kind, MARK_EVERY_BYTES, MARK_FRAME_BYTES, MAX_PAYLOAD,
    MAX_SEQ, Mark, frame_bytes,
};
use crate::format::header::HEADER_BYTES as DATA_START;
use crate::format::page::Due;
use crate::home::{Home, Unsynced};
use crate::map::End;
use crate::shared::Marks;
use crate::sync::Syncer;
use crate::tip::TipSegment;

pub(crate) use keep::held;

/// The longest record that a log with segments of `segment_bytes` holds, in bytes.
pub(crate) const fn max_record(segment_bytes: u64) -> u64 {
    let payload = max_frames(segment_bytes) - HEADER_BYTES;
    if payload < MAX_PAYLOAD { payload } else { MAX_PAYLOAD }
}

/// The bytes of frames that one append may bring: what is left of a segment beside its header, its
/// first mark and its end frame.
const fn max_frames(segment_bytes: u64) -> u64 {
    segment_bytes - DATA_START - MARK_FRAME_BYTES - EMPTY_FRAME_BYTES
}

/// The state that the append lock guards: this process's knowledge of where the log ends. What other
/// processes did is taken in by [`catch_up`](Self::catch_up).
pub(crate) struct Appender {
    tip: Tip,
    next_seq: u64,
    marks: Marks,
    epoch: u64,
    pace: Pace,
}

enum Tip {
    /// The log ends in a segment that is not mapped here; the first append makes it ready.
    Away(End),
    /// Something ended so that nobody knows how: the files tell.
    Unsettled,
    Open(TipSegment),
}

impl Appender {
    /// That of a process which did not append yet.
    pub(crate) fn new(end: End, epoch: u64) -> Self {
        let marks = Marks { due_at: 0, durable_seq: 0 };
        Appender { tip: Tip::Away(end), next_seq: end.seq, marks, epoch, pace: Pace::new() }
    }

    /// For a log whose first segment was made just now.
    pub(crate) fn of_new_log(created: Created, unsynced: &mut Unsynced) -> Self {
        let base_seq = created.file.name.base_seq;
        let open = TipSegment::new(created);
        unsynced.add(&open.file);
        let end = End { segment_id: open.file.name.id, offset: open.map.end(), seq: base_seq };
        let epoch = open.file.header.epoch;
        Appender { tip: Tip::Open(open), ..Self::new(end, epoch) }
    }

    /// Takes in what others did since this process had the lock.
    pub(crate) fn catch_up(&mut self, home: &Home) {
        let page = home.page();
        let end = page.end();
        self.next_seq = end.seq;
        self.marks = page.marks();
        self.epoch = page.epoch();
        let goes_on = match &mut self.tip {
            Tip::Open(open) if open.file.name.id == end.segment_id => open.map.advance(end.offset),
            _ => false,
        };
        if page.intent().is_some() {
            self.tip = Tip::Unsettled;
        } else if !goes_on || page.due() != Due::Nothing {
            self.tip = Tip::Away(end);
        }
    }

    pub(crate) fn append(&mut self, home: &Home, syncer: &Syncer, payload: &[u8]) -> Result<u64> {
        let len = payload.len() as u64;
        self.check_len(home, len)?;
        let room = frame_bytes(len);
        self.make_room(home, syncer, room, 1)?;
        self.put(home, 1, |open, seq| open.write(Kind::Single, seq, payload))
    }

    pub(crate) fn append_batch(
        &mut self,
        home: &Home,
        syncer: &Syncer,
        records: &[&[u8]],
    ) -> Result<Range<u64>> {
        let start = self.next_seq;
        match records {
            [] => return Ok(start..start),
            [one] => return self.append(home, syncer, one).map(|seq| seq..seq + 1),
            _ => {}
        }
        let mut room: u64 = 0;
        for record in records {
            self.check_len(home, record.len() as u64)?;
            room = room.saturating_add(frame_bytes(record.len() as u64));
        }
        let limit = max_frames(home.segment_bytes);
        if room > limit {
            let text =
                format!("a batch of {room} bytes of frames, of at most {limit} in one segment");
            return Err(Error::new(ErrorKind::TooLarge, text).at_path(home.dir().path()));
        }
        let count = records.len() as u64;
        self.make_room(home, syncer, room, count)?;
        let start = self.put(home, count, |open, seq| open.write_batch(seq, records, room))?;
        Ok(start..start + count)
    }

    /// Makes room for a record of `len` bytes that is written in place.
    pub(crate) fn reserve(&mut self, home: &Home, syncer: &Syncer, len: u64) -> Result<()> {
        self.check_len(home, len)?;
        self.make_room(home, syncer, frame_bytes(len), 1)
    }

    /// The `len` bytes of payload that were reserved.
    #[inline]
    pub(crate) fn reserved(&self, len: u64) -> &[u8] {
        match &self.tip {
            Tip::Open(open) => {
                let from = open.map.end() + HEADER_BYTES;
                open.map.unpublished(from..from + len).unwrap_or_default()
            }
            Tip::Away(_) | Tip::Unsettled => &[],
        }
    }

    #[inline]
    pub(crate) fn reserved_mut(&mut self, len: u64) -> &mut [u8] {
        match &mut self.tip {
            Tip::Open(open) => {
                let from = open.map.end() + HEADER_BYTES;
                open.map.unpublished_mut(from..from + len).unwrap_or_default()
            }
            Tip::Away(_) | Tip::Unsettled => &mut [],
        }
    }

    /// Commits the first `len` of the bytes that were reserved.
    pub(crate) fn commit(&mut self, home: &Home, len: u64) -> Result<u64> {
        home.check()?;
        self.put(home, 1, |open, seq| open.commit_in_place(seq, len))
    }

    #[inline]
    fn check_len(&self, home: &Home, len: u64) -> Result<()> {
        if len <= home.max_record { Ok(()) } else { Err(too_large(home, len)) }
    }

    /// Writes `records` records, the first of them with the number that is given back, and tells everyone.
    // Always inline, as all of an append's steps: left to itself the compiler makes calls of them, and a
    // fifth of a small append goes into saving registers and looking again at what the last step saw.
    #[inline(always)]
    fn put(
        &mut self,
        home: &Home,
        records: u64,
        write: impl FnOnce(&mut TipSegment, u64) -> Option<()>,
    ) -> Result<u64> {
        let Tip::Open(open) = &mut self.tip else { return Err(out_of_bounds(home)) };
        let seq = self.next_seq;
        write(open, seq).ok_or_else(|| out_of_bounds(home))?;
        self.next_seq = seq + records;
        tell(home, open, self.next_seq);
        Ok(seq)
    }

    /// As [`tell`], where the log ends now.
    fn tell(&self, home: &Home) {
        if let Tip::Open(open) = &self.tip {
            tell(home, open, self.next_seq);
        }
    }

    /// Sees to it that `room` bytes of frames, an end frame and the zero word behind them can be
    /// stored at the end, and writes the mark that is due before them. On an error nothing changed
    /// but, perhaps, the file's size.
    #[inline(always)]
    fn make_room(&mut self, home: &Home, syncer: &Syncer, room: u64, records: u64) -> Result<()> {
        home.check()?;
        match &self.tip {
            Tip::Open(open) if !self.mark_is_due(home, open) && self.fits(open, room, records) => {
                Ok(())
            }
            _ => self.find_room(home, syncer, room, records),
        }
    }

    #[inline(never)]
    fn find_room(&mut self, home: &Home, syncer: &Syncer, room: u64, records: u64) -> Result<()> {
        loop {
            let mark = match &self.tip {
                Tip::Open(open) if !self.mark_is_due(home, open) => 0,
                _ => MARK_FRAME_BYTES,
            };
            if let Tip::Open(open) = &self.tip
                && self.fits(open, mark + room, records)
            {
                return if mark > 0 { self.write_mark(home) } else { Ok(()) };
            }
            self.extend(home, syncer, mark + room, records)?;
        }
    }

    /// True if `room` bytes of frames, with `records` records, can be stored at the end now.
    #[inline(always)]
    fn fits(&self, open: &TipSegment, room: u64, records: u64) -> bool {
        open.map.end() + room + EMPTY_FRAME_BYTES <= open.map.ready()
            && self.next_seq + records - 1 <= MAX_SEQ
    }

    #[inline(always)]
    fn mark_is_due(&self, home: &Home, open: &TipSegment) -> bool {
        open.map.end() >= self.marks.due_at || home.page().durable_seq() != self.marks.durable_seq
    }

    fn write_mark(&mut self, home: &Home) -> Result<()> {
        let durable_seq = home.page().durable_seq();
        let payload = Mark { time_nanos: now_nanos(), durable_seq }.encode();
        let Tip::Open(open) = &mut self.tip else { return Err(out_of_bounds(home)) };
        open.write(Kind::Mark, self.next_seq, &payload).ok_or_else(|| out_of_bounds(home))?;
        self.marks = Marks { due_at: open.map.end() + MARK_EVERY_BYTES, durable_seq };
        home.page().set_marks(self.marks);
        tell(home, open, self.next_seq);
        Ok(())
    }
}

/// Tells everyone that the log ends where `open` does, before the record `next_seq`.
#[inline(always)]
fn tell(home: &Home, open: &TipSegment, next_seq: u64) {
    hook!("append.published");
    let end = End { segment_id: open.file.name.id, offset: open.map.end(), seq: next_seq };
    home.page().set_end(end);
    hook!("append.end_stored");
    home.wake.records_came();
}

#[cold]
fn too_large(home: &Home, len: u64) -> Error {
    let limit = home.max_record;
    let text = format!("a record of {len} bytes, of at most {limit} with segments of this size");
    Error::new(ErrorKind::TooLarge, text).at_path(home.dir().path())
}

/// Room was made before anything is written, so this says that this crate counted wrong: the record
/// was not appended.
#[cold]
fn out_of_bounds(home: &Home) -> Error {
    home.error(ErrorKind::OutOfRange, "a frame would leave the room made for it")
}
