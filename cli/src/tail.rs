//! `maplog tail`: the last records of a log, and those that come.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use maplog::{Batch, Error, ErrorKind, Tail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::form::{FORM_HELP, FormFlags};
use crate::output::{Output, Stop, unbuffered_stdout};
use crate::{Failure, Outcome, open};

/// Write the last records to standard output, a newline behind each, or in another form.
///
/// With -f it goes on with those that come, until it is interrupted or nobody reads its output: through
/// the end of whoever appends and the coming of others.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The log's directory
    log: PathBuf,
    /// How many records
    #[arg(short = 'n', value_name = "N", default_value_t = 10)]
    count: u64,
    /// Go on with the records that come
    #[arg(short = 'f')]
    follow: bool,
    /// Only records that survive a power cut
    #[arg(long)]
    durable: bool,
    #[command(flatten)]
    pub(crate) form: FormFlags,
}

const AFTER_HELP: &str = concat!(
    FORM_HELP!(),
    "\
With -f also, where the log was cut or trimmed under it:
  {\"rewound\":{\"to\":SEQ},\"message\":\"...\"}       it goes on there; numbers may come again
  {\"trimmed\":{\"to\":SEQ},\"message\":\"...\"}       it goes on there; those before are gone

Exit status: 0 all is well, 1 records are damaged, 2 wrong usage or an error. A reader of the output
that wants no more of it is no error.

Example:
  printf 'one\\ntwo\\nthree\\n' | maplog append demo.log
  maplog tail demo.log -n 2
  maplog tail demo.log -n 1 --json
  timeout 1 maplog tail demo.log -f --durable || test $? = 124"
);

/// Bytes of records taken at once.
const BATCH_BYTES: usize = 256 * 1024;

/// With nothing to write, whether anybody reads is asked this often.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let reader = open::to_read(&args.log)?;
    let end = if args.durable { reader.durable_seq() } else { reader.next_seq() };
    let start = end.saturating_sub(args.count).max(reader.first_seq()).min(end);
    let mut tail = reader.tail_from(start);
    if args.durable {
        tail = tail.durable_only();
    }
    drop(reader);
    let mut output = Output::new(unbuffered_stdout()?, args.form.form());
    let written = write_all(&mut tail, if args.follow { None } else { Some(end) }, &mut output);
    output.finish(written)
}

/// Writes records up to `end`, or for ever.
fn write_all<W: Write>(
    tail: &mut Tail,
    end: Option<u64>,
    output: &mut Output<W>,
) -> Result<(), Stop> {
    while end.is_none_or(|end| tail.next_seq() < end) {
        match tail.try_recv_batch(BATCH_BYTES) {
            Ok(Some(batch)) => write(batch, end, output)?,
            Err(error) => pass(error, output)?,
            Ok(None) if end.is_some() => return Ok(()),
            Ok(None) => {
                // Whoever reads the output has all of it before this waits.
                output.flush()?;
                match tail.recv_timeout(LONGEST_WAIT) {
                    Ok(Some(record)) => output.record(record)?,
                    Ok(None) if nobody_reads() => return Ok(()),
                    Ok(None) => {}
                    Err(error) => pass(error, output)?,
                }
            }
        }
    }
    Ok(())
}

/// True if standard output is a pipe or a socket whose other end is closed.
fn nobody_reads() -> bool {
    let output = std::io::stdout();
    let mut asked = [PollFd::new(&output, PollFlags::empty())];
    let told = poll(&mut asked, Some(&Timespec::default()));
    told.is_ok() && asked[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

fn write<W: Write>(batch: Batch<'_>, end: Option<u64>, output: &mut Output<W>) -> Result<(), Stop> {
    for record in batch.take_while(|record| end.is_none_or(|end| record.seq() < end)) {
        output.record(record)?;
    }
    Ok(())
}

/// Says what became of records that cannot be written; goes on behind them where that is possible.
fn pass<W: Write>(error: Error, output: &mut Output<W>) -> Result<(), Stop> {
    match error.kind() {
        _ if error.lost().is_some() => Ok(output.lost(&error)?),
        ErrorKind::Trimmed | ErrorKind::Rewound => Ok(output.tell(&error)?),
        _ => Err(Stop::Read(error.into())),
    }
}
