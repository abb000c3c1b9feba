//! Which files are no part of the log, and why.
//!
//! Looks and judges, and changes nothing. Does not know: where they go.

use std::collections::HashMap;
use std::io;

use super::{SetAside, Why, nothing_left};
use crate::dir::Dir;
use crate::error::{Error, ErrorKind, Result};
use crate::format::header::SegmentHeader;
use crate::format::name::{SHARED, SegmentName, is_copy_name, is_next_name};
use crate::segment::SegmentFile;
use crate::shared::Page;
use crate::survey::spans;

/// A file that has a segment's name, and what its header says; `None` if no copy of it is whole.
struct Candidate {
    name: SegmentName,
    header: Option<SegmentHeader>,
}

/// Every file that is no part of the log, in the order in which they can be taken out.
pub(super) fn find(dir: &Dir) -> Result<Vec<SetAside>> {
    let fault = |source| Error::io("looking at a file", source).at_path(dir.path());
    let mut names = dir.names().map_err(fault)?;
    names.sort();
    names.dedup();
    let mut found = Vec::new();
    let mut candidates = Vec::new();
    for name in names {
        let segment = SegmentName::parse(&name);
        let is_ours = is_next_name(&name) || is_copy_name(&name) || name == SHARED;
        if segment.is_none() && !is_ours {
            continue;
        }
        let mut because = |why| {
            dir.bytes_of(&name).map(|bytes| found.push(SetAside { name: name.clone(), bytes, why }))
        };
        if !dir.is_regular(&name).map_err(fault)? {
            because(Why::NotAFile).map_err(fault)?;
        } else if let Some(segment) = segment {
            candidates.push(Candidate { name: segment, header: header(dir, segment)? });
        } else if name != SHARED {
            because(Why::LeftOver).map_err(fault)?;
        }
    }
    let mut because = |candidate: &Candidate, why| {
        let name = candidate.name.file_name();
        dir.bytes_of(&name).map(|bytes| found.push(SetAside { name, bytes, why })).map_err(fault)
    };
    candidates.sort_by_key(|candidate| candidate.name);
    for stranger in strangers(&mut candidates) {
        because(&stranger.0, stranger.1)?;
    }
    if candidates.is_empty() {
        return Err(nothing_left(dir));
    }
    let ending = live_end(dir).map_err(fault)?;
    for (dead, by) in cut(&candidates) {
        if Some(dead.name.id) != ending {
            because(dead, Why::Cut { by })?;
        }
    }
    Ok(found)
}

/// What the header of a regular file says, whatever its name.
fn header(dir: &Dir, name: SegmentName) -> Result<Option<SegmentHeader>> {
    match SegmentFile::read_header_of(dir, name) {
        Ok(header) => Ok(Some(header)),
        Err(error) if error.kind() == ErrorKind::Damaged => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes out what is not of this log.
fn strangers(candidates: &mut Vec<Candidate>) -> Vec<(Candidate, Why)> {
    let mut strangers = Vec::new();
    let names: Vec<_> = candidates.iter().map(|candidate| candidate.name).collect();
    take(candidates, &mut strangers, |candidate| {
        let header = candidate.header.as_ref()?;
        let says = SegmentName { id: header.segment_id, base_seq: header.base_seq };
        let is_there = names.binary_search(&says).is_ok();
        (says != candidate.name).then(|| Why::OtherName { says: says.file_name(), is_there })
    });
    if let Some(log_id) = log_id(candidates) {
        take(candidates, &mut strangers, |candidate| {
            let header = candidate.header.as_ref()?;
            (header.log_id != log_id).then_some(Why::OtherLog)
        });
    }
    let with_header = candidates.iter().filter(|candidate| candidate.header.is_some());
    let ids: Vec<_> = with_header.map(|candidate| candidate.name.id).collect();
    take(candidates, &mut strangers, |candidate| {
        let taken = candidate.header.is_none() && ids.binary_search(&candidate.name.id).is_ok();
        taken.then_some(Why::IdTaken)
    });
    strangers
}

fn take(
    candidates: &mut Vec<Candidate>,
    taken: &mut Vec<(Candidate, Why)>,
    why: impl Fn(&Candidate) -> Option<Why>,
) {
    for candidate in std::mem::take(candidates) {
        match why(&candidate) {
            Some(why) => taken.push((candidate, why)),
            None => candidates.push(candidate),
        }
    }
}

/// That of most segments; of as many, that of the oldest.
fn log_id(candidates: &[Candidate]) -> Option<[u8; 16]> {
    let ids = || candidates.iter().filter_map(|candidate| Some(candidate.header.as_ref()?.log_id));
    let mut counts: HashMap<_, usize> = HashMap::new();
    for id in ids() {
        *counts.entry(id).or_default() += 1;
    }
    let most = counts.values().max()?;
    ids().find(|id| counts[id] == *most)
}

/// Segments of which a later one took all numbers, in ascending order of their ids, with that one's id.
///
/// The later one stays, so whichever of these come out, in whatever order a power cut leaves it, no
/// number comes back. Nor is an epoch forgotten: the later one's is as high. Where either cannot tell,
/// or two segments claim one id, it stays.
fn cut(candidates: &[Candidate]) -> Vec<(&Candidate, u64)> {
    let names: Vec<_> = candidates.iter().map(|candidate| candidate.name).collect();
    let mut cut = Vec::new();
    if names.windows(2).any(|pair| pair[0].id == pair[1].id) {
        return cut;
    }
    let counting = spans(&names);
    let by_name = |name| names.binary_search(&name).ok().map(|index| &candidates[index]);
    for dead in candidates {
        let behind = counting.partition_point(|span| span.name.id <= dead.name.id);
        let is_counting = counting.binary_search_by_key(&dead.name, |span| span.name).is_ok();
        // Of those behind it, the first has the lowest base.
        let Some(by) = counting.get(behind).and_then(|span| by_name(span.name)) else { continue };
        let (Some(header), Some(cutter)) = (&dead.header, &by.header) else { continue };
        if !is_counting && by.name.base_seq <= dead.name.base_seq && cutter.epoch >= header.epoch {
            cut.push((dead, by.name.id));
        }
    }
    cut
}

/// The segment in which a live page says that the log ends.
fn live_end(dir: &Dir) -> io::Result<Option<u64>> {
    if dir.is_regular(SHARED).unwrap_or(false)
        && let Some(page) = Page::open_to_read(dir)?
        && page.is_live()?
    {
        return Ok(Some(page.end().segment_id));
    }
    Ok(None)
}
