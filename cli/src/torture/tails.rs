//! Cut tails: of what was not durable anything may be missing, of what was, nothing.

use std::path::Path;

use super::frames::{DATA_START, Frame, shares, walk_share};
use super::images::{Files, SECTOR_BYTES};
use super::power;
use super::round::{Round, read_log};
use super::stop::Found;
use super::tally::Fault;
use super::twin::Twin;

/// Zeroes sectors of a copy, and shortens its last file, behind what was durable; then it must hold all that
/// was, and go on.
pub(crate) fn cut_copy(round: &mut Round, log: &Path, files: &Files, twin: &Twin) -> Found {
    // Nobody has the log open: its page knows the last position that a sync reached.
    let durable = read_log(log)?.durable_seq().max(twin.durable).min(twin.next_seq());
    let left = without_tails(round, files, durable);
    round.trying(Fault::TailCut);
    power::check_copy(round, &left, twin, durable)
}

/// Of each segment some of what is behind the records that are durable is lost.
pub(crate) fn without_tails(round: &mut Round, files: &Files, durable: u64) -> Files {
    let mut left = files.clone();
    for (name, base, end) in shares(files) {
        let frames = walk_share(&files[name], name, base, end);
        let first = frames.iter().find(|frame| frame.is_record() && frame.seq >= durable);
        let behind_last = frames.last().map_or(DATA_START, Frame::end);
        let from = first.map_or(behind_last, |frame| frame.at);
        if let Some(bytes) = left.get_mut(name) {
            let is_last = end == u64::MAX;
            lose(round, bytes, from, behind_last.max(from), is_last);
        }
    }
    left
}

/// Loses some of the bytes from `from` on: all behind a place, or sectors here and there.
fn lose(round: &mut Round, bytes: &mut Vec<u8>, from: usize, to: usize, is_last: bool) {
    let place = if to > from { round.rng.usize(from..to) } else { from };
    match round.rng.u8(..4) {
        0 if is_last => bytes.truncate(place.max(DATA_START)),
        0 | 1 => bytes[place..to].fill(0),
        2 => {
            let share = round.rng.f64();
            let mut at = from;
            while at < to {
                let next = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
                if round.rng.f64() < share {
                    bytes[at..next.min(to)].fill(0);
                }
                at = next;
            }
        }
        _ => {}
    }
}
