//! What was known to be durable: slots, marks and live pages claim it, each within its own place.
//!
//! Does not know: what follows from it.

use super::walk::run;
use super::{Live, Recovery, Span, of_another_log};
use crate::dir::Dir;
use crate::error::{ErrorKind, Result};
use crate::format::ALIGN;
use crate::format::frame::MAX_SEQ;
use crate::format::header::{HEADER_BYTES as DATA_START, MAX_SEGMENT_BYTES, Reason};
use crate::format::slot::Slot;
use crate::scan::{Resync, Source};
use crate::segment::{SegmentFile, Slots};

/// A place in the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) span: usize,
    pub(super) at: u64,
    pub(super) seq: u64,
}

/// A segment that was opened. Without a file it has no valid header.
pub(super) struct Visit {
    pub(super) file: Option<SegmentFile>,
    pub(super) slots: Slots,
    /// Bytes of the file that can hold header and frames.
    pub(super) bytes: u64,
    pub(super) resync: Resync,
}

/// What was found behind the end of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Behind {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) claim: u64,
}

pub(super) struct Surveyor<'a> {
    pub(super) dir: &'a Dir,
    /// The page cache holds what was stored, in the order it was: a zero word is the end.
    pub(super) in_order: bool,
    pub(super) spans: Vec<Span>,
    /// The last of the spans, in descending order.
    pub(super) visits: Vec<Visit>,
    /// The highest sequence number below which everything is known to have been durable.
    pub(super) evidence: u64,
    /// The marks behind the first place that called for them are in `evidence`.
    pub(super) claims_taken_in: bool,
    /// The last segment without a valid slot. It had one when it got its name, so what it said was durable is
    /// not known any more.
    pub(super) last_mute: Option<usize>,
    /// The highest that a slot names.
    pub(super) first_seq: Option<u64>,
    pub(super) epoch: u64,
    pub(super) log_id: Option<[u8; 16]>,
    pub(super) report: Recovery,
}

impl Surveyor<'_> {
    /// The end that a live page holds, or one before it; else the newest durable position that the
    /// log has noted, or its start.
    pub(super) fn start(&mut self, live: Option<Live>) -> Result<Place> {
        for span in (0..self.spans.len()).rev() {
            self.visit(span)?;
            let noted = self.noted_position(span);
            let stored =
                live.map(|live| live.end).filter(|end| end.segment_id == self.spans[span].name.id);
            let stored = stored.and_then(|end| self.place(span, end.offset, end.seq));
            if let Some(place) = stored.or(noted) {
                return Ok(place);
            }
        }
        Ok(Place { span: 0, at: DATA_START, seq: self.spans[0].name.base_seq })
    }

    pub(super) fn visit(&mut self, span: usize) -> Result<()> {
        let name = self.spans[span].name;
        let file = match SegmentFile::open_to_read(self.dir, name) {
            Err(error) if error.kind() == ErrorKind::Damaged => None,
            other => Some(other?),
        };
        let mut slots = Slots::NONE;
        let (mut bytes, mut segment_bytes) = (0, 0);
        if let Some(file) = &file {
            slots = file.slots().map_err(|source| self.fault(span, source))?;
            segment_bytes = file.header.segment_bytes;
            bytes = file.bytes().map_err(|source| self.fault(span, source))?.min(segment_bytes);
            self.epoch = self.epoch.max(file.header.epoch);
            self.check_log(file)?;
        }
        if file.is_none() && !self.report.live {
            // Each epoch begins with a segment of its own, so none is above its segment's id.
            self.epoch = self.epoch.max(name.id);
        }
        if slots.newest().is_none() {
            // From the last one down: the first that is found.
            self.last_mute = self.last_mute.or(Some(span));
        }
        self.visits.push(Visit { file, slots, bytes, resync: Resync::new(segment_bytes) });
        Ok(())
    }

    /// All segments are of one log.
    fn check_log(&mut self, file: &SegmentFile) -> Result<()> {
        let log_id = *self.log_id.get_or_insert(file.header.log_id);
        if log_id == file.header.log_id { Ok(()) } else { Err(of_another_log(self.dir, file.name)) }
    }

    /// A last segment that was copied in from another log would speak for all: the first one, too,
    /// is asked whose it is.
    pub(super) fn check_first(&mut self) -> Result<()> {
        if self.visits.len() == self.spans.len() {
            return Ok(());
        }
        match SegmentFile::open_to_read(self.dir, self.spans[0].name) {
            Ok(file) => self.check_log(&file),
            Err(error) if error.kind() == ErrorKind::Damaged => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn visited(&self, span: usize) -> &Visit {
        &self.visits[self.spans.len() - 1 - span]
    }

    pub(super) fn visited_mut(&mut self, span: usize) -> &mut Visit {
        &mut self.visits[self.spans.len() - 1 - span]
    }

    /// Takes in what the slots of `span` claim; gives the position that they note, if it lies there.
    pub(super) fn noted_position(&mut self, span: usize) -> Option<Place> {
        let Span { name, end_seq } = self.spans[span];
        let visit = self.visited(span);
        let slot = visit.slots.newest()?;
        let bytes = visit.bytes;
        let Slot { epoch, durable_offset: at, durable_seq: seq, first_seq, .. } = slot;
        // A claim never exceeds its own place: so many records the file can hold, and where the log
        // was cut since.
        self.claim(seq.min(name.base_seq + bytes / ALIGN).min(end_seq));
        self.first_seq = self.first_seq.max(Some(first_seq));
        self.epoch = self.epoch.max(epoch);
        self.place(span, at, seq)
    }

    /// A position that is said to lie in `span`, if it can: inside the file, and with no more records
    /// before it than fit there.
    fn place(&self, span: usize, at: u64, seq: u64) -> Option<Place> {
        let Span { name, end_seq } = self.spans[span];
        let inside =
            (DATA_START..=self.visited(span).bytes).contains(&at) && at.is_multiple_of(ALIGN);
        let before = at.saturating_sub(DATA_START) / ALIGN;
        let fits = (name.base_seq..=end_seq.min(name.base_seq + before)).contains(&seq);
        (inside && fits).then_some(Place { span, at, seq })
    }

    pub(super) fn claim(&mut self, seq: u64) {
        self.evidence = self.evidence.max(seq.min(MAX_SEQ + 1));
    }

    /// On a live page all that was committed is evidence, as far as the segments can hold it.
    pub(super) fn believe(&mut self, live: Live) {
        self.epoch = self.epoch.max(live.epoch);
        self.first_seq = self.first_seq.max(Some(live.first_seq));
        let counts = |span: &Span| span.name.id <= live.end.segment_id;
        let last = self.spans.len() - 1;
        // Whoever copied what a sync left in doubt died before the page was told of the copies: they hold
        // what was committed, and cut the segment that the page names.
        let span = match self.reason_of(last) {
            Some(Reason::Copy) => Some(last),
            _ => self.spans.iter().rposition(counts),
        };
        let Some(span) = span else { return };
        let Span { name, end_seq } = self.spans[span];
        let room = name.base_seq + MAX_SEGMENT_BYTES / ALIGN;
        self.claim(live.end.seq.min(end_seq).min(room));
    }

    fn reason_of(&self, span: usize) -> Option<Reason> {
        self.visited(span).file.as_ref().map(|file| file.header.reason)
    }

    /// Takes in what marks behind the end of a run claim, there and in later segments.
    pub(super) fn claims_behind(&mut self, place: Place) -> Result<()> {
        let mut claim = self.sweep(place)?.claim;
        for span in place.span + 1..self.spans.len() {
            let start = Place { span, at: DATA_START, seq: self.spans[span].name.base_seq };
            claim = claim.max(self.sweep(start)?.claim);
        }
        self.claim(claim);
        Ok(())
    }

    /// Everything valid from `place` to the end of its segment, gaps or not.
    pub(super) fn sweep(&mut self, place: Place) -> Result<Behind> {
        let Place { span, mut at, mut seq } = place;
        let end_seq = self.spans[span].end_seq;
        let swept = self.with_source(span, |source, rules, _| {
            let mut behind = Behind::default();
            // A budget of its own: what is spent here is not missing where records are saved.
            let used = source.last_used(at)?;
            let mut resync = Resync::new(source.limit()).below(used);
            behind.bytes = used - at;
            loop {
                let start = seq;
                run(source, rules, &mut at, &mut seq, &mut |claim| {
                    behind.claim = behind.claim.max(claim)
                })?;
                behind.records += seq - start;
                match resync.next(source, rules, at, seq)? {
                    Some((next_at, next_seq)) => (at, seq) = (next_at, next_seq),
                    None => return Ok(behind),
                }
            }
        })?;
        let behind = swept.unwrap_or_default();
        Ok(Behind { claim: behind.claim.min(end_seq), ..behind })
    }
}
