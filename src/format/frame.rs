//! A frame: a record on disk, or a note between records.
//!
//! ```text
//!  0        4        8                16
//!  +--------+--------+-----------------+----------- - -+------ - -+
//!  | commit |  crc   | flags and seq   | payload       | zeros    |
//!  +--------+--------+-----------------+----------- - -+------ - -+
//!    kind:4   CRC-32   flags:8 seq:56    length bytes    to 16
//!    len:28
//! ```

use super::field::Field;
use super::{ALIGN, crc32, round_up};

const COMMIT: Field<4> = Field::first();
const CRC: Field<4> = COMMIT.then();
const SEQ: Field<8> = CRC.then();

/// Bytes before the payload.
pub(crate) const HEADER_BYTES: u64 = SEQ.end() as u64;
/// The commit word's bytes: what publishing stores last.
pub(crate) const COMMIT_BYTES: u64 = COMMIT.end() as u64;

const LENGTH_BITS: u32 = 28;
const LENGTH_MASK: u32 = (1 << LENGTH_BITS) - 1;
/// The longest payload that a commit word can say, in bytes.
pub(crate) const MAX_PAYLOAD: u64 = LENGTH_MASK as u64;

const SEQ_BITS: u32 = 56;
/// The bits of a sequence number; the eight above them are flags.
pub(crate) const SEQ_MASK: u64 = (1 << SEQ_BITS) - 1;
/// The highest sequence number of a record. The next record's stands in marks, end frames and the
/// durable word, and has to fit too.
pub(crate) const MAX_SEQ: u64 = SEQ_MASK - 1;

const _: () = assert!(HEADER_BYTES == ALIGN, "payloads are as aligned as frames");
const _: () = assert!(COMMIT.at() == 0, "publishing stores the first word of a frame");

/// What a frame is, by the code in its commit word. Zero is never a kind: a zero word says that nothing was committed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A record of its own.
    Single = 1,
    /// The first record of a batch.
    First,
    /// A record inside a batch.
    Middle,
    /// The last record of a batch.
    Last,
    /// No frame follows in this segment.
    End,
    /// The time, and how far the log was durable then.
    Mark,
    /// 7: a kind that this version does not know and must not pass over.
    Refused,
    /// 8 to 15: kinds that this version does not know and may pass over.
    Skipped,
}

/// The kinds by their codes. A table, since a `match` here would be a jump for each frame read.
const KINDS: [Option<Kind>; 1 << (u32::BITS - LENGTH_BITS)] = {
    use Kind::*;
    let mut kinds = [Some(Skipped); 1 << (u32::BITS - LENGTH_BITS)];
    let known = [Single, First, Middle, Last, End, Mark, Refused];
    kinds[0] = None;
    let mut index = 0;
    while index < known.len() {
        kinds[known[index] as usize] = Some(known[index]);
        index += 1;
    }
    kinds
};

/// The first word of a frame: four bits of kind, 28 bits of payload length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommitWord(u32);

impl CommitWord {
    pub(crate) const VACANT: CommitWord = CommitWord(0);

    /// `kind` is one that this version writes, `len` at most [`MAX_PAYLOAD`].
    #[inline]
    pub(crate) const fn new(kind: Kind, len: u64) -> Self {
        CommitWord((kind as u32) << LENGTH_BITS | (len as u32 & LENGTH_MASK))
    }

    #[inline]
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// `None` for the code zero, which no frame has.
    #[inline]
    pub(crate) const fn kind(self) -> Option<Kind> {
        KINDS[(self.0 >> LENGTH_BITS) as usize]
    }

    /// True of a record of its own.
    #[inline]
    pub(crate) const fn is_single(self) -> bool {
        self.0 >> LENGTH_BITS == Kind::Single as u32
    }

    /// Payload bytes.
    #[inline]
    pub(crate) const fn len(self) -> u64 {
        (self.0 & LENGTH_MASK) as u64
    }

    /// Bytes from this frame to the next.
    #[inline]
    pub(crate) const fn frame_bytes(self) -> u64 {
        frame_bytes(self.len())
    }
}

/// Bytes that a frame with `len` bytes of payload takes, padding included.
#[inline]
pub(crate) const fn frame_bytes(len: u64) -> u64 {
    round_up(HEADER_BYTES + len, ALIGN)
}

/// The bytes of a frame that holds no payload.
pub(crate) const EMPTY_FRAME_BYTES: u64 = frame_bytes(0);

/// A frame's first 16 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) word: CommitWord,
    pub(crate) crc: u32,
    flags_and_seq: u64,
}

impl Header {
    #[inline]
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES as usize]) -> Self {
        Header {
            word: CommitWord(COMMIT.get_u32(bytes)),
            crc: CRC.get_u32(bytes),
            flags_and_seq: SEQ.get_u64(bytes),
        }
    }

    #[inline]
    pub(crate) fn seq(&self) -> u64 {
        self.flags_and_seq & SEQ_MASK
    }

    /// True if the frame says `seq` and all its flag bits are zero.
    #[inline]
    pub(crate) fn says(&self, seq: u64) -> bool {
        self.flags_and_seq == seq
    }

    /// As they stand in the header.
    #[inline]
    pub(crate) fn flags_and_seq(&self) -> u64 {
        self.flags_and_seq
    }

    /// The eight flag bits, all zero in version 1.
    #[inline]
    pub(crate) fn flags(&self) -> u8 {
        (self.flags_and_seq >> SEQ_BITS) as u8
    }
}

/// Odd, so that another value of one of the four always gives another seed.
const PLACE_FACTOR: u32 = 0x9E37_79B1;
const WORD_FACTOR: u32 = 0x85EB_CA77;
const SEQ_LOW_FACTOR: u32 = 0xC2B2_AE3D;
const SEQ_HIGH_FACTOR: u32 = 0x27D4_EB2F;

/// What a frame's checksum starts from: its salt, its place, and its header but for the checksum. So
/// one call over the payload, which starts on a multiple of 16, covers everything a frame says.
///
/// Over one payload, another seed always gives another checksum. So one change alone is always found:
/// of the place, of the commit word, of the lower or of the upper half of number and flags. Of two bits
/// flipped anywhere in commit word, number and flags, none of 1,368,000 simulated pairs cancelled out:
/// the rotations keep the high bits of one product, which few bits reach, off those of another. Other
/// changes pass once in 2^32 if they are random.
#[inline(always)]
pub(crate) fn seed(salt: u64, offset: u64, word: CommitWord, flags_and_seq: u64) -> u32 {
    let salt = if broken!("no_salt") { 0 } else { salt };
    let place = if broken!("no_offset") { 0 } else { (offset / ALIGN) as u32 };
    let salt_high = (salt >> u32::BITS) as u32;
    let salt_low = salt as u32;
    let seq_high = (flags_and_seq >> u32::BITS) as u32;
    let seq_low = flags_and_seq as u32;
    place.wrapping_mul(PLACE_FACTOR)
        ^ (word.0 ^ salt_high).wrapping_mul(WORD_FACTOR)
        ^ seq_low.wrapping_mul(SEQ_LOW_FACTOR).rotate_left(11)
        ^ seq_high.wrapping_mul(SEQ_HIGH_FACTOR).rotate_left(22)
        ^ salt_low
}

/// What middle and last frames of a batch add to their seed: the checksum of its first frame, so
/// that the rest of a batch that died never joins another.
#[inline]
pub(crate) fn tie(kind: Kind, first_crc: u32) -> u32 {
    match kind {
        Kind::Middle | Kind::Last if !broken!("no_tie") => first_crc,
        _ => 0,
    }
}

/// Writes sequence number and checksum into `body`, a frame without its commit word whose payload
/// already stands in place, and returns the checksum. `seed` is made of `seq` and includes the [`tie`].
#[inline(always)]
pub(crate) fn seal(body: &mut [u8], seed: u32, seq: u64, len: u64) -> u32 {
    let crc = crc32(seed, &body[SEQ.end() - COMMIT.end()..][..len as usize]);
    label(body, crc, seq);
    crc
}

/// As [`seal`], with the checksum known.
#[inline(always)]
pub(crate) fn label(body: &mut [u8], crc: u32, seq: u64) {
    let (crc_bytes, rest) = body.split_at_mut(SEQ.at() - COMMIT.end());
    crc_bytes.copy_from_slice(&crc.to_le_bytes());
    rest[..SEQ.end() - SEQ.at()].copy_from_slice(&seq.to_le_bytes());
}

/// The commit word's bytes as they stand in a frame.
#[inline]
pub(crate) fn commit_bytes(word: CommitWord) -> [u8; COMMIT_BYTES as usize] {
    word.0.to_le_bytes()
}

/// A mark's payload: the time, and how far the log was durable when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Nanoseconds since 1970-01-01 UTC.
    pub(crate) time_nanos: u64,
    /// Every record below it was on stable storage.
    pub(crate) durable_seq: u64,
}

const TIME: Field<8> = Field::first();
const DURABLE: Field<8> = TIME.then();

impl Mark {
    pub(crate) const BYTES: u64 = DURABLE.end() as u64;

    pub(crate) fn encode(self) -> [u8; Self::BYTES as usize] {
        let mut bytes = [0; Self::BYTES as usize];
        TIME.put_u64(&mut bytes, self.time_nanos);
        DURABLE.put_u64(&mut bytes, self.durable_seq);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; Self::BYTES as usize]) -> Self {
        Mark { time_nanos: TIME.get_u64(bytes), durable_seq: DURABLE.get_u64(bytes) }
    }
}

/// The bytes of a mark's frame.
pub(crate) const MARK_FRAME_BYTES: u64 = frame_bytes(Mark::BYTES);

/// A mark is due when this many bytes of frames lie behind the last one.
pub(crate) const MARK_EVERY_BYTES: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commit_words_say_what_went_in() {
        for kind in [Kind::Single, Kind::First, Kind::Middle, Kind::Last, Kind::End, Kind::Mark] {
            for len in [0, 1, 15, 16, MAX_PAYLOAD] {
                let word = CommitWord::new(kind, len);
                assert_eq!(word.kind(), Some(kind));
                assert_eq!(word.len(), len);
                assert_ne!(word, CommitWord::VACANT);
            }
        }
        assert_eq!(CommitWord(LENGTH_MASK).kind(), None);
    }

    const SALT: u64 = 0x1122_3344_5566_7788;
    const WORD: CommitWord = CommitWord::new(Kind::Single, 64);

    fn all_differ(seed_of: impl Fn(u64) -> u32) {
        let mut seeds: Vec<u32> = (0..100_000).map(seed_of).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 100_000);
    }

    #[test]
    fn no_two_places_share_a_seed() {
        all_differ(|i| seed(SALT, i * ALIGN, WORD, 5));
    }

    #[test]
    fn no_two_lengths_share_a_seed_at_one_place() {
        all_differ(|len| seed(SALT, 8192, CommitWord::new(Kind::Single, len), 5));
    }

    /// Each half of number and flags by itself, near zero and all over, with and without its highest
    /// bit, which an even factor would drop.
    #[test]
    fn no_two_numbers_that_differ_in_one_half_share_a_seed_at_one_place() {
        let spread = u64::from(u32::MAX) / 100_000;
        for step in [1, spread] {
            let half = |i: u64| i / 2 * step + ((i % 2) << 31);
            all_differ(|i| seed(SALT, 8192, WORD, half(i)));
            all_differ(|i| seed(SALT, 8192, WORD, half(i) << 32 | 5));
        }
    }

    /// Without the rotations, the highest bits of word and of either half of the number would cancel out.
    #[test]
    fn no_two_flipped_bits_of_word_and_number_leave_the_seed_as_it_was() {
        const BITS: u32 = u32::BITS + u64::BITS;
        let mut random = fastrand::Rng::with_seed(1);
        let mut pairs = 0;
        for _ in 0..100 {
            let (salt, offset) = (random.u64(..), u64::from(random.u32(..)) * ALIGN);
            let (word, number) = (random.u32(..), random.u64(..));
            let seed_with = |flips: u128| {
                let word = CommitWord(word ^ flips as u32);
                seed(salt, offset, word, number ^ (flips >> u32::BITS) as u64)
            };
            let intact = seed_with(0);
            for one in 0..BITS {
                for other in 0..one {
                    let flipped = seed_with(1 << one | 1 << other);
                    assert_ne!(flipped, intact, "bits {other} and {one} of {word:#x}, {number:#x}");
                    pairs += 1;
                }
            }
        }
        assert_eq!(pairs, 100 * 4560);
    }
}
