//! SIMD R Drive: keys and values in one appended file, mapped for reading.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use simd_r_drive::DataStore;
use simd_r_drive::traits::{DataStoreReader as _, DataStoreWriter as _};

use crate::peer::{About, Peer, Setup, Threads};
use crate::records::{Batches, Feed};

pub struct SimdRDrive {
    store: DataStore,
    next: AtomicU64,
}

impl SimdRDrive {
    fn key(&self) -> [u8; 8] {
        self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes()
    }
}

impl Peer for SimdRDrive {
    const ABOUT: About = About {
        name: "simd-r-drive",
        settings: "`write` under the record's number; reads verify the checksum, which reading alone does not",
        lacks: "never syncs; one process; opening reads all; it walks from the newest record backwards",
        threads: Threads::Own,
    };
    const SYNCS: bool = false;

    fn open(dir: &Path, _setup: Setup) -> Self {
        let store = DataStore::open(&dir.join("store")).expect("a store");
        let next = AtomicU64::new(store.len().expect("a store") as u64);
        SimdRDrive { store, next }
    }

    fn append_all(&mut self, records: &mut Feed) {
        self.append_beside(0, records);
    }

    fn append_batches(&mut self, batches: &mut Batches) {
        while let Some(batch) = batches.next() {
            let keys: Vec<[u8; 8]> = batch.iter().map(|_| self.key()).collect();
            let entries: Vec<(&[u8], &[u8])> =
                keys.iter().zip(&batch).map(|(key, record)| (&key[..], *record)).collect();
            self.store.batch_write(&entries).expect("room");
        }
    }

    fn append_beside(&self, _thread: usize, records: &mut Feed) {
        while let Some(record) = records.next() {
            self.store.write(&self.key(), record).expect("room");
        }
    }

    fn walk(&mut self, take: &mut impl FnMut(&[u8])) {
        for entry in self.store.iter_entries() {
            assert!(entry.is_valid_checksum(), "checksum at {}", entry.start_offset());
            take(entry.as_slice());
        }
    }

    fn get_all(&mut self, order: &[u64], take: &mut impl FnMut(&[u8])) {
        for number in order {
            let entry = self.store.read(&number.to_be_bytes()).expect("a store");
            let entry = entry.expect("a record");
            assert!(entry.is_valid_checksum(), "checksum of {number}");
            take(entry.as_slice());
        }
    }
}
