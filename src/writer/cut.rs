//! Dropping records: the newest, all, or the oldest.
//!
//! Nothing is rewritten. The newest go by a new segment, of a higher epoch, whose name cuts all older
//! ones at its base; the oldest by a note in a slot, and their files when whole. Does not know: who
//! reads them meanwhile, which goes on in the files that it has open.

use super::extend::used_up;
use super::keep::first_kept;
use super::{Appender, Tip};
use crate::error::{Error, ErrorKind, Result};
use crate::format::frame::MAX_SEQ;
use crate::format::header::Reason;
use crate::home::Home;
use crate::survey::{list, spans};
use crate::sync::Syncer;

impl Appender {
    /// Drops record `seq` and all behind it, durably.
    pub(crate) fn truncate_from(&mut self, home: &Home, syncer: &Syncer, seq: u64) -> Result<()> {
        self.look_again(home)?;
        let first_seq = home.page().first_seq();
        if seq >= self.next_seq {
            return Ok(());
        }
        if seq < first_seq {
            let text = format!("the log was to be cut at {seq}, its first record is {first_seq}");
            return Err(Error::new(ErrorKind::Trimmed, text)
                .at_path(home.dir().path())
                .at_seq(first_seq));
        }
        self.cut(home, syncer, Reason::Cut, seq, first_seq)
    }

    /// Drops everything, durably; the next record gets `next_seq`.
    pub(crate) fn reset(&mut self, home: &Home, syncer: &Syncer, next_seq: u64) -> Result<()> {
        if next_seq > MAX_SEQ {
            let text = format!("the log was to go on at {next_seq}, at most {MAX_SEQ} can be");
            return Err(Error::new(ErrorKind::OutOfRange, text).at_path(home.dir().path()));
        }
        self.look_again(home)?;
        self.cut(home, syncer, Reason::Reset, next_seq, next_seq)?;
        remove_trimmed(home)
    }

    /// Drops the records below `seq`, at most all; gives the first that is left.
    pub(crate) fn trim_before(&mut self, home: &Home, syncer: &Syncer, seq: u64) -> Result<u64> {
        self.look_again(home)?;
        let seq = seq.min(self.next_seq);
        if seq > home.page().first_seq() {
            // The note first: what is gone must not come back.
            syncer.note_trimmed(home, seq)?;
            home.wake.everyone();
            hook!("trim.told");
            event!(INFO, first_seq = seq, "trimmed");
        }
        remove_trimmed(home)?;
        Ok(home.page().first_seq())
    }

    /// Drops what the log's retention does not keep; gives the first that is left.
    pub(crate) fn enforce_retention(&mut self, home: &Home, syncer: &Syncer) -> Result<u64> {
        self.look_again(home)?;
        match home.retention.is_set() {
            true => self.trim_before(home, syncer, first_kept(home)?),
            false => Ok(home.page().first_seq()),
        }
    }

    fn look_again(&mut self, home: &Home) -> Result<()> {
        home.check()?;
        match self.tip {
            Tip::Unsettled => self.settle(home),
            Tip::Away(_) | Tip::Open(_) => Ok(()),
        }
    }

    fn cut(
        &mut self,
        home: &Home,
        syncer: &Syncer,
        reason: Reason,
        base_seq: u64,
        first_seq: u64,
    ) -> Result<()> {
        // What stays is durable before the new segment says so.
        syncer.sync(home)?;
        let epoch = self.epoch.checked_add(1);
        let epoch = epoch.ok_or_else(|| used_up(home, "the log has used all epochs"))?;
        let created = self.create(home, reason, epoch, (base_seq, first_seq), 0)?;
        self.adopt(home, created);
        // Durable before anybody sees it: neither its numbers nor its epoch are given twice.
        let synced = home.dir().sync();
        synced.map_err(|source| home.poison("syncing the directory", source))?;
        hook!("cut.durable");
        self.next_seq = base_seq;
        self.moved_to(home, epoch, first_seq, base_seq);
        event!(INFO, next_seq = base_seq, epoch, ?reason, "cut");
        Ok(())
    }
}

/// Removes the files that hold nothing any more, the oldest first: what is left after a death on the way
/// lies below the first record, or was cut.
fn remove_trimmed(home: &Home) -> Result<()> {
    let page = home.page();
    let fault = |source| home.io_error("removing a trimmed segment", source);
    let names = list(home.dir(), Some(page))?;
    let shares = spans(&names);
    let (first_seq, tip) = (page.first_seq(), page.end().segment_id);
    for name in names.iter().filter(|name| name.id < tip) {
        let holds = shares.iter().any(|span| span.name == *name && span.end_seq > first_seq);
        if !holds {
            let file_name = name.file_name();
            page.changing_names(|| home.dir().remove_if_there(&file_name))
                .map_err(|source| fault(source).in_segment(name.id))?;
            home.unsynced.lock().forget(name.id);
            hook!("trim.removed");
            event!(DEBUG, segment = name.id, "segment removed");
        }
    }
    Ok(())
}
