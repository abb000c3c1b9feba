//! How long a record takes to another process, which sleeps until it comes.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use maplog::{ErrorKind, Log, SyncPolicy};

use super::contest::Turn;
use super::follow::now_nanos;
use super::ours::remove;
use super::records::Records;
use crate::{Failure, open};

/// Between two records; long enough that the other process has gone to sleep.
const PAUSE: Duration = Duration::from_micros(250);

pub(super) fn through_a_log(turn: Turn<'_>) -> Result<(), Failure> {
    let log = open::to_append(turn.path, &Log::options().sync(SyncPolicy::Manual))?;
    let follower = Follower::start("log", turn.path, turn.records)?;
    let path = turn.path;
    send(turn, follower, |_, record| {
        log.append(record)?;
        Ok(())
    })?;
    log.close()?;
    remove(path)
}

pub(super) fn through_a_pipe(turn: Turn<'_>) -> Result<(), Failure> {
    let follower = Follower::start("pipe", turn.path, turn.records)?;
    send(turn, follower, |pipe, record| {
        let written = pipe.as_mut().map_or(Ok(()), |pipe| pipe.write_all(record));
        written.map_err(|error| Failure::io("the pipe", &error))
    })
}

fn send(
    turn: Turn<'_>,
    mut follower: Follower,
    mut send: impl FnMut(&mut Option<ChildStdin>, &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut record = turn.records.blank();
    let begun = Instant::now();
    let mut sent = 0;
    while sent < turn.round.calls && (sent == 0 || begun.elapsed() < turn.round.time) {
        sleep(PAUSE);
        Records::stamp(&mut record, now_nanos());
        send(&mut follower.pipe, &record)?;
        sent += 1;
    }
    send(&mut follower.pipe, &[])?;
    let took = follower.end()?;
    if took.len() as u64 != sent {
        let text = format!("{sent} records were sent, the second process got {}", took.len());
        return Err(Failure::of(ErrorKind::Damaged, text));
    }
    took.into_iter().for_each(|nanos| turn.times.note(Duration::from_nanos(nanos)));
    Ok(())
}

/// The second process.
struct Follower {
    child: Child,
    pipe: Option<ChildStdin>,
}

fn fault(error: &io::Error) -> Failure {
    Failure::io("the second process", error)
}

impl Follower {
    /// Starts it, and waits until it follows.
    fn start(way: &str, log: &Path, records: &Records) -> Result<Self, Failure> {
        let own = std::env::current_exe().map_err(|error| fault(&error))?;
        let mut command = Command::new(own);
        command.args(["bench", "--follow", way, "--record", &records.bytes().to_string()]).arg(log);
        // What it could say is that records are missing, which is seen here, too.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = command.spawn();
        let mut child = child.map_err(|error| fault(&error))?;
        let pipe = child.stdin.take();
        let mut follower = Follower { child, pipe };
        let mut ready = [0; size_of::<u64>()];
        let out = follower.child.stdout.as_mut();
        out.map_or(Ok(()), |out| out.read_exact(&mut ready)).map_err(|error| fault(&error))?;
        Ok(follower)
    }

    /// Lets it end; gives how long each record took, in nanoseconds.
    fn end(mut self) -> Result<Vec<u64>, Failure> {
        drop(self.pipe.take());
        let mut told = Vec::new();
        let out = self.child.stdout.as_mut();
        out.map_or(Ok(0), |out| out.read_to_end(&mut told)).map_err(|error| fault(&error))?;
        Ok(told.as_chunks().0.iter().map(|nanos| u64::from_le_bytes(*nanos)).collect())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ended_already = self.child.kill();
        let _waited_for = self.child.wait();
    }
}
