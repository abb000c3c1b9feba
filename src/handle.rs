//! What all handles of one open log share, and the append lock with what can be done under it.
//!
//! Does not know: how it came to be open.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::attach::Attachment;
use crate::error::{ErrorKind, Result};
use crate::helper::Helper;
use crate::home::Home;
use crate::registry::Registered;
use crate::survey::{Plan, Recovery};
use crate::sync::Syncer;
use crate::writer::Appender;

/// One open log.
pub(crate) struct Core {
    pub(crate) home: Arc<Home>,
    pub(crate) appender: Mutex<Appender>,
    pub(crate) syncer: Arc<Syncer>,
    pub(crate) helper: Helper,
    pub(crate) recovery: Recovery,
    closed: bool,
    /// What makes this process the appending one; released after everything above is done.
    attachment: Attachment,
    /// Given back last: then this process may open the log anew.
    registered: Registered<Core>,
}

impl Core {
    pub(crate) fn new(
        home: Home,
        appender: Appender,
        recovery: Recovery,
        attachment: Attachment,
        registered: Registered<Core>,
    ) -> Arc<Self> {
        let core = Arc::new(Core {
            home: Arc::new(home),
            appender: Mutex::new(appender),
            syncer: Arc::new(Syncer::new()),
            helper: Helper::new(),
            recovery,
            closed: false,
            attachment,
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

    #[inline]
    pub(crate) fn lock(&self) -> Result<Writer<'_>> {
        self.check_thread()?;
        Ok(Writer::new(self, self.appender.lock()))
    }

    /// No record waits longer for its sync, those included that wait already.
    pub(crate) fn sync_every(&self, interval: Duration) {
        self.helper.sync_every(interval);
        if self.home.page().durable_seq() < self.home.page().end().seq {
            self.stir();
        }
    }

    /// Tells the helper that there is something to sync.
    #[inline]
    fn stir(&self) {
        self.helper.stir(&self.home, &self.syncer);
    }

    pub(crate) fn shut(&mut self) -> Result<()> {
        self.home.check_process()?;
        self.helper.stop();
        if std::mem::replace(&mut self.closed, true) {
            return Ok(());
        }
        let found_clean = self.appender.get_mut().found_plan() == Some(Plan::GoOn { clean: true });
        if found_clean { Ok(()) } else { self.syncer.close(&self.home) }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if self.attachment.birth().is_this_process() {
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
    appender: MutexGuard<'l, Appender>,
    _stays_on_its_thread: PhantomData<*const ()>,
}

impl<'l> Writer<'l> {
    pub(crate) fn new(core: &'l Core, appender: MutexGuard<'l, Appender>) -> Self {
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
        self.writer.appender.reserved(self.len as u64)
    }
}

impl DerefMut for Slot<'_, '_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.writer.appender.reserved_mut(self.len as u64)
    }
}

impl io::Write for Slot<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
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
