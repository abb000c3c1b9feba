//! Making room where there is none: growing the file, opening the segment that others append to,
//! rolling, starting afresh; and finding out how something ended whose process died.
//!
//! Each step that makes a segment announces it in the page (the intent) before the segment gets its
//! name and withdraws that when the end has moved there, so whoever has the lock next knows that
//! there is something to look for. Does not know: records.

use super::{Appender, Tip, out_of_bounds};
use crate::create::{Created, NewSegment, create};
use crate::error::{Error, ErrorKind, Result};
use crate::format::frame::{EMPTY_FRAME_BYTES, MARK_FRAME_BYTES, MAX_SEQ};
use crate::format::header::Reason;
use crate::format::name::SegmentName;
use crate::format::page::Due;
use crate::home::Home;
use crate::map::End;
use crate::shared::Marks;
use crate::survey::{Plan, list, survey};
use crate::sync::Syncer;
use crate::tip::TipSegment;
use crate::view::Site;

/// An intent that names no segment: who had the lock died, and nobody looked yet what of.
const SOMETHING: u64 = u64::MAX;

/// A mark is due before the next frame. What follows is told from what a dead process may have left
/// behind the end: the mark moves every later frame to another place than its own had.
const MARK_NOW: Marks = Marks { due_at: 0, durable_seq: 0 };

impl Appender {
    #[cold]
    pub(super) fn extend(
        &mut self,
        home: &Home,
        syncer: &Syncer,
        room: u64,
        records: u64,
    ) -> Result<()> {
        if self.next_seq + records - 1 > MAX_SEQ {
            let full = home.error(ErrorKind::OutOfRange, "the log has used all sequence numbers");
            return Err(full.at_seq(self.next_seq));
        }
        match &mut self.tip {
            Tip::Unsettled => self.settle(home),
            Tip::Away(end) => {
                let end = *end;
                match home.page().due() {
                    Due::Nothing => self.open_tip(home, end),
                    Due::Reopen { .. } => self.reopen(home, syncer, end),
                    Due::Fresh => self.start_afresh(home, syncer, room),
                }
            }
            Tip::Open(open) => {
                let needed = open.map.end() + room + EMPTY_FRAME_BYTES;
                if needed <= open.file.header.segment_bytes {
                    let window = match home.ahead.is_allowed() {
                        true => self.pace.window(open.map.end(), home.page().durable_seq()),
                        false => 0,
                    };
                    open.grow_ahead(home.dir(), needed, &home.ahead, window)
                } else {
                    self.roll(home, syncer, room)
                }
            }
        }
    }

    /// The lock was taken from a dead process.
    pub(crate) fn take_over(&mut self, home: &Home) -> Result<()> {
        // If what follows fails, this process had the lock last all the same, and would go by what it
        // knew before the dead one appended.
        self.tip = Tip::Unsettled;
        event!(WARN, log = %home.dir().path().display(), "the append lock's owner died");
        let page = home.page();
        if page.intent().is_none() {
            // Should this process die too before it has looked.
            page.set_intent(Some(SOMETHING));
        }
        hook!("takeover.announced");
        self.settle(home)
    }

    /// Finds out where the log ends from the files, as a recovery does on a live page: what a dead
    /// process published and did not tell of is committed, a segment that it named is a part of the
    /// log, and what it did not publish never happened.
    pub(super) fn settle(&mut self, home: &Home) -> Result<()> {
        home.check_place()?;
        let page = home.page();
        page.settle_names();
        hook!("takeover.names_settled");
        let names = list(home.dir(), Some(page))?;
        let found = survey(home.dir(), &names, Some(Site::live(page)))?;
        if found.epoch > page.epoch() || page.end().segment_id != found.end.segment_id {
            home.unsynced.lock().names = true;
        }
        if found.epoch > page.epoch() {
            // Nobody sees an epoch that a power cut could give again.
            home.dir().sync().map_err(|source| home.poison("syncing the directory", source))?;
        }
        // Even if it is the page's: the dead process may have stored it only there. What lies below the
        // first record is missing to nobody.
        let durable_seq = page.durable_seq().min(found.end.seq).max(found.first_seq);
        if found.plan == Plan::Fresh {
            page.set_due(Due::Fresh);
        }
        page.set_last_id(names.last().map_or(found.end.segment_id, |last| last.id));
        page.set_marks(MARK_NOW);
        page.enter_epoch((found.epoch, durable_seq), found.first_seq, || {
            page.set_end(found.end);
            hook!("takeover.end_stored");
        });
        hook!("takeover.epoch_stored");
        home.wake.everyone();
        page.set_intent(None);
        self.catch_up(home);
        Ok(())
    }

    /// Maps the segment that others append to.
    fn open_tip(&mut self, home: &Home, end: End) -> Result<()> {
        home.learn()?;
        let file = home.unsynced.lock().segment(end.segment_id);
        // It is there, since the log ends in it; but its header may have been harmed.
        let missing = || {
            let text = "the segment that the log ends in cannot be opened";
            home.error(ErrorKind::Damaged, text).in_segment(end.segment_id)
        };
        let file = file.ok_or_else(missing)?;
        let fault =
            |source| home.io_error("opening the last segment", source).in_segment(end.segment_id);
        let open = TipSegment::go_on(file, end.offset).map_err(fault)?;
        self.tip = Tip::Open(open);
        Ok(())
    }

    /// The first append of this instance goes on in the segment that the log was found to end in.
    fn reopen(&mut self, home: &Home, syncer: &Syncer, end: End) -> Result<()> {
        self.open_tip(home, end)?;
        let Tip::Open(open) = &self.tip else { return Err(out_of_bounds(home)) };
        let file = open.file.clone();
        if !broken!("slot_not_reopened") {
            // What was found becomes durable, and the slot says so: the evidence must not end with the
            // page that told of it. After a clean close there is nothing to sync.
            let said = syncer.sync(home).and_then(|_| syncer.reopen(home, &file));
            said.inspect_err(|_| self.tip = Tip::Away(end))?;
        }
        self.mark_next(home);
        home.page().set_due(Due::Nothing);
        Ok(())
    }

    /// The log ended unclean: nothing is written into what was found. What is durable when this
    /// returns is the new segment's name, so that its epoch is never given twice.
    fn start_afresh(&mut self, home: &Home, syncer: &Syncer, room: u64) -> Result<()> {
        // So that the new segment's slot says that all before it was durable.
        syncer.sync(home)?;
        let epoch = self.epoch.checked_add(1);
        let epoch = epoch.ok_or_else(|| used_up(home, "the log has used all epochs"))?;
        let place = (self.next_seq, home.page().first_seq());
        let created = self.create(home, Reason::Recovery, epoch, place, room)?;
        self.adopt(home, created);
        let synced = home.dir().sync();
        synced.map_err(|source| home.poison("syncing the directory", source))?;
        let page = home.page();
        self.moved_to(home, epoch, page.first_seq(), page.durable_seq());
        Ok(())
    }

    fn roll(&mut self, home: &Home, syncer: &Syncer, room: u64) -> Result<()> {
        let next_seq = self.next_seq;
        let place = (next_seq, home.page().first_seq());
        let created = self.create(home, Reason::Roll, self.epoch, place, room)?;
        if let Tip::Open(old) = &mut self.tip {
            // A courtesy to readers; what ends the segment is its successor's name.
            let _fits = old.write_end(next_seq);
        }
        hook!("roll.ended");
        home.unsynced.lock().names = true;
        self.adopt(home, created);
        self.moved(home);
        // There is room for the record now. What cannot be dropped is tried again at the next roll, and
        // whoever asks for it is told why.
        let dropped = self.enforce_retention(home, syncer);
        if dropped.is_err() {
            event!(WARN, ?dropped, "retention could not be kept");
        }
        Ok(())
    }

    /// The log ends in a new segment: tells everyone, and then that there is nothing to look for.
    fn moved(&mut self, home: &Home) {
        self.mark_next(home);
        hook!("create.marks_stored");
        self.tell(home);
        withdraw(home);
    }

    /// As `moved`, into a new epoch, in which the log begins at `first_seq` and is durable to
    /// `durable_seq`.
    pub(super) fn moved_to(&mut self, home: &Home, epoch: u64, first_seq: u64, durable_seq: u64) {
        let page = home.page();
        self.epoch = epoch;
        self.mark_next(home);
        hook!("create.marks_stored");
        page.enter_epoch((epoch, durable_seq), first_seq, || self.tell(home));
        hook!("create.epoch_stored");
        page.set_due(Due::Nothing);
        withdraw(home);
    }

    /// `place` is the new segment's base and the log's first sequence number from then on.
    pub(super) fn create(
        &mut self,
        home: &Home,
        reason: Reason,
        epoch: u64,
        place: (u64, u64),
        room: u64,
    ) -> Result<Created> {
        home.check_place()?;
        let page = home.page();
        let id = page.last_id().checked_add(1).filter(|id| *id < SOMETHING);
        let new = NewSegment {
            id: id.ok_or_else(|| used_up(home, "the log has used all segment ids"))?,
            base_seq: place.0,
            reason,
            epoch,
            log_id: home.log_id,
            segment_bytes: home.segment_bytes,
            // Of a reset, whose numbers may go on anywhere: nothing before it is missing.
            durable_seq: match reason {
                Reason::Cut | Reason::Reset => place.0,
                _ => page.durable_seq(),
            },
            first_seq: place.1,
            room: room + MARK_FRAME_BYTES + EMPTY_FRAME_BYTES,
            mode: home.mode,
            participant: home.participant(),
        };
        page.set_intent(Some(new.id));
        hook!("create.announced");
        let created = create(home.dir(), page, &new);
        match &created {
            Ok(_) => {
                event!(
                    INFO,
                    segment = new.id,
                    base_seq = new.base_seq,
                    epoch,
                    ?reason,
                    "segment made"
                );
                page.set_last_id(new.id);
            }
            Err(_) => self.not_created(home, SegmentName { id: new.id, base_seq: new.base_seq }),
        }
        created
    }

    /// A segment was not made, as an error says; unless it is there.
    fn not_created(&mut self, home: &Home, name: SegmentName) {
        match home.dir().holds(&name.file_name()) {
            Ok(false) => home.page().set_intent(None),
            _nobody_knows => self.tip = Tip::Unsettled,
        }
    }

    /// A new segment has its name: appends go there and nowhere else.
    pub(super) fn adopt(&mut self, home: &Home, created: Created) {
        let open = TipSegment::new(created);
        home.site.add(home.page(), open.file.name);
        home.unsynced.lock().add(&open.file);
        self.tip = Tip::Open(open);
    }

    fn mark_next(&mut self, home: &Home) {
        self.marks = MARK_NOW;
        home.page().set_marks(MARK_NOW);
    }
}

/// Nobody appends so much: the number was forged.
#[cold]
pub(super) fn used_up(home: &Home, what: &'static str) -> Error {
    home.error(ErrorKind::OutOfRange, what)
}

/// What was announced is done.
fn withdraw(home: &Home) {
    home.wake.everyone();
    home.page().set_intent(None);
    hook!("create.intent_withdrawn");
}
