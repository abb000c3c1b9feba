//! What a log's retention keeps of its segments.
//!
//! Does not know: how the rest is dropped.

use std::io;

use crate::cursors::{Cursors, cannot_tell, goes_on_at};
use crate::error::{Error, ErrorKind, Result};
use crate::home::Home;
use crate::retention::{Candidate, Guard, Held, Kept, Waited, kept_from};
use crate::segment::SegmentFile;
use crate::survey::Span;

/// The first record that is kept.
pub(super) fn first_kept(home: &Home) -> Result<u64> {
    Ok(kept(home)?.from.unwrap_or(home.page().first_seq()))
}

/// What retention would drop if a consumer had come further.
pub(crate) fn held(home: &Home) -> Result<Option<Held>> {
    match home.retention.guards() {
        [] => Ok(None),
        _ => Ok(kept(home)?.held),
    }
}

/// Cost: some calls for each segment, and for each consumer that is waited for.
fn kept(home: &Home) -> Result<Kept> {
    let page = home.page();
    let (shares, end) = home.site.shares(page)?;
    let listed: Vec<_> = shares.iter().filter(|span| span.end_seq > page.first_seq()).collect();
    hook!("keep.listed");
    let mut held = Vec::new();
    for span in listed {
        match home.dir().bytes_of(&span.name.file_name()) {
            // It was removed since it was listed, as it may be for who does not hold the append lock.
            Err(source) if source.kind() == io::ErrorKind::NotFound => {}
            bytes => held.push((span, bytes.map_err(|source| fault(home, span, source))?)),
        }
    }
    let mut closed_nanos = u64::MAX;
    let mut candidates = Vec::new();
    // From the newest back: a segment ended before any behind it was made, whatever the clock said.
    for &(span, bytes) in held.iter().rev() {
        if span.name.id != end.segment_id {
            candidates.push(Candidate { end_seq: span.end_seq, bytes, closed_nanos });
        }
        if home.retention.asks_age() {
            closed_nanos = closed_nanos.min(made_nanos(home, span)?);
        }
    }
    candidates.reverse();
    let all = (held.len() as u64, held.iter().map(|(_, bytes)| bytes).sum());
    let now_nanos = home.clock.now_nanos();
    let waited = waited(home)?;
    Ok(kept_from(&home.retention, &candidates, all, now_nanos, &waited))
}

/// Where the consumers are that are waited for, as is known on stable storage.
fn waited(home: &Home) -> Result<Vec<Waited>> {
    let mut waited = Vec::new();
    if home.retention.guards().is_empty() {
        return Ok(waited);
    }
    let cursors = Cursors::open(home.dir())?;
    let view = home.site.own_view(home.page());
    for Guard { consumer, at_most_bytes } in home.retention.guards() {
        let names = match (consumer, &cursors) {
            (Some(name), _) => vec![name.clone()],
            (None, Some(cursors)) => cursors.names()?,
            (None, None) => Vec::new(),
        };
        for consumer in names {
            let place = match &cursors {
                Some(cursors) => cursors.read_durably(&consumer),
                None => Ok(None),
            };
            let seq = match place {
                Ok(Some(place)) if place.log_id == home.log_id => {
                    goes_on_at(&home.site, &view, &place)?
                }
                // It has acknowledged nothing, or cannot tell.
                Ok(_) => view.first_seq,
                Err(error) if cannot_tell(&error) => view.first_seq,
                Err(error) => return Err(error),
            };
            let seq = seq.max(view.first_seq);
            waited.push(Waited { consumer, seq, at_most_bytes: *at_most_bytes });
        }
    }
    Ok(waited)
}

/// When the segment was made. One that cannot tell, or is gone, was made long after all others.
fn made_nanos(home: &Home, span: &Span) -> Result<u64> {
    match SegmentFile::open_to_read(home.dir(), span.name) {
        Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound) => {
            Ok(u64::MAX)
        }
        file => Ok(file?.header.created_nanos),
    }
}

fn fault(home: &Home, span: &Span, source: io::Error) -> Error {
    home.io_error("looking at a segment", source).in_segment(span.name.id)
}
