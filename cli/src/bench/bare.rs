//! The work by a bare mapping: records copied into a mapped file that was allocated beforehand. No lock, no
//! checksum, no growth: what a log costs more is what it does more.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use super::contest::{BATCH, Turn, Work};
use super::ours::{in_threads, remove};
use super::records::{Dice, Records};
use crate::Failure;

pub(super) fn turn(work: Work, turn: Turn<'_>) -> Result<(), Failure> {
    let Turn { path, records, round, times } = turn;
    let fault = |error: io::Error| Failure::io(path.display(), &error);
    let bare = Bare::create(path, records.bytes(), round.calls * round.records).map_err(fault)?;
    let mut record = records.blank();
    let mut write = |number: u64| {
        Records::stamp(&mut record, number);
        bare.write(number, &record);
    };
    let written = match work {
        Work::Append => times.drive(round, |number| {
            write(number);
            Ok(())
        })?,
        Work::Batch => {
            let calls = times.drive(round, |call| {
                (call * BATCH..(call + 1) * BATCH).for_each(&mut write);
                Ok(())
            })?;
            calls * BATCH
        }
        Work::Sync => times.drive(round, |number| {
            write(number);
            bare.sync(number).map_err(fault)
        })?,
        Work::Group => {
            let next = AtomicUsize::new(0);
            in_threads(records, round, times, |record, _| {
                let number = next.fetch_add(1, Ordering::Relaxed) as u64;
                Records::stamp(record, number);
                bare.write(number, record);
                bare.sync(number).map_err(fault)
            })?;
            next.into_inner() as u64
        }
        Work::Iterate | Work::Get | Work::Tail => {
            (0..round.calls).for_each(&mut write);
            let dice = Dice::new();
            times.drive(round, |call| {
                let number = if work == Work::Get { dice.below(round.calls) } else { call };
                records.check(bare.read(number), number)
            })?;
            round.calls
        }
    };
    for number in 0..written {
        records.check_all(bare.read(number), number)?;
    }
    drop(bare);
    remove(path)
}

/// Records of one size, each at its place.
struct Bare {
    map: MmapRaw,
    record_bytes: usize,
    slots: usize,
}

/// Records begin at multiples of it, as frames do.
const ALIGN: usize = 16;

impl Bare {
    fn create(path: &Path, record_bytes: usize, slots: u64) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        let slots = slots as usize;
        let bytes = slots * record_bytes.next_multiple_of(ALIGN);
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes as u64)?;
        let map = MmapOptions::new().len(bytes).map_raw(&file)?;
        Ok(Bare { map, record_bytes, slots })
    }

    /// Where a record stands.
    #[inline]
    fn place(&self, number: u64) -> usize {
        assert!(number < self.slots as u64, "the file was made for {} records", self.slots);
        number as usize * self.record_bytes.next_multiple_of(ALIGN)
    }

    #[inline]
    fn write(&self, number: u64, record: &[u8]) {
        assert_eq!(record.len(), self.record_bytes);
        // SAFETY: `place` asserted that the slot lies in the mapping, and the line above that the record
        // fits it. Each number is written once, by one thread, before anything reads it.
        unsafe {
            let place = self.map.as_mut_ptr().add(self.place(number));
            place.copy_from_nonoverlapping(record.as_ptr(), record.len());
        }
    }

    #[inline]
    fn read(&self, number: u64) -> &[u8] {
        // SAFETY: `place` asserted that the slot lies in the mapping; all writing of what is read has ended.
        unsafe {
            let place = self.map.as_ptr().add(self.place(number));
            std::slice::from_raw_parts(place, self.record_bytes)
        }
    }

    /// Puts a record on stable storage.
    fn sync(&self, number: u64) -> io::Result<()> {
        self.map.flush_range(self.place(number), self.record_bytes)
    }
}
