//! `maplog verify`: checking every frame of a log.

use std::fmt::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use maplog::{CutReport, SegmentReport, Verification};
use serde_json::{Value, json};

use crate::progress::Progress;
use crate::text::{Grouped, counted, say};
use crate::{Failure, Outcome};

/// Check every record, header and slot of a log, up to what was there when it began.
///
/// It changes nothing, and others may append meanwhile. It tells a line for each segment, and last a
/// line for the log. What a crash or a cut left behind the end is no damage and told as cut.
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
Exit status: 0 all is well, 1 damage was found, 2 wrong usage or an error; a read that fails is an
error.

With --json, where a RANGE is [from, to], without its end, of bytes in a file or of sequence numbers:
  log                 the path as it was given
  intact              true if no record is lost and nothing is damaged but spare copies
  first_seq           of the log's first record
  next_seq            behind its last record
  records             how many are whole
  lost                RANGEs of records
  segments            those that count, each with
    id, base_seq      as in the name of its file
    end_seq           where the next segment's records begin
    records           how many are whole
    file_bytes        size of its file
    used_bytes        of header and whole frames
    damaged           RANGEs of bytes
    lost              RANGEs of records
    spare_copy_damaged  true if a copy of its header or a slot is damaged whose twin serves
    unreadable        why nothing in it can be read, or null
  cut                 what is on disk and not part of the log, each with
    segment           the segment's id
    bytes             RANGE of bytes
More may be added; what is there keeps its meaning.

Example:
  printf 'one\\ntwo\\n' | maplog append demo.log
  maplog verify demo.log
  maplog verify --json demo.log";

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let progress = Progress::bytes(0);
    let found = maplog::verify(&args.log, |done, total| progress.at(done, total));
    drop(progress);
    let found = found?;
    say(&match args.json {
        true => format!("{}\n", object(&args.log, &found)),
        false => lines(&found),
    })?;
    Ok(if found.is_intact() { Outcome::Fine } else { Outcome::Damage })
}

fn object(log: &Path, found: &Verification) -> Value {
    json!({
        "log": log.to_string_lossy(),
        "intact": found.is_intact(),
        "first_seq": found.first_seq,
        "next_seq": found.next_seq,
        "records": found.records(),
        "lost": ranges(&found.lost),
        "segments": found.segments.iter().map(segment_object).collect::<Value>(),
        "cut": found.cut.iter().map(cut_object).collect::<Value>(),
    })
}

fn segment_object(segment: &SegmentReport) -> Value {
    json!({
        "id": segment.id,
        "base_seq": segment.base_seq,
        "end_seq": segment.end_seq,
        "records": segment.records,
        "file_bytes": segment.file_bytes,
        "used_bytes": segment.used_bytes,
        "damaged": ranges(&segment.damaged),
        "lost": ranges(&segment.lost),
        "spare_copy_damaged": segment.spare_copy_damaged,
        "unreadable": segment.unreadable,
    })
}

fn cut_object(cut: &CutReport) -> Value {
    json!({ "segment": cut.segment, "bytes": [cut.bytes.start, cut.bytes.end] })
}

fn ranges(ranges: &[Range<u64>]) -> Value {
    ranges.iter().map(|range| json!([range.start, range.end])).collect()
}

fn lines(found: &Verification) -> String {
    let mut text = String::new();
    let mut cut = found.cut.iter().peekable();
    for segment in &found.segments {
        while let Some(gone) = cut.next_if(|cut| cut.segment < segment.id) {
            text += &cut_line(gone);
        }
        let own: Vec<_> =
            std::iter::from_fn(|| cut.next_if(|cut| cut.segment == segment.id)).collect();
        text += &segment_line(segment, &own);
    }
    cut.for_each(|gone| text += &cut_line(gone));
    text + &last_line(found)
}

fn segment_line(segment: &SegmentReport, cut: &[&CutReport]) -> String {
    let SegmentReport { id, records, file_bytes, .. } = segment;
    let mut line =
        format!("segment {id}: {}, {}", counted(*records, "record"), counted(*file_bytes, "byte"));
    if let Some(why) = &segment.unreadable {
        let _never_fails = write!(line, "; unreadable: {why}");
    }
    if !segment.damaged.is_empty() {
        line = line + "; damaged bytes " + &list(&segment.damaged);
    }
    if !segment.lost.is_empty() {
        line = line + "; lost records " + &list(&segment.lost);
    }
    if segment.spare_copy_damaged {
        line += "; a spare copy is damaged, the other serves";
    }
    for CutReport { bytes, .. } in cut.iter().map(|cut| (*cut).clone()) {
        let _never_fails = write!(line, "; cut bytes {}..{}", bytes.start, bytes.end);
    }
    line + "\n"
}

fn cut_line(cut: &CutReport) -> String {
    format!("segment {}: cut, {}\n", cut.segment, counted(cut.bytes.end, "byte"))
}

fn last_line(found: &Verification) -> String {
    let lost: u64 = found.lost.iter().map(|range| range.end - range.start).sum();
    let bytes: u64 = found.segments.iter().map(|segment| segment.file_bytes).sum();
    let verdict = match found.is_intact() {
        true => "intact".to_owned(),
        false if lost == 0 => "damaged, no record lost".to_owned(),
        false => format!("damaged, {} lost ({})", counted(lost, "record"), list(&found.lost)),
    };
    format!(
        "{} ({}..{}) in {}, {}: {verdict}\n",
        counted(found.records(), "record"),
        found.first_seq,
        found.next_seq,
        counted(found.segments.len() as u64, "segment"),
        counted(bytes, "byte"),
    )
}

/// More of them in one line help nobody; --json has all.
const LISTED: usize = 8;

fn list(ranges: &[Range<u64>]) -> String {
    let shown = ranges.iter().take(LISTED);
    let mut list =
        shown.map(|range| format!("{}..{}", range.start, range.end)).collect::<Vec<_>>().join(" ");
    if ranges.len() > LISTED {
        let _never_fails = write!(list, " and {} more", Grouped((ranges.len() - LISTED) as u64));
    }
    list
}
