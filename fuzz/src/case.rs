//! What a fuzzer's bytes mean to `open_bytes`: the files of a log, byte for byte, but for runs of zeros; what
//! its page says; and what is done with it. Any bytes are a case; what is missing is zero.

use crate::second::format::file_name;
use crate::second::script::Files;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    pub files: Files,
    /// If there is a live page: what it says beside the truth.
    pub page: Option<Vec<Patch>>,
    /// What is appended after opening: lengths.
    pub appends: Vec<u8>,
    /// Which records are asked for.
    pub gets: Vec<u8>,
}

/// Bytes that stand elsewhere, or otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    pub at: u64,
    pub bytes: Vec<u8>,
}

pub const MAX_FILES: usize = 4;
pub const MAX_FILE_BYTES: usize = 64 * 1024;
const MAX_LIST: usize = 32;
/// No name of a segment has a higher base.
pub const MAX_BASE: u64 = (1 << 56) - 2;
/// So many zeros in a row are not written down.
const RUN_OF_ZEROS: usize = 8;

/// Little-endian numbers of 1, 2 and 8 bytes; zero behind the end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn number(&mut self, bytes: usize) -> u64 {
        let (head, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        head.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn short(&mut self) -> usize {
        self.number(2) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let (head, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        head.to_vec()
    }

    fn list(&mut self) -> Vec<u8> {
        let count = self.number(1) as usize;
        self.bytes(count.min(MAX_LIST))
    }

    fn file(&mut self) -> (String, Vec<u8>) {
        let (base, id) = (self.number(8).min(MAX_BASE), self.number(8));
        let mut bytes = vec![0; (self.number(4) as usize).min(MAX_FILE_BYTES)];
        let mut at = 0;
        for _ in 0..self.short() {
            at += self.short();
            let count = self.short();
            let run = self.bytes(count);
            let from = at.min(bytes.len());
            let room = run.len().min(bytes.len() - from);
            bytes[from..from + room].copy_from_slice(&run[..room]);
            at += run.len();
        }
        (file_name(base, id), bytes)
    }
}

impl Case {
    pub fn decode(bytes: &[u8]) -> Case {
        let mut from = Input(bytes);
        let files = (from.number(1) as usize).min(MAX_FILES);
        let patches = from.number(1) as usize;
        Case {
            files: (0..files).map(|_| from.file()).collect(),
            page: (patches > 0).then(|| {
                let patches = (patches - 1).min(MAX_LIST);
                (0..patches).map(|_| Patch { at: from.number(2), bytes: from.list() }).collect()
            }),
            appends: from.list(),
            gets: from.list(),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut into = Vec::new();
        into.push(self.files.len() as u8);
        into.push(self.page.as_ref().map_or(0, |patches| 1 + patches.len() as u8));
        for (name, bytes) in &self.files {
            let (base, id) = base_and_id(name);
            into.extend([base, id].map(u64::to_le_bytes).concat());
            into.extend((bytes.len() as u32).to_le_bytes());
            let runs = runs(bytes);
            into.extend((runs.len() as u16).to_le_bytes());
            let mut end = 0;
            for (from, to) in runs {
                into.extend(
                    [from - end, to - from].map(|number| (number as u16).to_le_bytes()).concat(),
                );
                into.extend(&bytes[from..to]);
                end = to;
            }
        }
        for patch in self.page.iter().flatten() {
            into.extend((patch.at as u16).to_le_bytes());
            list(&mut into, &patch.bytes);
        }
        list(&mut into, &self.appends);
        list(&mut into, &self.gets);
        into
    }
}

fn list(into: &mut Vec<u8>, bytes: &[u8]) {
    let count = bytes.len().min(MAX_LIST);
    into.push(count as u8);
    into.extend(&bytes[..count]);
}

pub fn base_and_id(name: &str) -> (u64, u64) {
    let (base, id) = name.strip_suffix(".seg").unwrap().split_once('-').unwrap();
    (base.parse().unwrap(), id.parse().unwrap())
}

/// Where the bytes are that are not zeros in a row. Neither a run nor a gap is too long for 16 bits, since no
/// file is longer than that: 64 KiB at the most, and the first run begins at the magic.
fn runs(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for at in (0..bytes.len()).filter(|at| bytes[*at] != 0) {
        match runs.last_mut() {
            Some((from, to)) if at - *to < RUN_OF_ZEROS && at - *from < 0xFFFF => *to = at + 1,
            _ => runs.push((at, at + 1)),
        }
    }
    runs
}
