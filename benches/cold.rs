//! Appending into new pages beside pages touched before, with the thread that touches ahead and without it, and
//! what that thread costs: processor time, and bytes written that hold nothing.
//!
//! Every record is read back and compared.
#![allow(missing_docs, unreachable_pub, clippy::print_stdout)]

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use maplog::{Log, SyncPolicy, Writer};
use rustix::mm::Advice;

use common::bare::{crc32fast, frame_bytes, two_passes};
use common::touch::touch;
use common::{Payloads, Settings, median, print_table, warm_free_memory};

const SIZES: [usize; 4] = [64, 256, 1024, 4096];
/// A segment holds every run.
const SEGMENT_BYTES: u64 = 256 << 20;
const RUN_BYTES: u64 = 128 << 20;
const KINDS: [&str; 5] = [
    "bare, touched before",
    "bare, new",
    "`writer().append`, touched before",
    "`writer().append`, new, no thread",
    "`writer().append`, new",
];
/// Of these, maplog's.
const MAPLOGS: std::ops::Range<usize> = 2..KINDS.len();

fn main() {
    let settings = Settings::from_args();
    let is_quick = settings.rounds == 1;
    let settings = settings.with_run_bytes(RUN_BYTES);
    let dir = common::tempdir();
    settings.print("Cold files", dir.path());
    let (mut beside_bare, mut beside_touched, mut spent) = (Vec::new(), Vec::new(), Vec::new());
    for size in Settings::sizes(&SIZES) {
        let mut figures = vec![Vec::new(); KINDS.len()];
        for _ in 0..settings.rounds {
            let (new, touched) = two_passes(dir.path(), &settings, size, crc32fast);
            figures[0].push(touched.whole);
            figures[1].push(new.whole);
            figures[2].push(maplog(dir.path(), &settings, size, Pages::Touched).ns);
            for (index, threads) in [false, true].into_iter().enumerate() {
                let run = maplog(dir.path(), &settings, size, Pages::New { threads });
                figures[3 + index].push(run.ns);
                spent.push((size, threads, run));
            }
        }
        beside_touched.push((format!("{size} B"), figures[MAPLOGS].to_vec()));
        beside_bare.push((format!("{size} B"), figures));
    }
    print_table(
        "ns a record over a whole file, as fast as it goes (ratio to bare)",
        &KINDS,
        &beside_bare,
    );
    print_table("The same of maplog (ratio to touched before)", &KINDS[MAPLOGS], &beside_touched);
    println!(
        "\nProcessor time of maplog's own threads, us a MiB appended (and of the appending one):\n"
    );
    for size in Settings::sizes(&SIZES) {
        for threads in [false, true] {
            let of = |figure: fn(&Run) -> f64| {
                let runs = spent.iter().filter(|(of, with, _)| (*of, *with) == (size, threads));
                median(runs.map(|(.., run)| figure(run)).collect())
            };
            let (own, appending) = (of(|run| run.others_us), of(|run| run.appending_us));
            println!("- {size} B, {}: {own:.0} ({appending:.0})", with(threads));
        }
    }
    synced(dir.path(), is_quick);
}

fn with(threads: bool) -> &'static str {
    if threads { "with the thread" } else { "without" }
}

enum Pages {
    /// All of them are in the file and in the appender's page table.
    Touched,
    New {
        threads: bool,
    },
}

struct Run {
    ns: f64,
    appending_us: f64,
    others_us: f64,
}

#[allow(unsafe_code)]
fn open(path: &Path, threads: bool, segment_bytes: u64) -> Log {
    let options = Log::options().sync(SyncPolicy::Manual).segment_bytes(segment_bytes);
    let options = options.helper_thread(threads);
    // SAFETY: the directory is the bench's own and nothing else changes it.
    unsafe { options.open(path) }.expect("a new log")
}

fn maplog(dir: &Path, settings: &Settings, size: usize, pages: Pages) -> Run {
    let path = dir.join("log");
    let payloads = Payloads::new(size);
    let count = settings.records(size);
    warm_free_memory(settings.run_bytes);
    let (threads, segment_bytes) = match pages {
        Pages::Touched => (false, settings.segment_bytes()),
        Pages::New { threads } => (threads, SEGMENT_BYTES),
    };
    let log = open(&path, threads, segment_bytes);
    let mut writer = log.writer().expect("a free lock");
    if matches!(pages, Pages::Touched) {
        // It has a mapping when it has made room.
        writer.reserve(size).expect("room");
        touch(&path, Advice::LinuxPopulateWrite);
    }
    let (mine, all) = (thread_time(), process_time());
    let timing = common::time_appends(count, size, |seq| append(&mut writer, &payloads, seq));
    let mine = thread_time().saturating_sub(mine);
    let others = process_time().saturating_sub(all).saturating_sub(mine);
    drop(writer);
    check(log, &path, count, &payloads);
    let mib = settings.run_bytes as f64 / f64::from(1 << 20);
    Run {
        ns: timing.whole,
        appending_us: mine.as_secs_f64() * 1e6 / mib,
        others_us: others.as_secs_f64() * 1e6 / mib,
    }
}

fn append(writer: &mut Writer<'_>, payloads: &Payloads, seq: u64) {
    let given = writer.append(payloads.of(seq)).expect("room");
    debug_assert_eq!(given, seq);
}

fn check(log: Log, path: &Path, count: u64, payloads: &Payloads) {
    common::check(&log.reader(), count, payloads);
    drop(log);
    fs::remove_dir_all(path).expect("the bench's own directory");
}

/// Bytes written for each byte of frames, at a steady pace and synced so often.
fn synced(dir: &Path, is_quick: bool) {
    const SIZE: usize = 1024;
    println!(
        "\nBytes written for each byte of frames, appends of {SIZE} bytes at a steady pace:\n"
    );
    let spell = Duration::from_millis(if is_quick { 20 } else { 3000 });
    for (mib_a_second, every) in [(20_u64, 1000), (100, 1000), (100, 100), (100, 20), (100, 5)] {
        for threads in [false, true] {
            let path = dir.join("log");
            let payloads = Payloads::new(SIZE);
            let log = open(&path, threads, SEGMENT_BYTES);
            let (before, start) = (written_bytes(), Instant::now());
            let (mut count, mut synced) = (0, start);
            let mut writer = log.writer().expect("a free lock");
            while start.elapsed() < spell {
                let due = start.elapsed().as_secs_f64() * (mib_a_second << 20) as f64;
                while count as f64 * frame_bytes(SIZE) as f64 <= due
                    && count * frame_bytes(SIZE) < SEGMENT_BYTES * 9 / 10
                {
                    append(&mut writer, &payloads, count);
                    count += 1;
                }
                std::thread::sleep(Duration::from_micros(200));
                if synced.elapsed() > Duration::from_millis(every) {
                    log.sync().expect("a working disk");
                    synced = Instant::now();
                }
            }
            drop(writer);
            log.sync().expect("a working disk");
            let written = (written_bytes() - before) as f64 / (count * frame_bytes(SIZE)) as f64;
            println!(
                "- {mib_a_second} MiB/s, a sync every {every} ms, {}: {written:.3}",
                with(threads)
            );
            check(log, &path, count, &payloads);
        }
    }
}

/// As the kernel counts them (proc_pid_io(5)).
fn written_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

fn thread_time() -> Duration {
    time_of(rustix::time::ClockId::ThreadCPUTime)
}

fn process_time() -> Duration {
    time_of(rustix::time::ClockId::ProcessCPUTime)
}

fn time_of(clock: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
