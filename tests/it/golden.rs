//! Golden files: logs written once, which every later version must read alike (G13).
//!
//! Salts, ids and times differ between logs, so the files in tests/golden/ bind reading: what stands
//! in tests/golden/NAME.txt. A model of the writer, made from docs/format.md alone, gives each file
//! byte for byte from the salts, ids and times in it: that binds the document, the files and the code.
//!
//! A new format version gets new files beside these. To write them anew all the same:
//! `cargo test --test it golden::writes_the_golden_files -- --ignored --exact`

mod compare;
mod document;
pub(crate) mod format;
mod reader;
mod script;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use maplog::{ErrorKind, Reader};

use self::format::{
    BLOCK_BYTES, HEADER_BYTES, MARK, MIDDLE, SECTOR_BYTES, SINGLE, SLOT_BYTES, Slot, VERSION_AT,
    put, u32_at, u64_at,
};
use self::script::{Files, Step, files, model, run};
use crate::support;

/// One golden log: what was done to it, and to its files afterwards.
struct Golden {
    name: &'static str,
    first_seq: u64,
    steps: Vec<Step>,
    harm: fn(&mut Files),
    /// What reading it must give.
    expected: &'static str,
}

fn append(record: &[u8]) -> Step {
    Step::Append(record.to_vec())
}

fn batch(records: &[&[u8]]) -> Step {
    Step::Batch(records.iter().map(|record| record.to_vec()).collect())
}

fn unharmed(_: &mut Files) {}

/// Singles, an empty one, a batch, marks, a roll; closed, opened, closed.
fn closed() -> Vec<Step> {
    let mut steps = vec![append(b"first"), append(b""), batch(&[b"alpha", b"", &[0xFF; 33]])];
    steps.extend([Step::Sync, append(b"sixteen bytes ok")]);
    steps.extend((0..9).map(|index| append(&[b'a' + index; 1000])));
    steps.extend([batch(&[b"left", b"right"]), Step::Close]);
    steps.extend([Step::Reopen, append(b"again"), Step::Close]);
    steps
}

/// Synced in the middle, and left with a reservation that nobody committed.
fn unclosed() -> Vec<Step> {
    vec![
        append(b"synced"),
        batch(&[b"one", b"two"]),
        Step::Sync,
        append(b"not synced"),
        Step::Abandon(vec![0xEE; 100]),
        append(b"not synced either"),
    ]
}

/// The same, found after a power cut and gone on with.
fn recovered() -> Vec<Step> {
    let mut steps = unclosed();
    steps.extend([Step::PowerCut, append(b"after the cut"), Step::Close]);
    steps
}

/// Two segments of records that `rot` then harms.
fn two_segments() -> Vec<Step> {
    let mut steps = vec![append(b"zero"), append(b"one"), append(b"two")];
    steps.extend([batch(&[b"three", b"four", b"five"]), append(b"six"), Step::Sync]);
    steps.extend([append(b"seven"), append(b"eight")]);
    steps.extend((0..4).map(|index| append(&[b'A' + index; 2500])));
    steps.push(Step::Close);
    steps
}

/// A record, a middle of a batch, a mark, a copy of a header, the older slot and the log's last record.
fn rot(files: &mut Files) {
    let mut segments = files.values_mut();
    let [one, two] = [segments.next().unwrap(), segments.next().unwrap()];
    let place = |kind, seq| place(one, kind, seq);
    let [record, middle, mark] = [place(SINGLE, 1), place(MIDDLE, 4), place(MARK, 7)];
    one[record + 16] ^= 0x20;
    one[middle + 4] ^= 0x01;
    one[mark + 16 + 8] ^= 0x80;
    one[..SECTOR_BYTES].fill(0);
    let last = self::place(two, SINGLE, 12);
    two[last + 16 + 2499] ^= 0x01;
    rot_slot(two, 1);
}

/// Synced once, and gone on with.
fn synced_once() -> Vec<Step> {
    let mut steps = vec![append(b"zero"), append(b"one"), append(b"two"), Step::Sync];
    steps.extend([append(b"three"), append(b"four"), append(b"five")]);
    steps
}

/// The slot that knew of the sync, so that only a mark does; a record below it and one above.
fn tear(files: &mut Files) {
    let segment = files.values_mut().next().unwrap();
    let [below, above] = [place(segment, SINGLE, 1), place(segment, SINGLE, 4)];
    segment[below + 16] ^= 0x01;
    segment[above + 16] ^= 0x01;
    rot_slot(segment, 2);
}

/// Where the frame of this kind and number begins.
fn place(segment: &[u8], kind: u32, seq: u64) -> usize {
    let is_it = |at: &usize| u32_at(segment, *at) >> 28 == kind && u64_at(segment, at + 8) == seq;
    (HEADER_BYTES..segment.len()).step_by(16).find(is_it).unwrap()
}

fn rot_slot(segment: &mut [u8], counter: u64) {
    let at = Slot::offset(counter);
    segment[at..at + SLOT_BYTES].fill(0xA5);
}

fn raise_version(files: &mut Files) {
    for segment in files.values_mut() {
        for block in [0, BLOCK_BYTES] {
            put(segment, block + VERSION_AT, &2_u32.to_le_bytes());
        }
    }
}

macro_rules! golden {
    ($name:literal, $first_seq:expr, $steps:expr, $harm:expr) => {
        Golden {
            name: $name,
            first_seq: $first_seq,
            steps: $steps,
            harm: $harm,
            expected: include_str!(concat!("../golden/", $name, ".txt")),
        }
    };
}

fn all() -> [Golden; 6] {
    [
        golden!("closed", 40, closed(), unharmed),
        golden!("unclosed", 0, unclosed(), unharmed),
        golden!("recovered", 0, recovered(), unharmed),
        golden!("damaged", 0, two_segments(), rot),
        golden!("torn", 0, synced_once(), tear),
        golden!("version-2", 0, vec![append(b"of another time"), Step::Close], raise_version),
    ]
}

impl Golden {
    fn path(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(self.name)
    }

    /// What the document makes of the log whose drawn values are those of `given`.
    fn model(&self, given: &Files) -> Files {
        let mut files = model(self.first_seq, &self.steps, given);
        (self.harm)(&mut files);
        files
    }

    fn written_now(&self) -> Files {
        let mut files = run(self.first_seq, &self.steps);
        (self.harm)(&mut files);
        files
    }
}

/// Everything that a log gives to who reads it, and to who opens it to append; a line each.
fn reading(log: &Path) -> String {
    let mut text = String::new();
    match support::read(log) {
        Ok(reader) => read_out(&reader, &mut text),
        Err(error) => writeln!(text, "reader: {:?}", error.kind()).unwrap(),
    }
    let copy = support::image(log);
    match support::open(copy.path()) {
        Ok(log) => {
            let found = log.recovery();
            let clean = if found.clean { "clean" } else { "unclean" };
            write!(text, "opened: {clean}, epoch {}, next {}", log.epoch(), log.next_seq())
                .unwrap();
            writeln!(text, ", durable {}, lost {:?}", log.durable_seq(), found.lost).unwrap();
            if let Some(cut) = found.cut {
                write!(text, "cut: segment {}, offset {}", cut.segment, cut.offset).unwrap();
                write!(text, ", {} bytes, {} records", cut.bytes, cut.records).unwrap();
                writeln!(text, ", {} segments", cut.segments).unwrap();
            }
            let mut own = String::new();
            read_out(&log.reader(), &mut own);
            assert!(text.starts_with(&own), "the appending process reads another log:\n{own}");
        }
        Err(error) => writeln!(text, "opened: {:?}", error.kind()).unwrap(),
    }
    text
}

fn read_out(reader: &Reader, text: &mut String) {
    let (first, next, durable) = (reader.first_seq(), reader.next_seq(), reader.durable_seq());
    writeln!(text, "reader: first {first}, next {next}, durable {durable}").unwrap();
    for item in reader {
        match item {
            Ok(record) => {
                writeln!(text, "{}: {}", record.seq(), summary(record.data())).unwrap();
            }
            Err(error) => {
                let lost = error.lost().unwrap_or_else(|| panic!("{error}"));
                writeln!(text, "lost: {lost:?}").unwrap();
            }
        }
    }
}

/// A payload in a few letters; long ones here are of one byte repeated.
fn summary(payload: &[u8]) -> String {
    match payload {
        [byte, rest @ ..] if rest.len() > 30 => {
            assert!(rest.iter().all(|other| other == byte), "more than one byte");
            format!("{} times {}", payload.len(), [*byte].escape_ascii())
        }
        _ => format!("\"{}\"", payload.escape_ascii()),
    }
}

fn assert_same(found: &Files, expected: &Files, what: &str) {
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "{what}");
    for (name, bytes) in found {
        let expected = &expected[name];
        assert_eq!(bytes.len(), expected.len(), "{what}: size of {name}");
        let differs = bytes.iter().zip(expected).position(|(one, other)| one != other);
        assert_eq!(differs, None, "{what}: first byte of {name} that differs");
    }
}

#[test]
fn golden_logs_read_as_they_always_did() {
    for golden in all() {
        let before = files(&golden.path());
        assert_eq!(reading(&golden.path()), golden.expected, "{}", golden.name);
        let left = fs::read_dir(golden.path()).unwrap().count();
        assert_eq!(left, before.len(), "reading {} made files", golden.name);
        assert_same(&files(&golden.path()), &before, golden.name);
    }
}

#[test]
fn the_document_gives_every_byte_of_the_golden_logs() {
    let mut segments = 0;
    for golden in all() {
        let found = files(&golden.path());
        assert_same(&found, &golden.model(&found), golden.name);
        segments += found.len();
    }
    assert_eq!(segments, 9);
}

#[test]
fn the_document_gives_every_byte_of_a_log_written_now() {
    for golden in all() {
        let found = golden.written_now();
        assert_same(&found, &golden.model(&found), golden.name);
    }
}

#[test]
fn a_log_of_another_version_is_refused_by_name() {
    let log = all().into_iter().find(|golden| golden.name == "version-2").unwrap().path();
    let error = support::read(&log).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedVersion);
    assert!(error.to_string().contains("expected version 1, found version 2"), "{error}");
}

/// Writes the golden files anew, for a change of this list; never to make a test pass. What reading
/// them must give is written by hand.
#[test]
#[ignore = "overwrites tests/golden"]
fn writes_the_golden_files() {
    for golden in all() {
        let _first_time = fs::remove_dir_all(golden.path());
        fs::create_dir_all(golden.path()).unwrap();
        for (name, bytes) in golden.written_now() {
            fs::write(golden.path().join(name), bytes).unwrap();
        }
    }
}
