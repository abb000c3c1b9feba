//! The one operation that makes segments: for a first one, a roll, a recovery, a copy.
//!
//! A segment is built under a private name and gets its own when header and slots are on stable
//! storage: so a named segment always had a valid header. If it stops before the name, a left-over
//! is removed by who builds next; after it, the segment is part of the log, and nothing is appended
//! to an older one. Does not know: where the log ends, why a new segment is needed.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::dir::{self, Dir};
use crate::error::{Error, ErrorKind, Result};
use crate::format::frame::MAX_SEQ;
use crate::format::header::{HEADER_BYTES as DATA_START, Reason, SegmentHeader};
use crate::format::name::{SegmentName, next_name};
use crate::format::slot::Slot;
use crate::format::{PAGE_BYTES, round_up};
use crate::map::WriteMap;
use crate::segment::SegmentFile;
use crate::shared::Page;

/// The first chunk of a file; later ones double.
pub(crate) const FIRST_CHUNK_BYTES: u64 = 64 * 1024;

/// The newest slot's counter of a new segment.
pub(crate) const FIRST_COUNTER: u64 = 1;

/// What a new segment is to be.
#[derive(Clone, Debug)]
pub(crate) struct NewSegment {
    pub(crate) id: u64,
    pub(crate) base_seq: u64,
    pub(crate) reason: Reason,
    pub(crate) epoch: u64,
    pub(crate) log_id: [u8; 16],
    pub(crate) segment_bytes: u64,
    pub(crate) durable_seq: u64,
    pub(crate) first_seq: u64,
    /// Bytes of frames that its first append needs.
    pub(crate) room: u64,
    /// The mode of its file.
    pub(crate) mode: u32,
    /// Who builds it; each does under a name of its own.
    pub(crate) participant: usize,
}

/// A segment ready to be appended to.
pub(crate) struct Created {
    pub(crate) file: SegmentFile,
    pub(crate) map: WriteMap,
    /// Bytes of the file that are allocated.
    pub(crate) allocated: u64,
}

/// Makes the segment and names it. The directory is not synced yet. On an error it has no name, and
/// nothing of it remains but perhaps a left-over that the next call removes.
pub(crate) fn create(dir: &Dir, page: &Page, new: &NewSegment) -> Result<Created> {
    let fault =
        |source| Error::io("naming a segment", source).at_path(dir.path()).in_segment(new.id);
    let private = next_name(new.participant as u64);
    let created = build(dir, &private, new)?;
    hook!("create.before_rename");
    give_name(dir, page, &private, created.file.name).map_err(|source| {
        // The error that counts is the first.
        let _left_over = dir.remove_if_there(&private);
        fault(source)
    })?;
    hook!("create.after_rename");
    Ok(created)
}

/// Gives a built segment its name: from now on it is part of the log.
pub(crate) fn give_name(
    dir: &Dir,
    page: &Page,
    private: &str,
    name: SegmentName,
) -> io::Result<()> {
    page.changing_names(|| dir.rename_new(private, &name.file_name()))
}

/// Builds a segment, with header and first slot on stable storage, under a private name.
pub(crate) fn build(dir: &Dir, private: &str, new: &NewSegment) -> Result<Created> {
    if new.base_seq > MAX_SEQ {
        let full = Error::new(ErrorKind::OutOfRange, "the log has used all sequence numbers");
        return Err(full.at_path(dir.path()).at_seq(new.base_seq));
    }
    write_new(dir, private, new).map_err(|source| {
        let _left_over = dir.remove_if_there(private);
        Error::io("making a segment", source).at_path(dir.path()).in_segment(new.id)
    })
}

fn write_new(dir: &Dir, private: &str, new: &NewSegment) -> io::Result<Created> {
    dir.remove_if_there(private)?;
    let file = SegmentFile {
        name: SegmentName { id: new.id, base_seq: new.base_seq },
        header: SegmentHeader {
            reason: new.reason,
            log_id: new.log_id,
            epoch: new.epoch,
            segment_id: new.id,
            base_seq: new.base_seq,
            salt: u64::from_le_bytes(dir::random()?),
            created_nanos: now_nanos(),
            segment_bytes: new.segment_bytes,
        },
        file: dir.create_new(private, new.mode)?,
    };
    let needed = round_up(DATA_START + new.room, PAGE_BYTES);
    let allocated = needed.max(FIRST_CHUNK_BYTES).min(new.segment_bytes);
    dir::allocate(&file.file, 0, allocated)?;
    file.write_header(&first_slot(new))?;
    if !broken!("header_not_synced") {
        dir::sync_data(&file.file)?;
    }
    let mut map = WriteMap::new(&file.file, new.segment_bytes, DATA_START)?;
    map.make_ready((DATA_START + new.room).min(allocated))?;
    Ok(Created { file, map, allocated })
}

/// The durable position known now, which lies in an older segment or is this one's start.
fn first_slot(new: &NewSegment) -> Slot {
    let starts_here = new.durable_seq == new.base_seq;
    Slot {
        counter: FIRST_COUNTER,
        epoch: new.epoch,
        durable_offset: if starts_here { DATA_START } else { 0 },
        durable_seq: new.durable_seq,
        first_seq: new.first_seq,
        closed: false,
    }
}

/// The wall clock; zero if it stands before 1970.
pub(crate) fn now_nanos() -> u64 {
    let now = SystemTime::now();
    #[cfg(test)]
    let now = now - SET_BACK.get();
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
thread_local! {
    /// By how much this thread's wall clock was set back.
    pub(crate) static SET_BACK: std::cell::Cell<std::time::Duration> =
        const { std::cell::Cell::new(std::time::Duration::ZERO) };
}
