//! `maplog trim`: giving the space of old records back.

use std::path::PathBuf;
use std::time::Duration;

use maplog::{Log, Retention, SegmentStat};
use serde_json::json;

use crate::selection::check_not_past_end;
use crate::text::{counted, parse_size, say};
use crate::{Failure, Outcome, open};

/// Drop the oldest records, and give back the space of segments that hold none any more.
///
/// --before is exact. The other limits drop whole segments, and never the one that appends go to: up to a
/// segment more is kept than they say. Of several the one that drops most counts. Others may append and
/// read meanwhile; what they hold of dropped records stays readable to them.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The log's directory
    log: PathBuf,
    #[command(flatten)]
    limits: Limits,
    /// Drop nothing that a consumer of the log has not done
    #[arg(long)]
    not_past_consumers: bool,
    /// Write one JSON object instead of a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = true)]
struct Limits {
    /// Drop the records below this sequence number
    #[arg(long, value_name = "SEQ", conflicts_with_all = ["keep_bytes", "keep_age", "keep_segments"])]
    before: Option<u64>,
    /// Drop the oldest segments while all are larger than this together, as 65536, 64K, 16M or 1G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    keep_bytes: Option<u64>,
    /// Drop segments all of whose records are older than this, as 90s, 1h, 2days
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    keep_age: Option<Duration>,
    /// Drop the oldest segments while there are more than this
    #[arg(long, value_name = "N")]
    keep_segments: Option<u64>,
}

const AFTER_HELP: &str = "\
Exit status: 0 all is well, whether or not there was anything to drop, 2 wrong usage or an error.

With --json:
  dropped              how many records
  first_seq, next_seq  of what is left: of its first record, and of the one appended next
  freed_segments       how many files were removed
  freed_bytes          their size
More may be added; what is there keeps its meaning.

Example:
  seq 5000 | maplog append --segment-size 16K demo.log
  maplog trim demo.log --before 100
  maplog trim demo.log --keep-bytes 64K
  maplog trim demo.log --keep-segments 2 --keep-age 1h --json
  maplog cat demo.log -n 1";

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    // Before the log is opened to append, which keeps to the limits at once.
    let reader = open::to_read(&args.log)?;
    let (first_before, before) = (reader.first_seq(), reader.segments()?);
    if let Some(seq) = args.limits.before {
        check_not_past_end(&reader, seq)?;
    }
    drop(reader);
    let log = open::to_append(&args.log, &args.options())?;
    let first_seq = match args.limits.before {
        Some(seq) if args.not_past_consumers => log.trim_before(seq.min(done_by_all(&log)?))?,
        Some(seq) => log.trim_before(seq)?,
        None => log.enforce_retention()?,
    };
    let next_seq = log.next_seq();
    let freed = freed(&before, &log.reader().segments()?);
    log.close()?;
    let dropped = first_seq.saturating_sub(first_before);
    let bytes: u64 = freed.iter().map(|segment| segment.file_bytes).sum();
    let text = if args.json {
        let object = json!({
            "dropped": dropped,
            "first_seq": first_seq,
            "next_seq": next_seq,
            "freed_segments": freed.len(),
            "freed_bytes": bytes,
        });
        format!("{object}\n")
    } else {
        format!(
            "dropped {} ({first_before}..{first_seq}), freed {}, {}; left are {first_seq}..{next_seq}\n",
            counted(dropped, "record"),
            counted(freed.len() as u64, "segment"),
            counted(bytes, "byte"),
        )
    };
    say(&text).map(|()| Outcome::Fine)
}

/// Those of the segments that are gone.
fn freed<'a>(before: &'a [SegmentStat], after: &[SegmentStat]) -> Vec<&'a SegmentStat> {
    let is_left = |id: u64| after.binary_search_by_key(&id, |segment| segment.id).is_ok();
    before.iter().filter(|segment| !is_left(segment.id)).collect()
}

/// Below it all records are done by all consumers.
fn done_by_all(log: &Log) -> Result<u64, Failure> {
    let consumers = log.consumers()?;
    let next = consumers.iter().map(|one| one.next_seq.unwrap_or(log.first_seq()));
    Ok(next.min().unwrap_or(u64::MAX))
}

impl Args {
    fn options(&self) -> maplog::Options {
        let Limits { keep_bytes, keep_age, keep_segments, .. } = &self.limits;
        let mut retention = Retention::default();
        if self.not_past_consumers {
            retention = retention.not_past_any(u64::MAX);
        }
        if let Some(bytes) = *keep_bytes {
            retention = retention.max_bytes(bytes);
        }
        if let Some(age) = *keep_age {
            retention = retention.max_age(age);
        }
        if let Some(segments) = *keep_segments {
            retention = retention.max_segments(segments);
        }
        Log::options().create(false).retention(retention)
    }
}
