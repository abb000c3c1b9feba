//! The one line that `maplog append` ends with.

use std::time::{Duration, Instant};

use crate::text::Grouped;

/// Counts what was appended, and for how long.
pub(super) struct Tally {
    since: Instant,
    first_seq: u64,
    next_seq: u64,
    bytes: u64,
}

/// What a power cut does to what was appended.
#[derive(Clone, Copy)]
pub(super) enum Durability {
    Durable,
    NotSynced,
    /// The sync failed.
    Unknown,
}

impl Tally {
    pub(super) fn new(next_seq: u64) -> Self {
        Tally { since: Instant::now(), first_seq: next_seq, next_seq, bytes: 0 }
    }

    #[inline]
    pub(super) fn add(&mut self, seq: u64, bytes: usize) {
        self.next_seq = seq + 1;
        self.bytes += bytes as u64;
    }

    pub(super) fn summary(&self, durability: Durability) -> String {
        let took = self.since.elapsed();
        let records = self.next_seq - self.first_seq;
        let noun = if records == 1 { "record" } else { "records" };
        let rate = records as f64 / took.as_secs_f64().max(1e-9);
        format!(
            "appended {} {noun} ({}..{}), {} bytes in {} ({} records/s), {}",
            Grouped(records),
            self.first_seq,
            self.next_seq,
            Grouped(self.bytes),
            rounded(took),
            Grouped(rate as u64),
            durability.phrase(),
        )
    }
}

impl Durability {
    fn phrase(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::NotSynced => "not synced: a power cut may take them; --sync makes them durable",
            Self::Unknown => "not known to be durable",
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
