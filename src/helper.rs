//! The helper thread: one for each log that wants to be synced by the clock, started with it, since
//! others' records may be its business too; asleep when nothing is to be done.
//!
//! Nothing is wrong without it but that records wait for a sync that somebody asks for. Does not
//! know: who appends.

use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use parking_lot::Mutex;

use crate::error::Result;
use crate::home::Home;
use crate::map::Flag;
use crate::monitor::{Monitor, deadline};
use crate::sync::Syncer;
use crate::thread::OwnThread;

/// Syncs are no closer together than this. It also is long enough for any store of another thread to
/// be seen, on which `run` relies.
const SHORTEST: Duration = Duration::from_millis(1);

/// How often an idle helper looks whether another process has appended: its records are synced in time as
/// long as any process with a policy lives.
const IDLE_POLL: Duration = Duration::from_secs(1);

/// The thread, or what will start it.
pub(crate) struct Helper {
    alarm: Arc<Alarm>,
    thread: Mutex<Option<OwnThread>>,
}

struct Alarm {
    /// Whether the thread knows that there is something to do, or nobody wants it.
    rung: Flag,
    wants: Monitor<Wants>,
}

#[derive(Default)]
struct Wants {
    /// How long a record may wait.
    every: Option<Duration>,
    stop: bool,
}

impl Helper {
    /// A helper that nobody wants yet.
    pub(crate) fn new() -> Self {
        let alarm = Alarm { rung: Flag::new(true), wants: Monitor::default() };
        Helper { alarm: Arc::new(alarm), thread: Mutex::new(None) }
    }

    /// From now on no record waits longer than `interval` or so for its sync.
    pub(crate) fn sync_every(&self, interval: Duration) {
        let mut wants = self.alarm.wants.lock();
        let interval = interval.max(SHORTEST);
        wants.every = Some(wants.every.map_or(interval, |other| other.min(interval)));
        self.alarm.rung.set(false);
        self.alarm.wants.tell();
    }

    /// A record was appended.
    #[inline]
    pub(crate) fn stir(&self, home: &Arc<Home>, syncer: &Arc<Syncer>) {
        if !self.alarm.rung.is_set() {
            self.wake(home, syncer);
        }
    }

    #[cold]
    fn wake(&self, home: &Arc<Home>, syncer: &Arc<Syncer>) {
        let mut thread = self.thread.lock();
        if thread.is_none() {
            let (alarm, home, syncer) = (self.alarm.clone(), home.clone(), syncer.clone());
            let run = move || alarm.run(&home, &syncer);
            // If no thread can be had now, the next append tries again.
            *thread = OwnThread::start(Builder::new().name("maplog".into()), run).ok();
        }
        if thread.is_some() {
            let _wants = self.alarm.wants.lock();
            self.alarm.rung.set(true);
            self.alarm.wants.tell();
        }
    }

    /// Ends the thread; waits for a sync that it is at.
    pub(crate) fn stop(&self) {
        self.alarm.wants.lock().stop = true;
        self.alarm.wants.tell();
        if let Some(thread) = self.thread.lock().take() {
            thread.join();
        }
    }
}

impl Alarm {
    fn run(&self, home: &Home, syncer: &Syncer) {
        // An append that finds the alarm rung does not ring. So that none is forgotten, the alarm is
        // taken back first, and the end looked at an interval later: by then every append that still
        // found it rung is seen.
        while self.sleep() {
            let quiet = home.page().durable_seq() >= home.page().end().seq;
            let done = match quiet {
                false => syncer.sync(home).map(drop),
                true if self.rung.is_set() => {
                    self.rung.set(false);
                    Ok(())
                }
                true => syncer.note(home).and_then(|()| self.idle(home, syncer)),
            };
            // A poisoned log stays so; what failed is told to whoever calls next.
            if done.is_err() && home.page().is_poisoned() {
                return;
            }
        }
    }

    /// Sleeps for an interval; false if it is time to stop.
    fn sleep(&self) -> bool {
        let wants = self.wants.lock();
        let interval = wants.every.unwrap_or(SHORTEST);
        let unchanged = |wants: &Wants| !wants.stop && wants.every == Some(interval);
        !self.wants.wait_while_until(wants, deadline(interval), unchanged).stop
    }

    /// Sleeps until this process appends again, or another one has: its records waited for long enough.
    fn idle(&self, home: &Home, syncer: &Syncer) -> Result<()> {
        let mut wants = self.wants.lock();
        let interval = wants.every.unwrap_or(SHORTEST).max(IDLE_POLL);
        let nothing = |wants: &Wants| !wants.stop && !self.rung.is_set();
        let quiet = || home.page().durable_seq() >= home.page().end().seq;
        while nothing(&wants) && quiet() {
            wants = self.wants.wait_while_until(wants, deadline(interval), nothing);
        }
        let by_another = nothing(&wants);
        drop(wants);
        if by_another { syncer.sync(home).map(drop) } else { Ok(()) }
    }
}
