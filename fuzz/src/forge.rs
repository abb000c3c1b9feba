//! Descriptions made into files, with checksums that are right wherever nothing says otherwise; and
//! files into descriptions.

use crate::case::{Case, MAX_BASE, Patch, base_and_id};
use crate::live;
use crate::recipe::{Frame, Page, Payload, Recipe, Segment, Slot, Tweak};
use crate::second::format::{
    self, FIRST, HEADER_BYTES, Header, LAST, MARK, MIDDLE, SECTOR_BYTES, SLOT_BYTES, crc32,
    file_name, frame_bytes, put, seal_header, seed, u32_at, u64_at,
};
use crate::second::script::Files;

const BLOCK_BYTES: usize = format::BLOCK_BYTES;
/// The files of a small segment.
pub const FILE_BYTES: u64 = 16 * 1024;
const MAX_FILE_BYTES: u64 = 4 * FILE_BYTES;
const LENGTH_MASK: u64 = (1 << 28) - 1;

/// The log that is described, with its page.
pub fn case(recipe: &Recipe) -> Case {
    let files = forge(recipe);
    let page = recipe.page.as_ref().map(|page| page_patches(page, &files));
    Case { files, page, appends: recipe.appends.clone(), gets: recipe.gets.clone() }
}

fn page_patches(page: &Page, files: &Files) -> Vec<Patch> {
    let names = || files.keys().map(|name| base_and_id(name));
    let base = names().map(|name| name.0).min().unwrap_or(0);
    let last_id = names().map(|name| name.1).max().unwrap_or(0);
    let mut patches = Vec::new();
    let mut word = |at: usize, value: u64| {
        let at = (at - live::EPOCH) as u64;
        patches.push(Patch { at, bytes: value.to_le_bytes().to_vec() });
    };
    word(live::EPOCH, page.epoch);
    word(live::FIRST_SEQ, base.wrapping_add(page.first_above));
    for copy in live::ENDS {
        word(copy, last_id.wrapping_sub(page.end_segment_below));
        word(copy + 8, page.end_offset);
        word(copy + 16, base.wrapping_add(page.end_above));
    }
    let durable = base.wrapping_add(page.durable_above) & ((1 << 56) - 1);
    word(live::DURABLE, page.epoch << 56 | durable);
    patches.extend(page.patches.iter().cloned());
    patches
}

/// The first number behind each segment's frames is where the next one's base is due.
pub fn forge(recipe: &Recipe) -> Files {
    let mut files = Files::new();
    let (mut base_due, mut id_due) = (0_u64, 1_u64);
    for segment in &recipe.segments {
        let base = base_due.wrapping_add(segment.base_above) % (MAX_BASE + 1);
        let id = id_due.wrapping_add(segment.id_above);
        let mut bytes = vec![0; file_bytes(segment)];
        base_due = forge_segment(segment, recipe.log_id, base, id, &mut bytes);
        id_due = id.wrapping_add(1);
        files.insert(file_name(base, id), bytes);
    }
    files
}

/// Zero means that of a small segment.
fn file_bytes(segment: &Segment) -> usize {
    match segment.file_bytes {
        0 => FILE_BYTES as usize,
        bytes => (bytes - 1).min(MAX_FILE_BYTES) as usize,
    }
}

fn forge_segment(segment: &Segment, log_id: [u8; 16], base: u64, id: u64, file: &mut [u8]) -> u64 {
    let mut bytes = vec![0; file.len().max(HEADER_BYTES)];
    let header = Header {
        reason: segment.reason as u32,
        log_id,
        epoch: segment.epoch,
        segment_id: id,
        base_seq: base,
        salt: segment.salt,
        created_nanos: segment.created,
        segment_bytes: match segment.segment_bytes {
            0 => FILE_BYTES,
            bytes => bytes,
        },
    };
    for block in 0..2 {
        let sector = &mut bytes[block * BLOCK_BYTES..][..SECTOR_BYTES];
        put(sector, 0, &header.encode());
        for Tweak { copies, at, byte } in &segment.tweaks {
            if copies >> block & 1 == 0 {
                sector[*at as usize % format::HEADER_CRC_AT] = *byte;
            }
        }
        seal_header(sector);
        if let Some(slot) = &segment.slots[block] {
            put(&mut bytes, block * BLOCK_BYTES + SECTOR_BYTES, &slot_bytes(slot, segment, base));
        }
    }
    let next = place_frames(segment, base, &mut bytes);
    for patch in &segment.patches {
        apply(patch, &mut bytes);
    }
    let kept = file.len();
    file.copy_from_slice(&bytes[..kept]);
    next
}

fn apply(patch: &Patch, bytes: &mut [u8]) {
    for (index, byte) in patch.bytes.iter().enumerate() {
        let at = (patch.at as usize).wrapping_add(index);
        if let Some(place) = bytes.get_mut(at) {
            *place = *byte;
        }
    }
}

fn slot_bytes(slot: &Slot, segment: &Segment, base: u64) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    let words = [
        slot.counter,
        segment.epoch.wrapping_add(slot.epoch_above),
        slot.durable_offset,
        base.wrapping_add(slot.durable_above),
        base.wrapping_sub(slot.first_below),
        slot.flags,
    ];
    for (index, word) in words.into_iter().enumerate() {
        put(&mut bytes, index * 8, &word.to_le_bytes());
    }
    let salts = (segment.salt >> 32) as u32 ^ segment.salt as u32;
    let crc = crc32(salts, &bytes[..124]) ^ u32::from(slot.crc_xor);
    put(&mut bytes, 124, &crc.to_le_bytes());
    bytes
}

/// A frame that stands in the file, and what its checksum is to be.
struct Placed {
    at: usize,
    kind: u32,
    len: usize,
    /// Of the batch that it is in: where its first frame stands.
    first_at: usize,
    crc_xor: u8,
}

fn place_frames(segment: &Segment, base: u64, bytes: &mut [u8]) -> u64 {
    let (mut at, mut seq, mut first_at) = (HEADER_BYTES, base, 0);
    let mut placed = Vec::new();
    for frame in &segment.frames {
        if let Some(place) = frame.place {
            at = HEADER_BYTES + place as usize % (MAX_FILE_BYTES as usize / 16) * 16;
        }
        if at + 16 > bytes.len() {
            continue;
        }
        let len = frame.len & LENGTH_MASK;
        let word = u32::from(frame.kind) << 28 | len as u32;
        let number = seq.wrapping_add(frame.seq_above) & ((1 << 56) - 1);
        put(bytes, at, &word.to_le_bytes());
        put(bytes, at + 8, &(number | u64::from(frame.flags) << 56).to_le_bytes());
        let room = (bytes.len() - at - 16).min(len as usize);
        fill(frame, number, &mut bytes[at + 16..at + 16 + room]);
        let kind = word >> 28;
        first_at = if kind == FIRST { at } else { first_at };
        let is_record = (1..=LAST).contains(&kind);
        seq = number + u64::from(is_record);
        let end = at + frame_bytes(len as usize);
        if end <= bytes.len() {
            let len = len as usize;
            placed.push(Placed { at, kind, len, first_at, crc_xor: frame.crc_xor });
        }
        at = if end <= bytes.len() { end } else { at + 16 };
    }
    // Those that stand inside others first, so that the outer ones are right about them; but a batch's
    // first before the others, since theirs cover its own.
    let tied = |placed: &&Placed| matches!(placed.kind, MIDDLE | LAST);
    for frame in placed.iter().rev().filter(|frame| !tied(frame)) {
        seal(frame, segment.salt, bytes);
    }
    for frame in placed.iter().filter(tied) {
        seal(frame, segment.salt, bytes);
    }
    seq
}

fn fill(frame: &Frame, number: u64, payload: &mut [u8]) {
    match &frame.payload {
        Payload::Repeated(byte) => payload.fill(*byte),
        Payload::Bytes(given) => {
            let count = given.len().min(payload.len());
            payload[..count].copy_from_slice(&given[..count]);
        }
        Payload::Mark { time, durable_below } => {
            let claim = number.wrapping_sub(*durable_below);
            for (place, byte) in
                payload.iter_mut().zip([time.to_le_bytes(), claim.to_le_bytes()].concat())
            {
                *place = byte;
            }
        }
    }
}

fn seal(frame: &Placed, salt: u64, bytes: &mut [u8]) {
    let Placed { at, kind, len, first_at, crc_xor } = *frame;
    let in_batch = matches!(kind, MIDDLE | LAST) && first_at != 0;
    let tie = if in_batch { u32_at(bytes, first_at + 4) } else { 0 };
    let init = seed(salt, at, u32_at(bytes, at), u64_at(bytes, at + 8)) ^ tie;
    let crc = crc32(init, &bytes[at + 16..at + 16 + len]) ^ u32::from(crc_xor);
    put(bytes, at + 4, &crc.to_le_bytes());
}

/// The description of these files: what can be said as fields is, the rest are patches. `None` if the
/// files are no log of a few small segments.
pub fn describe(files: &Files) -> Option<Recipe> {
    let mut recipe = Recipe::default();
    let (mut base_due, mut id_due) = (0_u64, 1_u64);
    for (name, bytes) in files {
        let (base, id) = base_and_id(name);
        let header = &bytes.get(BLOCK_BYTES..HEADER_BYTES)?[..SECTOR_BYTES];
        recipe.log_id = header[format::LOG_ID_AT..format::EPOCH_AT].try_into().ok()?;
        let mut segment = describe_segment(header, base, bytes);
        segment.base_above = base.wrapping_sub(base_due);
        segment.id_above = id.wrapping_sub(id_due);
        let mut forged = vec![0; bytes.len()];
        base_due = forge_segment(&segment, recipe.log_id, base, id, &mut forged);
        segment.patches = differences(&forged, bytes);
        id_due = id.wrapping_add(1);
        recipe.segments.push(segment);
    }
    Some(recipe)
}

fn describe_segment(header: &[u8], base: u64, bytes: &[u8]) -> Segment {
    let small = |bytes: u64| if bytes == FILE_BYTES { 0 } else { bytes };
    let epoch = u64_at(header, format::EPOCH_AT);
    let mut segment = Segment {
        salt: u64_at(header, format::SALT_AT),
        created: u64_at(header, format::CREATED_AT),
        epoch,
        reason: u32_at(header, format::REASON_AT).into(),
        segment_bytes: small(u64_at(header, format::SEGMENT_BYTES_AT)),
        file_bytes: if bytes.len() as u64 == FILE_BYTES { 0 } else { bytes.len() as u64 + 1 },
        ..Segment::default()
    };
    for block in 0..2 {
        let slot = &bytes[block * BLOCK_BYTES + SECTOR_BYTES..][..SLOT_BYTES];
        segment.slots[block] = (u64_at(slot, 0) != 0).then(|| Slot {
            crc_xor: 0,
            counter: u64_at(slot, 0),
            epoch_above: u64_at(slot, 8).wrapping_sub(epoch),
            durable_offset: u64_at(slot, 16),
            durable_above: u64_at(slot, 24).wrapping_sub(base),
            first_below: base.wrapping_sub(u64_at(slot, 32)),
            flags: u32_at(slot, 40).into(),
        });
    }
    let (mut at, mut due) = (HEADER_BYTES, base);
    while at + 16 <= bytes.len() && u32_at(bytes, at) != 0 {
        let word = u32_at(bytes, at);
        let (kind, len) = (word >> 28, (word as u64 & LENGTH_MASK) as usize);
        let end = at + frame_bytes(len);
        if end > bytes.len() {
            break;
        }
        let number = u64_at(bytes, at + 8) & ((1 << 56) - 1);
        segment.frames.push(Frame {
            kind: kind as u8,
            place: None,
            seq_above: number.wrapping_sub(due),
            crc_xor: 0,
            flags: bytes[at + 15],
            len: len as u64,
            payload: describe_payload(kind, number, &bytes[at + 16..at + 16 + len]),
        });
        due = number + u64::from((1..=LAST).contains(&kind));
        at = end;
    }
    segment
}

fn describe_payload(kind: u32, number: u64, payload: &[u8]) -> Payload {
    match payload {
        _ if kind == MARK && payload.len() >= 16 => Payload::Mark {
            time: u64_at(payload, 0),
            durable_below: number.wrapping_sub(u64_at(payload, 8)),
        },
        [] => Payload::Repeated(0),
        // Of long ones most bytes are one; the rest are patches.
        [byte, rest @ ..]
            if *byte != 0xFE && (rest.len() >= 64 || rest.iter().all(|other| other == byte)) =>
        {
            Payload::Repeated(*byte)
        }
        _ => Payload::Bytes(payload.to_vec()),
    }
}

/// Runs of bytes of `wanted` that `forged` has not.
fn differences(forged: &[u8], wanted: &[u8]) -> Vec<Patch> {
    let mut patches: Vec<Patch> = Vec::new();
    for (at, byte) in wanted.iter().enumerate().filter(|(at, byte)| forged[*at] != **byte) {
        match patches.last_mut() {
            Some(last) if last.at as usize + last.bytes.len() == at && last.bytes.len() < 64 => {
                last.bytes.push(*byte);
            }
            _ => patches.push(Patch { at: at as u64, bytes: vec![*byte] }),
        }
    }
    patches
}
