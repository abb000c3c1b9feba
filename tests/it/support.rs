//! What the tests share: logs on a real disk, a second reading of the format written from
//! docs/format.md alone, images as a power cut leaves them, child processes.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use maplog::{Log, Reader, Result};
use tempfile::TempDir;

/// The smallest segment, so that rolling happens all the time.
pub const SMALL: u64 = 16 * 1024;
/// Where frames begin.
pub const DATA_START: usize = 8192;

/// A directory on the file system of the build, which is a real one; /tmp may be tmpfs, which hides
/// what a full disk does.
pub fn tempdir() -> TempDir {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(target).unwrap();
    tempfile::tempdir_in(target).unwrap()
}

pub fn open(path: impl AsRef<Path>) -> Result<Log> {
    // SAFETY: tests change files only while no handle is alive.
    unsafe { Log::options().segment_bytes(SMALL).open(path) }
}

pub fn read(path: impl AsRef<Path>) -> Result<Reader> {
    // SAFETY: as for `open`.
    unsafe { Reader::open(path) }
}

/// Everything a reader gives: records, and the ranges of those it reports lost.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Everything {
    pub records: Vec<(u64, Vec<u8>)>,
    pub lost: Vec<std::ops::Range<u64>>,
}

pub fn everything(reader: &Reader) -> Everything {
    let mut all = Everything::default();
    for item in reader {
        match item {
            Ok(record) => all.records.push((record.seq(), record.data().to_vec())),
            Err(error) => all.lost.push(error.lost().unwrap_or_else(|| panic!("{error}"))),
        }
    }
    all
}

/// The segment files of a log, in ascending order of their ids.
pub fn segments(log: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(log)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    files.sort_by_key(|path| segment_id(path));
    files
}

pub fn segment_id(path: &Path) -> u64 {
    let stem = path.file_stem().unwrap().to_str().unwrap();
    stem.split_once('-').unwrap().1.parse().unwrap()
}

/// A copy of a log's files as they are now: to maplog, what a power cut leaves, since the coordination
/// page is not live in it.
pub fn image(log: &Path) -> TempDir {
    let copy = tempdir();
    copy_folder(log, copy.path());
    copy
}

/// Copies the files of a folder, and of those in it.
pub fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, to) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_file() {
            fs::copy(entry.path(), to).unwrap();
        } else if kind.is_dir() {
            fs::create_dir(&to).unwrap();
            copy_folder(&entry.path(), &to);
        }
    }
}

/// A frame as docs/format.md describes it, read without the crate's own code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub offset: usize,
    pub kind: u8,
    pub len: usize,
    pub seq: u64,
}

pub const SINGLE: u8 = 1;
pub const FIRST: u8 = 2;
pub const MIDDLE: u8 = 3;
pub const LAST: u8 = 4;
pub const END: u8 = 5;
pub const MARK: u8 = 6;

impl Frame {
    pub fn is_record(&self) -> bool {
        matches!(self.kind, SINGLE | FIRST | MIDDLE | LAST)
    }

    pub fn payload_at(&self) -> usize {
        self.offset + 16
    }

    pub fn next(&self) -> usize {
        (self.offset + 16 + self.len).next_multiple_of(16)
    }
}

/// The frames of a segment's bytes, up to the first zero commit word or the end frame.
pub fn frames(segment: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut offset = DATA_START;
    while offset + 16 <= segment.len() {
        let word = u32::from_le_bytes(segment[offset..offset + 4].try_into().unwrap());
        let seq = u64::from_le_bytes(segment[offset + 8..offset + 16].try_into().unwrap());
        let frame =
            Frame { offset, kind: (word >> 28) as u8, len: (word & 0x0FFF_FFFF) as usize, seq };
        if word == 0 {
            break;
        }
        frames.push(frame);
        if frame.kind == END {
            break;
        }
        offset = frame.next();
    }
    frames
}

/// The record frames of a segment file.
pub fn records(segment: &Path) -> Vec<Frame> {
    frames(&fs::read(segment).unwrap()).into_iter().filter(Frame::is_record).collect()
}

/// Flips the lowest bit of one byte of a file.
pub fn flip(file: &Path, offset: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[offset] ^= 1;
    fs::write(file, bytes).unwrap();
}

/// Puts `bytes` at `offset` of a file.
pub fn patch(file: &Path, offset: usize, with: &[u8]) {
    let mut bytes = fs::read(file).unwrap();
    bytes[offset..offset + with.len()].copy_from_slice(with);
    fs::write(file, bytes).unwrap();
}

/// This test binary again, running only the ignored test `role`, as a process of its own.
pub fn child(role: &str, settings: &[(&str, &str)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", role, "--ignored", "--nocapture", "--test-threads", "1"])
        .envs(settings.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs a child that appends at least `records` records to the log and is killed.
pub fn killed_after(log: &Path, records: usize) {
    use std::io::BufRead;
    let mut child = child("support::appends_until_it_dies", &[("LOG", log.to_str().unwrap())]);
    let out = std::io::BufReader::new(child.stdout.take().unwrap());
    let told =
        out.lines().map_while(std::result::Result::ok).filter(|line| line.starts_with("seq "));
    assert_eq!(told.take(records).count(), records);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
#[ignore = "a child"]
fn appends_until_it_dies() {
    use std::io::Write;
    let log = open(std::env::var("LOG").unwrap()).unwrap();
    loop {
        let seq = log.append(format!("record {}", log.next_seq())).unwrap();
        writeln!(std::io::stdout(), "seq {seq}").unwrap();
    }
}

/// Says which seed plays a failure again, and by which setting.
pub struct NamedOnFailure(pub &'static str, pub u64);

impl Drop for NamedOnFailure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("failed with {}={}", self.0, self.1);
        }
    }
}
