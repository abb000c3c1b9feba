//! Opening logs: the only unsafe calls of the command.
#![allow(unsafe_code)]

use std::path::Path;

use maplog::{Log, Options, Reader, Result};

/// Opens a log to append; creates it if it does not exist.
pub(crate) fn to_append(path: &Path, options: &Options) -> Result<Log> {
    // SAFETY: this process changes the files of a log through the library only. That nobody else
    // changes them by other means is what `--help` asks of whoever runs the command.
    unsafe { options.open(path) }
}

/// Opens a log to read; creates nothing.
pub(crate) fn to_read(path: &Path) -> Result<Reader> {
    // SAFETY: as for `to_append`.
    unsafe { Reader::open(path) }
}
