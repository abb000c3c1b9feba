//! `partition_point` and `seek_time`.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use maplog::{Log, Reader, Result};

use super::items::{Item, Walk};
use crate::golden::format::{END, Frame, HEADER_BYTES, Header, MARK, SINGLE, Slot, file_name, put};
use crate::support::{SMALL, image, open, read, records, segments, tempdir};

fn key(data: &[u8]) -> u64 {
    u64::from_le_bytes(data[..8].try_into().unwrap())
}

/// A log of `count` records whose keys are three times their numbers.
fn of_keys(path: &Path, segment_bytes: u64, count: u64) -> Result<Log> {
    // SAFETY: nothing changes the log's files while it is open.
    let log = unsafe { Log::options().segment_bytes(segment_bytes).open(path)? };
    let mut writer = log.writer()?;
    for seq in 0..count {
        let mut payload = vec![0; 8 + seq as usize * 7 % 60];
        payload[..8].copy_from_slice(&(seq * 3).to_le_bytes());
        writer.append(payload)?;
    }
    drop(writer);
    Ok(log)
}

/// The answer, and how often the question was asked.
fn point(reader: &Reader, wanted: u64) -> (u64, u32) {
    let mut asked = 0;
    let found = reader.partition_point(|record| {
        asked += 1;
        key(record.data()) < wanted
    });
    (found.unwrap(), asked)
}

#[test]
fn a_partition_point_is_a_slices_and_asks_about_a_logarithm_of_the_records() -> Result<()> {
    let dir = tempdir();
    let count = 100_000;
    let log = of_keys(dir.path(), 1 << 20, count)?;
    assert!(log.stats()?.segments > 5);
    let keys: Vec<_> = (0..count).map(|seq| seq * 3).collect();
    let mut random = fastrand::Rng::with_seed(3);
    let reader = read(dir.path())?;
    let mut most = 0;
    for wanted in (0..300).map(|_| random.u64(..count * 3 + 10)).chain([0, 1, count * 3, u64::MAX])
    {
        let (found, asked) = point(&reader, wanted);
        assert_eq!(found, keys.partition_point(|key| *key < wanted) as u64);
        most = most.max(asked);
    }
    // 2^17 is above 100,000.
    assert_eq!(most, 17);
    let empty = open(tempdir().path())?.reader();
    assert_eq!(point(&empty, 5), (0, 0));
    Ok(())
}

/// A lost record counts as the first whole one behind it.
#[test]
fn a_partition_point_among_lost_records_is_at_the_first_of_them() -> Result<()> {
    let dir = tempdir();
    of_keys(dir.path(), SMALL, 2000)?.close()?;
    let mut random = fastrand::Rng::with_seed(4);
    for _ in 0..20 {
        let copy = image(dir.path());
        for file in segments(copy.path()) {
            let frames = records(&file);
            let mut bytes = fs::read(&file).unwrap();
            let (one, other) = (random.usize(..frames.len()), random.usize(..frames.len()));
            bytes[frames[one.min(other)].offset..frames[one.max(other)].offset].fill(0);
            fs::write(&file, bytes).unwrap();
        }
        let walk = Walk::of(&read(copy.path())?);
        assert!(walk.lost() > 50);
        let reader = read(copy.path())?;
        // From the end on: what the next whole record says.
        let mut keys = vec![u64::MAX; reader.next_seq() as usize];
        let mut behind = u64::MAX;
        for item in walk.0.iter().rev() {
            match item {
                Item::Whole(seq, data) => {
                    behind = key(data);
                    keys[*seq as usize] = behind;
                }
                Item::Lost(range) => keys[range.start as usize..range.end as usize].fill(behind),
            }
        }
        for _ in 0..50 {
            let wanted = random.u64(..6010);
            let expected = keys.partition_point(|key| *key < wanted) as u64;
            assert_eq!(point(&reader, wanted).0, expected, "{wanted}");
        }
    }
    Ok(())
}

/// What stands in a log: records, and marks with their times in seconds.
#[derive(Clone, Copy, PartialEq)]
enum Entry {
    Record,
    Mark(u64),
}
use Entry::{Mark, Record};

const SALT: u64 = 77;

/// Writes a closed log whose segments hold these entries.
fn write(path: &Path, all: &[Vec<Entry>]) {
    let mut base_seq = 0;
    for (index, entries) in all.iter().enumerate() {
        let header = Header {
            reason: 1,
            log_id: [9; 16],
            epoch: 1,
            segment_id: index as u64 + 1,
            base_seq,
            salt: SALT,
            created_nanos: 0,
            segment_bytes: 1 << 20,
        };
        let mut bytes = vec![0; HEADER_BYTES];
        for block in [0, HEADER_BYTES / 2] {
            put(&mut bytes, block, &header.encode());
        }
        let mut seq = base_seq;
        let add = |bytes: &mut Vec<u8>, kind, seq, payload| {
            let frame = Frame { offset: bytes.len(), kind, seq, payload };
            bytes.extend(frame.encode(SALT, 0).0);
        };
        for entry in entries {
            match entry {
                Record => {
                    add(&mut bytes, SINGLE, seq, vec![1; seq as usize % 40]);
                    seq += 1;
                }
                Mark(seconds) => {
                    let mut payload = vec![0; 16];
                    put(&mut payload, 0, &(seconds * 1_000_000_000).to_le_bytes());
                    add(&mut bytes, MARK, seq, payload);
                }
            }
        }
        let is_last = index + 1 == all.len();
        let end = bytes.len() as u64;
        if !is_last {
            add(&mut bytes, END, seq, Vec::new());
        }
        let slot = Slot {
            counter: 0,
            epoch: 1,
            durable_offset: if is_last { end } else { HEADER_BYTES as u64 },
            durable_seq: if is_last { seq } else { base_seq },
            first_seq: 0,
            closed: is_last,
        };
        put(&mut bytes, Slot::offset(0), &slot.encode(SALT));
        bytes.resize(bytes.len().next_multiple_of(4096) + 4096, 0);
        fs::write(path.join(file_name(base_seq, index as u64 + 1)), bytes).unwrap();
        base_seq = seq;
    }
}

/// The marks of such a log: their times, and the numbers of the records behind them.
fn marks(all: &[Vec<Entry>]) -> Vec<(u64, u64)> {
    let mut seq = 0;
    let mut marks = Vec::new();
    for entry in all.iter().flatten() {
        match entry {
            Record => seq += 1,
            Mark(seconds) => marks.push((*seconds, seq)),
        }
    }
    marks
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A log of `count` marks, each with some records behind it; `time` tells each mark's.
fn of_marks(count: u64, segments: u64, mut time: impl FnMut(u64) -> u64) -> Vec<Vec<Entry>> {
    let per_segment = count / segments;
    (0..segments)
        .map(|segment| {
            let marks = segment * per_segment..(segment + 1) * per_segment;
            marks
                .flat_map(|mark| {
                    let records = 1 + (mark * mark) as usize % 90;
                    std::iter::once(Mark(time(mark))).chain(vec![Record; records])
                })
                .collect()
        })
        .collect()
}

#[test]
fn seeking_a_time_gives_the_place_of_the_last_older_mark() -> Result<()> {
    for segments in [1, 4] {
        let dir = tempdir();
        let log = of_marks(200, segments, |mark| 1000 + mark / 2 * 10);
        write(dir.path(), &log);
        let marks = marks(&log);
        let reader = read(dir.path())?;
        assert_eq!(
            reader.len(),
            log.iter().flatten().filter(|entry| **entry == Record).count() as u64
        );
        for seconds in (990..2020).chain([0, 1 << 33]) {
            let older = marks.iter().rev().find(|(time, _)| *time < seconds);
            let expected = older.map_or(0, |(_, seq)| *seq);
            assert_eq!(reader.seek_time(at(seconds))?, expected, "{seconds}");
        }
        assert_eq!(reader.seek_time(SystemTime::UNIX_EPOCH - Duration::from_secs(1))?, 0);
    }
    Ok(())
}

/// Attack 34: the clock goes to 2099 and back, and about. The answer is a place where marks go over from older
/// to not older.
#[test]
fn attack_34_seeking_a_time_in_spite_of_a_clock_that_jumps_ends_at_a_place_where_it_passed()
-> Result<()> {
    let mut random = fastrand::Rng::with_seed(34);
    let in_2099 = 4_070_908_800;
    let mut places = 0;
    for round in 0..30 {
        let dir = tempdir();
        let log = of_marks(120, 3, |mark| match round % 3 {
            0 if (40..70).contains(&mark) => in_2099 + mark,
            0 | 1 => 1000 + mark * 10 - if mark > 80 { 700 } else { 0 },
            _ => random.u64(..3000),
        });
        write(dir.path(), &log);
        let marks = marks(&log);
        let reader = read(dir.path())?;
        for seconds in [0, 500, 1000, 1001, 1333, 1805, 2500, in_2099 + 50, in_2099 + 100] {
            let found = reader.seek_time(at(seconds))?;
            let here = marks.iter().rev().find(|(_, seq)| *seq == found);
            let next = marks.iter().find(|(_, seq)| *seq > found);
            let is_first = found == 0;
            assert!(
                is_first || here.is_some_and(|(time, _)| *time < seconds),
                "{seconds}: {found}"
            );
            assert!(next.is_none_or(|(time, _)| *time >= seconds), "{seconds}: {found}");
            places += 1;
        }
    }
    assert_eq!(places, 270);
    Ok(())
}

/// Marks that were lost are as if they had not been written; the search goes on behind them.
#[test]
fn seeking_a_time_past_damage_goes_by_the_marks_that_are_left() -> Result<()> {
    let dir = tempdir();
    let log = of_marks(200, 2, |mark| 1000 + mark);
    write(dir.path(), &log);
    let file = &segments(dir.path())[0];
    let mut bytes = fs::read(file).unwrap();
    bytes[60_000..90_000].fill(0);
    fs::write(file, bytes).unwrap();
    let walk = Walk::of(&read(dir.path())?);
    let [Item::Lost(lost)] = &walk
        .0
        .iter()
        .filter(|item| matches!(item, Item::Lost(_)))
        .cloned()
        .collect::<Vec<_>>()[..]
    else {
        panic!("one loss");
    };
    let left: Vec<_> =
        marks(&log).into_iter().filter(|(_, seq)| !(lost.start..lost.end).contains(seq)).collect();
    assert!(left.len() < 190 && left.len() > 100, "{}", left.len());
    let reader = read(dir.path())?;
    for seconds in 990..1210 {
        let older = left.iter().rev().find(|(time, _)| *time < seconds);
        let found = reader.seek_time(at(seconds))?;
        assert_eq!(found, older.map_or(0, |(_, seq)| *seq), "{seconds}");
    }
    Ok(())
}

#[test]
fn what_was_just_appended_is_not_known_to_be_older_than_a_minute_ago() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path())?;
    for _ in 0..1000 {
        log.append(b"now")?;
    }
    let reader = log.reader();
    let now = SystemTime::now();
    assert_eq!(reader.seek_time(now - Duration::from_secs(60))?, 0);
    let found = reader.seek_time(now + Duration::from_secs(60))?;
    assert!((700..1000).contains(&found), "{found}");
    assert_eq!(reader.get(1000)?.map(|record| record.seq()), None);
    assert_eq!(reader.range(found..).next().unwrap()?.seq(), found);
    Ok(())
}
