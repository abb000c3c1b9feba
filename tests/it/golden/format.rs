//! Version 1 of the format, written from docs/format.md alone: nothing here is the crate's, not even
//! the CRC. Encodes and decodes; slow and plain, so that it can be compared with the document.

pub const HEADER_BYTES: usize = 8192;
pub const BLOCK_BYTES: usize = 4096;
pub const SECTOR_BYTES: usize = 512;
pub const SLOT_BYTES: usize = 128;
pub const MAGIC: [u8; 8] = [0x6D, 0x61, 0x70, 0x6C, 0x6F, 0x67, 0x1A, 0x0A];

pub const VERSION_AT: usize = 8;
pub const REASON_AT: usize = 12;
pub const COMPATIBLE_AT: usize = 16;
pub const INCOMPATIBLE_AT: usize = 24;
pub const LOG_ID_AT: usize = 32;
pub const EPOCH_AT: usize = 48;
pub const SEGMENT_ID_AT: usize = 56;
pub const BASE_SEQ_AT: usize = 64;
pub const SALT_AT: usize = 72;
pub const CREATED_AT: usize = 80;
pub const SEGMENT_BYTES_AT: usize = 88;
pub const ALIGNMENT_AT: usize = 96;
pub const CHECKSUM_ID_AT: usize = 100;
pub const HEADER_CRC_AT: usize = 508;

pub const SINGLE: u32 = 1;
pub const FIRST: u32 = 2;
pub const MIDDLE: u32 = 3;
pub const LAST: u32 = 4;
pub const END: u32 = 5;
pub const MARK: u32 = 6;

pub const REASON_FIRST: u32 = 1;
pub const REASON_ROLL: u32 = 2;
pub const REASON_RECOVERY: u32 = 5;

/// zlib's `crc32(init, bytes)`, a bit at a time.
pub fn crc32(init: u32, bytes: &[u8]) -> u32 {
    let mut state = !init;
    for byte in bytes {
        state ^= u32::from(*byte);
        for _ in 0..8 {
            state = if state & 1 == 1 { state >> 1 ^ 0xEDB8_8320 } else { state >> 1 };
        }
    }
    !state
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

pub fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

pub fn file_name(base_seq: u64, id: u64) -> String {
    format!("{base_seq:020}-{id}.seg")
}

/// The fixed fields of a header that differ between segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub reason: u32,
    pub log_id: [u8; 16],
    pub epoch: u64,
    pub segment_id: u64,
    pub base_seq: u64,
    pub salt: u64,
    pub created_nanos: u64,
    pub segment_bytes: u64,
}

impl Header {
    pub fn encode(&self) -> [u8; SECTOR_BYTES] {
        let mut sector = [0; SECTOR_BYTES];
        put(&mut sector, 0, &MAGIC);
        put(&mut sector, VERSION_AT, &1_u32.to_le_bytes());
        put(&mut sector, REASON_AT, &self.reason.to_le_bytes());
        put(&mut sector, LOG_ID_AT, &self.log_id);
        put(&mut sector, EPOCH_AT, &self.epoch.to_le_bytes());
        put(&mut sector, SEGMENT_ID_AT, &self.segment_id.to_le_bytes());
        put(&mut sector, BASE_SEQ_AT, &self.base_seq.to_le_bytes());
        put(&mut sector, SALT_AT, &self.salt.to_le_bytes());
        put(&mut sector, CREATED_AT, &self.created_nanos.to_le_bytes());
        put(&mut sector, SEGMENT_BYTES_AT, &self.segment_bytes.to_le_bytes());
        put(&mut sector, ALIGNMENT_AT, &16_u32.to_le_bytes());
        put(&mut sector, CHECKSUM_ID_AT, &1_u32.to_le_bytes());
        seal_header(&mut sector);
        sector
    }

    /// The header in one sector, or what is wrong with it.
    pub fn decode(sector: &[u8]) -> Result<Header, &'static str> {
        if sector[..8] != MAGIC {
            return Err("magic");
        }
        if u32_at(sector, VERSION_AT) != 1 {
            return Err("version");
        }
        if u32_at(sector, HEADER_CRC_AT) != crc32(0, &sector[..HEADER_CRC_AT]) {
            return Err("checksum");
        }
        if u64_at(sector, INCOMPATIBLE_AT) != 0
            || u32_at(sector, ALIGNMENT_AT) != 16
            || u32_at(sector, CHECKSUM_ID_AT) != 1
        {
            return Err("feature");
        }
        Ok(Header {
            reason: u32_at(sector, REASON_AT),
            log_id: sector[LOG_ID_AT..EPOCH_AT].try_into().unwrap(),
            epoch: u64_at(sector, EPOCH_AT),
            segment_id: u64_at(sector, SEGMENT_ID_AT),
            base_seq: u64_at(sector, BASE_SEQ_AT),
            salt: u64_at(sector, SALT_AT),
            created_nanos: u64_at(sector, CREATED_AT),
            segment_bytes: u64_at(sector, SEGMENT_BYTES_AT),
        })
    }
}

/// Gives a header's sector the checksum of what it says now.
pub fn seal_header(sector: &mut [u8]) {
    let crc = crc32(0, &sector[..HEADER_CRC_AT]);
    put(sector, HEADER_CRC_AT, &crc.to_le_bytes());
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub counter: u64,
    pub epoch: u64,
    pub durable_offset: u64,
    pub durable_seq: u64,
    pub first_seq: u64,
    pub closed: bool,
}

impl Slot {
    /// Where a slot with this counter stands in the file.
    pub fn offset(counter: u64) -> usize {
        (counter % 2) as usize * BLOCK_BYTES + SECTOR_BYTES
    }

    pub fn encode(&self, salt: u64) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        let Slot { counter, epoch, durable_offset, durable_seq, first_seq, closed } = *self;
        let words = [counter, epoch, durable_offset, durable_seq, first_seq, u64::from(closed)];
        for (index, word) in words.into_iter().enumerate() {
            put(&mut bytes, index * 8, &word.to_le_bytes());
        }
        let crc = crc32((salt >> 32) as u32 ^ salt as u32, &bytes[..124]);
        put(&mut bytes, 124, &crc.to_le_bytes());
        bytes
    }

    /// `None` if the bytes are no slot that may stand in `block`.
    pub fn decode(bytes: &[u8], salt: u64, block: u64) -> Option<Slot> {
        let crc = crc32((salt >> 32) as u32 ^ salt as u32, &bytes[..124]);
        let counter = u64_at(bytes, 0);
        (u32_at(bytes, 124) == crc && counter % 2 == block).then(|| Slot {
            counter,
            epoch: u64_at(bytes, 8),
            durable_offset: u64_at(bytes, 16),
            durable_seq: u64_at(bytes, 24),
            first_seq: u64_at(bytes, 32),
            closed: u32_at(bytes, 40) & 1 == 1,
        })
    }
}

/// Bytes of a frame, padding included.
pub fn frame_bytes(len: usize) -> usize {
    (16 + len).next_multiple_of(16)
}

pub fn seed(salt: u64, offset: usize, word: u32, flags_and_seq: u64) -> u32 {
    let place = (offset / 16) as u32;
    place.wrapping_mul(0x9E37_79B1)
        ^ (word ^ (salt >> 32) as u32).wrapping_mul(0x85EB_CA77)
        ^ (flags_and_seq as u32).wrapping_mul(0xC2B2_AE3D).rotate_left(11)
        ^ ((flags_and_seq >> 32) as u32).wrapping_mul(0x27D4_EB2F).rotate_left(22)
        ^ salt as u32
}

/// One frame, at its place. `first_crc` is the checksum field of the batch's first frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub offset: usize,
    pub kind: u32,
    pub seq: u64,
    pub payload: Vec<u8>,
}

impl Frame {
    fn checksum(&self, salt: u64, first_crc: u32) -> u32 {
        let word = self.kind << 28 | self.payload.len() as u32;
        let tie = if matches!(self.kind, MIDDLE | LAST) { first_crc } else { 0 };
        crc32(seed(salt, self.offset, word, self.seq) ^ tie, &self.payload)
    }

    /// The frame's bytes, and the checksum in them.
    pub fn encode(&self, salt: u64, first_crc: u32) -> (Vec<u8>, u32) {
        let word = self.kind << 28 | self.payload.len() as u32;
        let crc = self.checksum(salt, first_crc);
        let mut bytes = vec![0; frame_bytes(self.payload.len())];
        put(&mut bytes, 0, &word.to_le_bytes());
        put(&mut bytes, 4, &crc.to_le_bytes());
        put(&mut bytes, 8, &self.seq.to_le_bytes());
        put(&mut bytes, 16, &self.payload);
        (bytes, crc)
    }

    pub fn next(&self) -> usize {
        self.offset + frame_bytes(self.payload.len())
    }
}

/// The frames of a segment from its start to the first zero commit word, end frame or end of the
/// file. Panics, naming the place, where a frame is not valid.
pub fn decode_frames(segment: &[u8], header: &Header) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut seq = header.base_seq;
    let mut first_crc = 0;
    let mut offset = HEADER_BYTES;
    while offset + 16 <= segment.len() && u32_at(segment, offset) != 0 {
        let word = u32_at(segment, offset);
        let (kind, len) = (word >> 28, (word & 0x0FFF_FFFF) as usize);
        let payload = segment[offset + 16..offset + 16 + len].to_vec();
        let frame = Frame { offset, kind, seq: u64_at(segment, offset + 8), payload };
        assert_eq!(frame.seq, seq, "sequence number at {offset}");
        let before = frames.iter().rfind(|frame| frame.kind != MARK).map(|frame| frame.kind);
        let in_batch = matches!(before, Some(FIRST | MIDDLE));
        assert_eq!(in_batch, matches!(kind, MIDDLE | LAST), "order of kinds at {offset}");
        let crc = u32_at(segment, offset + 4);
        assert_eq!(crc, frame.checksum(header.salt, first_crc), "checksum at {offset}");
        if kind == FIRST {
            first_crc = crc;
        }
        seq += u64::from(matches!(kind, SINGLE | FIRST | MIDDLE | LAST));
        offset = frame.next();
        frames.push(frame);
        if kind == END {
            break;
        }
    }
    frames
}
