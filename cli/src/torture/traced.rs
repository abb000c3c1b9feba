//! Power cuts that keep no more than what was synced, whatever the file system would have kept besides.
//!
//! ext4 writes more than it is asked for: with a file's new blocks also the file's name. So a worker is traced and
//! dies, mostly as it enters a sync; then images are made of its log that lack names which nobody had synced
//! (`names.rs`), and often some of what was appended behind the durable position. On them stands all that was told to be
//! durable, what was trimmed stays away, and the log goes on. Does not know: how a worker is traced.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::crew::Crew;
use super::images::Files;
use super::names::{Names, is_segment};
use super::power::check_copy;
use super::round::{Round, read_log};
use super::stop::Found;
use super::tails::without_tails;
use super::tally::Fault;
use super::tracer::{NEEDS, Tracer};
use super::twin::Twin;

/// Lives of each log, before it would get too long to check in no time.
const LIVES: usize = 12;
/// Images of each end.
const IMAGES: usize = 3;
const LONGEST_LIFE_MICROS: u64 = 80_000;
/// For this long a worker may take to come to the sync that it dies in; then it is killed where it is.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

pub(crate) fn run(round: &mut Round) -> Found {
    let mut tracer = match Tracer::new(round.dir.join("trace")) {
        Ok(tracer) => tracer,
        Err(why) => {
            round.tally.skip(Fault::Unsynced, format!("{NEEDS} ({why})"));
            return Ok(());
        }
    };
    let mut twin = Twin::new(round.plan());
    let mut segments = Segments::default();
    let mut step = 0;
    for number in 0..LIVES {
        tracer.deadly = match round.rng.u8(..4) {
            // Until something is durable there need not be a log.
            _ if number == 0 => None,
            // At any moment, or closed.
            0 => None,
            1 => Some(("fsync", round.rng.u64(1..6))),
            _ => Some(("fdatasync", round.rng.u64(1..16))),
        };
        step = life(round, &tracer, &mut twin, &mut segments, step)?;
    }
    round.tally.appended += twin.appended;
    Ok(())
}

/// The worker goes on with this step, and images are made of what it leaves; gives the step after its last one.
fn life(
    round: &mut Round,
    tracer: &Tracer,
    twin: &mut Twin,
    segments: &mut Segments,
    first: u64,
) -> Found<u64> {
    let log = round.log();
    let mut crew = Crew::new(&log, round.kind, round.seed);
    crew.tracer = Some(tracer);
    crew.start(0, first)?;
    if first == 0 {
        crew.listen_until(twin, |twin| twin.durable > 0)?;
    }
    let longest = match tracer.deadly {
        Some(_) => LONGEST_WAIT,
        None => Duration::from_micros(round.rng.u64(..LONGEST_LIFE_MICROS)),
    };
    let start = Instant::now();
    while start.elapsed() < longest && crew.all_live()? {
        crew.listen(twin)?;
        segments.open_new(&log)?;
        sleep(Duration::from_micros(300));
    }
    let steps = if tracer.deadly.is_none() && round.rng.u8(..3) == 0 {
        let steps = crew.close_all(twin)?;
        twin.durable = twin.next_seq();
        steps
    } else {
        crew.kill_all(twin)?
    };
    let step = steps[0].1;
    let told = twin.clone();
    segments.open_new(&log)?;
    segments.names.take(&tracer.trace()?, &log)?;
    let reader = read_log(&log)?;
    round.tally.compared += twin.settle(&reader, false)?;
    let durable = reader.durable_seq().max(told.durable);
    drop(reader);
    let expected = twin.as_told_before(&told, twin.next_seq());
    // Who dies while it opens the log has perhaps synced more than the page says.
    let was_open = step > first + 1;
    let files = segments.files()?;
    for _ in 0..IMAGES {
        round.trying(Fault::Unsynced);
        let names = segments.names.left(&mut round.rng);
        let mut left = files.clone();
        left.retain(|name, _| names.contains(name));
        for (name, bytes) in &mut left {
            if segments.names.may_be_zeros(name) && round.rng.bool() {
                bytes.fill(0);
            }
        }
        if was_open && round.rng.u8(..4) > 0 {
            left = without_tails(round, &left, durable);
        }
        check_copy(round, &left, &expected, durable)?;
    }
    Ok(step)
}

/// A log's segments, also those that were removed since.
#[derive(Default)]
struct Segments {
    names: Names,
    open: BTreeMap<String, File>,
}

impl Segments {
    /// An open file stays, whatever becomes of its name.
    fn open_new(&mut self, log: &Path) -> Found {
        for entry in fs::read_dir(log)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_segment(&name) && !self.open.contains_key(&name) {
                match File::open(entry.path()) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    file => drop(self.open.insert(name, file?)),
                }
            }
        }
        Ok(())
    }

    /// Those that a power cut may leave. One that was removed before it could be opened here stays away: that may be.
    fn files(&mut self) -> Found<Files> {
        let possible = self.names.possible();
        self.open.retain(|name, _| possible.contains(name));
        let mut files = Files::new();
        for (name, file) in &self.open {
            let mut bytes = vec![0; file.metadata()?.len() as usize];
            file.read_exact_at(&mut bytes, 0)?;
            files.insert(name.clone(), bytes);
        }
        Ok(files)
    }
}
