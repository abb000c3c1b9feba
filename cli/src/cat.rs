//! `maplog cat`: the records of a log, each followed by a newline.

use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;

use maplog::Reader;

use crate::output::{Output, Stop, unbuffered_stdout};
use crate::{Failure, Outcome, open};

/// Write records to standard output, a newline behind each.
///
/// It writes what was in the log when it started. Where records are damaged it says on standard error
/// which are lost, and goes on behind them.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The log's directory
    log: PathBuf,
    /// The sequence number to start at; the log's first if not given
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    /// Stop after N sequence numbers; a lost record counts
    #[arg(short = 'n', value_name = "N")]
    count: Option<u64>,
}

const AFTER_HELP: &str = "\
Exit status: 0 all is well, 1 records are damaged, 2 wrong usage or an error. A reader of the output
that wants no more of it is no error.

Example:
  printf 'one\\ntwo\\nthree\\n' | maplog append demo.log
  maplog cat demo.log
  maplog cat demo.log --from 1 -n 1";

/// After so many bytes of records the reader lets go of what it mapped, but not before it is through
/// a segment: coming back to its middle costs a walk from its start.
const LET_GO_BYTES: u64 = 128 << 20;

/// At least what a record takes in the log beside its bytes.
const RECORD_BYTES: u64 = 16;

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let mut reader = open::to_read(&args.log)?;
    let from = args.from.unwrap_or(reader.first_seq());
    let count = args.count.unwrap_or(u64::MAX);
    check_in_log(&reader, from)?;
    let asked = from..from.saturating_add(count).min(reader.next_seq());

    let mut output = Output::new(unbuffered_stdout()?);
    let let_go_bytes = let_go_bytes(&reader)?;
    let written = write_all(&mut reader, asked, let_go_bytes, &mut output);
    output.finish(written)
}

fn check_in_log(reader: &Reader, from: u64) -> Result<(), Failure> {
    let (first, next) = (reader.first_seq(), reader.next_seq());
    if from < first {
        return Err(Failure::new(format!(
            "record {from} is gone; the first that is left is {first}"
        )));
    }
    if from > next {
        return Err(Failure::new(format!("record {from} does not exist yet; the next is {next}")));
    }
    Ok(())
}

fn let_go_bytes(reader: &Reader) -> Result<u64, Failure> {
    let stats = reader.stats()?;
    Ok(LET_GO_BYTES.max(stats.bytes / stats.segments.max(1)))
}

fn write_all<W: Write>(
    reader: &mut Reader,
    asked: Range<u64>,
    let_go_bytes: u64,
    output: &mut Output<W>,
) -> Result<(), Stop> {
    let mut next = asked.start;
    loop {
        next = write_some(reader, next..asked.end, let_go_bytes, output)?;
        if next >= asked.end {
            return Ok(());
        }
        reader.release();
    }
}

/// Writes records up to about `let_go_bytes`; gives the next.
fn write_some<W: Write>(
    reader: &Reader,
    asked: Range<u64>,
    let_go_bytes: u64,
    output: &mut Output<W>,
) -> Result<u64, Stop> {
    let mut passed_bytes = 0;
    for item in reader.range(asked.clone()) {
        match item {
            Ok(record) => {
                output.record(record)?;
                passed_bytes += record.data().len() as u64 + RECORD_BYTES;
                if passed_bytes >= let_go_bytes {
                    return Ok(record.seq() + 1);
                }
            }
            Err(error) if error.lost().is_some() => output.lost(&error)?,
            Err(error) => return Err(Stop::Read(error.into())),
        }
    }
    Ok(asked.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letting_go_of_the_mapping_after_every_record_changes_nothing_that_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let options = maplog::Log::options().segment_bytes(16 * 1024);
        let log = open::to_append(&dir.path().join("log"), &options).unwrap();
        let mut expected = Vec::new();
        for number in 0..1000 {
            let record = format!("record {number}").repeat(number % 7);
            log.append(&record).unwrap();
            if (10..990).contains(&number) {
                expected.extend_from_slice(record.as_bytes());
                expected.push(b'\n');
            }
        }
        assert!(log.stats().unwrap().segments > 3);
        for let_go_bytes in [1, 100, 30_000, u64::MAX] {
            let mut reader = open::to_read(log.path()).unwrap();
            log.append("appended after the reader was opened").unwrap();
            let mut output = Output::new(Vec::new());
            assert!(write_all(&mut reader, 10..990, let_go_bytes, &mut output).is_ok());
            assert!(output.into_inner().unwrap() == expected, "by {let_go_bytes}");
        }
    }
}
