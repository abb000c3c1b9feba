//! An input that is one record, whatever is in it.

use std::io::Read;

use super::Feed;
use super::window::Window;
use crate::Failure;

/// All of an input as one record.
pub(crate) struct Whole<R> {
    window: Window<R>,
    name: String,
    max_record: u64,
    given: bool,
}

impl<R: Read> Whole<R> {
    pub(crate) fn new(name: &str, input: R, max_record: u64) -> Self {
        Whole { window: Window::new(input), name: name.to_owned(), max_record, given: false }
    }
}

impl<R: Read> Feed for Whole<R> {
    fn wait(&mut self) -> Result<bool, Failure> {
        // One byte more than fits is enough for the log to refuse it.
        while !self.window.ended && self.window.left().len() as u64 <= self.max_record {
            self.window.read_more().map_err(|error| Failure::io(&self.name, &error))?;
        }
        Ok(!self.given)
    }

    fn drain(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
        self.given = true;
        take(self.window.left()).map_err(|failure| failure.at(&self.name))
    }
}
