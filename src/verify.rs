//! Checking all of a log, frame by frame.
//!
//! Reads through `pread`, so that a bad block is an error and not a signal. Does not know: how to mend
//! anything.

use std::io;
use std::ops::Range;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::format::ALIGN;
use crate::format::frame::MAX_SEQ;
use crate::format::header::HEADER_BYTES as DATA_START;
use crate::format::name::SegmentName;
use crate::scan::{Resync, Rules, Seen, Source, look};
use crate::segment::{Pread, SegmentFile};
use crate::survey::{Span, list};
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
    /// Segments, and ends of segments, that are not part of the log any more: what a crash or a cut
    /// left behind. It is no damage.
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
    /// Whole records.
    pub records: u64,
    /// Bytes of its file.
    pub file_bytes: u64,
    /// Bytes of header and whole frames.
    pub used_bytes: u64,
    /// Where bytes that should be frames are none, as offsets in the file.
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
    /// True if nothing is lost, and nothing damaged but, perhaps, spare copies and notes.
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
/// committed when it began; others may append meanwhile. `progress` is told the bytes checked so far
/// and the bytes in all, now and then.
///
/// It needs read permission and changes nothing. Cost: it reads the log once; damage costs at most
/// four times its segment more.
///
/// # Errors
/// Those of [`Reader::open`](crate::Reader::open); a read that fails is an error too, never damage.
pub fn verify(path: impl AsRef<Path>, mut progress: impl FnMut(u64, u64)) -> Result<Verification> {
    let site = Site::open(path.as_ref())?;
    let view = site.view()?;
    let names = list(&site.dir, site.page())?;
    let mut checker =
        Checker { site: &site, view: &view, done: 0, total: 0, progress: &mut progress };
    for span in view.spans.iter() {
        checker.total += checker.file_bytes(span.name)?;
    }
    let mut all = Verification {
        first_seq: view.first_seq,
        next_seq: view.end.seq,
        ..Verification::default()
    };
    let base_seq = view.spans.first().map_or(view.end.seq, |span| span.name.base_seq);
    lose(&mut all.lost, view.first_seq..base_seq);
    for span in view.spans.iter() {
        let report = checker.segment(span, &mut all.cut)?;
        for lost in &report.lost {
            lose(&mut all.lost, lost.clone());
        }
        all.segments.push(report);
    }
    let counts = |name: &SegmentName| view.spans.iter().any(|span| span.name == *name);
    for name in names.iter().filter(|name| !counts(name) && name.id <= view.end.segment_id) {
        let bytes = 0..checker.file_bytes(*name)?;
        all.cut.push(CutReport { segment: name.id, bytes });
    }
    Ok(all)
}

/// Ranges that adjoin become one; empty ones are none.
fn lose(lost: &mut Vec<Range<u64>>, range: Range<u64>) {
    match lost.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if last.end == range.start => last.end = range.end,
        _ => lost.push(range),
    }
}

/// How many bytes pass between two calls of `progress`.
const PROGRESS_BYTES: u64 = 1 << 20;

struct Checker<'a> {
    site: &'a Site,
    view: &'a View,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Checker<'_> {
    fn file_bytes(&self, name: SegmentName) -> Result<u64> {
        self.site.dir.bytes_of(&name.file_name()).map_err(|source| self.fault(name, source))
    }

    fn fault(&self, name: SegmentName, source: io::Error) -> Error {
        Error::io("checking a segment", source).at_path(self.site.dir.path()).in_segment(name.id)
    }

    fn segment(&mut self, span: &Span, cut: &mut Vec<CutReport>) -> Result<SegmentReport> {
        let name = span.name;
        let end_seq = span.end_seq.min(self.view.end.seq).min(MAX_SEQ + 1);
        let file_bytes = self.file_bytes(name)?;
        let mut report = SegmentReport {
            id: name.id,
            base_seq: name.base_seq,
            end_seq,
            file_bytes,
            ..SegmentReport::default()
        };
        let start = self.done;
        match SegmentFile::open_to_read(&self.site.dir, name) {
            Ok(file) => self.frames(&file, span, &mut report, cut)?,
            Err(error) if error.kind() == ErrorKind::Damaged => {
                report.unreadable = Some(error.to_string());
                lose(&mut report.lost, name.base_seq..end_seq);
            }
            Err(error) => return Err(error),
        }
        self.advance(start + file_bytes);
        Ok(report)
    }

    fn advance(&mut self, done: u64) {
        self.done = done;
        (self.progress)(self.done.min(self.total), self.total);
    }

    fn frames(
        &mut self,
        file: &SegmentFile,
        span: &Span,
        report: &mut SegmentReport,
        cut: &mut Vec<CutReport>,
    ) -> Result<()> {
        let fault = |source| self.fault(span.name, source);
        report.spare_copy_damaged = file.spare_copy_is_damaged().map_err(fault)?;
        let mut source = file.pread().map_err(fault)?;
        let rules = Rules { salt: file.header.salt, cut_seq: span.end_seq, check: true };
        let is_tip = span.name.id == self.view.end.segment_id;
        let limit = if is_tip { self.view.end.offset } else { source.limit() };
        let walked = self.walk(&mut source, &rules, limit, report);
        let at = walked.map_err(|source| self.fault(span.name, source))?;
        let used = source.last_used(at).map_err(|source| self.fault(span.name, source))?;
        // Behind the end of a log that is open, an append may be under way.
        let open = self.site.page().is_some_and(|page| page.is_live().unwrap_or(false));
        if used > at && !(is_tip && open) {
            cut.push(CutReport { segment: span.name.id, bytes: at..used });
        }
        Ok(())
    }

    /// Checks frames from the segment's start to the end of its share; gives where that is.
    fn walk(
        &mut self,
        source: &mut Pread<'_>,
        rules: &Rules,
        limit: u64,
        report: &mut SegmentReport,
    ) -> io::Result<u64> {
        let mut resync = Resync::new(source.limit());
        let (mut at, mut seq) = (DATA_START, report.base_seq);
        let (start, mut told) = (self.done, DATA_START);
        report.used_bytes = DATA_START;
        while seq < report.end_seq {
            if at - told > PROGRESS_BYTES {
                told = at;
                self.advance(start + at);
            }
            let seen = if at < limit { look(source, rules, at, seq)? } else { Seen::Vacant };
            let (records, next) = match seen {
                Seen::Single { next, .. } => (1, next),
                Seen::Batch { records, next } => (records, next),
                Seen::Mark { next, .. } | Seen::Skipped { next } => (0, next),
                Seen::End { .. } | Seen::Vacant | Seen::Refused | Seen::Invalid(_) => {
                    let found =
                        resync.next(source, rules, at, seq)?.filter(|(found, _)| *found < limit);
                    let (next, next_seq) = found.unwrap_or((at, report.end_seq));
                    if next > at {
                        report.damaged.push(at..next);
                    }
                    lose(&mut report.lost, seq..next_seq.min(report.end_seq));
                    (at, seq) = (next, next_seq);
                    continue;
                }
            };
            let records = records.min(report.end_seq - seq);
            report.records += records;
            report.used_bytes += next - at;
            (at, seq) = (next, seq + records);
        }
        // The end frame belongs to the segment, where it is whole.
        match look(source, rules, at, seq)? {
            Seen::End { next } => Ok(next),
            _ => Ok(at.next_multiple_of(ALIGN)),
        }
    }
}
