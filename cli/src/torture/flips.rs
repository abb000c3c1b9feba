//! Flipped bits: each record that was not hit is read, each that was is read right or named as lost.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use maplog::{ErrorKind, Reader};

use super::frames::{DATA_START, Frame, What, shares, walk};
use super::images::{self, Files};
use super::round::{Round, open_log, read_log, verify_log};
use super::stop::{Found, Stop, broke, loss};
use super::tally::Fault;
use super::twin::Twin;

/// What was harmed, and what may follow from it.
struct Harm {
    files: Files,
    flips: Vec<String>,
    /// The records that may be lost.
    hits: BTreeSet<u64>,
    /// Where the log may be taken to end, if that was not durable.
    ends: BTreeSet<u64>,
    /// Everything below it must be there or be named as lost.
    evidence: u64,
    /// The slot that tells how far the log was durable, and where it begins, may be hit.
    in_header: bool,
}

/// In a copy, of which only its own files tell how far it was durable.
pub(crate) fn in_copy(round: &mut Round, files: &Files, twin: &Twin, was_closed: bool) -> Found {
    let mut harm = flip(round, files);
    if was_closed && !harm.in_header {
        harm.evidence = twin.next_seq();
    }
    let flips = harm.flips.len() as u64;
    round.tally.tried_many(Fault::BitFlipped, flips);
    let copy = round.copy();
    images::write(&copy, &harm.files)?;
    if round.rng.bool() {
        images::add_stale_page(&round.log(), &copy)?;
    }
    check(round, &copy, &harm, twin)
}

/// In the files of a log whose page is live: they hold what was committed, so all harm is damage.
pub(crate) fn in_place(round: &mut Round, log: &Path, files: &Files, twin: &Twin) -> Found {
    let harm = Harm { evidence: twin.next_seq(), ..flip(round, files) };
    let flips = harm.flips.len() as u64;
    round.tally.tried_many(Fault::LiveBitFlipped, flips);
    for (name, bytes) in &harm.files {
        if bytes != &files[name] {
            fs::write(log.join(name), bytes)?;
        }
    }
    check(round, log, &harm, twin)
}

/// Flips some bits, at most one in a segment's header.
fn flip(round: &mut Round, files: &Files) -> Harm {
    let frames = walk(files);
    let mut harm = Harm::of(files);
    let mut broken_marks = BTreeSet::new();
    let mut headers: Vec<&str> = shares(files).iter().map(|share| share.0).collect();
    for _ in 0..round.rng.usize(1..7) {
        match round.rng.u8(..8) {
            0 if !headers.is_empty() => {
                let name = headers.swap_remove(round.rng.usize(..headers.len()));
                let at = round.rng.usize(..DATA_START);
                harm.flip(name, at, round.rng.u8(..8));
                harm.in_header = true;
            }
            _ if frames.is_empty() => {}
            _ => {
                let index = round.rng.usize(..frames.len());
                let frame = &frames[index];
                let at = frame.at + round.rng.usize(..frame.bytes);
                harm.flip(&frame.file.clone(), at, round.rng.u8(..8));
                match frame.what {
                    What::Mark(_) => {
                        broken_marks.insert(index);
                        harm.ends.insert(frame.seq);
                    }
                    _ => {
                        harm.hits.extend(batch(&frames, index));
                        harm.ends.extend(batch(&frames, index).next());
                    }
                }
            }
        }
    }
    let claims = frames.iter().enumerate().filter(|(index, _)| !broken_marks.contains(index));
    let claims = claims.filter_map(|(_, frame)| match frame.what {
        What::Mark(durable) => Some(durable.min(frame.seq)),
        _ => None,
    });
    harm.evidence = claims.max().unwrap_or(0);
    harm
}

/// The records that stand and fall with that of the frame.
fn batch(frames: &[Frame], index: usize) -> impl Iterator<Item = u64> + '_ {
    let opens = |frame: &Frame| !matches!(frame.what, What::Middle | What::Last);
    let closes = |frame: &Frame| !matches!(frame.what, What::First | What::Middle);
    let start = (0..=index).rev().find(|at| opens(&frames[*at])).unwrap_or(index);
    // Of a batch that was cut the last frame is in no share.
    let end = (index..frames.len()).find(|at| closes(&frames[*at])).unwrap_or(frames.len() - 1);
    frames[start..=end].iter().map(|frame| frame.seq)
}

impl Harm {
    fn of(files: &Files) -> Self {
        Harm {
            files: files.clone(),
            flips: Vec::new(),
            hits: BTreeSet::new(),
            ends: BTreeSet::new(),
            evidence: 0,
            in_header: false,
        }
    }

    fn flip(&mut self, name: &str, at: usize, bit: u8) {
        if let Some(byte) = self.files.get_mut(name).and_then(|bytes| bytes.get_mut(at)) {
            *byte ^= 1 << bit;
            self.flips.push(format!("bit {bit} of byte {at} of {name}"));
        }
    }
}

fn check(round: &mut Round, log: &Path, harm: &Harm, twin: &Twin) -> Found {
    let checked = try_check(round, log, harm, twin);
    checked.map_err(|stop| match stop {
        Stop::Loss(sentence) => {
            Stop::Loss(format!("{sentence}; flipped {}", harm.flips.join(", ")))
        }
        failure => failure,
    })
}

fn try_check(round: &mut Round, log: &Path, harm: &Harm, twin: &Twin) -> Found {
    let reader = read_log(log)?;
    let lost = read_all(round, &reader, harm, twin)?;
    let found = verify_log(log)?;
    if found.lost.iter().flat_map(Clone::clone).collect::<BTreeSet<_>>() != lost {
        return loss(format!("reading found lost {lost:?}, verify {:?}", found.lost));
    }
    for seq in harm.hits.iter().filter(|seq| **seq >= reader.first_seq()).take(4) {
        match reader.get(*seq) {
            Ok(Some(record)) if !lost.contains(seq) => twin.matches(record, *seq)?,
            Ok(None) if *seq >= reader.next_seq() => {}
            Err(error) if error.kind() == ErrorKind::Damaged && lost.contains(seq) => {}
            other => return loss(format!("record {seq} was asked for: {other:?}")),
        }
    }
    let next = reader.next_seq();
    drop(reader);
    goes_on(log, next, next < twin.next_seq(), twin)
}

/// Reads every record; gives those that are named as lost.
fn read_all(round: &mut Round, reader: &Reader, harm: &Harm, twin: &Twin) -> Found<BTreeSet<u64>> {
    let mut lost = BTreeSet::new();
    let mut seq = reader.first_seq();
    // Of a trim the newest slot tells; an older one says less.
    if !harm.in_header {
        twin.begins_right(reader)?;
    }
    for item in reader {
        match item {
            Ok(record) => {
                twin.matches(record, seq)?;
                seq += 1;
            }
            Err(error) => match error.lost() {
                Some(range) if error.kind() == ErrorKind::Damaged && range.start == seq => {
                    lost.extend(range.clone());
                    seq = range.end;
                }
                _ => return Err(broke(format_args!("reading at record {seq}"), error)),
            },
        }
    }
    round.tally.compared += seq - reader.first_seq();
    let (next, all) = (reader.next_seq(), twin.next_seq());
    if seq != next || next > all {
        return loss(format!("the records end at {seq}, the log at {next}, its twin at {all}"));
    }
    if let Some(seq) = lost.iter().find(|seq| !harm.hits.contains(seq)) {
        return loss(format!("record {seq} is called lost and was not hit"));
    }
    let cut_at_hit = harm.ends.contains(&next) && next >= harm.evidence;
    if next < all && !cut_at_hit {
        return loss(format!(
            "records {next}..{all} are gone without a word; {} was durable",
            harm.evidence
        ));
    }
    Ok(lost)
}

/// The log opens, tells what was cut, and takes records.
fn goes_on(path: &Path, next: u64, is_cut: bool, twin: &Twin) -> Found {
    let log = open_log(path, &twin.plan)?;
    if log.next_seq() != next {
        return loss(format!("a reader found the end at {next}, opening at {}", log.next_seq()));
    }
    if is_cut && log.recovery().cut.is_none() {
        return loss(format!("records from {next} on are cut and nobody says so"));
    }
    let seq = log.append("on").map_err(|error| broke("appending behind damage", error))?;
    log.close().map_err(|error| broke("closing a damaged log", error))?;
    let reader = read_log(path)?;
    match reader.get(seq) {
        Ok(Some(record)) if seq == next && record.data() == b"on" => Ok(()),
        other => loss(format!("record {seq} was appended at {next} and reads {other:?}")),
    }
}
