//! What a log's retention keeps of its segments.
//!
//! Does not know: how the rest is dropped.

use crate::error::{Error, ErrorKind, Result};
use crate::home::Home;
use crate::retention::{Candidate, kept_from};
use crate::segment::SegmentFile;
use crate::survey::Span;

/// The first record that is kept. Cost: some calls for each segment.
pub(super) fn first_kept(home: &Home) -> Result<u64> {
    let page = home.page();
    let (shares, end) = home.site.shares(page)?;
    let held: Vec<_> = shares.iter().filter(|span| span.end_seq > page.first_seq()).collect();
    let mut bytes = Vec::new();
    for span in &held {
        let size = home.dir().bytes_of(&span.name.file_name());
        bytes.push(size.map_err(|source| fault(home, span, source))?);
    }
    let mut closed_nanos = u64::MAX;
    let mut candidates = Vec::new();
    // From the newest back: a segment ended before any behind it was made, whatever the clock said.
    for (span, bytes) in held.iter().zip(&bytes).rev() {
        if span.name.id != end.segment_id {
            candidates.push(Candidate { end_seq: span.end_seq, bytes: *bytes, closed_nanos });
        }
        if home.retention.asks_age() {
            closed_nanos = closed_nanos.min(made_nanos(home, span)?);
        }
    }
    candidates.reverse();
    let all = (held.len() as u64, bytes.iter().sum());
    let now_nanos = home.clock.now_nanos();
    Ok(kept_from(&home.retention, &candidates, all, now_nanos).unwrap_or(page.first_seq()))
}

/// When the segment was made. One that cannot tell was made long after all others.
fn made_nanos(home: &Home, span: &Span) -> Result<u64> {
    match SegmentFile::open_to_read(home.dir(), span.name) {
        Err(error) if error.kind() == ErrorKind::Damaged => Ok(u64::MAX),
        file => Ok(file?.header.created_nanos),
    }
}

fn fault(home: &Home, span: &Span, source: std::io::Error) -> Error {
    home.io_error("looking at a segment", source).in_segment(span.name.id)
}
