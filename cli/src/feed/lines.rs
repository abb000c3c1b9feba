//! Lines of an input, many at a time, in bounded memory.

use std::io::{self, Read};

use memchr::{memchr_iter, memrchr};

use super::Feed;
use super::window::Window;
use crate::Failure;

/// A record for each line.
pub(crate) struct Lines<R> {
    chunks: Chunks<R>,
    name: String,
    /// Bytes of the chunk at hand.
    at_hand: usize,
    line_number: u64,
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(name: &str, input: R, max_line: u64) -> Self {
        let chunks = Chunks::new(input, max_line);
        Lines { chunks, name: name.to_owned(), at_hand: 0, line_number: 0 }
    }
}

impl<R: Read> Feed for Lines<R> {
    fn wait(&mut self) -> Result<bool, Failure> {
        let chunk = self.chunks.next().map_err(|error| Failure::io(&self.name, &error))?;
        self.at_hand = chunk;
        Ok(chunk > 0)
    }

    fn drain(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
        let (name, line_number) = (&self.name, &mut self.line_number);
        for line in split(self.chunks.window.give(self.at_hand)) {
            *line_number += 1;
            take(line).map_err(|failure| failure.at(format_args!("{name}, line {line_number}")))?;
        }
        Ok(())
    }
}

/// An input, cut behind its newlines.
struct Chunks<R> {
    window: Window<R>,
    /// A line longer than this is given out as soon as that is known.
    max_line: u64,
}

impl<R: Read> Chunks<R> {
    fn new(input: R, max_line: u64) -> Self {
        Chunks { window: Window::new(input), max_line }
    }

    /// How many bytes whole lines take, as many as one read completes; 0 when there are no more. A newline
    /// ends each but, perhaps, the last line of all, and a part of a line that is longer than the limit.
    fn next(&mut self) -> io::Result<usize> {
        self.window.let_go();
        while !self.window.ended {
            let searched = self.window.left().len();
            self.window.read_more()?;
            if let Some(newline) = memrchr(b'\n', &self.window.left()[searched..]) {
                return Ok(searched + newline + 1);
            }
            if self.window.left().len() as u64 > self.max_line {
                break;
            }
        }
        Ok(self.window.left().len())
    }
}

/// The lines of a chunk, without their newlines.
fn split(chunk: &[u8]) -> impl Iterator<Item = &[u8]> {
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
    use crate::feed::window::READ_BYTES;

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
        let mut lines = Lines::new("it", Slow { bytes, step, interrupted: false }, max_line);
        let mut all = Vec::new();
        while lines.wait().unwrap() {
            let keep = |line: &[u8]| {
                all.push(line.to_vec());
                Ok(())
            };
            lines.drain(keep).unwrap();
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
        let len = Chunks::new(io::repeat(b'x'), limit).next().unwrap() as u64;
        assert!(len > limit && len <= 2 * limit, "{len}");
    }
}
