//! Where records are written: standard output, a newline behind each.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

use maplog::Record;

use crate::failure::report;
use crate::{Failure, Outcome};

/// Written at once.
const WRITE_BYTES: usize = 256 * 1024;

/// Why the writing ended early.
pub(crate) enum Stop {
    Write(io::Error),
    Read(Failure),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Write(error)
    }
}

/// Where the records go, and what was found on the way.
pub(crate) struct Output<W: Write> {
    out: BufWriter<W>,
    damaged: bool,
}

impl<W: Write> Output<W> {
    pub(crate) fn new(out: W) -> Self {
        Output { out: BufWriter::with_capacity(WRITE_BYTES, out), damaged: false }
    }

    #[inline]
    pub(crate) fn record(&mut self, record: Record<'_>) -> io::Result<()> {
        self.out.write_all(record.data())?;
        self.out.write_all(b"\n")
    }

    /// What comes before a loss is written before the loss is told, which nothing prevents.
    pub(crate) fn lost(&mut self, error: &maplog::Error) -> io::Result<()> {
        self.damaged = true;
        let flushed = self.out.flush();
        report(error);
        flushed
    }

    /// Writes out what was gathered.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// What it all came to. A reader of the output that wants no more of it is no error.
    pub(crate) fn finish(mut self, written: Result<(), Stop>) -> Result<Outcome, Failure> {
        match written.and_then(|()| Ok(self.out.flush()?)) {
            Err(Stop::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(Stop::Write(error)) => return Err(Failure::io("standard output", &error)),
            Err(Stop::Read(failure)) => {
                self.out.flush().map_err(|error| Failure::io("standard output", &error))?;
                return Err(failure);
            }
            Ok(()) => {}
        }
        Ok(if self.damaged { Outcome::Damage } else { Outcome::Fine })
    }

    #[cfg(test)]
    pub(crate) fn into_inner(self) -> Option<W> {
        self.out.into_inner().ok()
    }
}

/// Standard output without its own buffer, which would search all of it for newlines.
pub(crate) fn unbuffered_stdout() -> Result<File, Failure> {
    let fd = io::stdout().as_fd().try_clone_to_owned();
    fd.map(File::from).map_err(|error| Failure::io("standard output", &error))
}
