//! A consumer's file: where it is in the log, twice, in two blocks.
//!
//! Writes alternate between the blocks, each in a sector that a disk writes whole or not at all, so a torn
//! write leaves the older place: records are given twice then, and none is left out.

use super::field::Field;
use super::header::{BLOCK_BYTES, BLOCKS, SECTOR_BYTES};
use super::{VERSION, crc32};

/// Bytes of its own that a consumer may store with its place.
pub(crate) const USER_BYTES: usize = 400;

const MAGIC: Field<8> = Field::first();
const FORMAT: Field<4> = MAGIC.then();
const FLAGS: Field<4> = FORMAT.then();
const LOG_ID: Field<16> = FLAGS.then();
const COUNTER: Field<8> = LOG_ID.then();
const EPOCH: Field<8> = COUNTER.then();
const SEQ: Field<8> = EPOCH.then();
const USER_LEN: Field<4> = SEQ.then();
const USER: Field<USER_BYTES> = USER_LEN.then();
const SPARE: Field<48> = USER.then();
const CRC: Field<4> = SPARE.then();

/// Bytes of one encoded place.
pub(crate) const CURSOR_BYTES: usize = CRC.end();
/// Bytes of the file.
pub(crate) const FILE_BYTES: u64 = BLOCK_BYTES * BLOCKS;

const _: () = assert!(CURSOR_BYTES == SECTOR_BYTES, "a place is written whole or not at all");

const MAGIC_BYTES: [u8; 8] = *b"mapcur\x1a\n";
const REWOUND: u32 = 1;

/// A consumer's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Grows by one a write; the higher of two is the newer. Its lowest bit is the block.
    pub(crate) counter: u64,
    pub(crate) log_id: [u8; 16],
    /// The epoch under which the records before `seq` were given.
    pub(crate) epoch: u64,
    /// All records before it are done.
    pub(crate) seq: u64,
    /// It was set back, and its consumer is to be told.
    pub(crate) rewound: bool,
    /// The consumer's own bytes, at most [`USER_BYTES`].
    pub(crate) user: Vec<u8>,
}

/// What stands in one of the two blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CursorState {
    Valid(Cursor),
    /// A later version's.
    Version(u32),
    /// Never written, or not what was written.
    Invalid,
}

impl Cursor {
    /// Where in the file the place with this counter stands.
    pub(crate) fn offset(counter: u64) -> u64 {
        (counter & 1) * BLOCK_BYTES
    }

    pub(crate) fn encode(&self) -> [u8; CURSOR_BYTES] {
        let mut bytes = [0; CURSOR_BYTES];
        MAGIC.put(&mut bytes, MAGIC_BYTES);
        FORMAT.put_u32(&mut bytes, VERSION);
        FLAGS.put_u32(&mut bytes, if self.rewound { REWOUND } else { 0 });
        LOG_ID.put(&mut bytes, self.log_id);
        COUNTER.put_u64(&mut bytes, self.counter);
        EPOCH.put_u64(&mut bytes, self.epoch);
        SEQ.put_u64(&mut bytes, self.seq);
        let kept = self.user.len().min(USER_BYTES);
        USER_LEN.put_u32(&mut bytes, kept as u32);
        let mut user = [0; USER_BYTES];
        user[..kept].copy_from_slice(&self.user[..kept]);
        USER.put(&mut bytes, user);
        let crc = crc32(0, &bytes[..CRC.at()]);
        CRC.put_u32(&mut bytes, crc);
        bytes
    }

    /// `block` is the one the bytes were read from: a place in the other's is none.
    pub(crate) fn decode(bytes: &[u8; CURSOR_BYTES], block: u64) -> CursorState {
        let is_whole = CRC.get_u32(bytes) == crc32(0, &bytes[..CRC.at()]);
        if !is_whole || MAGIC.get(bytes) != MAGIC_BYTES {
            return CursorState::Invalid;
        }
        match FORMAT.get_u32(bytes) {
            VERSION => {}
            other => return CursorState::Version(other),
        }
        let (counter, len) = (COUNTER.get_u64(bytes), USER_LEN.get_u32(bytes) as usize);
        if counter & 1 != block || len > USER_BYTES {
            return CursorState::Invalid;
        }
        CursorState::Valid(Cursor {
            counter,
            log_id: LOG_ID.get(bytes),
            epoch: EPOCH.get_u64(bytes),
            seq: SEQ.get_u64(bytes),
            rewound: FLAGS.get_u32(bytes) & REWOUND != 0,
            user: USER.get(bytes)[..len].to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(counter: u64, user: &[u8]) -> Cursor {
        let user = user.to_vec();
        Cursor { counter, log_id: [7; 16], epoch: 3, seq: 1 << 40, rewound: counter > 4, user }
    }

    #[test]
    fn a_place_comes_back_as_it_was() {
        for (counter, user) in [(4, &b""[..]), (5, b"batch 17"), (7, &[9; USER_BYTES])] {
            let place = cursor(counter, user);
            let state = Cursor::decode(&place.encode(), counter & 1);
            assert_eq!(state, CursorState::Valid(place.clone()));
            assert_eq!(Cursor::decode(&place.encode(), 1 - (counter & 1)), CursorState::Invalid);
        }
        assert_eq!((Cursor::offset(4), Cursor::offset(5)), (0, 4096));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let whole = cursor(5, b"batch 17").encode();
        for bit in 0..CURSOR_BYTES * 8 {
            let mut rotten = whole;
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Cursor::decode(&rotten, 1), CursorState::Invalid, "bit {bit}");
        }
        assert_eq!(Cursor::decode(&[0; CURSOR_BYTES], 0), CursorState::Invalid);
    }

    #[test]
    fn whole_bytes_of_another_version_or_with_an_impossible_length_are_no_place() {
        let mut bytes = cursor(5, b"").encode();
        let seal = |bytes: &mut [u8; CURSOR_BYTES]| {
            let crc = crc32(0, &bytes[..CRC.at()]);
            CRC.put_u32(bytes, crc);
        };
        USER_LEN.put_u32(&mut bytes, USER_BYTES as u32 + 1);
        seal(&mut bytes);
        assert_eq!(Cursor::decode(&bytes, 1), CursorState::Invalid);
        FORMAT.put_u32(&mut bytes, 2);
        seal(&mut bytes);
        assert_eq!(Cursor::decode(&bytes, 1), CursorState::Version(2));
    }
}
