//! Waiting for the next record: spin, then sleep until woken, and look for oneself now and then.

use std::sync::Arc;
use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};

use super::Tail;
use super::cursor::Found;
use crate::error::Result;
use crate::view::{Traces, Watch};
use crate::wake::{Awaited, LONGEST_SLEEP, NAP, Wake};

/// For how long to look again and again before sleeping.
const SPIN: Duration = Duration::from_micros(20);
/// Spinning in vain makes the next spin shorter, down to this part of the longest.
const SHORTEST_SPIN: u32 = 16;
/// Looks between two looks at the clock.
const LOOKS: usize = 16;

/// How a tail waits.
pub(super) struct Waiting {
    longest_spin: Duration,
    /// The next spin.
    spin: Duration,
    wake: Option<Arc<Wake>>,
    /// What the page said when the wake words were last asked for.
    asked: Option<Watch>,
    /// What the last survey was made of, where there is no live page.
    traces: Option<Traces>,
    /// When to look for oneself, news or not.
    due: Option<Instant>,
    interval: Duration,
}

impl Waiting {
    pub(super) fn new() -> Self {
        let alone = available_parallelism().is_ok_and(|cpus| cpus.get() == 1);
        let spin = if alone { Duration::ZERO } else { SPIN };
        Waiting {
            longest_spin: spin,
            spin,
            wake: None,
            asked: None,
            traces: None,
            due: None,
            interval: NAP,
        }
    }

    pub(super) fn spin(&mut self, longest: Duration) {
        // Beyond all time, and yet a time that can be added to now.
        const FOREVER: Duration = Duration::from_secs(1 << 30);
        let longest = longest.min(FOREVER);
        (self.longest_spin, self.spin) = (longest, longest);
    }

    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        now >= *self.due.get_or_insert(now + self.interval)
    }

    /// A new view was taken. Without a live page that is work, so it is done ever less often while
    /// there is nothing new.
    fn looked(&mut self, live: bool, is_new: bool) {
        self.interval = match (live, is_new) {
            (true, _) => LONGEST_SLEEP,
            (false, true) => NAP,
            (false, false) => (2 * self.interval).min(LONGEST_SLEEP),
        };
        self.due = Some(Instant::now() + self.interval);
    }

    pub(super) fn until_due(&self) -> Duration {
        self.due.map_or(NAP, |due| due.saturating_duration_since(Instant::now()))
    }
}

impl Tail {
    /// The next record, waited for until a time, or for ever.
    #[inline]
    pub(super) fn wait_for_next(&mut self, until: Option<Instant>) -> Result<Option<Found>> {
        match self.next()? {
            None => self.wait(until),
            found => Ok(found),
        }
    }

    #[inline(never)]
    fn wait(&mut self, until: Option<Instant>) -> Result<Option<Found>> {
        let is_over = || until.is_some_and(|until| Instant::now() >= until);
        let mut found = self.spin_for_next(until)?;
        let began = Instant::now();
        while found.is_none() && !is_over() {
            found = self.sleep_for_next(until)?;
        }
        if found.is_none() {
            // Whoever never has the time to sleep looks now and then all the same.
            found = self.look_if_due()?;
        }
        let Waiting { longest_spin, spin, .. } = &mut self.waiting;
        *spin = match began.elapsed() < 2 * *longest_spin {
            true => (2 * *spin).min(*longest_spin),
            false => (*spin / 2).max(*longest_spin / SHORTEST_SPIN),
        };
        Ok(found)
    }

    fn spin_for_next(&mut self, until: Option<Instant>) -> Result<Option<Found>> {
        let spin = self.waiting.spin;
        if spin.is_zero() || !self.view.live {
            return Ok(None);
        }
        let mut end = Instant::now() + spin;
        end = until.map_or(end, |until| until.min(end));
        while Instant::now() < end {
            for _ in 0..LOOKS {
                std::hint::spin_loop();
                let found = self.next()?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    /// Sleeps once, but not if there is a record. Gives it if there is one before or behind the sleep.
    fn sleep_for_next(&mut self, until: Option<Instant>) -> Result<Option<Found>> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let limit = left.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP);
        let wake = self.wake()?;
        let announced = wake.as_ref().map(|wake| wake.announce(self.awaited()));
        // Once more behind the announcement: who publishes from here on finds it.
        let found = self.next()?;
        if found.is_some() {
            return Ok(found);
        }
        match announced {
            Some(announced) => announced.sleep(limit),
            None if self.view.live => sleep(limit.min(NAP)),
            None => sleep(limit.min(self.waiting.until_due())),
        }
        match self.next()? {
            None => self.look_if_due(),
            found => Ok(found),
        }
    }

    pub(super) fn awaited(&self) -> Awaited {
        if self.durable_only { Awaited::Durable } else { Awaited::Records }
    }

    /// The wake words of a log whose page is live; asked for anew when the page was initialised.
    pub(super) fn wake(&mut self) -> Result<Option<Arc<Wake>>> {
        if !self.view.live {
            return Ok(None);
        }
        if self.waiting.asked != Some(self.watch) {
            self.waiting.wake = self.site.wake()?.map(Arc::new);
            self.waiting.asked = Some(self.watch);
        }
        Ok(self.waiting.wake.clone())
    }

    /// Now and then looks at what a commit word does not tell: whether the log is still in its place and
    /// its page live, where it ends.
    pub(super) fn look_if_due(&mut self) -> Result<Option<Found>> {
        if !self.waiting.is_due() {
            return Ok(None);
        }
        let is_new = match self.needs_a_view() {
            Ok(true) => self.refresh(),
            other => other,
        };
        self.waiting.looked(self.view.live, !matches!(is_new, Ok(false)));
        if is_new.is_err() {
            self.waiting.traces = None;
        }
        is_new?;
        // The new view lent all that it knows to be committed: a zero word below its end is damage now.
        self.next()
    }

    /// Without a live page a view is a survey, which reads what was not noted to be durable: not to be
    /// done over and over while nothing moves.
    fn needs_a_view(&mut self) -> Result<bool> {
        if self.view.live {
            return Ok(true);
        }
        let place = self.cursor.as_ref().map(|cursor| (cursor.followed(), cursor.at));
        let traces = Some(self.site.traces(place)?);
        let moved = traces != self.waiting.traces;
        self.waiting.traces = traces;
        Ok(moved)
    }
}
