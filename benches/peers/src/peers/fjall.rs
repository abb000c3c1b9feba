//! fjall: a log-structured tree with a journal.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::peer::{About, Peer, Setup, Threads};
use crate::records::{Batches, Feed};

pub struct Fjall {
    database: Database,
    log: Keyspace,
    next: AtomicU64,
}

impl Fjall {
    fn key(&self) -> [u8; 8] {
        self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes()
    }
}

impl Peer for Fjall {
    const ABOUT: About = About {
        name: "fjall",
        settings: "default options, `insert` under the record's number; durable: `persist(SyncData)` after each",
        lacks: "one process; a record is written to the journal, and later again to the tree",
        threads: Threads::Own,
    };

    fn open(dir: &Path, _setup: Setup) -> Self {
        let database = Database::builder(dir.join("fjall")).open().expect("a database");
        let log = database.keyspace("log", KeyspaceCreateOptions::default).expect("a keyspace");
        let last = log.last_key_value().map(|last| last.key().expect("a key"));
        let next = last.map_or(0, |last| {
            u64::from_be_bytes(last.as_ref().try_into().expect("eight bytes")) + 1
        });
        Fjall { database, log, next: next.into() }
    }

    fn append_all(&mut self, records: &mut Feed) {
        self.append_beside(0, records);
    }

    fn append_batches(&mut self, batches: &mut Batches) {
        while let Some(batch) = batches.next() {
            let mut write = self.database.batch();
            batch.iter().for_each(|record| write.insert(&self.log, self.key(), *record));
            write.commit().expect("room");
        }
    }

    fn append_beside(&self, _thread: usize, records: &mut Feed) {
        while let Some(record) = records.next() {
            self.log.insert(self.key(), record).expect("room");
        }
    }

    fn append_durably(&self, _thread: usize, record: &[u8]) {
        self.log.insert(self.key(), record).expect("room");
        self.database.persist(PersistMode::SyncData).expect("a working disk");
    }

    fn walk(&mut self, take: &mut impl FnMut(&[u8])) {
        for guard in self.log.iter() {
            take(&guard.value().expect("a record"));
        }
    }

    fn get_all(&mut self, order: &[u64], take: &mut impl FnMut(&[u8])) {
        for number in order {
            take(&self.log.get(number.to_be_bytes()).expect("a tree").expect("a record"));
        }
    }
}
