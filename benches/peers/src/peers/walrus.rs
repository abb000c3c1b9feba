//! Walrus: topics in files of 1 GiB, and cursors that readers move.

use std::path::Path;

use walrus_rust::{FsyncSchedule, ReadConsistency};

use crate::peer::{About, Peer, Setup, Threads};
use crate::records::{Batches, Feed};

pub struct Walrus(walrus_rust::Walrus);

const TOPIC: &str = "records";
const WALK_BYTES: usize = 1 << 20;

impl Peer for Walrus {
    const ABOUT: About = About {
        name: "walrus",
        settings: "the default backend (`pwrite`, io_uring for batches), synced each 200 ms, cursor not persisted; \
                   durable: `FsyncSchedule::SyncEach`",
        lacks: "one process; readers only go forward, so there is no get",
        threads: Threads::Own,
    };
    const GETS: bool = false;

    fn open(dir: &Path, setup: Setup) -> Self {
        // SAFETY: a run's process has one thread when it opens its peer.
        unsafe {
            std::env::set_var("WALRUS_DATA_DIR", dir);
            std::env::set_var("WALRUS_QUIET", "1");
        }
        let consistency = ReadConsistency::AtLeastOnce { persist_every: u32::MAX };
        let schedule = match setup.durable {
            true => FsyncSchedule::SyncEach,
            false => FsyncSchedule::Milliseconds(200),
        };
        let walrus = walrus_rust::Walrus::with_consistency_and_schedule(consistency, schedule);
        Walrus(walrus.expect("a log"))
    }

    fn append_all(&mut self, records: &mut Feed) {
        self.append_beside(0, records);
    }

    fn append_batches(&mut self, batches: &mut Batches) {
        while let Some(batch) = batches.next() {
            self.0.batch_append_for_topic(TOPIC, &batch).expect("room");
        }
    }

    fn append_beside(&self, _thread: usize, records: &mut Feed) {
        while let Some(record) = records.next() {
            self.0.append_for_topic(TOPIC, record).expect("room");
        }
    }

    fn append_durably(&self, _thread: usize, record: &[u8]) {
        self.0.append_for_topic(TOPIC, record).expect("a working disk");
    }

    fn walk(&mut self, take: &mut impl FnMut(&[u8])) {
        loop {
            let batch = self.0.batch_read_for_topic(TOPIC, WALK_BYTES, true).expect("a log");
            if batch.is_empty() {
                return;
            }
            batch.iter().for_each(|entry| take(&entry.data));
        }
    }
}
