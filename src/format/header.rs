//! A segment's header: two blocks of 4 KiB, each with the fixed fields in its first sector and one
//! of the two slots in its second. One rotten bit or one bad block must not cost a segment.

use super::field::Field;
use super::{ALIGN, PAGE_BYTES, VERSION, crc32};

/// Bytes of one block; the header has two.
pub(crate) const BLOCK_BYTES: u64 = PAGE_BYTES;
pub(crate) const BLOCKS: u64 = 2;
/// Frames start here.
pub(crate) const HEADER_BYTES: u64 = BLOCK_BYTES * BLOCKS;
/// What a disk writes whole or not at all.
pub(crate) const SECTOR_BYTES: usize = 512;

/// A newline and a control-Z catch transfers that "mend" text files, as in PNG.
const MAGIC_BYTES: [u8; 8] = *b"maplog\x1a\n";
const CHECKSUM_CRC32: u32 = 1;

const MAGIC: Field<8> = Field::first();
const FORMAT: Field<4> = MAGIC.then();
const REASON: Field<4> = FORMAT.then();
const COMPATIBLE: Field<8> = REASON.then();
const INCOMPATIBLE: Field<8> = COMPATIBLE.then();
const LOG_ID: Field<16> = INCOMPATIBLE.then();
const EPOCH: Field<8> = LOG_ID.then();
const SEGMENT_ID: Field<8> = EPOCH.then();
const BASE_SEQ: Field<8> = SEGMENT_ID.then();
const SALT: Field<8> = BASE_SEQ.then();
const CREATED: Field<8> = SALT.then();
const SEGMENT_BYTES: Field<8> = CREATED.then();
const ALIGNMENT: Field<4> = SEGMENT_BYTES.then();
const CHECKSUM: Field<4> = ALIGNMENT.then();
const SPARE: Field<404> = CHECKSUM.then();
const CRC: Field<4> = SPARE.then();

const _: () = assert!(CRC.end() == SECTOR_BYTES, "the fixed fields fill their sector");
const _: () = assert!(SPARE.end() - SPARE.at() >= 256, "codec and key ids will want room");

/// The smallest segment: small enough that tests can exhaust one.
pub(crate) const MIN_SEGMENT_BYTES: u64 = 16 * 1024;
/// The largest segment; a place in it, in units of 16 bytes, fits 32 bits with room to spare.
pub(crate) const MAX_SEGMENT_BYTES: u64 = 16 << 30;

const _: () = assert!(MIN_SEGMENT_BYTES > HEADER_BYTES);
const _: () = assert!(MAX_SEGMENT_BYTES / ALIGN < 1 << u32::BITS, "places differ in their seed");

/// Why a segment was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    First = 1,
    Roll = 2,
    Cut = 3,
    Reset = 4,
    Recovery = 5,
    Copy = 6,
}

impl Reason {
    fn from_code(code: u32) -> Option<Self> {
        [Self::First, Self::Roll, Self::Cut, Self::Reset, Self::Recovery, Self::Copy]
            .into_iter()
            .find(|reason| *reason as u32 == code)
    }
}

/// The fixed fields of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) reason: Reason,
    pub(crate) log_id: [u8; 16],
    pub(crate) epoch: u64,
    pub(crate) segment_id: u64,
    pub(crate) base_seq: u64,
    pub(crate) salt: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    pub(crate) created_nanos: u64,
    /// Bytes that the segment may grow to, header included.
    pub(crate) segment_bytes: u64,
}

/// What stands where a header should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeaderState {
    Valid(SegmentHeader),
    /// Neither copy is whole.
    Damaged,
    /// Both copies name another version of the format.
    Version(u32),
    /// Feature bits or ids that this version does not know.
    Feature {
        what: &'static str,
        value: u64,
    },
}

impl SegmentHeader {
    /// One sector; it stands at the start of both blocks.
    pub(crate) fn encode(&self) -> [u8; SECTOR_BYTES] {
        let mut sector = [0; SECTOR_BYTES];
        MAGIC.put(&mut sector, MAGIC_BYTES);
        FORMAT.put_u32(&mut sector, VERSION);
        REASON.put_u32(&mut sector, self.reason as u32);
        LOG_ID.put(&mut sector, self.log_id);
        EPOCH.put_u64(&mut sector, self.epoch);
        SEGMENT_ID.put_u64(&mut sector, self.segment_id);
        BASE_SEQ.put_u64(&mut sector, self.base_seq);
        SALT.put_u64(&mut sector, self.salt);
        CREATED.put_u64(&mut sector, self.created_nanos);
        SEGMENT_BYTES.put_u64(&mut sector, self.segment_bytes);
        ALIGNMENT.put_u32(&mut sector, ALIGN as u32);
        CHECKSUM.put_u32(&mut sector, CHECKSUM_CRC32);
        let crc = crc32(0, &sector[..CRC.at()]);
        CRC.put_u32(&mut sector, crc);
        sector
    }

    /// Reads a header from both its sectors. Any bytes give one of the four states.
    pub(crate) fn decode(copies: [&[u8; SECTOR_BYTES]; BLOCKS as usize]) -> HeaderState {
        let whole = copies.into_iter().find(|sector| {
            MAGIC.get(*sector) == MAGIC_BYTES
                && FORMAT.get_u32(*sector) == VERSION
                && CRC.get_u32(*sector) == crc32(0, &sector[..CRC.at()])
        });
        match whole {
            Some(sector) => decode_whole(sector),
            None => other_version(copies),
        }
    }
}

/// A later version may keep its checksum elsewhere, so only magic and version are asked; that both
/// copies agree tells it from a rotten version field.
fn other_version(copies: [&[u8; SECTOR_BYTES]; BLOCKS as usize]) -> HeaderState {
    let [one, two] = copies.map(|sector| FORMAT.get_u32(sector));
    let both_ours = copies.iter().all(|sector| MAGIC.get(*sector) == MAGIC_BYTES);
    if both_ours && one == two && one != VERSION {
        HeaderState::Version(one)
    } else {
        HeaderState::Damaged
    }
}

fn decode_whole(sector: &[u8; SECTOR_BYTES]) -> HeaderState {
    let incompatible = INCOMPATIBLE.get_u64(sector);
    if incompatible != 0 {
        return HeaderState::Feature { what: "incompatible feature bits", value: incompatible };
    }
    if ALIGNMENT.get_u32(sector) != ALIGN as u32 {
        let value = ALIGNMENT.get_u32(sector).into();
        return HeaderState::Feature { what: "alignment", value };
    }
    if CHECKSUM.get_u32(sector) != CHECKSUM_CRC32 {
        let value = CHECKSUM.get_u32(sector).into();
        return HeaderState::Feature { what: "checksum id", value };
    }
    let Some(reason) = Reason::from_code(REASON.get_u32(sector)) else {
        let value = REASON.get_u32(sector).into();
        return HeaderState::Feature { what: "segment reason", value };
    };
    let header = SegmentHeader {
        reason,
        log_id: LOG_ID.get(sector),
        epoch: EPOCH.get_u64(sector),
        segment_id: SEGMENT_ID.get_u64(sector),
        base_seq: BASE_SEQ.get_u64(sector),
        salt: SALT.get_u64(sector),
        created_nanos: CREATED.get_u64(sector),
        segment_bytes: SEGMENT_BYTES.get_u64(sector),
    };
    let in_bounds = (MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&header.segment_bytes)
        && header.segment_bytes.is_multiple_of(PAGE_BYTES)
        && header.base_seq <= super::frame::MAX_SEQ;
    if in_bounds { HeaderState::Valid(header) } else { HeaderState::Damaged }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            reason: Reason::Roll,
            log_id: [7; 16],
            epoch: 3,
            segment_id: 9,
            base_seq: 1000,
            salt: 0x0123_4567_89AB_CDEF,
            created_nanos: 1_700_000_000_000_000_000,
            segment_bytes: 1 << 20,
        }
    }

    fn resealed(mut sector: [u8; SECTOR_BYTES]) -> [u8; SECTOR_BYTES] {
        let crc = crc32(0, &sector[..CRC.at()]);
        CRC.put_u32(&mut sector, crc);
        sector
    }

    #[test]
    fn either_copy_is_enough() {
        let whole = header().encode();
        let rotten = [0xFF; SECTOR_BYTES];
        assert_eq!(SegmentHeader::decode([&whole, &rotten]), HeaderState::Valid(header()));
        assert_eq!(SegmentHeader::decode([&rotten, &whole]), HeaderState::Valid(header()));
        assert_eq!(SegmentHeader::decode([&rotten, &rotten]), HeaderState::Damaged);
        assert_eq!(SegmentHeader::decode([&[0; 512], &[0; 512]]), HeaderState::Damaged);
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let whole = header().encode();
        for bit in 0..SECTOR_BYTES * 8 {
            let mut rotten = whole;
            rotten[bit / 8] ^= 1 << (bit % 8);
            let state = SegmentHeader::decode([&rotten, &[0; SECTOR_BYTES]]);
            assert_eq!(state, HeaderState::Damaged, "bit {bit}");
        }
    }

    #[test]
    fn another_version_is_named_only_when_both_copies_agree() {
        let mut other = header().encode();
        FORMAT.put_u32(&mut other, 2);
        assert_eq!(SegmentHeader::decode([&other, &other]), HeaderState::Version(2));
        assert_eq!(
            SegmentHeader::decode([&other, &header().encode()]),
            HeaderState::Valid(header())
        );
    }

    #[test]
    fn unknown_features_are_refused_by_name() {
        let mut sector = header().encode();
        INCOMPATIBLE.put_u64(&mut sector, 4);
        let sector = resealed(sector);
        let state = SegmentHeader::decode([&sector, &sector]);
        assert_eq!(state, HeaderState::Feature { what: "incompatible feature bits", value: 4 });
    }

    #[test]
    fn compatible_features_and_spare_bytes_are_passed_over() {
        let mut sector = header().encode();
        COMPATIBLE.put_u64(&mut sector, u64::MAX);
        SPARE.put(&mut sector, [0xAA; 404]);
        let sector = resealed(sector);
        assert_eq!(SegmentHeader::decode([&sector, &sector]), HeaderState::Valid(header()));
    }
}
