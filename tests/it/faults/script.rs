//! A scripted life of a log, in a process of its own, which says on stdout what it was promised.
//!
//! Every step that fails is tried again, since a call that failed once is no reason for the log to
//! refuse the next. Each failure is told by name, for the parent to judge.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use maplog::{ErrorKind, Log, Reader, Result, SyncPolicy};

use crate::support::SMALL;

/// A step that failed so often is given up. Failures that come singly never lead there.
const TRIES: usize = 3;

/// Which append brought a record, and how long it is.
type Brought = (u64, usize);

/// What the script was promised, and what went wrong on the way.
#[derive(Debug, Default)]
pub struct Told {
    pub acknowledged: BTreeMap<u64, Brought>,
    /// Records below it were said to be durable.
    pub durable: u64,
    /// Steps that failed, and how.
    pub failures: Vec<String>,
    /// A sync failed; then the log was opened anew.
    pub poisoned: bool,
    pub gave_up: bool,
    pub finished: bool,
}

impl Told {
    /// From what the child printed.
    pub fn read(stdout: &str) -> Told {
        let mut told = Told::default();
        for line in stdout.lines() {
            // What the test harness prints before it has no end of line.
            let Some((_, said)) = line.split_once("> ") else { continue };
            let words: Vec<_> = said.split(' ').collect();
            let number = |at: usize| words[at].parse::<u64>().unwrap();
            match words[0] {
                "record" => {
                    let brought = (number(2), number(3) as usize);
                    let before = told.acknowledged.insert(number(1), brought);
                    assert_eq!(before, None, "a number was given twice: {said}");
                }
                "durable" => told.durable = told.durable.max(number(1)),
                "failed" => told.failures.push(words[1..].join(" ")),
                "poisoned" => told.poisoned = true,
                "gave-up" => told.gave_up = true,
                "finished" => told.finished = true,
                other => panic!("{other}"),
            }
        }
        told
    }

    /// The records that were acknowledged, as `everything` gives them.
    pub fn records(&self) -> Vec<(u64, Vec<u8>)> {
        records(&self.acknowledged)
    }
}

fn records(of: &BTreeMap<u64, Brought>) -> Vec<(u64, Vec<u8>)> {
    of.iter().map(|(&seq, &brought)| (seq, payload(brought))).collect()
}

/// No two appends bring the same bytes: so a record of an append that failed is told from that of
/// the one which was acknowledged.
fn payload((attempt, len): Brought) -> Vec<u8> {
    let mut bytes = format!("{attempt} ").into_bytes();
    bytes.resize(len.max(bytes.len()), attempt as u8);
    bytes
}

/// The script cannot go on as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    Poisoned,
    /// A step never worked.
    GaveUp,
}

type Step<T> = std::result::Result<T, Stopped>;

struct Script {
    path: String,
    sync: SyncPolicy,
    attempts: u64,
    promised: BTreeMap<u64, Brought>,
}

impl Script {
    fn step<T>(&mut self, name: &str, mut act: impl FnMut(&mut Self) -> Result<T>) -> Step<T> {
        for _ in 0..TRIES {
            match act(self) {
                Ok(done) => return Ok(done),
                Err(error) => {
                    println!("> failed {name} {:?} {error}", error.kind());
                    if error.kind() == ErrorKind::Poisoned {
                        println!("> poisoned");
                        return Err(Stopped::Poisoned);
                    }
                }
            }
        }
        println!("> gave-up {name}");
        Err(Stopped::GaveUp)
    }

    fn fresh(&mut self, len: usize) -> Brought {
        self.attempts += 1;
        (self.attempts, len)
    }

    fn promise(&mut self, seqs: Range<u64>, brought: &[Brought]) {
        for (seq, &brought) in seqs.zip(brought) {
            println!("> record {seq} {} {}", brought.0, payload(brought).len());
            self.promised.insert(seq, brought);
        }
    }

    fn open(&mut self) -> Step<Log> {
        let log = self.step("open", |this| {
            // SAFETY: the parent looks when this process is gone.
            unsafe { Log::options().segment_bytes(SMALL).sync(this.sync).open(&this.path) }
        })?;
        self.step("view", |this| {
            // SAFETY: as above.
            let reader = unsafe { Reader::open(&this.path) }?;
            this.check(&reader)
        })?;
        Ok(log)
    }

    fn append(&mut self, log: &Log, len: usize) -> Step<()> {
        let (seq, brought) = self.step("append", |this| {
            let brought = this.fresh(len);
            log.append(payload(brought)).map(|seq| (seq, brought))
        })?;
        self.promise(seq..seq + 1, &[brought]);
        Ok(())
    }

    fn append_batch(&mut self, log: &Log, lens: &[usize]) -> Step<()> {
        let (seqs, brought) = self.step("append_batch", |this| {
            let brought: Vec<_> = lens.iter().map(|&len| this.fresh(len)).collect();
            let records: Vec<_> = brought.iter().map(|&one| payload(one)).collect();
            log.append_batch(&records).map(|seqs| (seqs, brought))
        })?;
        self.promise(seqs, &brought);
        Ok(())
    }

    /// One slot that is given up, and one that is committed shorter than it was reserved.
    fn append_in_place(&mut self, log: &Log, len: usize) -> Step<()> {
        let (seq, brought) = self.step("reserve", |this| {
            let mut writer = log.writer()?;
            writer.reserve(2 * len)?.fill(0xAB);
            let brought = this.fresh(len);
            let mut slot = writer.reserve(2 * len)?;
            slot[..len].copy_from_slice(&payload(brought));
            slot.truncate(len);
            slot.commit().map(|seq| (seq, brought))
        })?;
        self.promise(seq..seq + 1, &[brought]);
        Ok(())
    }

    fn sync(&mut self, log: &Log) -> Step<()> {
        match self.step("sync", |_| log.sync()) {
            Ok(durable) => println!("> durable {durable}"),
            Err(Stopped::Poisoned) => {
                // Not even another sync, which might succeed and prove nothing.
                let refused = [log.append("more").map(drop), log.sync().map(drop)];
                let kinds = refused.map(|call| call.map_err(|error| error.kind()));
                assert_eq!(kinds, [Err(ErrorKind::Poisoned); 2]);
                return Err(Stopped::Poisoned);
            }
            Err(gave_up) => return Err(gave_up),
        }
        Ok(())
    }

    /// Reads everything back and compares; an error of the system is one, a difference a panic.
    fn check(&mut self, reader: &Reader) -> Result<()> {
        let mut found = Vec::new();
        for item in reader {
            match item {
                Ok(record) => found.push((record.seq(), record.data().to_vec())),
                Err(error) if error.lost().is_some() => panic!("nothing was damaged: {error}"),
                Err(error) => return Err(error),
            }
        }
        assert_eq!(found, records(&self.promised));
        Ok(())
    }

    fn fill_segments(&mut self, log: &Log) -> Step<()> {
        for _ in 0..3 {
            self.append(log, 1000)?;
            self.append_batch(log, &[700, 0, 900])?;
            self.append_in_place(log, 1500)?;
            self.append(log, 40)?;
        }
        Ok(())
    }

    fn run(&mut self) -> Step<()> {
        let log = self.open()?;
        self.append(&log, 100)?;
        self.append_batch(&log, &[10, 0, 300, 20])?;
        self.sync(&log)?;
        self.fill_segments(&log)?;
        self.sync(&log)?;
        self.fill_segments(&log)?;
        self.step("read", |this| this.check(&log.reader()))?;
        let mut closing = Some(log);
        let closed = self.step("close", |_| closing.take().map_or(Ok(()), Log::close));
        closed?;

        let log = self.open()?;
        self.append_in_place(&log, 200)?;
        self.fill_segments(&log)?;
        self.sync(&log)?;
        self.append_batch(&log, &[1, 2, 3])?;
        self.step("read", |this| this.check(&log.reader()))?;
        // Not closed by name: what fails now is told to nobody.
        drop(log);

        let log = self.open()?;
        self.append(&log, 5000)?;
        self.append(&log, 5000)?;
        self.sync(&log)?;
        drop(log);
        Ok(())
    }
}

impl Script {
    /// After a failed sync the log accepts nothing, and all again when it was opened anew.
    fn resume(&mut self) -> Step<()> {
        let log = self.open()?;
        self.append_batch(&log, &[5, 500, 50])?;
        self.fill_segments(&log)?;
        self.sync(&log)?;
        self.step("read", |this| this.check(&log.reader()))?;
        drop(log);
        self.open().map(drop)
    }
}

/// The role of the child; `LOG` is the directory, `SYNC` the policy.
#[test]
#[ignore = "a child"]
fn is_lived() {
    let sync = match std::env::var("SYNC").as_deref() {
        Ok("always") => SyncPolicy::Always,
        Ok("every") => SyncPolicy::Every(Duration::from_millis(1)),
        _ => SyncPolicy::Manual,
    };
    let path = std::env::var("LOG").unwrap();
    let mut script = Script { path, sync, attempts: 0, promised: BTreeMap::new() };
    let mut ended = script.run();
    // Under Always, an append whose sync failed left a record that was not acknowledged.
    for _ in 0..TRIES {
        if ended == Err(Stopped::Poisoned) && sync != SyncPolicy::Always {
            ended = script.resume();
        }
    }
    if ended.is_ok() {
        println!("> finished");
    }
}
