//! LMDB: a B+ tree in a mapped file, one writer at a time.

use std::path::Path;

use heed::byteorder::BigEndian;
use heed::types::{Bytes, U64};
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RwTxn};

use crate::peer::{About, Peer, Setup, TRANSACTION, Threads};
use crate::records::{Batches, Feed};

pub struct Lmdb {
    env: Env,
    database: Database<'static, U64<BigEndian>, Bytes>,
}

/// The tree, its old pages and half-filled ones: far more than any run writes.
const MAP_BYTES: usize = 4 << 30;

impl Lmdb {
    fn next(&self, transaction: &RwTxn<'_>) -> u64 {
        let last = self.database.last(transaction).expect("a database");
        last.map_or(0, |(last, _)| last + 1)
    }

    fn put(&self, transaction: &mut RwTxn<'_>, number: u64, record: &[u8]) {
        self.database.put_with_flags(transaction, PutFlags::APPEND, &number, record).expect("room");
    }
}

impl Peer for Lmdb {
    const ABOUT: About = About {
        name: "LMDB",
        settings: "heed, `MDB_APPEND`, `MDB_NOSYNC`, 1,000 records a transaction; durable: without `MDB_NOSYNC`, a \
                   transaction each",
        lacks: "no checksum; one writer at a time; the size of the map is fixed beforehand",
        threads: Threads::Transactions,
    };

    fn open(dir: &Path, setup: Setup) -> Self {
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES);
        // SAFETY: the directory is the bench's own; without syncs only a power cut can harm it.
        let env = unsafe {
            if !setup.durable {
                options.flags(EnvFlags::NO_SYNC);
            }
            options.open(dir)
        };
        let env = env.expect("a database");
        let transaction = env.write_txn().expect("a transaction");
        let database = env
            .create_databases_and_commit(transaction, |opener, transaction| {
                opener.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
            })
            .expect("room");
        let database = database.unwrap_commit();
        Lmdb { env, database }
    }

    fn append_all(&mut self, records: &mut Feed) {
        self.append_beside(0, records);
    }

    fn append_batches(&mut self, batches: &mut Batches) {
        while let Some(batch) = batches.next() {
            let mut transaction = self.env.write_txn().expect("a transaction");
            let first = self.next(&transaction);
            for (number, record) in (first..).zip(&batch) {
                self.put(&mut transaction, number, record);
            }
            transaction.commit().expect("room");
        }
    }

    fn append_beside(&self, _thread: usize, records: &mut Feed) {
        let mut is_over = false;
        while !is_over {
            let mut transaction = self.env.write_txn().expect("a transaction");
            let first = self.next(&transaction);
            for number in first..first + TRANSACTION as u64 {
                let Some(record) = records.next() else {
                    is_over = true;
                    break;
                };
                self.put(&mut transaction, number, record);
            }
            transaction.commit().expect("room");
        }
    }

    fn append_durably(&self, _thread: usize, record: &[u8]) {
        let mut transaction = self.env.write_txn().expect("a transaction");
        let number = self.next(&transaction);
        self.put(&mut transaction, number, record);
        transaction.commit().expect("a working disk");
    }

    fn walk(&mut self, take: &mut impl FnMut(&[u8])) {
        let transaction = self.env.read_txn().expect("a transaction");
        for entry in self.database.iter(&transaction).expect("a database") {
            take(entry.expect("a record").1);
        }
    }

    fn get_all(&mut self, order: &[u64], take: &mut impl FnMut(&[u8])) {
        let transaction = self.env.read_txn().expect("a transaction");
        for number in order {
            take(self.database.get(&transaction, number).expect("a database").expect("a record"));
        }
    }

    fn close(self) {
        self.env.prepare_for_closing().wait();
    }
}
