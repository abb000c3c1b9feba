//! One segment file: opening it, reading it through calls or a mapping, writing its header and slots.
//!
//! Does not know: other segments, where the log ends, what a fault in it means.

mod mapped;

use std::io;
use std::ops::Range;

use crate::dir::{self, Dir, File};
use crate::error::{Error, ErrorKind, Result};
use crate::format::frame::HEADER_BYTES as FRAME_HEADER_BYTES;
use crate::format::header::{BLOCK_BYTES, HEADER_BYTES, HeaderState, SECTOR_BYTES, SegmentHeader};
use crate::format::name::SegmentName;
use crate::format::slot::{SLOT_BYTES, Slot, SlotState};
use crate::format::{ALIGN, crc32};
use crate::scan::Source;

pub(crate) use mapped::ReadSegment;

/// A segment's file with its header read.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub(crate) name: SegmentName,
    pub(crate) header: SegmentHeader,
    pub(crate) file: File,
}

impl SegmentFile {
    pub(crate) fn open_to_read(dir: &Dir, name: SegmentName) -> Result<Self> {
        Self::open(dir, name, Dir::open_to_read)
    }

    pub(crate) fn open_to_write(dir: &Dir, name: SegmentName) -> Result<Self> {
        Self::open(dir, name, Dir::open_to_write)
    }

    fn open(
        dir: &Dir,
        name: SegmentName,
        open: fn(&Dir, &str) -> io::Result<File>,
    ) -> Result<Self> {
        let found = open(dir, &name.file_name())
            .and_then(|file| Ok((read_header(&file)?, file)))
            .map_err(|source| {
            let is_no_file = is_no_file(&source);
            let error =
                Error::io("opening a segment", source).at_path(dir.path()).in_segment(name.id);
            if is_no_file { error.of_kind(ErrorKind::NotALog) } else { error }
        })?;
        let (header, file) = found;
        match check_header(header, name) {
            Ok(header) => Ok(SegmentFile { name, header, file }),
            Err(error) => Err(error.at_path(dir.path()).in_segment(name.id)),
        }
    }

    /// The header of a file that has the name of a segment, whatever segment it says it is.
    pub(crate) fn read_header_of(dir: &Dir, name: SegmentName) -> Result<SegmentHeader> {
        let state = dir.open_to_read(&name.file_name()).and_then(|file| read_header(&file));
        let state = state.map_err(|source| Error::io("opening a segment", source));
        state.and_then(whole).map_err(|error| error.at_path(dir.path()).in_segment(name.id))
    }

    pub(crate) fn bytes(&self) -> io::Result<u64> {
        dir::file_bytes(&self.file)
    }

    /// Both slots, through `pread`. One that the disk refuses counts as damaged if the other is valid;
    /// else what it said is not known, and that is an error.
    pub(crate) fn slots(&self) -> io::Result<Slots> {
        match [self.slot(0), self.slot(1)] {
            [Ok(one), Ok(two)] => Ok(Slots([one, two])),
            [Err(_), Ok(valid @ SlotState::Valid(_))] => Ok(Slots([SlotState::Damaged, valid])),
            [Ok(valid @ SlotState::Valid(_)), Err(_)] => Ok(Slots([valid, SlotState::Damaged])),
            [Err(error), _] | [_, Err(error)] => Err(error),
        }
    }

    fn slot(&self, block: u64) -> io::Result<SlotState> {
        let mut bytes = [0; SLOT_BYTES];
        dir::read_at(&self.file, Slot::offset(block), &mut bytes)?;
        Ok(Slot::decode(&bytes, self.header.salt, block))
    }

    /// How header and slots are, beyond what can be done without: a read that fails is an error, even
    /// where a twin serves.
    pub(crate) fn health(&self) -> io::Result<Health> {
        let mut copies = [[0; SECTOR_BYTES]; 2];
        for (block, copy) in (0..).zip(&mut copies) {
            dir::read_at(&self.file, block * BLOCK_BYTES, copy)?;
        }
        let slots = Slots([self.slot(0)?, self.slot(1)?]);
        let mut health = Health::default();
        if slots.newest().is_some() {
            health.spare_copy_is_damaged = slots.any_damaged();
        } else {
            let file_bytes = self.bytes()?;
            let place = |block| Slot::offset(block)..Slot::offset(block) + SLOT_BYTES as u64;
            let lost = [0, 1].into_iter().filter(|block| {
                slots.0[*block as usize] == SlotState::Damaged || !slots.any_damaged()
            });
            health.slots_lost = lost.map(place).filter(|slot| slot.end <= file_bytes).collect();
        }
        health.spare_copy_is_damaged |= copies[0] != copies[1];
        Ok(health)
    }

    pub(crate) fn write_slot(&self, slot: &Slot) -> io::Result<()> {
        dir::write_at(&self.file, Slot::offset(slot.counter), &slot.encode(self.header.salt))
    }

    /// Writes both copies of the header and the first slot into a new file.
    pub(crate) fn write_header(&self, slot: &Slot) -> io::Result<()> {
        let sector = self.header.encode();
        for block in 0..HEADER_BYTES / BLOCK_BYTES {
            dir::write_at(&self.file, block * BLOCK_BYTES, &sector)?;
        }
        self.write_slot(slot)
    }

    /// The bytes of frames, read through `pread`: a bad block is an error, not a signal.
    pub(crate) fn pread(&self) -> io::Result<Pread<'_>> {
        let limit = self.bytes()?.min(self.header.segment_bytes);
        Ok(Pread { file: &self.file, limit, window: Vec::new(), window_at: 0, read_bytes: 0 })
    }
}

/// True of what `dir` says if something else has a file's name, a link perhaps.
fn is_no_file(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::IsADirectory || error.raw_os_error() == Some(libc::ELOOP)
}

/// One copy that the disk refuses does no harm if the other is whole; else what it said is not known.
fn read_header(file: &File) -> io::Result<HeaderState> {
    let read = |block| {
        let mut sector = [0; SECTOR_BYTES];
        dir::read_at(file, block * BLOCK_BYTES, &mut sector).map(|_| sector)
    };
    let copies: [io::Result<_>; 2] = [read(0), read(1)];
    let [one, two] = copies.each_ref().map(|copy| *copy.as_ref().unwrap_or(&[0; SECTOR_BYTES]));
    let state = SegmentHeader::decode([&one, &two]);
    match copies.into_iter().find_map(io::Result::err) {
        Some(error) if state == HeaderState::Damaged => Err(error),
        _ => Ok(state),
    }
}

fn whole(state: HeaderState) -> Result<SegmentHeader> {
    match state {
        HeaderState::Valid(header) => Ok(header),
        HeaderState::Damaged => {
            Err(Error::new(ErrorKind::Damaged, "neither copy of the segment's header is whole"))
        }
        HeaderState::Version(version) => {
            let text =
                format!("expected version {}, found version {version}", crate::format::VERSION);
            Err(Error::new(ErrorKind::UnsupportedVersion, text))
        }
        HeaderState::Feature { what, value } => {
            let text = format!("the segment's header has {what} {value:#x}");
            Err(Error::new(ErrorKind::UnsupportedFeature, text))
        }
    }
}

fn check_header(state: HeaderState, name: SegmentName) -> Result<SegmentHeader> {
    let header = whole(state)?;
    let says = SegmentName { id: header.segment_id, base_seq: header.base_seq };
    if says == name {
        return Ok(header);
    }
    let text = format!(
        "the file {} holds the header of {}: a copy under another name; move it out of the log",
        name.file_name(),
        says.file_name()
    );
    Err(Error::new(ErrorKind::NotALog, text))
}

/// What a segment's header and slots need not have been to be of use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    /// A copy of the header or a slot is damaged whose twin serves.
    pub(crate) spare_copy_is_damaged: bool,
    /// Where the slots stand, if none of them serves.
    pub(crate) slots_lost: Vec<Range<u64>>,
}

/// The two slots of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots(pub(crate) [SlotState; 2]);

impl Slots {
    /// Those of a segment whose header cannot be read.
    pub(crate) const NONE: Slots = Slots([SlotState::Damaged; 2]);

    fn valid(&self) -> impl Iterator<Item = Slot> {
        self.0.into_iter().filter_map(|state| match state {
            SlotState::Valid(slot) => Some(slot),
            SlotState::Never | SlotState::Damaged => None,
        })
    }

    pub(crate) fn newest(&self) -> Option<Slot> {
        self.valid().max_by_key(|slot| slot.counter)
    }

    pub(crate) fn any_damaged(&self) -> bool {
        self.0.contains(&SlotState::Damaged)
    }
}

/// Reads a segment through a window, so that frames of any length cost bounded memory.
pub(crate) struct Pread<'a> {
    file: &'a File,
    limit: u64,
    window: Vec<u8>,
    window_at: u64,
    read_bytes: u64,
}

/// Bytes that one call reads: few at first, since often one look is all.
const FIRST_WINDOW_BYTES: u64 = 4 * 1024;
const MAX_WINDOW_BYTES: u64 = 256 * 1024;

impl Pread<'_> {
    /// Bytes that were read from the file so far.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// The same bytes, as if the file ended at `limit`.
    pub(crate) fn below(self, limit: u64) -> Self {
        Pread { limit: self.limit.min(limit), ..self }
    }

    /// Where the last 16 bytes end that are not all zero, at or behind `from`; `from` if there are none.
    pub(crate) fn last_used(&mut self, from: u64) -> io::Result<u64> {
        let mut used = from;
        let mut at = from;
        // What was allocated and never written is a hole to the file system: it is not read.
        while let Some(data) = dir::data_from(self.file, at)? {
            at = data.start.max(at) & !(ALIGN - 1);
            while at < data.end && at + FRAME_HEADER_BYTES <= self.limit {
                if self.sixteen(at)? != [0; FRAME_HEADER_BYTES as usize] {
                    used = at + FRAME_HEADER_BYTES;
                }
                at += FRAME_HEADER_BYTES;
            }
            if at + FRAME_HEADER_BYTES > self.limit {
                break;
            }
        }
        Ok(used)
    }

    /// What the window holds from `at` on, at least one byte and up to `to`, below the limit.
    fn window(&mut self, at: u64, to: u64) -> io::Result<&[u8]> {
        let held = self.window_at..self.window_at + self.window.len() as u64;
        if !held.contains(&at) || (to > held.end && to - at <= FRAME_HEADER_BYTES) {
            self.fill(at)?;
        }
        let from = (at - self.window_at) as usize;
        let until = (to - self.window_at).min(self.window.len() as u64) as usize;
        Ok(&self.window[from..until])
    }

    fn fill(&mut self, at: u64) -> io::Result<()> {
        let window = (2 * self.window.len() as u64).clamp(FIRST_WINDOW_BYTES, MAX_WINDOW_BYTES);
        let bytes = window.min(self.limit - at);
        self.window.resize(bytes as usize, 0);
        self.window_at = at;
        let got = dir::read_at(self.file, at, &mut self.window);
        // A failed read leaves no window, lest zeros pass for bytes of the file.
        let got = got.inspect_err(|_| self.window.clear())?;
        self.read_bytes += got as u64;
        self.window[got..].fill(0);
        Ok(())
    }
}

impl Source for Pread<'_> {
    type Fault = io::Error;

    fn limit(&self) -> u64 {
        self.limit
    }

    fn sixteen(&mut self, at: u64) -> io::Result<[u8; FRAME_HEADER_BYTES as usize]> {
        let mut header = [0; FRAME_HEADER_BYTES as usize];
        header.copy_from_slice(self.window(at, at + FRAME_HEADER_BYTES)?);
        Ok(header)
    }

    fn crc(&mut self, from: u64, to: u64, seed: u32) -> io::Result<u32> {
        let mut crc = seed;
        let mut at = from;
        while at < to {
            let bytes = self.window(at, to)?;
            crc = crc32(crc, bytes);
            at += bytes.len() as u64;
        }
        Ok(crc)
    }
}
