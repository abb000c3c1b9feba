//! One run: one row with one peer, in a process of its own. What was appended is read back and compared
//! after every run, from a handle that was opened anew.

use std::fs::{self, File};
use std::marker::PhantomData;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use memmap2::{Advice, MmapOptions};
use rustix::fs::FallocateFlags;

use crate::peer::{Peer, Setup};
use crate::peers::Visitor;
use crate::records::{Batches, Check, Feed, Maker, THREAD, Walk};
use crate::row::Row;

pub struct Run<'p> {
    pub row: Row,
    pub quick: bool,
    pub dir: &'p Path,
    pub step: Step,
}

/// Rows that need a process to die take two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Whole,
    /// Appends, and kills itself.
    Die,
    /// Opens what the dead one left.
    After,
}

impl Visitor for Run<'_> {
    /// `None` if the peer cannot do it.
    type Output = Option<f64>;

    fn visit<P: Peer>(self) -> Option<f64> {
        if !self.row.is_for::<P>() {
            return None;
        }
        let setup = self.row.setup(self.quick);
        let maker = Maker::new(setup.size);
        Some(Bench::<P> { dir: self.dir, setup, maker, of: PhantomData }.run(&self))
    }
}

/// Records are got at random until as many were, or so long, in pieces that double.
const MOST_GETS: usize = 300_000;
const FIRST_GETS: usize = 8;
const GETTING: Duration = Duration::from_millis(150);
/// Of the records that were got at random, as many are compared byte by byte; of all the sums.
const COMPARED: usize = 10_000;

struct Bench<'p, P> {
    dir: &'p Path,
    setup: Setup,
    maker: Maker,
    of: PhantomData<P>,
}

impl<P: Peer> Bench<'_, P> {
    fn run(mut self, run: &Run<'_>) -> f64 {
        match (run.row, run.step) {
            (Row::Append64 | Row::Append1024 | Row::Append16384, _) => self.append(),
            (Row::Batch, _) => self.append_batches(),
            (Row::Threads2 | Row::Threads4, _) => self.append_beside(run.row.threads()),
            (Row::Durable1 | Row::Durable16, _) => {
                self.append_durably(run.row.threads(), Row::spell(run.quick))
            }
            (Row::Iterate, _) => self.iterate(),
            (Row::Get, _) => self.get(),
            (Row::Bytes, _) => self.bytes(),
            (Row::Reopen | Row::ReopenKilled, Step::Whole) => self.reopen(),
            (_, Step::Die) => self.die(),
            (_, Step::After) => self.reopen_after_death(),
        }
    }

    fn open(&self) -> P {
        P::open(self.dir, self.setup)
    }

    /// A new log, and memory that the host of a virtual machine has given already: it takes back what
    /// is free for some seconds, and giving it again costs far more than a page fault.
    fn create(&self) -> P {
        let peer = self.open();
        use_memory(&self.dir.join("scratch"), 2 * self.setup.bytes());
        peer
    }

    fn feed(&self) -> Feed {
        Feed::new(&self.maker, 0, self.setup.most)
    }

    /// Opens what was closed and compares all of it. For each thread, how many records it appended.
    fn check(&self, counts: &[u64]) {
        let mut peer = self.open();
        let mut check = Check::new(&self.maker, counts);
        peer.walk(&mut |record| check.take(record));
        check.finish();
        peer.close();
    }

    fn append(&self) -> f64 {
        let mut peer = self.create();
        let mut feed = self.feed();
        let start = Instant::now();
        peer.append_all(&mut feed);
        let took = start.elapsed();
        peer.close();
        self.check(&[feed.given()]);
        nanos_each(took, feed.given())
    }

    fn append_batches(&self) -> f64 {
        let mut peer = self.create();
        let mut batches = Batches::new(&self.maker, self.setup.most / crate::records::BATCH as u64);
        let start = Instant::now();
        peer.append_batches(&mut batches);
        let took = start.elapsed();
        peer.close();
        self.check(&[batches.given()]);
        nanos_each(took, batches.given())
    }

    fn append_beside(&self, threads: usize) -> f64 {
        let peer = self.create();
        let share = self.setup.most / threads as u64;
        let (counts, took) = at_once(threads, |thread| {
            let first = thread as u64 * THREAD;
            let mut feed = Feed::new(&self.maker, first, share);
            peer.append_beside(thread, &mut feed);
            feed.given() - first
        });
        peer.close();
        self.check(&counts);
        nanos_each(took, counts.iter().sum())
    }

    fn append_durably(&self, threads: usize, spell: Duration) -> f64 {
        let peer = self.open();
        let share = self.setup.most / threads as u64;
        let (counts, took) = at_once(threads, |thread| {
            let (mut maker, mut count, start) = (self.maker.clone(), 0, Instant::now());
            while start.elapsed() < spell && count < share {
                peer.append_durably(thread, maker.number(thread as u64 * THREAD + count));
                count += 1;
            }
            count
        });
        peer.close();
        self.check(&counts);
        counts.iter().sum::<u64>() as f64 / took.as_secs_f64()
    }

    fn iterate(&mut self) -> f64 {
        let mut peer = self.open();
        let mut feed = self.feed();
        peer.append_all(&mut feed);
        peer.close();
        let mut peer = self.open();
        let mut walk = Walk::default();
        let start = Instant::now();
        peer.walk(&mut |record| walk.add(record));
        let took = start.elapsed();
        walk.assert_is(&Walk::of(&mut self.maker, 0..feed.given()));
        peer.close();
        self.check(&[feed.given()]);
        nanos_each(took, feed.given())
    }

    fn get(&mut self) -> f64 {
        let mut peer = self.create();
        let mut feed = self.feed();
        peer.append_for_get(&mut feed);
        let mut random = fastrand::Rng::with_seed(7);
        let order: Vec<u64> = (0..MOST_GETS).map(|_| random.u64(..feed.given())).collect();
        let mut walk = Walk::default();
        let mut got = 0;
        let start = Instant::now();
        // Twice as many each time: the first, which find nothing warm, say little of those behind them.
        while got < MOST_GETS && start.elapsed() < GETTING {
            let some = got..(2 * got).clamp(FIRST_GETS, MOST_GETS);
            got = some.end;
            peer.get_all(&order[some], &mut |record| walk.add(record));
        }
        let took = start.elapsed();
        let order = &order[..got];
        walk.assert_is(&Walk::of(&mut self.maker, order.iter().copied()));
        let mut asked = order.iter();
        peer.get_all(&order[..order.len().min(COMPARED)], &mut |record| {
            let number = *asked.next().expect("as many as asked for");
            assert!(record == self.maker.number(number), "the bytes of record {number}");
        });
        peer.close();
        self.check(&[feed.given()]);
        nanos_each(took, got as u64)
    }

    /// Blocks that the files have, not their lengths.
    fn bytes(&self) -> f64 {
        let mut peer = self.open();
        let mut feed = self.feed().patient();
        peer.append_all(&mut feed);
        peer.close();
        let bytes = blocks(self.dir) * 512;
        self.check(&[feed.given()]);
        bytes as f64 / feed.given() as f64
    }

    /// All records of the run but the last.
    fn all_but_one(&self) -> Feed {
        Feed::new(&self.maker, 0, self.setup.most - 1).patient()
    }

    fn reopen(&self) -> f64 {
        let mut peer = self.open();
        peer.append_all(&mut self.all_but_one());
        peer.close();
        self.reopen_after_death()
    }

    /// Until one record more was appended.
    fn reopen_after_death(&self) -> f64 {
        let start = Instant::now();
        let mut peer = self.open();
        peer.append_all(&mut Feed::new(&self.maker, self.setup.most - 1, 1));
        let took = start.elapsed();
        peer.close();
        self.check(&[self.setup.most]);
        took.as_secs_f64() * 1e3
    }

    fn die(&self) -> f64 {
        let mut peer = self.open();
        peer.append_all(&mut self.all_but_one());
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::KILL).expect("a signal");
        unreachable!("nobody survives that signal")
    }
}

/// Does it in several threads; gives what each came to, and the time from the first one's start to the
/// last one's end.
fn at_once(threads: usize, work: impl Fn(usize) -> u64 + Sync) -> (Vec<u64>, Duration) {
    let begin = Barrier::new(threads);
    let timed = |thread| {
        begin.wait();
        let start = Instant::now();
        (work(thread), start, Instant::now())
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let timed = &timed;
                scope.spawn(move || timed(thread))
            })
            .collect();
        let done: Vec<_> =
            running.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        let start = done.iter().map(|(_, start, _)| *start).min().expect("a thread");
        let end = done.iter().map(|(_, _, end)| *end).max().expect("a thread");
        (done.into_iter().map(|(count, ..)| count).collect(), end - start)
    })
}

/// Uses and frees memory, as a program does and as a mapped file does: the kernel takes them from different
/// places.
fn use_memory(scratch: &Path, bytes: u64) {
    let memory = vec![1u8; bytes as usize];
    std::hint::black_box(&memory);
    let file = File::options().read(true).write(true).create_new(true).open(scratch);
    let file = file.expect("the run's own directory");
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes).expect("room on the disk");
    let map = MmapOptions::new().len(bytes as usize).map_raw(&file).expect("address space");
    map.advise(Advice::PopulateWrite).expect("pages (Linux 5.14)");
    fs::remove_file(scratch).expect("the run's own file");
}

fn nanos_each(took: Duration, count: u64) -> f64 {
    took.as_nanos() as f64 / count as f64
}

fn blocks(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).expect("the run's directory");
    let of = |path: &Path| {
        let metadata = fs::symlink_metadata(path).expect("a file");
        if metadata.is_dir() { blocks(path) } else { metadata.blocks() }
    };
    entries.map(|entry| of(&entry.expect("an entry").path())).sum()
}
