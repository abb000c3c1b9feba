//! `maplog get`: single records.

use std::io::Write;
use std::path::PathBuf;

use maplog::{ErrorKind, Reader};

use crate::form::{FORM_HELP, FormFlags};
use crate::output::{Output, Stop, unbuffered_stdout};
use crate::selection::check_in_log;
use crate::{Failure, Outcome, open};

/// Write the records of these sequence numbers to standard output, a newline behind each, or in
/// another form.
///
/// It reads no more of the log than it takes to find them. Of damaged ones it says on standard error that
/// they are lost, and goes on with the next.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The log's directory
    log: PathBuf,
    /// Sequence numbers, in any order
    #[arg(value_name = "SEQ", required = true)]
    seqs: Vec<u64>,
    #[command(flatten)]
    pub(crate) form: FormFlags,
}

const AFTER_HELP: &str = concat!(
    FORM_HELP!(),
    "\
Exit status: 0 all is well, 1 records are damaged, 2 wrong usage or an error. If one of the numbers is
not in the log, nothing is written. A reader of the output that wants no more of it is no error.

Example:
  printf 'one\\ntwo\\nthree\\n' | maplog append demo.log
  maplog get demo.log 2 0
  maplog get --json demo.log 1"
);

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let reader = open::to_read(&args.log)?;
    for seq in &args.seqs {
        check_is_record(&reader, *seq)?;
    }
    let mut output = Output::new(unbuffered_stdout()?, args.form.form());
    let written = write_all(&reader, &args.seqs, &mut output);
    output.finish(written)
}

fn write_all<W: Write>(reader: &Reader, seqs: &[u64], output: &mut Output<W>) -> Result<(), Stop> {
    for seq in seqs {
        match reader.get(*seq) {
            Ok(Some(record)) => output.record(record)?,
            Ok(None) => {}
            Err(error) if error.lost().is_some() => output.lost(&error)?,
            Err(error) => return Err(Stop::Read(error.into())),
        }
    }
    Ok(())
}

fn check_is_record(reader: &Reader, seq: u64) -> Result<(), Failure> {
    check_in_log(reader, seq)?;
    if seq == reader.next_seq() {
        let text = format!("record {seq} does not exist yet; it is the next");
        return Err(Failure::of(ErrorKind::OutOfRange, text));
    }
    Ok(())
}
