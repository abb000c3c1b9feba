//! What was done to each golden log: run by the crate to write it, and by a model written from
//! docs/format.md to say what its bytes must be.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use maplog::{Log, SyncPolicy};
use tempfile::TempDir;

use super::format::{
    BLOCK_BYTES, CREATED_AT, END, FIRST, Frame, HEADER_BYTES, Header, LAST, LOG_ID_AT, MARK,
    MIDDLE, REASON_FIRST, REASON_RECOVERY, REASON_ROLL, SALT_AT, SINGLE, Slot, file_name,
    frame_bytes, put, u64_at,
};
use crate::support;

/// One step. A segment is synced at most once between two openings of its log: how soon a second
/// sync writes a slot is a matter of time.
#[derive(Clone, Debug)]
pub enum Step {
    Append(Vec<u8>),
    Batch(Vec<Vec<u8>>),
    /// A record reserved in place, filled with these bytes, and given up.
    Abandon(Vec<u8>),
    Sync,
    /// Drops the last handle. (`close` would sync before, which may write a slot more: as above.)
    Close,
    /// Opens the log that was closed.
    Reopen,
    /// Opens what a power cut left of the log, here a copy of all its files.
    PowerCut,
}

pub const SEGMENT_BYTES: u64 = 16 * 1024;

/// The segment files of a log: name and bytes.
pub type Files = BTreeMap<String, Vec<u8>>;

pub fn files(log: &Path) -> Files {
    support::segments(log)
        .into_iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect()
}

/// What the crate makes of the steps.
pub fn run(first_seq: u64, steps: &[Step]) -> Files {
    // Nothing is synced but where a step says so.
    let options =
        Log::options().segment_bytes(SEGMENT_BYTES).first_seq(first_seq).sync(SyncPolicy::Manual);
    // SAFETY: nobody changes the files while the log is open.
    let open = |dir: &TempDir| unsafe { options.open(dir.path()) }.unwrap();
    let mut dir = support::tempdir();
    let mut log = Some(open(&dir));
    for step in steps {
        let handle = || log.as_ref().unwrap();
        match step {
            Step::Append(record) => drop(handle().append(record).unwrap()),
            Step::Batch(records) => drop(handle().append_batch(records).unwrap()),
            Step::Abandon(record) => {
                let mut writer = handle().writer().unwrap();
                writer.reserve(record.len()).unwrap().copy_from_slice(record);
            }
            Step::Sync => drop(handle().sync().unwrap()),
            Step::Close => drop(log.take()),
            Step::Reopen => log = Some(open(&dir)),
            Step::PowerCut => {
                let image = support::image(dir.path());
                log = Some(open(&image));
                dir = image;
            }
        }
    }
    files(dir.path())
}

/// What the document makes of them. What is drawn or read from a clock, it takes from `given`:
/// salts, the log's id, times; nothing else.
pub fn model(first_seq: u64, steps: &[Step], given: &Files) -> Files {
    let mut model = Model {
        given,
        files: Files::new(),
        name: String::new(),
        header: None,
        end: HEADER_BYTES,
        newest: None,
        epoch: 1,
        first_seq,
        next_seq: first_seq,
        durable_seq: first_seq,
        mark_at: 0,
        marked_durable: 0,
        noted: false,
        found: Found::Open,
    };
    model.new_segment(REASON_FIRST);
    for step in steps {
        model.step(step);
    }
    model.files
}

/// How the log was opened, until its first append.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Open,
    Closed,
    Unclean,
}

struct Model<'a> {
    given: &'a Files,
    files: Files,
    /// Of the last segment: its file's name, header, end, newest slot.
    name: String,
    header: Option<Header>,
    end: usize,
    newest: Option<Slot>,
    epoch: u64,
    first_seq: u64,
    next_seq: u64,
    durable_seq: u64,
    mark_at: usize,
    marked_durable: u64,
    /// A slot was written in this segment since the log was opened.
    noted: bool,
    found: Found,
}

impl Model<'_> {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Append(record) => {
                self.make_room(frame_bytes(record.len()));
                self.record(SINGLE, record, 0);
            }
            Step::Batch(records) => {
                self.make_room(records.iter().map(|record| frame_bytes(record.len())).sum());
                let mut first_crc = 0;
                for (index, record) in records.iter().enumerate() {
                    match index {
                        0 => first_crc = self.record(FIRST, record, 0),
                        _ if index + 1 == records.len() => {
                            self.record(LAST, record, first_crc);
                        }
                        _ => drop(self.record(MIDDLE, record, first_crc)),
                    }
                }
            }
            Step::Abandon(record) => {
                self.make_room(frame_bytes(record.len()));
                let at = self.end + 16;
                put(self.bytes(), at, record);
            }
            Step::Sync => {
                assert!(!self.noted, "the second sync of a segment is a matter of time");
                self.durable_seq = self.next_seq;
                self.slot(self.end, false);
            }
            Step::Close => {
                self.durable_seq = self.next_seq;
                self.slot(self.end, true);
            }
            Step::Reopen => self.found = Found::Closed,
            Step::PowerCut => {
                self.found = Found::Unclean;
                self.durable_seq = self.newest.unwrap().durable_seq;
            }
        }
    }

    fn bytes(&mut self) -> &mut [u8] {
        self.files.get_mut(&self.name).unwrap()
    }

    fn given(&self) -> &[u8] {
        self.given.get(&self.name).unwrap_or_else(|| panic!("the log has no file {}", self.name))
    }

    /// Rolls if `room` bytes of frames do not fit, and writes the mark that is due before them.
    fn make_room(&mut self, room: usize) {
        match std::mem::replace(&mut self.found, Found::Open) {
            Found::Open => {}
            Found::Closed => {
                self.slot(self.end, false);
                self.mark_at = 0;
            }
            Found::Unclean => {
                // What was found is synced first.
                self.durable_seq = self.next_seq;
                self.epoch += 1;
                self.new_segment(REASON_RECOVERY);
            }
        }
        if self.end + self.due_mark_bytes() + room + 16 > SEGMENT_BYTES as usize {
            let end = self.frame(END, &[]);
            let bytes = end.encode(self.salt(), 0).0;
            put(self.bytes(), end.offset, &bytes);
            self.new_segment(REASON_ROLL);
        }
        if self.due_mark_bytes() > 0 {
            let time = &self.given()[self.end + 16..self.end + 24];
            let payload = [time, &self.durable_seq.to_le_bytes()[..]].concat();
            let mark = self.frame(MARK, &payload);
            self.publish(&mark, 0);
            self.mark_at = self.end + 4096;
            self.marked_durable = self.durable_seq;
        }
    }

    fn due_mark_bytes(&self) -> usize {
        let due = self.end >= self.mark_at || self.marked_durable != self.durable_seq;
        if due { 32 } else { 0 }
    }

    fn salt(&self) -> u64 {
        self.header.as_ref().unwrap().salt
    }

    fn frame(&self, kind: u32, payload: &[u8]) -> Frame {
        Frame { offset: self.end, kind, seq: self.next_seq, payload: payload.to_vec() }
    }

    fn record(&mut self, kind: u32, payload: &[u8], first_crc: u32) -> u32 {
        let frame = self.frame(kind, payload);
        self.next_seq += 1;
        self.publish(&frame, first_crc)
    }

    /// The frame, and a zero word behind it.
    fn publish(&mut self, frame: &Frame, first_crc: u32) -> u32 {
        let (bytes, crc) = frame.encode(self.salt(), first_crc);
        put(self.bytes(), frame.offset, &bytes);
        put(self.bytes(), frame.next(), &[0; 4]);
        self.end = frame.next();
        crc
    }

    fn new_segment(&mut self, reason: u32) {
        let id = self.header.as_ref().map_or(1, |header| header.segment_id + 1);
        self.name = file_name(self.next_seq, id);
        // The second copy: the first of one golden log is harmed.
        let given = &self.given()[BLOCK_BYTES..];
        let header = Header {
            reason,
            log_id: given[LOG_ID_AT..LOG_ID_AT + 16].try_into().unwrap(),
            epoch: self.epoch,
            segment_id: id,
            base_seq: self.next_seq,
            salt: u64_at(given, SALT_AT),
            created_nanos: u64_at(given, CREATED_AT),
            segment_bytes: SEGMENT_BYTES,
        };
        let mut bytes = vec![0; SEGMENT_BYTES as usize];
        put(&mut bytes, 0, &header.encode());
        put(&mut bytes, BLOCK_BYTES, &header.encode());
        self.files.insert(self.name.clone(), bytes);
        self.header = Some(header);
        self.end = HEADER_BYTES;
        self.newest = None;
        self.mark_at = 0;
        let starts_here = self.durable_seq == self.next_seq;
        self.slot(if starts_here { HEADER_BYTES } else { 0 }, false);
        self.noted = false;
    }

    fn slot(&mut self, durable_offset: usize, closed: bool) {
        let slot = Slot {
            counter: self.newest.map_or(1, |slot| slot.counter + 1),
            epoch: self.epoch,
            durable_offset: durable_offset as u64,
            durable_seq: self.durable_seq,
            first_seq: self.first_seq,
            closed,
        };
        let encoded = slot.encode(self.salt());
        put(self.bytes(), Slot::offset(slot.counter), &encoded);
        self.newest = Some(slot);
        self.noted = true;
    }
}
