//! The mutator of `open_bytes`: changes one thing in a log's files, and then gives right checksums to the
//! headers, slots and frames that it touched, so that what is wrong gets past them. Now and then it does
//! not: bits rot, too.

use fastrand::Rng;

use crate::case::{Case, MAX_BASE, MAX_FILE_BYTES, MAX_FILES, Patch, base_and_id};
use crate::live;
use crate::second::format::{
    self, BLOCK_BYTES, FIRST, HEADER_BYTES, LAST, MIDDLE, SECTOR_BYTES, SINGLE, SLOT_BYTES, crc32,
    file_name, frame_bytes, put, seal_header, seed, u32_at, u64_at,
};

/// Of 16 changes, how many leave the checksums as they were.
const ROTS: u8 = 2;
const MAX_APPENDED: usize = 24;

/// `random_bytes` changes some bytes as it likes.
pub fn mutate(
    case: &mut Case,
    random: &mut Rng,
    random_bytes: &mut dyn FnMut(&mut [u8], &mut Rng),
) {
    for _ in 0..=random.u8(..3) {
        let what = if case.files.is_empty() { 0 } else { random.u8(..20) };
        match what {
            0 => change_names(case, random),
            1 | 2 => change_page(case, random),
            3 => change_lists(case, random),
            _ => change_file(case, random, random_bytes),
        }
    }
}

fn pick(case: &Case, random: &mut Rng) -> String {
    case.files.keys().nth(random.usize(..case.files.len())).unwrap().clone()
}

/// A number that lies near one that means something here.
fn near(number: u64, random: &mut Rng) -> u64 {
    match random.u8(..12) {
        0 => 0,
        1 => u64::MAX - random.u64(..3),
        2 => (1 << 56) - random.u64(..4),
        3 => random.u64(..) >> random.u8(..64),
        4..8 => number.wrapping_add(random.u64(1..=8)),
        _ => number.wrapping_sub(random.u64(1..=8)),
    }
}

/// A file is there twice, not at all, or under another name: with or without its header saying so.
fn change_names(case: &mut Case, random: &mut Rng) {
    if case.files.is_empty() {
        case.files.insert(file_name(0, 1), vec![0; 2 * HEADER_BYTES]);
        return;
    }
    let name = pick(case, random);
    let (base, id) = base_and_id(&name);
    let (mut bytes, what) = (case.files[&name].clone(), random.u8(..4));
    let other = match random.bool() {
        true => (near(base, random).min(MAX_BASE), id),
        false => (base, near(id, random)),
    };
    if what == 0 && case.files.len() > 1 {
        case.files.remove(&name);
        return;
    }
    if what != 1 {
        case.files.remove(&name);
    } else if case.files.len() == MAX_FILES {
        return;
    }
    if random.u8(..8) > 0 && bytes.len() >= HEADER_BYTES {
        for block in 0..2 {
            let sector = &mut bytes[block * BLOCK_BYTES..][..SECTOR_BYTES];
            put(sector, format::BASE_SEQ_AT, &other.0.to_le_bytes());
            put(sector, format::SEGMENT_ID_AT, &other.1.to_le_bytes());
            seal_header(sector);
        }
    }
    case.files.insert(file_name(other.0, other.1), bytes);
}

/// The words of the page that mean something; of syncing the first and the last.
const WORDS: [usize; 22] = [
    live::EPOCH,
    live::FIRST_SEQ,
    live::POISON,
    live::DIRECTORY,
    live::INTENT,
    live::DUE,
    live::ATTACHED,
    live::LOCK,
    live::END_TURN,
    live::ENDS[0],
    live::ENDS[0] + 8,
    live::ENDS[0] + 16,
    live::ENDS[1],
    live::ENDS[1] + 8,
    live::ENDS[1] + 16,
    live::MARK_AT,
    live::MARKED_DURABLE,
    live::LAST_ID,
    live::DURABLE,
    live::NOTING,
    live::SYNCING,
    live::SYNCING + live::SYNCING_BYTES - 8,
];

/// Has the word at `at` say this, and nothing else.
fn patch_word(patches: &mut Vec<Patch>, at: usize, word: u64) {
    let at = (at - live::EPOCH) as u64;
    patches.retain(|patch| patch.at != at);
    patches.push(Patch { at, bytes: word.to_le_bytes().to_vec() });
    patches.truncate(WORDS.len());
}

fn change_page(case: &mut Case, random: &mut Rng) {
    let numbers: Vec<u64> = case
        .files
        .iter()
        .rev()
        .flat_map(|(name, bytes)| {
            let (base, id) = base_and_id(name);
            let frames = frames(bytes);
            let place = frames.get(random.usize(..=frames.len())).copied();
            let place = place.map_or([base, 0], |at| [number_at(bytes, at), at as u64]);
            [base, id, place[0], place[1]]
        })
        .collect();
    match (&mut case.page, random.u8(..8)) {
        (page @ None, _) => *page = Some(Vec::new()),
        (page, 0) => *page = None,
        (Some(patches), 1) if !patches.is_empty() => {
            patches.remove(random.usize(..patches.len()));
        }
        // The log ends elsewhere, or did before its last append.
        (Some(patches), 2 | 3) if numbers.len() >= 4 => {
            let [number, place] = [numbers[2], numbers[3]];
            let number = if random.u8(..4) > 0 { number } else { near(number, random) };
            patch_word(patches, live::ENDS[0] + 8, place);
            patch_word(patches, live::ENDS[0] + 16, number);
        }
        (Some(patches), what) => {
            let number = numbers.get(random.usize(..=numbers.len())).copied().unwrap_or(1);
            let number = if what < 5 { number } else { near(number, random) };
            patch_word(patches, WORDS[random.usize(..WORDS.len())], number);
        }
    }
}

fn change_lists(case: &mut Case, random: &mut Rng) {
    let list = if random.bool() { &mut case.appends } else { &mut case.gets };
    match random.u8(..3) {
        0 if list.len() < MAX_APPENDED => list.push(random.u8(..)),
        1 => drop(list.pop()),
        _ => {
            let at = random.usize(..=list.len());
            list.get_mut(at).into_iter().for_each(|byte| *byte = random.u8(..));
        }
    }
}

fn change_file(
    case: &mut Case,
    random: &mut Rng,
    random_bytes: &mut dyn FnMut(&mut [u8], &mut Rng),
) {
    let (name, other) = (pick(case, random), pick(case, random));
    let other = case.files[&other].clone();
    let (base, _) = base_and_id(&name);
    let Some(bytes) = case.files.get_mut(&name) else { return };
    if bytes.len() < HEADER_BYTES || random.u8(..16) == 0 {
        return change_size(bytes, random);
    }
    let before = bytes.clone();
    match random.u8(..12) {
        0 | 1 => change_header(bytes, random),
        2..5 => change_slot(bytes, base, random),
        5 => change_bytes(bytes, random, random_bytes),
        6 => copy_a_part(bytes, &other, random),
        _ => change_frames(bytes, base, random),
    }
    if random.u8(..16) >= ROTS {
        seal_what_changed(&before, bytes);
    }
}

fn change_size(bytes: &mut Vec<u8>, random: &mut Rng) {
    let size = match random.u8(..4) {
        0 => random.usize(..=bytes.len()),
        1 => frames(bytes).last().map_or(HEADER_BYTES, |at| at + 16 * random.usize(..4)),
        2 => bytes.len() + 512 * random.usize(..8),
        _ => 2 * HEADER_BYTES,
    };
    bytes.resize(size.min(MAX_FILE_BYTES), 0);
}

fn change_header(bytes: &mut [u8], random: &mut Rng) {
    let (at, len) = match random.u8(..14) {
        0 => (random.usize(..format::HEADER_CRC_AT), 1),
        1 => (format::VERSION_AT, 4),
        2 | 3 => (format::REASON_AT, 4),
        4 => (format::COMPATIBLE_AT, 8),
        5 => (format::INCOMPATIBLE_AT, 8),
        6 => (format::LOG_ID_AT, 8),
        7..10 => (format::EPOCH_AT, 8),
        10 => (format::SALT_AT, 8),
        11 => (format::SEGMENT_BYTES_AT, 8),
        12 => (format::CREATED_AT, 8),
        // One copy is as the other, or gone.
        _ => {
            let block = random.usize(..2) * BLOCK_BYTES;
            let from = (BLOCK_BYTES - block) * usize::from(random.bool());
            let copy = bytes[from..from + SECTOR_BYTES].to_vec();
            let copy = if random.bool() { copy } else { vec![0; SECTOR_BYTES] };
            put(bytes, block, &copy);
            return;
        }
    };
    let old = u64_at(bytes, at.min(SECTOR_BYTES - 8));
    let new = match at {
        format::SEGMENT_BYTES_AT if random.bool() => 4096 * random.u64(3..20),
        format::REASON_AT => random.u64(..8),
        _ => near(old, random),
    };
    let copies = random.u8(1..4).max(random.u8(1..4));
    for block in (0..2).filter(|block| copies >> block & 1 == 1) {
        put(bytes, block * BLOCK_BYTES + at, &new.to_le_bytes()[..len]);
    }
}

fn change_slot(bytes: &mut [u8], base: u64, random: &mut Rng) {
    let at = random.usize(..2) * BLOCK_BYTES + SECTOR_BYTES;
    let frames = frames(bytes);
    let place = frames.get(random.usize(..=frames.len())).copied();
    let end = frames.last().map_or(HEADER_BYTES, |at| next_of(bytes, *at));
    let (place, number) = place.map_or((end, base), |at| (at, number_at(bytes, at)));
    let mut word = |index: usize, value: u64| put(bytes, at + index * 8, &value.to_le_bytes());
    match random.u8(..10) {
        0 => put(bytes, at, &[0; SLOT_BYTES]),
        1 => {
            let other = BLOCK_BYTES + 2 * SECTOR_BYTES - at;
            let counter = u64_at(bytes, other).wrapping_add(1);
            bytes.copy_within(other..other + SLOT_BYTES, at);
            put(bytes, at, &counter.to_le_bytes());
        }
        // A position that lies in the log, or near.
        2 | 3 => {
            word(2, place as u64);
            word(3, if random.u8(..4) > 0 { number } else { near(number, random) });
        }
        4 => word(2, near(place as u64 / 16, random).wrapping_mul(16)),
        5 => word(3, near(number, random)),
        6 => word(4, near(number, random)),
        7 | 8 => word(5, random.u64(..2)),
        _ => {
            let index = random.usize(..5);
            let old = u64_at(bytes, at + index * 8);
            put(bytes, at + index * 8, &near(old, random).to_le_bytes());
        }
    }
}

/// Something small, as libFuzzer would have it.
fn change_bytes(
    bytes: &mut [u8],
    random: &mut Rng,
    random_bytes: &mut dyn FnMut(&mut [u8], &mut Rng),
) {
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    let at = match random.u8(..4) {
        0 => random.usize(..2) * BLOCK_BYTES + random.usize(..128),
        1 => random.usize(..2) * BLOCK_BYTES + SECTOR_BYTES + random.usize(..SLOT_BYTES),
        _ => HEADER_BYTES.min(used - 1) + random.usize(..=used.saturating_sub(HEADER_BYTES)),
    };
    let end = (at + random.usize(1..=64)).min(bytes.len());
    if at < end {
        random_bytes(&mut bytes[at..end], random);
    }
}

/// Bytes of this or another segment stand here, too, or what stood here does not.
fn copy_a_part(bytes: &mut [u8], other: &[u8], random: &mut Rng) {
    let unit = if random.bool() { 16 } else { SECTOR_BYTES };
    let count = unit * random.usize(1..=8);
    let place = |random: &mut Rng, len: usize| match len.checked_sub(HEADER_BYTES + count) {
        Some(room) if random.u8(..8) > 0 => HEADER_BYTES + random.usize(..=room) / unit * unit,
        _ => random.usize(..=len.saturating_sub(count)) / unit * unit,
    };
    let (from, to) = (place(random, other.len()), place(random, bytes.len()));
    let room = count.min(other.len() - from).min(bytes.len() - to);
    match random.u8(..3) {
        0 => bytes[to..to + room].fill(0),
        _ => put(bytes, to, &other[from..from + room]),
    }
}

fn change_frames(bytes: &mut [u8], base: u64, random: &mut Rng) {
    let frames = frames(bytes);
    let end = frames.last().map_or(HEADER_BYTES, |at| next_of(bytes, *at));
    let index = random.usize(..=frames.len());
    let Some(at) = frames.get(index).copied() else {
        let number = frames.last().map_or(base, |at| number_behind(bytes, *at));
        return insert(bytes, end, end, number, random);
    };
    let (next, number) = (next_of(bytes, at), number_at(bytes, at));
    match random.u8(..10) {
        0 => insert(bytes, at, end, number, random),
        // Out, with or without those behind taking its place.
        1 if random.bool() => bytes[at..next].fill(0),
        1 => {
            bytes.copy_within(next..end, at);
            bytes[end - (next - at)..end].fill(0);
        }
        // Two in the other order.
        2 if next < end => {
            let after = next_of(bytes, next).min(bytes.len());
            bytes[at..after].rotate_left(next - at);
        }
        3 => put(bytes, at + 8, &near(number, random).to_le_bytes()),
        // All from here on are numbered otherwise.
        4 => {
            let by = near(0, random);
            for at in &frames[index..] {
                let number = number_at(bytes, *at).wrapping_add(by) & ((1 << 56) - 1);
                put(bytes, at + 8, &number.to_le_bytes());
            }
        }
        5 => bytes[at + 3] = random.u8(..16) << 4 | bytes[at + 3] & 15,
        6 => {
            let len = u32_at(bytes, at) & 0x0FFF_FFFF;
            let len = near(len.into(), random) as u32 & 0x0FFF_FFFF;
            let word = u32_at(bytes, at) & 0xF000_0000 | len;
            put(bytes, at, &word.to_le_bytes());
        }
        // A batch of this and the next.
        7 if next < end => {
            let kinds = if random.bool() { [FIRST, LAST] } else { [FIRST, MIDDLE] };
            for (at, kind) in [at, next].into_iter().zip(kinds) {
                bytes[at + 3] = (kind as u8) << 4 | bytes[at + 3] & 15;
            }
        }
        // A mark claims something.
        8 if next - at >= 32 => {
            put(bytes, at, &(format::MARK << 28 | 16).to_le_bytes());
            put(bytes, at + 24, &near(number, random).to_le_bytes());
        }
        // It reaches over those behind it.
        _ => {
            let last = next_of(bytes, frames[random.usize(index..frames.len())]);
            let word = u32_at(bytes, at) & 0xF000_0000 | (last - at - 16) as u32;
            put(bytes, at, &word.to_le_bytes());
        }
    }
}

/// A frame before the one at `at`; what stands from there to `end` moves.
fn insert(bytes: &mut [u8], at: usize, end: usize, number: u64, random: &mut Rng) {
    let kind = match random.u8(..8) {
        0 => random.u32(..16),
        1 => format::MARK,
        2 => format::END,
        _ => SINGLE,
    };
    let len = match kind {
        format::MARK => 16,
        format::END => 0,
        _ => 8 * random.usize(..20),
    };
    let room = frame_bytes(len);
    let moved = if random.u8(..4) > 0 { room } else { 0 };
    if end + moved > bytes.len() || at + room > bytes.len() {
        return;
    }
    bytes.copy_within(at..end, at + moved);
    bytes[at..at + room].fill(random.u8(..));
    put(bytes, at, &(kind << 28 | len as u32).to_le_bytes());
    put(bytes, at + 8, &number.to_le_bytes());
    if kind == format::MARK {
        put(bytes, at + 24, &number.to_le_bytes());
    }
}

fn number_at(bytes: &[u8], at: usize) -> u64 {
    u64_at(bytes, at + 8)
}

fn number_behind(bytes: &[u8], at: usize) -> u64 {
    let takes_one = (SINGLE..=LAST).contains(&(u32_at(bytes, at) >> 28));
    number_at(bytes, at).wrapping_add(takes_one.into())
}

fn next_of(bytes: &[u8], at: usize) -> usize {
    at + frame_bytes((u32_at(bytes, at) & 0x0FFF_FFFF) as usize)
}

/// Where frames stand, by their lengths alone: one behind the other, and what looks like one behind a gap.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let (mut at, mut frames) = (HEADER_BYTES, Vec::new());
    while at + 16 <= bytes.len() {
        if u32_at(bytes, at) >> 28 != 0 && next_of(bytes, at) <= bytes.len() {
            frames.push(at);
            at = next_of(bytes, at);
        } else {
            at += 16;
        }
    }
    frames
}

/// Gives right checksums to all that is not as it was `before`; what rotted before stays so.
fn seal_what_changed(before: &[u8], bytes: &mut [u8]) {
    let same = |bytes: &[u8], from: usize, to: usize| before.get(from..to) == bytes.get(from..to);
    for block in [0, BLOCK_BYTES] {
        if !same(bytes, block, block + SECTOR_BYTES) && bytes[block] != 0 {
            seal_header(&mut bytes[block..block + SECTOR_BYTES]);
        }
    }
    let copies = [0, BLOCK_BYTES].map(|at| &bytes[at..at + SECTOR_BYTES]);
    let whole = copies.into_iter().find(|copy| {
        copy[..8] == format::MAGIC
            && u32_at(copy, format::HEADER_CRC_AT) == crc32(0, &copy[..format::HEADER_CRC_AT])
    });
    let Some(salt) = whole.map(|copy| u64_at(copy, format::SALT_AT)) else { return };
    let salted = before.len() < HEADER_BYTES
        || copies.iter().any(|copy| u64_at(copy, format::SALT_AT) != salt)
        || [0, BLOCK_BYTES].iter().any(|at| u64_at(before, at + format::SALT_AT) != salt);
    for slot in [SECTOR_BYTES, BLOCK_BYTES + SECTOR_BYTES] {
        let there = bytes[slot..slot + SLOT_BYTES].iter().any(|byte| *byte != 0);
        if there && (salted || !same(bytes, slot, slot + SLOT_BYTES)) {
            let salts = (salt >> 32) as u32 ^ salt as u32;
            let crc = crc32(salts, &bytes[slot..slot + SLOT_BYTES - 4]);
            put(bytes, slot + SLOT_BYTES - 4, &crc.to_le_bytes());
        }
    }
    let mut first = None;
    for at in frames(bytes) {
        let (word, next) = (u32_at(bytes, at), next_of(bytes, at));
        let (kind, len) = (word >> 28, (word & 0x0FFF_FFFF) as usize);
        let tied = matches!(kind, MIDDLE | LAST);
        let changed = |at: usize, next: usize| salted || !same(bytes, at, next);
        let first_changed = first.is_some_and(|(at, next)| changed(at, next));
        if changed(at, next) || tied && first_changed {
            let tie = first.filter(|_| tied).map_or(0, |(at, _)| u32_at(bytes, at + 4));
            let init = seed(salt, at, word, number_at(bytes, at)) ^ tie;
            let crc = crc32(init, &bytes[at + 16..at + 16 + len]);
            put(bytes, at + 4, &crc.to_le_bytes());
        }
        first = if kind == FIRST { Some((at, next)) } else { first };
    }
}
