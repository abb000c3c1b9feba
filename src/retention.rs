//! How much of a log is kept, and from which record on: pure.
//!
//! Does not know: segments, how records are dropped.

use std::time::{Duration, Instant};

use crate::create::now_nanos;

/// How much of a log is kept; nothing is dropped by default. Whole segments are, the oldest first, and never
/// the one that appends go to: so up to a segment more is kept than is said here.
///
/// ```
/// use std::time::Duration;
/// use maplog::{Log, Retention};
///
/// let week = Duration::from_secs(7 * 24 * 60 * 60);
/// let options = Log::options().retention(Retention::default().max_bytes(1 << 30).max_age(week));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Retention {
    max_bytes: Option<u64>,
    max_segments: Option<u64>,
    max_age: Option<Duration>,
}

impl Retention {
    /// Drops the oldest while the segments' files are larger than this altogether, in bytes.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Drops the oldest while there are more segments than this.
    pub fn max_segments(mut self, segments: u64) -> Self {
        self.max_segments = Some(segments);
        self
    }

    /// Drops segments all of whose records are older than this.
    ///
    /// The age is that of the segment made next, by the wall clock when the log was opened and the time that
    /// passed since. So a clock that is set while the log is open changes nothing, and one that stood in the
    /// future for a while keeps nothing for ever; one that stands in the future when the log is opened drops
    /// what is not that old.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    pub(crate) fn is_set(&self) -> bool {
        *self != Retention::default()
    }

    /// Whether it matters when segments were made.
    pub(crate) fn asks_age(&self) -> bool {
        self.max_age.is_some()
    }
}

/// The wall clock when it was made, and what passed since.
pub(crate) struct Clock {
    nanos: u64,
    then: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Clock { nanos: now_nanos(), then: Instant::now() }
    }

    pub(crate) fn now_nanos(&self) -> u64 {
        let passed = u64::try_from(self.then.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanos.saturating_add(passed)
    }
}

/// A segment that may be dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) end_seq: u64,
    pub(crate) bytes: u64,
    /// When the segment behind it was made, or any later one.
    pub(crate) closed_nanos: u64,
}

/// Behind the last of the `candidates`, the oldest first, that is to be dropped. `all` counts segments and
/// bytes, of those that are not candidates too.
pub(crate) fn kept_from(
    retention: &Retention,
    candidates: &[Candidate],
    all: (u64, u64),
    now_nanos: u64,
) -> Option<u64> {
    let (mut segments, mut bytes) = all;
    let mut kept = None;
    for candidate in candidates {
        let age = Duration::from_nanos(now_nanos.saturating_sub(candidate.closed_nanos));
        let goes = retention.max_bytes.is_some_and(|max| bytes > max)
            || retention.max_segments.is_some_and(|max| segments > max)
            || retention.max_age.is_some_and(|max| age > max);
        if !goes {
            break;
        }
        (segments, bytes) = (segments - 1, bytes - candidate.bytes);
        kept = Some(candidate.end_seq);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn candidates(closed_seconds: &[u64]) -> Vec<Candidate> {
        let one = |(end_seq, closed): (u64, &u64)| Candidate {
            end_seq,
            bytes: 100,
            closed_nanos: closed * SECOND,
        };
        (10..).step_by(10).zip(closed_seconds).map(one).collect()
    }

    #[test]
    fn each_limit_drops_the_oldest_and_no_more_than_it_must() {
        let segments = candidates(&[1000, 1010, 1020, 1030]);
        let kept = |retention: Retention| kept_from(&retention, &segments, (5, 500), 1035 * SECOND);
        let none = Retention::default();
        assert_eq!(kept(none), None);
        for (max, expected) in [(500, None), (499, Some(10)), (300, Some(20)), (0, Some(40))] {
            assert_eq!(kept(none.max_bytes(max)), expected, "{max} bytes");
        }
        for (max, expected) in [(5, None), (4, Some(10)), (2, Some(30)), (0, Some(40))] {
            assert_eq!(kept(none.max_segments(max)), expected, "{max} segments");
        }
        for (age, expected) in [(35, None), (34, Some(10)), (15, Some(20)), (4, Some(40))] {
            let age = Duration::from_secs(age);
            assert_eq!(kept(none.max_age(age)), expected, "{age:?}");
        }
        let both = none.max_segments(4).max_age(Duration::from_secs(15));
        assert_eq!(kept(both), Some(20), "whichever drops more");
    }

    /// Attack 34: the clock stood in 2099 while some segments were made. Those before them go all the
    /// same, and none goes before its time when the clock is back.
    #[test]
    fn attack_34_a_clock_that_jumped_keeps_nothing_for_ever() {
        // As `first_kept` has them: the earliest of all made later.
        let segments = candidates(&[1000, 1010, 1010, 1020]);
        let week = Retention::default().max_age(Duration::from_secs(100));
        assert_eq!(kept_from(&week, &segments, (5, 500), 1050 * SECOND), None);
        assert_eq!(kept_from(&week, &segments, (5, 500), 1111 * SECOND), Some(30));
        // A clock before 1970, or before them all.
        assert_eq!(kept_from(&week, &segments, (5, 500), 0), None);
    }
}
