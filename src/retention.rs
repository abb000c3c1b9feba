//! How much of a log is kept, and from which record on: pure.
//!
//! Does not know: segments, how records are dropped.

use std::time::{Duration, Instant};

use crate::create::now_nanos;

/// How much of a log is kept; nothing is dropped by default. Whole segments are, the oldest first, and never
/// the one that appends go to: so up to a segment more is kept than is said here.
///
/// Limits say what goes; [consumers](Self::not_past) hold what they were not given or did not acknowledge.
///
/// ```
/// use std::time::Duration;
/// use maplog::{Log, Retention};
///
/// let week = Duration::from_secs(7 * 24 * 60 * 60);
/// let options = Log::options().retention(Retention::default().max_bytes(1 << 30).max_age(week));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Retention {
    max_bytes: Option<u64>,
    max_segments: Option<u64>,
    max_age: Option<Duration>,
    guards: Vec<Guard>,
}

/// A consumer that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Guard {
    /// `None` for each of the log's consumers.
    pub(crate) consumer: Option<String>,
    /// For more than this nobody is waited for.
    pub(crate) at_most_bytes: u64,
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
    /// The age is that of the segment made next, by the wall clock, or by what it was when the log was opened
    /// and the time that passed since, whichever says younger. So a clock that is set while the log is open, or
    /// between two processes' openings, drops nothing early: what is there is kept longer by as much at most.
    /// One that stood in the future for a while keeps nothing for ever; one that stands in the future when the log
    /// is opened, and goes on to, drops what is not that old.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Drops nothing that the consumer has not [acknowledged](crate::Consumer::ack), as long as the segments'
    /// files are no larger than `at_most_bytes` altogether; the oldest go while they are, acknowledged or not. So a
    /// consumer that stands still cannot fill the disk.
    ///
    /// A consumer that does not exist has acknowledged nothing; a name that none can have is refused by opening. What was acknowledged is on stable storage
    /// before it is dropped. With `max_bytes(0)` all goes as soon as it was acknowledged.
    pub fn not_past(self, consumer: &str, at_most_bytes: u64) -> Self {
        self.guarded(Guard { consumer: Some(consumer.to_owned()), at_most_bytes })
    }

    /// As [`not_past`](Self::not_past), for every consumer that the log has then.
    pub fn not_past_any(self, at_most_bytes: u64) -> Self {
        self.guarded(Guard { consumer: None, at_most_bytes })
    }

    fn guarded(mut self, guard: Guard) -> Self {
        self.guards.push(guard);
        self
    }

    pub(crate) fn is_set(&self) -> bool {
        *self != Retention::default()
    }

    pub(crate) fn guards(&self) -> &[Guard] {
        &self.guards
    }

    /// Whether it matters when segments were made.
    pub(crate) fn asks_age(&self) -> bool {
        self.max_age.is_some()
    }
}

/// The wall clock, or what it was when this was made and the time that passed since: the earlier of both.
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
        self.nanos.saturating_add(passed).min(now_nanos())
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

/// A consumer, the record that it goes on with, and up to how many bytes of segments it is waited for.
#[derive(Clone, Debug)]
pub(crate) struct Waited {
    pub(crate) consumer: String,
    pub(crate) seq: u64,
    pub(crate) at_most_bytes: u64,
}

/// What retention came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Behind the last segment that is to be dropped, if any is.
    pub(crate) from: Option<u64>,
    /// What else would be, but for this consumer.
    pub(crate) held: Option<Held>,
}

/// Space that retention would give back if a consumer had come further.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Held {
    /// The consumer's name. If others hold some of it, too, the one furthest behind.
    pub consumer: String,
    /// The record that it goes on with.
    pub next_seq: u64,
    /// Bytes of segment files.
    pub bytes: u64,
}

/// Which of the `candidates`, the oldest first, are dropped. `all` counts segments and bytes, of those
/// that are not candidates too.
pub(crate) fn kept_from(
    retention: &Retention,
    candidates: &[Candidate],
    all: (u64, u64),
    now_nanos: u64,
    waited: &[Waited],
) -> Kept {
    let (mut segments, mut bytes) = all;
    let mut kept = Kept::default();
    for candidate in candidates {
        let age = Duration::from_nanos(now_nanos.saturating_sub(candidate.closed_nanos));
        let goes = retention.max_bytes.is_some_and(|max| bytes > max)
            || retention.max_segments.is_some_and(|max| segments > max)
            || retention.max_age.is_some_and(|max| age > max)
            || waited.iter().any(|waited| bytes > waited.at_most_bytes);
        if !goes {
            break;
        }
        let holds =
            |waited: &&Waited| waited.seq < candidate.end_seq && bytes <= waited.at_most_bytes;
        let holder = waited.iter().filter(holds).min_by_key(|waited| waited.seq);
        match (&mut kept.held, holder) {
            (Some(held), _) => held.bytes += candidate.bytes,
            (None, Some(Waited { consumer, seq: next_seq, .. })) => {
                let (consumer, next_seq) = (consumer.clone(), *next_seq);
                kept.held = Some(Held { consumer, next_seq, bytes: candidate.bytes });
            }
            (None, None) => kept.from = Some(candidate.end_seq),
        }
        (segments, bytes) = (segments - 1, bytes - candidate.bytes);
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
        let kept = |retention: Retention| {
            kept_from(&retention, &segments, (5, 500), 1035 * SECOND, &[]).from
        };
        let none = Retention::default;
        assert_eq!(kept(none()), None);
        for (max, expected) in [(500, None), (499, Some(10)), (300, Some(20)), (0, Some(40))] {
            assert_eq!(kept(none().max_bytes(max)), expected, "{max} bytes");
        }
        for (max, expected) in [(5, None), (4, Some(10)), (2, Some(30)), (0, Some(40))] {
            assert_eq!(kept(none().max_segments(max)), expected, "{max} segments");
        }
        for (age, expected) in [(35, None), (34, Some(10)), (15, Some(20)), (4, Some(40))] {
            let age = Duration::from_secs(age);
            assert_eq!(kept(none().max_age(age)), expected, "{age:?}");
        }
        let both = none().max_segments(4).max_age(Duration::from_secs(15));
        assert_eq!(kept(both), Some(20), "whichever drops more");
    }

    /// Attack 34: the clock stood in 2099 while some segments were made. Those before them go all the
    /// same, and none goes before its time when the clock is back.
    #[test]
    fn attack_34_a_clock_that_jumped_keeps_nothing_for_ever() {
        // As `first_kept` has them: the earliest of all made later.
        let segments = candidates(&[1000, 1010, 1010, 1020]);
        let week = Retention::default().max_age(Duration::from_secs(100));
        assert_eq!(kept_from(&week, &segments, (5, 500), 1050 * SECOND, &[]).from, None);
        assert_eq!(kept_from(&week, &segments, (5, 500), 1111 * SECOND, &[]).from, Some(30));
        // A clock before 1970, or before them all.
        assert_eq!(kept_from(&week, &segments, (5, 500), 0, &[]).from, None);
    }

    #[test]
    fn a_consumer_holds_what_limits_would_drop_up_to_so_many_bytes() {
        let segments = candidates(&[1000, 1010, 1020, 1030]);
        let all_goes = Retention::default().max_bytes(0);
        let kept = |retention: &Retention, waited: &[(&str, u64, u64)]| {
            let waited: Vec<_> = waited
                .iter()
                .map(|(consumer, seq, at_most_bytes)| Waited {
                    consumer: (*consumer).into(),
                    seq: *seq,
                    at_most_bytes: *at_most_bytes,
                })
                .collect();
            let kept = kept_from(retention, &segments, (5, 500), 0, &waited);
            (kept.from, kept.held.map(|held| (held.consumer, held.next_seq, held.bytes)))
        };
        let held = |consumer: &str, seq, bytes| Some((consumer.to_owned(), seq, bytes));
        for (seq, expected) in [
            (0, (None, held("a", 0, 400))),
            (9, (None, held("a", 9, 400))),
            (10, (Some(10), held("a", 10, 300))),
            (25, (Some(20), held("a", 25, 200))),
            (40, (Some(40), None)),
        ] {
            assert_eq!(kept(&all_goes, &[("a", seq, 500)]), expected, "at {seq}");
        }
        // Whoever is furthest behind; for too much, nobody.
        let two = [("a", 30, 500), ("b", 10, 500)];
        assert_eq!(kept(&all_goes, &two), (Some(10), held("b", 10, 300)));
        assert_eq!(kept(&all_goes, &[("a", 0, 300)]), (Some(20), held("a", 0, 200)));
        assert_eq!(kept(&all_goes, &[("a", 0, 99)]), (Some(40), None));
        // Without a limit of another kind, what is too much goes all the same, and nothing else.
        let none = Retention::default();
        assert_eq!(kept(&none, &[("a", 0, 300)]), (Some(20), None));
        assert_eq!(kept(&none, &[("a", 40, 500)]), (None, None));
        // Limits that want nothing are not held up by anybody.
        let three = Retention::default().max_segments(5);
        assert_eq!(kept(&three, &[("a", 0, 500)]), (None, None));
    }
}
