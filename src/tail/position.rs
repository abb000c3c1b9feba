//! A place in a log that can be stored and taken up again.

use crate::error::{Error, ErrorKind, Result};
use crate::format::frame::MAX_SEQ;
use crate::format::position::{BYTES, Stored, Unreadable};

/// A place in a log: which log, the epoch that its reader saw, and the next record to read.
///
/// Unlike a bare sequence number it can tell whether what was read before it still holds: numbers are
/// given again after a power cut took unsynced records, and when a log is cut, but never under the
/// same epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The log's id, as [`Log::id`](crate::Log::id).
    pub id: [u8; 16],
    /// The epoch under which the records before `seq` were read.
    pub epoch: u64,
    /// The sequence number of the next record.
    pub seq: u64,
}

impl Position {
    /// How many bytes [`to_bytes`](Self::to_bytes) gives.
    pub const BYTES: usize = BYTES;

    /// The position as bytes, versioned and with a checksum, to be stored anywhere.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let Position { id, epoch, seq } = *self;
        Stored { log_id: id, epoch, seq }.encode()
    }

    /// The position that these bytes were made of. Any bytes give a position or an error.
    ///
    /// # Errors
    /// `Damaged` if they are not what [`to_bytes`](Self::to_bytes) gave; `UnsupportedVersion` if a later
    /// version of this crate gave them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let damaged = |why: &'static str| Err(Error::new(ErrorKind::Damaged, why));
        match Stored::decode(bytes) {
            Ok(Stored { log_id: id, epoch, seq }) if seq <= MAX_SEQ + 1 => {
                Ok(Position { id, epoch, seq })
            }
            Ok(_) => damaged("a position beyond the highest sequence number"),
            Err(Unreadable::Length) => {
                let text = format!("a position has {BYTES} bytes, found {}", bytes.len());
                Err(Error::new(ErrorKind::Damaged, text))
            }
            Err(Unreadable::Magic) => damaged("these bytes are not of a position"),
            Err(Unreadable::Checksum) => damaged("a position's checksum does not match"),
            Err(Unreadable::Version(version)) => {
                let text = format!("expected a position of version 1, found version {version}");
                Err(Error::new(ErrorKind::UnsupportedVersion, text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Position = Position { id: [7; 16], epoch: 3, seq: 1 << 40 };

    #[test]
    fn a_position_comes_back_as_it_was() {
        for seq in [0, 1, MAX_SEQ, MAX_SEQ + 1] {
            let position = Position { seq, ..HERE };
            assert_eq!(Position::from_bytes(&position.to_bytes()).unwrap(), position);
        }
        assert_eq!(Position::BYTES, 48);
    }

    /// Every flipped bit, every length, every seq that no record has.
    #[test]
    fn bytes_that_are_no_position_are_an_error() {
        let bytes = HERE.to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut rotten = bytes;
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Position::from_bytes(&rotten).unwrap_err().kind(), ErrorKind::Damaged);
        }
        for len in (0..200).filter(|len| *len != bytes.len()) {
            let other: Vec<u8> = bytes.iter().copied().cycle().take(len).collect();
            assert_eq!(Position::from_bytes(&other).unwrap_err().kind(), ErrorKind::Damaged);
        }
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..10_000 {
            let mut noise = [0; Position::BYTES];
            random.fill(&mut noise);
            noise[..4].copy_from_slice(&bytes[..4]);
            assert!(Position::from_bytes(&noise).is_err());
        }
        for seq in [MAX_SEQ + 2, u64::MAX] {
            let beyond = Position { seq, ..HERE }.to_bytes();
            assert_eq!(Position::from_bytes(&beyond).unwrap_err().kind(), ErrorKind::Damaged);
        }
    }
}
