//! What the crate reads, and whether it is right.

use std::ops::Range;
use std::path::Path;

use maplog::{ErrorKind, Log, Reader, Record, Result, SyncPolicy};

use crate::case::base_and_id;
use crate::second::format::{
    self, BLOCK_BYTES, FIRST, HEADER_BYTES, Header, LAST, MIDDLE, SECTOR_BYTES, SINGLE, crc32,
    frame_bytes, seed, u32_at, u64_at,
};
use crate::second::reader::{End, Reading, lose};
use crate::second::script::Files;

pub const SMALL: u64 = 16 * 1024;

pub fn open(path: &Path) -> Result<Log> {
    let options = Log::options().segment_bytes(SMALL).sync(SyncPolicy::Manual).helper_thread(false);
    // SAFETY: the targets change files only while no handle is alive.
    unsafe { options.open(path) }
}

pub fn read(path: &Path) -> Result<Reader> {
    // SAFETY: as for `open`.
    unsafe { Reader::open(path) }
}

/// All that a reader gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Everything {
    pub first_seq: u64,
    pub next_seq: u64,
    pub records: Vec<(u64, Vec<u8>)>,
    pub lost: Vec<Range<u64>>,
    /// Parts that a later version wrote, or that are another log's.
    pub refused: Vec<ErrorKind>,
}

/// More than any log of these targets has records, gaps and segments.
const ENOUGH: usize = 20_000;

pub fn everything(reader: &Reader) -> Everything {
    let mut all = Everything {
        first_seq: reader.first_seq(),
        next_seq: reader.next_seq(),
        ..Everything::default()
    };
    reader.iter().for_each(|item| check_item(&mut all, item));
    all
}

/// The next item, of whatever gives them in order.
pub fn check_item(all: &mut Everything, item: Result<Record<'_>>) {
    let count = all.records.len() + all.lost.len() + all.refused.len();
    assert!(count < ENOUGH, "the iterator does not end");
    match item {
        Ok(record) => all.records.push((record.seq(), record.data().to_vec())),
        Err(error) => match error.lost() {
            Some(range) => {
                assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
                assert!(!range.is_empty(), "{error}");
                lose(&mut all.lost, range);
            }
            None => all.refused.push(error.kind()),
        },
    }
}

impl Everything {
    /// Every number is a record or lost, none is both, and they come in order.
    pub fn check_complete(&self) {
        let mut due = self.first_seq;
        let mut lost = self.lost.iter().peekable();
        for (seq, _) in &self.records {
            while let Some(range) = lost.next_if(|range| range.start == due) {
                due = range.end;
            }
            assert_eq!(*seq, due, "a number is neither read nor reported");
            due += 1;
        }
        lost.for_each(|range| assert_eq!(std::mem::replace(&mut due, range.end), range.start));
        assert_eq!(due, self.next_seq, "the last numbers are neither read nor reported");
    }

    /// The same, as the second reader says it.
    pub fn assert_is(&self, expected: &Reading) {
        self.assert_reads(expected.first_seq..expected.next_seq, &expected.records, &expected.lost);
    }

    pub fn assert_reads(&self, seqs: Range<u64>, records: &[(u64, Vec<u8>)], lost: &[Range<u64>]) {
        assert_eq!(self.first_seq..self.next_seq, seqs, "the log's numbers");
        assert_eq!(self.lost, lost, "the numbers that are lost");
        assert_eq!(self.records, records, "the records");
    }
}

/// What is unusual about files, so that less can be said about reading them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oddities {
    /// A later version wrote it, or it is more than one log.
    pub may_be_refused: bool,
    /// One of the reasons: whoever has a live page, and so does not look at all names, may read either.
    pub two_of_one_id: bool,
    /// The second reader knows no such limits: of a header's fields, of a file longer than its segment.
    pub unknown_to_the_second_reader: bool,
    /// Nor of the work that a search may cost.
    pub costly_search: bool,
    /// No log writes whole frames in such places or with such numbers: who does not come through all of them may take one
    /// that the walk passes over.
    pub out_of_order: bool,
}

impl Oddities {
    pub fn any(&self) -> bool {
        self.may_be_refused || self.unknown_to_the_second_reader || self.costly_search
    }
}

pub fn oddities(files: &Files) -> Oddities {
    let mut odd = Oddities::default();
    let (mut ids, mut log_ids) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        let (base, id) = base_and_id(name);
        ids.push(id);
        let mut start = bytes.clone();
        start.resize(bytes.len().max(HEADER_BYTES), 0);
        let copies = [0, BLOCK_BYTES].map(|at| &start[at..at + SECTOR_BYTES]);
        let Some(whole) = copies.into_iter().find(|copy| is_whole(copy)) else {
            let [one, two] = copies.map(|copy| u32_at(copy, format::VERSION_AT));
            let ours = copies.iter().all(|copy| copy[..8] == format::MAGIC);
            odd.may_be_refused |= ours && one == two && one != 1;
            continue;
        };
        match Header::decode(whole) {
            Ok(header) => {
                let fits = (SMALL..=16 << 30).contains(&header.segment_bytes)
                    && header.segment_bytes.is_multiple_of(4096)
                    && header.base_seq < (1 << 56) - 1;
                odd.may_be_refused |= !(1..=6).contains(&header.reason);
                odd.may_be_refused |= (header.base_seq, header.segment_id) != (base, id);
                odd.unknown_to_the_second_reader |= !fits;
                odd.unknown_to_the_second_reader |= header.segment_bytes < bytes.len() as u64;
                odd.costly_search |= search_bytes(bytes) > header.segment_bytes.saturating_mul(4);
                odd.may_be_refused |= has_refused_frame(bytes, header.salt);
                odd.out_of_order |= is_out_of_order(bytes, header.salt, base);
                log_ids.push(header.log_id);
            }
            Err(_feature) => odd.may_be_refused = true,
        }
    }
    ids.sort_unstable();
    odd.two_of_one_id = ids.windows(2).any(|pair| pair[0] == pair[1]);
    odd.may_be_refused |= odd.two_of_one_id;
    odd.may_be_refused |= log_ids.windows(2).any(|pair| pair[0] != pair[1]);
    odd
}

fn is_whole(copy: &[u8]) -> bool {
    let crc = u32_at(copy, format::HEADER_CRC_AT);
    copy[..8] == format::MAGIC
        && u32_at(copy, format::VERSION_AT) == 1
        && crc == crc32(0, &copy[..format::HEADER_CRC_AT])
}

/// Places that look like a frame that lies inside the file: kind, payload bytes.
fn candidates(bytes: &[u8]) -> impl Iterator<Item = (usize, u32, usize)> + '_ {
    (HEADER_BYTES..bytes.len().saturating_sub(15)).step_by(16).filter_map(|at| {
        let word = u32_at(bytes, at);
        let (kind, len) = (word >> 28, (word & 0x0FFF_FFFF) as usize);
        (kind != 0 && at + frame_bytes(len) <= bytes.len()).then_some((at, kind, len))
    })
}

/// Where the frame at `at` ends, and the batch that may begin there; what checksumming them costs at most.
fn reach(bytes: &[u8], at: usize, kind: u32, len: usize) -> (usize, usize) {
    let (mut next, mut cost) = (at + frame_bytes(len), len + 16);
    while kind == FIRST && next + 16 <= bytes.len() {
        let word = u32_at(bytes, next);
        let len = (word & 0x0FFF_FFFF) as usize;
        if next + frame_bytes(len) > bytes.len() {
            break;
        }
        cost += len + 16;
        if !matches!(word >> 28, MIDDLE | LAST) {
            break;
        }
        next += frame_bytes(len);
    }
    (next, cost)
}

/// No search for frames checksums more than this, with what stands where none was valid.
fn search_bytes(bytes: &[u8]) -> u64 {
    candidates(bytes).map(|(at, kind, len)| reach(bytes, at, kind, len).1 as u64).sum()
}

/// True if something that looks like a frame, or a batch, begins before the log's end and reaches over it.
pub fn straddles(files: &Files, end: End) -> bool {
    let tip = files.iter().find(|(name, _)| base_and_id(name).1 == end.segment_id);
    tip.is_some_and(|(_, bytes)| {
        candidates(bytes).any(|(at, kind, len)| {
            let reach = reach(bytes, at, kind, len).0 as u64;
            (at as u64) < end.offset && end.offset < reach
        })
    })
}

fn has_refused_frame(bytes: &[u8], salt: u64) -> bool {
    candidates(bytes).any(|(at, kind, len)| {
        (kind == 7 || bytes[at + 15] != 0) && crc_is_right(bytes, salt, at, len, 0)
    })
}

/// A whole frame or batch: where it stands and where it ends, its first number and the one behind it.
struct Unit {
    places: Range<usize>,
    seqs: Range<u64>,
}

/// All that stand anywhere, in other frames too.
fn units(bytes: &[u8], salt: u64) -> impl Iterator<Item = Unit> + '_ {
    let starts = candidates(bytes).filter(|(_, kind, _)| !matches!(*kind, MIDDLE | LAST));
    starts.filter_map(move |(at, kind, len)| {
        let seq = u64_at(bytes, at + 8);
        let mut unit = Unit { places: at..at + frame_bytes(len), seqs: seq..seq };
        if !crc_is_right(bytes, salt, at, len, 0) {
            return None;
        }
        unit.seqs.end = seq.wrapping_add(matches!(kind, SINGLE | FIRST).into());
        let tie = u32_at(bytes, at + 4);
        let mut is_whole = kind != FIRST;
        while !is_whole {
            let at = unit.places.end;
            let word = (at + 16 <= bytes.len()).then(|| u32_at(bytes, at))?;
            let (kind, len) = (word >> 28, (word & 0x0FFF_FFFF) as usize);
            let inside = at + frame_bytes(len) <= bytes.len();
            let right = inside && matches!(kind, MIDDLE | LAST);
            if !right || !crc_is_right(bytes, salt, at, len, tie) {
                return None;
            }
            is_whole = kind == LAST;
            unit.places.end = at + frame_bytes(len);
            unit.seqs.end = unit.seqs.end.wrapping_add(1);
        }
        Some(unit)
    })
}

/// True if a whole frame lies in another, or has a number below that of one before it, or one so high that frames of 16
/// bytes between them could not have brought it.
fn is_out_of_order(bytes: &[u8], salt: u64, base: u64) -> bool {
    if search_bytes(bytes) > 4 * bytes.len() as u64 {
        return true;
    }
    let mut end = Unit { places: 0..HEADER_BYTES, seqs: base..base };
    units(bytes, salt).any(|unit| {
        let room = unit.places.start.saturating_sub(end.places.end) as u64 / 16;
        let in_order = end.places.end <= unit.places.start
            && (end.seqs.end..=end.seqs.end.saturating_add(room)).contains(&unit.seqs.start);
        end = unit;
        !in_order
    })
}

fn crc_is_right(bytes: &[u8], salt: u64, at: usize, len: usize, tie: u32) -> bool {
    let init = seed(salt, at, u32_at(bytes, at), u64_at(bytes, at + 8)) ^ tie;
    crc32(init, &bytes[at + 16..at + 16 + len]) == u32_at(bytes, at + 4)
}

/// G3, whatever else is wrong: some file holds this record, with a checksum of that file's salt.
pub fn assert_is_somewhere(files: &Files, seq: u64, data: &[u8]) {
    let held = files.values().any(|bytes| {
        let mut start = bytes.clone();
        start.resize(bytes.len().max(HEADER_BYTES), 0);
        let copies = [0, BLOCK_BYTES].map(|at| &start[at..at + SECTOR_BYTES]);
        let Some(header) = copies.into_iter().find_map(|copy| Header::decode(copy).ok()) else {
            return false;
        };
        let sound = |at, len, tie| crc_is_right(bytes, header.salt, at, len, tie);
        candidates(bytes).any(|(at, kind, len)| {
            let says = u64_at(bytes, at + 8) == seq && &bytes[at + 16..at + 16 + len] == data;
            let firsts = || {
                let before = candidates(bytes).take_while(|first| first.0 < at);
                before.filter(|(at, kind, len)| *kind == FIRST && sound(*at, *len, 0))
            };
            says && match kind {
                SINGLE | FIRST => sound(at, len, 0),
                MIDDLE | LAST => firsts().any(|first| sound(at, len, u32_at(bytes, first.0 + 4))),
                _ => false,
            }
        })
    });
    assert!(held, "record {seq} of {} bytes stands in no file", data.len());
}
