//! What is written: records that tell their number, so that reading back can tell one from another.

use std::cell::Cell;

use maplog::ErrorKind;

use crate::Failure;

/// A number, and the same again to tell that the record is whole.
pub(super) const LEAST_BYTES: usize = 16;

/// Records of one size.
pub(super) struct Records {
    bytes: usize,
    /// What stands between the two numbers.
    pattern: Vec<u8>,
}

impl Records {
    pub(super) fn new(bytes: usize) -> Self {
        let bytes = bytes.max(LEAST_BYTES);
        Records { bytes, pattern: (0..bytes).map(|at| at as u8).collect() }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Room for a record, to be stamped with a number each time.
    pub(super) fn blank(&self) -> Vec<u8> {
        self.pattern.clone()
    }

    #[inline]
    pub(super) fn stamp(record: &mut [u8], number: u64) {
        let number = number.to_le_bytes();
        record[..8].copy_from_slice(&number);
        let end = record.len() - 8;
        record[end..].copy_from_slice(&number);
    }

    /// The number of a record, if both ends of it tell the same.
    #[inline]
    pub(super) fn number(&self, record: &[u8]) -> Option<u64> {
        let (first, last) = (record.first_chunk::<8>()?, record.last_chunk::<8>()?);
        (record.len() == self.bytes && first == last).then(|| u64::from_le_bytes(*first))
    }

    #[inline]
    pub(super) fn check(&self, record: &[u8], number: u64) -> Result<(), Failure> {
        match self.number(record) {
            Some(found) if found == number => Ok(()),
            found => Err(self.differs(number, found)),
        }
    }

    /// Every byte of it, too.
    pub(super) fn check_all(&self, record: &[u8], number: u64) -> Result<(), Failure> {
        self.check(record, number)?;
        let between = 8..self.bytes - 8;
        match record[between.clone()] == self.pattern[between] {
            true => Ok(()),
            false => Err(self.differs(number, None)),
        }
    }

    #[cold]
    fn differs(&self, number: u64, found: Option<u64>) -> Failure {
        let found = found.map_or("other bytes".to_owned(), |found| format!("record {found}"));
        let text =
            format!("what was read back as record {number} is not what was written: {found}");
        Failure::of(ErrorKind::Damaged, text)
    }
}

/// Numbers below a bound, as if at random, the same at each run (xorshift).
pub(super) struct Dice(Cell<u64>);

impl Dice {
    pub(super) fn new() -> Self {
        Dice(Cell::new(0x9E37_79B9_7F4A_7C15))
    }

    #[inline]
    pub(super) fn below(&self, bound: u64) -> u64 {
        let mut state = self.0.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.0.set(state);
        ((u128::from(state) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_differs_in_any_byte_is_found() {
        let records = Records::new(100);
        let mut record = records.blank();
        Records::stamp(&mut record, 7);
        assert!(records.check(&record, 7).is_ok() && records.check_all(&record, 7).is_ok());
        let failure = records.check(&record, 8).unwrap_err();
        assert!(failure.is_damage());
        assert!(failure.to_string().ends_with("record 8 is not what was written: record 7"));
        for at in 0..record.len() {
            record[at] ^= 1;
            assert!(records.check_all(&record, 7).is_err(), "byte {at}");
            record[at] ^= 1;
        }
        assert!(records.check(&record[..99], 7).is_err());
    }

    #[test]
    fn numbers_stay_below_their_bound_and_reach_all_of_it() {
        let dice = Dice::new();
        let mut seen = [false; 10];
        (0..1000).for_each(|_| seen[dice.below(10) as usize] = true);
        assert!(seen.into_iter().all(|seen| seen));
    }
}
