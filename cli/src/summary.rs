//! The one line that `maplog append` and `maplog import` end with.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::text::{Grouped, counted};

/// Counts what was appended, and for how long.
pub(crate) struct Tally {
    since: Instant,
    records: u64,
    /// From the first of them to behind the last; records of others may lie between.
    first_seq: u64,
    next_seq: u64,
    bytes: u64,
}

/// What a power cut does to what was appended.
#[derive(Clone, Copy)]
pub(crate) enum Durability {
    Durable,
    /// Only records below this number are known to survive it.
    Below(u64),
    /// The sync failed.
    Unknown,
}

impl Tally {
    pub(crate) fn new(next_seq: u64) -> Self {
        Tally { since: Instant::now(), records: 0, first_seq: next_seq, next_seq, bytes: 0 }
    }

    #[inline]
    pub(crate) fn add(&mut self, seq: u64, bytes: usize) {
        if self.records == 0 {
            self.first_seq = seq;
        }
        self.records += 1;
        self.next_seq = seq + 1;
        self.bytes += bytes as u64;
    }

    /// How the command ends that appended all it was given.
    pub(crate) fn summary(&self, durability: Durability) -> String {
        let took = self.since.elapsed();
        let rate = self.records as f64 / took.as_secs_f64().max(1e-9);
        format!(
            "{}, {} in {} ({} records/s), {}{}",
            self.appended(),
            counted(self.bytes, "byte"),
            rounded(took),
            Grouped(rate as u64),
            self.phrase(durability),
            self.advice(durability),
        )
    }

    /// What stands behind the failure that ended the command.
    pub(crate) fn until_then(&self, durability: Durability) -> String {
        format!("{} until then, {}", self.appended(), self.phrase(durability))
    }

    /// The same for programs.
    pub(crate) fn object(&self, durability: Durability) -> Value {
        let durable = match durability {
            Durability::Durable => json!(true),
            Durability::Below(seq) => json!(seq >= self.next_seq),
            Durability::Unknown => Value::Null,
        };
        json!({
            "appended": self.records,
            "first_seq": self.first_seq,
            "next_seq": self.next_seq,
            "bytes": self.bytes,
            "seconds": self.since.elapsed().as_secs_f64(),
            "durable": durable,
        })
    }

    fn appended(&self) -> String {
        let records = counted(self.records, "record");
        let (first, next) = (self.first_seq, self.next_seq);
        match next - first - self.records {
            0 => format!("appended {records} ({first}..{next})"),
            others => format!("appended {records} ({first}..{next}, {others} of them by others)"),
        }
    }

    fn phrase(&self, durability: Durability) -> String {
        match durability {
            Durability::Durable => "durable".to_owned(),
            Durability::Below(seq) if seq > self.first_seq => format!("synced below {seq}"),
            Durability::Below(_) => "not synced".to_owned(),
            Durability::Unknown => "not known to be durable".to_owned(),
        }
    }

    fn advice(&self, durability: Durability) -> &'static str {
        match durability {
            Durability::Below(seq) if seq > self.first_seq => {
                ": a power cut may take the rest; --sync makes it durable"
            }
            Durability::Below(_) if self.records > 0 => {
                ": a power cut may take them; --sync makes them durable"
            }
            _ => "",
        }
    }
}

fn rounded(took: Duration) -> String {
    match took.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{seconds:.2} s"),
        seconds if seconds >= 1e-3 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{:.0} us", seconds * 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_a_power_cut_may_take() {
        let cases = [
            (5, 9, Durability::Durable, "durable"),
            (
                5,
                9,
                Durability::Below(5),
                "not synced: a power cut may take them; --sync makes them durable",
            ),
            (
                5,
                9,
                Durability::Below(2),
                "not synced: a power cut may take them; --sync makes them durable",
            ),
            (
                5,
                9,
                Durability::Below(7),
                "synced below 7: a power cut may take the rest; --sync makes it durable",
            ),
            (5, 5, Durability::Below(2), "not synced"),
            (5, 9, Durability::Unknown, "not known to be durable"),
        ];
        for (first_seq, next_seq, durability, expected) in cases {
            let records = next_seq - first_seq;
            let tally = Tally { records, first_seq, next_seq, ..Tally::new(0) };
            let summary = tally.summary(durability);
            assert!(summary.ends_with(&format!(" records/s), {expected}")), "{summary}");
        }
    }

    #[test]
    fn the_line_tells_own_records_from_those_of_others_between_them() {
        let mut tally = Tally::new(3);
        [4, 5, 9].into_iter().for_each(|seq| tally.add(seq, 1));
        assert_eq!(tally.appended(), "appended 3 records (4..10, 3 of them by others)");
    }
}
