//! What a reader gives, item by item, and what it would have to give.

use std::ops::Range;

use maplog::{ErrorKind, Reader, Record, Result};

/// A record, or records that are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Whole(u64, Vec<u8>),
    Lost(Range<u64>),
}

impl Item {
    #[track_caller]
    pub fn of(item: Result<Record<'_>>) -> Item {
        match item {
            Ok(record) => Item::Whole(record.seq(), record.data().to_vec()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
                Item::Lost(error.lost().unwrap_or_else(|| panic!("{error}")))
            }
        }
    }

    fn seqs(&self) -> Range<u64> {
        match self {
            Item::Whole(seq, _) => *seq..*seq + 1,
            Item::Lost(range) => range.clone(),
        }
    }

    fn clipped(&self, to: &Range<u64>) -> Option<Item> {
        let seqs = self.seqs();
        let clipped = seqs.start.max(to.start)..seqs.end.min(to.end);
        if clipped.is_empty() {
            return None;
        }
        Some(match self {
            Item::Whole(..) => self.clone(),
            Item::Lost(_) => Item::Lost(clipped),
        })
    }
}

pub fn items<'r>(iter: impl Iterator<Item = Result<Record<'r>>>) -> Vec<Item> {
    iter.map(Item::of).collect()
}

/// What a walk from the first record to the last gives, by a reader that knows of no place in the log.
pub struct Walk(pub Vec<Item>);

impl Walk {
    pub fn of(fresh: &Reader) -> Walk {
        Walk(items(fresh.iter()))
    }

    pub fn range(&self, range: Range<u64>) -> Vec<Item> {
        let from = self.0.partition_point(|item| item.seqs().end <= range.start);
        let items = self.0[from..].iter().take_while(|item| item.seqs().start < range.end);
        items.filter_map(|item| item.clipped(&range)).collect()
    }

    pub fn lost(&self) -> u64 {
        let lost = self.0.iter().filter(|item| matches!(item, Item::Lost(_)));
        lost.map(|item| item.seqs().end - item.seqs().start).sum()
    }
}

#[track_caller]
pub fn check_get(walk: &Walk, reader: &Reader, seq: u64) {
    let expected = walk.range(seq..seq + 1);
    let found = Vec::from_iter(reader.get(seq).transpose().map(Item::of));
    assert!(found == expected, "get({seq}): {}", differ(&found, &expected));
}

#[track_caller]
pub fn check_range(walk: &Walk, reader: &Reader, range: Range<u64>) {
    let mut expected = walk.range(range.clone());
    let found = items(reader.range(range.clone()));
    assert!(found == expected, "{range:?}: {}", differ(&found, &expected));
    expected.reverse();
    let found = items(reader.range(range.clone()).rev());
    assert!(found == expected, "{range:?} reversed: {}", differ(&found, &expected));
}

/// From both ends, as `random` has it, until they meet.
#[track_caller]
pub fn check_both_ends(
    walk: &Walk,
    reader: &Reader,
    range: Range<u64>,
    random: &mut fastrand::Rng,
) {
    let mut iter = reader.range(range.clone());
    let (mut front, mut back) = (Vec::new(), Vec::new());
    loop {
        let from_front = random.bool();
        let item = if from_front { iter.next() } else { iter.next_back() };
        let Some(item) = item else { break };
        if from_front { front.push(Item::of(item)) } else { back.push(Item::of(item)) }
    }
    assert!(iter.next().is_none() && iter.next_back().is_none());
    front.extend(back.into_iter().rev());
    let expected = walk.range(range.clone());
    assert!(front == expected, "{range:?} from both ends: {}", differ(&front, &expected));
}

/// Where two lists part, without their bytes.
fn differ(found: &[Item], expected: &[Item]) -> String {
    let brief = |item: Option<&Item>| match item {
        Some(Item::Whole(seq, data)) => format!("record {seq} of {} bytes", data.len()),
        Some(Item::Lost(range)) => format!("lost {range:?}"),
        None => "nothing".to_owned(),
    };
    let at = found.iter().zip(expected).take_while(|(one, other)| one == other).count();
    format!("item {at}: found {}, expected {}", brief(found.get(at)), brief(expected.get(at)))
}
