//! The handle of a log that this process appends to.
//!
//! Opening is here: pass the gate, look at what is there, decide. Does not know: frames.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::path::Path;
use std::sync::{Arc, Weak};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::attach::{Attachment, Gate};
use crate::create::{NewSegment, create};
use crate::dir::{self, Dir, Identity};
use crate::error::{Error, ErrorKind, Result};
use crate::format::frame::frame_bytes;
use crate::format::header::Reason;
use crate::home::{Home, Unsynced};
use crate::map::{Birth, End, Owner, ProcessLocal};
use crate::options::Options;
use crate::reader::{Reader, Stats};
use crate::segment::SegmentFile;
use crate::shared::{Initial, Page};
use crate::survey::{Plan, Recovery, Span, Survey, list, spans, survey};
use crate::sync::Syncer;
use crate::view::Site;
use crate::writer::{Appender, max_record};

/// A log open to append and to read. Cheap to clone, and all clones, and all handles that one process
/// opens on one directory, are one log.
///
/// Appending takes `&self`, from any thread. A record whose append returned survives the death of
/// this process (G1); it survives a power cut once [`sync`](Self::sync) returned (G2).
///
/// In a child of `fork` every call gives [`Forked`](ErrorKind::Forked) and dropping does nothing.
///
/// Dropping the last handle syncs and closes the log as well as it can; [`close`](Self::close) says
/// how that went.
#[derive(Clone)]
pub struct Log {
    core: Arc<Core>,
}

struct Core {
    home: Home,
    appender: Mutex<Appender>,
    syncer: Syncer,
    recovery: Recovery,
    closed: bool,
    /// What makes this process the appending one; released after everything above is done.
    attachment: Attachment,
    _registered: Registered,
}

impl Log {
    /// Opens the log in the directory `path` with the default [`Options`]; creates it if it does not
    /// exist.
    ///
    /// Cost: a directory listing if the log was closed. After a crash it reads what was written since
    /// about the last sync; [`recovery`](Self::recovery) tells what it found.
    ///
    /// # Errors
    /// [`InUse`](ErrorKind::InUse) if another process appends; `NotALog`, `PermissionDenied`,
    /// `StorageFull`, `UnsupportedVersion`, `UnsupportedFeature`, `Poisoned`, `LockTimeout`, `Io`.
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
    /// again once there is room); `Poisoned`; `Deadlock` if this thread holds a [`Writer`]; `Forked`.
    pub fn append(&self, record: impl AsRef<[u8]>) -> Result<u64> {
        let record = record.as_ref();
        let core = &*self.core;
        core.lock()?.appender.append(&core.home, &core.syncer, record)
    }

    /// Appends all records as one batch, and gives their sequence numbers: after a crash either all
    /// are there or none (G5). Each record's `as_ref` is called once, before the log is locked.
    ///
    /// # Errors
    /// As [`append`](Self::append). A batch must fit into one segment, with 16 bytes a record and
    /// padding to 16.
    pub fn append_batch<T: AsRef<[u8]>>(&self, records: &[T]) -> Result<Range<u64>> {
        let records: Vec<&[u8]> = records.iter().map(AsRef::as_ref).collect();
        let core = &*self.core;
        core.lock()?.appender.append_batch(&core.home, &core.syncer, &records)
    }

    /// Takes the append lock for many appends. Waits until no other thread has it.
    ///
    /// # Errors
    /// `Deadlock` if this thread has it already; `Forked`.
    pub fn writer(&self) -> Result<Writer<'_>> {
        self.core.lock()
    }

    /// As [`writer`](Self::writer), but `None` if another thread has the lock now.
    ///
    /// # Errors
    /// `Deadlock` if this thread has it already; `Forked`.
    pub fn try_writer(&self) -> Result<Option<Writer<'_>>> {
        self.core.check_thread()?;
        Ok(self.core.appender.try_lock().map(|appender| Writer::new(&self.core, appender)))
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
        match self.durable_seq() {
            durable if durable > seq => Ok(durable),
            _ => self.sync(),
        }
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
        self.core.home.page().durable_seq()
    }

    /// How many sequence numbers the log holds.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.next_seq() - self.first_seq()
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
        max_record(self.core.home.segment_bytes)
    }

    /// What opening the log found.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.core.recovery
    }

    /// How much there is of the log.
    ///
    /// # Errors
    /// Those of looking at the segments' files.
    pub fn stats(&self) -> Result<Stats> {
        self.reader().stats()
    }

    /// Syncs; if this is the last handle, also closes the log, so that the next opening finds it clean.
    ///
    /// # Errors
    /// As [`sync`](Self::sync). The log is closed all the same; what was not synced survives all but a
    /// power cut.
    pub fn close(self) -> Result<()> {
        let synced = self.sync();
        match Arc::into_inner(self.core) {
            Some(mut last) => last.shut(),
            None => synced.map(drop),
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

/// The append lock, held: many appends for one locking. Not to be sent to another thread.
///
/// Records are visible to readers as they are appended. Dropping it gives the lock back.
pub struct Writer<'l> {
    core: &'l Core,
    appender: MutexGuard<'l, Appender>,
    _stays_on_its_thread: PhantomData<*const ()>,
}

impl<'l> Writer<'l> {
    fn new(core: &'l Core, appender: MutexGuard<'l, Appender>) -> Self {
        core.home.owner.set();
        Writer { core, appender, _stays_on_its_thread: PhantomData }
    }

    /// As [`Log::append`].
    ///
    /// # Errors
    /// As [`Log::append`].
    #[inline]
    pub fn append(&mut self, record: impl AsRef<[u8]>) -> Result<u64> {
        self.appender.append(&self.core.home, &self.core.syncer, record.as_ref())
    }

    /// As [`Log::append_batch`].
    ///
    /// # Errors
    /// As [`Log::append_batch`].
    pub fn append_batch<T: AsRef<[u8]>>(&mut self, records: &[T]) -> Result<Range<u64>> {
        let records: Vec<&[u8]> = records.iter().map(AsRef::as_ref).collect();
        self.appender.append_batch(&self.core.home, &self.core.syncer, &records)
    }

    /// Reserves `len` bytes in the log's own memory, to be filled in place. Nothing is appended until
    /// the slot is committed.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn reserve(&mut self, len: usize) -> Result<Slot<'_, 'l>> {
        self.appender.reserve(&self.core.home, &self.core.syncer, len as u64)?;
        Ok(Slot { writer: self, len, written: 0 })
    }

    /// Gives the lock back and makes what was appended durable; gives the first sequence number that
    /// is not.
    ///
    /// # Errors
    /// As [`Log::sync`].
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
    pub fn commit(self) -> Result<u64> {
        self.writer.appender.commit(&self.writer.core.home, self.len as u64)
    }
}

impl Deref for Slot<'_, '_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.writer.appender.reserved(self.len as u64)
    }
}

impl DerefMut for Slot<'_, '_> {
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

impl Core {
    /// Refuses what would hang: a lock that this thread holds, or one that a child of `fork` would
    /// wait for a thread that it does not have to give back.
    #[inline]
    fn check_thread(&self) -> Result<()> {
        if !self.home.birth.is_this_process() {
            return Err(self.home.error(ErrorKind::Forked, "open the log anew in the child"));
        }
        if self.home.owner.is_this_thread() {
            return Err(self
                .home
                .error(ErrorKind::Deadlock, "drop the writer first, or append through it"));
        }
        Ok(())
    }

    #[inline]
    fn lock(&self) -> Result<Writer<'_>> {
        self.check_thread()?;
        Ok(Writer::new(self, self.appender.lock()))
    }

    fn shut(&mut self) -> Result<()> {
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

impl Options {
    /// Opens the log in the directory `path`, or gives the handle of this process that is open on it
    /// already; then these options are not looked at.
    ///
    /// # Errors
    /// As [`Log::open`], and `InvalidOption`.
    ///
    /// # Safety
    /// As [`Log::open`].
    #[allow(unsafe_code)]
    pub unsafe fn open(&self, path: impl AsRef<Path>) -> Result<Log> {
        let options = self.checked()?;
        let path = path.as_ref();
        let dir = open_dir(path, &options)?;
        let place = Registered::enter(&dir)?;
        match place {
            Entered::Open(core) => Ok(Log { core }),
            Entered::Free(registered) => {
                let core = Arc::new(open_core(dir, &options, registered)?);
                core._registered.announce(&core);
                Ok(Log { core })
            }
        }
    }
}

fn open_dir(path: &Path, options: &Options) -> Result<Dir> {
    let fault = |source| Error::io("opening the log", source).at_path(path);
    match Dir::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && options.create => {
            Dir::create(path, options.mode).and_then(|()| Dir::open(path)).map_err(fault)
        }
        other => other.map_err(fault),
    }
}

fn open_core(dir: Dir, options: &Options, registered: Registered) -> Result<Core> {
    if !options.create && list(&dir, None)?.is_empty() {
        let text = "the directory holds no segments";
        return Err(Error::new(ErrorKind::NotALog, text).at_path(dir.path()));
    }
    let gate = Gate::pass(&dir, options.mode)?;
    let fault = |doing, source, dir: &Dir| Error::io(doing, source).at_path(dir.path());
    let page =
        Page::open(&dir, options.mode).map_err(|source| fault("opening the page", source, &dir))?;
    let live = page.is_live().map_err(|source| fault("reading the page", source, &dir))?;
    if live && page.is_poisoned() {
        let text = "it was closed after that; what it holds can be read with a Reader";
        return Err(Error::new(ErrorKind::Poisoned, text).at_path(dir.path()));
    }
    let names = list(&dir, Some(&page).filter(|_| live))?;
    let opened = match names.last() {
        None => Opened::create(&dir, &page, options)?,
        Some(last) => {
            let found = survey(&dir, &names, live.then(|| Site::live(&page)))?;
            Opened::recover(&dir, &page, found, last.id)?
        }
    };
    let attachment = gate.stay().map_err(|source| fault("locking the log", source, &dir))?;
    let Opened { appender, spans, unsynced, log_id, recovery } = opened;
    let home = Home {
        birth: attachment.birth(),
        site: Arc::new(Site::of_log(dir, page, spans)),
        owner: Owner::default(),
        log_id,
        segment_bytes: options.segment_bytes,
        mode: options.mode,
        unsynced: Mutex::new(unsynced),
    };
    Ok(Core {
        home,
        appender: Mutex::new(appender),
        syncer: Syncer::new(),
        recovery,
        closed: false,
        attachment,
        _registered: registered,
    })
}

/// What opening came to.
struct Opened {
    appender: Appender,
    spans: Vec<Span>,
    unsynced: Unsynced,
    log_id: [u8; 16],
    recovery: Recovery,
}

impl Opened {
    /// Makes a new log, durable with its directory's name when this returns.
    fn create(dir: &Dir, page: &Page, options: &Options) -> Result<Self> {
        let fault = |source| Error::io("creating the log", source).at_path(dir.path());
        let log_id = dir::random().map_err(fault)?;
        let new = NewSegment {
            id: 1,
            base_seq: options.first_seq,
            reason: Reason::First,
            epoch: 1,
            log_id,
            segment_bytes: options.segment_bytes,
            durable_seq: options.first_seq,
            first_seq: options.first_seq,
            room: frame_bytes(0),
            mode: options.mode,
        };
        let created = create(dir, page, &new)?;
        dir.sync().and_then(|()| dir.sync_parent()).map_err(fault)?;
        let name = created.file.name;
        let end = End { segment_id: name.id, offset: created.map.end(), seq: name.base_seq };
        let initial = Initial {
            end,
            epoch: new.epoch,
            first_seq: new.first_seq,
            durable_seq: new.durable_seq,
        };
        page.initialise(&initial).map_err(fault)?;
        let mut unsynced = Unsynced::default();
        let appender = Appender::of_new_log(created, &mut unsynced);
        let recovery = Recovery { clean: true, ..Recovery::default() };
        Ok(Opened { appender, spans: spans(&[name]), unsynced, log_id, recovery })
    }

    /// Takes over what a survey found. Nothing is written to any segment: that is for the first
    /// append, so a log opens on a full disk.
    fn recover(dir: &Dir, page: &Page, found: Survey, last_id: u64) -> Result<Self> {
        let Survey { spans, end, first_seq, durable_seq, epoch, log_id, plan, report } = found;
        let mut unsynced = Unsynced::default();
        if !report.clean {
            unsynced.names = true;
            for span in spans.iter().filter(|span| span.end_seq > durable_seq) {
                match SegmentFile::open_to_write(dir, span.name) {
                    Err(error) if error.kind() == ErrorKind::Damaged => {}
                    other => unsynced.segments.push(Arc::new(other?)),
                }
            }
        }
        let initial = Initial { end, epoch, first_seq, durable_seq };
        page.initialise(&initial)
            .map_err(|source| Error::io("initialising the page", source).at_path(dir.path()))?;
        let appender = Appender::new(end, plan, epoch, last_id);
        Ok(Opened { appender, spans, unsynced, log_id, recovery: report })
    }
}

/// The logs that this process has open, by directory.
static REGISTRY: ProcessLocal<Registry> = ProcessLocal::new();

#[derive(Default)]
struct Registry {
    logs: Mutex<HashMap<Identity, Weak<Core>>>,
    /// A log was opened, or closed for good.
    changed: Condvar,
}

/// A directory's place in the registry: from before the log is opened until after it is closed, so
/// that the process never meets its own lock.
struct Registered {
    registry: &'static Registry,
    identity: Identity,
    birth: Birth,
}

enum Entered {
    Open(Arc<Core>),
    Free(Registered),
}

impl Registered {
    /// Waits while another thread opens or closes the same log.
    fn enter(dir: &Dir) -> Result<Entered> {
        let fault = |source| Error::io("opening the log", source).at_path(dir.path());
        let registry = REGISTRY.get().map_err(fault)?;
        let birth = Birth::here().map_err(fault)?;
        let identity = dir.identity().map_err(fault)?;
        let mut logs = registry.logs.lock();
        loop {
            match logs.get(&identity).map(Weak::upgrade) {
                Some(Some(core)) => return Ok(Entered::Open(core)),
                Some(None) => registry.changed.wait(&mut logs),
                None => {
                    logs.insert(identity, Weak::new());
                    return Ok(Entered::Free(Registered { registry, identity, birth }));
                }
            }
        }
    }

    fn announce(&self, core: &Arc<Core>) {
        self.registry.logs.lock().insert(self.identity, Arc::downgrade(core));
        self.registry.changed.notify_all();
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if self.birth.is_this_process() {
            self.registry.logs.lock().remove(&self.identity);
            self.registry.changed.notify_all();
        }
    }
}
