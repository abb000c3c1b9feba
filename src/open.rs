//! Opening a log to append: pass the gate, look at what is there, decide.
//!
//! Nothing is written to any segment of an existing log here; that is for the first append. Does not
//! know: what is done with the log then.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::ahead::Ahead;
use crate::attach::Gate;
use crate::copy::{copy_in_doubt, remove_left_overs};
use crate::create::{NewSegment, create};
use crate::cursors::set_back;
use crate::dir::{self, Dir};
use crate::error::{Error, ErrorKind, Result};
use crate::format::frame::frame_bytes;
use crate::format::header::Reason;
use crate::format::name::{SegmentName, may_lie_in_a_log};
use crate::format::page::Due;
use crate::handle::{Core, Writer};
use crate::home::{Home, Unsynced};
use crate::log::Log;
use crate::map::{End, Owner, ProcessLocal, Token};
use crate::options::{Options, SyncPolicy};
use crate::registry::{Entered, Registered, Registry, enter};
use crate::retention::Clock;
use crate::segment::SegmentFile;
use crate::shared::{Initial, Page};
use crate::survey::{Live, Plan, Recovery, Span, Survey, check_names, list, spans, survey};
use crate::view::Site;
use crate::wake::Wake;
use crate::writer::{Appender, max_record};

/// The logs that this process has open.
static REGISTRY: ProcessLocal<Registry<Core>> = ProcessLocal::new();

impl Options {
    /// Opens the log in the directory `path`, or gives the handle of this process that is open on it
    /// already; then only the sync policy of these options counts.
    ///
    /// # Errors
    /// As [`Log::open`], and `InvalidOption`; `InvalidName` if retention waits for a consumer that nobody can call so.
    ///
    /// # Safety
    /// As [`Log::open`].
    #[allow(unsafe_code)]
    pub unsafe fn open(&self, path: impl AsRef<Path>) -> Result<Log> {
        let options = self.checked()?;
        let path = path.as_ref();
        span!(DEBUG, "open", log = %path.display());
        let dir = open_dir(path, &options)?;
        let entered = enter(&REGISTRY, &dir);
        match entered.map_err(|source| Error::io("opening the log", source).at_path(path))? {
            Entered::Open(core) => Ok(log_of(core, &options)),
            Entered::Free(registered) => {
                Ok(log_of(open_core(dir, &options, registered)?, &options))
            }
        }
    }
}

fn log_of(core: Arc<Core>, options: &Options) -> Log {
    if let SyncPolicy::Every(interval) = options.sync {
        core.sync_every(interval);
    }
    Log { core, sync: options.sync, lock_timeout: options.lock_timeout }
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

/// Refuses what is no log and is not to become one: a directory that holds other things only was
/// hardly meant. Once it is a log, other things in it do no harm.
fn check_is_a_log(dir: &Dir, options: &Options) -> Result<()> {
    let fault = |source| Error::io("listing the directory", source).at_path(dir.path());
    let names = dir.names().map_err(fault)?;
    let segments = names.iter().any(|name| SegmentName::parse(name).is_some());
    let foreign = names.iter().find(|name| !may_lie_in_a_log(name));
    let text = match foreign {
        _ if segments => return Ok(()),
        Some(foreign) => format!("the directory holds no segments, and other things, as {foreign}"),
        None if !options.create => "the directory holds no segments".into(),
        None => return Ok(()),
    };
    Err(Error::new(ErrorKind::NotALog, text).at_path(dir.path()))
}

fn open_core(dir: Dir, options: &Options, registered: Registered<Core>) -> Result<Arc<Core>> {
    check_is_a_log(&dir, options)?;
    check_filesystem(&dir, options)?;
    let gate = Gate::pass(&dir, options.mode)?;
    let fault = |source| Error::io("opening the page", source).at_path(dir.path());
    let page = Page::open(&dir, options.mode).map_err(fault)?;
    let wake = Wake::open(&dir, options.mode)
        .map_err(|source| Error::io("opening the wake words", source).at_path(dir.path()))?;
    let joins = gate.has_company(&dir)? && may_join(&dir, &gate, &page)?;
    let opened =
        if joins { Opened::join(&dir, &page)? } else { Opened::alone(&dir, &page, options)? };
    hook!("open.listed");
    let attachment = gate.stay(&dir, |participant| page.is_vacant(participant))?;
    let Opened { appender, spans, counter, unsynced, log_id, recovery } = opened;
    let token = Token::new(page.count_attachment(), attachment.participant());
    let read_only = || Error::new(ErrorKind::ReadOnly, "the page cannot be written to");
    let appender = page
        .guard(token, attachment.birth(), appender)
        .ok_or_else(|| read_only().at_path(dir.path()))?;
    // Those who wait at the end of what was there see that it goes on here.
    wake.everyone();
    let page = Arc::new(page);
    let home = Home {
        birth: attachment.birth(),
        site: Arc::new(Site::of_log(dir, page.clone(), spans, counter, log_id)),
        page,
        owner: Owner::default(),
        wake,
        ahead: Ahead::new(options.helper_thread),
        token,
        log_id,
        retention: options.retention.clone(),
        clock: Clock::new(),
        segment_bytes: options.segment_bytes,
        max_record: max_record(options.segment_bytes),
        mode: options.mode,
        unsynced: Mutex::new(unsynced),
    };
    if joins {
        // What they appended and did not sync is this process's to sync, too, from now on.
        home.learn()?;
    }
    event!(INFO, next_seq = home.page().end().seq, joined = recovery.joined, "opened");
    if !recovery.clean {
        event!(WARN, ?recovery, "it had not been closed");
    }
    let retains = home.retention.is_set();
    let core = Core::new(home, appender, recovery, attachment, registered);
    // What follows waits for the append lock.
    drop(gate);
    if retains {
        // What cannot be dropped now is tried again at the next roll.
        let dropped = core.lock(options.lock_timeout).and_then(Writer::enforce_retention);
        if dropped.is_err() {
            event!(WARN, ?dropped, "retention could not be kept");
        }
    }
    Ok(core)
}

/// Whether this process joins those that have the log open. If they only seem to be there, it is alone.
fn may_join(dir: &Dir, gate: &Gate, page: &Page) -> Result<bool> {
    // Those who hold a byte of this very file initialised the page in this boot, whatever mount they
    // see it through; and the page cache is one.
    let is_theirs = page.is_of_this_boot();
    let is_theirs =
        is_theirs.map_err(|source| Error::io("reading the page", source).at_path(dir.path()))?;
    if is_theirs && !page.is_poisoned() {
        return Ok(true);
    }
    if !gate.has_company_that_stays(dir)? {
        return Ok(false);
    }
    let (kind, text) = match is_theirs {
        true => (ErrorKind::Poisoned, "close the log in every process and open it again"),
        false => (ErrorKind::InUse, "who has it open keeps no coordination page that counts here"),
    };
    Err(Error::new(kind, text).at_path(dir.path()))
}

/// Refuses file systems on which one process does not see what another stores.
fn check_filesystem(dir: &Dir, options: &Options) -> Result<()> {
    let fault = |source| Error::io("looking at the file system", source).at_path(dir.path());
    match dir.incoherent_filesystem().map_err(fault)? {
        Some(name) if !options.any_filesystem => {
            let text = format!("{name} does not show a mapping what another machine stores");
            Err(Error::new(ErrorKind::UnsupportedFilesystem, text).at_path(dir.path()))
        }
        _ => Ok(()),
    }
}

/// Makes the directory's own name durable. A user who may not look above it did not make it there.
fn sync_parent(dir: &Dir) -> io::Result<()> {
    match dir.sync_parent() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

/// How often a log is listed to be joined while segments go that were listed.
const LISTINGS: usize = 10;

/// What opening came to.
struct Opened {
    appender: Appender,
    spans: Vec<Span>,
    /// The directory counter from before the spans were listed.
    counter: u64,
    unsynced: Unsynced,
    log_id: [u8; 16],
    recovery: Recovery,
}

impl Opened {
    /// Nobody has the log open: looks at what is there, recovers it if need be, or makes a new one.
    fn alone(dir: &Dir, page: &Page, options: &Options) -> Result<Self> {
        let fault = |source| Error::io("reading the page", source).at_path(dir.path());
        let live = page.is_live().map_err(fault)?;
        // Copying is safe wherever it is not needed, so doubt does not ask for the mount.
        let in_doubt =
            (page.is_poisoned() || page.any_syncing()) && page.is_of_this_boot().map_err(fault)?;
        let names = list(dir, Some(page).filter(|_| live))?;
        let Some(last) = names.last() else { return Self::create(dir, page, options) };
        let found = survey(dir, &names, live.then(|| Site::live(page)))?;
        match in_doubt {
            true => Self::rewrite(dir, page, found, last.id, options),
            false => Self::recover(dir, page, found, last.id),
        }
    }

    /// Others have the log open: there is nothing to recover, and what one of them left half done when
    /// it died is for who needs the lock next.
    fn join(dir: &Dir, page: &Page) -> Result<Self> {
        for _ in 1..LISTINGS {
            match Self::join_now(dir, page) {
                // Trimmed since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => return other,
            }
        }
        Self::join_now(dir, page)
    }

    fn join_now(dir: &Dir, page: &Page) -> Result<Self> {
        // Before the listing: what others name from here on makes the next look list anew.
        let counter = page.directory();
        let names = list(dir, Some(page))?;
        check_names(dir, &names)?;
        let mut log_id = None;
        for name in names.iter().rev() {
            match SegmentFile::open_to_read(dir, *name) {
                Err(error) if error.kind() == ErrorKind::Damaged => {}
                file => {
                    log_id = Some(file?.header.log_id);
                    break;
                }
            }
        }
        let no_log = || Error::new(ErrorKind::NotALog, "the directory holds no segments");
        Ok(Opened {
            appender: Appender::new(page.end(), page.epoch()),
            spans: spans(&names),
            counter,
            unsynced: Unsynced::default(),
            log_id: log_id.ok_or_else(|| no_log().at_path(dir.path()))?,
            recovery: Recovery { clean: true, live: true, joined: true, ..Recovery::default() },
        })
    }

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
            participant: 0,
        };
        let created = create(dir, page, &new)?;
        dir.sync().and_then(|()| sync_parent(dir)).map_err(fault)?;
        let name = created.file.name;
        let end = End { segment_id: name.id, offset: created.map.end(), seq: name.base_seq };
        let initial = Initial {
            end,
            epoch: new.epoch,
            first_seq: new.first_seq,
            durable_seq: new.durable_seq,
            due: Due::Nothing,
            last_id: name.id,
        };
        page.initialise(&initial).map_err(fault)?;
        let mut unsynced = Unsynced::default();
        let appender = Appender::of_new_log(created, &mut unsynced);
        let recovery = Recovery { clean: true, ..Recovery::default() };
        let (spans, counter) = (spans(&[name]), page.directory());
        Ok(Opened { appender, spans, counter, unsynced, log_id, recovery })
    }

    /// Writes anew what a sync that failed, or that nobody saw the end of, left in doubt; then takes
    /// over what is there. Until that is done the page says what it said, so that whoever opens the log
    /// after an error or a death in between begins again.
    fn rewrite(
        dir: &Dir,
        page: &Page,
        found: Survey,
        last_id: u64,
        options: &Options,
    ) -> Result<Self> {
        let durable_seq = found.durable_seq;
        let used_up = |what| Error::new(ErrorKind::OutOfRange, what).at_path(dir.path());
        // Where a fresh segment is due, numbers may be given again: as there, under a new epoch.
        let raise = u64::from(found.plan == Plan::Fresh);
        let epoch =
            found.epoch.checked_add(raise).ok_or_else(|| used_up("the log has used all epochs"))?;
        let new = NewSegment {
            id: last_id
                .checked_add(1)
                .ok_or_else(|| used_up("the log has used all segment ids"))?,
            base_seq: durable_seq,
            reason: Reason::Copy,
            epoch,
            log_id: found.log_id.unwrap_or_default(),
            segment_bytes: options.segment_bytes,
            durable_seq,
            first_seq: found.first_seq,
            room: 0,
            mode: options.mode,
            participant: 0,
        };
        let end = copy_in_doubt(dir, page, &found, durable_seq, new)?;
        let names = list(dir, Some(page))?;
        let last_id = names.last().map_or(last_id, |last| last.id);
        // What was made just now is as it was made.
        let live =
            Live { end, durable_seq: end.seq, first_seq: found.first_seq, epoch, fresh_due: false };
        let mut again = survey(dir, &names, Some(live))?;
        let copied = end.seq - durable_seq;
        again.report = Recovery { copied, clean: false, ..found.report };
        Self::recover(dir, page, again, last_id)
    }

    /// Takes over what a survey found. Nothing is written to any segment: that is for the first
    /// append, so a log opens on a full disk.
    fn recover(dir: &Dir, page: &Page, found: Survey, last_id: u64) -> Result<Self> {
        let Survey { spans, end, first_seq, durable_seq, epoch, log_id, plan, report } = found;
        let mut unsynced = Unsynced::default();
        if !report.clean {
            // Who made the log may have died before its directory's own name was durable.
            sync_parent(dir).map_err(|source| {
                Error::io("syncing the directory above", source).at_path(dir.path())
            })?;
            remove_left_overs(dir)?;
            // Who gave the last segment its name may have died before that was durable; and if it cut the
            // log, what it cut must not come back once somebody has seen that it is gone.
            dir.sync()
                .map_err(|source| Error::io("syncing the directory", source).at_path(dir.path()))?;
            for span in spans.iter().filter(|span| span.end_seq > durable_seq) {
                match SegmentFile::open_to_write(dir, span.name) {
                    Err(error) if error.kind() == ErrorKind::Damaged => {}
                    other => unsynced.add(&Arc::new(other?)),
                }
            }
        }
        let due = match plan {
            Plan::GoOn { clean } => Due::Reopen { clean },
            Plan::Fresh => Due::Fresh,
        };
        let initial = Initial { end, epoch, first_seq, durable_seq, due, last_id };
        page.initialise(&initial)
            .map_err(|source| Error::io("initialising the page", source).at_path(dir.path()))?;
        let log_id = match log_id {
            Some(log_id) => log_id,
            // No segment has a header left: what is appended from now on is a log of its own.
            None => dir::random()
                .map_err(|source| Error::io("drawing an id", source).at_path(dir.path()))?,
        };
        set_back(dir, log_id, epoch, first_seq)?;
        let appender = Appender::new(end, epoch);
        let counter = page.directory();
        Ok(Opened { appender, spans, counter, unsynced, log_id, recovery: report })
    }
}
