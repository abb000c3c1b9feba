//! commitlog: segments written with `write`, an index in a mapped file for every record.

use std::path::Path;
use std::sync::Mutex;

use commitlog::message::{MessageBuf, MessageSet as _};
use commitlog::{LogOptions, ReadLimit};

use crate::peer::{About, Peer, Setup, Threads};
use crate::records::{Batches, Feed};

pub struct CommitLog {
    log: Mutex<commitlog::CommitLog>,
    size: usize,
}

/// Of a message.
const HEADER_BYTES: usize = 20;
const WALK_BYTES: usize = 1 << 20;

impl Peer for CommitLog {
    const ABOUT: About = About {
        name: "commitlog",
        settings: "default options; reads verify each message's hash, which reading alone does not",
        lacks: "never syncs its data (`flush` does not reach the disk); one process",
        threads: Threads::Mutex,
    };
    const SYNCS: bool = false;

    fn open(dir: &Path, setup: Setup) -> Self {
        let log = commitlog::CommitLog::new(LogOptions::new(dir.join("log"))).expect("a log");
        CommitLog { log: Mutex::new(log), size: setup.size }
    }

    fn append_all(&mut self, records: &mut Feed) {
        let log = self.log.get_mut().expect("no panic");
        while let Some(record) = records.next() {
            log.append_msg(record).expect("room");
        }
    }

    fn append_batches(&mut self, batches: &mut Batches) {
        let log = self.log.get_mut().expect("no panic");
        let mut messages = MessageBuf::default();
        while let Some(batch) = batches.next() {
            messages.clear();
            batch.iter().for_each(|record| messages.push(record).expect("a short record"));
            log.append(&mut messages).expect("room");
        }
    }

    fn append_beside(&self, _thread: usize, records: &mut Feed) {
        while let Some(record) = records.next() {
            self.log.lock().expect("no panic").append_msg(record).expect("room");
        }
    }

    fn walk(&mut self, take: &mut impl FnMut(&[u8])) {
        let log = self.log.get_mut().expect("no panic");
        let mut next = 0;
        loop {
            let messages = log.read(next, ReadLimit::max_bytes(WALK_BYTES)).expect("a log");
            if messages.is_empty() {
                return;
            }
            for message in messages.iter() {
                assert!(message.verify_hash(), "hash of {}", message.offset());
                take(message.payload());
                next = message.offset() + 1;
            }
        }
    }

    fn get_all(&mut self, order: &[u64], take: &mut impl FnMut(&[u8])) {
        let log = self.log.get_mut().expect("no panic");
        // It does not take a limit that the record just fits.
        let limit = ReadLimit::max_bytes(2 * (HEADER_BYTES + self.size));
        for offset in order {
            let messages = log.read(*offset, limit).expect("a log");
            let message = messages.iter().next().expect("a record");
            assert!(message.verify_hash(), "hash of {offset}");
            take(message.payload());
        }
    }
}
