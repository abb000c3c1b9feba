//! An encoder of its own for what a hostile hand could write: headers, slots and frames with valid
//! checksums, as docs/format.md describes them.

use std::fs;
use std::path::Path;

pub const BLOCK_BYTES: usize = 4096;
const SECTOR_BYTES: usize = 512;

// Offsets in the fixed fields of a header.
pub const VERSION_AT: usize = 8;
pub const REASON_AT: usize = 12;
pub const INCOMPATIBLE_AT: usize = 24;
pub const EPOCH_AT: usize = 48;
pub const SEGMENT_ID_AT: usize = 56;
pub const BASE_SEQ_AT: usize = 64;
pub const SALT_AT: usize = 72;
pub const SEGMENT_BYTES_AT: usize = 88;
pub const ALIGNMENT_AT: usize = 96;
pub const CHECKSUM_AT: usize = 100;

/// CRC-32 as zlib's `crc32(seed, bytes)`, a bit at a time.
pub fn crc32(seed: u32, bytes: &[u8]) -> u32 {
    let mut crc = !seed;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 };
        }
    }
    !crc
}

/// A segment's bytes, to be changed so that all checksums still hold.
pub struct Forged(pub Vec<u8>);

impl Forged {
    pub fn read(segment: &Path) -> Self {
        Forged(fs::read(segment).unwrap())
    }

    pub fn write(&self, segment: &Path) {
        fs::write(segment, &self.0).unwrap();
    }

    pub fn salt(&self) -> u64 {
        u64::from_le_bytes(self.0[SALT_AT..SALT_AT + 8].try_into().unwrap())
    }

    /// Puts a field into both copies of the header.
    pub fn header(&mut self, at: usize, value: &[u8]) -> &mut Self {
        for block in [0, BLOCK_BYTES] {
            let sector = &mut self.0[block..block + SECTOR_BYTES];
            sector[at..at + value.len()].copy_from_slice(value);
            let crc = crc32(0, &sector[..SECTOR_BYTES - 4]);
            sector[SECTOR_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        }
        self
    }

    /// Writes a slot into its block.
    pub fn slot(&mut self, slot: Slot) -> &mut Self {
        let mut bytes = [0; 128];
        let words =
            [slot.counter, slot.epoch, slot.durable_offset, slot.durable_seq, slot.first_seq];
        for (place, word) in bytes.chunks_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes[40] = u8::from(slot.closed);
        let salt = self.salt();
        let crc = crc32((salt >> 32) as u32 ^ salt as u32, &bytes[..124]);
        bytes[124..].copy_from_slice(&crc.to_le_bytes());
        let at = (slot.counter as usize & 1) * BLOCK_BYTES + SECTOR_BYTES;
        self.0[at..at + 128].copy_from_slice(&bytes);
        self
    }

    /// Writes a frame that is no part of a batch; gives where the next one goes.
    pub fn frame(&mut self, at: usize, kind: u8, seq: u64, payload: &[u8]) -> usize {
        let word = u32::from(kind) << 28 | payload.len() as u32;
        let salt = self.salt();
        let seed = ((at / 16) as u32).wrapping_mul(0x9E37_79B1)
            ^ (word ^ (salt >> 32) as u32).wrapping_mul(0x85EB_CA77)
            ^ (seq as u32).wrapping_mul(0xC2B2_AE3D).rotate_left(11)
            ^ ((seq >> 32) as u32).wrapping_mul(0x27D4_EB2F).rotate_left(22)
            ^ salt as u32;
        let next = (at + 16 + payload.len()).next_multiple_of(16);
        let frame = &mut self.0[at..next];
        frame.fill(0);
        frame[..4].copy_from_slice(&word.to_le_bytes());
        frame[4..8].copy_from_slice(&crc32(seed, payload).to_le_bytes());
        frame[8..16].copy_from_slice(&seq.to_le_bytes());
        frame[16..16 + payload.len()].copy_from_slice(payload);
        next
    }

    /// Writes a mark that claims everything below `durable_seq` durable.
    pub fn mark(&mut self, at: usize, seq: u64, durable_seq: u64) -> usize {
        let mut payload = [0; 16];
        payload[8..].copy_from_slice(&durable_seq.to_le_bytes());
        self.frame(at, crate::support::MARK, seq, &payload)
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Slot {
    pub counter: u64,
    pub epoch: u64,
    pub durable_offset: u64,
    pub durable_seq: u64,
    pub first_seq: u64,
    pub closed: bool,
}
