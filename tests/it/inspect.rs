//! What `Reader::segments` and `Reader::appenders` tell, against the files read by docs/format.md alone.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use maplog::{ErrorKind, SegmentReason, SegmentStat, SegmentState};

use crate::support::{
    DATA_START, END, SMALL, child, flip, frames, image, open, patch, read, segments, tempdir,
};

fn stats(log: &Path) -> Vec<SegmentStat> {
    read(log).unwrap().segments().unwrap()
}

fn record(seq: u64) -> Vec<u8> {
    seq.to_le_bytes().repeat(seq as usize % 40)
}

fn append(log: &maplog::Log, records: u64) {
    for seq in log.next_seq()..log.next_seq() + records {
        match seq % 11 {
            0 if seq % 2 == 0 => assert_eq!(log.append_batch(&[record(seq)]).unwrap().start, seq),
            _ => assert_eq!(log.append(record(seq)).unwrap(), seq),
        }
    }
}

/// Where the frames of the records `from` and the one before `to` begin and end, marks before the first
/// left out.
fn used(segment: &Path, from: u64, to: u64) -> u64 {
    let bytes = fs::read(segment).unwrap();
    let kept: Vec<_> = frames(&bytes)
        .into_iter()
        .filter(|frame| frame.kind != END && (from..to).contains(&frame.seq))
        .collect();
    let last = kept.iter().rfind(|frame| frame.is_record());
    let first = if from == 0 { DATA_START } else { kept[0].offset };
    (DATA_START + last.unwrap().next() - first) as u64
}

#[test]
fn each_segment_tells_its_share_its_age_and_what_of_it_is_used() {
    let dir = tempdir();
    let before = SystemTime::now() - Duration::from_millis(1);
    let log = open(dir.path()).unwrap();
    append(&log, 700);
    let found = stats(dir.path());
    let files = segments(dir.path());
    assert!(files.len() > 5 && found.len() == files.len());
    for (at, (stat, file)) in found.iter().zip(&files).enumerate() {
        let is_last = at + 1 == files.len();
        assert_eq!((stat.id, stat.file_bytes), (at as u64 + 1, SMALL));
        let follows = found.get(at + 1).map_or(700, |next| next.base_seq);
        assert_eq!(stat.end_seq, follows);
        let reason = if at == 0 { SegmentReason::First } else { SegmentReason::Roll };
        assert_eq!((stat.reason, stat.epoch), (Some(reason), Some(1)));
        let created = stat.created.unwrap();
        assert!(before <= created && created <= SystemTime::now());
        let state = if is_last { SegmentState::Open } else { SegmentState::Ended };
        assert_eq!(stat.state, state);
        let from = if at == 0 { 0 } else { stat.base_seq };
        let share = used(file, from, stat.end_seq);
        let bytes = if at == 0 { share } else { used(file, 0, stat.end_seq) };
        assert_eq!(stat.used_bytes, Some(bytes), "segment {}", stat.id);
        assert!(stat.noted_durable_seq.unwrap() <= stat.end_seq);
    }
    log.close().unwrap();
    let found = stats(dir.path());
    let last = found.last().unwrap();
    assert_eq!((last.state, last.noted_durable_seq), (SegmentState::Closed, Some(700)));
}

#[test]
fn what_was_trimmed_of_a_segment_is_waste() {
    let dir = tempdir();
    let log = open(dir.path()).unwrap();
    append(&log, 300);
    let whole = stats(dir.path());
    let trimmed_to = whole[1].base_seq + 21;
    log.trim_before(trimmed_to).unwrap();
    let found = stats(dir.path());
    assert_eq!(found[0].id, 2);
    assert_eq!((found[0].base_seq, found[0].end_seq), (whole[1].base_seq, whole[1].end_seq));
    let expected = used(&segments(dir.path())[0], trimmed_to, found[0].end_seq);
    assert_eq!(found[0].used_bytes, Some(expected));
    assert!(expected < whole[1].used_bytes.unwrap());
    assert_eq!(found[1..], whole[2..]);
    log.trim_before(300).unwrap();
    let found = stats(dir.path());
    assert_eq!((found.len(), found[0].used_bytes), (1, Some(DATA_START as u64)));
}

#[test]
fn what_was_cut_says_so_and_why_the_next_was_made() {
    let dir = tempdir();
    let log = open(dir.path()).unwrap();
    append(&log, 300);
    let third = stats(dir.path())[2].base_seq;
    log.truncate_from(third + 1).unwrap();
    append(&log, 1);
    let found = stats(dir.path());
    let last = found.last().unwrap();
    assert_eq!((last.base_seq, last.end_seq), (third + 1, third + 2));
    assert_eq!((last.reason, last.epoch), (Some(SegmentReason::Cut), Some(2)));
    let cut: Vec<_> = found.iter().filter(|stat| stat.state == SegmentState::Cut).collect();
    assert_eq!(cut.len(), found.len() - 4);
    assert!(cut.iter().all(|stat| stat.used_bytes == Some(0) && stat.base_seq == stat.end_seq));
    assert_eq!((found[2].end_seq, found[2].state), (third + 1, SegmentState::Ended));
    log.reset(1000).unwrap();
    let found = stats(dir.path());
    assert_eq!(found.last().unwrap().reason, Some(SegmentReason::Reset));
    assert!(found[..found.len() - 1].iter().all(|stat| stat.used_bytes == Some(0)));
}

#[test]
fn what_a_power_cut_left_behind_a_gap_is_cut_and_recovery_makes_a_segment() {
    let dir = tempdir();
    let log = open(dir.path()).unwrap();
    append(&log, 300);
    let image = image(dir.path());
    let files = segments(image.path());
    flip(&files[1], DATA_START + 100);
    let found = stats(image.path());
    assert!(found[2..].iter().all(|stat| stat.state == SegmentState::Cut), "{found:?}");
    let end_seq = found[1].end_seq;
    assert!(found[1].end_seq < stats(dir.path())[1].end_seq);
    let again = open(image.path()).unwrap();
    append(&again, 1);
    let found = stats(image.path());
    let last = found.last().unwrap();
    assert_eq!((last.reason, last.base_seq), (Some(SegmentReason::Recovery), end_seq));
}

#[test]
fn damage_is_no_error_and_hides_only_what_it_hides() {
    let dir = tempdir();
    let log = open(dir.path()).unwrap();
    append(&log, 300);
    log.close().unwrap();
    let whole = stats(dir.path());
    let files = segments(dir.path());
    for offset in [100, 4096 + 100] {
        flip(&files[1], offset);
    }
    // All of the third's frames.
    let zeros = vec![0x55; SMALL as usize - DATA_START];
    patch(&files[2], DATA_START, &zeros);
    let found = stats(dir.path());
    let [second, third] = [&found[1], &found[2]];
    assert_eq!(
        (second.state, second.created, second.reason),
        (SegmentState::Unreadable, None, None)
    );
    assert_eq!((second.used_bytes, second.end_seq), (None, whole[1].end_seq));
    let mut expected = whole[2].clone();
    expected.used_bytes = None;
    assert_eq!(third, &expected);
    assert_eq!((&found[0], &found[3..]), (&whole[0], &whole[3..]));
}

/// Such a log opens in no process, but one that has it open goes on, and has to be looked at.
#[test]
fn a_file_that_is_no_segment_of_the_log_is_told_with_the_rest() {
    let dir = tempdir();
    let log = open(dir.path()).unwrap();
    append(&log, 300);
    let before = stats(dir.path());
    let files = segments(dir.path());
    fs::copy(&files[1], dir.path().join("00000000000000000000-0.seg")).unwrap();
    // The second is of a later version of the format, by both copies of its header.
    for at in [8, 4096 + 8] {
        patch(&files[1], at, &[2]);
    }
    let found = stats(dir.path());
    assert_eq!((found[0].id, found[0].state), (0, SegmentState::Cut));
    assert_eq!((found[0].reason, found[0].used_bytes), (None, Some(0)));
    assert_eq!((found[2].state, found[2].epoch), (SegmentState::Unreadable, None));
    assert_eq!((&found[1], &found[3..]), (&before[0], &before[2..]));
}

#[test]
fn every_process_that_appends_is_counted_while_it_lives() {
    let dir = tempdir();
    let log = open(dir.path()).unwrap();
    let reader = read(dir.path()).unwrap();
    assert_eq!(reader.appenders().unwrap(), 1);
    let path = dir.path().to_str().unwrap();
    let mut others: Vec<_> =
        (0..3).map(|_| child("inspect::has_it_open", &[("LOG", path)])).collect();
    let mut outputs = Vec::new();
    for other in &mut others {
        let mut lines = BufReader::new(other.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with("has it open")));
        outputs.push(lines);
    }
    assert_eq!(reader.appenders().unwrap(), 4);
    others[0].kill().unwrap();
    others[0].wait().unwrap();
    assert_eq!(reader.appenders().unwrap(), 3);
    drop(log);
    assert_eq!(reader.appenders().unwrap(), 2);
    for (mut other, output) in others.drain(1..).zip(outputs.drain(1..)) {
        drop(other.stdin.take());
        assert!(output.last().is_some());
        assert!(other.wait().unwrap().success());
    }
    assert_eq!(reader.appenders().unwrap(), 0);
    fs::remove_file(dir.path().join("lock")).unwrap();
    assert_eq!(reader.appenders().unwrap(), 0);
}

#[test]
#[ignore = "a child"]
fn has_it_open() {
    let _log = open(std::env::var("LOG").unwrap()).unwrap();
    writeln!(std::io::stdout(), "\nhas it open").unwrap();
    let _until_it_is_closed = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn a_reader_whose_segments_were_removed_tells_of_those_that_are_left() {
    let dir = tempdir();
    let log = open(dir.path()).unwrap();
    append(&log, 300);
    let reader = read(dir.path()).unwrap();
    let ids = || reader.segments().unwrap().iter().map(|stat| stat.id).collect::<Vec<_>>();
    let before = ids();
    log.trim_before(stats(dir.path())[3].base_seq).unwrap();
    append(&log, 300);
    assert_eq!(ids(), before[3..]);
    let file = dir.path().join("00000000000000000007-9999.seg");
    fs::copy(segments(dir.path()).last().unwrap(), file).unwrap();
    // It is behind the end of an open log: about to be part of it, for all that can be known.
    assert_eq!(ids(), before[3..]);
    log.close().unwrap();
    assert_eq!(read(image(dir.path()).path()).unwrap_err().kind(), ErrorKind::NotALog);
}
