//! Which records a consumer is done with: pure.

use std::collections::BTreeMap;
use std::ops::Range;

/// All records below a number, and some beyond.
#[derive(Debug)]
pub(super) struct Done {
    /// The lowest that is not done.
    below: u64,
    /// Ranges, by their starts, that are done; apart from one another, and from `below`.
    beyond: BTreeMap<u64, u64>,
}

impl Done {
    pub(super) fn below(seq: u64) -> Self {
        Done { below: seq, beyond: BTreeMap::new() }
    }

    pub(super) fn lowest_open(&self) -> u64 {
        self.below
    }

    /// These are done too. Cost: logarithmic in the number of gaps.
    pub(super) fn add(&mut self, range: Range<u64>) {
        let Range { mut start, mut end } = range;
        if start >= end {
            return;
        }
        if let Some((&before, &to)) = self.beyond.range(..=start).next_back()
            && to >= start
        {
            (start, end) = (before, end.max(to));
        }
        while let Some((&next, &to)) = self.beyond.range(start..=end).next() {
            end = end.max(to);
            self.beyond.remove(&next);
        }
        match start <= self.below {
            true => self.below = self.below.max(end),
            false => drop(self.beyond.insert(start, end)),
        }
    }

    /// From `seq` on numbers mean other records.
    pub(super) fn cut(&mut self, seq: u64) {
        self.below = self.below.min(seq);
        self.beyond.split_off(&seq);
        if let Some(mut last) = self.beyond.last_entry() {
            let end = (*last.get()).min(seq);
            last.insert(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beside a set of numbers, at random.
    #[test]
    fn it_knows_what_a_set_knows() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..2000 {
            let first = random.u64(0..4);
            let mut done = Done::below(first);
            let mut twin: Vec<bool> = (0..64).map(|seq| seq < first).collect();
            for _ in 0..random.usize(0..20) {
                let (from, to) = (random.usize(0..60), random.usize(0..60));
                match random.u8(0..6) {
                    0 => {
                        done.cut(from as u64);
                        twin[from..].fill(false);
                    }
                    1 => {
                        done.add(0..from as u64);
                        twin[..from].fill(true);
                    }
                    2 => {
                        done.add(from as u64..to as u64);
                        (from..to).for_each(|seq| twin[seq] = true);
                    }
                    _ => {
                        done.add(from as u64..from as u64 + 1);
                        twin[from] = true;
                    }
                }
                let lowest = twin.iter().position(|done| !done).unwrap() as u64;
                assert_eq!(done.lowest_open(), lowest);
                let mut known: Vec<bool> = (0..64).map(|seq| seq < lowest).collect();
                let mut last = lowest;
                for (start, end) in &done.beyond {
                    assert!(*start > last && end > start, "ranges that touch are one");
                    known[*start as usize..*end as usize].fill(true);
                    last = *end;
                }
                assert_eq!(known, twin);
            }
        }
    }
}
