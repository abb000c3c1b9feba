//! What checking a harmed log must report, worked out from what was appended and where its frames
//! stand, without asking the crate.

use std::ops::Range;

use crate::support::Frame;
use crate::sweep::model::{Cut, Group, Harm, Model};

const BLOCKS: [usize; 2] = [0, 4096];
const SECTOR_BYTES: usize = 512;
const SLOT_BYTES: usize = 128;

/// What must be said of one segment.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub damaged: Vec<Range<u64>>,
    pub spare_copy_damaged: bool,
    pub unreadable: bool,
    /// What is not part of the log.
    pub cut: Option<Range<u64>>,
}

/// A segment's bytes after `harm`.
pub fn harmed(whole: &[u8], harm: Harm) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    match harm {
        Harm::Flip { bit } => bytes[bit / 8] ^= 1 << (bit % 8),
        Harm::Cut { bytes: len } => bytes.truncate(len),
    }
    bytes
}

/// `ends` is what the model says of the log's end, if that is not where it was.
pub fn health(model: &Model, segment: usize, bytes: &[u8], ends: Option<Cut>) -> Health {
    let parsed = &model.segments[segment];
    let whole = &parsed.bytes;
    let same = |range: Range<usize>| bytes.get(range.clone()) == Some(&whole[range]);
    let copies = BLOCKS.map(|block| same(block..block + SECTOR_BYTES));
    let mut health = Health { unreadable: copies == [false; 2], ..Health::default() };
    if health.unreadable {
        return health;
    }
    let (slots_lost, spare_slot_damaged) = slots(whole, bytes);
    health.damaged = slots_lost;
    health.spare_copy_damaged = copies != [true; 2] || spare_slot_damaged;

    let is_broken = |group: &Group| {
        let covered = |frame: &Frame| frame.offset..frame.payload_at() + frame.len;
        group.next() > bytes.len() || !group.frames.iter().all(|frame| same(covered(frame)))
    };
    let mut at = parsed.groups[0].offset();
    let mut groups = parsed.groups.iter().peekable();
    while let Some(group) = groups.next() {
        let log_ends =
            ends.is_some_and(|cut| cut.segment == parsed.id && cut.offset as usize == at);
        let share_ends = group.seqs().start == parsed.share.end;
        if log_ends || is_broken(group) && share_ends {
            break;
        }
        at = group.next();
        if is_broken(group) {
            while groups.next_if(|next| is_broken(next)).is_some() {}
            at = groups.peek().map_or(used(bytes, group.offset()), |next| next.offset());
            health.damaged.extend(non_empty(group.offset()..at));
        }
    }
    health.cut = non_empty(at..used(bytes, at));
    health
}

/// Where the slots stand if none serves, and whether one is rotten whose twin does.
fn slots(whole: &[u8], bytes: &[u8]) -> (Vec<Range<u64>>, bool) {
    let places = BLOCKS.map(|block| block + SECTOR_BYTES..block + SECTOR_BYTES + SLOT_BYTES);
    let read = places
        .clone()
        .map(|place| -> Vec<u8> { place.map(|at| bytes.get(at).copied().unwrap_or(0)).collect() });
    let written = |slot: &Vec<u8>| slot.iter().any(|byte| *byte != 0);
    let serves =
        |block: usize| written(&read[block]) && read[block] == whole[places[block].clone()];
    let rotten = |block: usize| written(&read[block]) && !serves(block);
    if serves(0) || serves(1) {
        return (vec![], rotten(0) || rotten(1));
    }
    let lost = [0, 1].into_iter().filter(|block| rotten(*block) || !(rotten(0) || rotten(1)));
    let lost = lost.map(|block| places[block].clone()).filter(|place| place.end <= bytes.len());
    (lost.filter_map(non_empty).collect(), false)
}

/// Where the last 16 bytes end, from `from` on, that are not all zero.
fn used(bytes: &[u8], from: usize) -> usize {
    let behind = bytes.get(from..).unwrap_or(&[]);
    let mut chunks = behind.chunks_exact(16);
    let last = chunks.rposition(|chunk| chunk.iter().any(|byte| *byte != 0));
    from + last.map_or(0, |chunk| chunk * 16 + 16)
}

fn non_empty(range: Range<usize>) -> Option<Range<u64>> {
    (!range.is_empty()).then_some(range.start as u64..range.end as u64)
}
