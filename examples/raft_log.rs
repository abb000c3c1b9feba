//! The log and the vote of a consensus library's node: the calls that such a library makes, and what they
//! become here.
//!
//! ```text
//! cargo run --example raft_log
//! ```
//!
//! The calls are those of openraft's `RaftLogStorage`; raft-rs (`Storage`) and hashicorp/raft (`LogStore`,
//! `StableStore`) ask for the same or less. An entry's index is its sequence number.
//!
//! A node has two logs. Entries lie in one, and a callback says when they are durable: those that come while
//! the disk is busy share the next sync. What else a node must not forget is a record of a second, tiny log, the
//! last one of which counts: the vote, and the term of the last entry that was purged. It stands beside the entries,
//! since these are cut and dropped, and is no file replaced by renaming, since appending a record costs one sync
//! where that costs three.
//!
//! Public is what the test `raft::storage` uses, which asks of it what openraft's own suite asks of a store.
#![allow(clippy::print_stdout, missing_docs, unsafe_code)]

use std::fs;
use std::io::{Error, Result, Write};
use std::iter;
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use maplog::{ErrorKind, Log, Record, SyncPolicy};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An entry's place, and the term of the leader that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogId {
    pub term: u64,
    pub index: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: LogId,
    pub command: Vec<u8>,
}

/// Whom this node voted for, and in which term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    pub term: u64,
    pub node: u64,
}

/// What a node begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogState {
    pub last_purged: Option<LogId>,
    /// Of the last entry, or the last one purged if there is none.
    pub last: Option<LogId>,
}

/// A record of the second log: all that it has to say, in this machine's byte order.
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
struct Kept {
    has_voted: u64,
    vote_term: u64,
    vote_node: u64,
    purged_term: u64,
    /// Behind the last entry that was purged; 0 if none was.
    purged_end: u64,
}

/// The term, before each entry's command.
const TERM_BYTES: usize = 8;
/// Records of the second log after which older ones are dropped.
const KEPT_RECORDS: u64 = 64;

/// Told that entries are durable, or that nobody can know.
type Flushed = Box<dyn FnOnce(std::result::Result<(), ErrorKind>) + Send>;

/// Entries up to this one are to be durable before somebody is told.
struct Wanted {
    through: Option<u64>,
    flushed: Flushed,
}

pub struct Store {
    entries: Log,
    state: Log,
    kept: Kept,
    flusher: Option<(Sender<Wanted>, JoinHandle<u64>)>,
}

impl Store {
    /// Opens the store in the directory `path`, or creates it, for entries from `first_index` on.
    pub fn open(path: &Path, first_index: u64) -> Result<Self> {
        if !path.exists() {
            fs::create_dir(path)?;
        }
        // Raft says when; no timer has to.
        let entries = Log::options().sync(SyncPolicy::Manual).helper_thread(false);
        let state = Log::options().segment_bytes(16 * 1024).sync(SyncPolicy::Always);
        // SAFETY: only maplog changes the files of the two logs.
        let (entries, state) = unsafe {
            let entries = entries.first_seq(first_index).open(path.join("entries"))?;
            (entries, state.helper_thread(false).open(path.join("state"))?)
        };
        let kept = last_record(&state, |record| Kept::read_from_bytes(record.data()).ok())?;
        let kept = kept.unwrap_or(Some(Kept::default()));
        let kept = kept.ok_or_else(|| Error::other("the last state has another size"))?;
        let (wanted, jobs) = mpsc::channel();
        let flushing = entries.clone();
        let thread = thread::spawn(move || flush(&flushing, &jobs));
        let mut store = Store { entries, state, kept, flusher: Some((wanted, thread)) };
        // What a crash has interrupted.
        store.drop_purged()?;
        Ok(store)
    }

    /// Appends entries; `flushed` is told once they are durable. They follow the last one, or take the place
    /// of those from the first one's index on, which another leader made, or are the first after a snapshot.
    /// After an error some may be there; the same entries given again take their place.
    pub fn append(
        &mut self,
        entries: &[Entry],
        flushed: impl FnOnce(std::result::Result<(), ErrorKind>) + Send + 'static,
    ) -> Result<()> {
        if let Some(first) = entries.first().map(|entry| entry.id.index) {
            if self.entries.is_empty() && first != self.entries.next_seq() {
                self.settled();
                self.entries.reset(first)?;
            } else if first < self.entries.next_seq() {
                self.truncate(first)?;
            }
        }
        let mut writer = self.entries.writer()?;
        for entry in entries {
            let mut slot = writer.reserve(TERM_BYTES + entry.command.len())?;
            slot.write_all(&entry.id.term.to_le_bytes())?;
            slot.write_all(&entry.command)?;
            // Checked before it is there: a slot that is dropped did nothing.
            if entry.id.index != self.entries.next_seq() {
                return Err(Error::other(format!("a hole before {:?}", entry.id)));
            }
            slot.commit()?;
        }
        drop(writer);
        self.tell(self.entries.next_seq().checked_sub(1), Box::new(flushed));
        Ok(())
    }

    /// Drops the entry at `index` and all behind it, durably; nothing if there is none.
    pub fn truncate(&mut self, index: u64) -> Result<()> {
        self.settled();
        self.entries.truncate_from(index)?;
        Ok(())
    }

    /// Drops all entries up to `id`, which a snapshot covers. It may lie past the end: then there are none.
    pub fn purge(&mut self, id: LogId) -> Result<()> {
        if id.index < self.kept.purged_end {
            return Ok(());
        }
        // The term first, since it is asked for when the entry is gone.
        self.save(Kept { purged_term: id.term, purged_end: id.index + 1, ..self.kept })?;
        self.drop_purged()
    }

    fn drop_purged(&mut self) -> Result<()> {
        let end = self.kept.purged_end;
        if end > self.entries.next_seq() {
            self.settled();
            self.entries.reset(end)?;
        } else if end > self.entries.first_seq() {
            self.entries.trim_before(end)?;
        }
        Ok(())
    }

    /// Returns when the vote is durable.
    pub fn save_vote(&mut self, vote: Vote) -> Result<()> {
        // Entries appended before it are durable before it.
        self.settled();
        self.save(Kept { has_voted: 1, vote_term: vote.term, vote_node: vote.node, ..self.kept })
    }

    pub fn read_vote(&self) -> Option<Vote> {
        let Kept { has_voted, vote_term, vote_node, .. } = self.kept;
        (has_voted == 1).then_some(Vote { term: vote_term, node: vote_node })
    }

    fn save(&mut self, kept: Kept) -> Result<()> {
        let seq = self.state.append(kept.as_bytes())?;
        self.kept = kept;
        // Older ones only now, since this one is durable. No retention does it, which might run in between.
        if seq - self.state.first_seq() >= KEPT_RECORDS {
            self.state.trim_before(seq)?;
        }
        Ok(())
    }

    pub fn log_state(&self) -> Result<LogState> {
        let Kept { purged_term, purged_end, .. } = self.kept;
        let last_purged = purged_end.checked_sub(1).map(|index| LogId { term: purged_term, index });
        let last = last_record(&self.entries, |record| entry(record).id)?;
        Ok(LogState { last_purged, last: last.or(last_purged) })
    }

    /// The entries there are in `range`.
    pub fn entries(&self, range: Range<u64>) -> Result<Vec<Entry>> {
        self.entries_up_to(range, usize::MAX)
    }

    /// As [`entries`](Self::entries), but no more than `most_bytes` of commands, or one entry that is longer.
    pub fn entries_up_to(&self, range: Range<u64>, most_bytes: usize) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        for record in self.entries.reader().range(range) {
            let entry = entry(record?);
            bytes += entry.command.len();
            if bytes > most_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// The term of the entry at `index`, if it is there or the last one purged.
    pub fn term(&self, index: u64) -> Result<Option<u64>> {
        if index + 1 == self.kept.purged_end {
            return Ok(Some(self.kept.purged_term));
        }
        match self.entries.reader().get(index) {
            Err(error) if error.kind() == ErrorKind::Trimmed => Ok(None),
            record => Ok(record?.map(|record| entry(record).id.term)),
        }
    }

    /// Waits until all callbacks were told: no later write may be done before an earlier one.
    fn settled(&self) {
        let (done, settled) = mpsc::channel();
        self.tell(None, Box::new(move |_| done.send(()).unwrap_or(())));
        settled.recv().expect("the flusher tells everyone");
    }

    fn tell(&self, through: Option<u64>, flushed: Flushed) {
        let (wanted, _) = self.flusher.as_ref().expect("it lives as long as the store");
        wanted.send(Wanted { through, flushed }).expect("the flusher ends after the store");
    }

    /// Closes both logs; gives how many syncs the callbacks took.
    pub fn close(mut self) -> Result<u64> {
        let (wanted, thread) = self.flusher.take().expect("it is taken here only");
        drop(wanted);
        let syncs = thread.join().expect("the flusher does not panic");
        self.entries.close()?;
        self.state.close()?;
        Ok(syncs)
    }
}

/// Whoever came while the last sync ran shares the next one. Gives how many there were.
fn flush(entries: &Log, jobs: &Receiver<Wanted>) -> u64 {
    let mut syncs = 0;
    while let Ok(first) = jobs.recv() {
        let group: Vec<Wanted> = iter::once(first).chain(jobs.try_iter()).collect();
        let through = group.iter().filter_map(|job| job.through).max();
        let synced = through.map_or(Ok(0), |through| entries.sync_to(through));
        syncs += u64::from(through.is_some());
        for job in group {
            (job.flushed)(synced.as_ref().map(drop).map_err(|error| error.kind()));
        }
    }
    syncs
}

fn entry(record: Record<'_>) -> Entry {
    let (term, command) = record.data().split_first_chunk().expect("each entry has a term");
    let term = u64::from_le_bytes(*term);
    Entry { id: LogId { term, index: record.seq() }, command: command.to_vec() }
}

fn last_record<T>(log: &Log, what: impl Fn(Record<'_>) -> T) -> Result<Option<T>> {
    Ok(log.reader().iter().next_back().transpose()?.map(what))
}

/// Entries of one term.
pub fn entries(term: u64, indexes: Range<u64>) -> Vec<Entry> {
    let one = |index| Entry {
        id: LogId { term, index },
        command: format!("command {index} of term {term}").into_bytes(),
    };
    indexes.map(one).collect()
}

fn main() -> Result<()> {
    let home = tempfile::tempdir()?;
    let path = home.path().join("node");
    let mut store = Store::open(&path, 1)?;
    assert_eq!(store.log_state()?, LogState { last_purged: None, last: None });

    // A leader: it votes for itself, and counts an entry as its own when it is durable here.
    store.save_vote(Vote { term: 1, node: 7 })?;
    let (durable, told) = mpsc::channel();
    for index in 1..2001 {
        let durable = durable.clone();
        store.append(&entries(1, index..index + 1), move |flushed| {
            durable.send((index, flushed)).unwrap_or(());
        })?;
    }
    for index in 1..2001 {
        assert_eq!(told.recv().ok(), Some((index, Ok(()))), "each is told, in order");
    }

    // A follower: another leader knows better from 1991 on. What replication reads meanwhile stays as it is.
    let reader = store.entries.reader();
    let old = reader.get(1995)?.expect("it was appended");
    store.append(&entries(2, 1991..1996), |flushed| assert_eq!(flushed, Ok(())))?;
    assert_eq!(store.log_state()?.last, Some(LogId { term: 2, index: 1995 }));
    assert_eq!((store.term(1990)?, store.term(1991)?, store.term(1996)?), (Some(1), Some(2), None));
    assert_eq!(entry(old), entries(1, 1995..1996)[0]);
    let epoch = store.entries.epoch();
    store.truncate(1996)?;
    assert_eq!(store.entries.epoch(), epoch, "past the end there is nothing to drop");

    // A snapshot covers most of it.
    store.purge(LogId { term: 1, index: 1900 })?;
    assert_eq!((store.term(1899)?, store.term(1900)?), (None, Some(1)));
    assert_eq!(store.entries(0..5000)?.len(), 95);
    assert_eq!(store.entries_up_to(1901..5000, 100)?.len(), 4, "as many as fit into a message");

    // A snapshot of another node is ahead of all that is here.
    store.save_vote(Vote { term: 3, node: 9 })?;
    store.purge(LogId { term: 3, index: 5000 })?;
    let syncs = store.close()?;
    println!("2005 entries, {syncs} syncs");

    let mut store = Store::open(&path, 1)?;
    let ahead = Some(LogId { term: 3, index: 5000 });
    assert_eq!(store.log_state()?, LogState { last_purged: ahead, last: ahead });
    assert_eq!(store.read_vote(), Some(Vote { term: 3, node: 9 }));
    store.append(&entries(3, 5001..5004), |flushed| assert_eq!(flushed, Ok(())))?;
    assert_eq!(store.entries(0..u64::MAX)?, entries(3, 5001..5004));
    println!("{:?}, {:?}", store.log_state()?, store.read_vote());
    store.close()?;
    Ok(())
}
