//! `maplog bench`: what this disk and this machine make of a log, next to their bare means.
//!
//! Every contender does the same work on the same records in turns, and what it wrote is read back.

mod bare;
mod chart;
mod contest;
mod follow;
mod ours;
mod place;
mod records;
mod report;
mod tail;
mod times;
mod written;

use std::path::PathBuf;

use self::contest::{Contest, WORKS};
use self::place::Place;
use self::records::Records;
use self::report::Report;
use crate::progress::Progress;
use crate::text::{parse_size, say};
use crate::{Failure, Outcome};

/// Measure appending, syncing, reading and following on this disk, for half a minute.
///
/// Next to maplog, the same records go through a bare mapping (copied into a mapped file that was allocated
/// beforehand: no lock, no checksum, no growth) and through write(2) and its like (pread, fdatasync, a pipe).
/// All work in turns in a new directory inside DIR, which is removed at the end; it takes up to 300 MiB.
/// What was written is read back and compared.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// A directory on the disk in question
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// How long it may take, about
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Size of a record, from 16 to 64K
    #[arg(long, value_name = "SIZE", default_value = "100", value_parser = parse_record)]
    record: u64,
    /// Write one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw a chart into this file, too
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Be the second process, which follows what the first writes
    #[arg(long, value_name = "WAY", hide = true)]
    follow: Option<follow::Way>,
}

const AFTER_HELP: &str = "\
What is measured:
  append        one record at a time, not synced
  batch         100 records at a time, all or nothing; a time is for all of them
  sync          one record at a time, each on stable storage before the next
  group commit  the same, by 16 threads at once
  iterate       all records in order
  get           records by number, at random, of a log that was read before
  tail          from before the append to when a second process has the record, 4,000 a second at most
The rate is taken without looking at the clock; the times, of single calls, with it: what that costs is
told and included. Percentiles of few calls say little: --json has how many.

Exit status: 0 all is well, 1 what was read back is not what was written, 2 wrong usage or an error.

With --json:
  dir, record_bytes, seconds, clock_ns
  works                each with work, and ways, each with
    way                maplog, mapping or write
    records_per_second null for tail
    calls              that were timed
    p50_ns, p99_ns, p999_ns, max_ns
More may be added; what is there keeps its meaning.

Example:
  mkdir place
  maplog bench place --seconds 1 --svg chart.svg
  maplog bench place --seconds 1 --json
  rmdir place";

fn parse_record(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text)?;
    let range = records::LEAST_BYTES as u64..=64 << 10;
    range.contains(&bytes).then_some(bytes).ok_or_else(|| "expected 16 to 64K".to_owned())
}

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let records = Records::new(args.record as usize);
    if let Some(way) = &args.follow {
        return follow::run(way, &args.dir, &records).map(|()| Outcome::Fine);
    }
    // A name that cannot be written to is found before half a minute has passed.
    let svg = args.svg.as_deref().map(report::SvgFile::create).transpose()?;
    let place = Place::make(&args.dir)?;
    let progress = Progress::steps(WORKS.len() as u64);
    let contest = Contest::new(&place, &records, args.seconds);
    let mut works = Vec::new();
    for work in WORKS {
        works.push(contest.hold(work).map_err(|failure| place.meant(failure))?);
        progress.moved(1);
    }
    drop(progress);
    place.remove()?;
    let report = Report { dir: &args.dir, record_bytes: args.record, seconds: args.seconds, works };
    if let Some(svg) = svg {
        svg.write(&chart::draw(&report))?;
    }
    say(&if args.json { format!("{}\n", report.object()) } else { report.table() })?;
    Ok(Outcome::Fine)
}
