//! `maplog torture`: a log on the user's own disk, and everything that may happen to it.
//!
//! The command starts one process for each round, one after the other, and a round starts the workers that it
//! kills: what happens to a process of a round is a finding, and never the end of the command. Each round has
//! a log of its own and a twin of it, made of what the workers told (`twin.rs`). Power cuts are played on
//! copies (`images.rs` and `names.rs` say which are fair), and made on disks of their own (`disk.rs`). Does not know: how a log is
//! written; it uses the public API, and docs/format.md where it harms files (`frames.rs`).

mod crew;
mod disk;
mod flips;
mod follower;
mod frames;
mod images;
mod message;
mod mounts;
mod names;
mod outage;
mod plan;
mod planted;
mod power;
mod round;
mod stop;
mod story;
mod supervise;
mod tails;
mod tally;
mod traced;
mod tracer;
mod twin;
mod wake;
mod worker;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::{Failure, Outcome};
use stop::Stop;
use twin::Lie;

/// Try hard to make a log lose something, on your own disk.
///
/// It makes logs in a new directory inside DIR, one after the other, and lets several processes append to
/// them, which it kills and stops at random moments. It flips bits, cuts tails, and plays power cuts on
/// copies. As root, where mkfs.ext4 and mount are, it also makes small disks with a file system of their own, in files,
/// and cuts off their power while a log on them is appended to. Where strace is, it learns what a log had synced when its process
/// died, and takes from a copy what nobody had. Each record is compared with what was sent: one that is gone, changed, doubled or out
/// of order without a word is a loss, and so is a process that waits for ever. It tells what it tried and how many
/// losses it found, and ends at the first one.
///
/// Nothing but the new directory is touched, and what it mounted there is unmounted. It goes away when all is well, and stays after a loss.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// A directory on the file system to try, made if it does not exist
    dir: PathBuf,
    /// For how long, in minutes; 1 if nothing is given
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    minutes: Option<u64>,
    /// For how long, in seconds
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// What the rounds are made of: those of a run that found something, say. When a process is killed is
    /// up to the machine all the same
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// What this process is, if not the one that was asked to torture
    #[arg(long = "as", hide = true)]
    role: Option<Role>,
    /// Remember something that never happened, which must be found
    #[arg(long, hide = true)]
    lie: Option<Lie>,
}

const AFTER_HELP: &str = "\
What it cannot do is cut the power of DIR's own disk. A copy shows what a power cut may leave as far as that
can be told from outside, a small disk what its file system had not written yet; whether a real disk keeps what
it says it synced, neither can tell.

Exit status: 0 all is well, 1 a loss was found, 2 wrong usage or an error, also if it was interrupted.

With --json:
  seed                of the rounds
  seconds             that it took
  rounds              how many
  appended            records whose appending returned
  compared            records that were read and compared, some of them many times
  faults              each with how often it was tried, and the losses found; and if it had to be left
                      out, with why it was skipped
  loss                null, or what was found: the round, its kind, its seed, what, and where the log is
More may be added; what is there keeps its meaning.

Example:
  maplog torture --seconds 4 --seed 7 .";

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let done = match args.role {
        None => return supervise::run(args),
        Some(Role::Round { kind, seed }) => return round::run(&args.dir, kind, seed, args.lie),
        Some(Role::Worker { kind, seed, worker, first }) => {
            worker::run(&args.dir, kind.plan(seed), worker, first)
        }
        Some(Role::Batcher { seed }) => planted::append_batches(&args.dir, seed),
    };
    match done {
        Ok(()) => Ok(Outcome::Fine),
        Err(Stop::Failure(failure)) => Err(failure),
        Err(Stop::Loss(sentence)) => {
            crate::failure::report(&sentence);
            Ok(Outcome::Damage)
        }
    }
}

/// What a round does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Several workers, killed and stopped; at last flipped bits and cut tails.
    Crew,
    /// One worker, who also cuts and trims the log.
    Cuts,
    /// Power cuts, played on copies.
    Power,
    /// Power cuts of a disk of its own.
    Outage,
    /// Power cuts that keep no name and no byte which nobody synced.
    Traced,
    /// What a power cut leaves that looks like the log's own.
    Planted,
    /// Readers that sleep.
    Wake,
}

const KINDS: [(Kind, &str); 7] = [
    (Kind::Crew, "crew"),
    (Kind::Cuts, "cuts"),
    (Kind::Power, "power"),
    (Kind::Outage, "outage"),
    (Kind::Traced, "traced"),
    (Kind::Planted, "planted"),
    (Kind::Wake, "wake"),
];

impl Kind {
    fn plan(self, seed: u64) -> plan::Plan {
        match self {
            Kind::Outage | Kind::Traced => plan::Plan::often_durable(seed),
            _ => plan::Plan::new(seed, self == Kind::Cuts),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        KINDS.iter().filter(|(kind, _)| kind == self).try_for_each(|(_, name)| f.write_str(name))
    }
}

/// What a process of a torture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Round {
        kind: Kind,
        seed: u64,
    },
    Worker {
        kind: Kind,
        seed: u64,
        worker: u32,
        first: u64,
    },
    /// It appends large batches until it is killed.
    Batcher {
        seed: u64,
    },
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Round { kind, seed } => write!(f, "round:{kind}:{seed}"),
            Role::Worker { kind, seed, worker, first } => {
                write!(f, "worker:{kind}:{seed}:{worker}:{first}")
            }
            Role::Batcher { seed } => write!(f, "batcher:{seed}"),
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split(':').collect();
        let kind = |word: &str| KINDS.iter().find(|(_, name)| *name == word).map(|(kind, _)| *kind);
        let role = match words[..] {
            ["round", what, seed] => {
                kind(what).zip(seed.parse().ok()).map(|(kind, seed)| Role::Round { kind, seed })
            }
            ["worker", what, seed, worker, first] => (|| {
                let (seed, worker) = (seed.parse().ok()?, worker.parse().ok()?);
                Some(Role::Worker { kind: kind(what)?, seed, worker, first: first.parse().ok()? })
            })(),
            ["batcher", seed] => seed.parse().ok().map(|seed| Role::Batcher { seed }),
            _ => None,
        };
        role.ok_or_else(|| format!("no role: {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_what_it_is() {
        let roles = [
            Role::Round { kind: Kind::Power, seed: u64::MAX },
            Role::Worker { kind: Kind::Cuts, seed: 1, worker: 2, first: 3 },
            Role::Batcher { seed: 4 },
        ];
        for role in roles {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert!("round:nothing:1".parse::<Role>().is_err());
    }
}
