//! Looking for frames where none is known to stand: behind damage, or far from what was met.
//!
//! Does not know: why somebody looks.

use std::ops::Range;

use super::{DATA_START, Rules, Seen, Single, Source, frame, look_closely};
use crate::format::ALIGN;
use crate::format::frame::{EMPTY_FRAME_BYTES, HEADER_BYTES, Header, Kind};

/// The number of the record at `at`, of its own or the first of a batch, by its header alone; `None` if no
/// such header can stand there.
#[inline]
pub(crate) fn number_at<S: Source>(source: &mut S, at: u64) -> Result<Option<u64>, S::Fault> {
    if at < DATA_START || at + HEADER_BYTES > source.limit() {
        return Ok(None);
    }
    let header = Header::decode(&source.sixteen(at)?);
    let starts = matches!(header.word.kind(), Some(Kind::Single | Kind::First));
    Ok((starts && header.flags() == 0).then(|| header.seq()))
}

/// The payload's length of the record `seq`, if it stands at `at` in a frame of its own, valid by all but
/// rule 6's expectation of it there, that ends no later than `until`.
#[inline]
pub(crate) fn single_at<S: Source>(
    source: &mut S,
    rules: &Rules,
    at: u64,
    seq: u64,
    until: u64,
) -> Result<Option<u64>, S::Fault> {
    if at < DATA_START || at + HEADER_BYTES > source.limit() || seq >= rules.cut_seq {
        return Ok(None);
    }
    let header = Header::decode(&source.sixteen(at)?);
    let word = header.word;
    let can_be = word.kind() == Some(Kind::Single) && header.says(seq);
    if !can_be || at + word.frame_bytes() > until {
        return Ok(None);
    }
    let is_sound = matches!(frame(source, rules, at, 0)?, Single::Sound(_));
    Ok(is_sound.then_some(word.len()))
}

/// The search for the next valid frame behind damage.
///
/// Its work is bounded: however often it is asked about one segment, it stops looking once it has
/// checksummed `budget` bytes in all; then the rest counts as lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resync {
    budget: u64,
    /// No frame begins here or behind.
    until: u64,
}

/// How many times a segment's size may be checksummed in search of its frames.
const BUDGET_SEGMENTS: u64 = 4;

impl Resync {
    pub(crate) fn new(segment_bytes: u64) -> Self {
        Resync { budget: BUDGET_SEGMENTS * segment_bytes, until: u64::MAX }
    }

    /// A search that checksums at most about `bytes`.
    pub(crate) fn of_bytes(bytes: u64) -> Self {
        Resync { budget: bytes, until: u64::MAX }
    }

    /// The same search, of places below `until` only.
    pub(crate) fn below(self, until: u64) -> Self {
        Resync { until, ..self }
    }

    /// The place and sequence number of the first valid frame behind `from`, where the record
    /// `seq` was expected. A candidate's number is at least `seq` and no higher than frames of 16
    /// bytes from `from` on could have brought it.
    pub(crate) fn next<S: Source>(
        &mut self,
        source: &mut S,
        rules: &Rules,
        from: u64,
        seq: u64,
    ) -> Result<Option<(u64, u64)>, S::Fault> {
        if from < source.limit() {
            // What stands at `from` was checksummed in vain, however little is found behind it.
            let mut metered = Metered { source: &mut *source, checked_bytes: 0 };
            look_closely(&mut metered, &Rules { check: true, ..*rules }, from, seq)?;
            self.budget = self.budget.saturating_sub(metered.checked_bytes);
        }
        self.first_in(source, rules, from + ALIGN..self.until, (from, seq), u64::MAX)
    }

    /// The place and sequence number of the first valid frame that starts in `places`, behind `known`: a
    /// place and the record expected there. Its number is as for [`next`](Self::next), and at most `last`.
    pub(crate) fn first_in<S: Source>(
        &mut self,
        source: &mut S,
        rules: &Rules,
        places: Range<u64>,
        known: (u64, u64),
        last: u64,
    ) -> Result<Option<(u64, u64)>, S::Fault> {
        let checked = Rules { check: true, ..*rules };
        let (from, seq) = known;
        let mut at = places.start;
        let until = places.end.min(source.limit());
        while at < until && at + HEADER_BYTES <= source.limit() && self.budget > 0 {
            let header = Header::decode(&source.sixteen(at)?);
            let nearest = seq..=last.min(seq + (at - from) / EMPTY_FRAME_BYTES);
            if may_start(&header) && nearest.contains(&header.seq()) {
                let mut metered = Metered { source: &mut *source, checked_bytes: 0 };
                let seen = look_closely(&mut metered, &checked, at, header.seq())?;
                self.budget = self.budget.saturating_sub(metered.checked_bytes);
                if !matches!(seen, Seen::Vacant | Seen::Invalid(_)) {
                    return Ok(Some((at, header.seq())));
                }
            }
            at += ALIGN;
        }
        Ok(None)
    }
}

/// A frame that can be the first behind damage: middle and last frames prove nothing by themselves.
fn may_start(header: &Header) -> bool {
    let kind = header.word.kind();
    header.flags() == 0 && !matches!(kind, None | Some(Kind::Middle | Kind::Last | Kind::Refused))
}

/// Counts what is checksummed.
struct Metered<'a, S> {
    source: &'a mut S,
    checked_bytes: u64,
}

impl<S: Source> Source for Metered<'_, S> {
    type Fault = S::Fault;

    fn limit(&self) -> u64 {
        self.source.limit()
    }

    fn sixteen(&mut self, at: u64) -> Result<[u8; HEADER_BYTES as usize], S::Fault> {
        self.source.sixteen(at)
    }

    fn crc(&mut self, from: u64, to: u64, seed: u32) -> Result<u32, S::Fault> {
        // With the header, which the checksum covers too: a frame without payload is work as well.
        self.checked_bytes += HEADER_BYTES + (to - from);
        self.source.crc(from, to, seed)
    }
}
