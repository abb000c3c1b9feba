//! Worker processes: started, stopped, killed, listened to.
//!
//! Does not know: what must be in the log.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use maplog::ErrorKind;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::message::Message;
use super::stop::{Found, Stop, loss};
use super::tracer::Tracer;
use super::twin::Twin;
use super::{Kind, Role};
use crate::Failure;

/// Longer than anything that a log makes anybody wait for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One worker, in one process.
pub(crate) struct Hand {
    worker: u32,
    child: Child,
    /// The worker; under strace it is not the child.
    process: Pid,
    heard: Receiver<Message>,
    /// What its next message will be about.
    next: u64,
    is_stopped: bool,
    is_closed: bool,
}

/// The processes that work on one log.
pub(crate) struct Crew<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) kind: Kind,
    pub(crate) seed: u64,
    pub(crate) hands: Vec<Hand>,
    /// Who traces the workers.
    pub(crate) tracer: Option<&'a Tracer>,
}

impl Hand {
    fn lives(&mut self) -> Found<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    fn signal(&mut self, signal: Signal) -> Found {
        if !self.lives()? {
            return Ok(());
        }
        match kill_process(self.process, signal) {
            // It ended just now, and strace has seen that.
            Err(Errno::SRCH) => Ok(()),
            sent => Ok(sent.map_err(io::Error::from)?),
        }
    }

    pub(crate) fn stop(&mut self) -> Found {
        self.is_stopped = true;
        self.signal(Signal::STOP)
    }

    pub(crate) fn go_on(&mut self) -> Found {
        self.is_stopped = false;
        self.signal(Signal::CONT)
    }

    /// Takes in what it told so far.
    fn listen(&mut self, twin: &mut Twin) -> Found<u64> {
        let mut heard = 0;
        while let Ok(message) = self.heard.try_recv() {
            self.hear(message, twin)?;
            heard += 1;
        }
        Ok(heard)
    }

    fn hear(&mut self, message: Message, twin: &mut Twin) -> Found {
        match message {
            Message::Appended { number, .. }
            | Message::Synced { number, .. }
            | Message::Dropped { number, .. } => self.next = number + 1,
            Message::Closed => self.is_closed = true,
            Message::Opened { .. } | Message::WillDrop { .. } => {}
        }
        twin.take(self.worker, message)
    }

    /// Takes in all that it told until its end, and gives the step that its successor begins with.
    fn ended(mut self, twin: &mut Twin, was_killed: bool) -> Found<u64> {
        drop(self.child.stdin.take());
        let late = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > late {
                let worker = self.worker;
                return loss(format!("worker {worker} hangs, {PATIENCE:?} after it was to close"));
            }
            thread::sleep(Duration::from_micros(200));
        };
        while let Ok(message) = self.heard.recv() {
            self.hear(message, twin)?;
        }
        let mut told = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut told)?;
        }
        let told = told.trim().trim_start_matches("maplog: ");
        match status.code() {
            None if was_killed => twin.died_at(self.worker, self.next),
            Some(0) if self.is_closed => {}
            Some(2) => return Err(Stop::Failure(Failure::of(ErrorKind::Io, told))),
            _ => return loss(format!("worker {} ended by itself, {status}: {told}", self.worker)),
        }
        Ok(self.next + 1)
    }

    fn silent(&mut self) -> Found {
        match self.child.try_wait()? {
            // Its end is looked at by who ends it.
            Some(_) => Ok(()),
            None => loss(format!("worker {} did nothing for {PATIENCE:?}", self.worker)),
        }
    }
}

impl<'a> Crew<'a> {
    pub(crate) fn new(dir: &'a Path, kind: Kind, seed: u64) -> Self {
        Crew { dir, kind, seed, hands: Vec::new(), tracer: None }
    }

    pub(crate) fn start(&mut self, worker: u32, first: u64) -> Found {
        let role = Role::Worker { kind: self.kind, seed: self.seed, worker, first };
        let program = std::env::current_exe()?;
        let mut command = match &self.tracer {
            Some(tracer) => tracer.command(&program)?,
            None => Command::new(program),
        };
        command.args(["torture", "--as", &role.to_string()]).arg(self.dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let process = match &self.tracer {
            Some(tracer) => tracer.worker(&mut child)?,
            None => Pid::from_child(&child),
        };
        let stdout = child.stdout.take();
        let (tell, heard) = channel();
        thread::spawn(move || {
            let mut pipe = io::BufReader::with_capacity(1 << 16, stdout?);
            while let Ok(message) = Message::receive(&mut pipe) {
                tell.send(message).ok()?;
            }
            Some(())
        });
        let (next, is_stopped, is_closed) = (first, false, false);
        self.hands.push(Hand { worker, child, process, heard, next, is_stopped, is_closed });
        Ok(())
    }

    /// Kills one and starts a successor.
    pub(crate) fn replace(&mut self, index: usize, twin: &mut Twin) -> Found {
        let mut hand = self.hands.swap_remove(index);
        let worker = hand.worker;
        hand.signal(Signal::KILL)?;
        let first = hand.ended(twin, true)?;
        self.start(worker, first)
    }

    /// Kills all at once; gives the step that each worker goes on with.
    pub(crate) fn kill_all(&mut self, twin: &mut Twin) -> Found<Vec<(u32, u64)>> {
        for hand in &mut self.hands {
            hand.signal(Signal::KILL)?;
        }
        self.all_ended(twin, true)
    }

    /// Lets all of them close the log.
    pub(crate) fn close_all(&mut self, twin: &mut Twin) -> Found<Vec<(u32, u64)>> {
        for hand in &mut self.hands {
            drop(hand.child.stdin.take());
        }
        self.all_ended(twin, false)
    }

    fn all_ended(&mut self, twin: &mut Twin, was_killed: bool) -> Found<Vec<(u32, u64)>> {
        let hands = std::mem::take(&mut self.hands);
        hands.into_iter().map(|hand| Ok((hand.worker, hand.ended(twin, was_killed)?))).collect()
    }

    /// None of them has ended yet.
    pub(crate) fn all_live(&mut self) -> Found<bool> {
        self.hands.iter_mut().try_fold(true, |all, hand| Ok(all && hand.lives()?))
    }

    /// Takes in what all of them told so far.
    pub(crate) fn listen(&mut self, twin: &mut Twin) -> Found {
        self.hands.iter_mut().try_for_each(|hand| hand.listen(twin).map(drop))
    }

    /// Takes in what is told until it is enough.
    pub(crate) fn listen_until(
        &mut self,
        twin: &mut Twin,
        enough: impl Fn(&Twin) -> bool,
    ) -> Found {
        let late = Instant::now() + PATIENCE;
        loop {
            self.listen(twin)?;
            if enough(twin) {
                return Ok(());
            }
            if Instant::now() > late {
                return loss(format!(
                    "in {PATIENCE:?} the worker did not tell what it must have done"
                ));
            }
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// Waits until each that is not stopped has done something: nobody blocks anybody for good.
    pub(crate) fn all_go_on(&mut self, twin: &mut Twin) -> Found {
        let late = Instant::now() + PATIENCE;
        for hand in self.hands.iter_mut().filter(|hand| !hand.is_stopped) {
            hand.listen(twin)?;
            match hand.heard.recv_timeout(late.saturating_duration_since(Instant::now())) {
                Ok(message) => hand.hear(message, twin)?,
                Err(_) => return hand.silent(),
            }
        }
        Ok(())
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        let _it_may_be_gone = self.signal(Signal::KILL);
        let _so_may_strace = self.child.kill().and_then(|()| self.child.wait());
    }
}
