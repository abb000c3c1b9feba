//! `maplog import`: a stream that `maplog export` wrote, into a log.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use crate::feed::{Objects, Prefixed};
use crate::taking::{CreateFlags, Taking};
use crate::{Failure, Outcome, progress};

/// Append the records of a stream that `maplog export` wrote.
///
/// LOG is created if it does not exist. The records get the log's next sequence numbers, in the order of the
/// stream. If the stream ends inside a record, the records before it stay, and it says at which byte. A
/// stream that was cut between two records is whole.
///
/// With --json, the numbers in the stream have to ascend, and are used for nothing else.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The log's directory
    log: PathBuf,
    /// The file to read; standard input if it is `-` or not given
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Wait at the end until all records are on stable storage
    #[arg(long)]
    sync: bool,
    #[command(flatten)]
    create: CreateFlags,
    /// Read objects as `export --json` writes them, and write the last line as one; an error too, behind it
    #[arg(long)]
    pub(crate) json: bool,
    /// Read records with their lengths before them, as it does without being told to
    #[arg(long, conflicts_with = "json")]
    length_prefixed: bool,
}

const AFTER_HELP: &str = "\
Exit status: 0 all is well, 1 records were lost where the stream was made, as it says itself with --json,
2 wrong usage or an error; what was appended before an error stays.

With --json the last line has what that of `append --json` has, and:
  lost                how many records the stream says were lost

Example:
  printf 'one\\ntwo\\n' | maplog append demo.log
  maplog export demo.log > demo.records
  maplog import copy.log demo.records
  maplog export demo.log --json | maplog import copy.log --json --sync
  maplog cat copy.log";

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let (name, input) = input(args)?;
    let mut taking = Taking::start(&args.log, &args.create)?;
    let max_record = taking.max_record();
    if !args.json {
        let taken = taking.take(&mut Prefixed::new(&name, input, max_record));
        return taking.end(taken, args.sync, false);
    }
    let mut objects = Objects::new(&name, input, max_record);
    let taken = taking.take(&mut objects);
    taking.lost(objects.lost());
    taking.end(taken, args.sync, true)
}

/// Opens the input before anything is created.
fn input(args: &Args) -> Result<(String, Box<dyn io::Read>), Failure> {
    match &args.file {
        Some(file) if file.as_os_str() != "-" => {
            let name = file.display().to_string();
            let input = File::open(file).and_then(|input| match input.metadata()?.is_dir() {
                true => Err(io::ErrorKind::IsADirectory.into()),
                false => Ok(input),
            });
            let input =
                input.map_err(|error| Failure::io(&name, &error).after("nothing was appended"))?;
            Ok((name, Box::new(progress::Read::of_file(input))))
        }
        _ => Ok(("standard input".to_owned(), Box::new(io::stdin().lock()))),
    }
}
