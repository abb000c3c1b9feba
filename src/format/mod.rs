//! The layout on disk, version 1: where each byte stands and how it is checked.
//!
//! Writer and reader share these modules and never each other. docs/format.md says the same in
//! prose; golden files in tests/ hold the two together.
//!
//! Only it may name a byte offset. Does not know: files, mappings, errors, recovery.

pub(crate) mod cursor;
mod field;
pub(crate) mod frame;
pub(crate) mod header;
pub(crate) mod name;
pub(crate) mod page;
pub(crate) mod position;
pub(crate) mod slot;
pub(crate) mod wake;

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

/// CRC-32 (ISO-HDLC, as zlib and PNG) of `bytes`, continued from `seed` as zlib's `crc32(seed, ..)`.
#[inline(always)]
pub(crate) fn crc32(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}
