//! Which bytes are frames.
//!
//! Only it may call a frame valid: for readers, recovery and verification alike, over mapped bytes
//! or over a file. Does not know: files, segments, what to do about what it finds.

mod search;

use std::convert::Infallible;
use std::ops::Range;

use crate::format::frame::{CommitWord, HEADER_BYTES, Header, Kind, Mark, seed, tie};
use crate::format::header::HEADER_BYTES as DATA_START;
use crate::format::{ALIGN, crc32};
use crate::map::{AHEAD_BYTES, prefetch};

pub(crate) use search::{Resync, number_at, single_at};

/// Bytes of one segment, from wherever.
pub(crate) trait Source {
    /// What reading may fail with; nothing, for mapped bytes.
    type Fault;

    /// Where the readable bytes end.
    fn limit(&self) -> u64;

    /// 16 bytes at `at`, which lie below the limit.
    fn sixteen(&mut self, at: u64) -> Result<[u8; HEADER_BYTES as usize], Self::Fault>;

    /// CRC-32 of the bytes from `from` to `to`, continued from `seed`. They lie below the limit.
    fn crc(&mut self, from: u64, to: u64, seed: u32) -> Result<u32, Self::Fault>;
}

/// Mapped frames; the first byte is the one behind the segment's header.
#[derive(Clone, Copy)]
pub(crate) struct Frames<'a>(pub(crate) &'a [u8]);

impl<'a> Frames<'a> {
    /// `len` bytes at `at`, which a scan has found to lie below the limit.
    #[inline(always)]
    pub(crate) fn bytes(self, at: u64, len: u64) -> &'a [u8] {
        let from = (at - DATA_START) as usize;
        &self.0[from..from + len as usize]
    }

    /// Asks for memory that is about to be read, all of it at once: a walk would ask for each header only
    /// when it knows the length before it.
    #[inline(always)]
    pub(crate) fn prefetch(self, at: u64, bytes: u64) {
        let from = at - DATA_START;
        prefetch(self.0.as_ptr(), from..(from + bytes).min(self.0.len() as u64));
    }

    /// For a walk that passes what stands from `at` to `next`: asks for as much some way ahead.
    #[inline(always)]
    pub(crate) fn prefetch_ahead(self, at: u64, next: u64) {
        // To look at small frames takes longer than their memory does to come; and of a long one the
        // processor sees by itself where it goes on.
        const WORTH_IT: Range<u64> = 128..AHEAD_BYTES;
        let from = at + AHEAD_BYTES - DATA_START;
        let until = next + AHEAD_BYTES - DATA_START;
        // What is no frame yet is its writer's, who would have to take each line back.
        if WORTH_IT.contains(&(next - at)) && until <= self.0.len() as u64 {
            prefetch(self.0.as_ptr(), from..until);
        }
    }
}

impl Source for Frames<'_> {
    type Fault = Infallible;

    #[inline(always)]
    fn limit(&self) -> u64 {
        DATA_START + self.0.len() as u64
    }

    #[inline(always)]
    fn sixteen(&mut self, at: u64) -> Result<[u8; HEADER_BYTES as usize], Infallible> {
        let mut header = [0; HEADER_BYTES as usize];
        header.copy_from_slice(self.bytes(at, HEADER_BYTES));
        Ok(header)
    }

    #[inline(always)]
    fn crc(&mut self, from: u64, to: u64, seed: u32) -> Result<u32, Infallible> {
        Ok(crc32(seed, self.bytes(from, to - from)))
    }
}

/// What holds for all frames of one segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) salt: u64,
    /// The lowest base sequence number of any segment of higher id: records from there on are cut.
    pub(crate) cut_seq: u64,
    /// Whether checksums are compared; always, but for readers that turned it off.
    pub(crate) check: bool,
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A commit word of kind zero that is not zero, or a length that the kind cannot have.
    Word,
    /// It would reach past the segment or its file.
    TooLong,
    /// The checksum of salt, place, kind, length, sequence number and payload is another.
    Checksum,
    /// A whole frame, of another record than the one expected here.
    Sequence,
    /// A frame of a batch whose other frames are not all there.
    Batch,
}

impl Fault {
    pub(crate) fn phrase(self) -> &'static str {
        match self {
            Fault::Word => "no frame has such a commit word",
            Fault::TooLong => "the frame would reach past the end",
            Fault::Checksum => "checksum mismatch",
            Fault::Sequence => "unexpected sequence number",
            Fault::Batch => "incomplete batch",
        }
    }
}

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A zero commit word, or no room for one: nothing was committed here.
    Vacant,
    /// A record of its own.
    Single {
        len: u64,
        next: u64,
    },
    /// A whole batch, of `records` records; its first frame stands here.
    Batch {
        records: u64,
        next: u64,
    },
    /// The segment's last frame.
    End {
        next: u64,
    },
    Mark {
        mark: Mark,
        next: u64,
    },
    /// A frame of a later version that may be passed over.
    Skipped {
        next: u64,
    },
    /// A whole frame that this version must not pass over: its kind or flags are unknown.
    Refused,
    Invalid(Fault),
}

/// A frame whose shape, place and checksum are right.
#[derive(Clone, Copy)]
struct Sound {
    kind: Kind,
    header: Header,
    next: u64,
}

impl Seen {
    /// Where the next frame begins, if there is a whole one here.
    #[inline]
    pub(crate) fn next(&self) -> Option<u64> {
        match *self {
            Seen::Single { next, .. }
            | Seen::Batch { next, .. }
            | Seen::End { next }
            | Seen::Mark { next, .. }
            | Seen::Skipped { next } => Some(next),
            Seen::Vacant | Seen::Refused | Seen::Invalid(_) => None,
        }
    }
}

enum Single {
    Vacant,
    Sound(Sound),
    Invalid(Fault),
}

/// What stands at `at`, where the record `seq` is expected next.
///
/// A frame is **valid** if and only if
/// 1. it starts on a multiple of 16, behind the segment's header;
/// 2. its header lies inside segment and file;
/// 3. its kind is not zero, and the length is one that the kind can have: none for an end, 16 bytes
///    or more for a mark;
/// 4. all of it, padding included, lies inside segment and file;
/// 5. its checksum is that of its salt, place, kind, length, sequence number and payload, and for
///    middle and last frames of its batch's first frame;
/// 6. its sequence number is the one expected: the record's own, or for kinds that take none the
///    next record's;
/// 7. that number lies below the base sequence number of every segment of higher id (of a batch, its
///    first frame's: one that was cut in its middle keeps what stands before the cut); the number of
///    an end, a mark or a skipped kind may equal it;
/// 8. its batch is whole: a first frame, middle frames, a last frame, all valid and adjoining.
#[inline]
pub(crate) fn look<S: Source>(
    source: &mut S,
    rules: &Rules,
    at: u64,
    seq: u64,
) -> Result<Seen, S::Fault> {
    match look_for_single(source, rules, at, seq)? {
        Some((len, next)) => Ok(Seen::Single { len, next }),
        None => look_closely(source, rules, at, seq),
    }
}

/// The payload's length and the end of what stands at `at`, if that is a valid frame of the record `seq`
/// alone, as nearly every frame is: with no more branches than that needs, in the loop of who walks.
/// What anything else is, [`look`] tells.
#[inline(always)]
pub(crate) fn look_for_single<S: Source>(
    source: &mut S,
    rules: &Rules,
    at: u64,
    seq: u64,
) -> Result<Option<(u64, u64)>, S::Fault> {
    let limit = source.limit();
    let in_bounds = (DATA_START..=limit.saturating_sub(HEADER_BYTES)).contains(&at);
    if !at.is_multiple_of(ALIGN) || !in_bounds || seq >= rules.cut_seq {
        return Ok(None);
    }
    let header = Header::decode(&source.sixteen(at)?);
    let word = header.word;
    // A length has 28 bits and `at` lies below the limit: the sum cannot overflow.
    let next = at + word.frame_bytes();
    if !word.is_single() || !header.says(seq) || next > limit {
        return Ok(None);
    }
    if rules.check && checksum(source, rules, at, &header, 0)? != header.crc {
        return Ok(None);
    }
    Ok(Some((word.len(), next)))
}

/// As [`look`], for whatever stands there; faster by a little for who looked for a single already.
#[inline]
pub(crate) fn look_closely<S: Source>(
    source: &mut S,
    rules: &Rules,
    at: u64,
    seq: u64,
) -> Result<Seen, S::Fault> {
    let Sound { kind, header, next } = match frame(source, rules, at, 0)? {
        Single::Sound(sound) => sound,
        Single::Vacant => return Ok(Seen::Vacant),
        Single::Invalid(fault) => return Ok(Seen::Invalid(fault)),
    };
    let in_place = header.says(seq) && seq < rules.cut_seq;
    if !in_place && let Some(seen) = misplaced(kind, &header, rules, seq) {
        return Ok(seen);
    }
    Ok(match kind {
        Kind::Single => Seen::Single { len: header.word.len(), next },
        Kind::First => rest_of_batch(source, rules, &header, next)?,
        Kind::Middle | Kind::Last => Seen::Invalid(Fault::Batch),
        Kind::End => Seen::End { next },
        Kind::Mark => {
            let mark = Mark::decode(&source.sixteen(at + HEADER_BYTES)?);
            Seen::Mark { mark, next }
        }
        Kind::Skipped => Seen::Skipped { next },
        Kind::Refused => Seen::Refused,
    })
}

/// What a frame is that has flags, or another number than `seq`, or one that is cut; `None` if that
/// is right for its kind. Rules 6 and 7.
#[cold]
fn misplaced(kind: Kind, header: &Header, rules: &Rules, seq: u64) -> Option<Seen> {
    if header.flags() != 0 || kind == Kind::Refused {
        return Some(Seen::Refused);
    }
    let takes_a_number = matches!(kind, Kind::Single | Kind::First | Kind::Middle | Kind::Last);
    let beyond = if takes_a_number { seq >= rules.cut_seq } else { seq > rules.cut_seq };
    (header.seq() != seq || beyond).then_some(Seen::Invalid(Fault::Sequence))
}

/// Rules 1 to 5. `tied_to` is the checksum of the batch's first frame, if this is not the first.
#[inline]
fn frame<S: Source>(
    source: &mut S,
    rules: &Rules,
    at: u64,
    tied_to: u32,
) -> Result<Single, S::Fault> {
    let limit = source.limit();
    if !at.is_multiple_of(ALIGN) || at < DATA_START {
        return Ok(Single::Invalid(Fault::Word));
    }
    if limit < HEADER_BYTES || at > limit - HEADER_BYTES {
        return Ok(Single::Vacant);
    }
    let header = Header::decode(&source.sixteen(at)?);
    let word = header.word;
    if word == CommitWord::VACANT {
        return Ok(Single::Vacant);
    }
    let Some(kind) = word.kind() else {
        return Ok(Single::Invalid(Fault::Word));
    };
    let has_its_length = match kind {
        Kind::End => word.len() == 0,
        Kind::Mark => word.len() >= Mark::BYTES,
        _ => true,
    };
    if !has_its_length {
        return Ok(Single::Invalid(Fault::Word));
    }
    // A length has 28 bits and `at` lies below the limit: the sum cannot overflow.
    let next = at + word.frame_bytes();
    if next > limit {
        return Ok(Single::Invalid(Fault::TooLong));
    }
    if rules.check {
        let tie = tie(kind, tied_to);
        if checksum(source, rules, at, &header, tie)? != header.crc {
            return Ok(Single::Invalid(Fault::Checksum));
        }
    }
    Ok(Single::Sound(Sound { kind, header, next }))
}

/// What rule 5 wants, of a frame that rule 4 holds for.
#[inline(always)]
fn checksum<S: Source>(
    source: &mut S,
    rules: &Rules,
    at: u64,
    header: &Header,
    tie: u32,
) -> Result<u32, S::Fault> {
    let seed = seed(rules.salt, at, header.word, header.flags_and_seq()) ^ tie;
    let payload = at + HEADER_BYTES;
    source.crc(payload, payload + header.word.len(), seed)
}

/// Rule 8, from behind the first frame on.
fn rest_of_batch<S: Source>(
    source: &mut S,
    rules: &Rules,
    first: &Header,
    mut at: u64,
) -> Result<Seen, S::Fault> {
    let mut records = 1;
    loop {
        let Single::Sound(sound) = frame(source, rules, at, first.crc)? else {
            return Ok(Seen::Invalid(Fault::Batch));
        };
        let in_order = sound.header.seq() == first.seq() + records && sound.header.flags() == 0;
        records += 1;
        match sound.kind {
            Kind::Middle if in_order => at = sound.next,
            Kind::Last if in_order => return Ok(Seen::Batch { records, next: sound.next }),
            _ => return Ok(Seen::Invalid(Fault::Batch)),
        }
    }
}

/// The payload length and the end of a frame that [`look`] found valid, alone or in a batch.
#[inline]
pub(crate) fn place_of<S: Source>(source: &mut S, at: u64) -> Result<(u64, u64), S::Fault> {
    let word = Header::decode(&source.sixteen(at)?).word;
    Ok((word.len(), at + word.frame_bytes()))
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
