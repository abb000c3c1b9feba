//! Appending by stores into a mapping and by calls, beside one another: how fast; how late a single append
//! is, and how late while the file is synced; how much is written to the disk; and all that in little memory.
//!
//! Every run is read back and compared byte by byte. Arguments that name sections leave the others out.
#![allow(missing_docs, unreachable_pub, clippy::print_stdout)]

#[path = "../common/mod.rs"]
mod common;

mod disk;
mod group;
mod runs;
mod ways;

use std::path::Path;
use std::process::ExitCode;

use common::{Settings, median};
use runs::{Appended, Single, Synced, Written};
use ways::Measure;

const SIZES: [usize; 3] = [64, 1024, 16384];
const SECTIONS: [&str; 5] = ["appended", "single", "synced", "written", "limited"];
const LATENESS: [&str; 4] = ["p50", "p99", "p99.9", "most"];
const MIB: u64 = 1 << 20;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == group::ROLE) {
        return group::answer(&args[1..]);
    }
    let is_quick = Settings::from_args().rounds == 1;
    let dir = common::tempdir();
    let bench = Bench {
        dir: dir.path(),
        rounds: if is_quick { 1 } else { 5 },
        run_bytes: if is_quick { MIB } else { 160 * MIB },
        is_quick,
    };
    bench.print_head();
    let named = |section: &&&str| args.iter().any(|arg| arg == **section);
    let sections: Vec<&str> = SECTIONS.iter().filter(named).copied().collect();
    for section in if sections.is_empty() { SECTIONS.to_vec() } else { sections } {
        bench.measure(section);
    }
    ExitCode::SUCCESS
}

struct Bench<'d> {
    dir: &'d Path,
    rounds: usize,
    run_bytes: u64,
    is_quick: bool,
}

/// For each way what each round found out.
type Results = Vec<Vec<Vec<f64>>>;

impl Bench<'_> {
    fn print_head(&self) {
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        println!("\n## Mapped stores and calls\n");
        println!(
            "{cpus} CPUs, Linux {}, {}, load {} before; {} interleaved rounds, medians; {}",
            kernel.trim(),
            common::file_system(self.dir),
            load.split(' ').next().unwrap_or_default(),
            self.rounds,
            disk::stable_writes(self.dir),
        );
        println!();
        for (name, settings) in ways::ALL {
            println!("- {name}: {settings}.");
        }
    }

    fn measure(&self, section: &str) {
        match section {
            "appended" => self.appended(),
            "single" => self.single(),
            "synced" => self.synced(),
            "written" => self.written(),
            _ => group::compare(self.dir, self.is_quick),
        }
    }

    fn each(&self, measure: &impl Measure) -> Results {
        let mut results = vec![Vec::new(); ways::ALL.len()];
        // What one leaves behind in memory and on the disk is not always the same one's.
        let mut random = fastrand::Rng::with_seed(7);
        let mut order: Vec<usize> = (0..ways::ALL.len()).collect();
        for _ in 0..self.rounds {
            random.shuffle(&mut order);
            for way in order.iter().copied() {
                let dir = self.dir.join("run");
                std::fs::create_dir(&dir).expect("the bench's own directory");
                results[way].push(ways::measure(ways::ALL[way].0, measure, &dir));
                std::fs::remove_dir_all(&dir).expect("the bench's own directory");
            }
        }
        results
    }

    fn appended(&self) {
        let names: Vec<&str> = ways::ALL.iter().map(|(name, _)| *name).collect();
        let of = |size: usize| {
            let results = self.each(&Appended { size, bytes: self.run_bytes });
            let figures = results.into_iter().map(|rounds| rounds.concat()).collect();
            (format!("{size} B"), figures)
        };
        let title = format!(
            "Appending {} MiB to new files: ns a record (ratio to the first)",
            self.run_bytes / MIB
        );
        common::print_table(&title, &names, &SIZES.map(of));
    }

    fn single(&self) {
        println!("\nThe same, each append timed (the clock takes its part, some 25 ns): ns");
        for size in SIZES {
            let results = self.each(&Single { size, bytes: self.run_bytes });
            print(&format!("{size} B"), &LATENESS, &results, 0);
        }
    }

    fn synced(&self) {
        let synced = Synced { is_quick: self.is_quick };
        println!("\n{synced}");
        let columns = [&LATENESS[..], &["syncs", "MiB written to a MiB appended"]].concat();
        print("", &columns, &self.each(&synced), 1);
    }

    fn written(&self) {
        println!("\nBytes written to the disk for each byte appended, records of 64 bytes:");
        for every in [1, 10, 100, 1000] {
            let title = format!("a sync after {every}");
            let columns = [
                "as the kernel counts for the process",
                "as the disk counts, its journal and everybody else included",
                "us a sync",
            ];
            let written = Written { every, is_quick: self.is_quick };
            print(&title, &columns, &self.each(&written), 1);
        }
    }
}

/// A line for each way, the medians of its rounds.
pub fn print(title: &str, columns: &[&str], results: &Results, decimals: usize) {
    println!("\n| {title} | {} |\n|---|{}", columns.join(" | "), "---|".repeat(columns.len()));
    for ((name, _), rounds) in ways::ALL.iter().zip(results) {
        let of = |column: usize| median(rounds.iter().map(|round| round[column]).collect());
        let cells: Vec<String> =
            (0..columns.len()).map(|column| format!("{:.decimals$}", of(column))).collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
}
