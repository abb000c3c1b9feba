//! What a sync that failed leaves in doubt, written anew (G8).
//!
//! After a failed `fdatasync` the page cache is no evidence of what the disk holds: pages count as
//! clean that never reached it. So what was committed but is not known to be durable is copied into
//! fresh segments, which are synced before anything else is accepted. They are built in ascending ids
//! and named in descending order: each name cuts older segments at its base, behind which the
//! segments named before it stand. So every state in between is complete, and whoever finds one
//! begins again. Does not know: how it came to doubt.

use std::io;
use std::ops::Range;

use crate::create::{NewSegment, build, give_name};
use crate::dir::{self, Dir};
use crate::error::{Error, ErrorKind, Result};
use crate::format::frame::{EMPTY_FRAME_BYTES, HEADER_BYTES, Kind, MAX_SEQ, frame_bytes};
use crate::format::header::HEADER_BYTES as DATA_START;
use crate::format::name::{copy_name, is_copy_name};
use crate::map::End;
use crate::scan::{Resync, Rules, Seen, look, place_of};
use crate::segment::{Pread, SegmentFile};
use crate::shared::Page;
use crate::survey::{Span, Survey};
use crate::tip::TipSegment;

/// Copies the records from `durable_seq` to the end that `found` names; gives the new end, up to which
/// everything is durable when this returns. `new` says what the first copy is to be; later ones follow
/// from it.
pub(crate) fn copy_in_doubt(
    dir: &Dir,
    page: &Page,
    found: &Survey,
    durable_seq: u64,
    new: NewSegment,
) -> Result<End> {
    remove_left_overs(dir)?;
    let mut copier = Copier {
        dir,
        new: NewSegment { base_seq: durable_seq, durable_seq, ..new },
        built: Vec::new(),
    };
    for span in found.spans.iter().filter(|span| span.end_seq > durable_seq) {
        copier.copy_span(span, durable_seq..found.end.seq)?;
    }
    // Even if no record is in doubt: nothing is appended to a file whose sync failed. A log that has
    // used all its numbers is appended to no more.
    if found.end.seq <= MAX_SEQ {
        copier.begin_at(found.end.seq)?;
    }
    Ok(copier.name_all(page)?.unwrap_or(found.end))
}

fn remove_left_overs(dir: &Dir) -> Result<()> {
    let fault = |source| Error::io("removing unfinished copies", source).at_path(dir.path());
    for name in dir.names().map_err(fault)?.iter().filter(|name| is_copy_name(name)) {
        dir.remove_if_there(name).map_err(fault)?;
    }
    Ok(())
}

struct Copier<'a> {
    dir: &'a Dir,
    /// What the next segment is to be.
    new: NewSegment,
    /// In ascending ids; records go into the last.
    built: Vec<Copy>,
}

struct Copy {
    private: String,
    tip: TipSegment,
    next_seq: u64,
}

impl Copier<'_> {
    /// Copies the records of `span` that lie in `wanted`.
    fn copy_span(&mut self, span: &Span, wanted: Range<u64>) -> Result<()> {
        let file = match SegmentFile::open_to_read(self.dir, span.name) {
            // What cannot be read is lost, here as there.
            Err(error) if error.kind() == ErrorKind::Damaged => return Ok(()),
            other => other?,
        };
        let fault = |source| {
            Error::io("copying a segment", source).at_path(self.dir.path()).in_segment(span.name.id)
        };
        let mut source = file.pread().map_err(fault)?;
        let rules = Rules { salt: file.header.salt, cut_seq: span.end_seq, check: true };
        let mut resync = Resync::new(file.header.segment_bytes);
        let end_seq = span.end_seq.min(wanted.end);
        let (mut at, mut seq) = (DATA_START, span.name.base_seq);
        while seq < end_seq {
            let fault = |source| {
                Error::io("copying a segment", source)
                    .at_path(self.dir.path())
                    .in_segment(span.name.id)
            };
            let (records, next) = match look(&mut source, &rules, at, seq).map_err(fault)? {
                Seen::Single { next, .. } => (1, next),
                Seen::Batch { records, next } => (records, next),
                Seen::Mark { next, .. } => (0, next),
                Seen::Skipped { next } => {
                    at = next;
                    continue;
                }
                Seen::Vacant | Seen::End { .. } | Seen::Refused | Seen::Invalid(_) => {
                    match resync.next(&mut source, &rules, at, seq).map_err(fault)? {
                        Some(found) => (at, seq) = found,
                        None => return Ok(()),
                    }
                    continue;
                }
            };
            if seq + records > wanted.start {
                self.copy_unit(&file, &mut source, at..next, seq, records)?;
            }
            (at, seq) = (next, seq + records);
        }
        Ok(())
    }

    /// Copies one record, batch or mark, which stands in `place` of `file`.
    fn copy_unit(
        &mut self,
        file: &SegmentFile,
        source: &mut Pread<'_>,
        place: Range<u64>,
        seq: u64,
        records: u64,
    ) -> Result<()> {
        let dir = self.dir;
        let fault = |source| {
            Error::io("copying a segment", source).at_path(dir.path()).in_segment(file.name.id)
        };
        let payloads = payloads(file, source, place.clone()).map_err(fault)?;
        let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let room: u64 = payloads.iter().map(|payload| frame_bytes(payload.len() as u64)).sum();
        let copy = self.room_for(room, seq, file.header.segment_bytes)?;
        let written = match (records, &payloads[..]) {
            (0, [mark]) => copy.tip.write(Kind::Mark, seq, mark),
            (_, [record]) => copy.tip.write(Kind::Single, seq, record),
            (_, batch) => copy.tip.write_batch(seq, batch, room),
        };
        copy.next_seq = seq + records;
        written.ok_or_else(|| {
            Error::new(ErrorKind::OutOfRange, "a copied frame would leave the room made for it")
        })
    }

    /// The last copy, with `room` bytes of frames free, going on at `seq`.
    fn room_for(&mut self, room: u64, seq: u64, segment_bytes: u64) -> Result<&mut Copy> {
        // What fitted into the segment that it is from fits into one of the same size.
        self.new.segment_bytes = self.new.segment_bytes.max(segment_bytes);
        let needed = room + EMPTY_FRAME_BYTES;
        let goes_on = self.built.last().is_some_and(|copy| {
            copy.next_seq == seq
                && copy.tip.map.end() + needed <= copy.tip.file.header.segment_bytes
        });
        if !goes_on {
            self.begin(seq, needed)?;
        }
        let dir = self.dir;
        let Some(copy) = self.built.last_mut() else {
            return Err(Error::new(ErrorKind::OutOfRange, "no copy was begun"));
        };
        if copy.tip.map.end() + needed > copy.tip.map.ready() {
            copy.tip.grow(dir, copy.tip.map.end() + needed)?;
        }
        Ok(copy)
    }

    /// Begins the segment that appends will go to, unless the last copy ends at `seq`.
    fn begin_at(&mut self, seq: u64) -> Result<()> {
        match self.built.last() {
            Some(copy) if copy.next_seq == seq => Ok(()),
            _ => self.begin(seq, EMPTY_FRAME_BYTES),
        }
    }

    fn begin(&mut self, base_seq: u64, room: u64) -> Result<()> {
        if let Some(last) = self.built.last_mut() {
            // A courtesy, as at every roll.
            let _fits = last.tip.write_end(last.next_seq);
        }
        self.new.base_seq = base_seq;
        self.new.room = room;
        let private = copy_name(self.built.len());
        let created = build(self.dir, &private, &self.new)?;
        self.built.push(Copy { private, tip: TipSegment::new(created), next_seq: base_seq });
        let id = self.new.id.checked_add(1);
        self.new.id = id
            .ok_or_else(|| Error::new(ErrorKind::OutOfRange, "the log has used all segment ids"))?;
        Ok(())
    }

    /// Syncs the copies, gives them their names and syncs those; the log ends in the last, if there is
    /// one.
    fn name_all(self, page: &Page) -> Result<Option<End>> {
        let dir = self.dir;
        let fault = |source| Error::io("naming the copies", source).at_path(dir.path());
        for copy in &self.built {
            dir::sync_data(&copy.tip.file.file).map_err(fault)?;
        }
        for copy in self.built.iter().rev() {
            hook!("copy.before_name");
            give_name(dir, page, &copy.private, copy.tip.file.name).map_err(fault)?;
        }
        hook!("copy.before_directory_sync");
        dir.sync().map_err(fault)?;
        hook!("copy.done");
        Ok(self.built.last().map(|last| End {
            segment_id: last.tip.file.name.id,
            offset: last.tip.map.end(),
            seq: last.next_seq,
        }))
    }
}

/// The payloads of the frames in `place`, which were found valid.
fn payloads(
    file: &SegmentFile,
    source: &mut Pread<'_>,
    place: Range<u64>,
) -> io::Result<Vec<Vec<u8>>> {
    let mut payloads = Vec::new();
    let mut at = place.start;
    while at < place.end {
        let (len, next) = place_of(source, at)?;
        let mut payload = vec![0; len as usize];
        let got = dir::read_at(&file.file, at + HEADER_BYTES, &mut payload)?;
        if got < payload.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        payloads.push(payload);
        at = next;
    }
    Ok(payloads)
}
