use std::collections::HashSet;
use std::convert::Infallible;

use super::*;
use crate::format::crc32;
use crate::format::frame::{CommitWord, Kind, frame_bytes, seed};
use crate::format::header::{HEADER_BYTES as DATA_START, MAX_SEGMENT_BYTES};

const SALT: u64 = 0x1234_5678_9ABC_DEF0;
const RULES: Rules = Rules { salt: SALT, cut_seq: u64::MAX, check: true };
const BASE_SEQ: u64 = 1_000_000;

/// A segment of zero payloads that exists nowhere: each header is made when it is read. Counts the pages
/// that are looked at.
struct Virtual {
    /// Where each record's frame begins, and where the last ends.
    places: Vec<u64>,
    /// Records whose headers are zero.
    gone: std::ops::Range<usize>,
    limit: u64,
    pages: HashSet<u64>,
    bytes: u64,
}

impl Virtual {
    fn new(mut len: impl FnMut(u64) -> u64, until: u64) -> Self {
        let mut places = vec![DATA_START];
        let mut at = DATA_START;
        while at < until {
            at += frame_bytes(len(places.len() as u64));
            places.push(at);
        }
        Virtual { places, gone: 0..0, limit: at, pages: HashSet::new(), bytes: 0 }
    }

    fn records(&self) -> u64 {
        self.places.len() as u64 - 1
    }

    fn look_at(&mut self, from: u64, to: u64) {
        self.bytes += to - from;
        self.pages.extend(from / 4096..=(to.max(from + 1) - 1) / 4096);
    }

    fn end(&self) -> Anchor {
        Anchor { at: self.limit, seq: BASE_SEQ + self.records() }
    }

    fn find(&mut self, seq: u64) -> Option<Anchor> {
        let start = Anchor { at: DATA_START, seq: BASE_SEQ };
        let end = self.end();
        self.pages.clear();
        let Ok(found) = locate(self, &RULES, start, end, seq);
        found
    }
}

impl Source for Virtual {
    type Fault = Infallible;

    fn limit(&self) -> u64 {
        self.limit
    }

    fn sixteen(&mut self, at: u64) -> Result<[u8; 16], Infallible> {
        self.look_at(at, at + 16);
        let Ok(index) = self.places[..self.places.len() - 1].binary_search(&at) else {
            return Ok([0; 16]);
        };
        if self.gone.contains(&index) {
            return Ok([0; 16]);
        }
        // Payloads are multiples of 16, so that a frame's length says theirs.
        let len = self.places[index + 1] - at - 16;
        let (word, seq) = (CommitWord::new(Kind::Single, len), BASE_SEQ + index as u64);
        let crc = zeros(seed(SALT, at, word, seq), len);
        let mut header = [0; 16];
        header[..4].copy_from_slice(&word.bits().to_le_bytes());
        header[4..8].copy_from_slice(&crc.to_le_bytes());
        header[8..].copy_from_slice(&seq.to_le_bytes());
        Ok(header)
    }

    fn crc(&mut self, from: u64, to: u64, seed: u32) -> Result<u32, Infallible> {
        self.look_at(from, to);
        Ok(zeros(seed, to - from))
    }
}

fn zeros(seed: u32, len: u64) -> u32 {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut crc = seed;
    let mut left = len as usize;
    while left > 0 {
        let some = left.min(ZEROS.len());
        crc = crc32(crc, &ZEROS[..some]);
        left -= some;
    }
    crc
}

/// The most and the mean number of pages that finding one of `count` records looks at.
fn pages(segment: &mut Virtual, count: u64, random: &mut fastrand::Rng) -> (usize, f64) {
    let (mut most, mut all) = (0, 0);
    for _ in 0..count {
        let index = random.u64(..segment.records());
        let anchor = Anchor { at: segment.places[index as usize], seq: BASE_SEQ + index };
        assert_eq!(segment.find(anchor.seq), Some(anchor));
        most = most.max(segment.pages.len());
        all += segment.pages.len();
    }
    (most, all as f64 / count as f64)
}

/// In the largest segment that there is; a log of 100 GiB is seven of them, told apart by their names.
#[test]
fn a_record_of_a_cold_segment_is_found_in_a_few_dozen_pages() {
    let mut random = fastrand::Rng::with_seed(100);
    let until = MAX_SEGMENT_BYTES - (1 << 20);
    let mut lengths = random.fork();
    let mixed = |_| match lengths.u8(..100) {
        0..50 => 64,
        50..99 => 16 * lengths.u64(..600),
        _ => 16 * lengths.u64(..1 << 13),
    };
    let mut growing = |index: u64| 16 * (index / 1000);
    let kinds: [(&str, Virtual); 3] = [
        ("equal", Virtual::new(|_| 8176, until)),
        ("mixed", Virtual::new(mixed, until)),
        ("growing", Virtual::new(&mut growing, until)),
    ];
    // Those that are met on the way are checked, whose pages count too.
    for ((name, mut segment), limit) in kinds.into_iter().zip([4.0, 36.0, 100.0]) {
        let (most, mean) = pages(&mut segment, 60, &mut random);
        assert!(mean < limit, "{name}: {mean:.1} pages on average, at most {most}");
    }
}

/// Most of the segment is one record, or all of it is behind one.
#[test]
fn records_around_a_very_long_one_are_found() {
    for long_one in [0, 1, 500, 998, 999] {
        let len = |index: u64| if index == long_one + 1 { 4 << 20 } else { 32 };
        let mut segment = Virtual::new(len, DATA_START);
        while segment.records() < 1000 {
            let at = segment.limit + frame_bytes(len(segment.records() + 1));
            segment.places.push(at);
            segment.limit = at;
        }
        for index in (0..1000).step_by(37).chain([1, 499, 501, 997, 998]) {
            let anchor = Anchor { at: segment.places[index as usize], seq: BASE_SEQ + index };
            assert_eq!(segment.find(anchor.seq), Some(anchor), "{index} of {long_one}");
            assert!(segment.pages.len() < 1200, "{}", segment.pages.len());
        }
    }
}

/// A segment that was cut early: what was allocated behind is zero.
#[test]
fn records_before_a_long_stretch_of_zeros_are_found() {
    let mut segment = Virtual::new(|index| 16 * (index % 30), 1 << 20);
    segment.limit = 128 << 20;
    // The last place is where the zeros begin.
    let end = segment.places.len() as u64 - 1;
    for index in (0..end).step_by(211).chain([0, 1, end - 1]) {
        let anchor = Anchor { at: segment.places[index as usize], seq: BASE_SEQ + index };
        assert_eq!(segment.find(anchor.seq), Some(anchor), "{index}");
        assert!(segment.pages.len() < 300, "{}", segment.pages.len());
    }
}

/// What is not there is not found, and the search for it ends.
#[test]
fn a_number_that_no_frame_has_is_left_to_a_walk() {
    let mut segment = Virtual::new(|_| 48, 8 << 20);
    let end = segment.end();
    let gone = segment.places.len() / 2;
    segment.gone = gone..gone + 1000;
    segment.bytes = 0;
    let start = Anchor { at: DATA_START, seq: BASE_SEQ };
    let asked = BASE_SEQ + gone as u64 + 500;
    let Ok(found) = locate(&mut segment, &RULES, start, end, asked);
    assert_eq!(found, None);
    assert!(segment.bytes < 32 << 20, "{}", segment.bytes);
}
