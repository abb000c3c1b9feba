//! How fast something is, and how long each call of it takes.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::Failure;

/// Longer than this a call is not told apart.
const LONGEST_NANOS: u64 = 100_000_000_000;
const DIGITS: u8 = 3;

/// What was measured of one way.
pub(super) struct Times {
    calls: Histogram<u64>,
    records: u64,
    spent: Duration,
}

/// How much of it is done at once: for so long, and no more calls than that.
#[derive(Clone, Copy)]
pub(super) struct Round {
    pub(super) time: Duration,
    pub(super) calls: u64,
    /// Records of a call.
    pub(super) records: u64,
    /// Calls between two looks at the clock while the rate is taken.
    pub(super) stride: u64,
}

impl Times {
    pub(super) fn new() -> Self {
        let calls = Histogram::new_with_bounds(1, LONGEST_NANOS, DIGITS);
        let calls = calls.unwrap_or_else(|_| unreachable!("the bounds are constants in order"));
        Times { calls, records: 0, spent: Duration::ZERO }
    }

    pub(super) fn note(&mut self, took: Duration) {
        self.calls.saturating_record(took.as_nanos() as u64);
    }

    pub(super) fn note_rate(&mut self, records: u64, spent: Duration) {
        self.records += records;
        self.spent += spent;
    }

    pub(super) fn join(&mut self, other: &Times) {
        // Both have the same bounds.
        let _never_fails = self.calls.add(&other.calls);
        self.note_rate(other.records, other.spent);
    }

    /// One half of the round for the rate, the other for the times of calls; each call is told how many
    /// there were before. Gives how many there were.
    #[inline]
    pub(super) fn drive(
        &mut self,
        round: Round,
        mut call: impl FnMut(u64) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let mut done = 0;
        let begun = Instant::now();
        let half = (round.calls / 2).max(1);
        while done < half && (done % round.stride != 0 || begun.elapsed() < round.time / 2) {
            call(done)?;
            done += 1;
        }
        self.note_rate(done * round.records, begun.elapsed());
        let begun = Instant::now();
        let mut last = begun;
        while done < round.calls.max(half + 1) && last - begun < round.time / 2 {
            call(done)?;
            done += 1;
            let now = Instant::now();
            self.note(now - last);
            last = now;
        }
        Ok(done)
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.len()
    }

    pub(super) fn records_per_second(&self) -> Option<f64> {
        let seconds = self.spent.as_secs_f64();
        (self.records > 0 && seconds > 0.0).then(|| self.records as f64 / seconds)
    }

    /// Nanoseconds that so great a part of the calls did not exceed, of 1; 1 for all.
    pub(super) fn nanos(&self, part: f64) -> u64 {
        self.calls.value_at_quantile(part)
    }
}

/// What a look at the clock costs, in nanoseconds; it is in each time of a call.
pub(super) fn clock_nanos() -> u64 {
    const LOOKS: u32 = 100_000;
    let begun = Instant::now();
    for _ in 0..LOOKS {
        std::hint::black_box(Instant::now());
    }
    (begun.elapsed() / LOOKS).as_nanos() as u64
}
