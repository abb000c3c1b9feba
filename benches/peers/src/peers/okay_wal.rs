//! OkayWAL: entries of chunks; committing an entry syncs, and threads share their syncs.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use okaywal::{
    Configuration, Entry, EntryId, LogManager, LogPosition, SegmentReader, WriteAheadLog,
};

use crate::peer::{About, Peer, Setup, TRANSACTION, Threads};
use crate::records::{Batches, Feed};

pub struct OkayWal {
    /// None only while it is opened again.
    log: Option<WriteAheadLog>,
    path: PathBuf,
    setup: Setup,
    recovered: Recovered,
    places: Vec<LogPosition>,
}

type Recovered = Arc<Mutex<Vec<Vec<u8>>>>;

/// It gives records back only while it is opened; who uses it puts them into a store of his own.
#[derive(Debug)]
struct Keep(Recovered);

impl LogManager for Keep {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        let chunks = entry.read_all_chunks()?.unwrap_or_default();
        self.0.lock().expect("no panic").extend(chunks);
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _last: EntryId,
        _entries: &mut SegmentReader,
        _wal: &WriteAheadLog,
    ) -> io::Result<()> {
        panic!("a checkpoint would remove what was appended")
    }
}

impl OkayWal {
    fn start(&mut self) {
        self.recovered.lock().expect("no panic").clear();
        let configuration = Configuration::default_for(&self.path)
            .preallocate_bytes(self.setup.bytes() as u32)
            .checkpoint_after_bytes(u64::MAX);
        let log = configuration.open(Keep(self.recovered.clone())).expect("a log");
        self.log = Some(log);
    }

    fn log(&self) -> &WriteAheadLog {
        self.log.as_ref().expect("open")
    }
}

impl Peer for OkayWal {
    const ABOUT: About = About {
        name: "okaywal",
        settings: "preallocated (zeros are written when it is opened), no checkpoint; an entry of 1,000 chunks, \
                   synced, where the row is not about durability; one chunk an entry where it is",
        lacks: "no append without a sync; one process; all is read, and lent once, when it is opened",
        threads: Threads::Transactions,
    };

    fn open(dir: &Path, setup: Setup) -> Self {
        let path = dir.join("wal");
        let (recovered, places) = (Recovered::default(), Vec::new());
        let mut wal = OkayWal { log: None, path, setup, recovered, places };
        wal.start();
        wal
    }

    fn append_all(&mut self, records: &mut Feed) {
        self.append_beside(0, records);
    }

    fn append_for_get(&mut self, records: &mut Feed) {
        let mut places = std::mem::take(&mut self.places);
        let mut entry = self.log().begin_entry().expect("an entry");
        while let Some(record) = records.next() {
            places.push(entry.write_chunk(record).expect("room").position);
        }
        entry.commit().expect("a working disk");
        self.places = places;
    }

    fn append_batches(&mut self, batches: &mut Batches) {
        while let Some(batch) = batches.next() {
            let mut entry = self.log().begin_entry().expect("an entry");
            for record in batch {
                entry.write_chunk(record).expect("room");
            }
            entry.commit().expect("a working disk");
        }
    }

    fn append_beside(&self, _thread: usize, records: &mut Feed) {
        let mut is_over = false;
        while !is_over {
            let mut entry = self.log().begin_entry().expect("an entry");
            for _ in 0..TRANSACTION {
                let Some(record) = records.next() else {
                    is_over = true;
                    break;
                };
                entry.write_chunk(record).expect("room");
            }
            entry.commit().expect("a working disk");
        }
    }

    fn append_durably(&self, _thread: usize, record: &[u8]) {
        let mut entry = self.log().begin_entry().expect("an entry");
        entry.write_chunk(record).expect("room");
        entry.commit().expect("a working disk");
    }

    fn walk(&mut self, take: &mut impl FnMut(&[u8])) {
        if let Some(log) = self.log.take() {
            log.shutdown().expect("no panic");
        }
        self.start();
        self.recovered.lock().expect("no panic").iter().for_each(|record| take(record));
    }

    fn get_all(&mut self, order: &[u64], take: &mut impl FnMut(&[u8])) {
        let mut record = Vec::new();
        for number in order {
            let place = self.places[*number as usize];
            let mut reader = self.log().read_at(place).expect("a record");
            record.resize(reader.chunk_length() as usize, 0);
            reader.read_exact(&mut record).expect("a record");
            assert!(reader.crc_is_valid().expect("a record"), "CRC of {number}");
            take(&record);
        }
    }

    fn close(mut self) {
        self.log.take().expect("open").shutdown().expect("no panic");
    }
}
