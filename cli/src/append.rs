//! `maplog append`: lines in, records of the log out.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::feed::{Lines, Prefixed, Whole};
use crate::taking::{CreateFlags, Taking};
use crate::{Failure, Outcome, progress};

/// Append lines from files or standard input, a record for each.
///
/// A record is a line without its newline; the last line of a file may lack one. Other bytes stay as
/// they are, a carriage return too. --raw and --length-prefixed take any bytes. LOG is created if it does
/// not exist.
///
/// Ends with one line: how many records, their sequence numbers, their bytes, how fast, and whether
/// they survive a power cut. What was appended survives the end of this process in any case. While it
/// runs, it puts on stable storage what is there about every second, but not the last of it.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The log's directory
    log: PathBuf,
    /// Files to read, one after the other; `-` or none at all is standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Wait at the end until all records are on stable storage
    #[arg(long)]
    sync: bool,
    #[command(flatten)]
    create: CreateFlags,
    /// Write the last line as a JSON object; an error too, behind it
    #[arg(long)]
    pub(crate) json: bool,
    /// Take each file whole as one record, whatever is in it
    #[arg(long, conflicts_with = "length_prefixed")]
    raw: bool,
    /// Take records with their lengths in bytes before them, each as 4 bytes, little-endian
    #[arg(long)]
    length_prefixed: bool,
}

const AFTER_HELP: &str = "\
Exit status: 0 all is well, 2 wrong usage or an error; what was appended before an error stays.

With --json:
  appended            how many records
  first_seq, next_seq from the first of them to behind the last
  bytes               of the records
  seconds             it took
  durable             true if they survive a power cut, null if that is not known

Example:
  printf 'one\\ntwo\\n' > lines.txt
  maplog append demo.log lines.txt
  printf 'three\\n' | maplog append --sync demo.log
  maplog append --raw --json demo.log lines.txt";

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    for file in args.files.iter().filter(|file| !is_stdin(file)) {
        check_readable(file)?;
    }
    let mut taking = Taking::start(&args.log, &args.create)?;
    let appended = append_all(&mut taking, args);
    taking.end(appended, args.sync, args.json)
}

/// Finds what is missing before anything is appended. It does not open the file: a FIFO may be
/// opened once only.
fn check_readable(file: &Path) -> Result<(), Failure> {
    let place = file.display();
    let metadata = fs::metadata(file)
        .map_err(|error| Failure::io(&place, &error).after("nothing was appended"))?;
    match metadata.is_dir() {
        true => Err(Failure::input("a directory, expected a file; nothing was appended").at(place)),
        false => Ok(()),
    }
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn append_all(taking: &mut Taking, args: &Args) -> Result<(), Failure> {
    if args.files.is_empty() {
        return append(taking, args, "standard input", io::stdin().lock());
    }
    for file in &args.files {
        if is_stdin(file) {
            append(taking, args, "standard input", io::stdin().lock())?;
        } else {
            let name = file.display().to_string();
            let input = File::open(file).map_err(|error| Failure::io(&name, &error))?;
            append(taking, args, &name, progress::Read::of_file(input))?;
        }
    }
    Ok(())
}

fn append(taking: &mut Taking, args: &Args, name: &str, input: impl Read) -> Result<(), Failure> {
    let max_record = taking.max_record();
    match args {
        Args { raw: true, .. } => taking.take(&mut Whole::new(name, input, max_record)),
        Args { length_prefixed: true, .. } => {
            taking.take(&mut Prefixed::new(name, input, max_record))
        }
        _ => taking.take(&mut Lines::new(name, input, max_record)),
    }
}
