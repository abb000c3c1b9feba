//! Damage is named exactly, passed, and never hidden.

use std::fs;
use std::path::Path;

use crate::support::{Ran, Scratch, numbered};

/// A log of "record 0" to "record 99", in one segment.
pub fn hundred(sync: bool) -> Scratch {
    let here = Scratch::new();
    let args: &[&str] = if sync { &["log", "--sync"] } else { &["log"] };
    here.append(args, &numbered(0..100));
    here
}

/// Changes one letter of a record's bytes.
pub fn rot(segment: &Path, record: u64) {
    let mut bytes = fs::read(segment).unwrap();
    let text = format!("record {record}\0");
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    bytes[at] = b'R';
    fs::write(segment, bytes).unwrap();
}

fn assert_lost(ran: &Ran, lost: &[&str], rest: &[u8]) {
    let told: Vec<_> = ran.stderr.lines().collect();
    assert_eq!(told.len(), lost.len(), "{}", ran.stderr);
    for (line, lost) in told.iter().zip(lost) {
        assert!(line.starts_with("maplog: damaged: "), "{line}");
        assert!(line.ends_with(&format!("; lost records {lost}")), "{line}");
    }
    assert!(ran.stdout == rest, "{}", ran.text());
    assert_eq!(ran.code, Some(1));
}

#[test]
fn damaged_records_are_named_and_all_others_written() {
    for sync in [true, false] {
        let here = hundred(sync);
        for record in [0, 40, 41, 60] {
            rot(&here.segments()[0], record);
        }
        let rest = [numbered(1..40), numbered(42..60), numbered(61..100)].concat();
        let lost = ["0..1", "40..42", "60..61"];
        assert_lost(&here.run(&["cat", "log"]), &lost, &rest);
        if sync {
            // As after a reboot, when nothing but the segments tells where the log ends.
            fs::remove_file(here.path().join("log/shared")).unwrap();
            assert_lost(&here.run(&["cat", "log"]), &lost, &rest);
        }
    }
}

#[test]
fn only_damage_that_was_asked_for_is_told() {
    let here = hundred(true);
    for record in [40, 41, 60] {
        rot(&here.segments()[0], record);
    }
    assert_eq!(here.cat(&["log", "--from", "42", "-n", "18"]), numbered(42..60));
    assert_eq!(here.cat(&["log", "-n", "40"]), numbered(0..40));
    let ran = here.run(&["cat", "log", "--from", "41", "-n", "2"]);
    assert_lost(&ran, &["41..42"], &numbered(42..43));
    let ran = here.run(&["cat", "log", "--from", "60", "-n", "1"]);
    assert_lost(&ran, &["60..61"], b"");
}

#[test]
fn a_missing_segment_is_named_and_passed() {
    let here = Scratch::new();
    here.append(&["log", "--segment-size", "16K", "--sync"], &numbered(0..1500));
    let segments = here.segments();
    let base = |index: usize| -> u64 {
        let name = segments[index].file_name().unwrap().to_str().unwrap();
        name.split_once('-').unwrap().0.parse().unwrap()
    };
    fs::remove_file(&segments[2]).unwrap();
    let rest = [numbered(0..base(2)), numbered(base(3)..1500)].concat();
    let lost = format!("{}..{}", base(2), base(3));
    assert_lost(&here.run(&["cat", "log"]), &[&lost], &rest);
}

#[test]
fn a_log_without_its_last_segment_is_damaged() {
    let here = Scratch::new();
    here.append(&["log", "--segment-size", "16K"], &numbered(0..1500));
    fs::remove_file(here.segments().pop().unwrap()).unwrap();
    here.run(&["cat", "log"]).assert_refused(1, "damaged: the segment that the log ends in");
}

#[test]
fn damage_is_told_even_if_nobody_reads_the_output() {
    let here = hundred(true);
    rot(&here.segments()[0], 1);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ran = Ran::from(here.command(&["cat", "log"]).stdout(writer).output().unwrap());
    assert_lost(&ran, &["1..2"], b"");
}
