//! The same work by each way in turns, so that what the machine does meanwhile meets all of them.

use std::time::{Duration, Instant};

use super::place::Place;
use super::records::Records;
use super::times::{Round, Times};
use super::{bare, ours, tail, written};
use crate::Failure;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Append,
    Batch,
    Sync,
    Group,
    Iterate,
    Get,
    Tail,
}

pub(super) const WORKS: [Work; 7] =
    [Work::Append, Work::Batch, Work::Sync, Work::Group, Work::Iterate, Work::Get, Work::Tail];

/// How it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Maplog,
    Mapping,
    Write,
}

const WAYS: [Way; 3] = [Way::Maplog, Way::Mapping, Way::Write];

/// Threads that sync at once.
pub(super) const THREADS: u64 = 16;
pub(super) const BATCH: u64 = 100;

/// A round writes or reads no more than this for each second of the whole, and no more than so much.
const SECOND_BYTES: u64 = 2 << 20;
const ROUND_BYTES: u64 = 32 << 20;
/// What stands beside each record, at most.
const BESIDE_BYTES: u64 = 32;
/// So many turns each way has at least, if they are as long as they should be.
const TURNS: u32 = 5;

impl Work {
    pub(super) fn name(self) -> &'static str {
        match self {
            Work::Append => "append",
            Work::Batch => "batch",
            Work::Sync => "sync",
            Work::Group => "group commit",
            Work::Iterate => "iterate",
            Work::Get => "get",
            Work::Tail => "tail",
        }
    }
}

impl Way {
    pub(super) fn name(self) -> &'static str {
        match self {
            Way::Maplog => "maplog",
            Way::Mapping => "mapping",
            Way::Write => "write",
        }
    }
}

/// What was measured of a work, by each way that can do it.
pub(super) struct Held {
    pub(super) work: Work,
    pub(super) ways: Vec<(Way, Times)>,
}

pub(super) struct Contest<'a> {
    place: &'a Place,
    records: &'a Records,
    /// For each work.
    time: Duration,
    round_bytes: u64,
}

impl<'a> Contest<'a> {
    pub(super) fn new(place: &'a Place, records: &'a Records, seconds: u64) -> Self {
        let time = Duration::from_secs(seconds) / WORKS.len() as u32;
        let round_bytes = ROUND_BYTES.min(seconds.saturating_mul(SECOND_BYTES));
        Contest { place, records, time, round_bytes }
    }

    pub(super) fn hold(&self, work: Work) -> Result<Held, Failure> {
        let ways: Vec<_> =
            WAYS.into_iter().filter(|way| (work, *way) != (Work::Tail, Way::Mapping)).collect();
        let mut held = Held { work, ways: ways.iter().map(|way| (*way, Times::new())).collect() };
        let round = self.round(work, ways.len() as u32);
        let begun = Instant::now();
        loop {
            for (way, times) in &mut held.ways {
                self.turn(work, *way, round, times)?;
            }
            if begun.elapsed() >= self.time {
                return Ok(held);
            }
        }
    }

    fn round(&self, work: Work, ways: u32) -> Round {
        let records = if work == Work::Batch { BATCH } else { 1 };
        let call_bytes = records * (self.records.bytes() as u64 + BESIDE_BYTES);
        let is_slow = matches!(work, Work::Sync | Work::Group | Work::Tail);
        Round {
            time: self.time / ways / TURNS,
            calls: (self.round_bytes / call_bytes).max(2),
            records,
            stride: if is_slow { 1 } else { 64 },
        }
    }

    fn turn(&self, work: Work, way: Way, round: Round, times: &mut Times) -> Result<(), Failure> {
        let path = self.place.named("work");
        let turn = Turn { path: &path, records: self.records, round, times };
        match (way, work) {
            (Way::Maplog, Work::Tail) => tail::through_a_log(turn),
            (_, Work::Tail) => tail::through_a_pipe(turn),
            (Way::Maplog, _) => ours::turn(work, turn),
            (Way::Mapping, _) => bare::turn(work, turn),
            (Way::Write, _) => written::turn(work, turn),
        }
    }
}

/// One turn of one way: it makes `path`, does its work, reads back what it wrote, and removes it.
pub(super) struct Turn<'a> {
    pub(super) path: &'a std::path::Path,
    pub(super) records: &'a Records,
    pub(super) round: Round,
    pub(super) times: &'a mut Times,
}
