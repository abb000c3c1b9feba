//! Operations on a log and on its naive twin, a `Vec<Vec<u8>>`, with power cuts, rot and cut files between
//! them: G1 to G6. Records are dropped at both ends.

use std::ops::Range;

use arbitrary::{Arbitrary, Result, Unstructured};
use maplog::{Log, verify};

use crate::folder::{Folder, segments};
use crate::judge::{Everything, Oddities, everything, oddities, open, read};
use crate::second;
use crate::second::format::{FIRST, HEADER_BYTES, LAST, SINGLE, frame_bytes, u32_at, u64_at};
use crate::second::reader::Segment;
use crate::second::script::Files;
use crate::ways::Ways;

#[derive(Clone, Debug)]
pub struct Script {
    pub steps: Vec<Act>,
}

#[derive(Clone, Debug)]
pub enum Act {
    Do(Step),
    Drop(Dropped),
}

#[derive(Clone, Debug, Arbitrary)]
pub enum Step {
    Append(Record),
    Batch(Record, Vec<Record>),
    /// In place: `spare` bytes more are reserved, and given up or cut off.
    Reserve {
        record: Record,
        spare: u8,
        commit: bool,
    },
    Sync,
    SyncTo(u8),
    /// `close`, or the handle just dropped; then opened again.
    Reopen {
        close: bool,
    },
    /// What a power cut leaves: of each sector written since the last sync, the old or the new bytes. The log
    /// goes on from there.
    PowerCut {
        seed: u64,
        kept_in_256: u8,
    },
    /// A copy with one bit flipped is read, and gone on with, and thrown away.
    Flip {
        segment: u8,
        place: u16,
        bit: u8,
    },
    /// A copy with one file cut off.
    Cut {
        segment: u8,
        bytes: u16,
    },
    /// A copy without one of its files.
    Remove {
        segment: u8,
    },
}

/// What is dropped of the log.
#[derive(Clone, Debug, Arbitrary)]
pub enum Dropped {
    /// All from the one on that comes so many behind the first.
    From(u8),
    /// So many.
    First(u8),
    /// All. The log goes on at a number that was given before, or so many ahead.
    All { to: u8, ahead: bool },
}

#[derive(Clone, Debug)]
pub struct Record {
    len: usize,
    fill: u8,
}

/// What an act that drops records begins with.
const DROPS: u8 = 0xE;
const MAX_STEPS: usize = 48;
const MAX_BATCH: usize = 6;
/// Records of which two make a segment roll.
const MAX_LEN: u16 = 3500;

impl<'a> Arbitrary<'a> for Record {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let short: u8 = u.arbitrary()?;
        let len = if short < 200 { short.into() } else { u.arbitrary::<u16>()? % MAX_LEN };
        Ok(Record { len: len.into(), fill: u.arbitrary()? })
    }
}

impl Record {
    /// Its number is in it, so that no two are alike by accident.
    fn bytes(&self, seq: u64) -> Vec<u8> {
        let mut bytes = vec![self.fill; self.len];
        bytes.iter_mut().zip(seq.to_le_bytes()).for_each(|(byte, part)| *byte ^= part);
        bytes
    }
}

impl<'a> Arbitrary<'a> for Script {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let mut steps = Vec::new();
        while !u.is_empty() && steps.len() < MAX_STEPS {
            // Inputs of before records could be dropped hold this nibble seldom, and mean what they meant.
            let drops = u.peek_bytes(1).is_some_and(|next| next[0] >> 4 == DROPS);
            steps.push(match drops {
                true => {
                    u.bytes(1)?;
                    Act::Drop(u.arbitrary()?)
                }
                false => Act::Do(u.arbitrary()?),
            });
        }
        Ok(Script { steps })
    }
}

pub fn run(script: &Script) {
    let folder = Folder::new();
    let log = open(folder.path()).unwrap();
    let mut pair = Pair {
        stored: segments(folder.path()),
        log: Some(log),
        folder,
        base: 0,
        twin: Vec::new(),
        first: 0,
        batches: Vec::new(),
        former: Vec::new(),
        synced: 0,
        promised: 0,
        found_unclean: false,
    };
    for act in &script.steps {
        match act {
            Act::Do(step) => pair.step(step),
            Act::Drop(dropped) => pair.drop(dropped),
        }
        pair.check_numbers();
    }
    pair.reopen(true);
    pair.check();
}

/// A log and its twin.
struct Pair {
    folder: Folder,
    /// None only while it is being opened anew.
    log: Option<Log>,
    /// The number of the twin's first record.
    base: u64,
    /// Those that were trimmed, too.
    twin: Vec<Vec<u8>>,
    /// What lies below it was trimmed.
    first: u64,
    batches: Vec<Range<u64>>,
    /// What power cuts took, and cuts and resets. It may still lie in a segment that a later one cuts.
    former: Vec<(u64, Vec<u8>)>,
    /// Records below it survive everything but rot.
    synced: u64,
    /// What this handle said to be durable.
    promised: u64,
    /// Nothing was appended since it was found so: then closing writes nothing.
    found_unclean: bool,
    /// The segment files as they are on stable storage at the least.
    stored: Files,
}

impl Pair {
    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    fn next(&self) -> u64 {
        self.base + self.twin.len() as u64
    }

    fn len(&self) -> u64 {
        self.next() - self.first
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Append(record) => {
                let bytes = record.bytes(self.next());
                assert_eq!(self.log().append(&bytes).unwrap(), self.next());
                self.push(bytes);
            }
            Step::Batch(first, more) => self.batch(first, more),
            Step::Reserve { record, spare, commit } => self.reserve(record, *spare, *commit),
            Step::Sync => {
                assert_eq!(self.log().sync().unwrap(), self.next());
                self.is_synced();
                self.promised = self.next();
            }
            Step::SyncTo(part) if self.len() > 0 => {
                let seq = self.first + u64::from(*part) % self.len();
                let durable = self.log().sync_to(seq).unwrap();
                assert!(seq < durable && durable <= self.next());
                self.synced = self.synced.max(durable);
                self.promised = durable;
                if durable == self.next() {
                    self.is_synced();
                }
            }
            Step::SyncTo(_) => {}
            Step::Reopen { close } => self.reopen(*close),
            Step::PowerCut { seed, kept_in_256 } => self.power_cut(*seed, *kept_in_256),
            Step::Flip { segment, place, bit } => self.flip(*segment, *place, *bit),
            Step::Cut { segment, bytes } => {
                self.harm(*segment, |file| file.truncate(usize::from(*bytes)));
            }
            Step::Remove { segment } => self.remove(*segment),
        }
    }

    fn drop(&mut self, dropped: &Dropped) {
        match dropped {
            Dropped::From(count) => self.truncate(self.first + u64::from(*count)),
            Dropped::First(count) => self.trim(self.first + u64::from(*count)),
            Dropped::All { to, ahead: true } => self.reset(self.next() + u64::from(*to)),
            Dropped::All { to, ahead: false } => self.reset(u64::from(*to) % (self.next() + 1)),
        }
    }

    fn check_numbers(&self) {
        assert_eq!((self.log().first_seq(), self.log().next_seq()), (self.first, self.next()));
        assert!(self.log().durable_seq() >= self.promised);
    }

    fn push(&mut self, record: Vec<u8>) {
        self.twin.push(record);
        self.found_unclean = false;
    }

    fn batch(&mut self, first: &Record, more: &[Record]) {
        let start = self.next();
        let records = std::iter::once(first).chain(more).take(MAX_BATCH);
        let batch: Vec<_> = (start..).zip(records).map(|(seq, record)| record.bytes(seq)).collect();
        let frames: usize = batch.iter().map(|record| frame_bytes(record.len())).sum();
        let end = start + batch.len() as u64;
        match self.log().append_batch(&batch) {
            Ok(seqs) => {
                assert_eq!(seqs, start..end);
                batch.into_iter().for_each(|record| self.push(record));
                self.batches.push(start..end);
            }
            Err(error) => {
                assert_eq!(error.kind(), maplog::ErrorKind::TooLarge, "{error}");
                assert!(frames > 16 * 1024 - 8240, "{frames} bytes of frames are too large");
            }
        }
    }

    fn reserve(&mut self, record: &Record, spare: u8, commit: bool) {
        let bytes = record.bytes(self.next());
        let mut writer = self.log().writer().unwrap();
        let mut slot = writer.reserve(bytes.len() + usize::from(spare)).unwrap();
        slot.fill(0xDD);
        slot.truncate(bytes.len());
        slot.copy_from_slice(&bytes);
        if commit {
            assert_eq!(slot.commit().unwrap(), self.next());
            drop(writer);
            self.push(bytes);
        }
    }

    fn truncate(&mut self, from: u64) {
        let epoch = self.log().epoch();
        self.log().truncate_from(from).unwrap();
        if from >= self.next() {
            assert_eq!(self.log().epoch(), epoch, "there was nothing to cut");
            return;
        }
        assert!(self.log().epoch() > epoch);
        self.ends_at(from);
        for batch in &mut self.batches {
            batch.end = batch.end.min(from);
        }
        self.batches.retain(|batch| !batch.is_empty());
        self.is_durably_made();
    }

    fn trim(&mut self, before: u64) {
        let first = before.min(self.next());
        assert_eq!(self.log().trim_before(before).unwrap(), first);
        if first == self.first {
            return;
        }
        self.first = first;
        // The names are durable, and the slots; of the frames nobody said so.
        for (name, mut bytes) in segments(self.folder.path()) {
            bytes[HEADER_BYTES..].fill(0);
            self.stored.entry(name).or_insert(bytes);
        }
    }

    fn reset(&mut self, to: u64) {
        let epoch = self.log().epoch();
        self.log().reset(to).unwrap();
        assert!(self.log().epoch() > epoch);
        assert_eq!(segments(self.folder.path()).len(), 1, "nothing of before is kept");
        self.ends_at(self.base);
        self.batches.clear();
        (self.base, self.first) = (to, to);
        self.is_durably_made();
    }

    /// What is behind is not in the log any more.
    fn ends_at(&mut self, next: u64) {
        let left = self.twin.split_off((next - self.base) as usize);
        self.former.extend((next..).zip(left));
    }

    /// The log ends in a new segment, durably.
    fn is_durably_made(&mut self) {
        self.found_unclean = false;
        self.promised = self.next();
        self.is_synced();
    }

    /// Everything is on stable storage as it stands now.
    fn is_synced(&mut self) {
        self.synced = self.next();
        self.stored = segments(self.folder.path());
    }

    fn reopen(&mut self, close: bool) {
        let log = self.log.take().unwrap();
        if close {
            log.close().unwrap()
        } else {
            drop(log)
        }
        self.is_synced();
        let log = open(self.folder.path()).unwrap();
        assert!(log.recovery().clean || self.found_unclean, "closed, and not clean");
        self.log = Some(log);
    }

    fn check(&self) {
        let all = everything(&self.log().reader());
        assert!(all.lost.is_empty() && all.refused.is_empty());
        self.check_records(&all, false);
        assert_eq!((all.first_seq, all.next_seq), (self.first, self.next()));
        let files = segments(self.folder.path());
        let ways = Ways::new(&all, &files, Oddities::default());
        ways.check(|| read(self.folder.path()).unwrap());
        ways.check_tail(&self.log().reader(), true);
    }

    /// No record has another's bytes.
    fn check_records(&self, all: &Everything, former_too: bool) {
        all.check_complete();
        for (seq, data) in &all.records {
            let is_former = |former: &(u64, Vec<u8>)| former.0 == *seq && former.1 == *data;
            let place = seq.checked_sub(self.base);
            let right = place.and_then(|place| self.twin.get(place as usize)) == Some(data)
                || former_too && self.former.iter().any(is_former);
            assert!(right, "wrong bytes in record {seq}");
        }
    }

    fn power_cut(&mut self, seed: u64, kept_in_256: u8) {
        let files = self.after_a_cut(seed, kept_in_256);
        let folder = Folder::of(&files);
        let before = everything(&read(folder.path()).unwrap());
        before.assert_is(&second::reader::read(&files));
        let log = open(folder.path()).unwrap();
        let all = everything(&log.reader());
        assert!(all == before, "a reader before recovery, and recovery");
        assert!(all.lost.is_empty(), "a power cut reported as damage: {:?}", all.lost);
        self.check_records(&all, false);
        let next = log.next_seq();
        assert!(next >= self.synced, "synced up to {}, left up to {next}", self.synced);
        let torn = self.batches.iter().find(|batch| batch.start < next && next < batch.end);
        // Of what was trimmed before it was durable, the newest may be gone: then the log ends before it.
        assert_eq!(
            all.first_seq,
            self.first.min(next),
            "what was trimmed is back, or more is gone"
        );
        let torn = torn.filter(|_| next > all.first_seq);
        assert_eq!(torn, None, "a batch in part, the log ends at {next}");

        // The old handle's closing must not reach the new log: it has files of its own.
        self.found_unclean = !log.recovery().clean;
        self.promised = log.durable_seq();
        self.log = Some(log);
        self.folder = folder;
        self.ends_at(next);
        self.first = all.first_seq;
        self.batches.retain(|batch| batch.end <= next);
        self.is_synced();
    }

    /// The newer segments may be missing, removed ones may be there, and each sector that was written since the last
    /// sync may be the old one. Headers are synced before their segment has its name.
    fn after_a_cut(&self, seed: u64, kept_in_256: u8) -> Files {
        let mut random = fastrand::Rng::with_seed(seed);
        let now = segments(self.folder.path());
        let newer = now.keys().filter(|name| !self.stored.contains_key(*name)).count();
        let mut missing = if random.bool() { 0 } else { random.usize(..=newer) };
        let mut left = Files::new();
        // Names come in the order that they were given in.
        for (name, bytes) in now.iter().rev() {
            let old = self.stored.get(name);
            if old.is_none() && missing > 0 {
                missing -= 1;
                continue;
            }
            let mut mixed = bytes.clone();
            for sector in (0..bytes.len()).step_by(512) {
                let kept = random.u8(..) < kept_in_256;
                let to = (sector + 512).min(bytes.len());
                match old {
                    // Slots are written before a sync that this one knows, or synced at once.
                    _ if kept || sector < HEADER_BYTES => {}
                    Some(old) => mixed[sector..to].copy_from_slice(&old[sector..to]),
                    None => mixed[sector..to].fill(0),
                }
            }
            left.insert(name.clone(), mixed);
        }
        for (name, bytes) in &self.stored {
            if !now.contains_key(name) && random.bool() {
                left.insert(name.clone(), bytes.clone());
            }
        }
        left
    }

    fn flip(&self, segment: u8, place: u16, bit: u8) {
        let files = segments(self.folder.path());
        let index = usize::from(segment) % files.len();
        let bytes = files.values().nth(index).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        let at = usize::from(place) % used;
        let touched = touched(bytes, at);
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (bit % 8);
        // Without a slot nothing is cut on a guess: then what a power cut took counts as lost.
        let no_slot = Segment::new(0, &flipped, 0..u64::MAX).newest().is_none();
        let all = self.harm(segment, |file| file[at] ^= 1 << (bit % 8));
        // What is reported lost is what was touched; what is cut begins there.
        let lost_more = all.lost.iter().find(|lost| {
            let is_touched = touched
                .as_ref()
                .is_some_and(|range| range.start <= lost.start && lost.end <= range.end);
            let was_cut = no_slot && self.found_unclean && self.next() <= lost.start;
            !is_touched && !was_cut
        });
        assert_eq!(lost_more, None, "one bit in {touched:?} took more");
        if all.next_seq < self.next() && at >= HEADER_BYTES {
            let first = touched.map_or(all.next_seq, |range| range.start);
            assert!(all.next_seq >= first.min(self.synced), "cut at {}", all.next_seq);
        }
    }

    /// A copy of the log, harmed: it says what the second reader says, and goes on.
    fn harm(&self, segment: u8, harm: impl FnOnce(&mut Vec<u8>)) -> Everything {
        let mut files = segments(self.folder.path());
        let index = usize::from(segment) % files.len();
        harm(files.values_mut().nth(index).unwrap());
        self.check_harmed(&files)
    }

    fn remove(&self, segment: u8) {
        let mut files = segments(self.folder.path());
        if files.len() > 1 {
            let index = usize::from(segment) % files.len();
            let name = files.keys().nth(index).unwrap().clone();
            files.remove(&name);
            // Without the segment that cut them, records of before a power cut are back: names alone
            // decide what is cut, and nobody but a person takes one away.
            let all = self.check_copy(&files);
            self.check_records(&all, true);
        }
    }

    fn check_harmed(&self, files: &Files) -> Everything {
        let all = self.check_copy(files);
        // As long as nothing was appended behind a power cut, what it took is not cut for good: damage
        // before it leads past the gap that hid it.
        self.check_records(&all, self.found_unclean);
        all
    }

    fn check_copy(&self, files: &Files) -> Everything {
        let odd = oddities(files);
        assert!(!odd.may_be_refused, "harm made a feature");
        let folder = Folder::of(files);
        let reader = read(folder.path()).unwrap();
        let mut all = everything(&reader);
        if !odd.any() {
            all.assert_is(&second::reader::read(files));
        }
        all.check_complete();
        assert_eq!(verify(folder.path(), |_, _| {}).unwrap().lost, all.lost);
        let ways = Ways::new(&all, files, odd);
        ways.check(|| read(folder.path()).unwrap());
        ways.check_tail(&reader, true);
        let log = open(folder.path()).unwrap();
        let harmed = all.clone();
        for more in 0..3_u8 {
            let record = vec![more; 100];
            let seq = log.append(&record).unwrap();
            assert_eq!(seq, all.next_seq);
            all.records.push((seq, record));
            all.next_seq += 1;
        }
        log.close().unwrap();
        assert!(everything(&read(folder.path()).unwrap()) == all, "harmed, and gone on with");
        harmed
    }
}

/// The records that a byte at `at` belongs to: of its frame or of the batch that is in; none if it is in no
/// record's frame.
fn touched(bytes: &[u8], at: usize) -> Option<Range<u64>> {
    let (mut place, mut batch) = (HEADER_BYTES, None);
    while place + 16 <= bytes.len() && u32_at(bytes, place) != 0 {
        let word = u32_at(bytes, place);
        let (kind, seq) = (word >> 28, u64_at(bytes, place + 8));
        let next = place + frame_bytes(word as usize & 0x0FFF_FFFF);
        if kind == FIRST {
            batch = Some((place, seq));
        }
        let from = batch.filter(|_| kind == LAST).map_or((place, seq), |batch| batch);
        if matches!(kind, SINGLE | LAST) && (from.0..next).contains(&at) {
            return Some(from.1..seq + 1);
        }
        place = next;
    }
    None
}
