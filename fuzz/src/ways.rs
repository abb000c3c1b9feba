//! All ways to a record lead to the same: asking for it, with nothing known of where it is or with much, going
//! backwards, by ranges, by bisection, and following. The forward walk is the truth here, which the second reader judges.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::Range;

use maplog::{Reader, Tail};

use crate::judge::{Everything, Oddities, assert_is_somewhere, check_item};
use crate::second::script::Files;

/// Every number is asked for, or so many of them.
const MOST_GETS: usize = 64;
const RANGES: usize = 4;

/// What a log's files let be said of a way that does not meet all frames.
pub struct Ways<'a> {
    /// What the walk gave.
    pub all: &'a Everything,
    pub files: &'a Files,
    /// The frames are as a log has them; else who comes from elsewhere may see other ones, but none that is in no file.
    pub in_order: bool,
    /// What was found in a file.
    found: RefCell<HashSet<(u64, Vec<u8>)>>,
}

impl<'a> Ways<'a> {
    pub fn new(all: &'a Everything, files: &'a Files, odd: Oddities) -> Self {
        let in_order = !odd.any() && !odd.out_of_order;
        Ways { all, files, in_order, found: RefCell::default() }
    }

    fn assert_is_somewhere(&self, seq: u64, data: &[u8]) {
        let mut found = self.found.borrow_mut();
        if found.insert((seq, data.to_vec())) {
            assert_is_somewhere(self.files, seq, data);
        }
    }

    /// `open` gives a reader of this log that knows nothing yet.
    pub fn check(&self, open: impl Fn() -> Reader) {
        let numbers = self.numbers();
        let cold = open();
        // From both ends to the middle: far from what is known, and between two things that are.
        for index in 0..numbers.len() {
            let from_end = numbers.len() - 1 - index / 2;
            self.check_get(&cold, numbers[if index % 2 == 0 { from_end } else { index / 2 }]);
        }
        self.check_partition(&cold, &numbers);
        self.check_ranges(&open(), &numbers);
        self.check_backwards(&open());

        let warm = open();
        warm.iter().for_each(drop);
        numbers.iter().for_each(|seq| self.check_get(&warm, *seq));
        self.check_ranges(&warm, &numbers);
        self.check_backwards(&warm);
        self.check_both_ends(&warm);
    }

    /// Those of records and those on both sides of where one is lost.
    fn numbers(&self) -> Vec<u64> {
        let Everything { first_seq, next_seq, records, lost, .. } = self.all;
        let edges = lost.iter().flat_map(|lost| {
            [lost.start.saturating_sub(1), lost.start, lost.end.saturating_sub(1), lost.end]
        });
        let mut numbers: Vec<u64> = records.iter().map(|record| record.0).chain(edges).collect();
        numbers.extend([*first_seq, next_seq.saturating_sub(1)]);
        numbers.retain(|seq| (*first_seq..*next_seq).contains(seq));
        numbers.sort_unstable();
        numbers.dedup();
        let step = numbers.len().div_ceil(MOST_GETS).max(1);
        numbers.into_iter().step_by(step).collect()
    }

    /// `seq` is one of the reader's view, or the one behind it.
    pub fn check_get(&self, reader: &Reader, seq: u64) {
        let found = self.all.records.binary_search_by_key(&seq, |record| record.0);
        match (reader.get(seq), found) {
            (Ok(None), Err(_)) if seq >= self.all.next_seq => {}
            (Ok(Some(record)), Ok(index)) if self.in_order => {
                assert_eq!(record.data(), self.all.records[index].1, "record {seq}");
            }
            (Ok(Some(record)), _) if !self.in_order => {
                self.assert_is_somewhere(seq, record.data());
            }
            (Err(error), found) if found.is_err() || !self.in_order => match error.lost() {
                Some(lost) => {
                    assert_eq!(lost, seq..seq + 1);
                    let is_lost = self.all.lost.iter().any(|range| range.contains(&seq));
                    assert!(is_lost || !self.in_order, "{seq} is lost only when asked for");
                }
                None => assert!(self.all.refused.contains(&error.kind()), "{error}"),
            },
            (got, found) => panic!("record {seq} is {found:?} to the walk, and asked for {got:?}"),
        }
    }

    fn check_ranges(&self, reader: &Reader, numbers: &[u64]) {
        for part in 0..RANGES.min(numbers.len()) {
            let place = |parts| numbers[(numbers.len() - 1) * parts / (2 * RANGES)];
            let range = place(part + 1)..place(2 * RANGES - part).saturating_add(1);
            let got = collected(reader.range(range.clone()), range.clone());
            self.assert_part(got, range, "a range");
        }
    }

    fn check_backwards(&self, reader: &Reader) {
        let range = self.all.first_seq..self.all.next_seq;
        self.assert_part(reversed(reader.iter().rev(), range.clone()), range, "backwards");
    }

    /// From both ends in turn.
    fn check_both_ends(&self, reader: &Reader) {
        let mut iter = reader.iter();
        let range = self.all.first_seq..self.all.next_seq;
        let (mut front, mut back) = (Vec::new(), Vec::new());
        while let Some(item) = iter.next() {
            front.push(item);
            let Some(item) = iter.next_back() else { break };
            back.push(item);
        }
        let all = collected(front.into_iter().chain(back.into_iter().rev()), range.clone());
        // A segment that is refused may be so at both ends.
        if self.all.refused.is_empty() {
            self.assert_part(all, range, "from both ends");
        }
    }

    fn assert_part(&self, got: Everything, range: Range<u64>, what: &str) {
        let Everything { records, lost, refused, .. } = self.all;
        if !self.in_order {
            for (seq, data) in &got.records {
                assert!(range.contains(seq));
                self.assert_is_somewhere(*seq, data);
            }
            if got.refused.is_empty() {
                got.check_complete();
            }
            return;
        }
        let place = |seq| records.partition_point(|record| record.0 < seq);
        assert_eq!(got.records, records[place(range.start)..place(range.end)], "{what} {range:?}");
        let clipped = lost.iter().map(|lost| lost.start.max(range.start)..lost.end.min(range.end));
        let clipped: Vec<_> = clipped.filter(|lost| !lost.is_empty()).collect();
        assert_eq!(got.lost, clipped, "{what} {range:?}: the numbers that are lost");
        let is_whole = range == (self.all.first_seq..self.all.next_seq);
        let right = got.refused.iter().all(|kind| refused.contains(kind));
        assert!(right && (!is_whole || got.refused.len() == refused.len()), "{what}: refused");
    }

    fn check_partition(&self, reader: &Reader, numbers: &[u64]) {
        let Everything { first_seq, records, refused, .. } = self.all;
        if !refused.is_empty() || !self.in_order {
            return;
        }
        for seq in numbers.iter().step_by(1 + numbers.len() / 4) {
            let got = reader.partition_point(|record| record.seq() < *seq).unwrap();
            let before = records.partition_point(|record| record.0 < *seq);
            let last = before.checked_sub(1).map_or(*first_seq, |index| records[index].0 + 1);
            assert_eq!(got, last, "the first record that is not below {seq}");
        }
    }

    /// Following from the first record on gives what the walk gave, and no more, if the log ends where that did: a
    /// live page that lies sends who follows elsewhere than who walks.
    pub fn check_tail(&self, reader: &Reader, ends_there: bool) {
        let Everything { first_seq, next_seq, records, lost, refused } = self.all;
        let mut tail = reader.tail_from(*first_seq);
        let got = followed(&mut tail, *first_seq);
        if !self.in_order || !ends_there {
            got.records.iter().for_each(|(seq, data)| self.assert_is_somewhere(*seq, data));
            return;
        }
        assert_eq!(&got.refused, refused, "followed: what is refused");
        assert_eq!(got.next_seq, *next_seq, "followed: the log's end");
        assert_eq!(&got.records, records, "followed");
        assert_eq!(&got.lost, lost, "followed: the numbers that are lost");
    }
}

fn collected<'r>(
    items: impl Iterator<Item = maplog::Result<maplog::Record<'r>>>,
    range: Range<u64>,
) -> Everything {
    let mut all =
        Everything { first_seq: range.start, next_seq: range.end, ..Everything::default() };
    items.for_each(|item| check_item(&mut all, item));
    all
}

/// What comes backwards, put into order.
fn reversed<'r>(
    items: impl Iterator<Item = maplog::Result<maplog::Record<'r>>>,
    range: Range<u64>,
) -> Everything {
    let mut items: Vec<_> = items.collect();
    items.reverse();
    collected(items.into_iter(), range)
}

fn followed(tail: &mut Tail, first_seq: u64) -> Everything {
    let mut all = Everything { first_seq, ..Everything::default() };
    loop {
        let done = match tail.try_recv() {
            Ok(None) => true,
            Ok(Some(record)) => {
                check_item(&mut all, Ok(record));
                false
            }
            Err(error) => {
                let stays = error.lost().is_none();
                check_item(&mut all, Err(error));
                stays
            }
        };
        if done {
            all.next_seq = tail.next_seq();
            return all;
        }
    }
}
