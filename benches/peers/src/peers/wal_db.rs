//! wal-db: threads reserve their range of the file and write it with `pwrite`; syncs are shared.

use std::path::Path;

use wal_db::{Lsn, Wal};

use crate::peer::{About, Peer, Setup, Threads};
use crate::records::Feed;

pub struct WalDb {
    wal: Wal,
    places: Vec<Lsn>,
}

impl Peer for WalDb {
    const ABOUT: About = About {
        name: "wal-db",
        settings: "`Wal::open`, `append`; durable: `append_and_sync`",
        lacks: "one process; no batches; a bad record ends the log when it is opened, and what follows is cut",
        threads: Threads::Own,
    };
    const BATCHES: bool = false;

    fn open(dir: &Path, _setup: Setup) -> Self {
        WalDb { wal: Wal::open(dir.join("wal")).expect("a log"), places: Vec::new() }
    }

    fn append_all(&mut self, records: &mut Feed) {
        self.append_beside(0, records);
    }

    fn append_for_get(&mut self, records: &mut Feed) {
        while let Some(record) = records.next() {
            self.places.push(self.wal.append(record).expect("room"));
        }
    }

    fn append_beside(&self, _thread: usize, records: &mut Feed) {
        while let Some(record) = records.next() {
            let _place = self.wal.append(record).expect("room");
        }
    }

    fn append_durably(&self, _thread: usize, record: &[u8]) {
        let _place = self.wal.append_and_sync(record).expect("a working disk");
    }

    fn walk(&mut self, take: &mut impl FnMut(&[u8])) {
        for entry in self.wal.iter().expect("a log") {
            take(entry.expect("a record").data());
        }
    }

    fn get_all(&mut self, order: &[u64], take: &mut impl FnMut(&[u8])) {
        for number in order {
            let place = self.places[*number as usize];
            let entry = self.wal.iter_from(place).expect("a log").next().expect("a record");
            take(entry.expect("a record").data());
        }
    }
}
