//! The handle of a log that this process appends to.
//!
//! Does not know: how a log is opened, how anything is done.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::consumer::{Consumer, ConsumerInfo};
use crate::cursors::Cursors;
use crate::error::{Error, ErrorKind, Result};
use crate::handle::{Core, Writer};
use crate::options::{Options, SyncPolicy};
use crate::reader::{Reader, Stats};
use crate::survey::Recovery;
use crate::sync::SyncCounts;
use crate::writer::held;

/// A log open to append and to read. Cheap to clone, and all clones, and all handles that one process
/// opens on one directory, are one log. Any number of processes may have it open, up to 256 of them to
/// append.
///
/// Appending takes `&self`, from any thread of any process. A record whose append returned survives the death of
/// this process (G1); it survives a power cut once [`sync`](Self::sync) returned (G2).
///
/// In a child of `fork` every call gives [`Forked`](ErrorKind::Forked) and dropping does nothing.
///
/// Dropping the last handle syncs and closes the log as well as it can; [`close`](Self::close) says
/// how that went.
#[derive(Clone)]
pub struct Log {
    pub(crate) core: Arc<Core>,
    pub(crate) sync: SyncPolicy,
    pub(crate) lock_timeout: Duration,
}

impl Log {
    /// Opens the log in the directory `path` with the default [`Options`]; creates it if it does not
    /// exist.
    ///
    /// Cost: a directory listing if the log was closed. After a crash it reads what was written since
    /// about the last sync; [`recovery`](Self::recovery) tells what it found.
    ///
    /// # Errors
    /// `NotALog`, `PermissionDenied`, `StorageFull`, `UnsupportedVersion`, `UnsupportedFeature`,
    /// `UnsupportedFilesystem`, `Io`; `Poisoned` if a sync failed and other processes have the log open
    /// yet; `LockTimeout` if another process is opening it all the while;
    /// [`InUse`](ErrorKind::InUse) if 256 processes append already.
    /// A damaged log opens; reading it tells what is lost.
    ///
    /// # Safety
    /// Only maplog changes the files in this directory while handles, readers or records are alive:
    /// a record's bytes are those of the file, and safe code holds references to them. Damage from
    /// before it was opened is not part of the contract; that gives errors or a report.
    #[allow(unsafe_code)]
    pub unsafe fn open(path: impl AsRef<Path>) -> Result<Self> {
        // SAFETY: the caller's promise is the same.
        unsafe { Self::options().open(path) }
    }

    /// Options to open a log with.
    pub fn options() -> Options {
        Options::default()
    }

    /// Appends a record and gives its sequence number. An empty record is a record.
    ///
    /// When it returns, every reader sees the record, and it survives the death of every process (G1).
    /// Cost: a lock, a checksum and a copy of the record.
    ///
    /// # Errors
    /// `TooLarge`; `StorageFull`, `QuotaExceeded`, `FileSizeLimit` (nothing was appended, and it works
    /// again once there is room); `Poisoned`; `Replaced`; `Deadlock` if this thread holds a [`Writer`];
    /// `LockTimeout` if another thread or process holds one for longer than
    /// [`Options::lock_timeout`]; `Forked`.
    /// Under [`SyncPolicy::Always`] also those of [`sync`](Self::sync): then the record was appended and
    /// is not known to be durable.
    pub fn append(&self, record: impl AsRef<[u8]>) -> Result<u64> {
        let record = record.as_ref();
        let seq = self.core.lock(self.lock_timeout)?.append(record)?;
        self.keep_policy(seq + 1)?;
        Ok(seq)
    }

    /// Appends all records as one batch, and gives their sequence numbers: after a crash either all
    /// are there or none (G5). Each record's `as_ref` is called once, before the log is locked.
    ///
    /// # Errors
    /// As [`append`](Self::append). A batch must fit into one segment, with 16 bytes a record and
    /// padding to 16.
    pub fn append_batch<T: AsRef<[u8]>>(&self, records: &[T]) -> Result<Range<u64>> {
        let records: Vec<&[u8]> = records.iter().map(AsRef::as_ref).collect();
        let seqs = self.core.lock(self.lock_timeout)?.append_slices(&records)?;
        self.keep_policy(seqs.end)?;
        Ok(seqs)
    }

    /// Under `Always`, waits until every record below `seq` is durable; the append lock is free again.
    #[inline]
    fn keep_policy(&self, seq: u64) -> Result<()> {
        match self.sync {
            SyncPolicy::Always => self.core.syncer.sync_to(&self.core.home, seq).map(drop),
            SyncPolicy::Every(_) | SyncPolicy::Manual => Ok(()),
        }
    }

    /// Takes the append lock for many appends. Waits until no other thread or process has it; all of
    /// them wait until the writer is dropped. The lock of a process that died is taken over: then what it
    /// had committed is found in the files first.
    ///
    /// # Errors
    /// `Deadlock` if this thread has it already; `LockTimeout` after [`Options::lock_timeout`]; `Forked`;
    /// those of reading the files, if a process died with the lock.
    pub fn writer(&self) -> Result<Writer<'_>> {
        self.core.lock(self.lock_timeout)
    }

    /// As [`writer`](Self::writer), but `None` if another thread or process has the lock now.
    ///
    /// # Errors
    /// As [`writer`](Self::writer), but for `LockTimeout`.
    pub fn try_writer(&self) -> Result<Option<Writer<'_>>> {
        self.core.try_lock()
    }

    /// A reader of what is in the log now. It keeps no lock and may outlive the log.
    #[must_use]
    pub fn reader(&self) -> Reader {
        let home = &self.core.home;
        Reader::new(home.site.clone(), home.site.own_view(home.page()))
    }

    /// Puts every record appended so far on stable storage; gives the first sequence number that is
    /// not durable. Syncs of several threads share their work.
    ///
    /// # Errors
    /// `Poisoned` if the sync failed, or an earlier one did: nobody can tell then what the disk holds,
    /// and the log accepts nothing more.
    pub fn sync(&self) -> Result<u64> {
        self.core.syncer.sync(&self.core.home)
    }

    /// Makes record `seq` durable, with all before it; at once if it is.
    ///
    /// # Errors
    /// As [`sync`](Self::sync); `OutOfRange` if there is no such record yet.
    pub fn sync_to(&self, seq: u64) -> Result<u64> {
        self.core.home.check()?;
        let next_seq = self.next_seq();
        if seq >= next_seq {
            let text = format!("record {seq} does not exist, the next is {next_seq}");
            return Err(Error::new(ErrorKind::OutOfRange, text).at_path(self.path()).at_seq(seq));
        }
        self.core.syncer.sync_to(&self.core.home, seq + 1)
    }

    /// Drops the records below `seq`, or all there are if that is past the end: they are gone at once, for
    /// every reader, and do not come back after any crash. Gives the first sequence number that is left.
    ///
    /// Whole segments that hold nothing any more are removed; who reads in one goes on until it lets go. A
    /// reader that comes too late gets [`Trimmed`](ErrorKind::Trimmed). No number is given again, but for those of
    /// unsynced records that a power cut takes.
    ///
    /// Cost: a sync of a slot, and a call for each file that is removed, under the append lock.
    ///
    /// # Errors
    /// `Poisoned` if the sync fails; `LockTimeout`, `Deadlock`, `Forked`, `Replaced`; `Damaged` if neither
    /// slot of the last segment is whole. An error of removing a file leaves it to the next call.
    pub fn trim_before(&self, seq: u64) -> Result<u64> {
        self.core.lock(self.lock_timeout)?.trim_before(seq)
    }

    /// Drops what [`Options::retention`] does not keep, as [`trim_before`](Self::trim_before) does; gives the
    /// first sequence number that is left.
    ///
    /// # Errors
    /// As [`trim_before`](Self::trim_before), and those of looking at the segments.
    pub fn enforce_retention(&self) -> Result<u64> {
        self.core.lock(self.lock_timeout)?.enforce_retention()
    }

    /// Drops record `seq` and all after it, durably when this returns; does nothing if there is none.
    /// The next record gets `seq`, under a higher [`epoch`](Self::epoch). For consensus libraries, whose
    /// leader may overrule what was appended.
    ///
    /// A crash at any moment leaves the log as it was or as it is then. Records that readers hold stay as
    /// they are; a [`Tail`](crate::Tail) beyond the cut gets [`Rewound`](ErrorKind::Rewound).
    ///
    /// Cost: syncs what is left, and makes a new segment.
    ///
    /// # Errors
    /// `Trimmed` if `seq` is below [`first_seq`](Self::first_seq): then [`reset`](Self::reset) is what is
    /// meant; as [`append`](Self::append), and `Poisoned` if a sync fails.
    pub fn truncate_from(&self, seq: u64) -> Result<()> {
        self.core.lock(self.lock_timeout)?.truncate_from(seq)
    }

    /// Drops all records, durably when this returns; the next one gets `next_seq`, which may be any number,
    /// under a higher [`epoch`](Self::epoch). For replicas that begin anew from a snapshot.
    ///
    /// A crash at any moment leaves the log as it was or as it is then.
    ///
    /// # Errors
    /// `OutOfRange` if `next_seq` is above 2^56 - 2; as [`truncate_from`](Self::truncate_from).
    pub fn reset(&self, next_seq: u64) -> Result<()> {
        self.core.lock(self.lock_timeout)?.reset(next_seq)
    }

    /// Takes the consumer `name`: receives records under it from where it left off, at first from the log's first record
    /// on. Names are 1 to 100 letters, digits, `-`, `_` and `.`, the last not first.
    ///
    /// # Errors
    /// `ConsumerInUse` if another handle has it, in any process; `InvalidName`; `Damaged` if its file is, and
    /// `Replaced` if it is of another log: [`remove_consumer`](Self::remove_consumer) lets it begin anew; those of
    /// making files; `Forked`.
    pub fn consumer(&self, name: &str) -> Result<Consumer> {
        let home = &self.core.home;
        home.check_process()?;
        let sync_within = match self.sync {
            SyncPolicy::Always => Some(Duration::ZERO),
            SyncPolicy::Every(interval) => Some(interval),
            SyncPolicy::Manual => None,
        };
        let reader = self.surveying_reader()?;
        Consumer::open(&reader, home.dir(), name, home.mode, home.log_id, sync_within)
    }

    /// Removes the consumer `name`, durably; false if there is none.
    ///
    /// # Errors
    /// `ConsumerInUse`; `InvalidName`; those of removing its file; `Forked`.
    pub fn remove_consumer(&self, name: &str) -> Result<bool> {
        self.core.home.check_process()?;
        Cursors::remove(self.core.home.dir(), name)
    }

    /// As [`Reader::consumers`], as of now.
    ///
    /// # Errors
    /// As [`Reader::consumers`].
    pub fn consumers(&self) -> Result<Vec<ConsumerInfo>> {
        self.surveying_reader()?.consumers()
    }

    /// As [`reader`](Self::reader), and of the epoch that the last segment says, also beside a cut whose process died
    /// before it told of that: a consumer's place may be of it already.
    fn surveying_reader(&self) -> Result<Reader> {
        let site = &self.core.home.site;
        Ok(Reader::new(site.clone(), site.view()?))
    }

    /// The lowest sequence number that was not trimmed.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        self.core.home.page().first_seq()
    }

    /// The sequence number that the next record gets.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.core.home.page().end().seq
    }

    /// Every record below it survives a power cut.
    #[must_use]
    pub fn durable_seq(&self) -> u64 {
        let page = self.core.home.page();
        page.durable_seq().min(page.end().seq)
    }

    /// How many sequence numbers the log holds.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.next_seq().saturating_sub(self.first_seq())
    }

    /// True if the log holds no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// 128 bits drawn when the log was created, that tell it from all others.
    #[must_use]
    pub fn id(&self) -> [u8; 16] {
        self.core.home.log_id
    }

    /// Rises whenever sequence numbers may be given again; (epoch, sequence number) is unique.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.core.home.page().epoch()
    }

    /// The log's directory, as it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.core.home.dir().path()
    }

    /// The longest record that fits, in bytes.
    #[must_use]
    pub fn max_record(&self) -> u64 {
        self.core.home.max_record
    }

    /// What opening the log found.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.core.recovery
    }

    /// How much there is of the log, and what holds space that [`Options::retention`] would give back.
    ///
    /// Cost: a call to the file system for each segment; if retention waits for consumers, some, and a sync
    /// of each one's file.
    ///
    /// # Errors
    /// Those of looking at the files.
    pub fn stats(&self) -> Result<Stats> {
        let home = &self.core.home;
        let SyncCounts { count: syncs, total: sync_time, longest: longest_sync } =
            self.core.syncer.counts();
        let of_process = Stats { held: held(home)?, ..self.reader().stats()? };
        Ok(Stats { syncs, sync_time, longest_sync, ..of_process })
    }

    /// Syncs; if this is the last handle, also closes the log, so that the next opening finds it clean.
    ///
    /// # Errors
    /// As [`sync`](Self::sync), and `Forked`. The log is closed all the same; what was not synced
    /// survives all but a power cut.
    pub fn close(self) -> Result<()> {
        let synced = self.sync();
        match Arc::into_inner(self.core) {
            Some(mut last) => last.shut().and(synced.map(drop)),
            None => synced.map(drop),
        }
    }
}

impl Log {
    /// Lets go of the log without a sync, for who ends at once and does not wait for a disk: what was not synced
    /// survives all but a power cut. If nobody else has the log open, it is not closed then, and the
    /// next opening reads what was written since about the last sync.
    ///
    /// Does nothing more than a drop if other handles of this process have it open. A sync that the log's own
    /// thread is at comes to its end first: a process that ends inside one leaves records in doubt, which
    /// the next opening writes anew.
    pub fn leave(self) {
        if let Some(mut last) = Arc::into_inner(self.core) {
            last.leave_open();
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("path", &self.path())
            .field("first_seq", &self.first_seq())
            .field("next_seq", &self.next_seq())
            .field("durable_seq", &self.durable_seq())
            .finish_non_exhaustive()
    }
}
