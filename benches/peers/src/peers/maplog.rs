//! maplog: `Log::append`, and once more through `Log::writer`.

use std::path::Path;

use maplog::{Log, SyncPolicy};

use crate::peer::{About, Peer, Setup, Threads};
use crate::records::{Batches, Feed};

pub struct Maplog(Log);

impl Peer for Maplog {
    const ABOUT: About = About {
        name: "maplog",
        settings: "`Log::append`, defaults (synced each second, verified reads); durable: `SyncPolicy::Always`",
        lacks: "Linux on 64 bits only; its file is up to 24 MiB longer than its records; a bad disk block under a \
                mapped page is a SIGBUS",
        threads: Threads::Own,
    };

    fn open(dir: &Path, setup: Setup) -> Self {
        Maplog(open(dir, setup))
    }

    fn append_all(&mut self, records: &mut Feed) {
        self.append_beside(0, records);
    }

    fn append_batches(&mut self, batches: &mut Batches) {
        while let Some(batch) = batches.next() {
            self.0.append_batch(&batch).expect("room");
        }
    }

    fn append_beside(&self, _thread: usize, records: &mut Feed) {
        while let Some(record) = records.next() {
            self.0.append(record).expect("room");
        }
    }

    fn append_durably(&self, _thread: usize, record: &[u8]) {
        self.0.append(record).expect("a working disk");
    }

    fn walk(&mut self, take: &mut impl FnMut(&[u8])) {
        for record in &self.0.reader() {
            take(record.expect("a whole record").data());
        }
    }

    fn get_all(&mut self, order: &[u64], take: &mut impl FnMut(&[u8])) {
        let reader = self.0.reader();
        for seq in order {
            take(reader.get(*seq).expect("a whole record").expect("an appended one").data());
        }
    }

    fn close(self) {
        self.0.close().expect("a working disk");
    }
}

fn open(dir: &Path, setup: Setup) -> Log {
    let policy = if setup.durable { SyncPolicy::Always } else { SyncPolicy::default() };
    // SAFETY: the directory is the bench's own and nothing else changes it.
    unsafe { Log::options().sync(policy).open(dir.join("log")) }.expect("a log")
}

/// The append lock is taken once for all records. All else would be the same as without.
pub struct WithWriter(Log);

impl Peer for WithWriter {
    const ABOUT: About = About {
        name: "maplog-writer",
        settings: "the same through `Log::writer`, which holds the append lock",
        lacks: "",
        threads: Threads::No,
    };
    const ONLY_APPENDS: bool = true;

    fn open(dir: &Path, setup: Setup) -> Self {
        WithWriter(open(dir, setup))
    }

    fn append_all(&mut self, records: &mut Feed) {
        let mut writer = self.0.writer().expect("a free lock");
        while let Some(record) = records.next() {
            writer.append(record).expect("room");
        }
    }

    fn walk(&mut self, take: &mut impl FnMut(&[u8])) {
        for record in &self.0.reader() {
            take(record.expect("a whole record").data());
        }
    }

    fn close(self) {
        self.0.close().expect("a working disk");
    }
}
