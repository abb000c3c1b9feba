//! Power cuts of a disk in use: what its file system had not written is gone, whatever the log believed.
//!
//! A worker appends, rolls, syncs, trims and closes; at random moments the disk is taken as it is. On what is left
//! stands all that was told to be durable, what was trimmed stays away, and the log goes on. This is
//! where a missing sync shows, which no death of a process makes visible. That the disk itself drops or reorders
//! what it was given is not tried. Does not know: how a disk is cut off.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use super::crew::Crew;
use super::disk::{Bench, Disk, NEEDS};
use super::plan::mix;
use super::power::check;
use super::round::{Round, read_log};
use super::stop::{Found, Stop};
use super::tally::Fault;
use super::twin::Twin;
use crate::Failure;

/// Cuts of each log, before it would get too long to check in no time.
const CUTS: usize = 8;

pub(crate) fn run(round: &mut Round) -> Found {
    let bench = match Bench::new(&round.dir) {
        Ok(bench) => bench,
        Err(why) => {
            round.tally.skip(Fault::Outage, format!("{NEEDS} ({why})"));
            return Ok(());
        }
    };
    let disk = bench.disk().map_err(failed)?;
    // Somebody else who syncs shows what is named and not yet whole; alone, nothing is synced but by the log.
    for (life, is_alone) in (0..).zip([false, true]) {
        one_log(round, &disk, mix(round.seed, life), is_alone)?;
    }
    Ok(())
}

/// The machine cannot do it: nothing is known about the log.
fn failed(why: String) -> Stop {
    Stop::Failure(Failure::of(maplog::ErrorKind::Io, why))
}

fn one_log(round: &mut Round, disk: &Disk<'_>, seed: u64, is_alone: bool) -> Found {
    let log = disk.path().join(seed.to_string());
    let mut twin = Twin::new(round.kind.plan(seed));
    let mut crew = Crew::new(&log, round.kind, seed);
    crew.start(0, 0)?;
    let _neighbour = (!is_alone).then(|| Neighbour::start(disk.path(), seed)).transpose()?;
    // Until something is durable there need not be a log.
    crew.listen_until(&mut twin, |twin| twin.durable > 0)?;
    for _ in 0..CUTS {
        sleep(Duration::from_micros(round.rng.u64(100..60_000)));
        crew.listen(&mut twin)?;
        if round.rng.u8(..4) == 0 {
            let steps = crew.close_all(&mut twin)?;
            twin.durable = twin.next_seq();
            if round.rng.bool() {
                steps.iter().try_for_each(|(worker, step)| crew.start(*worker, *step))?;
                sleep(Duration::from_micros(round.rng.u64(..20_000)));
                cut(round, disk, &mut crew, &mut twin)?;
            } else {
                cut(round, disk, &mut crew, &mut twin)?;
                steps.iter().try_for_each(|(worker, step)| crew.start(*worker, *step))?;
            }
        } else {
            cut(round, disk, &mut crew, &mut twin)?;
        }
    }
    crew.close_all(&mut twin)?;
    round.tally.appended += twin.appended;
    Ok(())
}

/// The power goes; what is on the disk is compared with what was told before, and with what the worker, who knows
/// nothing of it, tells afterwards.
fn cut(round: &mut Round, disk: &Disk<'_>, crew: &mut Crew<'_>, twin: &mut Twin) -> Found {
    round.trying(Fault::Outage);
    let told = twin.clone();
    let left = disk.cut_power().map_err(failed)?;
    let back = disk.restore_power(&left).map_err(failed)?;
    let log = back.join(crew.seed.to_string());
    let reader = read_log(&log)?;
    let (first, next) = (reader.first_seq(), reader.next_seq());
    drop(reader);
    // What it was doing then it has told of since, or does soon.
    crew.listen_until(twin, |twin| twin.next_seq() >= next && twin.may_begin_at() >= first)?;
    // It would fill the disk meanwhile.
    crew.hands.iter_mut().try_for_each(|hand| hand.stop())?;
    twin.ends_whole(next)?;
    let expected = twin.as_told_before(&told, next);
    check(round, &log, &expected, told.durable)?;
    disk.forget(&back).map_err(failed)?;
    crew.hands.iter_mut().try_for_each(|hand| hand.go_on())
}

/// Somebody else on the same disk, who syncs a file of his own: that may write names, and no data, of others.
struct Neighbour {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Neighbour {
    fn start(dir: &Path, seed: u64) -> Found<Self> {
        let mut file = File::create(dir.join("neighbour"))?;
        file.write_all(&[0])?;
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let mut rng = fastrand::Rng::with_seed(seed);
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                sleep(Duration::from_micros(rng.u64(500..20_000)));
                // A full disk is the worker's to report.
                let _what_it_holds_is_nothing = file.write_all_at(&[1; 100], 0);
                let _nobody_relies_on_it = file.sync_all();
            }
        });
        Ok(Neighbour { over, thread: Some(thread) })
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _it_does_not_panic = self.thread.take().map(JoinHandle::join);
    }
}
