//! What a log's directory holds: which segments count, where the log ends, what is lost.
//!
//! Looks and judges, and changes nothing: for a reader that comes before any recovery as for the
//! process that will append. Reads go through `pread`. Does not know: who asks, what they do next.

use std::io;
use std::ops::Range;

use crate::dir::Dir;
use crate::error::{Error, ErrorKind, Result};
use crate::format::ALIGN;
use crate::format::frame::MAX_SEQ;
use crate::format::header::HEADER_BYTES as DATA_START;
use crate::format::name::SegmentName;
use crate::format::slot::Slot;
use crate::map::End;
use crate::recovery::{Scene, SlotsSeen, Stop, Successor, Verdict, judge};
use crate::scan::{Fault, Resync, Rules, Seen, Source, look};
use crate::segment::{Pread, SegmentFile, Slots};
use crate::shared::Page;

/// What opening a log found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// The log had been closed, and nothing had happened to its end since.
    pub clean: bool,
    /// Only processes had died: what they had appended was still there, synced or not.
    pub live: bool,
    /// Bytes of frames that were read to find the end.
    pub scanned_bytes: u64,
    /// Records found lost on the way, in ascending order. What lies below the last durable position
    /// that the log had noted is not read at opening, and reported when it is.
    pub lost: Vec<Range<u64>>,
    /// What lay behind the end and is not part of the log any more. It stays on disk.
    pub cut: Option<CutTail>,
}

/// What lay behind the end of a log when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CutTail {
    /// The segment that the log ends in.
    pub segment: u64,
    /// Where in its file the log ends.
    pub offset: u64,
    /// Bytes from there to the last that are not zero: of an unfinished append, or of torn records.
    pub bytes: u64,
    /// Whole records behind a gap, never synced, of which none may be read without those missing
    /// before them.
    pub records: u64,
    /// Segments behind the gap.
    pub segments: u64,
}

/// A segment's share of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) name: SegmentName,
    /// Where the next segment's share begins; one above the highest number for the last.
    pub(crate) end_seq: u64,
}

/// How appending goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// In the last segment, at the end.
    GoOn { clean: bool },
    /// In a new segment, of a new epoch.
    Fresh,
}

/// What a survey found.
#[derive(Debug)]
pub(crate) struct Survey {
    /// The segments that count, in ascending order of both id and base.
    pub(crate) spans: Vec<Span>,
    pub(crate) end: End,
    pub(crate) first_seq: u64,
    /// Every record below it is on stable storage, or lost.
    pub(crate) durable_seq: u64,
    /// The highest seen.
    pub(crate) epoch: u64,
    pub(crate) log_id: [u8; 16],
    pub(crate) plan: Plan,
    pub(crate) report: Recovery,
}

/// What a live page says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Live {
    pub(crate) end: End,
    pub(crate) durable_seq: u64,
    pub(crate) first_seq: u64,
    pub(crate) epoch: u64,
}

/// How often a listing is made anew while names change under it.
const LISTINGS: usize = 1000;

/// The segments in the directory, in ascending order of their ids.
///
/// One pass over a directory may miss a file or see it twice while others come and go, so a listing
/// counts when the page's directory counter did not move meanwhile. Where there is no page, or its
/// counter stopped in the middle of a move, it counts when it was seen twice in a row.
pub(crate) fn list(dir: &Dir, page: Option<&Page>) -> Result<Vec<SegmentName>> {
    let mut last = None;
    for _ in 0..LISTINGS {
        let before = page.map(Page::directory);
        let names = segment_names(dir)
            .map_err(|source| Error::io("listing the directory", source).at_path(dir.path()))?;
        let still = before.is_some_and(|counter| counter.is_multiple_of(2))
            && before == page.map(Page::directory);
        if still || last.as_ref() == Some(&names) {
            return Ok(names);
        }
        last = Some(names);
    }
    Err(Error::new(ErrorKind::Io, "the directory never stood still to be listed")
        .at_path(dir.path()))
}

fn segment_names(dir: &Dir) -> io::Result<Vec<SegmentName>> {
    let mut names: Vec<_> =
        dir.names()?.iter().filter_map(|name| SegmentName::parse(name)).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Each segment's share: a segment cuts every segment of lower id at its own base.
pub(crate) fn spans(names: &[SegmentName]) -> Vec<Span> {
    let mut cut_seq = MAX_SEQ + 1;
    let mut spans = Vec::with_capacity(names.len());
    for name in names.iter().rev() {
        if name.base_seq < cut_seq {
            spans.push(Span { name: *name, end_seq: cut_seq });
            cut_seq = name.base_seq;
        }
    }
    spans.reverse();
    spans
}

/// Looks at the log in `dir`, whose segments are `names`, at least one. `live` is what its page says, if
/// that counts.
pub(crate) fn survey(dir: &Dir, names: &[SegmentName], live: Option<Live>) -> Result<Survey> {
    check_names(dir, names)?;
    let spans = spans(names);
    let mut surveyor = Surveyor {
        dir,
        live: live.is_some(),
        evidence: 0,
        first_seq: spans[0].name.base_seq,
        epoch: 0,
        log_id: None,
        report: Recovery { live: live.is_some(), ..Recovery::default() },
        spans,
        visits: Vec::new(),
    };
    let start = surveyor.start()?;
    if let Some(live) = live {
        surveyor.believe(live);
    }
    surveyor.walk(start, live)
}

/// Refuses names that cannot be this log's: their cuts would take records away.
fn check_names(dir: &Dir, names: &[SegmentName]) -> Result<()> {
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

/// A place in the log.
#[derive(Clone, Copy, Debug)]
struct Place {
    span: usize,
    at: u64,
    seq: u64,
}

/// A segment that was opened. Without a file it has no valid header.
struct Visit {
    file: Option<SegmentFile>,
    slots: Slots,
    resync: Resync,
}

/// What was found behind the end of a run.
#[derive(Clone, Copy, Debug, Default)]
struct Behind {
    records: u64,
    bytes: u64,
    claim: u64,
}

struct Surveyor<'a> {
    dir: &'a Dir,
    live: bool,
    spans: Vec<Span>,
    /// The last of the spans, in descending order.
    visits: Vec<Visit>,
    /// The highest sequence number below which everything is known to have been durable.
    evidence: u64,
    first_seq: u64,
    epoch: u64,
    log_id: Option<[u8; 16]>,
    report: Recovery,
}

impl Surveyor<'_> {
    /// The newest durable position that the log has noted, or the start of the log.
    fn start(&mut self) -> Result<Place> {
        for span in (0..self.spans.len()).rev() {
            self.visit(span)?;
            if let Some(place) = self.noted_position(span)? {
                return Ok(place);
            }
        }
        Ok(Place { span: 0, at: DATA_START, seq: self.spans[0].name.base_seq })
    }

    fn visit(&mut self, span: usize) -> Result<()> {
        let name = self.spans[span].name;
        let file = match SegmentFile::open_to_read(self.dir, name) {
            Err(error) if error.kind() == ErrorKind::Damaged => None,
            other => Some(other?),
        };
        let mut slots = Slots::NONE;
        let mut segment_bytes = 0;
        if let Some(file) = &file {
            slots = file.slots().map_err(|source| self.fault(span, source))?;
            segment_bytes = file.header.segment_bytes;
            self.epoch = self.epoch.max(file.header.epoch);
            let log_id = *self.log_id.get_or_insert(file.header.log_id);
            if log_id != file.header.log_id {
                let text = format!("{} belongs to another log", name.file_name());
                return Err(Error::new(ErrorKind::NotALog, text)
                    .at_path(self.dir.path())
                    .in_segment(name.id));
            }
        }
        self.visits.push(Visit { file, slots, resync: Resync::new(segment_bytes) });
        Ok(())
    }

    fn visited(&self, span: usize) -> &Visit {
        &self.visits[self.spans.len() - 1 - span]
    }

    fn visited_mut(&mut self, span: usize) -> &mut Visit {
        &mut self.visits[self.spans.len() - 1 - span]
    }

    /// Takes in what the slots of `span` claim; gives the position that they note, if it lies there.
    fn noted_position(&mut self, span: usize) -> Result<Option<Place>> {
        let Span { name, end_seq } = self.spans[span];
        let visit = self.visited(span);
        let (Some(file), Some(slot)) = (&visit.file, visit.slots.newest()) else {
            return Ok(None);
        };
        let bytes = file.bytes().map_err(|source| self.fault(span, source))?;
        let bytes = bytes.min(file.header.segment_bytes);
        let Slot { epoch, durable_offset: at, durable_seq: seq, first_seq, .. } = slot;
        // A claim never exceeds its own place: so many records the file can hold, and where the log
        // was cut since.
        self.claim(seq.min(name.base_seq + bytes / ALIGN).min(end_seq));
        self.first_seq = self.first_seq.max(first_seq);
        self.epoch = self.epoch.max(epoch);
        let sane = (DATA_START..=bytes).contains(&at) && at.is_multiple_of(ALIGN);
        let here = sane && (name.base_seq..=end_seq).contains(&seq);
        Ok(here.then_some(Place { span, at, seq }))
    }

    fn claim(&mut self, seq: u64) {
        self.evidence = self.evidence.max(seq.min(MAX_SEQ));
    }

    /// On a live page all that was committed is evidence, as far as the segments can hold it.
    fn believe(&mut self, live: Live) {
        self.epoch = self.epoch.max(live.epoch);
        self.first_seq = self.first_seq.max(live.first_seq);
        let Some(span) = self.spans.iter().rposition(|span| span.name.id <= live.end.segment_id)
        else {
            return;
        };
        let Span { name, end_seq } = self.spans[span];
        let room = name.base_seq + crate::format::header::MAX_SEGMENT_BYTES / ALIGN;
        self.claim(live.end.seq.min(end_seq).min(room));
    }

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
                    return Ok(self.finish(place, Plan::Fresh, live));
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
                        let end = place.seq.max(self.evidence);
                        self.lose(place.seq..end);
                        place.seq = end;
                        return Ok(self.finish(place, Plan::Fresh, live));
                    }
                },
            }
        }
    }

    fn next_span(&self, place: Place) -> Place {
        let span = place.span + 1;
        Place { span, at: DATA_START, seq: self.spans[span].name.base_seq }
    }

    /// Walks valid frames from `place`, to where they end or the next segment's share begins.
    fn run(&mut self, place: &mut Place) -> Result<Stop> {
        let mut scanned = 0;
        let stop = self.with_source(place.span, |source, rules, _| {
            let stop = run(source, rules, &mut place.at, &mut place.seq, &mut |_| {});
            scanned = source.read_bytes();
            stop
        })?;
        self.report.scanned_bytes += scanned;
        match stop {
            None => Ok(Stop::NoHeader),
            Some(Some(stop)) => Ok(stop),
            Some(None) => {
                let id = self.spans[place.span].name.id;
                let refused = Error::new(
                    ErrorKind::UnsupportedFeature,
                    "a frame of a kind that this version must not skip",
                );
                Err(refused.at_path(self.dir.path()).in_segment(id).at_offset(place.at))
            }
        }
    }

    /// `None` if the segment has no valid header.
    fn with_source<T>(
        &mut self,
        span: usize,
        look: impl FnOnce(&mut Pread<'_>, &Rules, &mut Resync) -> io::Result<T>,
    ) -> Result<Option<T>> {
        let cut_seq = self.spans[span].end_seq;
        let Visit { file, resync, .. } = self.visited_mut(span);
        let Some(file) = file else { return Ok(None) };
        let rules = Rules { salt: file.header.salt, cut_seq, check: true };
        let seen = file.pread().and_then(|mut source| look(&mut source, &rules, resync));
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
            || stop == Stop::Vacant && (self.live || slots == SlotsSeen::ClosedHere);
        if !settled {
            self.claims_behind(place)?;
        }
        let below_evidence = place.seq < self.evidence;
        Ok(Scene { live: self.live, stop, below_evidence, slots, successor })
    }

    fn slots_seen(&self, place: Place) -> SlotsSeen {
        let slots = self.visited(place.span).slots;
        match slots.newest() {
            None => SlotsSeen::NoneValid,
            Some(slot)
                if slot.closed && slot.durable_offset == place.at && !slots.any_damaged() =>
            {
                SlotsSeen::ClosedHere
            }
            Some(_) => SlotsSeen::Open,
        }
    }

    /// Takes in what marks behind the end of a run claim, there and in later segments.
    fn claims_behind(&mut self, place: Place) -> Result<()> {
        let mut claim = self.sweep(place)?.claim;
        for span in place.span + 1..self.spans.len() {
            let start = Place { span, at: DATA_START, seq: self.spans[span].name.base_seq };
            claim = claim.max(self.sweep(start)?.claim);
        }
        self.claim(claim);
        Ok(())
    }

    /// Everything valid from `place` to the end of its segment, gaps or not.
    fn sweep(&mut self, place: Place) -> Result<Behind> {
        let Place { span, mut at, mut seq } = place;
        let end_seq = self.spans[span].end_seq;
        let swept = self.with_source(span, |source, rules, _| {
            let mut behind = Behind::default();
            // A budget of its own: what is spent here is not missing where records are saved.
            let mut resync = Resync::new(source.limit());
            behind.bytes = source.last_used(at)? - at;
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

    fn behind_damage(&mut self, place: Place) -> Result<Option<Place>> {
        let found = self.with_source(place.span, |source, rules, resync| {
            resync.next(source, rules, place.at, place.seq)
        })?;
        Ok(found.flatten().map(|(at, seq)| Place { span: place.span, at, seq }))
    }

    /// Ranges that adjoin become one.
    fn lose(&mut self, range: Range<u64>) {
        match self.report.lost.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.report.lost.push(range),
        }
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
        let first_seq = self.first_seq.min(end.seq);
        let missing = first_seq..self.spans[0].name.base_seq;
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
            log_id: self.log_id.unwrap_or_default(),
            plan,
            report: self.report,
        }
    }

    fn fault(&self, span: usize, source: io::Error) -> Error {
        let id = self.spans[span].name.id;
        Error::io("reading a segment", source).at_path(self.dir.path()).in_segment(id)
    }
}

/// Walks valid frames; `at` and `seq` end where the first stands that is none, or at the cut. Each
/// mark's claim, no higher than its own place, goes to `claim`. `None` where a later version wrote a
/// frame that must not be passed over.
fn run<S: Source>(
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
    Ok(Some(Stop::EndFrame))
}
