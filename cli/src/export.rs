//! `maplog export`: records as a stream that can be carried elsewhere.

use std::io::{IsTerminal, stdout};
use std::path::PathBuf;

use crate::cat::{let_go_bytes, write_all};
use crate::form::{FORM_HELP, Form};
use crate::output::{Output, unbuffered_stdout};
use crate::progress::Progress;
use crate::selection::{SINCE_HELP, Selection};
use crate::{Failure, Outcome, open};

/// Write records to standard output as a stream that `maplog import` reads.
///
/// It writes what was in the log when it started: before each record its length in bytes, as 4 bytes,
/// little-endian; nothing else. Where records are damaged it says on standard error which are lost, and
/// goes on behind them.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The log's directory
    log: PathBuf,
    #[command(flatten)]
    selection: Selection,
    /// Write one JSON object a line: {"seq":N,"data":"text"}, or {"seq":N,"base64":"..."} where a
    /// record is not UTF-8
    #[arg(long)]
    pub(crate) json: bool,
    /// Write before each record its length, as it does without being told to
    #[arg(long, conflicts_with = "json")]
    length_prefixed: bool,
}

const AFTER_HELP: &str = concat!(
    SINCE_HELP!(),
    FORM_HELP!(),
    "\
Exit status: 0 all is well, 1 records are damaged, 2 wrong usage or an error. A reader of the output
that wants no more of it is no error.

Example:
  printf 'one\\ntwo\\nthree\\n' | maplog append demo.log
  maplog export demo.log > demo.records
  maplog export demo.log --from 1 | maplog import copy.log
  maplog cat copy.log
  maplog export demo.log --json -n 1"
);

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let form = if args.json { Form::Json } else { Form::LengthPrefixed };
    if form == Form::LengthPrefixed && stdout().is_terminal() {
        let text =
            "standard output is a terminal; send it to a file (`> FILE`) or a pipe, or use --json";
        return Err(Failure::usage(text));
    }
    let mut reader = open::to_read(&args.log)?;
    let asked = args.selection.asked(&reader, false)?;
    let out = unbuffered_stdout()?;
    // Into a pipe, whoever reads it may have something to show there.
    let progress = match out.metadata().is_ok_and(|metadata| metadata.is_file()) {
        true => Progress::records(asked.end - asked.start),
        false => Progress::none(),
    };
    let mut output = Output::new(out, form).showing(progress);
    let let_go_bytes = let_go_bytes(&reader)?;
    let written = write_all(&mut reader, asked, false, let_go_bytes, &mut output);
    output.finish(written)
}
