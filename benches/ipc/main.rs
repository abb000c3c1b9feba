//! The ways between two processes of one machine, and maplog among them, in one run: how many messages
//! go one way in a second, and how long one takes.
//!
//! Every message carries its number, and the process that receives it compares every byte. Each run is
//! a process of its own that becomes two. `MAPLOG_BENCH_SVG=<path>` draws a chart as well. Arguments that
//! name ways or sizes leave the others out.
#![allow(missing_docs, unreachable_pub, clippy::print_stdout)]

#[path = "../common/mod.rs"]
mod common;

mod chart;
mod message;
mod pair;
mod plan;
mod results;
mod sweeper;
mod table;
mod ways;

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use common::Settings;
use plan::{LIMIT_SECONDS, Measure, Plan};
use results::Results;
use sweeper::Sweeper;
use ways::Known;

const SIZES: [usize; 2] = [64, 1024];
const ROUNDS: usize = 7;
/// No round is begun that would end later.
const LIMIT: Duration = Duration::from_secs(110);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == sweeper::ROLE) {
        sweeper::sweep();
        return ExitCode::SUCCESS;
    }
    match Plan::from_args(&args) {
        Some(plan) => answer(&plan),
        None => return compare(&args),
    }
    ExitCode::SUCCESS
}

/// A run tells the bench what it found out.
fn answer(plan: &Plan) {
    match ways::run(plan) {
        Ok(figures) => {
            let values: Vec<String> = figures.values.iter().map(f64::to_string).collect();
            println!("settings {}\nvalues {}", figures.settings, values.join(" "));
        }
        Err(missing) => println!("missing {}", missing.0),
    }
}

/// The bench.
fn compare(args: &[String]) -> ExitCode {
    let quick = Settings::from_args().rounds == 1;
    let ways = named(args);
    let dir = common::tempdir();
    let sweeper = Sweeper::start(dir.path());
    let sizes = Settings::sizes(&SIZES);
    let mut results = Results::new(load());
    let start = Instant::now();
    loop {
        let round = Instant::now();
        round_of(&ways, &sizes, quick, dir.path(), &sweeper, &mut results);
        results.rounds += 1;
        let is_last = quick || results.rounds == ROUNDS;
        if is_last || start.elapsed() + round.elapsed() > LIMIT {
            break;
        }
    }
    table::print(&ways, &sizes, &results, dir.path());
    if let Some(path) = std::env::var_os("MAPLOG_BENCH_SVG") {
        std::fs::write(&path, chart::draw(&ways, &results)).expect("a place for the chart");
        println!("\nThe chart is in {}.", Path::new(&path).display());
    }
    drop(dir);
    sweeper.finish();
    if results.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How busy the machine was before: spinning readers want both CPUs for themselves.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

fn named(args: &[String]) -> Vec<&'static Known> {
    let is_named = |way: &&Known| args.iter().any(|arg| arg == way.key);
    match ways::ALL.iter().any(|way| is_named(&way)) {
        true => ways::ALL.iter().filter(is_named).collect(),
        false => ways::ALL.iter().collect(),
    }
}

/// Every way once with every size and measure.
fn round_of(
    ways: &[&'static Known],
    sizes: &[usize],
    quick: bool,
    dir: &Path,
    sweeper: &Sweeper,
    results: &mut Results,
) {
    for &size in sizes {
        for measure in Measure::ALL {
            for way in ways.iter().filter(|way| way.can(measure)) {
                if results.missing.contains_key(way.key) {
                    continue;
                }
                let plan =
                    Plan { way: way.key.to_owned(), measure, size, quick, dir: dir.join("run") };
                match run(&plan, sweeper) {
                    Ok(answer) => results.take(way, size, measure, &answer),
                    Err(failure) => {
                        results
                            .failures
                            .push(format!("{}, {size} B, {measure:?}: {failure}", way.key));
                    }
                }
            }
        }
    }
}

/// One run in a process of its own; gives what it printed.
fn run(plan: &Plan, sweeper: &Sweeper) -> Result<String, String> {
    std::fs::create_dir(&plan.dir).expect("the bench's own directory");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(plan.to_args())
        .stdin(sweeper.pipe())
        .stderr(Stdio::inherit())
        .output()
        .expect("a process");
    std::fs::remove_dir_all(&plan.dir).expect("the run's own directory");
    match (output.status.success(), output.status.signal()) {
        (true, _) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        (false, Some(libc::SIGALRM)) => Err(format!("it hung for {LIMIT_SECONDS} s")),
        (false, Some(libc::SIGTERM)) => Err("the second process failed".to_owned()),
        (false, _) => Err(output.status.to_string()),
    }
}
