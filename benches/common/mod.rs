//! What the benches share: settings, payloads whose every byte is known, the bare mapping that
//! everything is compared with, tables.
#![allow(dead_code)]

pub mod bare;
pub mod touch;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

use maplog::{Log, Reader, SyncPolicy};
use tempfile::TempDir;

/// How much work a bench does.
pub struct Settings {
    /// Runs of each kind, interleaved; medians are printed.
    pub rounds: usize,
    /// Bytes of frames that one run writes or reads.
    pub run_bytes: u64,
}

impl Settings {
    /// `cargo bench` measures. Anything else, `--quick` or `MAPLOG_BENCH_QUICK` only checks: the
    /// same code and the same comparisons on little data, whose times mean nothing.
    pub fn from_args() -> Self {
        let has = |name: &str| std::env::args().any(|arg| arg == name);
        let quick =
            !has("--bench") || has("--quick") || std::env::var_os("MAPLOG_BENCH_QUICK").is_some();
        match quick {
            true => Settings { rounds: 1, run_bytes: 1 << 20 },
            false => Settings { rounds: 7, run_bytes: 32 << 20 },
        }
    }

    /// With so many bytes in a run, unless it only checks.
    pub fn with_run_bytes(self, run_bytes: u64) -> Self {
        if self.rounds == 1 { self } else { Settings { run_bytes, ..self } }
    }

    /// The sizes to measure: those of `all` that the arguments name, or all if they name none.
    pub fn sizes(all: &[usize]) -> Vec<usize> {
        let named: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
        all.iter().copied().filter(|size| named.is_empty() || named.contains(size)).collect()
    }

    /// Records of `size` bytes in one run.
    pub fn records(&self, size: usize) -> u64 {
        self.run_bytes / bare::frame_bytes(size)
    }

    /// A segment that holds a run, with its marks.
    pub fn segment_bytes(&self) -> u64 {
        self.run_bytes + self.run_bytes / 16 + touch::HEADROOM_BYTES
    }

    pub fn print(&self, title: &str, dir: &Path) {
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        println!("\n## {title}\n");
        println!(
            "{cpus} CPUs, Linux {}, {}; {} interleaved rounds of {} MiB, medians",
            kernel.trim(),
            file_system(dir),
            self.rounds,
            self.run_bytes >> 20
        );
    }
}

/// The type of the file system that holds `dir`.
pub fn file_system(dir: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .filter(|fields| fields.len() > 2 && dir.starts_with(fields[1]))
        .max_by_key(|fields| fields[1].len())
        .map_or_else(|| "unknown file system".into(), |fields| fields[2].to_owned())
}

/// A directory on the file system of the build: on tmpfs nothing here would mean anything.
pub fn tempdir() -> TempDir {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(target).expect("the build's own directory");
    tempfile::tempdir_in(target).expect("a directory for the bench")
}

/// A log that is not synced while it is measured, as the bare mapping is not.
#[allow(unsafe_code)]
pub fn open(path: &Path) -> Log {
    let options = Log::options().sync(SyncPolicy::Manual);
    // SAFETY: the directory is the bench's own and nothing else changes it.
    unsafe { options.open(path) }.expect("a new log")
}

/// Compares the records of a log, as many as there must be, with what was meant to be in each.
pub fn check(reader: &Reader, count: u64, payloads: &Payloads) {
    let mut expected = 0;
    for record in reader {
        let record = record.expect("a whole record");
        assert_eq!(record.seq(), expected);
        assert!(record.data() == payloads.of(expected), "payload of record {expected}");
        expected += 1;
    }
    assert_eq!(expected, count, "records that were appended");
}

/// What records are made of: each is a slice of one buffer, so that handing one out costs nothing,
/// and which slice follows from its number, so that reading back can tell.
pub struct Payloads {
    bytes: Vec<u8>,
    size: usize,
}

impl Payloads {
    const SLICES: u64 = 61;

    pub fn new(size: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(size as u64);
        let len = size + 16 * Self::SLICES as usize;
        Payloads { bytes: (0..len).map(|_| random.u8(..)).collect(), size }
    }

    #[inline]
    pub fn of(&self, seq: u64) -> &[u8] {
        let from = 16 * (seq % Self::SLICES) as usize;
        &self.bytes[from..from + self.size]
    }
}

/// This virtual machine's host takes back memory that is free for some seconds, and giving it again
/// costs far more than a page fault. So each run is preceded by using and freeing what it will need.
pub fn warm_free_memory(bytes: u64) {
    let memory = vec![1u8; 2 * bytes as usize];
    std::hint::black_box(&memory);
}

/// Nanoseconds a record.
#[derive(Clone, Copy)]
pub struct Timing {
    /// Over the whole run: growing the file and the first touch of its pages included.
    pub whole: f64,
    /// The lower quartile of bursts of 16 KiB, in which no page was touched for the first time.
    pub ready: f64,
}

const BURST_BYTES: u64 = 16 * 1024;

/// The most records that the benches put into one batch.
const BATCH_RECORDS: u64 = 100;

/// Records of a burst: whole batches.
fn burst(size: usize) -> u64 {
    let records = (BURST_BYTES / bare::frame_bytes(size)).max(1);
    records - records % batch(size)
}

/// Records of a batch, no more than one burst.
pub fn batch(size: usize) -> u64 {
    (BURST_BYTES / bare::frame_bytes(size)).clamp(1, BATCH_RECORDS)
}

/// Times `count` calls of `append`, each with the number of the record to append.
pub fn time_appends(count: u64, size: usize, mut append: impl FnMut(u64)) -> Timing {
    let burst = burst(size);
    let mut bursts = Vec::with_capacity((count / burst) as usize + 1);
    let mut seq = 0;
    let mut from = Instant::now();
    let start = from;
    while seq < count {
        let end = count.min(seq + burst);
        let records = end - seq;
        while seq < end {
            append(seq);
            seq += 1;
        }
        let now = Instant::now();
        bursts.push((now - from).as_nanos() as f64 / records as f64);
        from = now;
    }
    let whole = start.elapsed().as_nanos() as f64 / count as f64;
    bursts.sort_by(f64::total_cmp);
    Timing { whole, ready: bursts[bursts.len() / 4] }
}

pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// A Markdown table: for each kind of run its median and, but for the first kind, the median of its
/// ratios to the first kind of the same round.
pub fn print_table(what: &str, kinds: &[&str], rows: &[(String, Vec<Vec<f64>>)]) {
    let mut table = format!("\n{what}\n\n| |");
    for kind in kinds {
        let _ = write!(table, " {kind} |");
    }
    table += "\n|---|";
    table += &"---|".repeat(kinds.len());
    for (name, figures) in rows {
        let _ = write!(table, "\n| {name} |");
        for (index, kind) in figures.iter().enumerate() {
            let _ = write!(table, " {}", nanoseconds(median(kind.clone())));
            if index > 0 {
                let ratios = kind.iter().zip(&figures[0]).map(|(one, bare)| one / bare).collect();
                let _ = write!(table, " ({:.2})", median(ratios));
            }
            table += " |";
        }
    }
    println!("{table}");
}

fn nanoseconds(figure: f64) -> String {
    if figure < 100.0 { format!("{figure:.1}") } else { format!("{figure:.0}") }
}
