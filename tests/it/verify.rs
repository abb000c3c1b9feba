//! Checking a log says what reading it gives: nothing of an intact one, exactly the records that are
//! lost of a damaged one, and where in which file.
#![allow(clippy::print_stdout)]

mod expected;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use maplog::{CutReport, ErrorKind, Result, Verification};

use crate::support::{
    END, Everything, MARK, SMALL, everything, flip, frames, image, killed_after, open, read,
    records, segment_id, segments, tempdir,
};
use crate::sweep::model::{Harm, Left, Model};
use crate::sweep::{Patient, cuts, flips, sweep};
use expected::{harmed, health};

/// Checks a log, and that the report agrees with itself and with what reading gives.
pub fn check(log: &Path) -> Verification {
    let all = verify(log).unwrap_or_else(|error| panic!("{error}"));
    let reader = read(log).unwrap();
    let Everything { records, lost } = everything(&reader);
    assert_eq!((all.first_seq, all.next_seq), (reader.first_seq(), reader.next_seq()));
    assert_eq!(all.records(), records.len() as u64);
    assert_eq!(all.lost, joined(lost));
    all
}

fn verify(log: &Path) -> Result<Verification> {
    let mut told = Vec::new();
    let all = maplog::verify(log, |done, total| told.push((done, total)));
    if all.is_ok() {
        let total = told[0].1;
        assert_eq!((told[0].0, told[told.len() - 1].0), (0, total), "{told:?}");
        assert!(told.is_sorted() && told.iter().all(|(_, all)| *all == total), "{told:?}");
    }
    all
}

fn joined(ranges: Vec<std::ops::Range<u64>>) -> Vec<std::ops::Range<u64>> {
    let mut joined: Vec<std::ops::Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}

fn file_bytes(file: &Path) -> u64 {
    fs::metadata(file).unwrap().len()
}

/// A closed log of four segments.
pub fn closed_log() -> (tempfile::TempDir, u64) {
    let dir = tempdir();
    let log = open(dir.path()).unwrap();
    let mut seq = 0;
    while log.stats().unwrap().segments < 4 || seq % 10 != 0 {
        seq = log.append(vec![seq as u8; 300]).unwrap() + 1;
    }
    log.close().unwrap();
    (dir, seq)
}

fn check_harmed(patient: &Patient<'_>, segment: usize, harm: Harm) {
    let model = patient.model;
    let case = format!("{:?} log, segment {segment}, {harm:?}", model.left);
    let expected = model.expected(segment, harm);
    patient.harm(segment, harm);
    let found = verify(patient.dir.path()).unwrap_or_else(|error| panic!("{error}: {case}"));
    patient.heal(segment, harm);

    assert_eq!((found.first_seq, found.next_seq), (0, expected.next_seq), "{case}");
    assert_eq!(found.lost, expected.lost, "{case}");
    let lost: u64 = expected.lost.iter().map(|range| range.end - range.start).sum();
    assert_eq!(found.records() + lost, expected.next_seq, "{case}");

    let later = expected.cut.map_or(0, |cut| cut.segments as usize);
    let (counting, behind) = model.segments.split_at(model.segments.len() - later);
    assert_eq!(found.segments.len(), counting.len(), "{case}");
    let mut cut = Vec::new();
    let mut intact = expected.lost.is_empty();
    for (index, (parsed, report)) in counting.iter().zip(&found.segments).enumerate() {
        let mut bytes = parsed.bytes.clone();
        if index == segment {
            bytes = harmed(&bytes, harm);
        }
        let health = health(model, index, &bytes, expected.cut);
        assert_eq!((report.id, report.base_seq), (parsed.id, parsed.share.start), "{case}");
        assert_eq!(report.file_bytes, bytes.len() as u64, "{case}");
        assert_eq!(report.damaged, health.damaged, "segment {index}: {case}");
        assert_eq!(report.spare_copy_damaged, health.spare_copy_damaged, "segment {index}: {case}");
        assert_eq!(report.unreadable.is_some(), health.unreadable, "segment {index}: {case}");
        intact &= health.damaged.is_empty() && !health.unreadable;
        cut.extend(health.cut.map(|range| (parsed.id, range)));
    }
    cut.extend(behind.iter().map(|parsed| (parsed.id, 0..parsed.bytes.len() as u64)));
    let found_cut: Vec<_> = found.cut.iter().map(|cut| (cut.segment, cut.bytes.clone())).collect();
    assert_eq!(found_cut, cut, "{case}");
    assert_eq!(found.is_intact(), intact, "{case}");
}

#[test]
fn a_flip_or_cut_is_located_to_the_byte_and_costs_what_reading_says() {
    let mut checked = 0;
    for left in [Left::Closed, Left::Open] {
        let model = Model::new(left);
        let harms = flips(left).step_by(9).chain(cuts(16));
        checked += sweep(harms, || Patient::new(&model), check_harmed);
    }
    println!("checked {checked} harmed logs");
    assert!(checked > 15_000);
}

#[test]
fn an_unharmed_log_is_intact_however_it_was_left() -> Result<()> {
    for left in [Left::Closed, Left::Open] {
        let model = Model::new(left);
        let patient = Patient::new(&model);
        let all = check(patient.dir.path());
        assert!(all.is_intact() && all.cut.is_empty(), "{all:?}");
        assert!(all.segments.iter().all(|segment| !segment.spare_copy_damaged));
        let used: Vec<_> = (0..3).map(|segment| model.used(segment) as u64).collect();
        assert_eq!(all.segments.iter().map(|one| one.used_bytes).collect::<Vec<_>>(), used);
    }
    let empty = tempdir();
    let log = open(empty.path())?;
    let all = check(empty.path());
    assert!(all.is_intact() && all.records() == 0 && all.cut.is_empty(), "{all:?}");
    log.close()?;
    assert!(check(empty.path()).is_intact());
    assert!(check(image(empty.path()).path()).is_intact());
    Ok(())
}

#[test]
fn a_log_is_intact_while_another_process_appends_and_after_its_death() {
    let dir = tempdir();
    let mut child = crate::support::child(
        "support::appends_until_it_dies",
        &[("LOG", dir.path().to_str().unwrap())],
    );
    let mut drain = child.stdout.take().unwrap();
    let drained = std::thread::spawn(move || std::io::copy(&mut drain, &mut std::io::sink()));
    while segments(dir.path()).is_empty() {
        std::thread::yield_now();
    }
    let (mut seen, mut rounds) = (0, 0);
    while rounds < 30 || seen < 1000 {
        let all = verify(dir.path()).unwrap();
        assert!(all.is_intact() && all.cut.is_empty(), "{all:?}");
        assert!(all.segments.iter().all(|segment| !segment.spare_copy_damaged), "{all:?}");
        assert!(all.next_seq >= seen && all.records() == all.next_seq, "{all:?}");
        (seen, rounds) = (all.next_seq, rounds + 1);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    drained.join().unwrap().unwrap();
    let all = check(dir.path());
    assert!(all.is_intact() && all.cut.is_empty(), "{all:?}");
    println!("checked {rounds} times while {seen} records were appended");
}

/// On a live page all that was committed counts, so nothing is torn.
#[test]
fn rot_in_what_a_killed_process_left_is_damage_and_located() {
    let dir = tempdir();
    killed_after(dir.path(), 700);
    let files = segments(dir.path());
    assert!(files.len() > 1);
    let mut flips = 0;
    // The last may have been made just before the kill.
    for file in files[..2].iter().chain(files.last()) {
        for frame in frames(&fs::read(file).unwrap()).iter().step_by(7) {
            if frame.kind == END {
                continue;
            }
            flip(file, frame.offset + 8);
            let all = check(dir.path());
            let report = all.segments.iter().find(|one| one.id == segment_id(file)).unwrap();
            let bytes = frame.offset as u64..frame.next() as u64;
            assert_eq!(report.damaged, [bytes]);
            // A mark is no record.
            let lost = frame.seq..frame.seq + u64::from(frame.kind != MARK);
            assert_eq!(all.lost, joined(vec![lost]));
            assert!(!all.is_intact() && all.cut.is_empty(), "{all:?}");
            flip(file, frame.offset + 8);
            flips += 1;
        }
    }
    assert!(flips > 50);
    assert!(check(dir.path()).is_intact());
}

#[test]
fn a_mark_without_a_record_behind_it_is_no_cut_tail() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path())?;
    let mut writer = log.writer()?;
    writer.reserve(100).map(drop)?;
    drop(writer);
    log.close()?;
    let last = frames(&fs::read(&segments(dir.path())[0]).unwrap()).pop().unwrap();
    assert_eq!(last.kind, MARK);
    let copy = image(dir.path());
    let all = check(copy.path());
    assert!(all.is_intact() && all.cut.is_empty(), "{all:?}");
    assert_eq!(all.segments[0].used_bytes, last.next() as u64);

    // And before an end frame, in a segment that was rolled.
    let log = open(dir.path())?;
    let mut big = vec![1; 4000];
    while log.stats()?.segments == 1 {
        log.writer()?.reserve(3000).map(drop)?;
        log.append(&big)?;
        big.truncate(3500);
    }
    log.close()?;
    let all = check(image(dir.path()).path());
    assert!(all.is_intact() && all.cut.is_empty(), "{all:?}");
    Ok(())
}

#[test]
fn a_missing_segment_is_lost_without_a_damaged_byte() {
    let (log, next_seq) = closed_log();
    let files = segments(log.path());
    let base = |file: &PathBuf| -> u64 {
        file.file_name().unwrap().to_str().unwrap()[..20].parse().unwrap()
    };
    for missing in 0..3 {
        let copy = image(log.path());
        fs::remove_file(&segments(copy.path())[missing]).unwrap();
        let all = check(copy.path());
        let lost = base(&files[missing])..base(&files[missing + 1]);
        assert_eq!(all.lost, [lost]);
        assert!(all.segments.iter().all(|one| one.damaged.is_empty()), "{all:?}");
        assert!(!all.is_intact() && all.cut.is_empty());
    }
    // What the last held cannot be known.
    let copy = image(log.path());
    fs::remove_file(&segments(copy.path())[3]).unwrap();
    let all = check(copy.path());
    assert!(all.is_intact() && all.next_seq == base(&files[3]) && all.next_seq < next_seq);
}

#[test]
fn a_segment_without_header_says_why_nothing_can_be_read() {
    let (log, _) = closed_log();
    for index in 0..4 {
        let copy = image(log.path());
        let file = &segments(copy.path())[index];
        flip(file, 100);
        assert!(check(copy.path()).segments[index].spare_copy_damaged);
        flip(file, 4096 + 200);
        let all = check(copy.path());
        let report = &all.segments[index];
        let why = report.unreadable.as_deref().unwrap();
        assert!(why.contains("neither copy of the segment's header is whole"), "{why}");
        let share = report.base_seq..report.end_seq;
        assert_eq!(report.lost, [share]);
        assert_eq!((report.records, &all.lost), (0, &report.lost));
        assert!(!all.is_intact());
    }
}

#[test]
fn what_a_power_cut_left_behind_the_end_is_cut_and_stays_so() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path())?;
    for seq in 0..200_u64 {
        log.append(vec![seq as u8; 300])?;
    }
    let cut = image(dir.path());
    drop(log);
    // A gap that was never synced: the later segments go with what is behind it.
    let files = segments(cut.path());
    assert!(files.len() > 4);
    let torn = records(&files[1])[3];
    flip(&files[1], torn.payload_at());
    let all = check(cut.path());
    let tail = CutRange { segment: 2, bytes: torn.offset as u64..used(&files[1]) };
    let whole = |index: usize| CutRange {
        segment: segment_id(&files[index]),
        bytes: 0..file_bytes(&files[index]),
    };
    let expected: Vec<_> = [tail].into_iter().chain((2..files.len()).map(whole)).collect();
    assert!(all.is_intact());
    assert_eq!(all.cut.iter().map(CutRange::from).collect::<Vec<_>>(), expected);
    // The same once appending went on, with the fresh segment part of the log.
    let log = open(cut.path())?;
    log.append(b"goes on")?;
    for log in [cut.path(), image(cut.path()).path()] {
        let all = check(log);
        assert!(all.is_intact());
        assert_eq!(all.cut.iter().map(CutRange::from).collect::<Vec<_>>(), expected);
        assert_eq!(all.segments.len(), 3);
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct CutRange {
    segment: u64,
    bytes: std::ops::Range<u64>,
}

impl From<&CutReport> for CutRange {
    fn from(cut: &CutReport) -> Self {
        CutRange { segment: cut.segment, bytes: cut.bytes.clone() }
    }
}

fn used(file: &Path) -> u64 {
    frames(&fs::read(file).unwrap()).last().unwrap().next() as u64
}

#[test]
fn a_segment_of_another_log_is_an_error_wherever_it_lies() {
    let [(log, _), (other, _)] = [closed_log(), closed_log()];
    for index in 0..4 {
        let copy = image(log.path());
        let ours = &segments(copy.path())[index];
        fs::copy(&segments(other.path())[index], ours).unwrap();
        let error = verify(copy.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotALog, "segment {index}: {error}");
    }
}

/// Neither torn nor damaged: every read of a verification fails once.
#[test]
fn a_read_that_fails_is_an_error_and_never_damage() {
    let (log, _) = closed_log();
    let copy = image(log.path());
    let outcomes: Mutex<[usize; 2]> = Mutex::default();
    for file in segments(copy.path()) {
        for nth in 1.. {
            let inject = format!("inject=pread64:error=EIO:when={nth}");
            let file = file.to_str().unwrap();
            let arguments = ["-o", "/dev/null", "-P", file, "-e", "trace=pread64", "-e", &inject];
            let role = "verify::verifies_and_tells";
            let Some(done) = crate::strace::strace(&arguments, role, copy.path()) else { return };
            let said = String::from_utf8_lossy(&done.stdout).into_owned();
            assert!(done.status.success(), "no panic, no signal: {said} {done:?}");
            let failed = said.contains("kind Io");
            assert!(failed || said.contains("as if nothing was"), "pread {nth}: {said}");
            outcomes.lock().unwrap()[usize::from(failed)] += 1;
            if !failed && nth > 10 {
                break;
            }
        }
    }
    let [unharmed, failed] = *outcomes.lock().unwrap();
    println!("{failed} failing reads were errors, {unharmed} had a twin or were not reached");
    assert!(failed > 20);
}

#[test]
#[ignore = "a child"]
fn verifies_and_tells() {
    let path = std::env::var("LOG").unwrap();
    match maplog::verify(&path, |_, _| {}) {
        Err(error) => println!("kind {:?}: {error}", error.kind()),
        Ok(all) => {
            let spare = all.segments.iter().any(|segment| segment.spare_copy_damaged);
            assert!(all.is_intact() && !spare && all.cut.is_empty(), "{all:?}");
            println!("as if nothing was");
        }
    }
}

#[test]
fn what_is_no_log_is_an_error() {
    let dir = tempdir();
    assert_eq!(verify(dir.path()).unwrap_err().kind(), ErrorKind::NotALog);
    assert_eq!(verify(&dir.path().join("no")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert_eq!(SMALL, 16 * 1024);
}

/// Where a reader, which looks only at what it needs, still finds all its records.
#[test]
fn what_opening_would_refuse_is_refused_although_the_page_is_live() {
    let (log, next_seq) = closed_log();
    let second = fs::read(&segments(log.path())[1]).unwrap();
    for (base, id) in [(next_seq, 5), (next_seq + 50, 2), (9, 2)] {
        let stray = log.path().join(format!("{base:020}-{id}.seg"));
        fs::write(&stray, &second).unwrap();
        assert_eq!(verify(log.path()).unwrap_err().kind(), ErrorKind::NotALog, "{stray:?}");
        assert_eq!(open(log.path()).unwrap_err().kind(), ErrorKind::NotALog, "{stray:?}");
        fs::remove_file(stray).unwrap();
    }
    assert!(check(log.path()).is_intact());
}
