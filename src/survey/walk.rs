//! The walk from the last noted position to the end of the log, and its verdicts.
//!
//! Does not know: where evidence comes from.

use std::io;
use std::ops::Range;

use super::evidence::{Place, Surveyor, Visit};
use super::{CutTail, Live, Plan, Recovery, Survey, lose, spans};
use crate::dir::Dir;
use crate::error::{Error, ErrorKind, Result};
use crate::format::ALIGN;
use crate::format::frame::MAX_SEQ;
use crate::format::header::HEADER_BYTES as DATA_START;
use crate::format::name::SegmentName;
use crate::map::End;
use crate::recovery::{Scene, SlotsSeen, Stop, Successor, Verdict, judge};
use crate::scan::{Fault, Resync, Rules, Seen, Source, look};
use crate::segment::{Pread, SegmentFile};

/// Looks at the log in `dir`, whose segments are `names`, at least one. `live` is what its page says, if
/// that counts.
pub(crate) fn survey(dir: &Dir, names: &[SegmentName], live: Option<Live>) -> Result<Survey> {
    check_names(dir, names)?;
    let spans = spans(names);
    let mut surveyor = Surveyor {
        dir,
        in_order: live.is_some_and(|live| !live.fresh_due),
        evidence: 0,
        claims_taken_in: false,
        last_mute: None,
        first_seq: None,
        epoch: 0,
        log_id: None,
        report: Recovery { live: live.is_some(), ..Recovery::default() },
        spans,
        visits: Vec::new(),
    };
    let start = surveyor.start(live)?;
    surveyor.check_first()?;
    if let Some(live) = live {
        surveyor.believe(live);
    }
    surveyor.walk(start, live)
}

/// Refuses names that cannot be this log's: their cuts would take records away.
pub(crate) fn check_names(dir: &Dir, names: &[SegmentName]) -> Result<()> {
    for pair in names.windows(2) {
        let [lower, higher] = [pair[0], pair[1]];
        if lower.id == higher.id {
            let text = format!("{} and {} claim one id", lower.file_name(), higher.file_name());
            return Err(Error::new(ErrorKind::NotALog, text)
                .at_path(dir.path())
                .in_segment(lower.id));
        }
        // A segment that takes numbers from an older one must be what its name says.
        if higher.base_seq <= lower.base_seq {
            match SegmentFile::open_to_read(dir, higher) {
                Err(error) if error.kind() != ErrorKind::Damaged => return Err(error),
                _as_its_name_says_or_unreadable => {}
            }
        }
    }
    Ok(())
}

impl Surveyor<'_> {
    fn walk(mut self, mut place: Place, live: Option<Live>) -> Result<Survey> {
        loop {
            let stop = self.run(&mut place)?;
            let scene = self.scene(stop, place)?;
            match judge(scene) {
                Verdict::NextSegment => place = self.next_span(place),
                Verdict::GoOnHere => {
                    let clean = scene.slots == SlotsSeen::ClosedHere;
                    return Ok(self.finish(place, Plan::GoOn { clean }, live));
                }
                Verdict::EndOfLog => {
                    self.report_cut(place)?;
                    let go_on = broken!("no_fresh_segment");
                    let plan = if go_on { Plan::GoOn { clean: false } } else { Plan::Fresh };
                    return Ok(self.finish(place, plan, live));
                }
                Verdict::Damage => match self.behind_damage(place)? {
                    Some(found) => {
                        self.lose(place.seq..found.seq);
                        place = found;
                    }
                    None if place.span + 1 < self.spans.len() => {
                        let next = self.next_span(place);
                        self.lose(place.seq..next.seq);
                        place = next;
                    }
                    None => {
                        let end = self.end_behind_damage(place)?;
                        self.lose(place.seq..end);
                        place.seq = end;
                        return Ok(self.finish(place, Plan::Fresh, live));
                    }
                },
            }
        }
    }

    /// Where numbers go on when the last segment ends in damage. If nothing can be read of it, and no
    /// live page says how many records it held, nobody knows: as many as its file has room for count as
    /// lost, and one at least, since a segment is made for a record. So none of their numbers is
    /// given again.
    fn end_behind_damage(&self, place: Place) -> Result<u64> {
        let known = place.seq.max(self.evidence);
        let name = self.spans[place.span].name;
        let bytes = self.dir.bytes_of(&name.file_name());
        let bytes = bytes.map_err(|source| self.fault(place.span, source))?;
        let Visit { file, slots, .. } = self.visited(place.span);
        let headless = file.is_none() || bytes < DATA_START && slots.newest().is_none();
        if self.report.live || !headless {
            return Ok(known);
        }
        let held = (bytes.saturating_sub(DATA_START) / ALIGN).max(1);
        Ok(known.max(name.base_seq.saturating_add(held).min(MAX_SEQ)))
    }

    fn next_span(&self, place: Place) -> Place {
        let span = place.span + 1;
        Place { span, at: DATA_START, seq: self.spans[span].name.base_seq }
    }

    /// Walks valid frames from `place`, to where they end or the next segment's share begins.
    fn run(&mut self, place: &mut Place) -> Result<Stop> {
        let stop = self.with_source(place.span, |source, rules, _| {
            run(source, rules, &mut place.at, &mut place.seq, &mut |_| {})
        })?;
        match stop {
            None => Ok(Stop::NoHeader),
            Some(Some(stop)) => Ok(stop),
            Some(None) => {
                let id = self.spans[place.span].name.id;
                Err(Error::refused_frame(self.dir.path(), id, place.at))
            }
        }
    }

    /// `None` if the segment has no valid header.
    pub(super) fn with_source<T>(
        &mut self,
        span: usize,
        look: impl FnOnce(&mut Pread<'_>, &Rules, &mut Resync) -> io::Result<T>,
    ) -> Result<Option<T>> {
        let cut_seq = self.spans[span].end_seq;
        let Visit { file, resync, .. } = self.visited_mut(span);
        let Some(file) = file else { return Ok(None) };
        let rules = Rules { salt: file.header.salt, cut_seq, check: true };
        let mut read_bytes = 0;
        let seen = file.pread().and_then(|mut source| {
            let seen = look(&mut source, &rules, resync);
            read_bytes = source.read_bytes();
            seen
        });
        self.report.scanned_bytes += read_bytes;
        seen.map(Some).map_err(|source| self.fault(span, source))
    }

    fn scene(&mut self, stop: Stop, place: Place) -> Result<Scene> {
        let successor = match self.spans.get(place.span + 1) {
            None => Successor::None,
            Some(next) if next.name.base_seq == place.seq => Successor::Fits,
            Some(_) => Successor::Beyond,
        };
        let slots = self.slots_seen(place);
        let settled = successor == Successor::Fits
            || stop == Stop::Vacant && (self.in_order || slots == SlotsSeen::ClosedHere);
        if !settled && !self.claims_taken_in {
            // Once is enough: the first unsettled place lies before all later ones. At each of them
            // anew, a segment full of gaps would cost its size squared.
            self.claims_behind(place)?;
            self.claims_taken_in = true;
        }
        let below_evidence = place.seq < self.evidence;
        Ok(Scene { live: self.in_order, stop, below_evidence, slots, successor })
    }

    fn slots_seen(&self, place: Place) -> SlotsSeen {
        let slots = self.visited(place.span).slots;
        match slots.newest().filter(|_| self.last_mute < Some(place.span)) {
            None => SlotsSeen::NoneValid,
            Some(slot)
                if slot.closed && slot.durable_offset == place.at && !slots.any_damaged() =>
            {
                SlotsSeen::ClosedHere
            }
            Some(_) => SlotsSeen::Open,
        }
    }

    fn behind_damage(&mut self, place: Place) -> Result<Option<Place>> {
        let found = self.with_source(place.span, |source, rules, resync| {
            resync.next(source, rules, place.at, place.seq)
        })?;
        Ok(found.flatten().map(|(at, seq)| Place { span: place.span, at, seq }))
    }

    fn lose(&mut self, range: Range<u64>) {
        lose(&mut self.report.lost, range);
    }

    fn report_cut(&mut self, place: Place) -> Result<()> {
        let mut behind = self.sweep(place)?;
        let later = place.span + 1..self.spans.len();
        for span in later.clone() {
            let start = Place { span, at: DATA_START, seq: self.spans[span].name.base_seq };
            behind.records += self.sweep(start)?.records;
        }
        let cut = CutTail {
            segment: self.spans[place.span].name.id,
            offset: place.at,
            bytes: behind.bytes,
            records: behind.records,
            segments: later.len() as u64,
        };
        if cut.bytes > 0 || cut.segments > 0 {
            self.report.cut = Some(cut);
        }
        Ok(())
    }

    fn finish(mut self, place: Place, plan: Plan, live: Option<Live>) -> Survey {
        self.spans.truncate(place.span + 1);
        let tip = &mut self.spans[place.span];
        tip.end_seq = MAX_SEQ + 1;
        let end = End { segment_id: tip.name.id, offset: place.at, seq: place.seq };
        let base_seq = self.spans[0].name.base_seq;
        let first_seq = self.first_seq.unwrap_or(base_seq).min(end.seq);
        // What was trimmed is not lost, whichever of its files are still here.
        self.report.lost.retain_mut(|lost| {
            lost.start = lost.start.max(first_seq);
            !lost.is_empty()
        });
        let missing = first_seq..base_seq;
        if !missing.is_empty() {
            self.report.lost.insert(0, missing);
        }
        self.report.clean = plan == Plan::GoOn { clean: true };
        let durable_seq = match live {
            _ if self.report.clean => end.seq,
            Some(live) => live.durable_seq.min(end.seq),
            None => self.evidence.min(end.seq),
        };
        Survey {
            spans: self.spans,
            end,
            first_seq,
            durable_seq,
            epoch: self.epoch,
            log_id: self.log_id,
            plan,
            report: self.report,
        }
    }

    pub(super) fn fault(&self, span: usize, source: io::Error) -> Error {
        let id = self.spans[span].name.id;
        Error::io("reading a segment", source).at_path(self.dir.path()).in_segment(id)
    }
}

/// Walks valid frames; `at` and `seq` end where the first stands that is none, or at the cut. Each
/// mark's claim, no higher than its own place, goes to `claim`. `None` where a later version wrote a
/// frame that must not be passed over.
pub(crate) fn run<S: Source>(
    source: &mut S,
    rules: &Rules,
    at: &mut u64,
    seq: &mut u64,
    claim: &mut dyn FnMut(u64),
) -> std::result::Result<Option<Stop>, S::Fault> {
    while *seq < rules.cut_seq {
        let (records, next) = match look(source, rules, *at, *seq)? {
            Seen::Single { next, .. } => (1, next),
            Seen::Batch { records, next } => (records, next),
            Seen::Skipped { next } => (0, next),
            Seen::Mark { mark, next } => {
                let own_place = if broken!("claims_not_clipped") { u64::MAX } else { *seq };
                claim(mark.durable_seq.min(own_place));
                (0, next)
            }
            Seen::End { .. } => return Ok(Some(Stop::EndFrame)),
            Seen::Vacant => return Ok(Some(Stop::Vacant)),
            Seen::Refused => return Ok(None),
            Seen::Invalid(Fault::Batch) => return Ok(Some(Stop::BrokenBatch)),
            Seen::Invalid(_) => return Ok(Some(Stop::Invalid)),
        };
        *seq = (*seq + records).min(rules.cut_seq);
        *at = next;
    }
    // The share is full, but not necessarily with its end frame.
    Ok(Some(match look(source, rules, *at, *seq)? {
        Seen::Vacant => Stop::Vacant,
        _ => Stop::EndFrame,
    }))
}
