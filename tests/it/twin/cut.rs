//! A power cut: images of the log as a disk may have it then.

use std::fs;
use std::path::Path;

use fastrand::Rng;

use super::Twin;
use super::looks::{compare, compare_prefix};
use crate::support::{DATA_START, SMALL, image, read, segments};

const SECTOR_BYTES: usize = 512;
/// So many outcomes of the second cut are looked at.
const SECOND_CUTS: usize = 2;

/// Whether files that were not there at the last sync may be lost whole.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum New {
    MayBeLost,
    IsThere,
}

impl Twin {
    /// G2, G5: a copy as the disk would have it: what was synced, and any sectors of the rest.
    pub(super) fn cut_the_power(&mut self) {
        let durable = self.log().sync().unwrap();
        self.synced = self.records.len();
        let synced = image(&self.path());
        let mut batches = Vec::new();
        for _ in 0..self.rng.u32(0..30) {
            let from = self.next_seq();
            match self.rng.u32(0..3) {
                0 => self.append(),
                1 => self.batch(),
                _ => self.through_a_writer_no_sync(),
            }
            batches.push(from..self.next_seq());
        }
        let now = image(&self.path());
        if self.rng.u32(0..4) > 0 {
            lose_sectors(&mut self.rng, synced.path(), now.path(), New::MayBeLost);
        }
        if self.rng.bool() {
            self.cut_again(now.path(), durable);
        }
        let next_seq = self.survives(now.path(), durable);
        let cut_in_a_batch =
            batches.iter().any(|batch| batch.start < next_seq && next_seq < batch.end);
        assert!(!cut_in_a_batch, "{next_seq} lies in one of {batches:?}");
        self.done.cuts += 1;
        self.done.cuts_that_took += usize::from(next_seq < self.next_seq());
    }

    fn through_a_writer_no_sync(&mut self) {
        let log = self.log();
        let mut writer = log.writer().unwrap();
        self.reserve(&mut writer, log.max_record());
    }

    /// ATTACKS 4: what a first cut took must not come back behind what was appended in its place, though
    /// it has the same sizes and a second cut takes the zeros between.
    fn cut_again(&mut self, path: &Path, durable: u64) {
        let first = image(path);
        // SAFETY: only this test touches the directory, and only through maplog.
        let log = unsafe { super::options().segment_bytes(SMALL).open(path) }.unwrap();
        let kept = (log.next_seq() - self.first_seq) as usize;
        let mut expected = self.records[..kept].to_vec();
        let most = self.rng.usize(0..10);
        let fit = self.records[kept..].iter().filter(|lost| lost.len() as u64 <= log.max_record());
        for lost in fit.take(most) {
            let other: Vec<_> = lost.iter().map(|byte| byte ^ 0x55).collect();
            log.append(&other).unwrap();
            expected.push(other);
        }
        let second = image(path);
        drop(log);
        for _ in 0..SECOND_CUTS {
            let cut = image(second.path());
            lose_sectors(&mut self.rng, first.path(), cut.path(), New::IsThere);
            compare_prefix(&read(cut.path()).unwrap(), self.first_seq, &expected, durable);
        }
        // The caller goes on with what the first cut left.
        for file in fs::read_dir(path).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        for file in segments(first.path()) {
            fs::copy(&file, path.join(file.file_name().unwrap())).unwrap();
        }
    }

    /// Opens an image; gives where it ends.
    fn survives(&mut self, path: &Path, durable: u64) -> u64 {
        compare_prefix(&read(path).unwrap(), self.first_seq, &self.records, durable);
        // SAFETY: only this test touches the directory, and only through maplog.
        let open = || unsafe { super::options().segment_bytes(SMALL).open(path) }.unwrap();
        let log = open();
        let found = log.recovery().clone();
        assert!(!found.live && found.lost.is_empty(), "{found:?}");
        assert_eq!(log.id(), self.log().id());
        let next_seq = log.next_seq();
        assert!(log.durable_seq() <= next_seq);
        let mut expected =
            compare_prefix(&log.reader(), self.first_seq, &self.records, durable).to_vec();
        for index in 0..100_u64 {
            let payload = self.rng.u64(..).to_le_bytes().repeat(self.rng.usize(0..30));
            assert_eq!(log.append(&payload).unwrap(), next_seq + index);
            expected.push(payload);
        }
        compare(&log.reader(), self.first_seq, &expected);
        if self.rng.bool() {
            log.close().unwrap();
        } else {
            drop(log);
        }
        let log = open();
        assert!(log.recovery().clean);
        compare(&log.reader(), self.first_seq, &expected);
        next_seq
    }
}

/// Makes `now`, an image, what a power cut may leave when `synced` was the last state that is known
/// to be on the disk: of every file any sectors of frames, of new files any at all. Headers are
/// synced before their file has its name, and slots claim nothing that was not synced.
pub(crate) fn lose_sectors(rng: &mut Rng, synced: &Path, now: &Path, new: New) {
    for file in segments(now) {
        let before = fs::read(synced.join(file.file_name().unwrap())).ok();
        if before.is_none() && new == New::MayBeLost && rng.u32(0..3) == 0 {
            fs::remove_file(&file).unwrap();
            continue;
        }
        let before = before.unwrap_or_default();
        let mut bytes = fs::read(&file).unwrap();
        let share = rng.u32(0..=4);
        for at in (DATA_START..bytes.len()).step_by(SECTOR_BYTES) {
            if rng.u32(0..4) < share {
                continue;
            }
            let to = (at + SECTOR_BYTES).min(bytes.len());
            let sector = &mut bytes[at..to];
            match before.get(at..at + sector.len()) {
                Some(old) => sector.copy_from_slice(old),
                None => sector.fill(0),
            }
        }
        fs::write(&file, bytes).unwrap();
    }
}
