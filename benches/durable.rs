//! Durable appends: one thread beside a bare mapped store with `fdatasync`, and several threads that
//! share their syncs (group commit). Also how many bytes each durable append made the disk write.
//!
//! Every record is read back, from an image of the files, as after a power cut.
#![allow(missing_docs, unreachable_pub, clippy::print_stdout, unsafe_code)]

mod common;

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use maplog::{Log, Reader, SyncPolicy};
use memmap2::MmapRaw;

use common::Settings;

const RECORD_BYTES: usize = 100;
const THREADS: [usize; 4] = [1, 2, 4, 16];

fn main() {
    let settings = Settings::from_args();
    let dir = common::tempdir();
    settings.print("Durable appends of 100 bytes", dir.path());
    let spell =
        if settings.rounds > 1 { Duration::from_millis(700) } else { Duration::from_millis(30) };
    let mut bare = Vec::new();
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); THREADS.len()];
    for _ in 0..settings.rounds {
        bare.push(bare_store_and_sync(dir.path(), spell));
        for (threads, runs) in THREADS.into_iter().zip(&mut runs) {
            runs.push(group_commit(dir.path(), threads, spell));
        }
    }
    let bare = median(bare);
    let one = median(runs[0].clone());
    println!(
        "\n| | durable appends a second | to one thread | us each | to bare | bytes written each |"
    );
    println!("|---|---|---|---|---|---|");
    let row = |name: &str, run: &Run| {
        println!(
            "| {name} | {:.0} | {:.2} | {:.1} | {:.2} | {:.0} |",
            run.rate(),
            run.rate() / one.rate(),
            run.micros(),
            run.micros() / bare.micros(),
            run.written as f64 / run.appends as f64,
        );
    };
    row("bare store, fdatasync", &bare);
    for (threads, runs) in THREADS.into_iter().zip(runs) {
        row(&format!("{threads} threads, Always"), &median(runs));
    }
}

/// What one spell of appending came to.
#[derive(Clone, Copy)]
struct Run {
    appends: u64,
    took: Duration,
    /// Bytes that this process made the disk write.
    written: u64,
}

impl Run {
    fn rate(&self) -> f64 {
        self.appends as f64 / self.took.as_secs_f64()
    }

    fn micros(&self) -> f64 {
        self.took.as_secs_f64() * 1e6 / self.appends as f64
    }
}

/// The run of median rate.
fn median(mut runs: Vec<Run>) -> Run {
    runs.sort_by(|one, two| one.rate().total_cmp(&two.rate()));
    runs[runs.len() / 2]
}

/// As the kernel counts them (proc_pid_io(5)).
fn written_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

/// Copies records behind one another into an allocated and mapped file, and syncs after each.
fn bare_store_and_sync(dir: &Path, spell: Duration) -> Run {
    const BYTES: u64 = 1 << 22;
    let path = dir.join("bare");
    let file =
        File::options().read(true).write(true).create_new(true).open(&path).expect("a new file");
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, BYTES)
        .expect("room for it");
    let map = memmap2::MmapOptions::new().len(BYTES as usize).map_raw(&file).expect("a mapping");
    file.sync_all().expect("a sync");
    let record = [7; RECORD_BYTES];
    let (before, start, mut appends) = (written_bytes(), Instant::now(), 0);
    while start.elapsed() < spell {
        store(&map, appends as usize * 128, &record);
        file.sync_data().expect("a sync");
        appends += 1;
    }
    let took = start.elapsed();
    let bytes = fs::read(&path).expect("the file");
    assert!((0..appends as usize).all(|at| bytes[at * 128..][..RECORD_BYTES] == record));
    fs::remove_file(path).expect("the bench's own file");
    Run { appends, took, written: written_bytes() - before }
}

fn store(map: &MmapRaw, at: usize, record: &[u8]) {
    assert!(at + record.len() <= map.len(), "the spell is short enough for the file");
    // SAFETY: checked to lie in the mapping, over allocated blocks; nobody else looks at it.
    unsafe {
        std::ptr::copy_nonoverlapping(record.as_ptr(), map.as_mut_ptr().add(at), record.len())
    };
}

fn group_commit(dir: &Path, threads: usize, spell: Duration) -> Run {
    let path = dir.join("log");
    // SAFETY: the directory is the bench's own.
    let log = unsafe { Log::options().sync(SyncPolicy::Always).open(&path) }.expect("a new log");
    log.append(b"warm").expect("an append");
    let (before, start) = (written_bytes(), Instant::now());
    let appends = std::thread::scope(|scope| {
        let log = &log;
        let appending = |thread: usize| {
            move || {
                let record = [thread as u8; RECORD_BYTES];
                let mut appends = 0_u64;
                while start.elapsed() < spell {
                    let seq = log.append(record).expect("an append");
                    assert!(log.durable_seq() > seq, "Always means before it returns");
                    appends += 1;
                }
                appends
            }
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(appending(thread))).collect();
        running.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    let run = Run { appends, took: start.elapsed(), written: written_bytes() - before };
    let image = image_of(&path, dir);
    // SAFETY: nothing else changes the copy.
    let reader = unsafe { Reader::open(&image) }.expect("the image");
    let records = reader.iter().skip(1).map(|record| record.expect("whole").data().len());
    assert!(
        records.clone().count() as u64 == appends
            && records.into_iter().all(|len| len == RECORD_BYTES)
    );
    drop((log, reader));
    fs::remove_dir_all(path).expect("the bench's own directory");
    fs::remove_dir_all(image).expect("the bench's own directory");
    run
}

/// A copy of the log's files, to which no page cache vouches for anything.
fn image_of(log: &Path, dir: &Path) -> std::path::PathBuf {
    let image = dir.join("image");
    fs::create_dir(&image).expect("a new directory");
    for entry in fs::read_dir(log).expect("the log") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), image.join(entry.file_name())).expect("a copy");
    }
    image
}
