//! `maplog get`: single records, each followed by a newline.

use std::io::{self, Write};
use std::path::PathBuf;

use maplog::Reader;

use crate::cat::check_in_log;
use crate::failure::report;
use crate::{Failure, Outcome, open};

/// Write the records of these sequence numbers to standard output, a newline behind each.
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
}

const AFTER_HELP: &str = "\
Exit status: 0 all is well, 1 records are damaged, 2 wrong usage or an error. If one of the numbers is
not in the log, nothing is written.

Example:
  printf 'one\\ntwo\\nthree\\n' | maplog append demo.log
  maplog get demo.log 2 0";

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let reader = open::to_read(&args.log)?;
    for seq in &args.seqs {
        check_is_record(&reader, *seq)?;
    }
    let mut out = io::stdout().lock();
    let mut outcome = Outcome::Fine;
    for seq in &args.seqs {
        let written = match reader.get(*seq) {
            Ok(Some(record)) => out.write_all(record.data()).and_then(|()| out.write_all(b"\n")),
            Ok(None) => Ok(()),
            Err(error) if error.lost().is_some() => {
                outcome = Outcome::Damage;
                let flushed = out.flush();
                report(&error);
                flushed
            }
            Err(error) => return Err(error.into()),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(outcome),
            written => written.map_err(|error| Failure::io("standard output", &error))?,
        }
    }
    match out.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io("standard output", &error))
        }
        _ => Ok(outcome),
    }
}

fn check_is_record(reader: &Reader, seq: u64) -> Result<(), Failure> {
    check_in_log(reader, seq)?;
    if seq == reader.next_seq() {
        return Err(Failure::new(format!("record {seq} does not exist yet; it is the next")));
    }
    Ok(())
}
