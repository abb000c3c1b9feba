//! The runs: each appends to a new file, and reads it back.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::common::{Payloads, bare::frame_bytes};
use crate::disk;
use crate::ways::{Measure, Way, warm_page_cache};

/// p50, p99, p99.9 and the most.
pub fn lateness(mut samples: Vec<u64>) -> Vec<f64> {
    samples.sort_unstable();
    let last = samples.len() - 1;
    [0.5, 0.99, 0.999, 1.0].map(|part| samples[(last as f64 * part) as usize] as f64).to_vec()
}

/// Appends one record after the other.
pub struct Appended {
    pub size: usize,
    pub bytes: u64,
}

impl Measure for Appended {
    fn run<W: Way>(&self, dir: &Path) -> Vec<f64> {
        let payloads = Payloads::new(self.size);
        let count = self.bytes / frame_bytes(self.size);
        let mut way = W::create(dir, self.bytes);
        warm_page_cache(dir, self.bytes);
        let start = Instant::now();
        for seq in 0..count {
            way.append(seq, payloads.of(seq));
        }
        way.flush();
        let took = start.elapsed();
        way.close();
        W::check(dir, count, &payloads);
        vec![took.as_nanos() as f64 / count as f64]
    }
}

/// The same, each append timed.
pub struct Single {
    pub size: usize,
    pub bytes: u64,
}

impl Measure for Single {
    fn run<W: Way>(&self, dir: &Path) -> Vec<f64> {
        let payloads = Payloads::new(self.size);
        let count = self.bytes / frame_bytes(self.size);
        let way = W::create(dir, self.bytes);
        warm_page_cache(dir, self.bytes);
        let samples = time_each(way, count, &payloads);
        W::check(dir, count, &payloads);
        lateness(samples)
    }
}

/// Nanoseconds of each append.
pub fn time_each(mut way: impl Way, count: u64, payloads: &Payloads) -> Vec<u64> {
    // Its pages are touched now.
    let mut samples = vec![1; count as usize];
    let mut from = Instant::now();
    for (seq, sample) in (0..count).zip(&mut samples) {
        way.append(seq, payloads.of(seq));
        let now = Instant::now();
        *sample = (now - from).as_nanos() as u64;
        from = now;
    }
    way.flush();
    way.close();
    samples
}

/// Records come at a steady pace while another thread syncs now and then. A record is late from when it
/// was due, so that a stall counts for each record that waited for its end.
pub struct Synced {
    pub is_quick: bool,
}

impl Synced {
    const SIZE: usize = 256;
    const PAUSE: Duration = Duration::from_micros(5);
    const BETWEEN_SYNCS: Duration = Duration::from_millis(20);

    fn count(&self) -> u64 {
        if self.is_quick { 10_000 } else { 400_000 }
    }
}

impl fmt::Display for Synced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "A record of {} bytes each {:?} for {:?}, and a sync in another thread {:?} after the last one ended: us from \
             when a record was due until it was appended",
            Self::SIZE,
            Self::PAUSE,
            Self::PAUSE * self.count() as u32,
            Self::BETWEEN_SYNCS,
        )
    }
}

impl Measure for Synced {
    fn run<W: Way>(&self, dir: &Path) -> Vec<f64> {
        let payloads = Payloads::new(Self::SIZE);
        let count = self.count();
        let bytes = count * frame_bytes(Self::SIZE);
        let mut way = W::create(dir, bytes);
        warm_page_cache(dir, bytes);
        let mut samples = vec![1; count as usize];
        let before = disk::written_by_process();
        let syncs = beside(syncs(way.syncer()), || {
            let start = Instant::now();
            for (seq, sample) in (0..count).zip(&mut samples) {
                let due = start + Self::PAUSE * seq as u32;
                while Instant::now() < due {
                    std::hint::spin_loop();
                }
                way.append(seq, payloads.of(seq));
                *sample = due.elapsed().as_nanos() as u64;
            }
            way.flush();
        });
        let written = disk::written_by_process() - before;
        way.close();
        W::check(dir, count, &payloads);
        let mut figures: Vec<f64> = lateness(samples).iter().map(|nanos| nanos / 1e3).collect();
        figures.push(syncs as f64);
        figures.push(written as f64 / (count * Self::SIZE as u64) as f64);
        figures
    }
}

/// Syncs until it is told to stop, and once more; says how often.
fn syncs(sync: Box<dyn Fn() + Send>) -> impl FnOnce(&AtomicBool) -> u64 + Send {
    move |is_over| {
        let mut count = 0;
        while !is_over.load(Ordering::Relaxed) {
            std::thread::sleep(Synced::BETWEEN_SYNCS);
            sync();
            count += 1;
        }
        sync();
        count
    }
}

/// Does `work`, and the other thing in a thread beside it.
fn beside(other: impl FnOnce(&AtomicBool) -> u64 + Send, work: impl FnOnce()) -> u64 {
    let is_over = AtomicBool::new(false);
    let count = AtomicU64::new(0);
    std::thread::scope(|scope| {
        // Also when the work panics.
        let _over = Over(&is_over);
        scope.spawn(|| count.store(other(&is_over), Ordering::Relaxed));
        work();
    });
    count.into_inner()
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Syncs after every so many records, and counts what is written.
pub struct Written {
    pub every: u64,
    pub is_quick: bool,
}

impl Measure for Written {
    fn run<W: Way>(&self, dir: &Path) -> Vec<f64> {
        const SIZE: usize = 64;
        let payloads = Payloads::new(SIZE);
        let syncs = if self.is_quick { 10 } else { 400 };
        let count = syncs * self.every;
        let mut way = W::create(dir, count * frame_bytes(SIZE));
        let sync = way.syncer();
        // What creating left to be written is none of the records'.
        sync();
        let (process, device) = (disk::written_by_process(), disk::written_to_device(dir));
        let start = Instant::now();
        for seq in 0..count {
            way.append(seq, payloads.of(seq));
            if (seq + 1) % self.every == 0 {
                way.flush();
                sync();
            }
        }
        let took = start.elapsed();
        let process = disk::written_by_process() - process;
        let device = disk::written_to_device(dir) - device;
        way.close();
        W::check(dir, count, &payloads);
        let appended = (count * SIZE as u64) as f64;
        let micros = took.as_secs_f64() * 1e6 / syncs as f64;
        vec![process as f64 / appended, device as f64 / appended, micros]
    }
}
