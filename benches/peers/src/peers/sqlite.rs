//! SQLite in WAL mode: a table of numbers and blobs.

use std::path::Path;
use std::sync::Mutex;

use rusqlite::{Connection, Transaction};

use crate::peer::{About, Peer, Setup, TRANSACTION, Threads};
use crate::records::{Batches, Feed};

pub struct Sqlite(Mutex<Connection>);

const INSERT: &str = "INSERT INTO log (data) VALUES (?1)";

/// Appends a thousand, or fewer if there are no more; false then.
fn append_some(connection: &mut Connection, records: &mut Feed) -> bool {
    let transaction = connection.transaction().expect("a transaction");
    let mut count = 0;
    while count < TRANSACTION {
        let Some(record) = records.next() else { break };
        insert(&transaction, record);
        count += 1;
    }
    transaction.commit().expect("room");
    count == TRANSACTION
}

fn insert(transaction: &Transaction<'_>, record: &[u8]) {
    let mut statement = transaction.prepare_cached(INSERT).expect("a table");
    statement.execute([record]).expect("room");
}

impl Peer for Sqlite {
    const ABOUT: About = About {
        name: "SQLite",
        settings: "`journal_mode=WAL`, `synchronous=NORMAL`, 1,000 records a transaction, prepared statements, \
                   synced at each checkpoint (1,000 pages); \
                   durable: `synchronous=FULL`, a transaction each",
        lacks: "no checksum on pages that were read back into the database; one writer",
        threads: Threads::Mutex,
    };

    fn open(dir: &Path, setup: Setup) -> Self {
        let connection = Connection::open(dir.join("log.db")).expect("a database");
        let synchronous = if setup.durable { "FULL" } else { "NORMAL" };
        connection
            .execute_batch(&format!(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous};
                 CREATE TABLE IF NOT EXISTS log (seq INTEGER PRIMARY KEY, data BLOB NOT NULL)"
            ))
            .expect("a table");
        Sqlite(Mutex::new(connection))
    }

    fn append_all(&mut self, records: &mut Feed) {
        let connection = self.0.get_mut().expect("no panic");
        while append_some(connection, records) {}
    }

    fn append_batches(&mut self, batches: &mut Batches) {
        let connection = self.0.get_mut().expect("no panic");
        while let Some(batch) = batches.next() {
            let transaction = connection.transaction().expect("a transaction");
            batch.iter().for_each(|record| insert(&transaction, record));
            transaction.commit().expect("room");
        }
    }

    fn append_beside(&self, _thread: usize, records: &mut Feed) {
        while append_some(&mut self.0.lock().expect("no panic"), records) {}
    }

    fn append_durably(&self, _thread: usize, record: &[u8]) {
        let connection = self.0.lock().expect("no panic");
        let mut statement = connection.prepare_cached(INSERT).expect("a table");
        statement.execute([record]).expect("a working disk");
    }

    fn walk(&mut self, take: &mut impl FnMut(&[u8])) {
        let connection = self.0.get_mut().expect("no panic");
        let mut statement = connection.prepare("SELECT data FROM log ORDER BY seq").expect("it");
        let mut rows = statement.query([]).expect("rows");
        while let Some(row) = rows.next().expect("a row") {
            take(row.get_ref(0).expect("a column").as_blob().expect("a blob"));
        }
    }

    fn get_all(&mut self, order: &[u64], take: &mut impl FnMut(&[u8])) {
        let connection = self.0.get_mut().expect("no panic");
        let mut statement =
            connection.prepare_cached("SELECT data FROM log WHERE seq = ?1").expect("a table");
        for number in order {
            let mut rows = statement.query([*number as i64 + 1]).expect("rows");
            let row = rows.next().expect("a database").expect("a row");
            take(row.get_ref(0).expect("a column").as_blob().expect("a blob"));
        }
    }

    fn close(self) {
        self.0.into_inner().expect("no panic").close().expect("a working disk");
    }
}
