//! The second process of `tail`: it takes what the first sends, and tells how long each record was under way.

use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::time::Duration;

use maplog::ErrorKind;

use super::records::Records;
use crate::output::unbuffered_stdout;
use crate::{Failure, open};

/// How records come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Way {
    Log,
    Pipe,
}

/// If nothing comes for so long, nothing will: the first process has died.
const PATIENCE: Duration = Duration::from_secs(10);

/// Nanoseconds of a clock that both processes see.
pub(super) fn now_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Tells that it is ready by one number, and in the end how long each record took.
pub(super) fn run(way: &Way, log: &Path, records: &Records) -> Result<(), Failure> {
    let mut out = BufWriter::new(unbuffered_stdout()?);
    let mut took = Vec::new();
    let mut note = |record: &[u8]| match records.number(record) {
        Some(sent_nanos) => {
            took.push(now_nanos().saturating_sub(sent_nanos));
            Ok(())
        }
        None => records.check(record, 0),
    };
    let fault = |error: io::Error| Failure::io("standard output", &error);
    let mut tell = |nanos: u64| out.write_all(&nanos.to_le_bytes()).map_err(fault);
    match way {
        Way::Log => {
            let mut tail = open::to_read(log)?.tail_from(0);
            tell(0)?;
            out.flush().map_err(fault)?;
            // An empty record is the last.
            while let Some(record) = tail.recv_timeout(PATIENCE)? {
                if record.data().is_empty() {
                    break;
                }
                note(record.data())?;
            }
        }
        Way::Pipe => {
            tell(0)?;
            out.flush().map_err(fault)?;
            let mut input = io::stdin().lock();
            let mut record = records.blank();
            loop {
                match input.read_exact(&mut record) {
                    Ok(()) => note(&record)?,
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                    Err(error) => return Err(Failure::of(ErrorKind::Io, error.to_string())),
                }
            }
        }
    }
    for nanos in took {
        out.write_all(&nanos.to_le_bytes()).map_err(fault)?;
    }
    out.flush().map_err(fault)
}
