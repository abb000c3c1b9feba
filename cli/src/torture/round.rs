//! One round: a log, a twin, and one kind of trouble.

use std::path::{Path, PathBuf};

use fastrand::Rng;
use maplog::{Log, Reader, Verification};
use serde_json::json;

use super::plan::{Plan, mix};
use super::stop::{Found, Stop, broke, loss};
use super::tally::{Fault, Tally};
use super::twin::{Lie, Twin};
use super::{Kind, outage, planted, power, story, traced, wake};
use crate::text::say;
use crate::{Failure, Outcome, open};

/// What a round has at hand.
pub(crate) struct Round {
    /// A directory of its own.
    pub(crate) dir: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) seed: u64,
    pub(crate) rng: Rng,
    pub(crate) tally: Tally,
    lie: Option<Lie>,
}

/// Tells on standard output what was tried and found.
pub(crate) fn run(dir: &Path, kind: Kind, seed: u64, lie: Option<Lie>) -> Result<Outcome, Failure> {
    let rng = Rng::with_seed(mix(seed, 1));
    let tally = Tally::of_a_round();
    let mut round = Round { dir: dir.to_owned(), kind, seed, rng, tally, lie };
    let done = match kind {
        Kind::Crew => story::of_many(&mut round),
        Kind::Cuts => story::of_one(&mut round),
        Kind::Power => power::run(&mut round),
        Kind::Outage => outage::run(&mut round),
        Kind::Traced => traced::run(&mut round),
        Kind::Planted => planted::run(&mut round),
        Kind::Wake => wake::run(&mut round),
    };
    let found = match done {
        Ok(()) => None,
        Err(Stop::Loss(sentence)) => Some(sentence),
        Err(Stop::Failure(failure)) => return Err(failure),
    };
    if found.is_some() {
        round.tally.lost();
    }
    say(&format!("{}\n", json!({ "tally": round.tally.object(), "loss": found })))?;
    Ok(if found.is_some() { Outcome::Damage } else { Outcome::Fine })
}

impl Round {
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    pub(crate) fn copy(&self) -> PathBuf {
        self.dir.join("copy")
    }

    pub(crate) fn plan(&self) -> Plan {
        self.kind.plan(self.seed)
    }

    /// Tells the twin the lie that was asked for, once.
    pub(crate) fn lie_to(&mut self, twin: &mut Twin) {
        if let Some(lie) = self.lie.take() {
            twin.lie(lie);
        }
    }

    pub(crate) fn trying(&mut self, fault: Fault) {
        self.tally.tried(fault);
    }
}

/// Opens a log that must open.
pub(crate) fn open_log(path: &Path, plan: &Plan) -> Found<Log> {
    open::to_append(path, &plan.options()).map_err(|error| broke("opening the log", error))
}

/// Reads a log that must be readable.
pub(crate) fn read_log(path: &Path) -> Found<Reader> {
    open::to_read(path).map_err(|error| broke("opening the log to read", error))
}

/// Closes a log that must close.
pub(crate) fn close_log(log: Log) -> Found {
    log.close().map_err(|error| broke("closing the log", error))
}

pub(crate) fn verify_log(path: &Path) -> Found<Verification> {
    maplog::verify(path, |_, _| {}).map_err(|error| broke("verifying the log", error))
}

/// Of a log that nobody harmed.
pub(crate) fn is_intact(path: &Path) -> Found {
    let found = verify_log(path)?;
    match found.is_intact() {
        true => Ok(()),
        false => loss(format!("verify reports damage that nobody made: {found:?}")),
    }
}
