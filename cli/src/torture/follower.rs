//! A reader that follows the log all the while, and remembers what it was given.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use maplog::{ErrorKind, Reader, Tail};

use super::crew::PATIENCE;
use super::stop::{Found, broke, loss};
use super::twin::Twin;
use crate::open;

/// No end to follow the log to is known yet.
const FOR_EVER: u64 = u64::MAX;

/// A thread with a tail.
pub(crate) struct Follower {
    until: Arc<AtomicU64>,
    thread: JoinHandle<Found<Vec<(u64, u64)>>>,
}

impl Follower {
    /// Follows the log from its first record.
    pub(crate) fn start(log: &Path, may_be_cut: bool) -> Self {
        let until = Arc::new(AtomicU64::new(FOR_EVER));
        let (log, end) = (PathBuf::from(log), until.clone());
        Follower { until, thread: thread::spawn(move || follow(&log, &end, may_be_cut)) }
    }

    /// What it was given must be what is in the log; gives how many records that were.
    pub(crate) fn finish(self, twin: &Twin) -> Found<u64> {
        self.until.store(twin.next_seq(), Ordering::Relaxed);
        let given = match self.thread.join() {
            Ok(given) => given?,
            Err(_) => return loss("a tail panicked"),
        };
        for (seq, hash) in &given {
            let sent = twin.record(*seq).map(|bytes| hash_of(&bytes));
            // Of a worker that died before it could tell, and trimmed before anybody else looked.
            let nobody_knows = sent.is_none() && *seq < twin.first_seq();
            if sent != Some(*hash) && !nobody_knows {
                return loss(format!("a tail was given other bytes as record {seq}"));
            }
        }
        Ok(given.len() as u64)
    }
}

/// What a tail was given, and what became of it.
struct Given {
    /// Numbers, and what stands for the bytes.
    records: Vec<(u64, u64)>,
    /// The log may be cut, so that some of them do not hold any more.
    may_be_cut: bool,
    /// The last error, if there was one.
    told: String,
    /// The longest that a call took.
    longest: Duration,
    /// Calls since the end was known.
    calls: u64,
}

fn follow(log: &Path, until: &AtomicU64, may_be_cut: bool) -> Found<Vec<(u64, u64)>> {
    let mut reader = open::to_read(log).map_err(|error| broke("a reader beside writers", error))?;
    let mut tail = reader.tail_from(reader.first_seq());
    let (told, longest) = ("none".to_owned(), Duration::ZERO);
    let mut given = Given { records: Vec::new(), may_be_cut, told, longest, calls: 0 };
    let mut known = None;
    let mut has_all = false;
    loop {
        let end = until.load(Ordering::Relaxed);
        if end != FOR_EVER && has_all && tail.next_seq() == end {
            return Ok(given.records);
        }
        if end != FOR_EVER {
            given.calls += 1;
            if known.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                let Given { told, longest, calls, .. } = given;
                let seq = tail.next_seq();
                reader.refresh().map_err(|error| broke("a reader beside writers", error))?;
                let first = reader.first_seq();
                return loss(format!(
                    "a tail waits at {seq} for ever, the log is {first}..{end}; it was asked \
                     {calls} times in {PATIENCE:?}, the longest call took {longest:?}, its last error: {told}"
                ));
            }
        }
        let start = Instant::now();
        // Where it stands tells nothing before it asked: the log may have been cut, and be as long again.
        has_all = given.receive(&mut tail, &mut reader)? && end != FOR_EVER;
        given.longest = given.longest.max(start.elapsed());
    }
}

impl Given {
    /// True if there was nothing to be told.
    fn receive(&mut self, tail: &mut Tail, reader: &mut Reader) -> Found<bool> {
        let (expected, epoch) = (tail.next_seq(), tail.position().epoch);
        let error = match tail.recv_timeout(Duration::from_millis(20)) {
            Ok(Some(record)) if record.seq() == expected => {
                self.records.push((expected, hash_of(record.data())));
                return Ok(false);
            }
            Ok(Some(record)) => {
                let seq = record.seq();
                return loss(format!("a tail expected record {expected} and was given {seq}"));
            }
            Ok(None) => return Ok(true),
            Err(error) => error,
        };
        self.told = error.to_string();
        let holds_to = match (error.kind(), error.seq()) {
            (ErrorKind::Trimmed, Some(_)) if tail.position().epoch == epoch => u64::MAX,
            (ErrorKind::Trimmed, Some(_)) if self.may_be_cut => 0,
            (ErrorKind::Rewound, Some(seq)) if self.may_be_cut => {
                reader.refresh().map_err(|error| broke("a reader beside writers", error))?;
                // Else the place where it was cut first may be gone.
                if reader.first_seq() < seq { seq } else { 0 }
            }
            _ => return Err(broke(format_args!("a tail at {expected}"), error)),
        };
        self.records.retain(|(given, _)| *given < holds_to);
        Ok(false)
    }
}

fn hash_of(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
