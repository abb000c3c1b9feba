//! A stream longer than the caches: what is appended is new to the cache of who appends, and what comes is new
//! to that of who reads. Pages are touched before.
//!
//! Appending, reading behind, and both at once in two threads; beside a bare mapping and a bare checked walk in
//! the same run. Every byte is compared, or summed up and the sums compared.
#![allow(missing_docs, unreachable_pub, clippy::print_stdout)]

mod common;

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use maplog::{Log, SyncPolicy, Tail};
use memmap2::MmapOptions;
use rustix::mm::Advice;

use common::bare::{Walk, crc32fast, two_passes, walk_log};
use common::touch::{segment_of, touch};
use common::{Payloads, Settings, check, print_table};

const SIZES: [usize; 4] = [64, 256, 1024, 4096];
/// Far beyond what a core keeps for itself.
const RUN_BYTES: u64 = 128 << 20;

fn main() {
    let settings = Settings::from_args().with_run_bytes(RUN_BYTES);
    let dir = common::tempdir();
    settings.print("Stream", dir.path());
    // Appended, received, both at once.
    let mut tables = [const { Vec::new() }; 3];
    for size in Settings::sizes(&SIZES) {
        let mut figures = [vec![Vec::new(); 2], vec![Vec::new(); 3], vec![Vec::new(); 2]];
        for _ in 0..settings.rounds {
            let run = Run { size, count: settings.records(size), payloads: Payloads::new(size) };
            let (_, bare) = two_passes(dir.path(), &settings, size, crc32fast);
            let [appended, walked, received, batched] =
                run.one_after_the_other(dir.path(), &settings);
            let at_once = run.at_once(dir.path(), &settings);
            let round = [bare.whole, appended, walked, received, batched, appended, at_once];
            for (figure, found) in figures.iter_mut().flatten().zip(round) {
                figure.push(found);
            }
        }
        for (table, figures) in tables.iter_mut().zip(figures) {
            table.push((format!("{size} B"), figures));
        }
    }
    let [appends, reads, both] = tables;
    print_table("ns a record appended (ratio to bare)", &["bare", "`writer().append`"], &appends);
    let kinds = ["bare checked walk", "`try_recv`", "`try_recv_batch(64 KiB)`"];
    print_table("ns a record received behind that (ratio to bare)", &kinds, &reads);
    let kinds = ["alone", "while another thread receives each, until it has the last"];
    print_table("ns a record appended and received (ratio to appending alone)", &kinds, &both);
}

struct Run {
    size: usize,
    count: u64,
    payloads: Payloads,
}

impl Run {
    /// Appending, a bare walk over that, receiving one by one and in batches.
    fn one_after_the_other(&self, dir: &Path, settings: &Settings) -> [f64; 4] {
        let path = dir.join("log");
        let (log, mut one) = self.open(&path, settings);
        let mut many = log.reader().tail_from(0);
        let appended = self.time(|| self.append_all(&log));
        let file = File::open(segment_of(&path)).expect("the log's segment");
        let map = MmapOptions::new().populate().map_raw_read_only(&file).expect("address space");
        let mut walk = Walk::default();
        let walked = self.time(|| walk = walk_log(&map, crc32fast));
        let received = self.time(|| assert_eq!(self.receive_all(&mut one), walk));
        let batched = self.time(|| {
            let mut found = Walk::default();
            while found.records < self.count {
                let batch = many.try_recv_batch(64 << 10).expect("whole records");
                batch.expect("records").for_each(|record| found.add(record.seq(), record.data()));
            }
            assert_eq!(found, walk);
        });
        check(&log.reader(), self.count, &self.payloads);
        drop((one, many, log));
        std::fs::remove_dir_all(path).expect("its own directory");
        [appended, walked, received, batched]
    }

    fn at_once(&self, dir: &Path, settings: &Settings) -> f64 {
        let path = dir.join("log");
        let (log, mut tail) = self.open(&path, settings);
        let mut found = Walk::default();
        let took = self.time(|| {
            std::thread::scope(|scope| {
                scope.spawn(|| found = self.receive_all(&mut tail));
                self.append_all(&log);
            });
        });
        let mut appended = Walk::default();
        (0..self.count).for_each(|seq| appended.add(seq, self.payloads.of(seq)));
        assert_eq!(found, appended);
        check(&log.reader(), self.count, &self.payloads);
        drop((tail, log));
        std::fs::remove_dir_all(path).expect("its own directory");
        took
    }

    /// A log of one segment, whose pages are touched for an appender and for the tail.
    #[allow(unsafe_code)]
    fn open(&self, path: &Path, settings: &Settings) -> (Log, Tail) {
        let options =
            Log::options().sync(SyncPolicy::Manual).segment_bytes(settings.segment_bytes());
        // SAFETY: the directory is the bench's own. `touch` makes a file longer by zeros, as the log does.
        let log = unsafe { options.open(path) }.expect("a new log");
        // It has a mapping when it has looked.
        let mut tail = log.reader().tail_from(0);
        assert!(tail.try_recv().expect("a log").is_none());
        log.writer().expect("a free lock").reserve(self.size).expect("room");
        touch(path, Advice::LinuxPopulateWrite);
        touch(path, Advice::LinuxPopulateRead);
        (log, tail)
    }

    fn append_all(&self, log: &Log) {
        let mut writer = log.writer().expect("a free lock");
        for seq in 0..self.count {
            writer.append(self.payloads.of(seq)).expect("room");
        }
    }

    fn receive_all(&self, tail: &mut Tail) -> Walk {
        let mut found = Walk::default();
        while found.records < self.count {
            match tail.try_recv().expect("whole records") {
                Some(record) => found.add(record.seq(), record.data()),
                None => std::hint::spin_loop(),
            }
        }
        found
    }

    fn time(&self, work: impl FnOnce()) -> f64 {
        let start = Instant::now();
        work();
        start.elapsed().as_nanos() as f64 / self.count as f64
    }
}
