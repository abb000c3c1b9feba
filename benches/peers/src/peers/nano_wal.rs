//! nano-wal: one `writev` for each append; who appends keeps the place of every record.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nano_wal::{ReadDescriptor, Wal, WalOptions, WriteEntry, read_batch};

use crate::peer::{About, Peer, Setup, Threads};
use crate::records::{Batches, Feed};

pub struct NanoWal {
    wal: Wal,
    now: i64,
    /// Of a frame: all records of a run are equally long.
    frame_bytes: usize,
}

const FILE_HEADER_BYTES: u64 = 16;
const FRAME_HEADER_BYTES: usize = 16;
/// What it joins into one system call.
const WALK_RECORDS: u64 = 512;
/// No run crosses the end of such a window but with bad luck.
const WINDOW: Duration = Duration::from_secs(30 * 24 * 3600);

impl NanoWal {
    fn place(&self, number: u64) -> u64 {
        FILE_HEADER_BYTES + number * self.frame_bytes as u64
    }
}

impl Peer for NanoWal {
    const ABOUT: About = About {
        name: "nano-wal",
        settings: "one segment (30 days), made before threads begin: those that race for it lose all they append; \
                   durable: its `durable` flag",
        lacks: "no checksum; no way to walk or find a record but by places that the user kept; one process",
        threads: Threads::Own,
    };

    fn open(dir: &Path, setup: Setup) -> Self {
        let options = WalOptions { retention: WINDOW, segment_duration: WINDOW };
        let wal = Wal::new(dir, "records", options).expect("a log");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis();
        let now = now as i64;
        // Threads that race for the first segment create the same file, and the loser removes it: all that
        // is appended then is lost.
        wal.ensure_segment(now).expect("a segment");
        NanoWal { wal, now, frame_bytes: FRAME_HEADER_BYTES + setup.size }
    }

    fn append_all(&mut self, records: &mut Feed) {
        self.append_beside(0, records);
    }

    fn append_batches(&mut self, batches: &mut Batches) {
        while let Some(batch) = batches.next() {
            let entries: Vec<WriteEntry<'_>> =
                batch.iter().map(|content| WriteEntry { header: None, content }).collect();
            self.wal.append_batch(&entries, self.now, false).expect("room");
        }
    }

    fn append_beside(&self, _thread: usize, records: &mut Feed) {
        while let Some(record) = records.next() {
            self.wal.append(None, record, self.now, false).expect("room");
        }
    }

    fn append_durably(&self, _thread: usize, record: &[u8]) {
        self.wal.append(None, record, self.now, true).expect("a working disk");
    }

    fn walk(&mut self, take: &mut impl FnMut(&[u8])) {
        let segment = self.wal.ensure_segment(self.now).expect("a segment");
        let count = (segment.file_size() - FILE_HEADER_BYTES) / self.frame_bytes as u64;
        let mut next = 0;
        while next < count {
            let to = count.min(next + WALK_RECORDS);
            let places: Vec<ReadDescriptor> = (next..to)
                .map(|number| ReadDescriptor {
                    read_fd: segment.read_fd().clone(),
                    file_offset: self.place(number),
                    byte_size: self.frame_bytes,
                })
                .collect();
            read_batch(&places).expect("records").iter().for_each(|record| take(&record.content));
            next = to;
        }
    }

    fn get_all(&mut self, order: &[u64], take: &mut impl FnMut(&[u8])) {
        let segment = self.wal.ensure_segment(self.now).expect("a segment");
        for number in order {
            let record = self.wal.read_at(&segment, self.place(*number), self.frame_bytes);
            take(&record.expect("a record").content);
        }
    }

    fn close(self) {
        self.wal.shutdown().expect("a working disk");
    }
}
