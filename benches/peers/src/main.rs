//! The same work on maplog and on what else one could use, in interleaved rounds, each run in a process
//! of its own: `cargo run --release --manifest-path benches/peers/Cargo.toml -- [names] [rows] [--quick]`.
//!
//! It prints Markdown; `MAPLOG_BENCH_SVG=<path>` draws a chart as well. Names of peers or rows leave the
//! others out. Every run reads back what it appended and compares it.

mod chart;
mod peer;
mod peers;
mod records;
mod results;
mod row;
mod run;
mod scratch;
mod table;

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use peer::About;
use results::Results;
use row::Row;
use run::{Run, Step};
use scratch::Scratch;

const ROUNDS: usize = 9;
/// No round is begun that would end later.
const LIMIT: Duration = Duration::from_secs(840);
/// A run that takes longer hangs.
const RUN_SECONDS: u32 = 60;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().is_some_and(|arg| arg == ROLE) {
        true => answer(&args[1..]),
        false => compare(&args),
    }
}

/// The argument that makes this program a run.
const ROLE: &str = "--run";

/// A run tells the bench what it found out.
fn answer(args: &[String]) -> ExitCode {
    let [name, row, step, dir, rest @ ..] = args else { panic!("five arguments or four") };
    // SAFETY: the call takes a number, and nobody handles the signal: it ends the process.
    unsafe { libc::alarm(RUN_SECONDS) };
    let signal = Some(rustix::process::Signal::KILL);
    rustix::process::set_parent_process_death_signal(signal).expect("a signal");
    let step = match step.as_str() {
        "die" => Step::Die,
        "after" => Step::After,
        _ => Step::Whole,
    };
    let row = Row::named(row).expect("a row");
    let run = Run { row, quick: !rest.is_empty(), dir: Path::new(dir), step };
    match peers::visit(name, run) {
        Some(value) => println!("value {value}"),
        None => println!("missing"),
    }
    ExitCode::SUCCESS
}

fn compare(args: &[String]) -> ExitCode {
    let quick = args.iter().any(|arg| arg == "--quick");
    let rows: Vec<Row> = args.iter().filter_map(|arg| Row::named(arg)).collect();
    let rows = if rows.is_empty() { Row::ALL.to_vec() } else { rows };
    let named = |about: &&About| args.iter().any(|arg| arg.eq_ignore_ascii_case(about.name));
    let peers: Vec<&About> = peers::ALL.iter().filter(named).collect();
    let peers = if peers.is_empty() { peers::ALL.iter().collect() } else { peers };
    let known = |arg: &str| {
        arg == "--quick"
            || Row::named(arg).is_some()
            || peers::ALL.iter().any(|about| arg.eq_ignore_ascii_case(about.name))
    };
    if let Some(unknown) = args.iter().find(|arg| !known(arg)) {
        let names: Vec<&str> = peers::ALL.iter().map(|about| about.name).collect();
        let rows = Row::ALL.map(|row| row.title().name);
        eprintln!("{unknown} is none of {} nor {}", names.join(" "), rows.join(" "));
        return ExitCode::FAILURE;
    }

    let scratch = Scratch::new();
    let mut results = Results::new();
    let start = Instant::now();
    loop {
        let round = Instant::now();
        for row in &rows {
            for place in 0..peers.len() {
                // Who comes first is another one in each round.
                let about = peers[(place + results.rounds) % peers.len()];
                eprint!("\r\x1b[K{} {}", row.title().name, about.name);
                let outcome = run(about.name, *row, quick, &scratch.fresh());
                results.take(about.name, *row, outcome);
            }
        }
        results.rounds += 1;
        let is_last = quick || results.rounds == ROUNDS;
        if is_last || start.elapsed() + round.elapsed() > LIMIT {
            break;
        }
    }
    eprintln!("\r\x1b[K{} s", start.elapsed().as_secs());
    print!("{}", table::draw(&peers, &rows, &results, scratch.path(), quick));
    if let Some(path) = std::env::var_os("MAPLOG_BENCH_SVG") {
        std::fs::write(&path, chart::draw(&peers, &results)).expect("a place for the chart");
        println!("\nThe chart is in {}.", Path::new(&path).display());
    }
    if results.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One run in a process of its own, or in the one that comes after it; `None` if the peer cannot.
fn run(name: &str, row: Row, quick: bool, dir: &Path) -> Result<Option<f64>, String> {
    let process = |step: &str| {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args([ROLE, name, row.title().name, step]).arg(dir);
        command.args(quick.then_some("quick")).stderr(Stdio::piped());
        let output = command.output().expect("a process");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status, String::from_utf8_lossy(&output.stdout).into_owned(), errors)
    };
    let (mut status, mut answer, mut errors) = match row {
        Row::ReopenKilled => process("die"),
        _ => process("whole"),
    };
    if status.signal() == Some(libc::SIGKILL) {
        (status, answer, errors) = process("after");
    }
    if !status.success() {
        return Err(why(status, &errors));
    }
    let value = answer.lines().find_map(|line| line.strip_prefix("value "));
    Ok(value.map(|value| value.parse().expect("a number")))
}

fn why(status: ExitStatus, errors: &str) -> String {
    match status.signal() {
        Some(libc::SIGALRM) => format!("it took longer than {RUN_SECONDS} s"),
        Some(signal) => format!("signal {signal}"),
        None => {
            errors.lines().filter(|line| !line.is_empty()).take(3).collect::<Vec<_>>().join(" ")
        }
    }
}
