//! The layout on disk, version 1: where each byte stands and how it is checked.
//!
//! Writer and reader share these modules and never each other. docs/format.md says the same in
//! prose; golden files in tests/ hold the two together.
//!
//! Only it may name a byte offset. Does not know: files, mappings, errors, recovery.

mod crc;
pub(crate) mod cursor;
mod field;
pub(crate) mod frame;
pub(crate) mod header;
pub(crate) mod name;
pub(crate) mod page;
pub(crate) mod position;
pub(crate) mod slot;
pub(crate) mod wake;

pub(crate) use crc::crc32;

/// The version of the format that this crate writes, and the only one that it reads.
pub(crate) const VERSION: u32 = 1;

/// Frames start on multiples of this, so that a header never straddles a cache line or a sector
/// and a payload can be cast to any type of up to this alignment.
pub(crate) const ALIGN: u64 = 16;

/// The unit in which files grow and mappings are touched. Larger pages are multiples of it.
pub(crate) const PAGE_BYTES: u64 = 4096;

/// `bytes` rounded up to a multiple of `unit`, a power of two. `bytes` is bounded by its caller.
#[inline]
pub(crate) const fn round_up(bytes: u64, unit: u64) -> u64 {
    (bytes + unit - 1) & !(unit - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crc32fast(seed: u32, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(seed);
        hasher.update(bytes);
        hasher.finalize()
    }

    #[test]
    fn every_length_at_every_place_is_what_crc32fast_says() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut bytes = [0; 300];
        for _ in 0..20 {
            random.fill(&mut bytes);
            for start in 0..17 {
                for end in start..bytes.len() {
                    let (seed, part) = (random.u32(..), &bytes[start..end]);
                    assert_eq!(crc32(seed, part), crc32fast(seed, part), "bytes {start}..{end}");
                }
            }
        }
    }

    /// crc32fast may take the same way, and be wrong with it.
    #[test]
    fn it_is_the_checksum_that_everyone_calls_so() {
        assert_eq!(crc32(0, b"The quick brown fox jumps over the lazy dog"), 0x414F_A339);
        assert_eq!(crc32(0, &[0xFF; 32]), 0xFF6C_AB0B);
        assert_eq!(crc32(0, &[0; 32]), 0x190A_55AD);
        assert_eq!(crc32(0, &[0xFF; 100]), 0x03D2_8681);
    }
}
