//! Instructions a record, counted by valgrind: figures that no other work on the machine can move.
//!
//! `cargo bench --bench instructions` counts and compares with `benches/instructions.txt`; more than 3%
//! above a figure there fails. With `--bless` it writes that file anew. Each work is done for a number of
//! records and for twice as many, in a process of its own, and the difference is what the records cost:
//! opening, closing and what is prepared drop out. Instructions of all threads count, the kernel's do not.
//!
//! Valgrind tells programs of fewer CPU features than there are (no AVX-512, and what else it cannot
//! imitate), so that the checksum and the C library's memcpy may take other ways than they do outside: these
//! figures tell one build of maplog from another, not how fast it is. Another compiler, valgrind, C library or
//! kind of processor than that of the figures is no reason to fail, and neither is a valgrind that cannot run
//! this: then there is nothing to compare with, and it says so.
#![allow(missing_docs, unreachable_pub, clippy::print_stdout)]

mod common;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use maplog::Log;

use common::bare::Walk;
use common::{Payloads, open, tempdir};

const SIZE: usize = 64;
const BATCH: usize = 100;
/// Enough for growing the file to be a small part, and a multiple of a batch.
const RECORDS: u64 = 20_000;
const ALLOWED_RISE: f64 = 1.03;

/// Does its work on an empty log, for so many of so many records.
type Work = fn(&Log, u64, u64);

const WORKS: [(&str, Work); 8] = [
    ("writer().append, 64 B", with_writer),
    ("append, 64 B", append),
    ("append_batch of 100 x 64 B", append_batch),
    ("reserve and commit, 64 B", reserve),
    ("iter, verified, 64 B", iterate),
    ("get at random, 64 B", get),
    ("try_recv of what is there, 64 B", follow_behind),
    ("append and try_recv of it, 64 B", follow_along),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, name, records] = &arguments[..]
        && flag == "--work"
    {
        work(name, records.parse().expect("a number of records"));
        return ExitCode::SUCCESS;
    }
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if !has("--bench") || std::env::var_os("MAPLOG_BENCH_QUICK").is_some() {
        for (name, _) in WORKS {
            work(name, RECORDS / 10);
        }
        println!("instructions: every work was done and checked, and nothing counted");
        return ExitCode::SUCCESS;
    }
    println!("\n## Instructions a record, under valgrind\n");
    if told_by("valgrind").is_none() {
        println!("skipped: needs valgrind");
        return ExitCode::SUCCESS;
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.txt");
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    let stored = |key: &str| {
        known.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": ")).unwrap_or("none")
    };
    let (compiler, machine, lock) = (compiler(), machine(), lock());
    for (key, here) in [("rustc", &compiler), ("machine", &machine)] {
        if !has("--bless") && stored(key) != here {
            println!(
                "nothing to compare with: the counts are of {}, and this is {here}",
                stored(key)
            );
            return ExitCode::SUCCESS;
        }
    }
    let counts: Option<Vec<(&str, f64)>> =
        WORKS.iter().map(|(name, _)| Some((*name, count(name)?))).collect();
    let Some(counts) = counts else {
        println!("nothing to compare with: valgrind gives no count here");
        return ExitCode::SUCCESS;
    };
    let mut rose = false;
    for (name, count) in &counts {
        let before: Option<f64> = stored(name).parse().ok();
        let too_many = before.is_none_or(|before| *count > before * ALLOWED_RISE);
        let told = before.map_or("none".into(), |before| format!("{before:.1}"));
        println!("{name:<34} {count:>8.1}, known {told}{}", if too_many { ": MORE" } else { "" });
        rose |= too_many;
    }
    if has("--bless") {
        std::fs::write(&file, text([&compiler, &machine, &lock], &counts))
            .expect("a file of this project");
    } else if rose {
        if stored("Cargo.lock") != lock {
            println!("Cargo.lock is another than the counts': a dependency may have changed.");
        }
        println!("If it is worth it: bash .ci/instructions --bless, and say why in the commit.");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn text([compiler, machine, lock]: [&str; 3], counts: &[(&str, f64)]) -> String {
    let mut text = format!(
        "Instructions a record under valgrind: see benches/instructions.rs. Written by\n\
         bash .ci/instructions --bless\n\n\
         rustc: {compiler}\nmachine: {machine}\nCargo.lock: {lock}\n\n"
    );
    for (name, count) in counts {
        let _ = writeln!(text, "{name}: {count:.1}");
    }
    text
}

/// The compiler's version and target: other instructions are to be expected of another.
fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let told = Command::new(rustc).arg("-vV").output().expect("the compiler that built this");
    let told = String::from_utf8(told.stdout).expect("text");
    let of = |key: &str| told.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("unknown");
    format!("{} ({}) {}", of("release: "), of("commit-hash: "), of("host: "))
}

/// What else the counts hang on: valgrind, the C library, and what of the processor valgrind can pass on.
fn machine() -> String {
    let told = |program| told_by(program).unwrap_or_else(|| "none".into());
    #[cfg(target_arch = "x86_64")]
    let avx2 = std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    let avx2 = false;
    format!("{}, {}, AVX2 {avx2}", told("valgrind"), told("ldd"))
}

/// The first line of what a program says its version is; `None` if there is none.
fn told_by(program: &str) -> Option<String> {
    let told = Command::new(program).arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&told.stdout).lines().next()?.to_owned())
}

/// A checksum of what this was built from beside the project's own source.
fn lock() -> String {
    let lock = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock"));
    format!("{:08x}", crc32fast::hash(&lock.expect("the lock file that cargo just used")))
}

fn count(name: &str) -> Option<f64> {
    let once = instructions(name, RECORDS)?;
    let twice = instructions(name, 2 * RECORDS)?;
    Some((twice as f64 - once as f64) / RECORDS as f64)
}

/// All that a process executes that does this work for so many records; `None` if valgrind gives no figure.
fn instructions(name: &str, records: u64) -> Option<u64> {
    let this = std::env::current_exe().expect("this program's path");
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args(["--work", name, &records.to_string()])
        .output()
        .ok()?;
    let told = String::from_utf8_lossy(&run.stderr);
    let figure = told.lines().find_map(|line| line.split_once("Collected : "));
    let figure = figure.and_then(|(_, figure)| figure.trim().parse().ok());
    if figure.is_none() || !run.status.success() {
        println!("{name}: {told}");
        return None;
    }
    figure
}

fn work(name: &str, records: u64) {
    let (_, work) = WORKS.iter().find(|(known, _)| *known == name).expect("one of the works");
    let dir = tempdir();
    let path: PathBuf = dir.path().join("log");
    let log = open(&path);
    work(&log, records, 2 * RECORDS);
    log.close().expect("a working disk");
}

fn with_writer(log: &Log, records: u64, _: u64) {
    let payloads = Payloads::new(SIZE);
    let mut writer = log.writer().expect("a free lock");
    for seq in 0..records {
        assert_eq!(writer.append(payloads.of(seq)).expect("room"), seq);
    }
}

fn append(log: &Log, records: u64, _: u64) {
    let payloads = Payloads::new(SIZE);
    for seq in 0..records {
        assert_eq!(log.append(payloads.of(seq)).expect("room"), seq);
    }
}

fn append_batch(log: &Log, records: u64, _: u64) {
    let payloads = Payloads::new(SIZE);
    let batch: Vec<&[u8]> = (0..BATCH as u64).map(|seq| payloads.of(seq)).collect();
    let mut writer = log.writer().expect("a free lock");
    let mut next = 0;
    while next < records {
        let seqs = writer.append_batch(&batch).expect("room");
        assert_eq!(seqs, next..next + BATCH as u64);
        next = seqs.end;
    }
}

fn reserve(log: &Log, records: u64, _: u64) {
    let payloads = Payloads::new(SIZE);
    let mut writer = log.writer().expect("a free lock");
    for seq in 0..records {
        let mut slot = writer.reserve(SIZE).expect("room");
        slot.copy_from_slice(payloads.of(seq));
        assert_eq!(slot.commit().expect("room"), seq);
    }
}

/// What reading the first `records` of these must come to. All of them are gone through, so that this
/// drops out of the count.
fn expected(records: u64, all: impl Iterator<Item = u64>) -> Walk {
    let payloads = Payloads::new(SIZE);
    let (mut walk, mut wanted) = (Walk::default(), Walk::default());
    for seq in all {
        walk.add(seq, payloads.of(seq));
        if walk.records == records {
            wanted = walk;
        }
    }
    wanted
}

// What readers read is all there before, however much of it they read, so that it drops out, too.

fn iterate(log: &Log, records: u64, all: u64) {
    with_writer(log, all, all);
    let reader = log.reader();
    let mut walk = Walk::default();
    for record in reader.iter().take(records as usize) {
        let record = record.expect("a whole record");
        walk.add(record.seq(), record.data());
    }
    assert_eq!(walk, expected(records, 0..all));
}

fn get(log: &Log, records: u64, all: u64) {
    with_writer(log, all, all);
    let reader = log.reader();
    // As one who reads at random finds it after a while: places are known.
    assert_eq!(reader.iter().count() as u64, all);
    // A prime that does not divide the count, so that it meets every number once.
    let seqs = || (0..all).map(|turn| turn * 7_919 % all);
    let mut walk = Walk::default();
    for seq in seqs().take(records as usize) {
        let record = reader.get(seq).expect("a whole record").expect("a record");
        walk.add(record.seq(), record.data());
    }
    assert_eq!(walk, expected(records, seqs()));
}

fn follow_behind(log: &Log, records: u64, all: u64) {
    with_writer(log, all, all);
    let mut tail = log.reader().tail_from(0);
    let mut walk = Walk::default();
    for _ in 0..records {
        let record = tail.try_recv().expect("a whole record").expect("a record");
        walk.add(record.seq(), record.data());
    }
    assert_eq!(walk, expected(records, 0..all));
}

fn follow_along(log: &Log, records: u64, _: u64) {
    let payloads = Payloads::new(SIZE);
    let mut tail = log.reader().tail_from(0);
    for seq in 0..records {
        log.append(payloads.of(seq)).expect("room");
        let record = tail.try_recv().expect("a whole record").expect("a record");
        assert_eq!((record.seq(), record.data()), (seq, payloads.of(seq)));
    }
}
