//! CRC-32 (ISO-HDLC, as zlib and PNG): crc32fast's, and a way of its own for what most small records are.
//!
//! crc32fast asks at each call which processor this is, and looks for the best of its ways for so many
//! bytes: for 64 of them that takes as long as the checksum itself.

/// CRC-32 of `bytes`, continued from `seed` as zlib's `crc32(seed, ..)`.
#[inline(always)]
pub(crate) fn crc32(seed: u32, bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if folding::LENGTHS.contains(&bytes.len()) && *folding::IS_POSSIBLE {
        // SAFETY: this processor has the instructions that the function is made of.
        #[allow(unsafe_code)]
        return unsafe { folding::crc32(seed, bytes) };
    }
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// Checksums by carry-less multiplication, without branches that a length of 64 does not need.
///
/// A block of 16 bytes is a polynomial of 128 coefficients, the first bit's the highest. Multiplied by
/// x^(128 n) mod P it may be added to the block that comes n later, so that in the end only one is left
/// (Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel, 2009).
#[cfg(target_arch = "x86_64")]
mod folding {
    use std::arch::x86_64::*;
    use std::ops::Range;
    use std::sync::LazyLock;

    /// The bytes of an `__m128i`.
    const BLOCK: usize = size_of::<__m128i>();

    /// For more bytes crc32fast has wider registers.
    pub(super) const LENGTHS: Range<usize> = BLOCK..8 * BLOCK;

    pub(super) static IS_POSSIBLE: LazyLock<bool> = LazyLock::new(|| {
        is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse4.1")
    });

    /// P without x^32. As in all that follows, the lowest power is the highest bit.
    const P: u32 = 0xEDB8_8320;

    /// x^`n` mod P, moved by the one bit by which a product of such factors falls short.
    const fn power(n: u32) -> u64 {
        let mut power: u32 = 1 << 31;
        let mut step = 0;
        while step < n {
            power = (power >> 1) ^ (P * (power & 1));
            step += 1;
        }
        (power as u64) << 1
    }

    /// What the first and the last eight bytes of a block are multiplied by, to be added `blocks` later.
    const fn behind(blocks: u32) -> [u64; 2] {
        [power(128 * blocks + 32), power(128 * blocks - 32)]
    }

    /// P with x^32, and the number whose product with it is 1 in the lowest 64 bits.
    const DIVISOR: [u64; 2] = {
        let whole = (P as u64) << 1 | 1;
        let (mut inverse, mut left, mut bit) = (0, 1, 0);
        while bit < u64::BITS {
            if left >> bit & 1 == 1 {
                inverse |= 1 << bit;
                left ^= whole << bit;
            }
            bit += 1;
        }
        [whole, inverse]
    };

    /// Sixteen of these from `BLOCK + n` on move the bytes of a block `n` places towards its start, from
    /// `BLOCK - n` on towards its end. What is 0x80 makes a byte zero.
    static MOVES: [u8; 3 * BLOCK] = {
        let mut moves = [0x80; 3 * BLOCK];
        let mut at = 0;
        while at < BLOCK {
            moves[BLOCK + at] = at as u8;
            at += 1;
        }
        moves
    };

    /// `bytes` has one of the [`LENGTHS`].
    #[target_feature(enable = "pclmulqdq,ssse3,sse4.1")]
    pub(super) fn crc32(seed: u32, bytes: &[u8]) -> u32 {
        let seed = _mm_cvtsi32_si128(!seed as i32);
        let next = pair(const { behind(1) });
        let (mut sum, mut rest) = (seed, bytes);
        if let Some((four, others)) = rest.split_first_chunk::<{ 4 * BLOCK }>() {
            // Side by side: one after another, each would wait for the multiplication before it.
            let first = times(_mm_xor_si128(load(four), seed), pair(const { behind(3) }));
            let second = times(load(&four[BLOCK..]), pair(const { behind(2) }));
            let third = times(load(&four[2 * BLOCK..]), next);
            let last_two = _mm_xor_si128(third, load(&four[3 * BLOCK..]));
            sum = _mm_xor_si128(_mm_xor_si128(first, second), last_two);
            rest = others;
        } else if let Some((first, others)) = rest.split_first_chunk::<BLOCK>() {
            sum = _mm_xor_si128(load(first), seed);
            rest = others;
        }
        while let Some((block, others)) = rest.split_first_chunk::<BLOCK>() {
            sum = _mm_xor_si128(times(sum, next), load(block));
            rest = others;
        }
        if !rest.is_empty() {
            // The first bytes of the sum are one block before those that end where the bytes do; its other
            // bytes, and what is left, are that block.
            let left = rest.len();
            let to_start = load(&MOVES[BLOCK + left..]);
            let first = _mm_shuffle_epi8(sum, load(&MOVES[left..]));
            let others = _mm_shuffle_epi8(sum, to_start);
            let last = _mm_blendv_epi8(others, load(&bytes[bytes.len() - BLOCK..]), to_start);
            sum = _mm_xor_si128(times(first, next), last);
        }
        remainder(sum)
    }

    /// What is left of a block, times x^32, when P divides it.
    #[target_feature(enable = "pclmulqdq,ssse3,sse4.1")]
    #[inline]
    fn remainder(sum: __m128i) -> u32 {
        // Its first half becomes 32 bits behind the second one.
        let first = _mm_clmulepi64_si128::<0x10>(sum, pair(const { behind(1) }));
        let sum = _mm_xor_si128(first, _mm_srli_si128::<8>(sum));
        // The multiple of P that has the same first 64 bits of 96.
        let divisor = pair(DIVISOR);
        let quotient = _mm_clmulepi64_si128::<0x10>(sum, divisor);
        let multiple = _mm_clmulepi64_si128::<0x00>(quotient, divisor);
        !(_mm_extract_epi32::<2>(_mm_xor_si128(sum, multiple)) as u32)
    }

    /// A block multiplied by what [`behind`] gives.
    #[target_feature(enable = "pclmulqdq,ssse3,sse4.1")]
    #[inline]
    fn times(block: __m128i, factors: __m128i) -> __m128i {
        let first = _mm_clmulepi64_si128::<0x00>(block, factors);
        _mm_xor_si128(first, _mm_clmulepi64_si128::<0x11>(block, factors))
    }

    #[target_feature(enable = "pclmulqdq,ssse3,sse4.1")]
    #[inline]
    fn pair([first, last]: [u64; 2]) -> __m128i {
        _mm_set_epi64x(last as i64, first as i64)
    }

    /// The first block of `bytes`; zeros if they are fewer.
    #[target_feature(enable = "pclmulqdq,ssse3,sse4.1")]
    #[inline]
    fn load(bytes: &[u8]) -> __m128i {
        let block = u128::from_le_bytes(bytes.first_chunk().copied().unwrap_or_default());
        pair([block as u64, (block >> 64) as u64])
    }
}
