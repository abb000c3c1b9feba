//! redb: a copy-on-write B-tree in one file.

use std::path::Path;

use redb::{Database, Durability, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::peer::{About, Peer, Setup, TRANSACTION, Threads};
use crate::records::{Batches, Feed};

pub struct Redb(Database);

const LOG: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("log");

impl Redb {
    /// One transaction; says how many it appended.
    fn append(
        &self,
        durability: Durability,
        mut next: impl FnMut(&mut dyn FnMut(&[u8])) -> bool,
    ) -> usize {
        let mut transaction = self.0.begin_write().expect("a transaction");
        transaction.set_durability(durability).expect("a fresh transaction");
        let mut count = 0;
        {
            let mut table = transaction.open_table(LOG).expect("a table");
            let last = table.last().expect("a table").map(|(key, _)| key.value());
            let mut number = last.map_or(0, |last| last + 1);
            let mut insert = |record: &[u8]| {
                table.insert(number, record).expect("room");
                number += 1;
                count += 1;
            };
            while next(&mut insert) {}
        }
        transaction.commit().expect("a working disk");
        count
    }
}

impl Peer for Redb {
    const ABOUT: About = About {
        name: "redb",
        settings: "1,000 records a transaction with `Durability::None`, and one `Immediate` at the end, without which a \
                   kill would take all; durable: `Immediate`, a transaction each",
        lacks: "one process; checksums are looked at when it is repaired, not when it is read",
        threads: Threads::Transactions,
    };

    fn open(dir: &Path, _setup: Setup) -> Self {
        let redb = Redb(Database::create(dir.join("log.redb")).expect("a database"));
        // Else each opening would be charged with a sync.
        let is_new = redb.0.begin_read().expect("a transaction").open_table(LOG).is_err();
        if is_new {
            redb.append(Durability::Immediate, |_| false);
        }
        redb
    }

    fn append_all(&mut self, records: &mut Feed) {
        self.append_beside(0, records);
    }

    fn append_batches(&mut self, batches: &mut Batches) {
        while let Some(batch) = batches.next() {
            let mut batch = batch.iter();
            self.append(Durability::None, |insert| {
                batch.next().map(|record| insert(record)).is_some()
            });
        }
        self.append(Durability::Immediate, |_| false);
    }

    fn append_beside(&self, _thread: usize, records: &mut Feed) {
        let mut is_over = false;
        while !is_over {
            let mut left = TRANSACTION;
            self.append(Durability::None, |insert| {
                if left == 0 {
                    return false;
                }
                left -= 1;
                match records.next() {
                    Some(record) => insert(record),
                    None => is_over = true,
                }
                !is_over
            });
        }
        self.append(Durability::Immediate, |_| false);
    }

    fn append_durably(&self, _thread: usize, record: &[u8]) {
        let mut record = Some(record);
        self.append(Durability::Immediate, |insert| record.take().map(insert).is_some());
    }

    fn walk(&mut self, take: &mut impl FnMut(&[u8])) {
        let transaction = self.0.begin_read().expect("a transaction");
        let table = transaction.open_table(LOG).expect("a table");
        for entry in table.iter().expect("a table") {
            take(entry.expect("a record").1.value());
        }
    }

    fn get_all(&mut self, order: &[u64], take: &mut impl FnMut(&[u8])) {
        let transaction = self.0.begin_read().expect("a transaction");
        let table = transaction.open_table(LOG).expect("a table");
        for number in order {
            take(table.get(number).expect("a table").expect("a record").value());
        }
    }
}
