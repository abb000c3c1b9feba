//! The bytes of an input that are in memory.

use std::io::{self, Read};

/// How much is read at once: what a pipe holds. Larger reads leave the fast caches before their records
/// are appended.
pub(super) const READ_BYTES: usize = 64 * 1024;

/// A stretch of an input, of which some was given out and is not needed any more.
pub(super) struct Window<R> {
    input: R,
    buffer: Vec<u8>,
    given: usize,
    filled: usize,
    /// Where in the input the buffer begins, in bytes.
    begins_at: u64,
    pub(super) ended: bool,
}

impl<R: Read> Window<R> {
    pub(super) fn new(input: R) -> Self {
        let buffer = vec![0; READ_BYTES];
        Window { input, buffer, given: 0, filled: 0, begins_at: 0, ended: false }
    }

    /// Lets go of what was given out.
    pub(super) fn let_go(&mut self) {
        self.buffer.copy_within(self.given..self.filled, 0);
        self.begins_at += self.given as u64;
        self.filled -= self.given;
        self.given = 0;
    }

    /// What was not given out yet.
    pub(super) fn left(&self) -> &[u8] {
        &self.buffer[self.given..self.filled]
    }

    /// Where in the input that begins.
    pub(super) fn left_at(&self) -> u64 {
        self.begins_at + self.given as u64
    }

    /// The next `bytes` bytes, which are there.
    pub(super) fn give(&mut self, bytes: usize) -> &[u8] {
        self.given += bytes;
        &self.buffer[self.given - bytes..self.given]
    }

    /// Reads more behind what is there, or finds that the input ended.
    pub(super) fn read_more(&mut self) -> io::Result<()> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(2 * self.filled, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(bytes) => {
                    self.filled += bytes;
                    self.ended = bytes == 0;
                    return Ok(());
                }
            }
        }
    }
}
