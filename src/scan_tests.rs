//! The scanner over every cut and every flipped bit of a small log, against an oracle that knows only
//! what was appended and where its frames stand.

use std::fs;
use std::ops::Range;
use std::thread;

use super::*;
use crate::format::frame::EMPTY_FRAME_BYTES;
use crate::format::frame::MAX_SEQ;
use crate::format::name::SegmentName;

/// Frames of one record, of a whole batch, or of a note, and the bytes that a checksum covers.
struct Group {
    at: usize,
    next: usize,
    covered: Vec<Range<usize>>,
    seqs: Range<u64>,
}

/// A segment as it was written. Places are counted from where frames begin.
struct Written {
    salt: u64,
    base_seq: u64,
    end_seq: u64,
    frames: Vec<u8>,
    groups: Vec<Group>,
}

impl Written {
    fn used(&self) -> usize {
        self.groups.last().map_or(0, |group| group.next)
    }

    fn lost_by_flip(&self, at: usize) -> Range<u64> {
        let hit = |group: &&Group| group.covered.iter().any(|bytes| bytes.contains(&at));
        self.groups.iter().find(hit).map_or(0..0, |group| group.seqs.clone())
    }

    fn lost_by_cut(&self, bytes: usize) -> Range<u64> {
        let cut = |group: &&Group| group.next > bytes && !group.seqs.is_empty();
        self.groups.iter().find(cut).map_or(0..0, |group| group.seqs.start..self.end_seq)
    }
}

const SEGMENT_BYTES: u64 = 16 * 1024;
const ROUND: [&[usize]; 8] =
    [&[0], &[1, 0, 90], &[15], &[500], &[16], &[130, 33], &[700, 0, 7, 64], &[1400]];

fn payload(seq: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| (seq as u8).wrapping_mul(37) ^ (at as u8) ^ 0xA5).collect()
}

/// A log of three segments with everything that a segment can hold; synced in part, so that marks
/// stand at odd places too. Returns the segments and the payloads.
#[allow(unsafe_code)]
fn written() -> (Vec<Written>, Vec<Vec<u8>>) {
    let dir = tempfile::tempdir().unwrap();
    // SAFETY: nobody else knows the directory.
    let log = unsafe { crate::Log::options().segment_bytes(SEGMENT_BYTES).open(dir.path()) };
    let log = log.unwrap();
    let mut payloads = Vec::new();
    let mut rounds_in_third = 0;
    while rounds_in_third < 2 {
        for lens in ROUND {
            let seq = payloads.len() as u64;
            let records: Vec<_> =
                lens.iter().enumerate().map(|(i, len)| payload(seq + i as u64, *len)).collect();
            log.append_batch(&records).unwrap();
            payloads.extend(records);
        }
        rounds_in_third += u64::from(log.stats().unwrap().segments == 3);
        if payloads.len() == 28 || rounds_in_third == 1 {
            log.sync().unwrap();
        }
    }
    log.close().unwrap();
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .filter_map(|entry| SegmentName::parse(entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    names.sort_unstable();
    let ends = names[1..].iter().map(|name| name.base_seq).chain([payloads.len() as u64]);
    let segments = names.iter().zip(ends).map(|(name, end_seq)| {
        let bytes = fs::read(dir.path().join(name.file_name())).unwrap();
        let frames = bytes[8192..].to_vec();
        let groups = groups(&frames);
        let salt = u64::from_le_bytes(bytes[72..80].try_into().unwrap());
        Written { salt, base_seq: name.base_seq, end_seq, frames, groups }
    });
    (segments.collect(), payloads)
}

/// The frames of a segment by docs/format.md: commit word of four bits kind and 28 bits length, then
/// checksum, then number, then payload, padded to 16.
fn groups(frames: &[u8]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut at = 0;
    while at + 16 <= frames.len() {
        let word = u32::from_le_bytes(frames[at..at + 4].try_into().unwrap());
        let seq = u64::from_le_bytes(frames[at + 8..at + 16].try_into().unwrap());
        if word == 0 {
            break;
        }
        let covered = at..at + 16 + (word & 0x0FFF_FFFF) as usize;
        let next = covered.end.next_multiple_of(16);
        match word >> 28 {
            3 | 4 => {
                let batch = groups.last_mut().unwrap();
                batch.covered.push(covered);
                batch.next = next;
                batch.seqs.end = seq + 1;
            }
            kind => {
                let records = u64::from(kind <= 2);
                groups.push(Group { at, next, covered: vec![covered], seqs: seq..seq + records });
            }
        }
        at = next;
    }
    groups
}

/// Reads a segment's share as a reader does; gives what is lost. Every record found is compared
/// with what was appended (G3), and numbers only rise.
fn scan(
    frames: &[u8],
    written: &Written,
    payloads: &[Vec<u8>],
    case: &dyn Fn() -> String,
) -> Vec<Range<u64>> {
    let mut source = Frames(frames);
    let rules = Rules { salt: written.salt, cut_seq: MAX_SEQ + 1, check: true };
    let mut resync = Resync::new(SEGMENT_BYTES);
    let mut lost = Vec::new();
    let (mut at, mut seq) = (DATA_START, written.base_seq);
    let mut steps = 0;
    while seq < written.end_seq {
        steps += 1;
        assert!(steps <= frames.len() / 16 + 2, "no progress: {}", case());
        let Ok(seen) = look(&mut source, &rules, at, seq);
        let (records, next) = match seen {
            Seen::Single { len, next } => {
                assert_eq!((len + 31) & !15, next - at, "{}", case());
                (1, next)
            }
            Seen::Batch { records, next } => (records, next),
            Seen::Mark { next, .. } => (0, next),
            Seen::End { .. } | Seen::Vacant | Seen::Invalid(_) => {
                let Ok(found) = resync.next(&mut source, &rules, at, seq);
                let (next_at, next_seq) = found.unwrap_or((at, written.end_seq));
                assert!(next_seq >= seq && next_seq <= written.end_seq, "{}", case());
                if next_seq > seq {
                    lost.push(seq..next_seq);
                }
                (at, seq) = (next_at, next_seq);
                continue;
            }
            Seen::Skipped { .. } | Seen::Refused => panic!("{seen:?}: {}", case()),
        };
        for seq in seq..seq + records {
            let Ok((len, behind)) = place_of(&mut { source }, at);
            let found = source.bytes(at + HEADER_BYTES, len);
            assert!(found == payloads[seq as usize], "wrong bytes as {seq}: {}", case());
            at = behind;
        }
        (at, seq) = (next, seq + records);
    }
    lost
}

fn non_empty(range: Range<u64>) -> Vec<Range<u64>> {
    if range.is_empty() { vec![] } else { vec![range] }
}

fn check_flips(written: &Written, payloads: &[Vec<u8>], parity: usize) -> usize {
    let mut frames = written.frames.clone();
    // What is behind the last frame is no part of the log; a page of it shows that.
    let bits = (written.used() + 256).min(frames.len()) * 8;
    let mut cases = 0;
    for bit in (parity..bits).step_by(2) {
        frames[bit / 8] ^= 1 << (bit % 8);
        let case = || format!("base {}, bit {} of byte {}", written.base_seq, bit % 8, bit / 8);
        let lost = scan(&frames, written, payloads, &case);
        assert_eq!(lost, non_empty(written.lost_by_flip(bit / 8)), "{}", case());
        frames[bit / 8] ^= 1 << (bit % 8);
        cases += 1;
    }
    cases
}

fn check_cuts(written: &Written, payloads: &[Vec<u8>]) -> usize {
    for bytes in 0..=written.frames.len() {
        let case = || format!("base {}, {bytes} bytes of frames", written.base_seq);
        let lost = scan(&written.frames[..bytes], written, payloads, &case);
        assert_eq!(lost, non_empty(written.lost_by_cut(bytes)), "{}", case());
    }
    written.frames.len() + 1
}

/// Bytes whose every checksum is right, and how often one was asked for.
struct Believed {
    frames: Vec<u8>,
    asked: u64,
}

impl Source for Believed {
    type Fault = Infallible;

    fn limit(&self) -> u64 {
        Frames(&self.frames).limit()
    }

    fn sixteen(&mut self, at: u64) -> Result<[u8; HEADER_BYTES as usize], Infallible> {
        Frames(&self.frames).sixteen(at)
    }

    fn crc(&mut self, from: u64, _to: u64, _seed: u32) -> Result<u32, Infallible> {
        self.asked += 1;
        let Ok(bytes) = self.sixteen(from - HEADER_BYTES);
        Ok(Header::decode(&bytes).crc)
    }
}

/// A forger can make many first frames that lead to one run of empty middle frames without a last one.
#[test]
fn frames_without_payload_count_in_the_search_for_the_next_one() {
    const FIRSTS: usize = 64;
    let mut source = Believed { frames: vec![0; SEGMENT_BYTES as usize], asked: 0 };
    let run = (FIRSTS + 1) * 16;
    for at in (16..source.frames.len()).step_by(16) {
        let (kind, len, seq) = match at.checked_sub(run) {
            None => (Kind::First, run - at - 16, 0),
            Some(behind) => (Kind::Middle, 0, 1 + behind as u64 / 16),
        };
        let frame = &mut source.frames[at..at + 16];
        frame[..4].copy_from_slice(&CommitWord::new(kind, len as u64).bits().to_le_bytes());
        frame[8..].copy_from_slice(&seq.to_le_bytes());
    }
    let rules = Rules { salt: 1, cut_seq: MAX_SEQ + 1, check: true };
    let found = Resync::new(SEGMENT_BYTES).next(&mut source, &rules, DATA_START, 0);
    assert_eq!(found, Ok(None));
    let frames = SEGMENT_BYTES / EMPTY_FRAME_BYTES;
    assert!((frames..=5 * frames).contains(&source.asked), "{} checksums", source.asked);
}

#[test]
#[allow(clippy::print_stdout)]
fn every_flipped_bit_and_every_cut_loses_exactly_what_it_touched() {
    let (segments, payloads) = written();
    assert_eq!(segments.len(), 3);
    for written in &segments {
        let records: u64 = written.groups.iter().map(|g| g.seqs.end - g.seqs.start).sum();
        assert_eq!(records, written.end_seq - written.base_seq, "the oracle knows every record");
        assert!(written.groups.iter().any(|group| group.covered.len() > 1), "a batch in each");
        assert!(written.groups.iter().any(|group| group.seqs.is_empty() && group.at > 0));
        assert_eq!(scan(&written.frames, written, &payloads, &|| "whole".into()), []);
    }
    let used: usize = segments.iter().map(|written| (written.used() + 256).min(8192)).sum();
    let cases: usize = thread::scope(|scope| {
        let check = |parity| {
            let flips = segments.iter().map(move |written| (written, parity));
            let payloads = &payloads;
            move || -> usize {
                flips.map(|(written, parity)| check_flips(written, payloads, parity)).sum()
            }
        };
        let halves = [scope.spawn(check(0)), scope.spawn(check(1))];
        let cuts: usize = segments.iter().map(|written| check_cuts(written, &payloads)).sum();
        cuts + halves.into_iter().map(|half| half.join().unwrap()).sum::<usize>()
    });
    println!("scanned {cases} harmed segments");
    assert_eq!(cases, used * 8 + 3 * (8192 + 1));
}
