//! Where records are written: standard output, in one of the forms.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

use maplog::{Error, ErrorKind, Record};
use serde_json::{Value, json};

use crate::failure::report;
use crate::form::Form;
use crate::progress::Progress;
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
    form: Form,
    damaged: bool,
    records: u64,
    progress: Progress,
}

/// So many records are written before the bar is moved.
const SHOWN_RECORDS: u64 = 4096;

impl<W: Write> Output<W> {
    pub(crate) fn new(out: W, form: Form) -> Self {
        let out = BufWriter::with_capacity(WRITE_BYTES, out);
        Output { out, form, damaged: false, records: 0, progress: Progress::none() }
    }

    /// With a bar for the records.
    pub(crate) fn showing(self, progress: Progress) -> Self {
        Output { progress, ..self }
    }

    #[inline]
    pub(crate) fn record(&mut self, record: Record<'_>) -> io::Result<()> {
        self.records += 1;
        if self.records.is_multiple_of(SHOWN_RECORDS) {
            self.progress.moved(SHOWN_RECORDS);
        }
        self.form.write(&mut self.out, record)
    }

    /// A loss is told where it is, between the records before and behind it; to standard error even if
    /// nobody reads the output.
    pub(crate) fn lost(&mut self, error: &Error) -> io::Result<()> {
        self.damaged = true;
        self.tell(error)
    }

    /// Tells what happened to records that cannot be written.
    pub(crate) fn tell(&mut self, error: &Error) -> io::Result<()> {
        let written = match self.form {
            Form::Json => writeln!(self.out, "{}", event(error)),
            _ => Ok(()),
        };
        let flushed = written.and_then(|()| self.out.flush());
        self.progress.aside(|| report(error));
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

/// The object that stands between the records for some that are missing there.
fn event(error: &Error) -> Value {
    let message = error.to_string();
    match (error.kind(), error.lost(), error.seq()) {
        (_, Some(lost), _) => {
            json!({ "lost": { "from": lost.start, "to": lost.end }, "message": message })
        }
        (ErrorKind::Trimmed, _, seq) => json!({ "trimmed": { "to": seq }, "message": message }),
        (_, _, seq) => json!({ "rewound": { "to": seq }, "message": message }),
    }
}

/// Standard output without its own buffer, which would search all of it for newlines.
pub(crate) fn unbuffered_stdout() -> Result<File, Failure> {
    let fd = io::stdout().as_fd().try_clone_to_owned();
    fd.map(File::from).map_err(|error| Failure::io("standard output", &error))
}
