//! The process that was asked to torture: it starts the rounds, counts, and cleans up.
//!
//! Does not know: what a round does.

use std::fs;
use std::io::{self, IsTerminal, Read, stderr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use maplog::ErrorKind;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::plan::mix;
use super::tally::Tally;
use super::{Args, Kind, Role, mounts};
use crate::failure::report;
use crate::text::say;
use crate::{Failure, Outcome};

/// In this order, so that a short run tries everything.
const ROUNDS: [Kind; 10] = [
    Kind::Planted,
    Kind::Power,
    Kind::Wake,
    Kind::Outage,
    Kind::Traced,
    Kind::Crew,
    Kind::Cuts,
    Kind::Traced,
    Kind::Outage,
    Kind::Crew,
];

/// No round takes as long, but one in which somebody waits for ever.
const LONGEST_ROUND: Duration = Duration::from_secs(180);

/// For this long what a round started may take to die after it.
const ORPHANS: Duration = Duration::from_secs(2);

/// What a round found, and where.
struct Loss {
    kind: Kind,
    round: u64,
    seed: u64,
    found: String,
    log: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let seconds = args.seconds.unwrap_or_else(|| args.minutes.unwrap_or(1).saturating_mul(60));
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let dir = fresh_directory(&args.dir, seed)?;
    let start = Instant::now();
    let mut run = Run {
        args,
        dir,
        bar: bar(seconds),
        until: start.checked_add(Duration::from_secs(seconds)),
        interrupted: when_interrupted()?,
        tally: Tally::default(),
    };
    let lost = run.rounds(seed);
    run.bar.finish_and_clear();
    let took = start.elapsed();
    say(&match args.json {
        true => format!("{}\n", object(&run.tally, seed, took, lost.as_ref().ok())),
        false => run.tally.table(took),
    })?;
    match lost? {
        Some(Loss { kind, round, seed: own, found, log }) => {
            report(&format_args!(
                "loss: {found}; round {round} ({kind}:{own}) of seed {seed}, kept in {}",
                log.display()
            ));
            Ok(Outcome::Damage)
        }
        None => {
            fs::remove_dir_all(&run.dir).map_err(|error| Failure::io(run.dir.display(), &error))?;
            Ok(Outcome::Fine)
        }
    }
}

/// A new directory in `parent`, which is made if it does not exist.
fn fresh_directory(parent: &Path, seed: u64) -> Result<PathBuf, Failure> {
    let fault = |error| Failure::io(parent.display(), &error);
    match fs::create_dir(parent) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(fault(error)),
        _ => {}
    }
    // Workers are started with it as an argument, wherever they are.
    let parent = fs::canonicalize(parent).map_err(fault)?;
    let dir = parent.join(format!("torture-{seed}-{}", std::process::id()));
    fs::create_dir(&dir).map_err(fault)?;
    Ok(dir)
}

fn when_interrupted() -> Result<Arc<AtomicBool>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, interrupted.clone())
            .map_err(|error| Failure::io("watching for signals", &error))?;
    }
    Ok(interrupted)
}

/// On standard error, if somebody sits there.
fn bar(seconds: u64) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} s, {msg}");
    ProgressBar::new(seconds).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

struct Run<'a> {
    args: &'a Args,
    dir: PathBuf,
    bar: ProgressBar,
    until: Option<Instant>,
    interrupted: Arc<AtomicBool>,
    tally: Tally,
}

impl Run<'_> {
    /// One round after the other, until the time is up or one found something. Each kind gets its turn.
    fn rounds(&mut self, seed: u64) -> Result<Option<Loss>, Failure> {
        let begun = Instant::now();
        for round in 0.. {
            let is_over = self.until.is_some_and(|until| Instant::now() >= until);
            if is_over && round >= ROUNDS.len() as u64 {
                break;
            }
            let kind = ROUNDS[(round % ROUNDS.len() as u64) as usize];
            let own = mix(seed, round) >> 16;
            let log = self.dir.join(format!("round-{round}"));
            fs::create_dir(&log).map_err(|error| Failure::io(log.display(), &error))?;
            if let Some(found) = self.round(&log, kind, own)? {
                return Ok(Some(Loss { kind, round, seed: own, found, log }));
            }
            fs::remove_dir_all(&log).map_err(|error| Failure::io(log.display(), &error))?;
            self.bar.set_position(begun.elapsed().as_secs());
            self.bar.set_message(format!("{} rounds", self.tally.rounds));
        }
        Ok(None)
    }

    /// One round, in a process of its own; gives the loss that it found.
    fn round(&mut self, dir: &Path, kind: Kind, seed: u64) -> Result<Option<String>, Failure> {
        let fault = |error| Failure::io("starting a round", &error);
        let mut command = Command::new(std::env::current_exe().map_err(fault)?);
        command.args(["torture", "--as", &Role::Round { kind, seed }.to_string()]).arg(dir);
        if let Some(lie) = self.args.lie.and_then(|lie| clap::ValueEnum::to_possible_value(&lie)) {
            command.args(["--lie", lie.get_name()]);
        }
        // A group of its own, so that Ctrl-C reaches this process, and this one ends them all.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(fault)?;
        let ended = self.wait(&mut child);
        // However it ended.
        let cleared = mounts::clear(&self.dir);
        cleared.map_err(|error| Failure::io("unmounting the disk of a round", &error))?;
        let (mut told, mut said) = (String::new(), String::new());
        if let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) {
            stdout.read_to_string(&mut told).map_err(fault)?;
            stderr.read_to_string(&mut said).map_err(fault)?;
        }
        let said = said.trim().trim_start_matches("maplog: ").replace('\n', "; ");
        self.judge(ended?, &told, &said)
    }

    /// How the round ended; `None` if it had to be ended.
    fn wait(&self, child: &mut Child) -> Result<Option<ExitStatus>, Failure> {
        let fault = |error| Failure::io("waiting for a round", &error);
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().map_err(fault)? {
                return Ok(Some(status));
            }
            let interrupted = self.interrupted.load(Ordering::Relaxed);
            if interrupted || start.elapsed() > LONGEST_ROUND {
                self.kill(child).map_err(fault)?;
                let dir = self.dir.display();
                let sentence = format!("interrupted; what was made so far stays in {dir}");
                return if interrupted {
                    Err(Failure::of(ErrorKind::Io, sentence))
                } else {
                    Ok(None)
                };
            }
            sleep(Duration::from_millis(2));
        }
    }

    /// Ends the round and all that it started.
    fn kill(&self, child: &mut Child) -> io::Result<()> {
        let group = Pid::from_child(child);
        kill_process_group(group, Signal::KILL)?;
        // One that waits for a frozen file system does not die before that takes writes again.
        while child.try_wait()?.is_none() {
            mounts::thaw(&self.dir);
            sleep(Duration::from_millis(1));
        }
        let late = Instant::now() + ORPHANS;
        while test_kill_process_group(group).is_ok() && Instant::now() < late {
            mounts::thaw(&self.dir);
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn judge(
        &mut self,
        ended: Option<ExitStatus>,
        told: &str,
        said: &str,
    ) -> Result<Option<String>, Failure> {
        let Some(status) = ended else {
            self.tally.rounds += 1;
            self.tally.elsewhere += 1;
            return Ok(Some(format!("the round did not end in {LONGEST_ROUND:?}")));
        };
        if let Ok(object) = serde_json::from_str::<Value>(told) {
            self.tally.add(&Tally::of_object(&object["tally"]));
            let found = object["loss"].as_str();
            if found.is_some() || status.success() {
                return Ok(found.map(str::to_owned));
            }
        }
        if status.code() == Some(2) {
            return Err(Failure::of(
                ErrorKind::Io,
                format!("{said}; what was made stays in {}", self.dir.display()),
            ));
        }
        self.tally.rounds += 1;
        self.tally.elsewhere += 1;
        Ok(Some(format!("the process of the round ended with {status}: {said}")))
    }
}

fn object(tally: &Tally, seed: u64, took: Duration, lost: Option<&Option<Loss>>) -> Value {
    let mut object = tally.object();
    object["seed"] = json!(seed);
    object["seconds"] = json!(took.as_secs_f64());
    object["loss"] = match lost.and_then(Option::as_ref) {
        None => Value::Null,
        Some(Loss { kind, round, seed, found, log }) => json!({
            "kind": kind.to_string(),
            "round": round,
            "seed": seed,
            "found": found,
            "log": log.to_string_lossy(),
        }),
    };
    object
}
