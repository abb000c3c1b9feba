//! Appending: one record, a batch, or in place; growing the file and rolling to a new segment.
//!
//! Only it may write frames. Does not know: who reads, when anything is durable.

use std::ops::Range;
use std::sync::Arc;

use crate::create::{Created, NewSegment, create, now_nanos};
use crate::error::{Error, ErrorKind, Result};
use crate::format::frame::{
    EMPTY_FRAME_BYTES, HEADER_BYTES, Kind, MARK_EVERY_BYTES, MARK_FRAME_BYTES, MAX_PAYLOAD,
    MAX_SEQ, Mark, frame_bytes,
};
use crate::format::header::{HEADER_BYTES as DATA_START, Reason};
use crate::format::name::SegmentName;
use crate::home::{Home, Unsynced};
use crate::map::End;
use crate::segment::SegmentFile;
use crate::survey::Plan;
use crate::sync::Syncer;
use crate::tip::TipSegment;

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

/// The state that the append lock guards.
pub(crate) struct Appender {
    tip: Tip,
    next_seq: u64,
    /// The end's offset from which on a mark is due.
    mark_at: u64,
    /// The durable position that the last mark carries.
    marked_durable: u64,
    /// The highest segment id seen in the directory.
    last_id: u64,
    epoch: u64,
}

enum Tip {
    /// As it was found; the first append makes it ready.
    Found {
        end: End,
        plan: Plan,
    },
    Open(TipSegment),
}

impl Appender {
    /// `last_id` is the highest segment id in the directory, whether it counts or not.
    pub(crate) fn new(end: End, plan: Plan, epoch: u64, last_id: u64) -> Self {
        let next_seq = end.seq;
        Appender {
            tip: Tip::Found { end, plan },
            next_seq,
            mark_at: 0,
            marked_durable: 0,
            last_id,
            epoch,
        }
    }

    /// For a log whose first segment was made just now.
    pub(crate) fn of_new_log(created: Created, unsynced: &mut Unsynced) -> Self {
        let name = created.file.name;
        let open = TipSegment::new(created);
        unsynced.append_to(&open.file);
        Appender {
            epoch: open.file.header.epoch,
            tip: Tip::Open(open),
            next_seq: name.base_seq,
            mark_at: 0,
            marked_durable: 0,
            last_id: name.id,
        }
    }

    /// How the log was found, until the first append.
    pub(crate) fn found_plan(&self) -> Option<Plan> {
        match self.tip {
            Tip::Found { plan, .. } => Some(plan),
            Tip::Open(_) => None,
        }
    }

    pub(crate) fn append(&mut self, home: &Home, syncer: &Syncer, payload: &[u8]) -> Result<u64> {
        let len = payload.len() as u64;
        self.check_len(home, len)?;
        let room = frame_bytes(len);
        self.make_room(home, syncer, room, 1)?;
        let seq = self.next_seq;
        let open = self.open(home)?;
        open.write(Kind::Single, seq, payload).ok_or_else(|| out_of_bounds(home))?;
        self.committed(home, 1);
        Ok(seq)
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
        let start = self.next_seq;
        let open = self.open(home)?;
        open.write_batch(start, records, room).ok_or_else(|| out_of_bounds(home))?;
        self.committed(home, count);
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
            Tip::Found { .. } => &[],
        }
    }

    #[inline]
    pub(crate) fn reserved_mut(&mut self, len: u64) -> &mut [u8] {
        match &mut self.tip {
            Tip::Open(open) => {
                let from = open.map.end() + HEADER_BYTES;
                open.map.unpublished_mut(from..from + len).unwrap_or_default()
            }
            Tip::Found { .. } => &mut [],
        }
    }

    /// Commits the first `len` of the bytes that were reserved.
    pub(crate) fn commit(&mut self, home: &Home, len: u64) -> Result<u64> {
        home.check()?;
        let seq = self.next_seq;
        let open = self.open(home)?;
        open.commit_in_place(seq, len).ok_or_else(|| out_of_bounds(home))?;
        self.committed(home, 1);
        Ok(seq)
    }

    /// The end moved by `records` records: tells everyone.
    #[inline]
    fn committed(&mut self, home: &Home, records: u64) {
        hook!("append.published");
        self.next_seq += records;
        if let Tip::Open(open) = &self.tip {
            let segment_id = open.file.name.id;
            home.page().set_end(End { segment_id, offset: open.map.end(), seq: self.next_seq });
        }
        hook!("append.end_stored");
        home.wake.records_came();
    }

    #[inline]
    fn check_len(&self, home: &Home, len: u64) -> Result<()> {
        let limit = max_record(home.segment_bytes);
        if len <= limit { Ok(()) } else { Err(too_large(home, len, limit)) }
    }

    #[inline]
    fn open(&mut self, home: &Home) -> Result<&mut TipSegment> {
        match &mut self.tip {
            Tip::Open(open) => Ok(open),
            Tip::Found { .. } => Err(out_of_bounds(home)),
        }
    }

    /// Sees to it that `room` bytes of frames, an end frame and the zero word behind them can be
    /// stored at the end, and writes the mark that is due before them. On an error nothing changed
    /// but, perhaps, the file's size.
    #[inline]
    fn make_room(&mut self, home: &Home, syncer: &Syncer, room: u64, records: u64) -> Result<()> {
        home.check()?;
        if !self.mark_is_due(home) && self.fits(room, records) {
            return Ok(());
        }
        self.find_room(home, syncer, room, records)
    }

    #[inline(never)]
    fn find_room(&mut self, home: &Home, syncer: &Syncer, room: u64, records: u64) -> Result<()> {
        loop {
            let mark_is_due = self.mark_is_due(home);
            let mark = if mark_is_due { MARK_FRAME_BYTES } else { 0 };
            if self.fits(mark + room, records) {
                return if mark_is_due { self.write_mark(home) } else { Ok(()) };
            }
            self.extend(home, syncer, mark + room, records)?;
        }
    }

    /// True if `room` bytes of frames, with `records` records, can be stored at the end now.
    #[inline]
    fn fits(&self, room: u64, records: u64) -> bool {
        match &self.tip {
            Tip::Open(open) => {
                open.map.end() + room + EMPTY_FRAME_BYTES <= open.map.ready()
                    && self.next_seq + records - 1 <= MAX_SEQ
            }
            Tip::Found { .. } => false,
        }
    }

    #[inline]
    fn mark_is_due(&self, home: &Home) -> bool {
        match &self.tip {
            Tip::Open(open) => {
                open.map.end() >= self.mark_at || home.page().durable_seq() != self.marked_durable
            }
            Tip::Found { .. } => true,
        }
    }

    fn write_mark(&mut self, home: &Home) -> Result<()> {
        let durable_seq = home.page().durable_seq();
        let payload = Mark { time_nanos: now_nanos(), durable_seq }.encode();
        let seq = self.next_seq;
        let open = self.open(home)?;
        open.write(Kind::Mark, seq, &payload).ok_or_else(|| out_of_bounds(home))?;
        self.mark_at = self.open(home)?.map.end() + MARK_EVERY_BYTES;
        self.marked_durable = durable_seq;
        self.committed(home, 0);
        Ok(())
    }

    #[cold]
    fn extend(&mut self, home: &Home, syncer: &Syncer, room: u64, records: u64) -> Result<()> {
        if self.next_seq + records - 1 > MAX_SEQ {
            let full = home.error(ErrorKind::OutOfRange, "the log has used all sequence numbers");
            return Err(full.at_seq(self.next_seq));
        }
        match &mut self.tip {
            Tip::Found { end, plan: Plan::GoOn { .. } } => {
                let end = *end;
                self.go_on(home, syncer, end)
            }
            Tip::Found { plan: Plan::Fresh, .. } => self.start_afresh(home, syncer, room),
            Tip::Open(open) => {
                let needed = open.map.end() + room + EMPTY_FRAME_BYTES;
                if needed <= open.file.header.segment_bytes {
                    open.grow(home.dir(), needed)
                } else {
                    self.roll(home, room)
                }
            }
        }
    }

    /// Appends go on in the segment that the log was found to end in.
    fn go_on(&mut self, home: &Home, syncer: &Syncer, end: End) -> Result<()> {
        let fault =
            |source| home.io_error("opening the last segment", source).in_segment(end.segment_id);
        let file = match home.unsynced.lock().segment(end.segment_id) {
            Some(file) => file,
            None => {
                let base_seq =
                    home.site.base_seq(end.segment_id).ok_or_else(|| out_of_bounds(home))?;
                let name = SegmentName { id: end.segment_id, base_seq };
                Arc::new(SegmentFile::open_to_write(home.dir(), name)?)
            }
        };
        let open = TipSegment::go_on(file.clone(), end.offset).map_err(fault)?;
        if !broken!("slot_not_reopened") {
            // What was found becomes durable, and the slot says so: the evidence must not end with the
            // page that told of it. After a clean close there is nothing to sync.
            syncer.sync(home)?;
            syncer.reopen(home, &file)?;
        }
        home.unsynced.lock().append_to(&file);
        self.tip = Tip::Open(open);
        // What follows is told from what a dead process may have left behind the end: the mark moves
        // every later frame to another place than its own had.
        self.mark_at = 0;
        Ok(())
    }

    /// The log ended unclean: nothing is written into what was found. What is durable when this
    /// returns is the new segment's name, so that its epoch is never given twice.
    fn start_afresh(&mut self, home: &Home, syncer: &Syncer, room: u64) -> Result<()> {
        // So that the new segment's slot says that all before it was durable.
        syncer.sync(home)?;
        let epoch = self.epoch.checked_add(1);
        let epoch = epoch.ok_or_else(|| used_up(home, "the log has used all epochs"))?;
        let created = self.create(home, Reason::Recovery, epoch, room)?;
        self.adopt(home, created);
        home.dir().sync().map_err(|source| home.poison("syncing the directory", source))?;
        self.epoch = epoch;
        home.page().set_epoch(epoch);
        home.page().fresh_is_done();
        self.committed(home, 0);
        home.wake.everyone();
        Ok(())
    }

    fn roll(&mut self, home: &Home, room: u64) -> Result<()> {
        let created = self.create(home, Reason::Roll, self.epoch, room)?;
        let next_seq = self.next_seq;
        if let Tip::Open(old) = &mut self.tip {
            // A courtesy to readers; what ends the segment is its successor's name.
            let _fits = old.write_end(next_seq);
        }
        hook!("roll.ended");
        home.unsynced.lock().names = true;
        self.adopt(home, created);
        self.committed(home, 0);
        home.wake.everyone();
        Ok(())
    }

    fn create(&mut self, home: &Home, reason: Reason, epoch: u64, room: u64) -> Result<Created> {
        home.check_place()?;
        let page = home.page();
        let id = self.last_id.checked_add(1);
        let new = NewSegment {
            id: id.ok_or_else(|| used_up(home, "the log has used all segment ids"))?,
            base_seq: self.next_seq,
            reason,
            epoch,
            log_id: home.log_id,
            segment_bytes: home.segment_bytes,
            durable_seq: page.durable_seq(),
            first_seq: page.first_seq(),
            room: room + MARK_FRAME_BYTES + EMPTY_FRAME_BYTES,
            mode: home.mode,
        };
        create(home.dir(), page, &new)
    }

    /// A new segment has its name: appends go there and nowhere else.
    fn adopt(&mut self, home: &Home, created: Created) {
        let name = created.file.name;
        let open = TipSegment::new(created);
        home.site.add(home.page(), name);
        home.unsynced.lock().append_to(&open.file);
        self.last_id = name.id;
        self.mark_at = 0;
        self.tip = Tip::Open(open);
    }
}

#[cold]
fn too_large(home: &Home, len: u64, limit: u64) -> Error {
    let text = format!("a record of {len} bytes, of at most {limit} with segments of this size");
    Error::new(ErrorKind::TooLarge, text).at_path(home.dir().path())
}

/// Nobody appends so much: the number was forged.
#[cold]
fn used_up(home: &Home, what: &'static str) -> Error {
    home.error(ErrorKind::OutOfRange, what)
}

/// Room was made before anything is written, so this says that this crate counted wrong: the record
/// was not appended.
#[cold]
fn out_of_bounds(home: &Home) -> Error {
    home.error(ErrorKind::OutOfRange, "a frame would leave the room made for it")
}
