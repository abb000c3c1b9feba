//! The wake words: the file `wake`, by which those who wait for a log are woken. Whoever may read the
//! log may be allowed to write it, so it holds nothing else (docs/format.md).

use super::PAGE_BYTES;
use super::field::Field;

/// A word that may be waited on.
pub(crate) type Place = Field<4>;

/// The file's size, never changed.
pub(crate) const BYTES: u64 = PAGE_BYTES;
/// Words that different parties write lie in groups of this size.
const GROUP: usize = 128;

/// Moves with each append and whatever else a reader at the end of the log should look at.
pub(crate) const RECORDS: Place = Field::first();
/// Moves with the durable position.
pub(crate) const DURABLE: Place = RECORDS.then_aligned(GROUP);

const _: () = assert!(DURABLE.end() as u64 <= BYTES, "the file holds both words");

/// In a word: somebody waits.
pub(crate) const WAITERS: u32 = 1;
/// What a word's count grows by.
pub(crate) const ONE: u32 = WAITERS << 1;

/// The mode of `wake` in a log whose files have `mode`: who may read those may write this one.
pub(crate) const fn mode(mode: u32) -> u32 {
    mode | (mode & 0o444) >> 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_read_the_log_may_write_wake() {
        for (log, wake) in [(0o640, 0o660), (0o600, 0o600), (0o644, 0o666), (0o660, 0o660)] {
            assert_eq!(mode(log), wake, "{log:#o}");
        }
    }
}
