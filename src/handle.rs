//! What all handles of one open log share, and the append lock with what can be done under it.
//!
//! Does not know: how it came to be open.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;
use std::time::Duration;

use crate::attach::{Attachment, Gate};
use crate::error::{ErrorKind, Result};
use crate::format::page::Due;
use crate::helper::Helper;
use crate::home::Home;
use crate::map::{Birth, Guarded, Held, Manner};
use crate::queue::{Queue, inherit};
use crate::registry::Registered;
use crate::survey::Recovery;
use crate::sync::Syncer;
use crate::writer::Appender;

/// How long closing waits for the append lock, which nobody alive has.
const CLOSING: Duration = Duration::from_secs(1);

/// One open log.
pub(crate) struct Core {
    pub(crate) home: Arc<Home>,
    appender: Guarded<Appender>,
    queue: Queue,
    pub(crate) syncer: Arc<Syncer>,
    pub(crate) helper: Helper,
    pub(crate) recovery: Recovery,
    birth: Birth,
    /// What makes this process a participant; given up when the log was closed.
    attachment: Option<Attachment>,
    /// Given back last: then this process may open the log anew.
    registered: Registered<Core>,
}

impl Core {
    pub(crate) fn new(
        home: Home,
        appender: Guarded<Appender>,
        recovery: Recovery,
        attachment: Attachment,
        registered: Registered<Core>,
    ) -> Arc<Self> {
        let core = Arc::new(Core {
            home: Arc::new(home),
            appender,
            queue: Queue::default(),
            syncer: Arc::new(Syncer::new()),
            helper: Helper::new(),
            recovery,
            birth: attachment.birth(),
            attachment: Some(attachment),
            registered,
        });
        core.registered.announce(&core);
        core
    }

    /// Refuses what would hang: a lock that this thread holds, or one that a child of `fork` would
    /// wait for a thread that it does not have to give back.
    #[inline]
    pub(crate) fn check_thread(&self) -> Result<()> {
        self.home.check_process()?;
        if self.home.owner.is_this_thread() {
            return Err(self
                .home
                .error(ErrorKind::Deadlock, "drop the writer first, or append through it"));
        }
        Ok(())
    }

    /// Waits for the append lock.
    #[inline]
    pub(crate) fn lock(&self, timeout: Duration) -> Result<Writer<'_>> {
        self.check_thread()?;
        match self.appender.try_lock(Manner::Polite) {
            Ok(held) => Ok(Writer::new(self, held)),
            Err(_held_by_another) => {
                let held = self.queue.wait(&self.home, &self.appender, timeout)?;
                Ok(Writer::new(self, held))
            }
        }
    }

    /// The append lock, if nobody alive holds it.
    pub(crate) fn try_lock(&self) -> Result<Option<Writer<'_>>> {
        self.check_thread()?;
        let held = match self.appender.try_lock(Manner::Urgent) {
            Ok(held) => Some(held),
            Err(seen) => inherit(&self.home, &self.appender, seen)?,
        };
        Ok(held.map(|held| Writer::new(self, held)))
    }

    /// No record waits longer for its sync, those included that wait already, and those of other processes,
    /// which may die before they sync.
    pub(crate) fn sync_every(&self, interval: Duration) {
        self.helper.sync_every(interval);
        self.stir();
    }

    /// Tells the helper that there is something to sync.
    #[inline]
    fn stir(&self) {
        self.helper.stir(&self.home, &self.syncer);
    }

    /// Syncs, and closes the log if nobody else has it open; gives up this process's place.
    pub(crate) fn shut(&mut self) -> Result<()> {
        self.home.check_process()?;
        self.helper.stop();
        self.home.ahead.stop();
        let Some(attachment) = self.attachment.take() else { return Ok(()) };
        let poisoned = self.home.check();
        let left = self.leave(attachment);
        // Whatever else went wrong then.
        poisoned.and(left)
    }

    /// Gives up this process's place without a sync or a word in the slots; a sync that the helper is at
    /// comes to its end.
    pub(crate) fn leave_open(&mut self) {
        if self.birth.is_this_process() {
            self.helper.stop();
            self.home.ahead.stop();
            drop(self.attachment.take());
        }
    }

    /// Gives up this process's place, behind the gate: who comes then finds it closed, or others in it.
    fn leave(&self, attachment: Attachment) -> Result<()> {
        let mut synced = None;
        loop {
            self.home.check_place()?;
            let gate = Gate::pass(self.home.dir(), self.home.mode)?;
            if !gate.has_company_beside(self.home.dir(), &attachment)? {
                let closed = self.close_log();
                drop(attachment);
                return closed;
            }
            if let Some(synced) = synced {
                drop(attachment);
                return synced;
            }
            // Not behind the gate, where others may wait.
            drop(gate);
            synced = Some(self.syncer.sync(&self.home).map(drop));
        }
    }

    fn close_log(&self) -> Result<()> {
        // What a dead process left is looked at now, or nobody will know that the log was closed.
        let _held = self.lock(CLOSING)?;
        match self.home.page().due() {
            Due::Reopen { clean: true } => Ok(()),
            _ => self.syncer.close(&self.home),
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if self.birth.is_this_process() {
            // Nobody is left to be told; what was appended survives all but a power cut.
            let _as_well_as_it_can = self.shut();
        }
    }
}

/// The append lock, held: many appends for one locking. Not to be sent to another thread.
///
/// Records are visible to readers as they are appended. Dropping it gives the lock back.
pub struct Writer<'l> {
    core: &'l Core,
    appender: Held<'l, Appender>,
    _stays_on_its_thread: PhantomData<*const ()>,
}

impl<'l> Writer<'l> {
    #[inline]
    fn new(core: &'l Core, mut appender: Held<'l, Appender>) -> Self {
        if !appender.is_in_sequence() {
            appender.catch_up(&core.home);
        }
        core.home.owner.set();
        Writer { core, appender, _stays_on_its_thread: PhantomData }
    }

    /// As [`Log::append`](crate::Log::append).
    ///
    /// # Errors
    /// As [`Log::append`](crate::Log::append).
    #[inline]
    pub fn append(&mut self, record: impl AsRef<[u8]>) -> Result<u64> {
        let seq = self.appender.append(&self.core.home, &self.core.syncer, record.as_ref())?;
        self.core.stir();
        Ok(seq)
    }

    /// As [`Log::append_batch`](crate::Log::append_batch).
    ///
    /// # Errors
    /// As [`Log::append_batch`](crate::Log::append_batch).
    pub fn append_batch<T: AsRef<[u8]>>(&mut self, records: &[T]) -> Result<Range<u64>> {
        let records: Vec<&[u8]> = records.iter().map(AsRef::as_ref).collect();
        self.append_slices(&records)
    }

    pub(crate) fn append_slices(&mut self, records: &[&[u8]]) -> Result<Range<u64>> {
        let seqs = self.appender.append_batch(&self.core.home, &self.core.syncer, records)?;
        self.core.stir();
        Ok(seqs)
    }

    pub(crate) fn truncate_from(mut self, seq: u64) -> Result<()> {
        self.appender.truncate_from(&self.core.home, &self.core.syncer, seq)
    }

    pub(crate) fn reset(mut self, next_seq: u64) -> Result<()> {
        self.appender.reset(&self.core.home, &self.core.syncer, next_seq)
    }

    pub(crate) fn enforce_retention(mut self) -> Result<u64> {
        self.appender.enforce_retention(&self.core.home, &self.core.syncer)
    }

    pub(crate) fn trim_before(mut self, seq: u64) -> Result<u64> {
        self.appender.trim_before(&self.core.home, &self.core.syncer, seq)
    }

    /// Reserves `len` bytes in the log's own memory, to be filled in place. Nothing is appended until
    /// the slot is committed.
    ///
    /// # Errors
    /// As [`Log::append`](crate::Log::append).
    #[inline]
    pub fn reserve(&mut self, len: usize) -> Result<Slot<'_, 'l>> {
        self.appender.reserve(&self.core.home, &self.core.syncer, len as u64)?;
        Ok(Slot { writer: self, len, written: 0 })
    }

    /// Gives the lock back and makes what was appended durable; gives the first sequence number that
    /// is not.
    ///
    /// # Errors
    /// As [`Log::sync`](crate::Log::sync).
    pub fn finish(self) -> Result<u64> {
        let core = self.core;
        drop(self);
        core.syncer.sync(&core.home)
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.core.home.owner.clear();
    }
}

impl fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("path", &self.core.home.dir().path()).finish_non_exhaustive()
    }
}

/// Bytes of a record that is being written in place.
///
/// What they hold at first is not specified: zeros, or what an earlier slot left. Dropped
/// without [`commit`](Self::commit), nothing happened. It is also an [`io::Write`] that fills it from
/// the start.
pub struct Slot<'w, 'l> {
    writer: &'w mut Writer<'l>,
    len: usize,
    written: usize,
}

impl Slot<'_, '_> {
    /// Makes the record `len` bytes long; does nothing if it is shorter already.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.written = self.written.min(len);
    }

    /// How many bytes were filled through [`io::Write`].
    #[must_use]
    pub fn written(&self) -> usize {
        self.written
    }

    /// Appends the record, with all its bytes as they stand, and gives its sequence number.
    ///
    /// # Errors
    /// `Poisoned`, `Forked`; then nothing was appended.
    #[inline]
    pub fn commit(self) -> Result<u64> {
        let Writer { core, appender, .. } = self.writer;
        let seq = appender.commit(&core.home, self.len as u64)?;
        core.stir();
        Ok(seq)
    }
}

impl Deref for Slot<'_, '_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self.writer.core.birth.is_this_process() {
            true => self.writer.appender.reserved(self.len as u64),
            false => &[],
        }
    }
}

impl DerefMut for Slot<'_, '_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // The bytes are the log's own: a child would store into what its parent has committed since.
        match self.writer.core.birth.is_this_process() {
            true => self.writer.appender.reserved_mut(self.len as u64),
            false => &mut [],
        }
    }
}

impl io::Write for Slot<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.core.home.check_process()?;
        let from = self.written;
        let written = (&mut self[from..]).write(bytes)?;
        self.written += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Slot<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("len", &self.len)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}
