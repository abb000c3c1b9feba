//! `maplog stat`: how much there is of a log.

use std::path::PathBuf;

use serde_json::json;

use crate::text::{Grouped, say};
use crate::{Failure, Outcome, open};

/// Tell how much there is of a log, as of now. It reads no record.
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
  first, next   sequence numbers: of the first record, and of the one appended next
  durable       every record below it survives a power cut
  bytes         of the segment files, with what is allocated ahead

Exit status: 0 all is well, 2 wrong usage or an error.

Example:
  printf 'one\\ntwo\\n' | maplog append demo.log
  maplog stat demo.log";

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let reader = open::to_read(&args.log)?;
    let stats = reader.stats()?;
    if args.json {
        let object = json!({
            "log": args.log.to_string_lossy(),
            "records": reader.len(),
            "first_seq": stats.first_seq,
            "next_seq": stats.next_seq,
            "durable_seq": stats.durable_seq,
            "bytes": stats.bytes,
        });
        return say(&format!("{object}\n")).map(|()| Outcome::Fine);
    }
    let text = format!(
        "log       {}\nrecords   {}\nfirst     {}\nnext      {}\ndurable   {}\nsegments  {}\nbytes     {}\n",
        reader.path().display(),
        Grouped(reader.len()),
        stats.first_seq,
        stats.next_seq,
        stats.durable_seq,
        Grouped(stats.segments),
        Grouped(stats.bytes),
    );
    say(&text).map(|()| Outcome::Fine)
}
