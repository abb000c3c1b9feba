//! Lives of a log: workers append, die, are stopped, close; after each life everything is compared.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use maplog::Log;

use super::crew::Crew;
use super::follower::Follower;
use super::round::{Round, close_log, is_intact, open_log, read_log};
use super::stop::{Found, broke, loss};
use super::tally::Fault;
use super::twin::Twin;
use super::{Kind, flips, images, tails};

/// Of a log's files.
const LARGE_BYTES: usize = 8 << 20;

/// A worker who did nothing before.
const NEWCOMER: u32 = 7;

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Killed,
    Closed,
}

/// Several workers.
pub(crate) fn of_many(round: &mut Round) -> Found {
    let workers = round.rng.u32(2..5);
    let lives = round.rng.usize(2..5);
    lives_of(round, workers, lives)
}

/// One worker, who cuts the log, and dies while he does.
pub(crate) fn of_one(round: &mut Round) -> Found {
    let lives = round.rng.usize(6..12);
    lives_of(round, 1, lives)
}

fn lives_of(round: &mut Round, workers: u32, lives: usize) -> Found {
    let log = round.log();
    let mut twin = Twin::new(round.plan());
    // Somebody who sees the others die, or nobody: then who comes next recovers the log.
    let mut witness = Some(open_log(&log, &round.plan())?);
    let follower = Follower::start(&log, twin.plan.cuts);
    let mut steps: Vec<(u32, u64)> = (0..workers).map(|worker| (worker, 0)).collect();
    let mut end = End::Killed;
    for _ in 0..lives {
        if round.rng.bool() {
            witness.take().map(close_log).transpose()?;
        }
        let mut crew = Crew::new(&log, round.kind, round.seed);
        (steps, end) = live(round, &mut crew, &mut twin, &steps)?;
        round.lie_to(&mut twin);
        settle(round, &log, &mut twin, witness.as_ref(), end)?;
    }
    witness.map(close_log).transpose()?;
    round.tally.compared += follower.finish(&twin)?;
    is_intact(&log)?;
    round.tally.appended += twin.appended;
    harm(round, &log, &mut twin, end == End::Closed)
}

/// One life; gives where each worker goes on.
fn live(
    round: &mut Round,
    crew: &mut Crew<'_>,
    twin: &mut Twin,
    steps: &[(u32, u64)],
) -> Found<(Vec<(u32, u64)>, End)> {
    for (worker, step) in steps {
        crew.start(*worker, *step)?;
    }
    let alone = steps.len() == 1;
    let before = twin.appended;
    // Who is alone dies soon: then, likely, in the middle of a cut.
    let longest = if alone { 60 } else { 500 };
    let over = Instant::now() + Duration::from_millis(round.rng.u64(3..longest));
    let was_killed = !alone && round.rng.u8(..4) > 0;
    while Instant::now() < over {
        sleep(Duration::from_micros(round.rng.u64(200..20_000)));
        crew.listen(twin)?;
        if was_killed {
            disturb(round, crew, twin)?;
        }
    }
    if round.rng.bool() {
        crew.all_go_on(twin)?;
    }
    let end = if round.rng.u8(..3) > 0 { End::Killed } else { End::Closed };
    let steps = match end {
        End::Killed => {
            round.trying(Fault::AllKilled);
            crew.kill_all(twin)?
        }
        End::Closed => {
            round.trying(Fault::Closed);
            crew.close_all(twin)?
        }
    };
    count_drops(round, twin);
    // Where nothing was appended behind a death, the log stays as the death left it.
    let is_clean = end == End::Closed && !was_killed && twin.appended > before;
    Ok((steps, if is_clean { End::Closed } else { End::Killed }))
}

/// One of several dies, or stands still for a while, perhaps with the append lock.
fn disturb(round: &mut Round, crew: &mut Crew<'_>, twin: &mut Twin) -> Found {
    let index = round.rng.usize(..crew.hands.len());
    match round.rng.u8(..6) {
        0..3 => {
            round.trying(Fault::WriterKilled);
            crew.replace(index, twin)?;
        }
        3 => {
            round.trying(Fault::WriterStopped);
            crew.hands[index].stop()?;
            sleep(Duration::from_millis(round.rng.u64(1..80)));
            match round.rng.bool() {
                true => crew.hands[index].go_on()?,
                false => {
                    round.trying(Fault::WriterKilled);
                    crew.replace(index, twin)?;
                }
            }
        }
        4 => crew.all_go_on(twin)?,
        _ => {}
    }
    Ok(())
}

fn count_drops(round: &mut Round, twin: &mut Twin) {
    let (cuts, trims) = std::mem::take(&mut twin.drops);
    let last = round.tally.trying;
    round.tally.tried_many(Fault::Cut, cuts);
    round.tally.tried_many(Fault::Trimmed, trims);
    round.tally.trying = last;
}

/// Compares all of the log with its twin: as a reader finds it, and as it is when it was taken over from
/// the dead, or opened again. Sometimes that is left to the workers of the next life.
fn settle(
    round: &mut Round,
    path: &Path,
    twin: &mut Twin,
    witness: Option<&Log>,
    end: End,
) -> Found {
    if let Some(log) = witness {
        // What the dead had published and not told of is found by who takes the lock from them.
        drop(log.writer().map_err(|error| broke("taking over", error))?);
        return taken_over(round, path, twin, log);
    }
    if twin.knows_its_end() {
        round.tally.compared += twin.settle(&read_log(path)?, false)?;
    }
    if round.kind == Kind::Crew && round.rng.u8(..3) > 0 {
        return Ok(());
    }
    let log = open_log(path, &twin.plan)?;
    let recovery = log.recovery().clone();
    let as_expected = if end == End::Closed { recovery.clean } else { recovery.live };
    if !recovery.lost.is_empty() || !(as_expected || recovery.clean) {
        return loss(format!("only processes ended, {end:?}, and opening found {recovery:?}"));
    }
    taken_over(round, path, twin, &log)?;
    close_log(log)
}

/// Somebody alive has the log open.
fn taken_over(round: &mut Round, path: &Path, twin: &mut Twin, log: &Log) -> Found {
    round.tally.compared += twin.settle(&read_log(path)?, true)?;
    let durable = log.sync().map_err(|error| broke("syncing", error))?;
    let next = twin.next_seq();
    if (durable, log.next_seq()) != (next, next) {
        return loss(format!(
            "the log was found to end at {next}; opened, it ends at {}, durable to {durable}",
            log.next_seq()
        ));
    }
    twin.durable = twin.durable.max(durable);
    spot_checks(round, log, twin)
}

/// Single records, and the newest ones backwards.
fn spot_checks(round: &mut Round, log: &Log, twin: &Twin) -> Found {
    let reader = log.reader();
    for _ in 0..20.min(reader.len()) {
        let seq = round.rng.u64(reader.first_seq()..reader.next_seq());
        match reader.get(seq) {
            Ok(Some(record)) => twin.matches(record, seq)?,
            other => return loss(format!("record {seq} was asked for: {other:?}")),
        }
    }
    let newest = (reader.first_seq()..reader.next_seq()).rev().take(100);
    for (item, seq) in reader.iter().rev().zip(newest) {
        match item {
            Ok(record) => twin.matches(record, seq)?,
            Err(error) => return loss(format!("backwards, at record {seq}: {error}")),
        }
    }
    Ok(())
}

/// What disks do to the files of a log that nobody has open.
fn harm(round: &mut Round, log: &Path, twin: &mut Twin, was_closed: bool) -> Found {
    if round.kind == Kind::Crew && !was_closed {
        opens_and_dies(round, log, twin)?;
    }
    let files = images::read(log)?;
    let bytes: usize = files.values().map(Vec::len).sum();
    // A copy of a large log is work for the disk, and shows no more than one of a small one.
    let copies = if bytes > LARGE_BYTES { 1 } else { 4 };
    for _ in 0..copies {
        flips::in_copy(round, &files, twin, was_closed)?;
        tails::cut_copy(round, log, &files, twin)?;
    }
    flips::in_place(round, log, &files, twin)
}

/// Somebody opens the log, perhaps appends a little, and dies. Then the page says where the log ends and how
/// far it is durable; the last ones may have died while they opened it, when it does not yet.
fn opens_and_dies(round: &mut Round, log: &Path, twin: &mut Twin) -> Found {
    round.trying(Fault::AllKilled);
    let mut crew = Crew::new(log, round.kind, round.seed);
    crew.start(NEWCOMER, 0)?;
    crew.all_go_on(twin)?;
    crew.kill_all(twin)?;
    twin.settle(&read_log(log)?, false).map(drop)
}
