//! `maplog stat`: how much there is of a log, and who has it open.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use maplog::{ErrorKind, Reader, SegmentStat, Stats};
use serde_json::{Value, json};

use crate::text::{Grouped, say};
use crate::who::{Process, processes};
use crate::{Failure, Outcome, open};

/// Tell how much there is of a log, segment by segment, as of now, and who has it open.
///
/// It reads no record but a few. `maplog verify` reads all.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The log's directory
    log: PathBuf,
    /// Write one JSON object instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

const AFTER_HELP: &str = "\
It tells:
  first, next   sequence numbers: of the first record, and of the one appended next
  durable       every record below it survives a power cut
  bytes         of the segment files, with what is allocated ahead
  waste         of them: allocated ahead, left over, cut or trimmed; what damage hides is not counted
  trimmed       records that are gone, and whose space comes back when their segment holds no others
  appending     how many processes have it open to append; those that this user may see, by their ids
  reading       processes that have it mapped to read now, as far as this user may see

and for each segment what it was made for (first, roll, cut, reset, recovery, copy), when by the clock of
that time, how far it notes the log as durable, and its state: open if the log ends in it, closed if the
log was closed there, ended if another follows, cut if nothing in it counts any more, unreadable.

Exit status: 0 all is well, 2 wrong usage or an error.

With --json, where what is not known is null:
  log                 the path as it was given
  records             how many sequence numbers it holds
  first_seq, next_seq, durable_seq
  bytes, waste_bytes, trimmed  as above
  appending           how many processes
  processes           those that are seen, each with pid, name, and appends: true or false
  segments            each with id, base_seq, end_seq, file_bytes, used_bytes, created (seconds since 1970
                      UTC), reason, epoch, noted_durable_seq, state
More may be added; what is there keeps its meaning.

Example:
  printf 'one\\ntwo\\n' | maplog append demo.log
  maplog stat demo.log
  maplog stat --json demo.log";

/// What is told.
struct Found {
    reader: Reader,
    stats: Stats,
    segments: Vec<SegmentStat>,
    /// `None` if this user may not know.
    appending: Option<usize>,
    processes: Vec<Process>,
}

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let reader = open::to_read(&args.log)?;
    let appending = match reader.appenders() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
        count => Some(count?),
    };
    let (segments, processes) = (reader.segments()?, processes(&args.log));
    let stats = reader.stats()?;
    let found = Found { reader, stats, segments, appending, processes };
    say(&match args.json {
        true => format!("{}\n", found.object(&args.log)),
        false => found.lines(),
    })?;
    Ok(Outcome::Fine)
}

impl Found {
    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.file_bytes).sum()
    }

    fn waste_bytes(&self) -> u64 {
        self.segments.iter().filter_map(waste_bytes).sum()
    }

    fn object(&self, log: &Path) -> Value {
        let process = |process: &Process| json!({ "pid": process.pid, "name": process.name, "appends": process.appends });
        json!({
            "log": log.to_string_lossy(),
            "records": self.reader.len(),
            "first_seq": self.reader.first_seq(),
            "next_seq": self.reader.next_seq(),
            "durable_seq": self.reader.durable_seq(),
            "bytes": self.bytes(),
            "waste_bytes": self.waste_bytes(),
            "trimmed": self.stats.trimmed,
            "appending": self.appending,
            "processes": self.processes.iter().map(process).collect::<Value>(),
            "segments": self.segments.iter().map(segment_object).collect::<Value>(),
        })
    }

    fn lines(&self) -> String {
        let reader = &self.reader;
        let mut text = String::new();
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            let _never_fails = writeln!(text, "{name:<10}{value}");
        };
        line("log", &reader.path().display());
        line("records", &Grouped(reader.len()));
        line("first", &reader.first_seq());
        line("next", &reader.next_seq());
        line("durable", &reader.durable_seq());
        line("segments", &Grouped(self.segments.len() as u64));
        line("bytes", &Grouped(self.bytes()));
        line("waste", &Grouped(self.waste_bytes()));
        line("trimmed", &Grouped(self.stats.trimmed));
        line("appending", &self.appending());
        line("reading", &self.named(false).unwrap_or_else(|| "nobody seen".to_owned()));
        text + "\n" + &table(&self.segments)
    }

    fn appending(&self) -> String {
        let count = match self.appending {
            None => "not known, permission denied".to_owned(),
            Some(0) => return "nobody".to_owned(),
            Some(1) => "1 process".to_owned(),
            Some(count) => format!("{count} processes"),
        };
        match self.named(true) {
            Some(names) => format!("{count}: {names}"),
            None => count,
        }
    }

    fn named(&self, appends: bool) -> Option<String> {
        let those = self.processes.iter().filter(|process| process.appends == appends);
        let names = those.map(|process| format!("{} {}", process.pid, process.name));
        let names = names.collect::<Vec<_>>().join(", ");
        (!names.is_empty()).then_some(names)
    }
}

fn waste_bytes(segment: &SegmentStat) -> Option<u64> {
    Some(segment.file_bytes.saturating_sub(segment.used_bytes?))
}

/// In small letters, as `--help` has it.
fn word(name: impl std::fmt::Debug) -> String {
    format!("{name:?}").to_lowercase()
}

fn segment_object(segment: &SegmentStat) -> Value {
    let created = segment.created.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    json!({
        "id": segment.id,
        "base_seq": segment.base_seq,
        "end_seq": segment.end_seq,
        "file_bytes": segment.file_bytes,
        "used_bytes": segment.used_bytes,
        "created": created.map(|time| time.as_secs_f64()),
        "reason": segment.reason.map(word),
        "epoch": segment.epoch,
        "noted_durable_seq": segment.noted_durable_seq,
        "state": word(segment.state),
    })
}

const COLUMNS: [&str; 8] =
    ["segment", "records", "bytes", "waste", "durable", "made for", "created", "state"];

/// A line for each segment under the names of the columns, numbers to the right.
fn table(segments: &[SegmentStat]) -> String {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows.extend(segments.iter().map(row));
    let widths = COLUMNS.map(|_| 0);
    let widths = rows.iter().fold(widths, |widths, row| {
        std::array::from_fn(|column| row[column].len().max(widths[column]))
    });
    let mut text = String::new();
    for row in &rows {
        let cells =
            row.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column < 5 {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text += "\n";
    }
    text
}

fn row(segment: &SegmentStat) -> [String; 8] {
    let unknown = || "?".to_owned();
    let number =
        |number: Option<u64>| number.map_or_else(unknown, |number| Grouped(number).to_string());
    [
        segment.id.to_string(),
        format!("{}..{}", segment.base_seq, segment.end_seq),
        Grouped(segment.file_bytes).to_string(),
        number(waste_bytes(segment)),
        segment.noted_durable_seq.map_or_else(unknown, |seq| seq.to_string()),
        segment.reason.map_or_else(unknown, word),
        segment.created.map_or_else(unknown, seconds),
        word(segment.state),
    ]
}

/// As 2026-01-31T12:00:00Z. A clock that stood before 1970 has no such text.
fn seconds(time: SystemTime) -> String {
    match time.duration_since(UNIX_EPOCH) {
        Ok(_) => humantime::format_rfc3339_seconds(time).to_string(),
        Err(_) => "?".to_owned(),
    }
}
