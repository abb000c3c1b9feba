//! Random logs whose payloads were made to mislead a search, whole and damaged.

use std::fs;
use std::path::Path;

use fastrand::Rng;
use maplog::{Log, Result};
use tempfile::TempDir;

use super::items::{Walk, check_both_ends, check_get, check_range};
use crate::support::{SINGLE, image, read, segments, tempdir};

/// Headers of records, one after the other, with numbers near `next_seq` and no right checksum.
fn headers(random: &mut Rng, len: usize, next_seq: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        bytes.extend((u32::from(SINGLE) << 28 | random.u32(..200)).to_le_bytes());
        bytes.extend(random.u32(..).to_le_bytes());
        bytes.extend((next_seq + random.u64(..20)).saturating_sub(10).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A payload that looks like something else: this log's own frames, marks and header, headers of records
/// to come, noise, zeros.
fn payload(random: &mut Rng, log: &Path, longest: usize, next_seq: u64) -> Vec<u8> {
    let len = match random.u8(..10) {
        0 => 0,
        1..6 => random.usize(..100),
        6..9 => random.usize(..longest / 16),
        _ => random.usize(..longest),
    };
    match random.u8(..5) {
        0 => vec![0; len],
        1 => (0..len).map(|_| random.u8(..)).collect(),
        2 => headers(random, len, next_seq),
        _ => {
            // Of the segment that it goes to, or of any other, at a place of its own choice.
            let files = segments(log);
            let own = files.len() - 1;
            let chosen = if random.bool() { own } else { random.usize(..=own) };
            let bytes = fs::read(&files[chosen]).unwrap();
            let from = random.usize(..bytes.len().saturating_sub(len).max(1)) & !15;
            let mut copy = bytes[from..bytes.len().min(from + len)].to_vec();
            copy.resize(len, 0);
            copy
        }
    }
}

/// A log that was closed, and how many records it holds.
fn log(random: &mut Rng, segment_bytes: u64, bytes: u64) -> Result<(TempDir, u64)> {
    let dir = tempdir();
    // SAFETY: nothing changes the log's files.
    let log = unsafe { Log::options().segment_bytes(segment_bytes).open(dir.path())? };
    let longest = (segment_bytes / 8) as usize;
    let mut appended = 0;
    while appended < bytes {
        let next_seq = log.next_seq();
        let mut next = || payload(random, dir.path(), longest, next_seq);
        let batch: Vec<_> = match appended % 5 {
            0 => (0..appended as usize % 90 + 2).map(|i| vec![7; i % 50]).collect(),
            1 => (0..3).map(|_| next()).collect(),
            _ => vec![next()],
        };
        appended += batch.iter().map(|payload| payload.len() as u64 + 16).sum::<u64>();
        match batch.as_slice() {
            [one] => _ = log.append(one)?,
            many => _ = log.append_batch(many)?,
        }
    }
    let next_seq = log.next_seq();
    log.close()?;
    Ok((dir, next_seq))
}

/// Finds everything in several ways and orders, each time with a reader that knows nothing yet; gives
/// how many records were asked for.
fn check(random: &mut Rng, log: &Path) -> Result<u64> {
    let walk = Walk::of(&read(log)?);
    let reader = read(log)?;
    let all = reader.first_seq()..reader.next_seq();
    let mut asked = 0;
    for _ in 0..(all.end - all.start).min(400) {
        check_get(&walk, &reader, random.u64(all.start..all.end + 2));
        asked += 1;
    }
    for _ in 0..10 {
        let (one, other) = (random.u64(all.clone()), random.u64(all.clone()));
        let range = one.min(other)..one.max(other);
        check_range(&walk, &read(log)?, range.clone());
        check_range(&walk, &reader, range.clone());
        check_both_ends(&walk, &reader, range.clone(), random);
        asked += 5 * (range.end - range.start);
    }
    check_range(&walk, &reader, all.clone());
    check_range(&walk, &read(log)?, all.clone());
    // All is known now.
    for seq in all.clone().step_by(1 + (all.end - all.start) as usize / 2000) {
        check_get(&walk, &reader, seq);
        asked += 1;
    }
    check_both_ends(&walk, &read(log)?, all, random);
    Ok(asked)
}

fn damage(random: &mut Rng, log: &Path) {
    let files = segments(log);
    for _ in 0..random.usize(1..4) {
        let file = &files[random.usize(..files.len())];
        let mut bytes = fs::read(file).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let at = random.usize(8192.min(used - 1)..used);
        match random.u8(..4) {
            0 => {
                for _ in 0..20 {
                    let at = random.usize(8192.min(used - 1)..used);
                    // Every other one where a header may be.
                    let at = if random.bool() { at } else { at & !15 | random.usize(..16) };
                    bytes[at.min(used - 1)] ^= 1 << random.u8(..8);
                }
            }
            1 => {
                let end = bytes.len().min(at + random.usize(..5000));
                bytes[at..end].fill(0);
            }
            2 => {
                let end = used.min(at + 512) & !15;
                let from = random.usize(..used - 512) & !15;
                bytes.copy_within(from..from + end - (at & !15), at & !15);
            }
            _ => bytes.truncate(at),
        }
        fs::write(file, bytes).unwrap();
    }
}

#[test]
fn attack_22_what_is_found_among_misleading_payloads_is_what_a_walk_gives() -> Result<()> {
    let mut random = Rng::with_seed(22);
    let mut asked = 0;
    for (segment_bytes, bytes) in
        [(16 << 10, 200 << 10), (64 << 10, 300 << 10), (1 << 20, 1 << 20), (8 << 20, 6 << 20)]
    {
        for _ in 0..3 {
            let (dir, next_seq) = log(&mut random, segment_bytes, bytes)?;
            let walk = Walk::of(&read(dir.path())?);
            assert_eq!((walk.0.len() as u64, walk.lost()), (next_seq, 0));
            check_range(&walk, &read(dir.path())?.verify(false), 0..next_seq);
            asked += check(&mut random, dir.path())?;
        }
    }
    println!("{asked} records asked for");
    Ok(())
}

/// Records of one size, each full of headers, so that guesses are near and every place looks right.
#[test]
fn what_is_found_among_equal_records_is_what_a_walk_gives_whole_and_damaged() -> Result<()> {
    let mut random = Rng::with_seed(64);
    let mut lost = 0;
    for len in [0, 16, 64, 500, 1024] {
        let dir = tempdir();
        // SAFETY: nothing changes the log's files while it is open.
        let log = unsafe { Log::options().segment_bytes(1 << 20).open(dir.path())? };
        for seq in 0..(200_000 / (len as u64 + 16)) {
            log.append(headers(&mut random, len, seq))?;
        }
        log.close()?;
        check(&mut random, dir.path())?;
        for _ in 0..4 {
            let copy = image(dir.path());
            damage(&mut random, copy.path());
            lost += Walk::of(&read(copy.path())?).lost();
            check(&mut random, copy.path())?;
        }
    }
    assert!(lost > 20, "{lost}");
    Ok(())
}

#[test]
fn what_is_found_in_a_damaged_log_is_what_a_walk_gives() -> Result<()> {
    let mut random = Rng::with_seed(6);
    let (mut lost, mut asked) = (0, 0);
    for (segment_bytes, bytes) in
        [(16 << 10, 100 << 10), (256 << 10, 300 << 10), (1 << 20, 1 << 20)]
    {
        let (dir, _) = log(&mut random, segment_bytes, bytes)?;
        for _ in 0..8 {
            let copy = image(dir.path());
            damage(&mut random, copy.path());
            lost += Walk::of(&read(copy.path())?).lost();
            asked += check(&mut random, copy.path())?;
        }
    }
    println!("{asked} records asked for in logs that lost {lost}");
    assert!(lost > 100, "{lost}");
    Ok(())
}
