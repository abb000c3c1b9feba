//! raft-engine: TiKV's log of many Raft groups. Each thread appends to a group of its own.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use protobuf::descriptor::UninterpretedOption;
use raft_engine::{Config, Engine, LogBatch, MessageExt};

use crate::peer::{About, Peer, Setup, Threads};
use crate::records::{Batches, Feed};

pub struct RaftEngine {
    engine: Engine,
    /// The index of the next record of each group; they start at 1.
    next: Vec<AtomicU64>,
}

const GROUPS: usize = 64;

/// It wants protobuf messages with a number and bytes. This one comes with the protobuf crate; Raft's own
/// entries would have to be generated.
struct Numbered;

impl MessageExt for Numbered {
    type Entry = UninterpretedOption;

    fn index(entry: &UninterpretedOption) -> u64 {
        entry.get_positive_int_value()
    }
}

fn group(thread: usize) -> u64 {
    assert!(thread < GROUPS, "a group for each thread");
    thread as u64 + 1
}

impl RaftEngine {
    fn add(&self, batch: &mut LogBatch, thread: usize, record: &[u8]) {
        let index = self.next[thread].fetch_add(1, Ordering::Relaxed);
        let mut entry = UninterpretedOption::new();
        entry.set_positive_int_value(index);
        entry.set_string_value(record.to_vec());
        batch.add_entries::<Numbered>(group(thread), &[entry]).expect("a short record");
    }
}

impl Peer for RaftEngine {
    const ABOUT: About = About {
        name: "raft-engine",
        settings: "default options; a batch of one entry for each record; durable: written with `sync`; a Raft \
                   group for each thread",
        lacks: "one process; an index entry in memory for each record; reading copies and parses protobuf",
        threads: Threads::Own,
    };

    fn open(dir: &Path, _setup: Setup) -> Self {
        let dir = dir.join("engine").to_str().expect("a path of characters").to_owned();
        let engine = Engine::open(Config { dir, ..Config::default() }).expect("an engine");
        let next = |thread| engine.last_index(group(thread)).map_or(1, |last| last + 1).into();
        RaftEngine { next: (0..GROUPS).map(next).collect(), engine }
    }

    fn append_all(&mut self, records: &mut Feed) {
        self.append_beside(0, records);
    }

    fn append_batches(&mut self, batches: &mut Batches) {
        let mut log_batch = LogBatch::with_capacity(256);
        while let Some(batch) = batches.next() {
            batch.iter().for_each(|record| self.add(&mut log_batch, 0, record));
            self.engine.write(&mut log_batch, false).expect("room");
        }
    }

    fn append_beside(&self, thread: usize, records: &mut Feed) {
        let mut batch = LogBatch::with_capacity(16);
        while let Some(record) = records.next() {
            self.add(&mut batch, thread, record);
            self.engine.write(&mut batch, false).expect("room");
        }
    }

    fn append_durably(&self, thread: usize, record: &[u8]) {
        let mut batch = LogBatch::with_capacity(16);
        self.add(&mut batch, thread, record);
        self.engine.write(&mut batch, true).expect("a working disk");
    }

    fn walk(&mut self, take: &mut impl FnMut(&[u8])) {
        const STEP: u64 = 4096;
        let mut entries = Vec::new();
        for group in self.engine.raft_groups() {
            let Some(mut next) = self.engine.first_index(group) else { continue };
            let end = self.engine.last_index(group).expect("a first has a last") + 1;
            while next < end {
                let to = end.min(next + STEP);
                self.engine
                    .fetch_entries_to::<Numbered>(group, next, to, None, &mut entries)
                    .expect("entries");
                entries.drain(..).for_each(|entry| take(entry.get_string_value()));
                next = to;
            }
        }
    }

    fn get_all(&mut self, order: &[u64], take: &mut impl FnMut(&[u8])) {
        for number in order {
            let entry = self.engine.get_entry::<Numbered>(group(0), number + 1).expect("an engine");
            take(entry.expect("a record").get_string_value());
        }
    }
}
