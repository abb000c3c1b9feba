//! Where records are, as far as somebody has met them: a sparse index in memory.
//!
//! Nothing is ever written to disk for it, since the log is its own index: what is noted here only saves
//! walks and probes. Does not know: bytes, frames; whether what was noted is right.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::format::ALIGN;
use crate::map::Hints;

/// About so many bytes of frames lie between two records whose places are noted.
pub(crate) const SPACING_BYTES: u64 = 1024;

/// The indexes of one log in one process take no more memory than this.
const MAX_BYTES: usize = 64 << 20;

/// Where memory is short, places are fewer; walks of up to `1 << COARSER` times the spacing still cost less
/// than probes.
const COARSER: u32 = 2;

const HINT_BYTES: usize = size_of::<u32>();

/// What is known of one segment: for each `1 << shift` records from its base on, where the first of them
/// is, or the first record of its batch. A place is noted in units of [`ALIGN`].
pub(crate) struct SegmentIndex {
    base_seq: u64,
    /// What a record takes on average.
    record_bytes: u64,
    shift: u32,
    /// From a noted place a walk is shorter than a search.
    is_fine: bool,
    places: Hints,
}

impl SegmentIndex {
    fn new(base_seq: u64, records: u64, bytes: u64, max_places: u64) -> Self {
        let record_bytes = (bytes / records.max(1)).max(1);
        let fine = (SPACING_BYTES / record_bytes).max(1).ilog2();
        let mut shift = fine;
        while records >> shift > max_places {
            shift += 1;
        }
        let len = if records == 0 || max_places == 0 { 0 } else { (records >> shift) + 1 };
        let places = Hints::new(len as usize);
        SegmentIndex { base_seq, record_bytes, shift, is_fine: shift <= fine + COARSER, places }
    }

    /// No place is ever noted.
    fn is_blind(&self) -> bool {
        self.places.len() == 0
    }

    fn bytes(&self) -> usize {
        self.places.len() * HINT_BYTES
    }

    fn covers(&self, records: u64) -> bool {
        records == 0 || !self.is_blind() && (records - 1) >> self.shift < self.places.len() as u64
    }

    pub(crate) fn is_fine(&self) -> bool {
        self.is_fine
    }

    /// About so many records take `bytes`; a multiple of what lies between two noted ones.
    pub(crate) fn records_in(&self, bytes: u64) -> u64 {
        (bytes / SPACING_BYTES).max(1) << self.shift.min(SPACING_BYTES.ilog2())
    }

    #[inline]
    fn slot(&self, seq: u64) -> usize {
        ((seq - self.base_seq) >> self.shift) as usize
    }

    /// The last record at or before `seq` whose place would be noted.
    pub(crate) fn noted_seq(&self, seq: u64) -> u64 {
        if self.is_blind() { seq } else { self.seq_of(self.slot(seq)) }
    }

    fn seq_of(&self, slot: usize) -> u64 {
        self.base_seq + ((slot as u64) << self.shift)
    }

    /// The record `seq` stands at `at`. Called for every record that is walked over.
    #[inline]
    pub(crate) fn note(&self, seq: u64, at: u64) {
        let offset = seq - self.base_seq;
        if offset & ((1 << self.shift) - 1) == 0 {
            self.places.note((offset >> self.shift) as usize, (at / ALIGN) as u32);
        }
    }

    /// The records `seqs` are a batch, which starts at `at`.
    pub(crate) fn note_batch(&self, seqs: Range<u64>, at: u64) {
        let mut slot = self.slot(seqs.start + (1 << self.shift) - 1);
        while slot < self.places.len() && self.seq_of(slot) < seqs.end {
            self.places.note(slot, (at / ALIGN) as u32);
            slot += 1;
        }
    }

    /// The place noted for [`noted_seq`](Self::noted_seq), if any.
    #[inline]
    pub(crate) fn place(&self, seq: u64) -> Option<u64> {
        place(self.places.get(self.slot(seq)))
    }

    /// The places noted at or before `seq` and next behind it, if both are; how many records `seq` is behind
    /// the first, and how many lie between them.
    #[inline]
    pub(crate) fn between(&self, seq: u64) -> Option<(u64, u64, u64, u64)> {
        let slot = self.slot(seq);
        let (from, to) = (place(self.places.get(slot))?, place(self.places.get(slot + 1))?);
        let records = 1 << self.shift;
        Some((from, to, (seq - self.base_seq) & (records - 1), records))
    }

    /// About how many bytes `records` records take, where an index is fine.
    #[inline]
    pub(crate) fn bytes_of(&self, records: u64) -> u64 {
        (records * self.record_bytes).min(2 * SPACING_BYTES)
    }

    /// The nearest places noted before and behind that of `seq`, if any are near.
    pub(crate) fn around(&self, seq: u64) -> (Option<u64>, Option<u64>) {
        const NEAR: usize = 32;
        let slot = self.slot(seq);
        let noted = |slot| place(self.places.get(slot));
        let before = (slot.saturating_sub(NEAR)..slot).rev().find_map(noted);
        (before, (slot + 1..=slot + NEAR).find_map(noted))
    }
}

fn place(hint: u32) -> Option<u64> {
    (hint != 0).then(|| u64::from(hint) * ALIGN)
}

/// What is to be indexed.
pub(crate) struct Extent {
    pub(crate) segment_id: u64,
    pub(crate) base_seq: u64,
    /// Records, and the bytes of their frames.
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// More will be appended.
    pub(crate) grows: bool,
    /// Segments that share the memory.
    pub(crate) segments: u64,
}

/// The indexes of a log's segments, by their ids, which are never given again: for all readers of a
/// process. They outlive the mappings, so that who maps a segment again finds what was known of it.
#[derive(Default)]
pub(crate) struct Indexes(Mutex<Known>);

/// `bytes` is what all of `by_id` take.
#[derive(Default)]
struct Known {
    by_id: HashMap<u64, Arc<SegmentIndex>>,
    bytes: usize,
}

impl Indexes {
    /// The index of a segment. What was known is forgotten if the segment has outgrown it.
    pub(crate) fn of(&self, extent: &Extent) -> Arc<SegmentIndex> {
        let Extent { segment_id, base_seq, records, bytes, grows, segments } = *extent;
        let mut known = self.0.lock();
        if let Some(index) = known.by_id.get(&segment_id)
            && index.covers(records)
        {
            return index.clone();
        }
        known.forget(segment_id);
        let ahead = if grows { 2 } else { 1 };
        let share = (MAX_BYTES / HINT_BYTES) as u64 / segments.max(1);
        let index = Arc::new(SegmentIndex::new(base_seq, records * ahead, bytes * ahead, share));
        if known.bytes + index.bytes() > MAX_BYTES {
            known.forget_unused();
        }
        if known.bytes + index.bytes() > MAX_BYTES {
            // Not kept: there may be room later.
            return Arc::new(SegmentIndex::new(base_seq, records, bytes, 0));
        }
        known.bytes += index.bytes();
        known.by_id.insert(segment_id, index.clone());
        index
    }

    /// Memory that they take, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.lock().bytes as u64
    }
}

impl Known {
    fn forget(&mut self, segment_id: u64) {
        self.bytes -= self.by_id.remove(&segment_id).map_or(0, |index| index.bytes());
    }

    /// Those that no reader holds.
    fn forget_unused(&mut self) {
        self.by_id.retain(|_, index| Arc::strong_count(index) > 1);
        self.bytes = self.by_id.values().map(|index| index.bytes()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(segment_id: u64, segments: u64) -> Extent {
        let (records, bytes) = (1 << 20, 80 << 20);
        Extent { segment_id, base_seq: segment_id << 20, records, bytes, grows: true, segments }
    }

    #[test]
    fn all_indexes_of_a_log_stay_below_their_bound_however_it_grows() {
        let indexes = Indexes::default();
        let mut held = Vec::new();
        for segment in 0..5000 {
            held.push(indexes.of(&extent(segment, segment + 1)));
            assert!(indexes.bytes() <= MAX_BYTES as u64);
        }
        assert!(held[0].is_fine() && held[4999].is_blind());
        // Readers let go of some: there is room again, and what is held stays known.
        held.truncate(100);
        assert!(!indexes.of(&extent(5000, 5001)).is_blind());
        assert!(Arc::ptr_eq(&indexes.of(&extent(3, 5001)), &held[3]));
    }

    #[test]
    fn a_place_is_noted_for_every_so_many_records_and_for_those_of_a_batch() {
        let index = SegmentIndex::new(100, 1000, 80_000, u64::MAX);
        for seq in 100..200 {
            index.note(seq, seq * 160);
        }
        index.note_batch(203..230, 32_480);
        // Of 80 bytes each, 8 are the power of two below a KiB.
        assert_eq!((index.noted_seq(115), index.place(115)), (108, Some(108 * 160)));
        let places: Vec<_> = [196, 203, 204, 228, 236].map(|seq| index.place(seq)).into();
        assert_eq!(places, [Some(196 * 160), Some(196 * 160), Some(32_480), Some(32_480), None]);
        assert_eq!(index.between(117), Some((116 * 160, 124 * 160, 1, 8)));
        assert_eq!((index.between(228), index.place(100_000)), (None, None));
    }
}
