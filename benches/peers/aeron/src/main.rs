//! maplog beside Aeron between two processes, in interleaved rounds of one run:
//! `cargo run --release --manifest-path benches/peers/aeron/Cargo.toml -- [--quick]`.
//!
//! Every message carries its number, and the process that receives it compares every byte. Each run is a
//! process of its own that becomes two, each pinned to a CPU; Aeron's driver is a third process.

mod driver;
#[path = "../../../ipc/message.rs"]
mod message;
mod pair;
mod ways;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use driver::Driver;
use pair::{Measure, Plan};
use ways::Way;

const SIZES: [usize; 2] = [64, 1024];
const ROUNDS: usize = 7;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some(driver::ROLE) => driver::serve(&args[1]),
        Some(ROLE) => answer(&args[1..]),
        _ => compare(args.iter().any(|arg| arg == "--quick")),
    }
}

/// The argument that makes this program a run.
const ROLE: &str = "--run";

fn answer(args: &[String]) -> ExitCode {
    let [way, measure, size, quick, dir, driver] = args else { panic!("six arguments") };
    let plan = Plan {
        measure: measure.parse().expect("a measure"),
        size: size.parse().expect("a number"),
        quick: quick == "true",
        dir: PathBuf::from(dir),
        driver: PathBuf::from(driver),
    };
    let figures = match way.parse().expect("a way") {
        Way::Aeron => pair::run::<ways::aeron::AeronEnd>(&plan),
        Way::Maplog => pair::run::<ways::log::LogEnd<true>>(&plan),
        Way::MaplogCold => pair::run::<ways::log::LogEnd<false>>(&plan),
    };
    let figures: Vec<String> = figures.iter().map(f64::to_string).collect();
    println!("{}", figures.join(" "));
    ExitCode::SUCCESS
}

type Results = BTreeMap<(usize, Measure, Way), Vec<Vec<f64>>>;

fn compare(quick: bool) -> ExitCode {
    let scratch = scratch();
    let driver = Driver::start();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let rounds = if quick { 1 } else { ROUNDS };
    let mut results = Results::new();
    for round in 0..rounds {
        for size in SIZES {
            for measure in Measure::ALL {
                for place in 0..Way::ALL.len() {
                    let way = Way::ALL[(place + round) % Way::ALL.len()];
                    driver.wake(way == Way::Aeron);
                    let figures = one(way, measure, size, quick, &scratch, driver.dir());
                    results.entry((size, measure, way)).or_default().push(figures);
                }
            }
        }
    }
    drop(driver);
    std::fs::remove_dir_all(&scratch).expect("the bench's own directory");
    let load = load.split(' ').next().unwrap_or_default();
    print(&results, rounds, load);
    ExitCode::SUCCESS
}

/// On the file system of the build.
fn scratch() -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    let target = program.ancestors().nth(2).expect("target/release/maplog-aeron");
    let scratch = target.join("tmp").join(format!("aeron-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).expect("the build's own directory");
    scratch
}

fn one(
    way: Way,
    measure: Measure,
    size: usize,
    quick: bool,
    scratch: &Path,
    driver: &Path,
) -> Vec<f64> {
    let dir = scratch.join("run");
    std::fs::create_dir(&dir).expect("the bench's own directory");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args([ROLE, &format!("{way:?}"), &format!("{measure:?}")])
        .args([size.to_string(), quick.to_string()])
        .args([&dir, driver])
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("a process");
    std::fs::remove_dir_all(&dir).expect("the run's own directory");
    assert!(output.status.success(), "{way:?}, {measure:?}, {size} B: {}", output.status);
    let answer = String::from_utf8_lossy(&output.stdout);
    // Aeron may have said something before.
    let line = answer.lines().last().expect("figures");
    line.split(' ').map(|figure| figure.parse().expect("a number")).collect()
}

fn print(results: &Results, rounds: usize, load: &str) {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!(
        "## maplog and Aeron between two processes\n\nLinux {}, load {load} before; {rounds} interleaved \
         rounds, medians. Every message is compared by the reader.\n",
        kernel.trim()
    );
    println!(
        "| | Aeron | maplog | how many times better | maplog, cold pages |\n|---|---|---|---|---|"
    );
    for ((size, measure, way), aeron) in results {
        if *way != Way::Aeron {
            continue;
        }
        let [maplog, cold] =
            [Way::Maplog, Way::MaplogCold].map(|way| &results[&(*size, *measure, way)]);
        for (index, name) in measure.figures().iter().enumerate() {
            let better =
                maplog.iter().zip(aeron).map(|(own, other)| match measure.is_throughput() {
                    true => own[index] / other[index],
                    false => other[index] / own[index],
                });
            let better = median(better.collect());
            let of = |runs: &[Vec<f64>]| median(runs.iter().map(|run| run[index]).collect());
            let [aeron, maplog, cold] = [of(aeron), of(maplog), of(cold)];
            println!("| {size} B, {name} | {aeron:.2} | {maplog:.2} | {better:.2}x | {cold:.2} |");
        }
    }
    println!(
        "\n- Aeron: {}.\n- maplog: {}.\n\nWhat Aeron does not do: nothing is on a disk, nothing has a checksum, and what was read is \
         overwritten. It also goes over a network, which maplog does not.",
        ways::aeron::SETTINGS,
        ways::log::SETTINGS
    );
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
