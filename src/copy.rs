//! What a sync that failed leaves in doubt, written anew (G8).
//!
//! After a failed `fdatasync` the page cache is no evidence of what the disk holds: pages count as
//! clean that never reached it. So what was committed but is not known to be durable is copied into
//! fresh segments, which are synced before anything else is accepted. They are built in ascending ids
//! and named in descending order: each name cuts older segments at its base, behind which the
//! segments named before it stand. So every state in between is complete, and whoever finds one
//! begins again. Does not know: how it came to doubt.

use std::convert::Infallible;
use std::io;
use std::ops::Range;

use crate::create::{FIRST_COUNTER, NewSegment, build, give_name};
use crate::dir::{self, Dir};
use crate::error::{Error, ErrorKind, Result};
use crate::format::crc32;
use crate::format::frame::{EMPTY_FRAME_BYTES, HEADER_BYTES, Kind, MAX_SEQ, frame_bytes};
use crate::format::header::HEADER_BYTES as DATA_START;
use crate::format::name::{copy_name, is_copy_name, is_next_name};
use crate::format::slot::Slot;
use crate::map::End;
use crate::scan::{Resync, Rules, Seen, Source, look, place_of};
use crate::segment::SegmentFile;
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
    // used all its numbers is appended to no more; but if its last ones are lost, the copies would
    // cut it where they end, and those numbers would be given again.
    if found.end.seq <= MAX_SEQ {
        copier.begin_at(found.end.seq)?;
    } else if copier.built.last().is_some_and(|copy| copy.next_seq != found.end.seq) {
        let full = Error::new(ErrorKind::OutOfRange, "the log has used all sequence numbers");
        return Err(full.at_path(dir.path()).at_seq(found.end.seq));
    }
    Ok(copier.name_all(page)?.unwrap_or(found.end))
}

/// Removes copies that were never named, and segments in the making.
pub(crate) fn remove_left_overs(dir: &Dir) -> Result<()> {
    let fault = |source| Error::io("removing unfinished files", source).at_path(dir.path());
    for name in
        dir.names().map_err(fault)?.iter().filter(|name| is_copy_name(name) || is_next_name(name))
    {
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

impl Copy {
    /// Says in the slot, durably, that everything up to the end of this copy is durable.
    fn note(&self, first_seq: u64) -> io::Result<()> {
        let slot = Slot {
            counter: FIRST_COUNTER + 1,
            epoch: self.tip.file.header.epoch,
            durable_offset: self.tip.map.end(),
            durable_seq: self.next_seq,
            first_seq,
            closed: false,
        };
        self.tip.file.write_slot(&slot)?;
        dir::sync_data(&self.tip.file.file)
    }
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
            let seen = look(&mut source, &rules, at, seq).map_err(fault)?;
            let next = match seen {
                Seen::Single { next, .. } | Seen::Batch { next, .. } | Seen::Mark { next, .. } => {
                    next
                }
                Seen::Skipped { next } => {
                    at = next;
                    continue;
                }
                Seen::Refused => {
                    return Err(Error::refused_frame(self.dir.path(), span.name.id, at));
                }
                Seen::Vacant | Seen::End { .. } | Seen::Invalid(_) => {
                    match resync.next(&mut source, &rules, at, seq).map_err(fault)? {
                        Some(found) => (at, seq) = found,
                        None => return Ok(()),
                    }
                    continue;
                }
            };
            if seq + records_of(seen) > wanted.start {
                self.copy_unit(&file, &rules, at..next, seq, seen)?;
            }
            (at, seq) = (next, seq + records_of(seen));
        }
        Ok(())
    }

    /// Copies one record, batch or mark, which was `seen` in `place` of `file`.
    fn copy_unit(
        &mut self,
        file: &SegmentFile,
        rules: &Rules,
        place: Range<u64>,
        seq: u64,
        seen: Seen,
    ) -> Result<()> {
        let fault = |detail: &'static str, source| {
            Error::io(detail, source).at_path(self.dir.path()).in_segment(file.name.id).at_seq(seq)
        };
        let at = place.start;
        let mut held =
            Held::read(file, place).map_err(|source| fault("copying a segment", source))?;
        let Ok(again) = look(&mut held, rules, at, seq);
        if again != seen {
            let changed = io::Error::from(io::ErrorKind::InvalidData);
            return Err(fault(
                "a frame changed while it was copied; opening again may help",
                changed,
            ));
        }
        let payloads = held.payloads();
        let payloads: Vec<&[u8]> =
            payloads.iter().map(|place| held.part(place.start, place.end)).collect();
        let room: u64 = payloads.iter().map(|payload| frame_bytes(payload.len() as u64)).sum();
        let copy = self.room_for(room, seq, file.header.segment_bytes)?;
        let written = match (seen, &payloads[..]) {
            (Seen::Mark { .. }, [mark]) => copy.tip.write(Kind::Mark, seq, mark),
            (_, [record]) => copy.tip.write(Kind::Single, seq, record),
            (_, batch) => copy.tip.write_batch(seq, batch, room),
        };
        copy.next_seq = seq + records_of(seen);
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
        if let Some(last) = self.built.last() {
            // That all of it is durable now must be said by more than the page: a gap among the copies
            // would pass for a torn tail. Not before every name is durable: until then what stands
            // below the first of them is what the failed sync left.
            hook!("copy.before_note");
            last.note(self.new.first_seq).map_err(fault)?;
        }
        hook!("copy.done");
        Ok(self.built.last().map(|last| End {
            segment_id: last.tip.file.name.id,
            offset: last.tip.map.end(),
            seq: last.next_seq,
        }))
    }
}

/// How many numbers a frame or batch takes.
fn records_of(seen: Seen) -> u64 {
    match seen {
        Seen::Single { .. } => 1,
        Seen::Batch { records, .. } => records,
        _ => 0,
    }
}

/// Frames that were read once: what is checked is what is copied, whatever the page cache says next.
struct Held {
    at: u64,
    bytes: Vec<u8>,
}

impl Held {
    fn read(file: &SegmentFile, place: Range<u64>) -> io::Result<Self> {
        let mut bytes = vec![0; (place.end - place.start) as usize];
        let got = dir::read_at(&file.file, place.start, &mut bytes)?;
        if got < bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Held { at: place.start, bytes })
    }

    /// What lies between two places of the segment, both inside.
    fn part(&self, from: u64, to: u64) -> &[u8] {
        &self.bytes[(from - self.at) as usize..(to - self.at) as usize]
    }

    /// The payloads of all frames, which were found valid.
    fn payloads(&mut self) -> Vec<Range<u64>> {
        let mut payloads = Vec::new();
        let mut at = self.at;
        while at < self.limit() {
            let Ok((len, next)) = place_of(self, at);
            payloads.push(at + HEADER_BYTES..at + HEADER_BYTES + len);
            at = next;
        }
        payloads
    }
}

impl Source for Held {
    type Fault = Infallible;

    fn limit(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }

    fn sixteen(&mut self, at: u64) -> std::result::Result<[u8; HEADER_BYTES as usize], Infallible> {
        let mut header = [0; HEADER_BYTES as usize];
        header.copy_from_slice(self.part(at, at + HEADER_BYTES));
        Ok(header)
    }

    fn crc(&mut self, from: u64, to: u64, seed: u32) -> std::result::Result<u32, Infallible> {
        Ok(crc32(seed, self.part(from, to)))
    }
}
