//! Putting what was appended on stable storage, and noting how far that is.
//!
//! The only place that moves the durable position: after the data it covers was synced, never
//! before. A sync that fails poisons the log. Does not know: how records are written.

mod note;

use std::io;
use std::sync::Arc;
use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::attach::Seized;
use crate::dir;
use crate::error::{ErrorKind, Result};
use crate::format::page::Due;
use crate::home::Home;
use crate::map::End;
use crate::monitor::Monitor;
use crate::redo::store_again;
use crate::segment::SegmentFile;
use crate::survey::list;
use note::{Note, Noted, Pen, write_first_seq};

/// How often one that is about to sync lets others append first, as long as they do.
const GATHER_TURNS: usize = 16;

/// How often it is asked whether another process is done.
const POLL: Duration = Duration::from_millis(1);

/// How long another process's sync is waited for; then everything that it is about is stored again, as if
/// it had died: a process that is stopped there stops nobody else.
const DOUBT_PATIENCE: Duration = Duration::from_secs(1);

/// Syncs one log. One thread at a time is at it; those that come meanwhile wait for it and then go
/// together: what they appended is covered by one more sync, which one of them does (group commit).
pub(crate) struct Syncer {
    queue: Monitor<Queue>,
    noted: Mutex<Noted>,
    /// Syncs of others that were under way when this process last synced.
    suspects: Mutex<Vec<(usize, u64)>>,
    counts: Mutex<SyncCounts>,
}

/// The syncs of this process since it opened the log, those that failed included.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SyncCounts {
    pub(crate) count: u64,
    pub(crate) total: Duration,
    pub(crate) longest: Duration,
}

#[derive(Default)]
struct Queue {
    busy: bool,
    /// Somebody waited since the last turn began.
    waited: bool,
}

/// The right to sync, given back when dropped.
struct Turn<'s> {
    syncer: &'s Syncer,
    /// Others waited meanwhile, so they are likely to append now.
    has_company: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.syncer.queue.lock().busy = false;
        self.syncer.queue.tell();
    }
}

impl Syncer {
    pub(crate) fn new() -> Self {
        Syncer {
            queue: Monitor::default(),
            noted: Mutex::new(Noted::new()),
            suspects: Mutex::default(),
            counts: Mutex::default(),
        }
    }

    pub(crate) fn counts(&self) -> SyncCounts {
        *self.counts.lock()
    }

    fn count(&self, took: Duration) {
        let mut counts = self.counts.lock();
        counts.count += 1;
        counts.total += took;
        counts.longest = counts.longest.max(took);
    }

    /// Makes every record that is committed now durable; gives the first number that is not.
    pub(crate) fn sync(&self, home: &Home) -> Result<u64> {
        self.sync_to(home, home.page().end().seq)
    }

    /// Makes every record below `wanted`, all of them committed, durable; gives the first number that
    /// is not. At once if they are.
    pub(crate) fn sync_to(&self, home: &Home, wanted: u64) -> Result<u64> {
        home.check()?;
        let Some(turn) =
            self.turn_unless(|| home.page().durable_seq() >= wanted || home.page().is_poisoned())
        else {
            home.check()?;
            return Ok(home.page().durable_seq());
        };
        span!(DEBUG, "sync", log = %home.dir().path().display());
        home.check_place()?;
        if turn.has_company {
            gather(home);
        }
        if broken!("position_before_sync") {
            self.note_position(home, home.page().end());
        }
        let since = Instant::now();
        let synced = self.sync_data(home, false);
        self.count(since.elapsed());
        let end = synced?;
        self.note_position(home, end);
        event!(DEBUG, durable_seq = end.seq, "synced");
        Ok(home.page().durable_seq())
    }

    /// Notes in the slot, if that is due, that the log is durable up to `end`. A note that could not be
    /// written costs the next opening some reading, and the next sync tries again.
    fn note_position(&self, home: &Home, end: End) {
        if let Some(tip) = tip(home, end) {
            let _noted = self.noted.lock().take_in(home, &tip, end);
        }
    }

    /// Notes, durably, how far the log is durable, if the newest slot does not say so: for a log that
    /// nobody appends to for a while.
    pub(crate) fn note(&self, home: &Home) -> Result<()> {
        let Some(_turn) = self.turn_unless(|| home.page().is_poisoned()) else {
            return home.check();
        };
        let end = home.page().end();
        let mut noted = self.noted.lock();
        match tip(home, end) {
            Some(tip) if home.page().durable_seq() == end.seq && !noted.says(end) => {
                noted.write(home, &tip, end, Note::IfNobodyDoes)?;
                sync_file(home, &tip, "noting the durable position")
            }
            _ => Ok(()),
        }
    }

    /// As `sync`, and says in the slot that the log was closed here. Nobody appends meanwhile.
    pub(crate) fn close(&self, home: &Home) -> Result<()> {
        let Some(_turn) = self.turn_unless(|| home.page().is_poisoned()) else {
            return home.check();
        };
        home.check_place()?;
        let end = self.sync_data(home, true)?;
        let Some(tip) = tip(home, end) else { return Ok(()) };
        self.noted.lock().write(home, &tip, end, Note::Closed)?;
        sync_file(home, &tip, "closing the log")
    }

    /// Says in the slot, durably, that the log is open again, before its first append.
    pub(crate) fn reopen(&self, home: &Home, tip: &SegmentFile) -> Result<()> {
        let Some(_turn) = self.turn_unless(|| home.page().is_poisoned()) else {
            return home.check();
        };
        self.noted.lock().write(home, tip, home.page().end(), Note::Open)?;
        sync_file(home, tip, "opening the log to append")
    }

    /// Syncs every segment from the durable position to the end, whoever wrote it, the directory if it
    /// changed, and only then moves the durable position to that end.
    fn sync_data(&self, home: &Home, closing: bool) -> Result<End> {
        let page = home.page();
        hook!("sync.begun");
        loop {
            // Not the page's: who stores an epoch may die, or be stopped, before it stores both.
            let (whole_epoch, epoch) = (page.epoch(), page.durable_epoch());
            let Settled { end, doubts, unseen } = settle_doubts(home)?;
            let mut dead = self.dead_syncs(home, closing)?;
            if !unseen.is_empty() {
                store_again(home, end)?;
            }
            dead.extend(unseen.iter().filter(|unseen| unseen.died).map(|unseen| unseen.sync));
            let segments = home.unsynced.lock().segments();
            for segment in &segments {
                sync_file(home, segment, "syncing a segment")?;
            }
            // Not earlier, where a call may fail that poisons nothing.
            let names = std::mem::take(&mut home.unsynced.lock().names);
            if names {
                syncing(home, "syncing the directory", || home.dir().sync())?;
            }
            for sync in dead {
                // What it may have been told, this process would have been told too; or everything was
                // stored again since.
                page.end_dead_sync(sync);
            }
            home.unsynced.lock().doubts.retain(|doubt| !doubts.contains(doubt));
            hook!("sync.before_position");
            // The durable word has eight bits of it.
            if page.epoch() == whole_epoch && page.raise_durable(epoch, end.seq) {
                home.wake.position_moved();
                // Nothing is appended below the end's segment any more.
                home.unsynced.lock().forget_below(end.segment_id);
                return Ok(end);
            }
            // Another sync failed, or the epoch rose meanwhile: then it begins again.
            home.check()?;
        }
    }

    /// Syncs whose processes died in them. To ask the kernel takes a few calls, so as long as there is no
    /// hurry only those are asked for that were under way at the last sync already.
    fn dead_syncs(&self, home: &Home, closing: bool) -> Result<Vec<(usize, u64)>> {
        let others = home.page().syncs().filter(|(who, _)| *who != home.participant());
        let others: Vec<_> = others.collect();
        let mut dead = Vec::new();
        let mut suspects = self.suspects.lock();
        for sync in &others {
            if (closing || suspects.contains(sync)) && is_dead(home, *sync)? {
                dead.push(*sync);
            }
        }
        *suspects = others;
        Ok(dead)
    }

    /// Notes, durably, that what lies below `first_seq` was trimmed, and tells the page. Only the append
    /// lock's holder may.
    pub(crate) fn note_trimmed(&self, home: &Home, first_seq: u64) -> Result<()> {
        // What says that this process is inside a sync speaks for one at a time.
        let Some(_turn) = self.turn_unless(|| home.page().is_poisoned()) else {
            return home.check();
        };
        let end = home.page().end();
        // Until the page says so too: who writes a slot next takes it from there.
        let _pen = Pen::take(home, Note::Open)?;
        // What is noted in a segment whose name a power cut takes is noted nowhere.
        if !broken!("note_without_name") {
            syncing(home, "syncing the directory", || home.dir().sync())?;
        }
        // Where a fresh segment is due there are some above the end's, and who comes after a power cut
        // looks at those first.
        let names = list(home.dir(), Some(home.page()))?;
        for name in names.into_iter().filter(|name| name.id >= end.segment_id) {
            match SegmentFile::open_to_write(home.dir(), name) {
                Err(error) if error.kind() == ErrorKind::Damaged && name.id > end.segment_id => {}
                file => {
                    let file = file?;
                    write_first_seq(home, &file, first_seq)?;
                    if !broken!("unlink_before_slot") {
                        sync_file(home, &file, "noting what was trimmed")?;
                    }
                    // And in the other slot, which would have to speak alone if this one rots.
                    write_first_seq(home, &file, first_seq)?;
                }
            }
        }
        hook!("trim.noted");
        home.page().set_first_seq(first_seq);
        Ok(())
    }

    /// Waits for its turn, or until nothing is left to be done.
    fn turn_unless(&self, done: impl Fn() -> bool) -> Option<Turn<'_>> {
        let mut queue = self.queue.lock();
        loop {
            if done() {
                return None;
            }
            if !queue.busy {
                queue.busy = true;
                let has_company = std::mem::take(&mut queue.waited);
                return Some(Turn { syncer: self, has_company });
            }
            queue.waited = true;
            queue = self.queue.wait(queue);
        }
    }
}

/// Those that the last sync woke are about to append: one sync for all of them is worth a moment.
fn gather(home: &Home) {
    let mut seq = home.page().end().seq;
    for _ in 0..GATHER_TURNS {
        yield_now();
        let now = home.page().end().seq;
        if now == std::mem::replace(&mut seq, now) {
            return;
        }
    }
}

/// True if the process that this sync is of died in it.
fn is_dead(home: &Home, sync: (usize, u64)) -> Result<bool> {
    let byte = Seized::take(home.dir(), sync.0)?;
    Ok(byte.is_some() && home.page().is_syncing(sync))
}

/// An end below which no sync is in doubt but those that nobody saw the end of.
struct Settled {
    end: End,
    /// All that were in doubt.
    doubts: Vec<(usize, u64)>,
    unseen: Vec<Unseen>,
}

/// A sync of which nobody here will hear how it ended.
struct Unseen {
    sync: (usize, u64),
    /// Its process died in it; if not, it is stopped, or its disk takes very long.
    died: bool,
}

fn settle_doubts(home: &Home) -> Result<Settled> {
    let (mut doubts, mut unseen) = (Vec::new(), Vec::new());
    loop {
        let end = home.learn()?;
        let known = home.unsynced.lock().doubts.clone();
        let new = known.into_iter().filter(|doubt| !doubts.contains(doubt)).collect::<Vec<_>>();
        let more = unseen_of(home, &new)?;
        doubts.extend(new);
        if more.is_empty() {
            return Ok(Settled { end, doubts, unseen });
        }
        // What they synced may lie behind this end; nothing more comes to it now.
        unseen.extend(more);
    }
}

/// Waits for syncs that were under way when a segment was opened here, since whether they failed only
/// they are told; gives those whose processes died in them, or do not get on.
fn unseen_of(home: &Home, syncs: &[(usize, u64)]) -> Result<Vec<Unseen>> {
    let mut unseen = Vec::new();
    let since = Instant::now();
    for &sync in syncs {
        while home.page().is_syncing(sync) {
            home.check()?;
            let died = is_dead(home, sync)?;
            if died || since.elapsed() > DOUBT_PATIENCE {
                unseen.push(Unseen { sync, died });
                break;
            }
            sleep(POLL);
        }
    }
    Ok(unseen)
}

fn sync_file(home: &Home, segment: &SegmentFile, doing: &'static str) -> Result<()> {
    syncing(home, doing, || dir::sync_data(&segment.file))
        .map_err(|error| error.in_segment(segment.name.id))
}

/// Says in the page that a sync is under way, for as long as nobody knows how it ends.
fn syncing(home: &Home, doing: &'static str, sync: impl FnOnce() -> io::Result<()>) -> Result<()> {
    home.page().begin_sync(home.participant());
    hook!("sync.before_data");
    sync().map_err(|source| home.poison(doing, source))?;
    home.page().end_sync(home.participant());
    Ok(())
}

/// The segment that the end lies in, if somebody has appended to it since the log was opened. Only there
/// are slots written: what was found after a crash stays as it is.
fn tip(home: &Home, end: End) -> Option<Arc<SegmentFile>> {
    let appended = home.page().due() == Due::Nothing;
    appended.then(|| home.unsynced.lock().segment(end.segment_id)).flatten()
}
