//! What a consensus library does to its log, at random, beside a naive twin: append, cut the newest,
//! drop all, trim the oldest, close, lose the power. G2, G4, G9; attacks 2, 7, 17, 31, 43, 44.
//!
//! `MAPLOG_RAFT_SEEDS=1000` runs that many logs; `MAPLOG_RAFT_SEED=17` only that one.

mod storage;

use fastrand::Rng;
use maplog::{ErrorKind, Log, Reader, SyncPolicy, Tail};
use tempfile::TempDir;

use crate::support::{NamedOnFailure, SMALL, everything, image, read, segments, tempdir};
use crate::twin::cut::{New, lose_sectors};

const SEEDS: u64 = 50;
const OPERATIONS: usize = 400;

#[test]
fn a_raft_like_workload_leaves_what_the_naive_twin_has() {
    let setting = |name| std::env::var(name).ok().map(|value: String| value.parse().unwrap());
    let only: Option<u64> = setting("MAPLOG_RAFT_SEED");
    let count = setting("MAPLOG_RAFT_SEEDS").unwrap_or(SEEDS);
    let mut done = Done::default();
    for seed in only.map_or(0..count, |seed| seed..seed + 1) {
        let named = NamedOnFailure("MAPLOG_RAFT_SEED", seed);
        let mut twin = Twin::new(seed);
        (0..OPERATIONS).for_each(|_| twin.operation());
        twin.compare();
        done.operations += OPERATIONS;
        done.cuts += twin.done.cuts;
        done.resets += twin.done.resets;
        done.trims += twin.done.trims;
        done.images += twin.done.images;
        done.removed += twin.done.removed;
        done.rewound += twin.done.rewound;
        drop(named);
    }
    println!("{done:?}");
    if only.is_none() {
        assert!(done.cuts > 500 && done.resets > 50 && done.trims > 200, "{done:?}");
        assert!(done.images > 200 && done.removed > 300 && done.rewound > 100, "{done:?}");
    }
}

#[derive(Debug, Default)]
struct Done {
    operations: usize,
    cuts: usize,
    resets: usize,
    trims: usize,
    images: usize,
    removed: usize,
    rewound: usize,
}

struct Twin {
    rng: Rng,
    home: TempDir,
    log: Option<Log>,
    first_seq: u64,
    records: Vec<Vec<u8>>,
    /// The files as they were when everything was durable.
    synced: TempDir,
    durable: u64,
    /// A view, and what it holds.
    old: Option<(Reader, u64, Vec<Vec<u8>>)>,
    tail: Tail,
    done: Done,
}

fn open_at(path: &std::path::Path) -> Log {
    let options = Log::options().segment_bytes(SMALL).sync(SyncPolicy::Manual);
    // SAFETY: only this test touches the directory, and only through maplog.
    unsafe { options.open(path) }.unwrap()
}

impl Twin {
    fn new(seed: u64) -> Self {
        let home = tempdir();
        let log = open_at(home.path());
        let (synced, tail) = (image(home.path()), log.reader().tail_from(0));
        Twin {
            rng: Rng::with_seed(seed),
            home,
            log: Some(log),
            first_seq: 0,
            records: Vec::new(),
            synced,
            durable: 0,
            old: None,
            tail,
            done: Done::default(),
        }
    }

    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    fn next_seq(&self) -> u64 {
        self.first_seq + self.records.len() as u64
    }

    fn operation(&mut self) {
        match self.rng.u32(0..100) {
            0..45 => self.append(),
            45..55 => self.truncate_from(),
            55..58 => self.reset(),
            58..66 => self.trim_before(),
            66..72 => self.sync(),
            72..77 => self.reopen(),
            77..83 => self.lose_power(),
            83..88 => self.look_at_an_old_reader(),
            88..95 => self.follow(),
            _ => self.compare(),
        }
        let log = self.log();
        assert_eq!((log.first_seq(), log.next_seq()), (self.first_seq, self.next_seq()));
        assert!(self.durable <= log.durable_seq() && log.durable_seq() <= self.next_seq());
    }

    fn append(&mut self) {
        let count = self.rng.usize(1..8);
        let records: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                let len = if self.rng.u8(..20) == 0 { 1000 } else { self.rng.usize(..200) };
                (0..len).map(|_| self.rng.u8(..)).collect()
            })
            .collect();
        let next_seq = self.next_seq();
        if self.rng.bool() {
            let seqs = self.log().append_batch(&records).unwrap();
            assert_eq!(seqs, next_seq..next_seq + count as u64);
        } else {
            for (seq, record) in (next_seq..).zip(&records) {
                assert_eq!(self.log().append(record).unwrap(), seq);
            }
        }
        self.records.extend(records);
    }

    /// Everything is on the disk now.
    fn is_durable(&mut self) {
        self.durable = self.next_seq();
        self.synced = image(self.home.path());
    }

    fn sync(&mut self) {
        assert_eq!(self.log().sync().unwrap(), self.next_seq());
        self.is_durable();
    }

    fn truncate_from(&mut self) {
        let epoch = self.log().epoch();
        if self.first_seq > 0 && self.rng.u8(..8) == 0 {
            let error = self.log().truncate_from(self.first_seq - 1).unwrap_err();
            assert_eq!((error.kind(), error.seq()), (ErrorKind::Trimmed, Some(self.first_seq)));
        }
        let seq = self.rng.u64(self.first_seq..=self.next_seq() + 3);
        self.log().truncate_from(seq).unwrap();
        if seq >= self.next_seq() {
            assert_eq!(self.log().epoch(), epoch, "there was nothing to cut");
            return;
        }
        self.records.truncate((seq - self.first_seq) as usize);
        assert!(self.log().epoch() > epoch);
        assert_eq!(self.log().durable_seq(), seq);
        self.is_durable();
        self.done.cuts += 1;
    }

    fn reset(&mut self) {
        let epoch = self.log().epoch();
        let next_seq = match self.rng.u8(..3) {
            0 => self.next_seq() + self.rng.u64(..100),
            _ => self.rng.u64(..=self.next_seq()),
        };
        self.log().reset(next_seq).unwrap();
        (self.first_seq, self.records) = (next_seq, Vec::new());
        assert!(self.log().epoch() > epoch);
        assert_eq!(segments(self.home.path()).len(), 1, "nothing of before is kept");
        self.is_durable();
        self.done.resets += 1;
    }

    fn trim_before(&mut self) {
        let seq = self.rng.u64(self.first_seq.saturating_sub(5)..=self.next_seq() + 5);
        let files = segments(self.home.path()).len();
        let first = seq.clamp(self.first_seq, self.next_seq());
        assert_eq!(self.log().trim_before(seq).unwrap(), first);
        self.records.drain(..(first - self.first_seq) as usize);
        self.first_seq = first;
        self.done.trims += 1;
        self.done.removed += files - segments(self.home.path()).len();
        // What was durable stays so, less what was trimmed.
        self.sync();
    }

    fn reopen(&mut self) {
        let epoch = self.log().epoch();
        self.log.take().unwrap().close().unwrap();
        let log = open_at(self.home.path());
        assert!(log.recovery().clean && log.recovery().lost.is_empty(), "{:?}", log.recovery());
        assert_eq!(log.epoch(), epoch);
        self.log = Some(log);
        self.is_durable();
    }

    /// Any sectors that were not synced are lost; what is durable is there, what was cut or trimmed does
    /// not come back.
    fn lose_power(&mut self) {
        let now = image(self.home.path());
        lose_sectors(&mut self.rng, self.synced.path(), now.path(), New::IsThere);
        self.expect_prefix(&read(now.path()).unwrap());
        let log = open_at(now.path());
        assert!(log.recovery().lost.is_empty(), "{:?}", log.recovery());
        self.expect_prefix(&log.reader());
        let (next_seq, epoch) = (log.next_seq(), log.epoch());
        assert!(epoch >= self.log().epoch(), "an epoch that was seen is given again");
        for seq in next_seq..next_seq + 5 {
            assert_eq!(log.append("after").unwrap(), seq);
        }
        log.trim_before(next_seq).unwrap();
        log.close().unwrap();
        let log = open_at(now.path());
        assert!(log.recovery().clean);
        assert_eq!((log.first_seq(), log.next_seq()), (next_seq, next_seq + 5));
        self.done.images += 1;
    }

    fn expect_prefix(&self, reader: &Reader) {
        assert_eq!(
            reader.first_seq(),
            self.first_seq,
            "what was trimmed comes back, or more is gone"
        );
        assert!((self.durable..=self.next_seq()).contains(&reader.next_seq()));
        let all = everything(reader);
        assert_eq!(all.lost, []);
        let expected = self.records.iter().take((reader.next_seq() - self.first_seq) as usize);
        assert!(all.records.iter().map(|(_, data)| data).eq(expected));
    }

    /// A view stays what it was, but for what was trimmed or cut away before it came there.
    fn look_at_an_old_reader(&mut self) {
        if let Some((reader, first_seq, records)) = self.old.take() {
            for (item, wanted) in reader.iter().zip(first_seq..) {
                match item {
                    Ok(record) => {
                        let index = (record.seq() - first_seq) as usize;
                        assert!(record.seq() >= wanted && record.data() == records[index]);
                    }
                    Err(error) => assert!(
                        matches!(error.kind(), ErrorKind::Trimmed | ErrorKind::Rewound),
                        "{error}"
                    ),
                }
            }
        }
        let reader =
            if self.rng.bool() { self.log().reader() } else { read(self.home.path()).unwrap() };
        if self.rng.bool() {
            // Mapped now, it stays whatever happens.
            assert_eq!(everything(&reader).records.len(), self.records.len());
        }
        self.old = Some((reader, self.first_seq, self.records.clone()));
    }

    /// The tail gives what the log holds, and says so where it begins anew.
    fn follow(&mut self) {
        loop {
            let next = self.tail.next_seq();
            match self.tail.try_recv() {
                Ok(None) => break,
                Ok(Some(record)) => {
                    assert_eq!(record.seq(), next);
                    assert!(next >= self.first_seq, "{next} {}", self.first_seq);
                    let expected = &self.records[(next - self.first_seq) as usize];
                    assert_eq!(record.data(), expected);
                }
                Err(error) if error.kind() == ErrorKind::Rewound => {
                    assert!(error.seq().is_some_and(|seq| seq <= next), "{next}: {error}");
                    self.done.rewound += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Trimmed, "{error}");
                    assert!(error.seq().is_some_and(|seq| seq > next), "{next}: {error}");
                }
            }
        }
        assert_eq!(self.tail.next_seq(), self.next_seq());
    }

    fn compare(&mut self) {
        for reader in [self.log().reader(), read(self.home.path()).unwrap()] {
            assert_eq!(reader.next_seq(), self.next_seq());
            self.expect_prefix(&reader);
            if let Some(before) = self.first_seq.checked_sub(1) {
                let trimmed = reader.get(before).unwrap_err();
                assert_eq!(trimmed.kind(), ErrorKind::Trimmed);
            }
        }
        let verified = maplog::verify(self.home.path(), |_, _| ()).unwrap();
        assert!(verified.is_intact(), "{verified:?}");
    }
}
