//! The one thread of a process that sleeps for all its tasks: the streams and futures that wait for logs.
//!
//! A task that finds nothing announces its wait, looks once more, and leaves its waker here with the word
//! to sleep on. The thread sleeps on all those words at once; when one moves, or the task's time is up,
//! it wakes the task, which looks for itself. It is started by the first task that waits, ends a while after
//! the last, and a child of `fork` has one of its own. Does not know: logs, or what they wait for.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::task::Waker;
use std::thread::Builder;
use std::time::{Duration, Instant};

use crate::map::{Bell, ProcessLocal, Waited};
use crate::monitor::Monitor;
use crate::thread::OwnThread;
use crate::wake::{NAP, Pending};

/// How long the thread stays when no task waits.
const IDLE: Duration = Duration::from_secs(1);

static WAITER: ProcessLocal<Waiter> = ProcessLocal::new();

#[derive(Default)]
struct Waiter {
    /// Wakers are run, and dropped, outside of this lock: either may run a task, or end one, and with it a
    /// [`Ticket`].
    tasks: Monitor<Tasks>,
    bell: Bell,
}

#[derive(Default)]
struct Tasks {
    waiting: HashMap<u64, Task>,
    next_id: u64,
    /// The thread is there, and will look at what is waiting once more before it ends.
    runs: bool,
    /// It looked, and now has to be called back for what is new.
    sleeps: bool,
}

struct Task {
    waker: Waker,
    /// `None` if nobody can wake it.
    pending: Option<Pending>,
    /// When to look, news or not.
    due: Instant,
}

/// A task's place with the waiter, given up when it is dropped.
#[derive(Default)]
pub(crate) struct Ticket(Option<(&'static Waiter, u64)>);

impl Ticket {
    /// Has `waker` woken once: when there may be news since `pending` was announced, or `limit` is over.
    pub(crate) fn wait(
        &mut self,
        waker: &Waker,
        pending: Option<Pending>,
        limit: Duration,
    ) -> io::Result<()> {
        self.leave();
        let waiter = WAITER.get()?;
        let task = Task { waker: waker.clone(), pending, due: Instant::now() + limit };
        self.0 = Some((waiter, waiter.enter(task)?));
        Ok(())
    }

    /// Waits no longer.
    pub(crate) fn leave(&mut self) {
        if let Some((waiter, id)) = self.0.take()
            // A child of `fork` inherited the parent's, which nobody may be left to unlock.
            && WAITER.get().is_ok_and(|here| ptr::eq(here, waiter))
        {
            let left = waiter.tasks.lock().waiting.remove(&id);
            drop(left);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Waiter {
    fn enter(&'static self, task: Task) -> io::Result<u64> {
        let mut tasks = self.tasks.lock();
        if !tasks.runs {
            let run = || self.run();
            let started = OwnThread::start(Builder::new().name("maplog-waiter".into()), run);
            if let Err(error) = started {
                drop(tasks);
                drop(task);
                return Err(error);
            }
            tasks.runs = true;
        }
        let id = tasks.next_id;
        tasks.next_id += 1;
        tasks.waiting.insert(id, task);
        let sleeps = std::mem::take(&mut tasks.sleeps);
        drop(tasks);
        if sleeps {
            self.bell.ring();
        }
        Ok(id)
    }

    fn run(&self) {
        let mut idle_until = None;
        loop {
            let mut tasks = self.tasks.lock();
            tasks.sleeps = false;
            let now = Instant::now();
            let ready = tasks.take_ready(now);
            if !ready.is_empty() {
                drop(tasks);
                ready.into_iter().for_each(Task::wake);
                continue;
            }
            idle_until = match tasks.waiting.is_empty() {
                true => idle_until.or(Some(now + IDLE)),
                false => None,
            };
            if idle_until.is_some_and(|until| now >= until) {
                tasks.runs = false;
                return;
            }
            let due = tasks.waiting.values().map(|task| task.due).chain(idle_until).min();
            let limit = due.map_or(IDLE, |due| due.saturating_duration_since(now));
            let pending = tasks.pending();
            let rung = self.bell.rung();
            tasks.sleeps = true;
            drop(tasks);
            self.sleep(rung, &pending, limit);
        }
    }

    fn sleep(&self, rung: u32, pending: &[Pending], limit: Duration) {
        let words = pending.iter().map(Pending::word);
        if self.bell.wait_for_any(rung, words, limit) == Waited::Refused {
            self.bell.wait(rung, limit.min(NAP));
        }
    }
}

impl Tasks {
    /// Those for which there may be news, or whose time is up.
    fn take_ready(&mut self, now: Instant) -> Vec<Task> {
        let is_ready = |task: &Task| {
            now >= task.due || task.pending.as_ref().is_some_and(|wait| wait.word().has_moved())
        };
        self.waiting.extract_if(|_, task| is_ready(task)).map(|(_, task)| task).collect()
    }

    /// What is waited for, each word once.
    fn pending(&self) -> Vec<Pending> {
        let mut all: Vec<_> =
            self.waiting.values().filter_map(|task| task.pending.as_ref()).collect();
        all.sort_unstable_by_key(|pending| pending.word().key());
        all.dedup_by_key(|pending| pending.word().key());
        all.into_iter().cloned().collect()
    }
}

impl Task {
    fn wake(self) {
        // A waker that panics has its own task alone to lose.
        let _panic = catch_unwind(AssertUnwindSafe(|| self.waker.wake()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};
    use std::task::Wake as Wakes;

    use super::*;
    use crate::dir::Dir;
    use crate::wake::{Awaited, Wake};

    const LONG: Duration = Duration::from_secs(30);

    struct Tell(Sender<()>);

    impl Wakes for Tell {
        fn wake(self: Arc<Self>) {
            self.0.send(()).unwrap();
        }
    }

    /// One call of the kernel waits on 127 words beside the bell; more are looked at now and then.
    #[test]
    fn any_number_of_words_is_waited_on() {
        let target = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let home = tempfile::tempdir_in(target).unwrap();
        let dir = Dir::open(home.path()).unwrap();
        for words in [1, 127, 128, 300] {
            // The same word of the log, but each in a mapping of its own.
            let wakes: Vec<_> =
                (0..words).map(|_| Arc::new(Wake::open(&dir, 0o600).unwrap())).collect();
            let (tell, told) = channel();
            let waker = Waker::from(Arc::new(Tell(tell)));
            let tickets: Vec<_> = wakes
                .iter()
                .map(|wake| {
                    let pending = Pending::announce(wake.clone(), Awaited::Records);
                    let mut ticket = Ticket::default();
                    assert!(pending.is_some(), "the kernel has no barrier");
                    ticket.wait(&waker, pending, 2 * LONG).unwrap();
                    ticket
                })
                .collect();
            assert!(told.recv_timeout(Duration::from_millis(20)).is_err(), "there is no news yet");
            wakes[0].records_came();
            for _ in 0..words {
                told.recv_timeout(LONG).expect("nobody woke it");
            }
            assert!(told.try_recv().is_err(), "each is woken once");
            drop(tickets);
        }
    }
}
