//! Records that nobody told of: what workers had done when they died, and had no time to tell.

use super::Twin;
use crate::torture::plan::{Id, Op};
use crate::torture::stop::{Found, Stop, loss};

/// Steps of each worker among which the source of a record is looked for.
const SEARCHED: u64 = 20_000;

impl Twin {
    /// Finds out what the records before `end`, that nobody told of, are: what was under way when workers
    /// died.
    pub(super) fn explain(&mut self, end: u64, untold: &mut Vec<Vec<u8>>, first: u64) -> Found {
        let start = end - untold.len() as u64;
        let (mut under_way, mut ids) = (self.under_way.clone(), Vec::new());
        if !self.place(untold, start, start == first, &mut under_way, &mut ids) {
            return self.unexplained(start, untold);
        }
        for (seq, id) in (start..).zip(ids) {
            self.records[seq as usize] = Some(id);
        }
        self.under_way = under_way;
        untold.clear();
        Ok(())
    }

    /// Tries to make the records from `start` on of what was under way. Short records look alike, so it may
    /// have to try again. The records of one thing stand next to each other; of the first of the log, others may
    /// have been trimmed.
    fn place(
        &self,
        untold: &[Vec<u8>],
        start: u64,
        is_first: bool,
        under_way: &mut Vec<(Id, Option<u64>)>,
        ids: &mut Vec<Id>,
    ) -> bool {
        let placed = ids.len();
        let (seq, rest) = (start + placed as u64, &untold[placed..]);
        if rest.is_empty() {
            return true;
        }
        for at in 0..under_way.len() {
            let (id, last) = under_way[at];
            if last.is_some_and(|last| last + 1 != seq) {
                continue;
            }
            let op = self.plan.op(id.worker, id.number);
            let lens = self.plan.lens(id.worker, id.number);
            let latest = if is_first && placed == 0 { lens.len() as u32 } else { id.index + 1 };
            for index in id.index..latest {
                let of_it = (index..).map(|index| Id { index, ..id }).zip(&lens[index as usize..]);
                let fits = |((id, len), data): &((Id, &usize), &Vec<u8>)| {
                    **len == data.len() && self.bytes(*id) == **data
                };
                let most = of_it.zip(rest).take_while(fits).count();
                let is_whole = index as usize + most == lens.len();
                // A batch is there with its end; a run that its worker did not finish may end anywhere.
                let least = if matches!(op, Op::Run(_)) { 1 } else { most };
                if most == 0 || !(is_whole || matches!(op, Op::Run(_))) {
                    continue;
                }
                for count in (least..=most).rev() {
                    let end = index + count as u32;
                    ids.extend((index..end).map(|index| Id { index, ..id }));
                    under_way[at] = (Id { index: end, ..id }, Some(seq + count as u64 - 1));
                    if self.place(untold, start, is_first, under_way, ids) {
                        return true;
                    }
                    ids.truncate(placed);
                    under_way[at] = (id, last);
                }
            }
        }
        false
    }

    fn unexplained(&self, start: u64, untold: &[Vec<u8>]) -> Found {
        match untold {
            [one] => self.not_expected(start, one),
            all => self.not_expected(start, &all[0]).map_err(|stop| match stop {
                Stop::Loss(sentence) => {
                    let end = start + all.len() as u64;
                    Stop::Loss(format!("records {start}..{end} cannot all be there: {sentence}"))
                }
                failure => failure,
            }),
        }
    }

    /// A record that nobody told of and nobody can have been about to send. Looks for who made it, which helps
    /// to find out why.
    pub(super) fn not_expected<T>(&self, seq: u64, data: &[u8]) -> Found<T> {
        let made_by = |worker, number| {
            let lens = self.plan.lens(worker, number);
            let ids = (0..lens.len()).map(|index| Id { worker, number, index: index as u32 });
            ids.zip(lens)
                .find(|(id, len)| *len == data.len() && self.plan.payload(*id, *len) == data)
        };
        let steps = (0..8).flat_map(|worker| (0..SEARCHED).map(move |number| (worker, number)));
        let source =
            match steps.map(|(worker, number)| made_by(worker, number)).find(Option::is_some) {
                Some(Some((id, _))) => format!("{id:?}, told or known to be gone before"),
                _ => "nobody, ever".to_owned(),
            };
        loss(format!("record {seq} ({} bytes) was not to be there; it is of {source}", data.len()))
    }
}
