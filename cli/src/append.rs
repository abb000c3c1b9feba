//! `maplog append`: lines in, records of the log out.

mod lines;
mod summary;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use maplog::Log;

use self::lines::{Lines, split};
use self::summary::{Durability, Tally};
use crate::text::parse_size;
use crate::{Failure, Outcome, open};

/// Append lines from files or standard input, a record for each.
///
/// A record is a line without its newline; the last line of a file may lack one. Other bytes stay as
/// they are, a carriage return too. LOG is created if it does not exist.
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
    /// Size of segment files made from now on, as 65536, 64K, 16M or 1G; it also bounds a record
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    segment_size: Option<u64>,
}

const AFTER_HELP: &str = "\
Exit status: 0 all is well, 2 wrong usage or an error; what was appended before an error stays.

Example:
  printf 'one\\ntwo\\n' > lines.txt
  maplog append demo.log lines.txt
  printf 'three\\n' | maplog append --sync demo.log";

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    for file in args.files.iter().filter(|file| !is_stdin(file)) {
        check_readable(file)?;
    }
    let mut options = Log::options();
    if let Some(bytes) = args.segment_size {
        options = options.segment_bytes(bytes);
    }
    let log = open::to_append(&args.log, &options)?;
    let mut tally = Tally::new(log.next_seq());
    let appended = append_all(&log, &args.files, &mut tally);
    let settled = settle(log, args.sync);
    let durability = settled.as_ref().map_or(Durability::Unknown, |durability| *durability);
    match appended.and(settled) {
        Ok(_) => say(&tally.summary(durability)),
        Err(failure) => Err(failure.after(tally.until_then(durability))),
    }
}

/// Finds what is missing before anything is appended. It does not open the file: a FIFO may be
/// opened once only.
fn check_readable(file: &Path) -> Result<(), Failure> {
    let place = file.display();
    let metadata = fs::metadata(file)
        .map_err(|error| Failure::io(&place, &error).after("nothing was appended"))?;
    match metadata.is_dir() {
        true => Err(Failure::new("a directory, expected a file; nothing was appended").at(place)),
        false => Ok(()),
    }
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn append_all(log: &Log, files: &[PathBuf], tally: &mut Tally) -> Result<(), Failure> {
    if files.is_empty() {
        return append_lines(log, "standard input", io::stdin().lock(), tally);
    }
    for file in files {
        if is_stdin(file) {
            append_lines(log, "standard input", io::stdin().lock(), tally)?;
        } else {
            let name = file.display().to_string();
            let input = File::open(file).map_err(|error| Failure::io(&name, &error))?;
            append_lines(log, &name, input, tally)?;
        }
    }
    Ok(())
}

/// Appends what can be read at once under one lock, and holds none while it waits for more.
fn append_lines(log: &Log, name: &str, input: impl Read, tally: &mut Tally) -> Result<(), Failure> {
    let mut lines = Lines::new(input, log.max_record());
    let mut line_number = 0;
    while let Some(chunk) = lines.next_chunk().map_err(|error| Failure::io(name, &error))? {
        let mut writer = log.writer()?;
        for line in split(chunk) {
            line_number += 1;
            let seq = writer.append(line).map_err(|error| {
                Failure::from(error).at(format_args!("{name}, line {line_number}"))
            })?;
            tally.add(seq, line.len());
        }
    }
    Ok(())
}

/// Closes the log with what was asked for: all on stable storage, or no waiting for any disk.
fn settle(log: Log, sync: bool) -> Result<Durability, Failure> {
    if sync {
        log.close()?;
        return Ok(Durability::Durable);
    }
    // Dropping the last handle would sync. The process ends here, and the kernel releases what it
    // holds.
    let left_open = ManuallyDrop::new(log);
    match left_open.durable_seq() {
        durable if durable >= left_open.next_seq() => Ok(Durability::Durable),
        durable => Ok(Durability::Below(durable)),
    }
}

fn say(summary: &str) -> Result<Outcome, Failure> {
    match writeln!(io::stdout().lock(), "{summary}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io("standard output", &error).after(summary))
        }
        _ => Ok(Outcome::Fine),
    }
}
