//! How far long work is, for people: drawn on standard error if that is a terminal, else nowhere.

use std::fs::{File, Metadata};
use std::io::{self, IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressStyle};

/// How far the reading of a file is, told as it is read.
pub(crate) struct Read<R> {
    input: R,
    progress: Progress,
}

impl Read<File> {
    /// A bar, if the file is one that has a size.
    pub(crate) fn of_file(input: File) -> Self {
        let metadata = input.metadata().ok().filter(Metadata::is_file);
        let progress = metadata.map_or_else(Progress::none, |file| Progress::bytes(file.len()));
        Read { input, progress }
    }
}

impl<R: io::Read> io::Read for Read<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.progress.moved(read as u64);
        Ok(read)
    }
}

/// A bar that is gone when it is dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Of bytes.
    pub(crate) fn bytes(total: u64) -> Self {
        Self::new(total, "{bar:40} {bytes} of {total_bytes}, {eta} left")
    }

    /// Of records.
    pub(crate) fn records(total: u64) -> Self {
        Self::new(total, "{bar:40} {human_pos} of {human_len} records, {eta} left")
    }

    /// Of steps.
    pub(crate) fn steps(total: u64) -> Self {
        Self::new(total, "{bar:40} {pos} of {len}, {elapsed}")
    }

    fn new(total: u64, template: &str) -> Self {
        if !stderr().is_terminal() {
            return Self::none();
        }
        let style = ProgressStyle::with_template(template);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        Progress(ProgressBar::new(total).with_style(style))
    }

    pub(crate) fn none() -> Self {
        Progress(ProgressBar::hidden())
    }

    pub(crate) fn at(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }

    /// Writes to standard error while no bar stands there.
    pub(crate) fn aside(&self, write: impl FnOnce()) {
        self.0.suspend(write);
    }

    pub(crate) fn moved(&self, more: u64) {
        self.0.inc(more);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
