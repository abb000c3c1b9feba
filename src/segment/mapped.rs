//! A segment mapped for reading: what of it is lent, and a look at what is not lent yet.
//!
//! Does not know: where the log ends, but by the commit word at the end of what is lent.

use std::convert::Infallible;
use std::io;

use super::SegmentFile;
use crate::format::frame::HEADER_BYTES as FRAME_HEADER_BYTES;
use crate::format::header::{HEADER_BYTES, SegmentHeader};
use crate::format::name::SegmentName;
use crate::format::{PAGE_BYTES, crc32, round_up};
use crate::map::ReadMap;
use crate::scan::{Fault, Frames, Rules, Seen, Source, look, look_for_single};

/// A segment mapped for reading, shared by all readers of a process that are in it.
pub(crate) struct ReadSegment {
    pub(crate) name: SegmentName,
    pub(crate) header: SegmentHeader,
    map: ReadMap,
}

impl ReadSegment {
    /// Maps the segment's whole address space if it may grow yet, else what its file has.
    pub(crate) fn map(file: &SegmentFile, may_grow: bool) -> io::Result<Self> {
        let segment_bytes = file.header.segment_bytes;
        let bytes = match may_grow {
            true => segment_bytes,
            false => round_up(file.bytes()?.clamp(HEADER_BYTES, segment_bytes), PAGE_BYTES),
        };
        let map = ReadMap::new(&file.file, bytes)?;
        Ok(ReadSegment { name: file.name, header: file.header.clone(), map })
    }

    /// Lends the frames below `to`, as far as the file and the mapping reach.
    ///
    /// # Safety
    /// As of [`ReadMap::lend`]: frames below `to` are committed.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn lend(&self, file: &SegmentFile, to: u64) -> io::Result<()> {
        if to > self.map.backed() {
            self.map.measure(&file.file)?;
        }
        // SAFETY: the caller's promise is the one that `ReadMap` asks for.
        unsafe { self.map.lend(to) };
        Ok(())
    }

    /// True if what is below `to` was lent before.
    pub(crate) fn lends(&self, to: u64) -> bool {
        self.map.lent() >= to.min(self.map.bytes())
    }

    /// Where the lent frames end.
    #[inline]
    pub(crate) fn lent(&self) -> u64 {
        self.map.lent()
    }

    #[inline]
    pub(crate) fn frames(&self) -> Frames<'_> {
        Frames(self.map.frames())
    }

    /// The commit word at `at`, which need not be lent; `None` where the file does not reach yet.
    #[inline]
    pub(crate) fn observe(&self, file: &SegmentFile, at: u64) -> io::Result<Option<u32>> {
        match self.map.observe(at) {
            None if at < self.map.bytes() => {
                self.map.measure(&file.file)?;
                Ok(self.map.observe(at))
            }
            word => Ok(word),
        }
    }

    /// What stands at `at`, behind what is lent, where a commit word that is not zero was observed. If
    /// it is a whole frame or batch, it is lent from now on.
    ///
    /// # Safety
    /// `at` is where the lent frames end, and the log's end was there: so the word that was observed
    /// is one that was published, and its frame, or batch, is committed.
    #[allow(unsafe_code)]
    #[inline]
    pub(crate) unsafe fn look_ahead(
        &self,
        file: &SegmentFile,
        rules: &Rules,
        at: u64,
        seq: u64,
    ) -> io::Result<Seen> {
        let mut seen = self.look_past(rules, at, seq);
        if matches!(seen, Seen::Invalid(Fault::TooLong | Fault::Batch)) {
            // The file may have grown since it was measured.
            self.map.measure(&file.file)?;
            seen = self.look_past(rules, at, seq);
        }
        if let Some(next) = seen.next() {
            // SAFETY: the caller says that the frame or batch at the end of what is lent is committed.
            unsafe { self.map.lend(next) };
        }
        Ok(seen)
    }

    /// As [`look_ahead`](Self::look_ahead), for the payload's length and the end of a record that has a
    /// frame of its own, if there is one as far as the file was measured. Observes the word at `at` itself.
    ///
    /// # Safety
    /// `at` is where the lent frames end, and the log's end was there.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub(crate) unsafe fn single_ahead(
        &self,
        rules: &Rules,
        at: u64,
        seq: u64,
    ) -> Option<(u64, u64)> {
        if self.map.observe(at)? == 0 {
            return None;
        }
        let Ok(single) = look_for_single(&mut Past(&self.map), rules, at, seq);
        let (_, next) = single?;
        // SAFETY: the caller says that the frame at the end of what is lent is committed.
        unsafe { self.map.lend(next) };
        single
    }

    #[inline]
    fn look_past(&self, rules: &Rules, at: u64, seq: u64) -> Seen {
        let Ok(seen) = look(&mut Past(&self.map), rules, at, seq);
        seen
    }
}

/// Frames behind what is lent: headers are read atomically, and payloads only of frames that are
/// there.
struct Past<'a>(&'a ReadMap);

impl Source for Past<'_> {
    type Fault = Infallible;

    #[inline]
    fn limit(&self) -> u64 {
        self.0.backed()
    }

    #[inline]
    fn sixteen(
        &mut self,
        at: u64,
    ) -> std::result::Result<[u8; FRAME_HEADER_BYTES as usize], Infallible> {
        Ok(self.0.header(at))
    }

    #[inline]
    #[allow(unsafe_code)]
    fn crc(&mut self, from: u64, to: u64, seed: u32) -> std::result::Result<u32, Infallible> {
        // SAFETY: `look_ahead` begins at a frame that is committed, and goes on only behind one whose
        // commit word says that it is part of a batch: all of that was written before the first word.
        Ok(crc32(seed, unsafe { self.0.committed(from..to) }))
    }
}
