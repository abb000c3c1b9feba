//! maplog beside Aeron between two processes, in interleaved rounds of one run:
//! `cargo run --release --manifest-path benches/peers/aeron/Cargo.toml -- [--quick]`.
//!
//! Every message carries its number, and the process that receives it compares every byte. Each run is a
//! process of its own that becomes two, each pinned to a CPU; Aeron's driver is a third process.

mod driver;
#[path = "../../../ipc/message.rs"]
mod message;
mod pair;
#[path = "../../../common/touch.rs"]
mod touch;
mod ways;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use driver::{Driver, Idle};
use pair::{Measure, Plan};
use ways::Way;

const SIZES: [usize; 2] = [64, 1024];
const ROUNDS: usize = 7;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some(driver::ROLE) => driver::serve(&args[1], &args[2]),
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
        Way::Aeron | Way::AeronSleeping => pair::run::<ways::aeron::AeronEnd>(&plan),
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
    let drivers = Idle::ALL.map(Driver::start);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let rounds = if quick { 1 } else { ROUNDS };
    let mut results = Results::new();
    for round in 0..rounds {
        for size in SIZES {
            for measure in Measure::ALL {
                for place in 0..Way::ALL.len() {
                    let way = Way::ALL[(place + round) % Way::ALL.len()];
                    let run = |driver: &Path| one(way, measure, size, quick, &scratch, driver);
                    let driver = drivers.iter().find(|driver| Some(driver.idle) == way.idle());
                    let figures = match driver {
                        Some(driver) => driver.awake(run),
                        None => run(Path::new("")),
                    };
                    results.entry((size, measure, way)).or_default().push(figures);
                }
            }
        }
    }
    drop(drivers);
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
        "| (how many times better maplog is) | Aeron | Aeron, `sleep-ns` | maplog | maplog, cold pages |\n\
         |---|---|---|---|---|"
    );
    for (size, measure) in SIZES.iter().flat_map(|size| Measure::ALL.map(|measure| (size, measure)))
    {
        let runs = Way::ALL.map(|way| &results[&(*size, measure, way)]);
        let [_, _, maplog, _] = runs;
        for (index, name) in measure.figures().iter().enumerate() {
            let cells = Way::ALL.iter().zip(runs).map(|(way, runs)| {
                let figure = median(runs.iter().map(|run| run[index]).collect());
                let better = maplog.iter().zip(runs).map(|(own, other)| {
                    let ratio = own[index] / other[index];
                    if measure.is_throughput() { ratio } else { 1.0 / ratio }
                });
                match way.idle() {
                    Some(_) => format!("{figure:.2} ({:.2})", median(better.collect())),
                    None => format!("{figure:.2}"),
                }
            });
            println!("| {size} B, {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
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
