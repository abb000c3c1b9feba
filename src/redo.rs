//! What a sync left in doubt whose outcome nobody alive was told, written again in place.
//!
//! If a process dies inside a sync that fails, its descriptor was told of the error, and those opened
//! later never are. Pages count as clean then that never reached the disk. So every byte from the
//! durable position to the end is stored again as it stands, which makes its page dirty, and then
//! checked: what is dirty is not read back from the disk, so what is valid now is what the next sync
//! writes. No committed byte changes (G9). Does not know: who syncs.

use std::io;
use std::ops::Range;

use crate::dir;
use crate::error::{Error, ErrorKind, Result};
use crate::format::PAGE_BYTES;
use crate::format::header::HEADER_BYTES as DATA_START;
use crate::home::Home;
use crate::map::End;
use crate::scan::{Resync, Rules};
use crate::segment::SegmentFile;
use crate::survey::{Span, walk_run};

/// Stores everything below `end` again that is not known to be durable. If some of it is gone the log is
/// poisoned; after any other error it can be tried again, since nothing was promised.
pub(crate) fn store_again(home: &Home, end: End) -> Result<()> {
    let page = home.page();
    let (shares, _) = home.site.shares(page)?;
    hook!("redo.listed");
    // Not before the shares: a log that is cut meanwhile is durable up to there, and ends there.
    // What lies below the first record, as behind a reset half told of, is missing to nobody.
    let durable_seq = page.durable_seq().max(page.first_seq());
    let in_doubt = |span: &&Span| span.end_seq > durable_seq && span.name.id <= end.segment_id;
    for span in shares.iter().filter(in_doubt) {
        let Some(file) = home.unsynced.lock().segment(span.name.id) else { continue };
        let until = (span.name.id == end.segment_id).then_some(end);
        store_segment(home, span, &file, durable_seq, until)?;
    }
    Ok(())
}

/// One segment, up to where the log ends in it, or as far as it is used.
fn store_segment(
    home: &Home,
    span: &Span,
    file: &SegmentFile,
    durable_seq: u64,
    until: Option<End>,
) -> Result<()> {
    let fault = |source| home.io_error("storing a segment again", source).in_segment(span.name.id);
    let noted = file.slots().map_err(fault)?.newest();
    let start = noted.filter(|slot| {
        slot.durable_offset >= DATA_START && slot.durable_seq <= durable_seq.max(span.name.base_seq)
    });
    let (from, seq) = start
        .map_or((DATA_START, span.name.base_seq), |slot| (slot.durable_offset, slot.durable_seq));
    let rules = Rules { salt: file.header.salt, cut_seq: span.end_seq, check: true };
    let limit = until.map_or(u64::MAX, |end| end.offset);
    let walk = || -> io::Result<(u64, u64)> {
        let (mut at, mut found) = (from, seq);
        let mut source = file.pread()?.below(limit);
        let mut resync = Resync::new(file.header.segment_bytes);
        loop {
            walk_run(&mut source, &rules, &mut at, &mut found, &mut |_| {})?;
            // What rots below the durable position is in no doubt; whoever reads it is told.
            if found >= durable_seq {
                return Ok((at, found));
            }
            match resync.next(&mut source, &rules, at, found)? {
                Some(place) if place.1 <= durable_seq => (at, found) = place,
                _ => return Ok((at, found)),
            }
        }
    };
    let (mut stored, mut to) = match until {
        Some(end) => (from, end.offset),
        None => (from, file.pread().and_then(|mut all| all.last_used(from)).map_err(fault)?),
    };
    let found = loop {
        store_bytes(file, stored..to).map_err(fault)?;
        let (at, found) = walk().map_err(fault)?;
        if at <= to {
            break found;
        }
        // Its last record ends in zeros, and no end frame stands behind it.
        (stored, to) = (to, at);
    };
    let wanted = until.map_or(span.end_seq, |end| end.seq);
    if found < wanted {
        let text = format!("a sync failed unseen, and {} records are gone", wanted - found);
        let error = Error::new(ErrorKind::Damaged, text).at_path(home.dir().path());
        return Err(home.poison_with(error.in_segment(span.name.id).at_seq(found)));
    }
    Ok(())
}

/// Not a byte behind them: that is the appender's.
fn store_bytes(file: &SegmentFile, place: Range<u64>) -> io::Result<()> {
    let mut buffer = [0; PAGE_BYTES as usize];
    let mut at = place.start;
    while at < place.end {
        let bytes = (PAGE_BYTES - at % PAGE_BYTES).min(place.end - at) as usize;
        if dir::read_at(&file.file, at, &mut buffer[..bytes])? < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        dir::write_at(&file.file, at, &buffer[..bytes])?;
        at += bytes as u64;
    }
    Ok(())
}
