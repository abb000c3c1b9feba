//! Checking all of a log, frame by frame.
//!
//! Reads through `pread`, so that a bad block is an error and not a signal. Does not know: how to mend
//! anything.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::format::header::HEADER_BYTES as DATA_START;
use crate::format::name::SegmentName;
use crate::scan::{Resync, Rules, Seen, Source, look};
use crate::segment::{Health, Pread, SegmentFile};
use crate::shared::Page;
use crate::survey::{Span, check_names, list, lose, of_another_log};
use crate::view::{Site, View};

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// The log's first sequence number.
    pub first_seq: u64,
    /// The sequence number behind the last record that was committed when it began.
    pub next_seq: u64,
    /// The segments that count, in ascending order.
    pub segments: Vec<SegmentReport>,
    /// Segments, and ends of segments, that are not part of the log: what a crash or a cut left behind.
    /// It is no damage. A rotten end frame is here too, since it cannot be told from what a writer that
    /// died left behind the last record.
    pub cut: Vec<CutReport>,
    /// Every record that is lost, in ascending order.
    pub lost: Vec<Range<u64>>,
}

/// One segment of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentReport {
    /// The id in its file name.
    pub id: u64,
    /// The first sequence number of its share.
    pub base_seq: u64,
    /// The first sequence number of the next segment's share.
    pub end_seq: u64,
    /// Whole records of its share.
    pub records: u64,
    /// Bytes of its file.
    pub file_bytes: u64,
    /// Bytes of header and whole frames.
    pub used_bytes: u64,
    /// Where bytes that should be frames are none, as offsets in the file; and its slots, if no slot is
    /// left that serves. What is missing because the file is too short has no place here.
    pub damaged: Vec<Range<u64>>,
    /// Records of its share that are lost, in ascending order.
    pub lost: Vec<Range<u64>>,
    /// One of the two copies of its header, or one of its two slots, is damaged: the other serves.
    pub spare_copy_damaged: bool,
    /// Why nothing in it can be read, if that is so.
    pub unreadable: Option<String>,
}

/// Something on disk that is not part of the log any more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CutReport {
    /// The segment's id.
    pub segment: u64,
    /// What was cut: the whole file from 0 on, or its end from an offset on, in bytes.
    pub bytes: Range<u64>,
}

impl Verification {
    /// True if no record is lost and nothing is damaged, but perhaps copies whose twin serves.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.lost.is_empty()
            && self
                .segments
                .iter()
                .all(|segment| segment.damaged.is_empty() && segment.unreadable.is_none())
    }

    /// Whole records.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.segments.iter().map(|segment| segment.records).sum()
    }
}

/// Reads all of the log in the directory `path` and checks every frame, header and slot, up to what was
/// committed when it began; others may append meanwhile, and what they trim is left out. `progress` is told the bytes checked so far
/// and the bytes in all: at the start, now and then, and at the end. Padding and what is unused in
/// headers carry nothing and are not checked.
///
/// It needs read permission and changes nothing. Cost: it reads the log once; damage costs at most
/// twelve times its segment more.
///
/// # Errors
/// Those of [`Reader::open`](crate::Reader::open); a read that fails is an error too, never damage.
pub fn verify(path: impl AsRef<Path>, mut progress: impl FnMut(u64, u64)) -> Result<Verification> {
    let site = Site::open(path.as_ref())?;
    // Before the view, so that no segment that others make meanwhile looks like one behind the end.
    let names = list(&site.dir, site.page())?;
    check_names(&site.dir, &names)?;
    let view = site.view()?;
    let mut all = Verification {
        first_seq: view.first_seq,
        next_seq: view.end.seq,
        ..Verification::default()
    };
    let base_seq = view.spans.first().map_or(view.end.seq, |span| span.name.base_seq);
    // A page may say that the log ended before the first segment that is there.
    lose(&mut all.lost, view.first_seq..base_seq.min(view.end.seq));
    let mut checker = Checker::new(&site, &view, &mut progress)?;
    for span in view.spans.iter() {
        let report = checker.segment(span, &mut all.cut);
        let Some(report) = checker.unless_trimmed(span.end_seq, report)? else { continue };
        for lost in &report.lost {
            lose(&mut all.lost, lost.clone());
        }
        all.segments.push(report);
    }
    let may_be_open = checker.may_be_open()?;
    for name in names {
        if checker.counts(name) {
            continue;
        }
        if may_be_open && name.id > view.end.segment_id {
            all.segments.extend(checker.coming(name)?);
        } else if let Some(bytes) = checker.unless_trimmed(0, checker.file_bytes(name))? {
            all.cut.push(CutReport { segment: name.id, bytes: 0..bytes });
        }
    }
    checker.advance(checker.total);
    all.cut.sort_by_key(|cut| (cut.segment, cut.bytes.start));
    Ok(all)
}

/// How many bytes pass between two calls of `progress`.
const PROGRESS_BYTES: u64 = 1 << 20;

/// How often header and slots are read that look damaged but may be being written.
const LOOKS: usize = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

struct Checker<'a> {
    site: &'a Site,
    view: &'a View,
    log_id: Option<[u8; 16]>,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl<'a> Checker<'a> {
    fn new(site: &'a Site, view: &'a View, progress: &'a mut dyn FnMut(u64, u64)) -> Result<Self> {
        let mut checker = Checker { site, view, log_id: None, done: 0, total: 0, progress };
        for span in view.spans.iter() {
            let bytes = checker.unless_trimmed(span.end_seq, checker.file_bytes(span.name))?;
            checker.total += bytes.unwrap_or(0);
        }
        checker.advance(0);
        Ok(checker)
    }

    /// What was found of records below `end_seq`; `None` if they and their file went meanwhile.
    fn unless_trimmed<T>(&self, end_seq: u64, found: Result<T>) -> Result<Option<T>> {
        let page = self.site.page();
        let is_trimmed = || page.is_some_and(|page| page.let_go_of(end_seq, self.view.epoch));
        match found {
            Err(error) if error.kind() == ErrorKind::NotFound && is_trimmed() => Ok(None),
            found => found.map(Some),
        }
    }

    /// False for a segment that is cut.
    fn counts(&self, name: SegmentName) -> bool {
        self.view.spans.binary_search_by_key(&name, |span| span.name).is_ok()
    }

    /// Whether somebody may have the log open to append, so that what stands behind its end may be an
    /// append under way. The page is asked anew each time: who opens a log makes it live before
    /// anything is appended.
    fn may_be_open(&self) -> Result<bool> {
        let dir = &self.site.dir;
        let live = match Page::open_to_read(dir) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
            found => found.and_then(|page| page.map_or(Ok(false), |page| page.is_live())),
        };
        live.map_err(|source| Error::io("reading the page", source).at_path(dir.path()))
    }

    fn file_bytes(&self, name: SegmentName) -> Result<u64> {
        self.site.dir.bytes_of(&name.file_name()).map_err(|source| self.fault(name, source))
    }

    fn fault(&self, name: SegmentName, source: io::Error) -> Error {
        fault(self.site, name, source)
    }

    fn advance(&mut self, done: u64) {
        self.done = done;
        (self.progress)(done.min(self.total), self.total);
    }

    /// What was trimmed is not lost.
    fn lose(&self, report: &mut SegmentReport, range: Range<u64>) {
        lose(&mut report.lost, range.start.max(self.view.first_seq)..range.end);
    }

    fn segment(&mut self, span: &Span, cut: &mut Vec<CutReport>) -> Result<SegmentReport> {
        let name = span.name;
        let file_bytes = self.file_bytes(name)?;
        let mut report = SegmentReport {
            id: name.id,
            base_seq: name.base_seq,
            end_seq: span.end_seq.min(self.view.end.seq),
            file_bytes,
            ..SegmentReport::default()
        };
        let start = self.done;
        match SegmentFile::open_to_read(&self.site.dir, name) {
            Ok(file) => {
                self.check_log(&file)?;
                let bytes = self.contents(&file, span, &mut report)?;
                if !bytes.is_empty() {
                    cut.push(CutReport { segment: name.id, bytes });
                }
            }
            Err(error) if error.kind() == ErrorKind::Damaged => {
                report.unreadable = Some(error.to_string());
                let share = name.base_seq..report.end_seq;
                self.lose(&mut report, share);
            }
            Err(error) => return Err(error),
        }
        self.advance(start + file_bytes);
        Ok(report)
    }

    /// Behind the end of a log that is open stand only those that are about to be part of it. They
    /// hold no record yet, but a header: one without is reported.
    fn coming(&mut self, name: SegmentName) -> Result<Option<SegmentReport>> {
        match SegmentFile::open_to_read(&self.site.dir, name) {
            Ok(file) => self.check_log(&file).map(|()| None),
            Err(error) if error.kind() == ErrorKind::Damaged => Ok(Some(SegmentReport {
                id: name.id,
                base_seq: name.base_seq,
                end_seq: name.base_seq,
                file_bytes: self.file_bytes(name)?,
                unreadable: Some(error.to_string()),
                ..SegmentReport::default()
            })),
            Err(error) => Err(error),
        }
    }

    fn check_log(&mut self, file: &SegmentFile) -> Result<()> {
        let log_id = *self.log_id.get_or_insert(file.header.log_id);
        if log_id == file.header.log_id {
            return Ok(());
        }
        Err(of_another_log(&self.site.dir, file.name))
    }

    /// Checks slots and frames; gives what lies behind them and is not part of the log.
    fn contents(
        &mut self,
        file: &SegmentFile,
        span: &Span,
        report: &mut SegmentReport,
    ) -> Result<Range<u64>> {
        let name = span.name;
        let is_tip = name.id == self.view.end.segment_id;
        let health = self.health(file, is_tip)?;
        report.spare_copy_damaged = health.spare_copy_is_damaged;
        report.damaged = health.slots_lost;
        let mut whole = file.pread().map_err(|source| self.fault(name, source))?;
        let at = self.walk(file, span, &mut whole, report)?;
        let used = whole.last_used(at).map_err(|source| self.fault(name, source))?;
        let of_an_append = used > at && is_tip && self.may_be_open()?;
        Ok(at..if of_an_append { at } else { used })
    }

    /// A slot of the last segment that looks damaged may be being written.
    fn health(&self, file: &SegmentFile, is_tip: bool) -> Result<Health> {
        let mut looks = 1;
        loop {
            let health = file.health().map_err(|source| self.fault(file.name, source))?;
            let is_whole = health == Health::default();
            if is_whole || looks == LOOKS || !(is_tip && self.may_be_open()?) {
                return Ok(health);
            }
            looks += 1;
            sleep(BETWEEN_LOOKS);
        }
    }

    /// Checks frames from the segment's start to the end of its share; gives where that is.
    fn walk(
        &mut self,
        file: &SegmentFile,
        span: &Span,
        whole: &mut Pread<'_>,
        report: &mut SegmentReport,
    ) -> Result<u64> {
        let (site, view, name) = (self.site, self.view, span.name);
        let fault = |source| fault(site, name, source);
        let is_tip = name.id == view.end.segment_id;
        // What others append meanwhile is not looked at.
        let committed = if is_tip { view.end.offset } else { u64::MAX };
        let mut source = file.pread().map_err(fault)?.below(committed);
        let rules = Rules { salt: file.header.salt, cut_seq: span.end_seq, check: true };
        let mut resync = Resync::new(file.header.segment_bytes);
        let (mut at, mut seq) = (DATA_START, name.base_seq);
        let (start, mut told) = (self.done, DATA_START);
        report.used_bytes = DATA_START;
        loop {
            if at - told > PROGRESS_BYTES {
                told = at;
                self.advance(start + at);
            }
            let in_share = seq < report.end_seq;
            let seen = look(&mut source, &rules, at, seq).map_err(fault)?;
            let (records, next) = match seen {
                Seen::Single { next, .. } if in_share => (1, next),
                Seen::Batch { records, next } if in_share => (records, next),
                Seen::Mark { next, .. } | Seen::Skipped { next } => (0, next),
                Seen::End { next } if !in_share => {
                    report.used_bytes += next - at;
                    return Ok(next);
                }
                Seen::Refused if in_share => return Err(self.refused(name, at)),
                // Below the end of the log everything was committed, a last mark too.
                _ if !(in_share || is_tip && at < source.limit()) => return Ok(at),
                _ => {
                    // A whole end frame is none of the damage: the segment behind it is missing.
                    let from = if let Seen::End { next } = seen { next } else { at };
                    let found = resync.next(&mut source, &rules, at, seq).map_err(fault)?;
                    let (next, next_seq) = match found {
                        Some((next, next_seq)) => (next, next_seq.min(report.end_seq)),
                        None if is_tip && from < source.limit() => (source.limit(), report.end_seq),
                        None => (whole.last_used(from).map_err(fault)?, report.end_seq),
                    };
                    if from < next {
                        report.damaged.push(from..next);
                    }
                    self.lose(report, seq..next_seq);
                    (at, seq) = (next, next_seq);
                    continue;
                }
            };
            let until = (seq + records).min(report.end_seq);
            report.records += until.saturating_sub(seq.max(view.first_seq));
            report.used_bytes += next - at;
            (at, seq) = (next, until);
        }
    }

    fn refused(&self, name: SegmentName, at: u64) -> Error {
        Error::refused_frame(self.site.dir.path(), name.id, at)
    }
}

fn fault(site: &Site, name: SegmentName, source: io::Error) -> Error {
    Error::io("checking a segment", source).at_path(site.dir.path()).in_segment(name.id)
}
