//! A coordination page that this machine made just now, in which something else may stand: what docs/format.md
//! says of `shared`, for the targets.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::case::Patch;
use crate::folder::{Folder, segments};
use crate::judge::{oddities, open};
use crate::second::format::{put, u64_at};
use crate::second::reader::{self, End};
use crate::second::script::Files;

pub const EPOCH: usize = 128;
pub const FIRST_SEQ: usize = 136;
pub const POISON: usize = 144;
pub const DIRECTORY: usize = 152;
pub const INTENT: usize = 160;
pub const DUE: usize = 168;
pub const ATTACHED: usize = 176;
pub const LOCK: usize = 256;
pub const END_TURN: usize = 384;
pub const ENDS: [usize; 2] = [392, 416];
pub const MARK_AT: usize = 440;
pub const MARKED_DURABLE: usize = 448;
pub const LAST_ID: usize = 456;
pub const DURABLE: usize = 512;
pub const NOTING: usize = 520;
pub const SYNCING: usize = 640;
/// A word of each of 256 participants.
pub const SYNCING_BYTES: usize = 2048;
/// Of the word `due`: the first append makes a fresh segment. So does whatever no version wrote.
const DUE_FRESH: u64 = 3;
/// What stands before says that the page is live, and is left alone.
const FORGED: usize = 128;
const PAGE_BYTES: usize = 4096;
const SEQ_MASK: u64 = (1 << 56) - 1;

/// What a page says.
#[derive(Debug)]
pub struct Page {
    pub epoch: u64,
    pub first_seq: u64,
    pub durable_seq: u64,
    pub end: End,
    /// The first append makes a segment of its own.
    pub fresh_due: bool,
    /// A sync failed, or nobody saw how it ended.
    pub in_doubt: bool,
}

impl Page {
    pub fn in_folder(path: &Path) -> Page {
        let bytes = fs::read(path.join("shared")).unwrap();
        let word = |at| u64_at(&bytes, at);
        let end = ENDS[word(END_TURN) as usize & 1];
        let syncing = bytes[SYNCING..SYNCING + SYNCING_BYTES].chunks_exact(8).any(is_odd);
        Page {
            epoch: word(EPOCH),
            first_seq: word(FIRST_SEQ),
            durable_seq: word(DURABLE) & SEQ_MASK,
            end: End { segment_id: word(end), offset: word(end + 8), seq: word(end + 16) },
            fresh_due: word(DUE) >= DUE_FRESH,
            in_doubt: syncing || word(POISON) != 0,
        }
    }
}

fn is_odd(word: &[u8]) -> bool {
    word[0] & 1 == 1
}

/// The log's directory with a live page: it says what is true of these files, as far as the second reader
/// can tell, and then what the patches make of that.
pub fn with_live_page(files: &Files, patches: &[Patch]) -> Folder {
    let folder = Folder::new();
    open(folder.path()).unwrap().close().unwrap();
    for name in segments(folder.path()).keys() {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let path = folder.path().join("shared");
    let mut bytes = fs::read(&path).unwrap();
    bytes[FORGED..].fill(0);
    if !oddities(files).any() {
        tell_the_truth(&mut bytes, &reader::read(files));
    }
    for Patch { at, bytes: with } in patches {
        let at = FORGED + *at as usize % (PAGE_BYTES - FORGED);
        let room = with.len().min(PAGE_BYTES - at);
        put(&mut bytes, at, &with[..room]);
    }
    // In place: another file would not be live.
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(&bytes))
        .unwrap();
    folder
}

/// Says that no sync failed and none is under way.
pub fn no_doubt() -> [Patch; 2] {
    [(POISON, 8), (SYNCING, SYNCING_BYTES)]
        .map(|(at, bytes)| Patch { at: (at - FORGED) as u64, bytes: vec![0; bytes] })
}

fn tell_the_truth(bytes: &mut [u8], reading: &reader::Reading) {
    let mut word = |at: usize, value: u64| put(bytes, at, &value.to_le_bytes());
    word(EPOCH, 1);
    word(FIRST_SEQ, reading.first_seq);
    for copy in ENDS {
        word(copy, reading.end.segment_id);
        word(copy + 8, reading.end.offset);
        word(copy + 16, reading.end.seq);
    }
    word(DURABLE, 1 << 56 | reading.durable_seq);
}
