//! Looking at the log in every way there is, beside its twin.

use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use maplog::{ErrorKind, Log, Reader};

use super::Twin;
use crate::support::{everything, read, segments};

/// Readers, and lent records, that are kept to be looked at much later.
const OLD_READERS: usize = 4;
const LENT: usize = 300;

impl Twin {
    pub(super) fn take_a_reader(&mut self) {
        let reader = if self.rng.bool() { self.log().reader() } else { read(self.path()).unwrap() };
        assert_eq!(reader.next_seq(), self.next_seq());
        self.old_readers.push_back((reader, self.records.len()));
        if self.old_readers.len() > OLD_READERS {
            self.old_readers.pop_front();
        }
    }

    pub(super) fn look_at_an_old_reader(&mut self) {
        let Some((mut reader, count)) = self.old_readers.pop_front() else { return };
        compare(&reader, self.first_seq, &self.records[..count]);
        reader.refresh().unwrap();
        compare(&reader, self.first_seq, &self.records);
        self.done.compared += 2;
        let count = self.records.len();
        self.old_readers.push_back((reader, count));
    }

    pub(super) fn point_reads(&mut self) {
        let reader = self.log().reader();
        for _ in 0..3 {
            let index = self.rng.usize(0..self.records.len() + 3);
            let seq = self.first_seq + index as u64;
            let got = reader.get(seq).unwrap();
            assert_eq!(got.map(|record| record.data()), self.records.get(index).map(Vec::as_slice));
            if let Some(record) = got {
                assert_eq!(record.seq(), seq);
                assert!(record.data().as_ptr().addr().is_multiple_of(16));
                if self.lent.len() < LENT {
                    self.lent.push(record.to_shared());
                }
            }
        }
        if let Some(before) = self.first_seq.checked_sub(1) {
            let trimmed = reader.get(before).unwrap_err();
            assert_eq!((trimmed.kind(), trimmed.seq()), (ErrorKind::Trimmed, Some(self.first_seq)));
        }
        let from = self.rng.usize(0..self.records.len() + 2);
        let to = self.rng.usize(0..self.records.len() + 2);
        let until = to.min(self.records.len());
        let expected = self.records.get(from.min(until)..until).unwrap();
        let at = |index: usize| self.first_seq + index as u64;
        let range = (Bound::Included(at(from)), Bound::Excluded(at(to)));
        let got: Vec<_> = reader.range(range).map(|item| item.unwrap().data().to_vec()).collect();
        assert_eq!(got, expected, "{from}..{to}");
        let tail: Vec<_> = reader
            .range((Bound::Excluded(at(from)), Bound::Unbounded))
            .map(Result::unwrap)
            .collect();
        assert_eq!(tail.len(), self.records.len().saturating_sub(from + 1));
        assert!(tail.iter().zip(from + 1..).all(|(record, index)| record.seq() == at(index)));
    }

    pub(super) fn compare_all(&mut self) {
        compare(&self.log().reader(), self.first_seq, &self.records);
        compare(&read(self.path()).unwrap(), self.first_seq, &self.records);
        for lent in &self.lent {
            let index = (lent.seq() - self.first_seq) as usize;
            assert_eq!(lent[..], self.records[index], "lent long ago");
        }
        self.done.compared += 2;
        self.done.rolls = segments(&self.path()).len() - 1;
    }

    pub(super) fn ask_the_handle(&mut self) {
        let log = self.log();
        assert_eq!((log.first_seq(), log.len()), (self.first_seq, self.records.len() as u64));
        assert_eq!(log.is_empty(), self.records.is_empty());
        let durable = log.durable_seq();
        assert!(self.first_seq + self.synced as u64 <= durable && durable <= log.next_seq());
        let stats = log.stats().unwrap();
        let files = with_a_share(&self.path());
        let bytes: u64 = files.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        assert_eq!((stats.segments, stats.bytes), (files.len() as u64, bytes));
        assert_eq!((stats.first_seq, stats.next_seq), (log.first_seq(), log.next_seq()));
        // SAFETY: only this test touches the directory, and only through maplog.
        let again = unsafe { Log::open(self.path()) }.unwrap();
        assert_eq!((again.id(), again.next_seq()), (log.id(), log.next_seq()));
    }
}

/// The segments that hold a part of the log. A record too long for the segments of before is rolled
/// away from a segment that may hold nothing yet; it has no share then.
fn with_a_share(log: &Path) -> Vec<PathBuf> {
    let files = segments(log);
    let bases: Vec<_> = files.iter().map(|file| base_seq(file)).collect();
    let cut_by = |index: usize| bases[index + 1..].iter().any(|base| *base <= bases[index]);
    files
        .into_iter()
        .enumerate()
        .filter(|(index, _)| !cut_by(*index))
        .map(|(_, file)| file)
        .collect()
}

fn base_seq(file: &Path) -> u64 {
    file.file_stem().unwrap().to_str().unwrap().split_once('-').unwrap().0.parse().unwrap()
}

/// A view holds exactly `records`.
pub(super) fn compare(reader: &Reader, first_seq: u64, records: &[Vec<u8>]) {
    let next_seq = first_seq + records.len() as u64;
    assert_eq!((reader.first_seq(), reader.next_seq()), (first_seq, next_seq));
    let all = everything(reader);
    assert!(all.lost.is_empty(), "lost {:?}", all.lost);
    assert_eq!(all.records.len(), records.len());
    for ((seq, data), (index, record)) in all.records.iter().zip(records.iter().enumerate()) {
        assert_eq!(*seq, first_seq + index as u64);
        assert!(data == record, "record {seq} is {} bytes, not {}", data.len(), record.len());
    }
}

/// A view holds a prefix of `records`, at least all that are durable; gives that prefix.
pub(super) fn compare_prefix<'r>(
    reader: &Reader,
    first_seq: u64,
    records: &'r [Vec<u8>],
    durable: u64,
) -> &'r [Vec<u8>] {
    let next_seq = reader.next_seq();
    assert!(durable <= next_seq && next_seq <= first_seq + records.len() as u64);
    let prefix = &records[..(next_seq - first_seq) as usize];
    compare(reader, first_seq, prefix);
    prefix
}
