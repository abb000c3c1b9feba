//! A reader's position, as bytes to store anywhere.

use super::crc32;
use super::field::Field;

const MAGIC: Field<4> = Field::first();
const FORMAT: Field<4> = MAGIC.then();
const LOG_ID: Field<16> = FORMAT.then();
const EPOCH: Field<8> = LOG_ID.then();
const SEQ: Field<8> = EPOCH.then();
const SPARE: Field<4> = SEQ.then();
const CRC: Field<4> = SPARE.then();

pub(crate) const BYTES: usize = CRC.end();

const MAGIC_BYTES: [u8; 4] = *b"mlp\x1a";
const VERSION: u32 = 1;

/// What a stored position says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) log_id: [u8; 16],
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
}

/// Why bytes are no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Length,
    Magic,
    Version(u32),
    Checksum,
}

impl Stored {
    pub(crate) fn encode(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        MAGIC.put(&mut bytes, MAGIC_BYTES);
        FORMAT.put_u32(&mut bytes, VERSION);
        LOG_ID.put(&mut bytes, self.log_id);
        EPOCH.put_u64(&mut bytes, self.epoch);
        SEQ.put_u64(&mut bytes, self.seq);
        let crc = crc32(0, &bytes[..CRC.at()]);
        CRC.put_u32(&mut bytes, crc);
        bytes
    }

    /// Any bytes give a position or the first reason why not.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        if bytes.len() != BYTES {
            return Err(Unreadable::Length);
        }
        if MAGIC.get(bytes) != MAGIC_BYTES {
            return Err(Unreadable::Magic);
        }
        if CRC.get_u32(bytes) != crc32(0, &bytes[..CRC.at()]) {
            return Err(Unreadable::Checksum);
        }
        match FORMAT.get_u32(bytes) {
            VERSION => Ok(Stored {
                log_id: LOG_ID.get(bytes),
                epoch: EPOCH.get_u64(bytes),
                seq: SEQ.get_u64(bytes),
            }),
            other => Err(Unreadable::Version(other)),
        }
    }
}
