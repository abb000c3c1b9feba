//! Records whose every byte is known, and the proof that all came back.

use std::time::{Duration, Instant};

/// Each record starts with its number; which of some bodies follows depends on the number too.
#[derive(Clone)]
pub struct Maker {
    ready: Vec<Box<[u8]>>,
}

const NUMBER_BYTES: usize = 8;
const BODIES: u64 = 16;

impl Maker {
    pub fn new(size: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(size as u64);
        let body = |_| (0..size).map(|_| random.u8(..)).collect();
        Maker { ready: (0..BODIES).map(body).collect() }
    }

    #[inline]
    pub fn number(&mut self, number: u64) -> &[u8] {
        let record = &mut self.ready[(number % BODIES) as usize];
        record[..NUMBER_BYTES].copy_from_slice(&number.to_le_bytes());
        record
    }
}

#[inline]
pub fn number_of(record: &[u8]) -> u64 {
    let number = record[..NUMBER_BYTES].try_into().expect("eight bytes");
    u64::from_le_bytes(number)
}

/// Records of consecutive numbers, until there were enough or the time is up: the slowest would else
/// take minutes over what the fastest do in milliseconds.
pub struct Feed {
    maker: Maker,
    next: u64,
    end: u64,
    until: Instant,
}

const LONGEST: Duration = Duration::from_millis(800);
/// Between two looks at the clock.
const UNTIMED: u64 = 64;

impl Feed {
    /// Numbers from `first`, at most `count`; never less than one.
    pub fn new(maker: &Maker, first: u64, count: u64) -> Self {
        Feed {
            maker: maker.clone(),
            next: first,
            end: first + count,
            until: Instant::now() + LONGEST,
        }
    }

    /// The number after that of the last record given.
    pub fn given(&self) -> u64 {
        self.next
    }

    /// All of them, however long it takes.
    pub fn patient(mut self) -> Self {
        self.until += Duration::from_secs(600);
        self
    }
}

impl Feed {
    /// The next record, until the one after it is asked for: the number is written into the same bytes.
    #[inline]
    pub fn next(&mut self) -> Option<&[u8]> {
        if self.next == self.end {
            return None;
        }
        let number = self.next;
        if number % UNTIMED == UNTIMED - 1 && Instant::now() > self.until {
            self.end = self.next;
            return None;
        }
        self.next += 1;
        Some(self.maker.number(number))
    }
}

/// The same in batches, made beforehand but for the numbers.
pub struct Batches {
    feed: Feed,
    ready: Vec<Vec<u8>>,
}

pub const BATCH: usize = 100;

impl Batches {
    /// `count` is a number of batches.
    pub fn new(maker: &Maker, count: u64) -> Self {
        let mut feed = Feed::new(maker, 0, count * BATCH as u64);
        // After so many the bodies come in the same order again.
        let period = (BATCH as u64 * BODIES) / 4;
        let ready = (0..period).map(|number| feed.maker.number(number).to_vec()).collect();
        Batches { feed, ready }
    }

    /// The next batch, and whole batches only.
    #[inline]
    pub fn next(&mut self) -> Option<Vec<&[u8]>> {
        let feed = &mut self.feed;
        if feed.next == feed.end || Instant::now() > feed.until {
            return None;
        }
        let first = feed.next as usize % self.ready.len();
        let batch = &mut self.ready[first..first + BATCH];
        for record in &mut *batch {
            record[..NUMBER_BYTES].copy_from_slice(&feed.next.to_le_bytes());
            feed.next += 1;
        }
        Some(batch.iter().map(Vec::as_slice).collect())
    }

    pub fn given(&self) -> u64 {
        self.feed.next
    }
}

/// What reading came to, in the fewest instructions that touch both ends of each record. The order does
/// not matter: threads mix theirs, and one peer reads backwards.
#[derive(Clone, Copy, Default)]
pub struct Walk {
    pub records: u64,
    numbers: u64,
    ends: u64,
}

impl Walk {
    #[inline]
    pub fn add(&mut self, record: &[u8]) {
        self.records += 1;
        self.numbers = self.numbers.wrapping_add(number_of(record));
        self.ends += u64::from(record[record.len() - 1]);
    }

    /// Of the records of these numbers, appended by nobody.
    pub fn of(maker: &mut Maker, numbers: impl Iterator<Item = u64>) -> Self {
        let mut walk = Walk::default();
        numbers.for_each(|number| walk.add(maker.number(number)));
        walk
    }

    pub fn assert_is(&self, other: &Walk) {
        assert_eq!(self.records, other.records, "records that were read");
        assert!(self.numbers == other.numbers && self.ends == other.ends, "other records");
    }
}

/// The whole content: every record is compared with what was appended under its number, and none comes
/// twice or is missing.
pub struct Check {
    maker: Maker,
    seen: Vec<Vec<bool>>,
}

/// A thread's numbers start at its own multiple of this.
pub const THREAD: u64 = 1 << 40;

impl Check {
    /// Numbers that are expected: for each thread how many.
    pub fn new(maker: &Maker, counts: &[u64]) -> Self {
        let seen = counts.iter().map(|count| vec![false; *count as usize]).collect();
        Check { maker: maker.clone(), seen }
    }

    pub fn take(&mut self, record: &[u8]) {
        let number = number_of(record);
        assert!(record == self.maker.number(number), "the bytes of record {number}");
        let (thread, place) = (number / THREAD, number % THREAD);
        let seen = self.seen.get_mut(thread as usize).and_then(|seen| seen.get_mut(place as usize));
        let seen = seen.unwrap_or_else(|| panic!("record {number} was never appended"));
        assert!(!*seen, "record {number} came twice");
        *seen = true;
    }

    pub fn finish(self) {
        let missing = self.seen.iter().flatten().filter(|seen| !**seen).count();
        assert_eq!(missing, 0, "records that never came back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: u64 = 100;

    /// Reads `numbers` back where `COUNT` records were appended.
    fn check(numbers: impl Iterator<Item = u64>, change: impl Fn(&mut Vec<u8>)) {
        let mut maker = Maker::new(64);
        let mut check = Check::new(&maker, &[COUNT]);
        for number in numbers {
            let mut record = maker.number(number).to_vec();
            change(&mut record);
            check.take(&record);
        }
        check.finish();
    }

    #[test]
    fn all_records_in_any_order_are_right() {
        check((0..COUNT).rev(), |_| {});
    }

    #[test]
    #[should_panic(expected = "records that never came back")]
    fn a_dropped_record_is_found() {
        check((0..COUNT).filter(|number| *number != 57), |_| {});
    }

    #[test]
    #[should_panic(expected = "record 57 came twice")]
    fn a_doubled_record_is_found() {
        check((0..COUNT).chain([57]), |_| {});
    }

    #[test]
    #[should_panic(expected = "record 100 was never appended")]
    fn an_invented_record_is_found() {
        check(0..COUNT + 1, |_| {});
    }

    #[test]
    #[should_panic(expected = "the bytes of record 0")]
    fn a_flipped_bit_is_found() {
        check(0..COUNT, |record| record[40] ^= 1);
    }

    #[test]
    #[should_panic(expected = "the bytes of record 0")]
    fn a_short_record_is_found() {
        check(0..COUNT, |record| record.truncate(63));
    }

    #[test]
    #[should_panic(expected = "records that were read")]
    fn a_walk_that_misses_a_record_is_found() {
        let mut maker = Maker::new(64);
        let short = Walk::of(&mut maker, 0..COUNT - 1);
        short.assert_is(&Walk::of(&mut maker, 0..COUNT));
    }
}
