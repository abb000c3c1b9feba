//! Lines of an input, many at a time, in bounded memory.

use std::io::{self, Read};

use memchr::{memchr_iter, memrchr};

/// How much is read at once: what a pipe holds. Larger reads leave the fast caches before their lines
/// are appended.
const READ_BYTES: usize = 64 * 1024;

/// An input, cut behind its newlines.
pub(super) struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    /// Bytes of the buffer before `given` were given out; those from there to `filled` were not.
    given: usize,
    filled: usize,
    /// A line longer than this is given out as soon as that is known.
    max_line: u64,
    ended: bool,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(input: R, max_line: u64) -> Self {
        Lines { input, buffer: vec![0; READ_BYTES], given: 0, filled: 0, max_line, ended: false }
    }

    /// Whole lines, as many as one read completes; `None` when there are no more. A newline ends each
    /// but, perhaps, the last line of all, and a part of a line that is longer than the limit.
    pub(super) fn next_chunk(&mut self) -> io::Result<Option<&[u8]>> {
        self.buffer.copy_within(self.given..self.filled, 0);
        self.filled -= self.given;
        self.given = 0;
        while !self.ended {
            let searched = self.filled;
            self.read_more()?;
            let newline = memrchr(b'\n', &self.buffer[searched..self.filled]);
            if let Some(newline) = newline {
                self.given = searched + newline + 1;
                return Ok(Some(&self.buffer[..self.given]));
            }
            if self.filled as u64 > self.max_line {
                break;
            }
        }
        self.given = self.filled;
        Ok((self.given > 0).then_some(&self.buffer[..self.given]))
    }

    fn read_more(&mut self) -> io::Result<()> {
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

/// The lines of a chunk, without their newlines.
pub(super) fn split(chunk: &[u8]) -> impl Iterator<Item = &[u8]> {
    let unended = (!chunk.ends_with(b"\n")).then_some(chunk.len());
    let mut start = 0;
    memchr_iter(b'\n', chunk).chain(unended).map(move |end| {
        let line = &chunk[start..end];
        start = end + 1;
        line
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives at most `step` bytes a read, and an interruption before each.
    struct Slow<'a> {
        bytes: &'a [u8],
        step: usize,
        interrupted: bool,
    }

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.interrupted = !self.interrupted;
            if self.interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let len = self.step.min(buffer.len());
            self.bytes.read(&mut buffer[..len])
        }
    }

    fn lines(bytes: &[u8], step: usize, max_line: u64) -> Vec<Vec<u8>> {
        let mut lines = Lines::new(Slow { bytes, step, interrupted: false }, max_line);
        let mut all = Vec::new();
        while let Some(chunk) = lines.next_chunk().unwrap() {
            all.extend(split(chunk).map(<[u8]>::to_vec));
        }
        all
    }

    #[test]
    fn lines_are_the_same_however_the_input_comes() {
        for text in ["", "\n", "a", "a\n", "\n\n", "ab\r\n\ncd\n", "ab\n\ncd", "\na\n\0\n"] {
            let mut expected: Vec<_> =
                text.split('\n').map(|line| line.as_bytes().to_vec()).collect();
            if expected.last().is_some_and(Vec::is_empty) {
                expected.pop();
            }
            for step in 1..=text.len() + 1 {
                assert_eq!(lines(text.as_bytes(), step, 100), expected, "{text:?} by {step}");
            }
        }
    }

    #[test]
    fn a_line_longer_than_the_buffer_is_one_line() {
        let long = vec![b'x'; 3 * READ_BYTES + 1];
        let text = [b"a\n", &long[..], b"\nb"].concat();
        assert_eq!(lines(&text, usize::MAX, u64::MAX), [b"a".to_vec(), long, b"b".to_vec()]);
    }

    #[test]
    fn an_endless_line_is_given_up_soon_after_its_limit() {
        let limit = 2 * READ_BYTES as u64;
        let mut lines = Lines::new(io::repeat(b'x'), limit);
        let len = lines.next_chunk().unwrap().unwrap().len() as u64;
        assert!(len > limit && len <= 2 * limit, "{len}");
    }
}
