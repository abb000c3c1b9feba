//! Where records come from: lines, lengths before bytes, whole files, JSON.
//!
//! Memory is bounded by the longest record that the log takes.

mod lines;
mod objects;
mod prefixed;
mod whole;
mod window;

pub(crate) use lines::Lines;
pub(crate) use objects::Objects;
pub(crate) use prefixed::Prefixed;
pub(crate) use whole::Whole;

use crate::Failure;

/// Records of an input, as many at a time as can be read at once.
pub(crate) trait Feed {
    /// Waits until there are records at hand; false when there are no more.
    fn wait(&mut self) -> Result<bool, Failure>;

    /// Gives out those at hand. A failure, also one of `take`, names the record's place in the input.
    fn drain(&mut self, take: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure>;
}
