//! A small log of three segments, held in memory, and what it must give back when one bit of it is
//! flipped or one of its files is cut: worked out from what was appended and where its frames stand,
//! without asking the crate.

use std::fs;
use std::ops::Range;
use std::path::Path;

use crate::support::{
    DATA_START, END, FIRST, Frame, LAST, MIDDLE, frames, open, segments, tempdir,
};

/// The sector of a header block that holds its slot, and the slot's bytes.
const SLOT_AT: usize = 512;
const SLOT_BYTES: usize = 128;
const BLOCK_BYTES: usize = 4096;
/// A file that is shorter has neither a whole slot nor, perhaps, a whole header.
const HEADLESS_BYTES: usize = SLOT_AT + SLOT_BYTES;

/// How the log was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Closed, so everything in it is durable.
    Closed,
    /// Its files were taken while it was open; synced up to the middle of the second segment.
    Open,
}

pub struct Model {
    pub left: Left,
    pub segments: Vec<Segment>,
    pub payloads: Vec<Vec<u8>>,
    /// The first record that was not synced by name.
    pub synced_seq: u64,
    /// Where in the second segment the slot says so.
    noted_offset: usize,
}

pub struct Segment {
    pub file_name: String,
    pub bytes: Vec<u8>,
    pub id: u64,
    /// The records that are its share of the log.
    pub share: Range<u64>,
    pub groups: Vec<Group>,
}

/// Frames that stand or fall together: one frame, or all of a batch.
#[derive(Clone, Debug)]
pub struct Group {
    pub frames: Vec<Frame>,
}

impl Group {
    pub fn offset(&self) -> usize {
        self.frames[0].offset
    }

    pub fn next(&self) -> usize {
        self.frames[self.frames.len() - 1].next()
    }

    /// The records in it; empty, at the next record's number, for marks and ends.
    pub fn seqs(&self) -> Range<u64> {
        let start = self.frames[0].seq;
        let records = self.frames.iter().filter(|frame| frame.is_record()).count();
        start..start + records as u64
    }

    /// Padding is no part of what a checksum covers.
    fn covers(&self, at: usize) -> bool {
        self.frames.iter().any(|frame| (frame.offset..frame.payload_at() + frame.len).contains(&at))
    }
}

/// What happened to one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    Flip { bit: usize },
    Cut { bytes: usize },
}

/// What stands behind the end, as `Recovery::cut` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub segment: u64,
    pub offset: u64,
    pub bytes: u64,
    pub records: u64,
    pub segments: u64,
}

/// What a log must give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What reading everything reports lost.
    pub lost: Vec<Range<u64>>,
    pub next_seq: u64,
    /// What opening to append finds: it reads nothing below the last noted durable position.
    pub clean: bool,
    pub found_lost: Vec<Range<u64>>,
    pub cut: Option<Cut>,
}

impl Model {
    pub fn new(left: Left) -> Model {
        let dir = tempdir();
        let log = open(dir.path()).unwrap();
        let mut payloads = Vec::new();
        let mut synced_seq = 0;
        while log.stats().unwrap().segments < 3 {
            if synced_seq == 0 && log.stats().unwrap().segments == 2 && payloads.len() > 34 {
                synced_seq = log.sync().unwrap();
            }
            append_some(&log, &mut payloads);
        }
        append_some(&log, &mut payloads);
        let open_image = crate::support::image(dir.path());
        log.close().unwrap();
        let path = if left == Left::Closed { dir.path() } else { open_image.path() };
        let segments = parse(path, payloads.len() as u64);
        let noted_offset = segments[1]
            .groups
            .iter()
            .find(|group| group.frames[0].seq == synced_seq)
            .expect("synced in the second segment")
            .offset();
        Model { left, segments, payloads, synced_seq, noted_offset }
    }

    pub fn next_seq(&self) -> u64 {
        self.payloads.len() as u64
    }

    /// Where the frames of a segment end.
    pub fn used(&self, segment: usize) -> usize {
        self.segments[segment].groups.last().map_or(DATA_START, Group::next)
    }

    fn is_tip(&self, segment: usize) -> bool {
        segment + 1 == self.segments.len()
    }

    pub fn expected(&self, segment: usize, harm: Harm) -> Expected {
        match (self.left, harm) {
            (Left::Closed, Harm::Flip { bit }) => self.closed_flip(segment, bit / 8),
            (Left::Closed, Harm::Cut { bytes }) => self.closed_cut(segment, bytes),
            (Left::Open, Harm::Flip { bit }) => self.open_flip(segment, bit),
            (Left::Open, Harm::Cut { bytes }) => self.open_cut(segment, bytes),
        }
    }

    fn unharmed(&self) -> Expected {
        let clean = self.left == Left::Closed;
        Expected { lost: vec![], next_seq: self.next_seq(), clean, found_lost: vec![], cut: None }
    }

    fn losing(&self, lost: Range<u64>) -> Expected {
        Expected { lost: non_empty(lost), ..self.unharmed() }
    }

    fn closed_flip(&self, segment: usize, at: usize) -> Expected {
        if let Some(group) = self.group_at(segment, at) {
            return self.losing(group.seqs());
        }
        let end = self.used(segment);
        if self.is_tip(segment) && (end..end + 4).contains(&at) {
            let cut = self.cut(segment, end, 16, 0, 0);
            return Expected { clean: false, cut, ..self.unharmed() };
        }
        let in_slot = [0, BLOCK_BYTES]
            .iter()
            .any(|block| (block + SLOT_AT..block + SLOT_AT + SLOT_BYTES).contains(&at));
        Expected { clean: !(self.is_tip(segment) && in_slot), ..self.unharmed() }
    }

    fn closed_cut(&self, segment: usize, bytes: usize) -> Expected {
        let share = self.segments[segment].share.clone();
        let Some(group) = self.first_cut(segment, bytes) else { return self.unharmed() };
        let first = group.seqs().start;
        if !self.is_tip(segment) {
            return self.losing(first..share.end);
        }
        // The slot says how many there were, but no more than a file of that size can hold.
        let end = match bytes {
            ..HEADLESS_BYTES => share.start + 1,
            _ => share.end.min(share.start + bytes as u64 / 16),
        };
        Expected {
            clean: false,
            next_seq: end,
            found_lost: non_empty(first..end),
            ..self.losing(first..end)
        }
    }

    fn open_flip(&self, segment: usize, bit: usize) -> Expected {
        let at = bit / 8;
        let Some(group) = self.group_at(segment, at) else {
            let end = self.used(segment);
            let behind = self.is_tip(segment) && at >= end;
            let bytes = (at / 16 * 16 + 16).saturating_sub(end) as u64;
            let cut = if behind { self.cut(segment, end, bytes, 0, 0) } else { None };
            return Expected { cut, ..self.unharmed() };
        };
        let ends_its_segment = group.seqs().start == self.segments[segment].share.end;
        if self.is_evident(segment, group.offset()) || ends_its_segment {
            return self.losing(group.seqs());
        }
        let group = group.clone();
        let mut rotten = self.segments[segment].bytes.clone();
        rotten[at] ^= 1 << (bit % 8);
        let intact = self.segments[segment]
            .groups
            .iter()
            .filter(|other| other.offset() > group.offset())
            .map(|other| other.seqs().end - other.seqs().start)
            .sum::<u64>();
        self.ends_at(segment, &group, &rotten, intact)
    }

    fn open_cut(&self, segment: usize, bytes: usize) -> Expected {
        let share = self.segments[segment].share.clone();
        let records_lost = self.first_cut(segment, bytes).filter(|group| !group.seqs().is_empty());
        let Some(group) = self.segments[segment].groups.iter().find(|group| group.next() > bytes)
        else {
            return self.unharmed();
        };
        if group.seqs().start == share.end {
            assert!(records_lost.is_none());
            return self.unharmed();
        }
        let first = group.seqs().start;
        if self.is_evident(segment, bytes) {
            // Opening begins at the noted position, unless that went with the cut.
            let found = if segment == 1 { non_empty(first..share.end) } else { vec![] };
            return Expected { found_lost: found, ..self.losing(first..share.end) };
        }
        let slots_end = BLOCK_BYTES + SLOT_AT + SLOT_BYTES;
        if self.is_tip(segment) && bytes < slots_end {
            // Its only slot is gone, so nobody knows what it held: one record at least.
            let lost = non_empty(first..first + 1);
            return Expected {
                next_seq: first + 1,
                found_lost: lost,
                ..self.losing(first..first + 1)
            };
        }
        self.ends_at(segment, group, &self.segments[segment].bytes[..bytes], 0)
    }

    /// Above the evidence: the log ends before `group`. `bytes` are the segment's, `intact` its whole
    /// records behind the group.
    fn ends_at(&self, segment: usize, group: &Group, bytes: &[u8], intact: u64) -> Expected {
        let later = &self.segments[segment + 1..];
        let records = intact + later.iter().map(|s| s.share.end - s.share.start).sum::<u64>();
        let used = bytes[..bytes.len() / 16 * 16]
            .chunks(16)
            .rposition(|chunk| chunk.iter().any(|byte| *byte != 0))
            .map_or(0, |chunk| chunk * 16 + 16);
        let behind = used.saturating_sub(group.offset()) as u64;
        let cut = self.cut(segment, group.offset(), behind, records, later.len() as u64);
        let cut = cut.filter(|cut| cut.bytes > 0 || cut.segments > 0);
        Expected { next_seq: group.seqs().start, cut, ..self.unharmed() }
    }

    fn cut(&self, segment: usize, at: usize, bytes: u64, records: u64, later: u64) -> Option<Cut> {
        let segment = self.segments[segment].id;
        Some(Cut { segment, offset: at as u64, bytes, records, segments: later })
    }

    /// Whether what stood there is known to have been durable.
    fn is_evident(&self, segment: usize, offset: usize) -> bool {
        segment == 0 || segment == 1 && offset < self.noted_offset
    }

    fn group_at(&self, segment: usize, at: usize) -> Option<&Group> {
        self.segments[segment].groups.iter().find(|group| group.covers(at))
    }

    /// The first records that are not whole any more when the file has `bytes` bytes.
    fn first_cut(&self, segment: usize, bytes: usize) -> Option<&Group> {
        let mut groups = self.segments[segment].groups.iter();
        groups.find(|group| group.next() > bytes && !group.seqs().is_empty())
    }
}

fn non_empty(range: Range<u64>) -> Vec<Range<u64>> {
    if range.is_empty() { vec![] } else { vec![range] }
}

/// A round of records of all sorts: empty, odd and even lengths, batches with an empty member.
fn append_some(log: &maplog::Log, payloads: &mut Vec<Vec<u8>>) {
    const ROUND: [&[usize]; 9] =
        [&[0], &[1], &[100], &[40, 0, 200], &[15], &[333, 16], &[31, 64, 5], &[700], &[1480]];
    for lens in ROUND {
        let records: Vec<_> = lens.iter().map(|len| payload(payloads.len() as u64, *len)).collect();
        let seqs = log.append_batch(&records).unwrap();
        assert_eq!(seqs.start, payloads.len() as u64);
        payloads.extend(records);
    }
}

/// Bytes that differ with the record and with the place in it.
fn payload(seq: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| (seq as u8).wrapping_mul(31) ^ (at as u8) ^ 0x5A).collect()
}

fn parse(log: &Path, next_seq: u64) -> Vec<Segment> {
    let paths = segments(log);
    let bases: Vec<u64> = paths.iter().map(|path| base_seq(path)).collect();
    assert_eq!(paths.len(), 3);
    let mut parsed = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let bytes = fs::read(path).unwrap();
        let groups = groups(&frames(&bytes));
        assert_eq!(groups.last().unwrap().frames[0].kind == END, index < 2);
        parsed.push(Segment {
            file_name: path.file_name().unwrap().to_str().unwrap().to_owned(),
            bytes,
            id: crate::support::segment_id(path),
            share: bases[index]..bases.get(index + 1).copied().unwrap_or(next_seq),
            groups,
        });
    }
    parsed
}

fn base_seq(segment: &Path) -> u64 {
    segment.file_name().unwrap().to_str().unwrap()[..20].parse().unwrap()
}

fn groups(frames: &[Frame]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for frame in frames {
        match frame.kind {
            MIDDLE | LAST => groups.last_mut().unwrap().frames.push(*frame),
            _ => groups.push(Group { frames: vec![*frame] }),
        }
    }
    let batches = groups.iter().filter(|group| group.frames[0].kind == FIRST).count();
    assert!(batches > 0, "each segment holds a batch");
    groups
}
