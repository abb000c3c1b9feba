//! `maplog cat`: the records of a log, each followed by a newline.

use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;

use maplog::{Reader, Record};

use crate::form::{FORM_HELP, FormFlags};
use crate::output::{Output, Stop, unbuffered_stdout};
use crate::selection::{SINCE_HELP, Selection};
use crate::{Failure, Outcome, open};

/// Write records to standard output, a newline behind each, or in another form.
///
/// It writes what was in the log when it started. Where records are damaged it says on standard error
/// which are lost, and goes on behind them.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The log's directory
    log: PathBuf,
    #[command(flatten)]
    selection: Selection,
    /// The last record first
    #[arg(long)]
    reverse: bool,
    #[command(flatten)]
    pub(crate) form: FormFlags,
}

const AFTER_HELP: &str = concat!(
    SINCE_HELP!(),
    FORM_HELP!(),
    "\
Exit status: 0 all is well, 1 records are damaged, 2 wrong usage or an error. A reader of the output
that wants no more of it is no error.

Example:
  printf 'one\\ntwo\\nthree\\n' | maplog append demo.log
  maplog cat demo.log
  maplog cat demo.log --from 1 -n 1
  maplog cat demo.log --reverse -n 2
  maplog cat demo.log --since 1h --to 1
  maplog cat demo.log --json -n 1"
);

/// After so many bytes of records the reader lets go of what it mapped, but not before it is through
/// a segment: mapping it again has its price.
const LET_GO_BYTES: u64 = 128 << 20;

/// At least what a record takes in the log beside its bytes.
const RECORD_BYTES: u64 = 16;

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let mut reader = open::to_read(&args.log)?;
    let asked = args.selection.asked(&reader, args.reverse)?;
    let mut output = Output::new(unbuffered_stdout()?, args.form.form());
    let let_go_bytes = let_go_bytes(&reader)?;
    let written = write_all(&mut reader, asked, args.reverse, let_go_bytes, &mut output);
    output.finish(written)
}

pub(crate) fn let_go_bytes(reader: &Reader) -> Result<u64, Failure> {
    let stats = reader.stats()?;
    Ok(LET_GO_BYTES.max(stats.bytes / stats.segments.max(1)))
}

pub(crate) fn write_all<W: Write>(
    reader: &mut Reader,
    mut asked: Range<u64>,
    reverse: bool,
    let_go_bytes: u64,
    output: &mut Output<W>,
) -> Result<(), Stop> {
    while !asked.is_empty() {
        let items = reader.range(asked.clone());
        let stopped_at = match reverse {
            true => write_some(items.rev(), let_go_bytes, output)?,
            false => write_some(items, let_go_bytes, output)?,
        };
        asked = match stopped_at {
            Some(seq) if reverse => asked.start..seq,
            Some(seq) => seq + 1..asked.end,
            None => return Ok(()),
        };
        reader.release();
    }
    Ok(())
}

/// Writes records up to about `let_go_bytes`; gives the last, if there may be more.
fn write_some<'r, W: Write>(
    items: impl Iterator<Item = maplog::Result<Record<'r>>>,
    let_go_bytes: u64,
    output: &mut Output<W>,
) -> Result<Option<u64>, Stop> {
    let mut passed_bytes = 0;
    for item in items {
        match item {
            Ok(record) => {
                output.record(record)?;
                passed_bytes += record.data().len() as u64 + RECORD_BYTES;
                if passed_bytes >= let_go_bytes {
                    return Ok(Some(record.seq()));
                }
            }
            Err(error) if error.lost().is_some() => output.lost(&error)?,
            Err(error) => return Err(Stop::Read(error.into())),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::Form;

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
                expected.push(record + "\n");
            }
        }
        assert!(log.stats().unwrap().segments > 3);
        for reverse in [false, true] {
            for let_go_bytes in [1, 100, 30_000, u64::MAX] {
                let mut reader = open::to_read(log.path()).unwrap();
                log.append("appended after the reader was opened").unwrap();
                let mut output = Output::new(Vec::new(), Form::Lines);
                let written = write_all(&mut reader, 10..990, reverse, let_go_bytes, &mut output);
                assert!(written.is_ok());
                let written = output.into_inner().unwrap();
                assert!(written == expected.concat().as_bytes(), "by {let_go_bytes}");
            }
            expected.reverse();
        }
    }
}
