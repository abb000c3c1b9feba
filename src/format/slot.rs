//! A slot: where a segment's durable position was when it was last written down.
//!
//! There are two, each in a sector of its own in its own block; writes alternate, so that a torn
//! write leaves the older one. No valid slot is damage, never position zero.

use super::crc32;
use super::field::Field;
use super::header::{BLOCK_BYTES, SECTOR_BYTES};

const COUNTER: Field<8> = Field::first();
const EPOCH: Field<8> = COUNTER.then();
const DURABLE_OFFSET: Field<8> = EPOCH.then();
const DURABLE_SEQ: Field<8> = DURABLE_OFFSET.then();
const FIRST_SEQ: Field<8> = DURABLE_SEQ.then();
const FLAGS: Field<4> = FIRST_SEQ.then();
const SPARE: Field<80> = FLAGS.then();
const CRC: Field<4> = SPARE.then();

/// Bytes of an encoded slot.
pub(crate) const SLOT_BYTES: usize = CRC.end();

const _: () = assert!(SLOT_BYTES <= SECTOR_BYTES, "a slot is written whole or not at all");

const CLOSED: u32 = 1;

/// One slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Grows by one a write; the higher of two valid slots is the newer. Its lowest bit is the block.
    pub(crate) counter: u64,
    pub(crate) epoch: u64,
    /// Where the frame of `durable_seq` begins, or zero if that lies in an older segment.
    pub(crate) durable_offset: u64,
    /// Every record below it is on stable storage.
    pub(crate) durable_seq: u64,
    /// The log's first sequence number; what lies below was trimmed.
    pub(crate) first_seq: u64,
    /// Nothing was appended behind `durable_offset` since.
    pub(crate) closed: bool,
}

/// The two slots of a segment, as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    Valid(Slot),
    /// All zero: never written.
    Never,
    Damaged,
}

impl Slot {
    /// Where in the file the slot with this counter stands.
    pub(crate) fn offset(counter: u64) -> u64 {
        (counter & 1) * BLOCK_BYTES + SECTOR_BYTES as u64
    }

    /// `salt` is the segment's, so that another segment's slot never validates.
    pub(crate) fn encode(&self, salt: u64) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        COUNTER.put_u64(&mut bytes, self.counter);
        EPOCH.put_u64(&mut bytes, self.epoch);
        DURABLE_OFFSET.put_u64(&mut bytes, self.durable_offset);
        DURABLE_SEQ.put_u64(&mut bytes, self.durable_seq);
        FIRST_SEQ.put_u64(&mut bytes, self.first_seq);
        FLAGS.put_u32(&mut bytes, if self.closed { CLOSED } else { 0 });
        let crc = checksum(&bytes, salt);
        CRC.put_u32(&mut bytes, crc);
        bytes
    }

    /// `block` is the one the bytes were read from: a slot in the other's place is damage.
    pub(crate) fn decode(bytes: &[u8; SLOT_BYTES], salt: u64, block: u64) -> SlotState {
        if bytes.iter().all(|byte| *byte == 0) {
            return SlotState::Never;
        }
        let slot = Slot {
            counter: COUNTER.get_u64(bytes),
            epoch: EPOCH.get_u64(bytes),
            durable_offset: DURABLE_OFFSET.get_u64(bytes),
            durable_seq: DURABLE_SEQ.get_u64(bytes),
            first_seq: FIRST_SEQ.get_u64(bytes),
            closed: FLAGS.get_u32(bytes) & CLOSED != 0,
        };
        if CRC.get_u32(bytes) == checksum(bytes, salt) && slot.counter & 1 == block {
            SlotState::Valid(slot)
        } else {
            SlotState::Damaged
        }
    }
}

fn checksum(bytes: &[u8; SLOT_BYTES], salt: u64) -> u32 {
    crc32((salt >> u32::BITS) as u32 ^ salt as u32, &bytes[..CRC.at()])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Slot = Slot {
        counter: 5,
        epoch: 2,
        durable_offset: 8192,
        durable_seq: 40,
        first_seq: 10,
        closed: true,
    };

    #[test]
    fn slots_alternate_between_the_blocks() {
        assert_eq!(Slot::offset(4), 512);
        assert_eq!(Slot::offset(5), 4096 + 512);
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let whole = SLOT.encode(99);
        assert_eq!(Slot::decode(&whole, 99, 1), SlotState::Valid(SLOT));
        for bit in 0..SLOT_BYTES * 8 {
            let mut rotten = whole;
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Slot::decode(&rotten, 99, 1), SlotState::Damaged, "bit {bit}");
        }
    }

    #[test]
    fn a_slot_of_another_segment_or_block_is_damage() {
        let whole = SLOT.encode(99);
        assert_eq!(Slot::decode(&whole, 98, 1), SlotState::Damaged);
        assert_eq!(Slot::decode(&whole, 99, 0), SlotState::Damaged);
        assert_eq!(Slot::decode(&[0; SLOT_BYTES], 99, 0), SlotState::Never);
    }
}
