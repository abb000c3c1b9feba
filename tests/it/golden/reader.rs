//! A second reader, written from docs/format.md alone ("Valid", "Finding the end", "Resync"): slow, plain,
//! and without a page.

use std::ops::Range;

use super::format::{
    END, FIRST, HEADER_BYTES, Header, LAST, MARK, MIDDLE, SECTOR_BYTES, SINGLE, SLOT_BYTES, Slot,
    crc32, file_name, seed, u32_at, u64_at,
};
use super::script::Files;

/// Where a log ends: in which segment, where in its file, before which number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    pub segment_id: u64,
    pub offset: u64,
    pub seq: u64,
}

/// What reading a log gives.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub end: End,
    pub first_seq: u64,
    pub next_seq: u64,
    pub durable_seq: u64,
    pub clean: bool,
    /// Found lost on the way to the end.
    pub lost_at_opening: Vec<Range<u64>>,
    pub records: Vec<(u64, Vec<u8>)>,
    /// Found lost by reading all of it.
    pub lost: Vec<Range<u64>>,
}

/// The last share ends here.
const END_OF_NUMBERS: u64 = (1 << 56) - 1;

pub struct Segment {
    pub id: u64,
    pub header: Option<Header>,
    slots: [Option<Slot>; 2],
    any_slot_damaged: bool,
    pub bytes: Vec<u8>,
    pub share: Range<u64>,
}

pub enum Seen {
    Vacant,
    End,
    Invalid,
    /// Payloads of a record or a batch.
    Records(Vec<Vec<u8>>, usize),
    /// A mark's durable sequence number.
    Mark(u64, usize),
    Skipped(usize),
}

impl Segment {
    pub fn new(id: u64, bytes: &[u8], share: Range<u64>) -> Self {
        let mut start = bytes.to_vec();
        start.resize(bytes.len().max(HEADER_BYTES), 0);
        let header =
            [0, 4096].into_iter().find_map(|at| Header::decode(&start[at..][..SECTOR_BYTES]).ok());
        let at = |block: usize| &start[block * 4096 + SECTOR_BYTES..][..SLOT_BYTES];
        let salt = header.as_ref().map(|header| header.salt);
        let slots =
            [0, 1].map(|block| salt.and_then(|salt| Slot::decode(at(block), salt, block as u64)));
        let never = |block: usize| at(block).iter().all(|byte| *byte == 0);
        let any_slot_damaged = (0..2).any(|block| slots[block].is_none() && !never(block));
        Segment { id, header, slots, any_slot_damaged, bytes: bytes.to_vec(), share }
    }

    pub fn newest(&self) -> Option<Slot> {
        self.slots.into_iter().flatten().max_by_key(|slot| slot.counter)
    }

    /// Rules 1 to 5: kind, number with flags, crc, payload, where the next frame begins.
    pub fn frame(&self, at: usize, first_crc: u32) -> Option<(u32, u64, u32, &[u8], usize)> {
        let word = u32_at(&self.bytes, at);
        let (kind, len) = (word >> 28, (word & 0x0FFF_FFFF) as usize);
        let length_fits = match kind {
            0 => false,
            END => len == 0,
            MARK => len >= 16,
            _ => true,
        };
        let next = at + (16 + len).next_multiple_of(16);
        if !length_fits || next > self.bytes.len() {
            return None;
        }
        let crc = u32_at(&self.bytes, at + 4);
        let tie = if matches!(kind, MIDDLE | LAST) { first_crc } else { 0 };
        let number = u64_at(&self.bytes, at + 8);
        let payload = &self.bytes[at + 16..at + 16 + len];
        let init = seed(self.header.as_ref()?.salt, at, word, number) ^ tie;
        (crc32(init, payload) == crc).then_some((kind, number, crc, payload, next))
    }

    pub fn look(&self, at: usize, seq: u64) -> Seen {
        if at + 16 > self.bytes.len() || u32_at(&self.bytes, at) == 0 {
            return Seen::Vacant;
        }
        let Some((kind, number, crc, payload, next)) = self.frame(at, 0) else {
            return Seen::Invalid;
        };
        let takes_one = (SINGLE..=LAST).contains(&kind);
        if number != seq || number > self.share.end || takes_one && number == self.share.end {
            return Seen::Invalid;
        }
        match kind {
            SINGLE => Seen::Records(vec![payload.to_vec()], next),
            FIRST => self.batch(seq, crc, payload, next),
            END => Seen::End,
            MARK => Seen::Mark(u64_at(payload, 8), next),
            8.. => Seen::Skipped(next),
            _ => Seen::Invalid,
        }
    }

    fn batch(&self, seq: u64, first_crc: u32, first: &[u8], mut at: usize) -> Seen {
        let mut payloads = vec![first.to_vec()];
        loop {
            if at + 16 > self.bytes.len() {
                return Seen::Invalid;
            }
            match self.frame(at, first_crc) {
                Some((kind @ (MIDDLE | LAST), number, _, payload, next))
                    if number == seq + payloads.len() as u64 =>
                {
                    payloads.push(payload.to_vec());
                    at = next;
                    if kind == LAST {
                        return Seen::Records(payloads, next);
                    }
                }
                _ => return Seen::Invalid,
            }
        }
    }

    /// Goes through valid frames from `at`; gives what ended that. Stops at the share's end.
    pub fn walk(
        &self,
        at: &mut usize,
        seq: &mut u64,
        mut record: impl FnMut(u64, Vec<u8>),
        mut claim: impl FnMut(u64),
    ) -> Seen {
        while *seq < self.share.end {
            match self.look(*at, *seq) {
                Seen::Records(payloads, next) => {
                    for payload in payloads {
                        if *seq < self.share.end {
                            record(*seq, payload);
                            *seq += 1;
                        }
                    }
                    *at = next;
                }
                Seen::Mark(durable, next) => {
                    claim(durable.min(*seq));
                    *at = next;
                }
                Seen::Skipped(next) => *at = next,
                ended => return ended,
            }
        }
        Seen::End
    }

    pub fn resync(&self, from: usize, seq: u64) -> Option<(usize, u64)> {
        let mut at = from + 16;
        while at + 16 <= self.bytes.len() {
            let number = u64_at(&self.bytes, at + 8);
            let kind = u32_at(&self.bytes, at) >> 28;
            let near = (seq..=seq + (at - from) as u64 / 16).contains(&number);
            if near
                && matches!(kind, SINGLE | FIRST | END | MARK | 8..)
                && !matches!(self.look(at, number), Seen::Vacant | Seen::Invalid)
            {
                return Some((at, number));
            }
            at += 16;
        }
        None
    }

    /// Where a last segment ends of which nothing can be read: as many records as it has room for.
    fn held_if_headless(&self) -> u64 {
        let short = self.bytes.len() < HEADER_BYTES && self.newest().is_none();
        let held = (self.bytes.len().saturating_sub(HEADER_BYTES) / 16).max(1) as u64;
        if self.header.is_none() || short {
            (self.share.start + held).min(END_OF_NUMBERS - 1)
        } else {
            0
        }
    }

    /// The highest claim of a mark from `at` on, gaps or not.
    fn marks_claim(&self, mut at: usize, mut seq: u64) -> u64 {
        let mut highest = 0;
        while self.header.is_some() {
            self.walk(&mut at, &mut seq, |_, _| {}, |claim| highest = highest.max(claim));
            match self.resync(at, seq) {
                Some(found) => (at, seq) = found,
                None => break,
            }
        }
        highest.min(self.share.end)
    }
}

/// The segments that count while none has a higher id than `last_id`, with their shares.
pub fn segments(files: &Files, last_id: u64) -> Vec<Segment> {
    let mut names: Vec<(u64, u64)> = files
        .keys()
        .map(|name| {
            let (base, id) = name.strip_suffix(".seg").unwrap().split_once('-').unwrap();
            (id.parse().unwrap(), base.parse().unwrap())
        })
        .filter(|(id, _)| *id <= last_id)
        .collect();
    names.sort_unstable();
    let mut share_end = END_OF_NUMBERS;
    let mut segments = Vec::new();
    for (id, base) in names.into_iter().rev() {
        if base < share_end {
            segments.push(Segment::new(id, &files[&file_name(base, id)], base..share_end));
            share_end = base;
        }
    }
    segments.reverse();
    segments
}

pub fn lose(lost: &mut Vec<Range<u64>>, range: Range<u64>) {
    match lost.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if last.end == range.start => last.end = range.end,
        _ => lost.push(range),
    }
}

/// "Finding the end", by a survey, and then everything up to there.
pub fn read(files: &Files) -> Reading {
    let segments = segments(files, u64::MAX);
    let mut evidence = 0;
    let mut first_seq = None;
    let (mut span, mut at, mut seq) = (0, HEADER_BYTES, segments[0].share.start);
    for (index, segment) in segments.iter().enumerate().rev() {
        let Some(slot) = segment.newest() else { continue };
        let Range { start, end } = segment.share;
        let bytes = segment.bytes.len() as u64;
        evidence = evidence.max(slot.durable_seq.min(start + bytes / 16).min(end));
        first_seq = first_seq.max(Some(slot.first_seq));
        let place = slot.durable_offset;
        let notes = (8192..=bytes).contains(&place) && place.is_multiple_of(16);
        let before = place.saturating_sub(8192) / 16;
        if notes && (start..=end.min(start + before)).contains(&slot.durable_seq) {
            (span, at, seq) = (index, place as usize, slot.durable_seq);
            break;
        }
    }
    let mut reading = Reading::default();
    loop {
        let segment = &segments[span];
        let seen = match segment.header {
            Some(_) => segment.walk(&mut at, &mut seq, |_, _| {}, |_| {}),
            None => Seen::Invalid,
        };
        let next = segments.get(span + 1).map(|next| next.share.start);
        let all_tell = segments[span..].iter().all(|segment| segment.newest().is_some());
        let newest = segment.newest().filter(|_| all_tell);
        let closed_here = newest
            .is_some_and(|slot| slot.closed && slot.durable_offset == at as u64)
            && !segment.any_slot_damaged
            && matches!(seen, Seen::Vacant);
        if next == Some(seq) {
            (span, at) = (span + 1, HEADER_BYTES);
            continue;
        }
        if !closed_here {
            evidence = evidence.max(segment.marks_claim(at, seq));
            for later in &segments[span + 1..] {
                evidence = evidence.max(later.marks_claim(HEADER_BYTES, later.share.start));
            }
        }
        if seq < evidence || newest.is_none() {
            let found = segment.header.as_ref().and_then(|_| segment.resync(at, seq));
            let from = seq;
            match (found, next) {
                (Some(found), _) => (at, seq) = found,
                (None, Some(next)) => (span, at, seq) = (span + 1, HEADER_BYTES, next),
                (None, None) => seq = seq.max(evidence).max(segment.held_if_headless()),
            }
            lose(&mut reading.lost_at_opening, from..seq);
            if found.is_none() && next.is_none() {
                break;
            }
            continue;
        }
        reading.clean = closed_here && next.is_none();
        break;
    }
    let base = segments[0].share.start;
    reading.end = End { segment_id: segments[span].id, offset: at as u64, seq };
    reading.next_seq = seq;
    reading.first_seq = first_seq.unwrap_or(base).min(seq);
    reading.durable_seq = if reading.clean { seq } else { evidence.min(seq) };
    let first_seq = reading.first_seq;
    reading.lost_at_opening.retain_mut(|lost| {
        lost.start = lost.start.max(first_seq);
        !lost.is_empty()
    });
    if first_seq < base {
        reading.lost_at_opening.insert(0, first_seq..base);
    }
    (reading.records, reading.lost) = read_below(files, reading.first_seq, reading.end);
    reading
}

/// Records, and numbers that are lost.
pub type Found = (Vec<(u64, Vec<u8>)>, Vec<Range<u64>>);

/// Everything from record `first_seq` to `end`. Bytes behind the end have no meaning, not even as the rest
/// of a batch before it.
pub fn read_below(files: &Files, first_seq: u64, end: End) -> Found {
    let mut segments = segments(files, end.segment_id);
    if let Some(last) = segments.last_mut() {
        last.bytes.truncate(usize::try_from(end.offset).unwrap_or(usize::MAX));
    }
    read_all(&segments, first_seq, end.seq)
}

/// All that segments hold of the numbers from `first` to `end`.
pub fn read_all(segments: &[Segment], first: u64, end: u64) -> Found {
    let (mut records, mut lost) = (Vec::new(), Vec::new());
    let base = segments.first().map_or(end, |segment| segment.share.start);
    lose(&mut lost, first..base.min(end));
    for segment in segments {
        let (mut at, mut seq) = (HEADER_BYTES, segment.share.start);
        let share_end = segment.share.end.min(end);
        while seq < share_end {
            let record = |seq, payload| {
                if (first..end).contains(&seq) {
                    records.push((seq, payload));
                }
            };
            let found = segment.header.as_ref().and_then(|_| {
                segment.walk(&mut at, &mut seq, record, |_| {});
                segment.resync(at, seq)
            });
            let from = seq;
            (at, seq) = found.unwrap_or((at, share_end.max(seq)));
            lose(&mut lost, from.max(first)..seq.min(share_end));
        }
    }
    (records, lost)
}
