//! Which records of a log are meant: the same flags for every command that takes some of many.

use std::ops::Range;
use std::time::SystemTime;

use maplog::{ErrorKind, Reader};

use crate::Failure;

/// Records from one sequence number to another, or since a time.
#[derive(clap::Args)]
pub(crate) struct Selection {
    /// The sequence number to start at; the log's first if not given
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// The sequence number to stop before; the log's next if not given
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
    /// Leave out what is known to be older: a time as 2026-01-31T12:00:00Z, or so long ago, as 90s, 1h, 2days
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<SystemTime>,
    /// Stop after N sequence numbers; a lost record counts
    #[arg(short = 'n', value_name = "N")]
    count: Option<u64>,
}

/// What `--help` says of `--since`.
macro_rules! since_help {
    () => {
        "\
Of the records around a given time --since writes a few KiB that may be older: the log notes the time
about every 4 KiB. Where its clock went back, it starts at a place where the clock passed that time.

"
    };
}
pub(crate) use since_help as SINCE_HELP;

/// A time, or how long ago one was.
fn parse_time(text: &str) -> Result<SystemTime, String> {
    if let Ok(time) = humantime::parse_rfc3339(text) {
        return Ok(time);
    }
    let ago = humantime::parse_duration(text).ok();
    ago.and_then(|ago| SystemTime::now().checked_sub(ago)).ok_or_else(|| {
        "expected a time since 1970, as 2026-01-31T12:00:00Z, or how long ago, as 90s or 1h".into()
    })
}

impl Selection {
    /// The sequence numbers that it names; of too many the last ones, if `reverse`.
    pub(crate) fn asked(&self, reader: &Reader, reverse: bool) -> Result<Range<u64>, Failure> {
        let mut from = self.from.unwrap_or(reader.first_seq());
        check_in_log(reader, from)?;
        if let Some(since) = self.since {
            from = from.max(reader.seek_time(since)?);
        }
        let to = self.to.unwrap_or(u64::MAX).min(reader.next_seq()).max(from);
        let count = self.count.unwrap_or(u64::MAX);
        Ok(match reverse {
            true => from.max(to.saturating_sub(count))..to,
            false => from..from.saturating_add(count).min(to),
        })
    }
}

pub(crate) fn check_in_log(reader: &Reader, from: u64) -> Result<(), Failure> {
    let first = reader.first_seq();
    if from < first {
        let text = format!("record {from} is gone; the first that is left is {first}");
        return Err(Failure::of(ErrorKind::Trimmed, text));
    }
    check_not_past_end(reader, from)
}

pub(crate) fn check_not_past_end(reader: &Reader, from: u64) -> Result<(), Failure> {
    let next = reader.next_seq();
    if from > next {
        let text = format!("record {from} does not exist yet; the next is {next}");
        return Err(Failure::of(ErrorKind::OutOfRange, text));
    }
    Ok(())
}
