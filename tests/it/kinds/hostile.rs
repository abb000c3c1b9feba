//! Files that somebody made to do harm: valid checksums over false claims, work without end.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use maplog::{ErrorKind, Log, Result};
use tempfile::TempDir;

use super::forge::{self, Forged, Slot};
use crate::support::{
    DATA_START, SINGLE, SMALL, everything, image, open, read, records, segments, tempdir,
};

/// The highest sequence number that can be said.
const MAX_SEQ: u64 = (1 << 56) - 1;

/// A log of one segment with `count` records, as a power cut leaves it: nothing was synced.
fn cut_off(segment_bytes: u64, count: u64) -> TempDir {
    let dir = tempdir();
    // SAFETY: the test changes only copies.
    let log = unsafe { Log::options().segment_bytes(segment_bytes).open(dir.path()).unwrap() };
    for seq in 0..count {
        log.append(seq.to_le_bytes()).unwrap();
    }
    image(dir.path())
}

/// The first segment, which is the only one of a log that was cut off.
fn only_segment(log: &Path) -> std::path::PathBuf {
    segments(log).remove(0)
}

/// Where the frames of a segment end.
fn end(segment: &Path) -> usize {
    records(segment).last().map_or(DATA_START, |frame| frame.next())
}

/// Reading gives exactly the records `0..count`, then those `lost`, and appending goes on behind.
fn check_goes_on(log: &Path, count: u64, next_seq: u64) {
    let lost = Vec::from_iter((count < next_seq).then_some(count..next_seq));
    for reopened in [false, true] {
        let all = everything(&read(log).unwrap());
        let records: Vec<_> = (0..count).map(|seq| (seq, seq.to_le_bytes().to_vec())).collect();
        assert_eq!(all.lost, lost);
        assert_eq!(all.records[..count as usize], records);
        assert_eq!(all.records.len() as u64, count + u64::from(reopened));
        if !reopened {
            let log = open(log).unwrap();
            assert_eq!(log.recovery().lost, lost);
            assert_eq!(log.append(b"after").unwrap(), next_seq);
            log.close().unwrap();
        }
    }
}

/// Attack 24: a file cut by somebody before it is opened, to any length.
#[test]
fn attack_24_a_file_cut_to_any_length_is_reported() {
    let dir = cut_off(1 << 20, 3000);
    let whole = fs::read(only_segment(dir.path())).unwrap();
    let frames = records(&only_segment(dir.path()));
    for bytes in [0, 1, 511, 512, 4095, 4096, 8191, 8192, 8193, 12288, 16384, 40_000, 65_536] {
        let copy = image(dir.path());
        let segment = only_segment(copy.path());
        fs::write(&segment, &whole[..bytes]).unwrap();
        let kept = frames.iter().filter(|frame| frame.next() <= bytes).count() as u64;
        // Without header or slot nobody knows what there was: one record at least.
        check_goes_on(copy.path(), kept, if bytes < 4736 { 1 } else { kept });
    }
}

/// Attack 24: the volatile files, too, may be of any length and hold anything.
#[test]
fn attack_24_volatile_files_of_any_length_do_not_matter() -> Result<()> {
    let dir = cut_off(SMALL, 20);
    let mut random = fastrand::Rng::with_seed(24);
    for name in ["shared", "lock"] {
        for bytes in [0, 1, 7, 8, 512, 4095, 4096, 5000, 100_000] {
            let copy = image(dir.path());
            let mut noise = vec![0; bytes];
            random.fill(&mut noise);
            fs::write(copy.path().join(name), noise).unwrap();
            check_goes_on(copy.path(), 20, 20);
        }
    }
    Ok(())
}

/// A segment in which every 16 bytes claim to be a record of `claimed` bytes.
fn of_candidates(segment_bytes: u64, claimed: u32) -> TempDir {
    let dir = cut_off(segment_bytes, 1);
    let segment = only_segment(dir.path());
    let mut forged = Forged::read(&segment);
    let start = end(&segment);
    forged.0.resize(segment_bytes as usize, 0);
    let word = u32::from(SINGLE) << 28 | claimed;
    for candidate in forged.0[start..].chunks_exact_mut(16) {
        candidate[..4].copy_from_slice(&word.to_le_bytes());
        candidate[8..].copy_from_slice(&1u64.to_le_bytes());
    }
    forged.write(&segment);
    dir
}

fn opens_within(limit: Duration, log: &Path) -> Duration {
    let since = Instant::now();
    let reader = read(log).unwrap();
    let all = everything(&reader);
    assert_eq!((all.records.len(), all.lost.len()), (1, 0));
    drop(reader);
    let log = open(log).unwrap();
    assert_eq!(log.recovery().cut.unwrap().records, 0);
    assert_eq!(log.append(b"after").unwrap(), 1);
    drop(log);
    let took = since.elapsed();
    assert!(took < limit, "{took:?}");
    took
}

/// Attack 32, at a size for every run: 2^20 candidates.
#[test]
fn attack_32_a_segment_of_long_claims_is_answered_in_seconds() {
    for claimed in [0, 1000, 300_000, 8 << 20] {
        let dir = of_candidates(16 << 20, claimed);
        let took = opens_within(Duration::from_secs(20), dir.path());
        println!("2^20 candidates of {claimed} bytes: {took:.1?}");
    }
}

/// Attack 32 as it was found; in a release build, by
/// `cargo test --release --test it attack_32 -- --ignored --nocapture`.
#[test]
#[ignore = "writes 1 GiB"]
fn attack_32_at_full_size() {
    let dir = of_candidates(1 << 30, 200 << 20);
    let took = opens_within(Duration::from_secs(60), dir.path());
    println!("2^26 candidates of 200 MiB: {took:.1?}");
}

/// Attack 32's other face: each second frame is rotten, so damage is met again and again.
#[test]
fn attack_32_a_segment_of_gaps_is_answered_in_seconds() -> Result<()> {
    let dir = cut_off(4 << 20, 0);
    let segment = only_segment(dir.path());
    let mut forged = Forged::read(&segment);
    forged.0.resize(4 << 20, 0);
    let mut at = DATA_START;
    let gaps = 20_000;
    for seq in 0..gaps {
        forged.0[at] = 1;
        at = forged.frame(at + 16, SINGLE, 2 * seq + 1, b"");
    }
    forged.slot(Slot { counter: 2, epoch: 1, durable_seq: 2 * gaps, ..Slot::default() });
    forged.write(&segment);
    let since = Instant::now();
    let all = everything(&read(dir.path())?);
    assert_eq!((all.records.len() as u64, all.lost.len() as u64), (gaps, gaps));
    assert_eq!(all.lost[7], 14..15);
    let log = open(dir.path())?;
    assert_eq!(log.recovery().lost.len() as u64, gaps);
    assert_eq!(log.append(b"after")?, 2 * gaps);
    println!("{gaps} gaps: {:.1?}", since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
    Ok(())
}

/// Attack 39: a mark's claim is clipped at its own place.
#[test]
fn attack_39_a_mark_that_claims_everything_claims_its_own_place() {
    for claim in [11, 480, MAX_SEQ, 1 << 56, u64::MAX] {
        let dir = cut_off(SMALL, 10);
        let segment = only_segment(dir.path());
        let mut forged = Forged::read(&segment);
        let behind = forged.mark(end(&segment), 10, claim);
        forged.0[behind] = 1;
        forged.write(&segment);
        check_goes_on(dir.path(), 10, 10);
    }
}

/// Attack 39: a mark behind a gap proves that what lies before it was there, and no more.
#[test]
fn attack_39_a_mark_behind_a_gap_proves_what_lies_before_it() {
    let dir = cut_off(SMALL, 10);
    let segment = only_segment(dir.path());
    let mut forged = Forged::read(&segment);
    forged.mark(end(&segment) + 160, 15, MAX_SEQ);
    forged.write(&segment);
    check_goes_on(dir.path(), 10, 15);
}

/// Attack 39: a slot's claim is clipped at what its file can hold; the log is not blocked by it.
#[test]
fn attack_39_a_slot_that_claims_everything_claims_what_its_file_can_hold() {
    for claim in [5000, MAX_SEQ, u64::MAX] {
        let dir = cut_off(SMALL, 10);
        let segment = only_segment(dir.path());
        let slot = Slot { counter: 2, epoch: 1, durable_seq: claim, ..Slot::default() };
        Forged::read(&segment).slot(slot).write(&segment);
        check_goes_on(dir.path(), 10, SMALL / 16);
    }
}

/// Attack 39: what a cut part of a segment says has no weight.
#[test]
fn attack_39_claims_of_a_part_that_was_cut_are_clipped_at_the_cut() -> Result<()> {
    let dir = cut_off(SMALL, 100);
    let segment = only_segment(dir.path());
    let frames = records(&segment);
    let mut forged = Forged::read(&segment);
    forged.0[frames[53].payload_at()] ^= 1;
    forged.write(&segment);
    let log = open(dir.path())?;
    assert_eq!(log.append(b"after")?, 53);
    // Left open, nothing in the last segment says where to begin, so the cut one is looked at.
    let left_open = image(dir.path());
    log.close()?;
    for path in [dir.path(), left_open.path()] {
        let segment = only_segment(path);
        let mut forged = Forged::read(&segment);
        forged.mark(frames[53].next(), 54, 480);
        for (counter, at) in [(2, 0), (3, frames[80].offset as u64)] {
            let claim =
                Slot { counter, epoch: 1, durable_offset: at, durable_seq: 480, ..Slot::default() };
            forged.slot(claim);
        }
        forged.write(&segment);
        let all = everything(&read(path)?);
        assert_eq!((all.records.len(), all.lost.len()), (54, 0));
        let log = open(path)?;
        assert_eq!(log.recovery().lost, []);
        assert_eq!(log.append(b"more")?, 54);
    }
    Ok(())
}

type Forgery = Box<dyn Fn(&mut Forged)>;

/// Numbers at the end of their range, each with a valid checksum.
#[test]
fn numbers_at_the_end_of_their_range_are_refused_or_survived() {
    let field = |at: usize, value: u64| {
        move |forged: &mut Forged| {
            forged.header(at, &value.to_le_bytes());
        }
    };
    let slot = |slot: Slot| {
        move |forged: &mut Forged| {
            forged.slot(slot);
        }
    };
    let whole = Slot { counter: 2, epoch: 1, durable_offset: 8192, ..Slot::default() };
    let forgeries: [(&str, Forgery); 9] = [
        ("epoch", Box::new(field(forge::EPOCH_AT, u64::MAX))),
        ("segment size", Box::new(field(forge::SEGMENT_BYTES_AT, 16 << 30))),
        ("segment size too large", Box::new(field(forge::SEGMENT_BYTES_AT, u64::MAX))),
        ("segment size zero", Box::new(field(forge::SEGMENT_BYTES_AT, 0))),
        ("slot epoch", Box::new(slot(Slot { epoch: u64::MAX, ..whole }))),
        ("counter", Box::new(slot(Slot { counter: u64::MAX, ..whole }))),
        ("durable offset", Box::new(slot(Slot { durable_offset: u64::MAX, ..whole }))),
        ("closed nowhere", Box::new(slot(Slot { durable_offset: 8, closed: true, ..whole }))),
        ("first", Box::new(slot(Slot { first_seq: u64::MAX, ..whole }))),
    ];
    for (what, forgery) in &forgeries {
        let dir = cut_off(SMALL, 10);
        let segment = only_segment(dir.path());
        let mut forged = Forged::read(&segment);
        forgery(&mut forged);
        forged.write(&segment);
        survives(what, dir.path());
    }
}

/// Ids and bases at the end of their range, in a file's name.
#[test]
fn names_at_the_end_of_their_range_are_refused_or_survived() {
    for (base, id) in [(0, u64::MAX), (10, u64::MAX), (MAX_SEQ, 2), (MAX_SEQ, u64::MAX), (3, 0)] {
        for with_header in [false, true] {
            let dir = cut_off(SMALL, 10);
            let segment = only_segment(dir.path());
            let mut forged = Forged::read(&segment);
            match with_header {
                true => {
                    forged.header(forge::SEGMENT_ID_AT, &id.to_le_bytes());
                    forged.header(forge::BASE_SEQ_AT, &base.to_le_bytes());
                }
                false => forged.0.fill(0),
            }
            forged.write(&dir.path().join(format!("{base:020}-{id}.seg")));
            survives(&format!("base {base}, id {id}, header {with_header}"), dir.path());
        }
    }
}

/// Opens, reads, appends and reopens. Anything may be refused or lost, with a word; nothing panics,
/// and what an append returned is there.
fn survives(what: &str, log: &Path) {
    let reader = read(log);
    if let Ok(reader) = &reader {
        let given = reader.iter().filter_map(Result::ok).inspect(|record| {
            assert_eq!(record.data(), record.seq().to_le_bytes(), "{what}");
        });
        assert!(given.count() as u64 <= 10, "{what}");
    }
    drop(reader);
    let opened = open(log);
    let appended = opened.and_then(|log| {
        let appended = log.append(b"after");
        let also = log.close();
        appended.and_then(|seq| also.map(|()| seq))
    });
    match appended {
        Ok(seq) => {
            let found = read(log).and_then(|r| r.get(seq).map(|r| r.unwrap().data().to_vec()));
            assert_eq!(found.unwrap(), b"after", "{what}");
        }
        Err(error) => {
            let kinds = [ErrorKind::OutOfRange, ErrorKind::NotALog, ErrorKind::Damaged];
            assert!(kinds.contains(&error.kind()), "{what}: {error}");
            assert_eq!(error.path(), Some(log), "{what}: {error}");
        }
    }
}
