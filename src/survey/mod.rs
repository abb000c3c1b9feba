//! What a log's directory holds: which segments count, where the log ends, what is lost.
//!
//! Looks and judges, and changes nothing: for a reader that comes before any recovery as for the
//! process that will append. Reads go through `pread`. Does not know: who asks, what they do next.

mod evidence;
mod walk;

use std::io;
use std::ops::Range;

use crate::dir::Dir;
use crate::error::{Error, ErrorKind, Result};
use crate::format::frame::MAX_SEQ;
use crate::format::name::SegmentName;
use crate::map::End;
use crate::shared::Page;

pub(crate) use walk::{check_names, run as walk_run, survey};

/// What opening a log found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// The log had been closed, and nothing had happened to its end since.
    pub clean: bool,
    /// Only processes had died: what they had appended was still there, synced or not.
    pub live: bool,
    /// Other processes had the log open: there was nothing to recover.
    pub joined: bool,
    /// Bytes of segments that were read to find the end and what lies behind it, in all passes.
    pub scanned_bytes: u64,
    /// Records found lost on the way, in ascending order. What lies below the last durable position
    /// that the log had noted is not read at opening, and reported when it is.
    pub lost: Vec<Range<u64>>,
    /// A sync had failed, or its process had died inside one: so many records, committed but not known to
    /// be durable, were copied into fresh segments and synced.
    pub copied: u64,
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
    /// `None` if no segment could tell.
    pub(crate) log_id: Option<[u8; 16]>,
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
    /// What lies behind the end is what a crash left, though the page is live again.
    pub(crate) fresh_due: bool,
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

/// The error for a segment that has another log's id than the last.
pub(crate) fn of_another_log(dir: &Dir, name: SegmentName) -> Error {
    let text = format!("{} and the last segment are not of one log", name.file_name());
    Error::new(ErrorKind::NotALog, text).at_path(dir.path()).in_segment(name.id)
}

/// Ranges that adjoin become one; empty ones are none.
pub(crate) fn lose(lost: &mut Vec<Range<u64>>, range: Range<u64>) {
    match lost.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if last.end == range.start => last.end = range.end,
        _ => lost.push(range),
    }
}
