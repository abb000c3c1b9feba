//! The segment that appends go to: writing frames behind its end, growing its file.
//!
//! Does not know: sequence numbers of the log, marks that are due, other segments.

use std::io;
use std::sync::Arc;

use crate::ahead::Ahead;
use crate::create::{Created, FIRST_CHUNK_BYTES};
use crate::dir::{self, Dir};
use crate::error::{Error, ErrorKind, Result};
use crate::format::frame::{
    COMMIT_BYTES, CommitWord, EMPTY_FRAME_BYTES, HEADER_BYTES, Kind, commit_bytes, label, seal,
    seed, tie,
};
use crate::format::{ALIGN, PAGE_BYTES, crc32, round_up};
use crate::map::{WriteMap, prefetch_behind};
use crate::segment::SegmentFile;

/// A file grows by chunks that double up to this.
const MAX_CHUNK_BYTES: u64 = 8 << 20;
/// Pages are touched this far ahead of what is needed and no further: a touched page is a written one.
const AHEAD_BYTES: u64 = 128 * 1024;

/// The segment that appends go to.
pub(crate) struct TipSegment {
    pub(crate) file: Arc<SegmentFile>,
    pub(crate) map: WriteMap,
    /// Bytes of the file that are known to be allocated: `map.ready() <= allocated`.
    allocated: u64,
    chunk: u64,
}

impl TipSegment {
    /// One that was made just now.
    pub(crate) fn new(created: Created) -> Self {
        let Created { file, map, allocated } = created;
        TipSegment { file: Arc::new(file), map, allocated, chunk: allocated }
    }

    /// One that was found, to go on at `end`. Whether the pages behind the end are allocated is not
    /// known: a copy may have holes there.
    pub(crate) fn go_on(file: Arc<SegmentFile>, end: u64) -> io::Result<Self> {
        let map = WriteMap::new(&file.file, file.header.segment_bytes, end)?;
        let allocated = end & !(PAGE_BYTES - 1);
        Ok(TipSegment { file, map, allocated, chunk: FIRST_CHUNK_BYTES })
    }

    /// Allocates and touches the file's pages up to `needed`, and some more.
    pub(crate) fn grow(&mut self, dir: &Dir, needed: u64) -> Result<()> {
        self.allocate(dir, needed)?;
        self.touch(dir, needed)
    }

    /// As [`grow`](Self::grow), with a thread that touches the `window` bytes behind that.
    pub(crate) fn grow_ahead(
        &mut self,
        dir: &Dir,
        needed: u64,
        ahead: &Ahead,
        window: u64,
    ) -> Result<()> {
        let next = needed + AHEAD_BYTES;
        let wanted = (next + window).min(self.file.header.segment_bytes);
        // What cannot be had ahead is not needed yet.
        if window == 0 || self.allocate(dir, wanted).is_err() {
            self.allocate(dir, needed)?;
        }
        let next = next.min(self.allocated);
        self.map.take_ready(needed, next);
        let is_ready = self.map.ready() >= needed;
        if window > 0 {
            let from = if is_ready { self.map.ready() } else { next };
            ahead.touch(self.map.pages(), from..(from + window).min(self.allocated));
        }
        if is_ready { Ok(()) } else { self.touch(dir, needed) }
    }

    fn allocate(&mut self, dir: &Dir, needed: u64) -> Result<()> {
        if needed <= self.allocated {
            return Ok(());
        }
        let limit = self.file.header.segment_bytes;
        let file_bytes = self.file.bytes().map_err(|source| self.fault(dir, needed, source))?;
        let least = round_up(needed, PAGE_BYTES).max(file_bytes).min(limit);
        let chunk = least.max(self.allocated + self.chunk).min(limit);
        // On a disk that is nearly full the whole chunk may not fit while what is needed does.
        let allocate = |to| dir::allocate(&self.file.file, self.allocated, to).map(|()| to);
        let allocated = allocate(chunk).or_else(|_| allocate(least));
        let allocated = allocated.map_err(|source| self.fault(dir, needed, source))?;
        hook!("grow.allocated");
        self.allocated = allocated;
        self.chunk = (self.chunk * 2).min(MAX_CHUNK_BYTES);
        Ok(())
    }

    fn touch(&mut self, dir: &Dir, needed: u64) -> Result<()> {
        hook!("grow.before_populate");
        let ahead = (needed + AHEAD_BYTES).min(self.allocated);
        self.map.make_ready(ahead).map_err(|source| match source.raw_os_error() {
            // A page that cannot be had now: no room, by another name.
            Some(libc::EFAULT) => self.fault(dir, needed, source).of_kind(ErrorKind::StorageFull),
            _ => self.fault(dir, needed, source),
        })
    }

    fn fault(&self, dir: &Dir, needed: u64, source: io::Error) -> Error {
        Error::io("growing a segment", source)
            .at_path(dir.path())
            .in_segment(self.file.name.id)
            .at_offset(needed)
    }

    /// Writes a frame at the end and commits it. `None` if there is no room, which its callers made.
    #[inline(always)]
    pub(crate) fn write(&mut self, kind: Kind, seq: u64, payload: &[u8]) -> Option<()> {
        let at = self.map.end();
        let word = CommitWord::new(kind, payload.len() as u64);
        let salt = self.file.header.salt;
        let mut room = self.map.room(word.frame_bytes())?;
        put(room.body(), seed(salt, at, word, seq), seq, payload);
        hook!("append.written");
        room.publish(word.bits());
        Some(())
    }

    /// Writes all frames of a batch, `bytes` together, and publishes the first one's commit word last.
    pub(crate) fn write_batch(&mut self, start: u64, records: &[&[u8]], bytes: u64) -> Option<()> {
        let first_at = self.map.end();
        let salt = self.file.header.salt;
        let (first, others) = records.split_first()?;
        let mut room = self.map.room(bytes)?;
        let mut rest = room.body();
        let first_word = CommitWord::new(Kind::First, first.len() as u64);
        let body = rest.split_off_mut(..(first_word.frame_bytes() - COMMIT_BYTES) as usize)?;
        let first_crc = put(body, seed(salt, first_at, first_word, start), start, first);
        hook!("batch.frame_written");
        let (mut at, mut seq) = (first_at + first_word.frame_bytes(), start + 1);
        for (left, payload) in (0..others.len()).rev().zip(others) {
            let kind = if left == 0 { Kind::Last } else { Kind::Middle };
            let word = CommitWord::new(kind, payload.len() as u64);
            let frame = rest.split_off_mut(..word.frame_bytes() as usize)?;
            let (commit, body) = frame.split_at_mut(COMMIT_BYTES as usize);
            commit.copy_from_slice(&commit_bytes(word));
            let seed = seed(salt, at, word, seq) ^ tie(kind, first_crc);
            put(body, seed, seq, payload);
            (at, seq) = (at + word.frame_bytes(), seq + 1);
            hook!("batch.frame_written");
        }
        room.publish(first_word.bits());
        Some(())
    }

    /// Commits a record whose payload stands in place already.
    #[inline]
    pub(crate) fn commit_in_place(&mut self, seq: u64, len: u64) -> Option<()> {
        let at = self.map.end();
        let word = CommitWord::new(Kind::Single, len);
        let salt = self.file.header.salt;
        let mut room = self.map.room(word.frame_bytes())?;
        let body = room.body();
        prefetch_behind(body);
        let padding = &mut body[(HEADER_BYTES - COMMIT_BYTES + len) as usize..];
        if !padding.is_empty() {
            padding.fill(0);
        }
        seal(body, seed(salt, at, word, seq), seq, len);
        hook!("slot.sealed");
        room.publish(word.bits());
        Some(())
    }

    pub(crate) fn write_end(&mut self, seq: u64) -> Option<()> {
        let at = self.map.end();
        let word = CommitWord::new(Kind::End, 0);
        let salt = self.file.header.salt;
        let body = self.map.unpublished_mut(at + COMMIT_BYTES..at + EMPTY_FRAME_BYTES)?;
        seal(body, seed(salt, at, word, seq), seq, 0);
        self.map.publish_last(word.bits()).then_some(())
    }
}

/// Makes `body` a frame of `payload` without its commit word, and gives the checksum. `seed` is made of `seq`
/// and includes the [`tie`].
#[inline(always)]
fn put(body: &mut [u8], seed: u32, seq: u64, payload: &[u8]) -> u32 {
    // A checksum of what was copied waits until its stores are done, which is most of a small record's
    // time; of a longer one the copying brings the lines that are then read.
    const SMALL_BYTES: usize = 128;
    prefetch_behind(body);
    if payload.len() > SMALL_BYTES {
        fill(body, payload);
        return seal(body, seed, seq, payload.len() as u64);
    }
    let crc = crc32(seed, payload);
    fill(body, payload);
    label(body, crc, seq);
    crc
}

/// Puts a payload, and zeros behind it, into a frame without its commit word.
#[inline]
fn fill(body: &mut [u8], payload: &[u8]) {
    let (_header, place) = body.split_at_mut((HEADER_BYTES - COMMIT_BYTES) as usize);
    // The padding lies in the last 16 bytes: one store of known size, most of it soon covered.
    if let Some(last) = place.last_chunk_mut::<{ ALIGN as usize }>() {
        *last = [0; ALIGN as usize];
    }
    place[..payload.len()].copy_from_slice(payload);
}
