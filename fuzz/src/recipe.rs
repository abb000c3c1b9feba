//! What a fuzzer's bytes mean to `open_described`: a log described field by field.
//!
//! The description is small where the files are large, says numbers relative to what would be right, and
//! names a field before its checksum is made: so a flipped bit of the input gives a log that is wrong in
//! one thing, not one that fails its first checksum. Any bytes are a description; what is missing is zero.

use arbitrary::{Arbitrary, Result, Unstructured};

use crate::case::Patch;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipe {
    pub log_id: [u8; 16],
    pub segments: Vec<Segment>,
    pub page: Option<Page>,
    /// What is appended after opening: lengths.
    pub appends: Vec<u8>,
    /// Which records are asked for.
    pub gets: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Above the number that follows the segment before it.
    pub base_above: u64,
    /// Above the id that follows the segment before it.
    pub id_above: u64,
    pub salt: u64,
    pub created: u64,
    pub epoch: u64,
    pub reason: u64,
    pub segment_bytes: u64,
    pub file_bytes: u64,
    /// Made before the checksums of the headers.
    pub tweaks: Vec<Tweak>,
    pub slots: [Option<Slot>; 2],
    pub frames: Vec<Frame>,
    /// Made last: what rots.
    pub patches: Vec<Patch>,
}

/// A byte of one header, or of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tweak {
    pub copies: u8,
    pub at: u64,
    pub byte: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub crc_xor: u8,
    pub counter: u64,
    pub epoch_above: u64,
    pub durable_offset: u64,
    /// Above the segment's base.
    pub durable_above: u64,
    /// Below the segment's base.
    pub first_below: u64,
    pub flags: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    /// Where it stands, in units of 16 bytes from the start of the file; behind the one before, if none.
    pub place: Option<u64>,
    /// Above the number that is due.
    pub seq_above: u64,
    pub crc_xor: u8,
    pub flags: u8,
    pub len: u64,
    pub payload: Payload,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    Repeated(u8),
    Bytes(Vec<u8>),
    /// Of a mark: the time, and how far below its number its claim lies.
    Mark {
        time: u64,
        durable_below: u64,
    },
}

/// A coordination page that is live and lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Below the highest segment id.
    pub end_segment_below: u64,
    pub end_offset: u64,
    /// Above the lowest base; the others too.
    pub end_above: u64,
    pub durable_above: u64,
    pub first_above: u64,
    pub epoch: u64,
    pub patches: Vec<Patch>,
}

pub const MAX_SEGMENTS: usize = 3;
const MAX_FRAMES: usize = 400;
const MAX_BYTES: u64 = 64;
const MAX_LIST: u64 = 32;

/// The kind's place in the byte that a frame's description starts with; the rest says what is unusual.
const KIND: u8 = 0x0F;
const HAS_PLACE: u8 = 0x10;
const HAS_SEQ: u8 = 0x20;
const HAS_CRC: u8 = 0x40;
const HAS_FLAGS: u8 = 0x80;
/// A payload's first byte when its bytes follow.
const GIVEN: u8 = 0xFE;
const MARK: u8 = 6;

/// Up to here a number is one byte; above, that many bytes follow.
const SMALL: u8 = 247;

struct Input<'a, 'b>(&'a mut Unstructured<'b>);

impl Input<'_, '_> {
    fn byte(&mut self) -> Result<u8> {
        self.0.arbitrary()
    }

    fn number(&mut self) -> Result<u64> {
        let first = self.byte()?;
        let mut bytes = [0; 8];
        if first <= SMALL {
            return Ok(first.into());
        }
        for byte in &mut bytes[..usize::from(first - SMALL)] {
            *byte = self.byte()?;
        }
        Ok(u64::from_le_bytes(bytes))
    }

    fn bytes(&mut self, count: u64) -> Result<Vec<u8>> {
        let count = (count.min(MAX_BYTES) as usize).min(self.0.len());
        Ok(self.0.bytes(count)?.to_vec())
    }

    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = self.number()?.min(MAX_LIST);
        (0..count).map(|_| item(self)).collect()
    }

    fn patches(&mut self) -> Result<Vec<Patch>> {
        self.list(|from| {
            let at = from.number()?;
            let count = from.number()?;
            Ok(Patch { at, bytes: from.bytes(count)? })
        })
    }

    fn slot(&mut self) -> Result<Option<Slot>> {
        let there = self.byte()?;
        if there == 0 {
            return Ok(None);
        }
        Ok(Some(Slot {
            crc_xor: there - 1,
            counter: self.number()?,
            epoch_above: self.number()?,
            durable_offset: self.number()?,
            durable_above: self.number()?,
            first_below: self.number()?,
            flags: self.number()?,
        }))
    }

    fn frame(&mut self) -> Result<Option<Frame>> {
        let start = self.byte()?;
        if start == 0 {
            return Ok(None);
        }
        let has = |bit| start & bit != 0;
        let kind = start & KIND;
        let place = if has(HAS_PLACE) { Some(self.number()?) } else { None };
        let seq_above = if has(HAS_SEQ) { self.number()? } else { 0 };
        let crc_xor = if has(HAS_CRC) { self.byte()? } else { 0 };
        let flags = if has(HAS_FLAGS) { self.byte()? } else { 0 };
        let len = self.number()?;
        let payload = if kind == MARK {
            Payload::Mark { time: self.number()?, durable_below: self.number()? }
        } else if len == 0 {
            Payload::Repeated(0)
        } else {
            match self.byte()? {
                GIVEN => Payload::Bytes(self.bytes(len)?),
                byte => Payload::Repeated(byte),
            }
        };
        Ok(Some(Frame { kind, place, seq_above, crc_xor, flags, len, payload }))
    }

    fn segment(&mut self) -> Result<Segment> {
        let mut segment = Segment {
            base_above: self.number()?,
            id_above: self.number()?,
            salt: self.number()?,
            created: self.number()?,
            epoch: self.number()?,
            reason: self.number()?,
            segment_bytes: self.number()?,
            file_bytes: self.number()?,
            tweaks: self.list(|from| {
                Ok(Tweak { copies: from.byte()?, at: from.number()?, byte: from.byte()? })
            })?,
            slots: [self.slot()?, self.slot()?],
            ..Segment::default()
        };
        while let Some(frame) = self.frame()? {
            segment.frames.push(frame);
            if segment.frames.len() == MAX_FRAMES {
                break;
            }
        }
        segment.patches = self.patches()?;
        Ok(segment)
    }

    fn page(&mut self) -> Result<Page> {
        Ok(Page {
            end_segment_below: self.number()?,
            end_offset: self.number()?,
            end_above: self.number()?,
            durable_above: self.number()?,
            first_above: self.number()?,
            epoch: self.number()?,
            patches: self.patches()?,
        })
    }
}

impl<'a> Arbitrary<'a> for Recipe {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let mut from = Input(u);
        let start = from.byte()?;
        let segments = 1 + usize::from(start) % MAX_SEGMENTS;
        let has_page = usize::from(start) / MAX_SEGMENTS % 2 == 1;
        let mut recipe = Recipe::default();
        for byte in &mut recipe.log_id {
            *byte = from.byte()?;
        }
        for _ in 0..segments {
            recipe.segments.push(from.segment()?);
        }
        recipe.page = if has_page { Some(from.page()?) } else { None };
        recipe.appends = from.list(Input::byte)?;
        recipe.gets = from.list(Input::byte)?;
        Ok(recipe)
    }
}

/// The other way: bytes that mean this description, to start a corpus with.
#[derive(Default)]
struct Output(Vec<u8>);

impl Output {
    fn number(&mut self, number: u64) {
        let bytes = number.to_le_bytes();
        let used = 8 - number.leading_zeros() as usize / 8;
        if number > SMALL.into() {
            self.0.push(SMALL + used as u8);
            self.0.extend(&bytes[..used]);
        } else {
            self.0.push(bytes[0]);
        }
    }

    fn patches(&mut self, patches: &[Patch]) {
        self.number(patches.len() as u64);
        for patch in patches {
            self.number(patch.at);
            self.number(patch.bytes.len() as u64);
            self.0.extend(&patch.bytes);
        }
    }

    fn slot(&mut self, slot: &Option<Slot>) {
        let Some(slot) = slot else { return self.0.push(0) };
        self.0.push(slot.crc_xor + 1);
        for number in [
            slot.counter,
            slot.epoch_above,
            slot.durable_offset,
            slot.durable_above,
            slot.first_below,
            slot.flags,
        ] {
            self.number(number);
        }
    }

    fn frame(&mut self, frame: &Frame) {
        let has = |is: bool, bit| if is { bit } else { 0 };
        self.0.push(
            frame.kind
                | has(frame.place.is_some(), HAS_PLACE)
                | has(frame.seq_above != 0, HAS_SEQ)
                | has(frame.crc_xor != 0, HAS_CRC)
                | has(frame.flags != 0, HAS_FLAGS),
        );
        frame.place.iter().for_each(|place| self.number(*place));
        if frame.seq_above != 0 {
            self.number(frame.seq_above);
        }
        self.0.extend([frame.crc_xor, frame.flags].iter().filter(|byte| **byte != 0));
        self.number(frame.len);
        match &frame.payload {
            Payload::Mark { time, durable_below } => {
                self.number(*time);
                self.number(*durable_below);
            }
            _ if frame.len == 0 => {}
            Payload::Repeated(byte) => self.0.push(*byte),
            Payload::Bytes(bytes) => {
                self.0.push(GIVEN);
                self.0.extend(bytes);
            }
        }
    }

    fn segment(&mut self, segment: &Segment) {
        for number in [
            segment.base_above,
            segment.id_above,
            segment.salt,
            segment.created,
            segment.epoch,
            segment.reason,
            segment.segment_bytes,
            segment.file_bytes,
            segment.tweaks.len() as u64,
        ] {
            self.number(number);
        }
        for tweak in &segment.tweaks {
            self.0.push(tweak.copies);
            self.number(tweak.at);
            self.0.push(tweak.byte);
        }
        segment.slots.iter().for_each(|slot| self.slot(slot));
        segment.frames.iter().for_each(|frame| self.frame(frame));
        self.0.push(0);
        self.patches(&segment.patches);
    }

    fn page(&mut self, page: &Page) {
        for number in [
            page.end_segment_below,
            page.end_offset,
            page.end_above,
            page.durable_above,
            page.first_above,
            page.epoch,
        ] {
            self.number(number);
        }
        self.patches(&page.patches);
    }

    fn list(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
    }
}

impl Recipe {
    pub fn encode(&self) -> Vec<u8> {
        let mut into = Output::default();
        let has_page = usize::from(self.page.is_some());
        into.0.push((self.segments.len() - 1 + MAX_SEGMENTS * has_page) as u8);
        into.0.extend(self.log_id);
        self.segments.iter().for_each(|segment| into.segment(segment));
        self.page.iter().for_each(|page| into.page(page));
        into.list(&self.appends);
        into.list(&self.gets);
        into.0
    }
}
