//! The files in `consumers/`: one for each consumer, with where it is in the log.
//!
//! The kernel holds a lock for who has one open, which goes with its process. Does not know: records, who
//! receives them.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::dir::{self, Dir, File};
use crate::error::{Error, ErrorKind, Result};
use crate::format::cursor::{CURSOR_BYTES, Cursor, CursorState, FILE_BYTES};
use crate::format::name::{CONSUMERS, is_consumer_name, is_next_consumer_name, next_consumer_name};
use crate::lock::{is_locked, try_lock};
use crate::map::{Birth, Hold};
use crate::view::{Site, View};

/// What an owner locks of its file.
const WHOLE: Range<i64> = 0..i64::MAX;

/// How long a file may stay locked before it counts as owned: while a program is started, its process has
/// copies of all descriptors from fork to exec.
const LINGERING: Duration = Duration::from_millis(200);

const POLL: Duration = Duration::from_millis(1);

/// The folder of the consumers' files.
pub(crate) struct Cursors<'d> {
    log: &'d Dir,
    folder: Dir,
}

impl<'d> Cursors<'d> {
    /// `None` if the log never had a consumer.
    pub(crate) fn open(log: &'d Dir) -> Result<Option<Self>> {
        let folder = log.folder(CONSUMERS);
        let folder = folder.map_err(|source| {
            Error::io("opening the consumers' folder", source).at_path(log.path())
        })?;
        Ok(folder.map(|folder| Cursors { log, folder }))
    }

    fn open_or_create(log: &'d Dir, mode: u32) -> Result<Self> {
        let made = log.make_folder(CONSUMERS, mode).and_then(|()| log.folder(CONSUMERS));
        let folder = made.and_then(|made| made.ok_or_else(|| io::ErrorKind::NotFound.into()));
        let folder = folder.map_err(|source| {
            Error::io("making the consumers' folder", source).at_path(log.path())
        })?;
        Ok(Cursors { log, folder })
    }

    /// The names of all consumers, in order.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let names = self.folder.names().map_err(|source| {
            Error::io("listing the consumers", source).at_path(self.folder.path())
        })?;
        let is_one = |name: &String| is_consumer_name(name) && !self.is_no_file(name);
        let mut names: Vec<_> = names.into_iter().filter(is_one).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Where the consumer is; `None` if there is none of that name.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Cursor>> {
        match self.folder.open_to_read(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => {
                let file = opened.map_err(self.fault("opening a consumer", name))?;
                self.newest(name, &file).map(Some)
            }
        }
    }

    /// What is no file is no consumer, whoever put it there.
    fn is_no_file(&self, name: &str) -> bool {
        matches!(self.folder.is_regular(name), Ok(false))
    }

    /// As [`read`](Self::read), and what it gives is on stable storage.
    pub(crate) fn read_durably(&self, name: &str) -> Result<Option<Cursor>> {
        if self.is_no_file(name) {
            return Ok(None);
        }
        let file = match self.folder.open_to_read(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(self.fault("opening a consumer", name))?,
        };
        let place = self.newest(name, &file)?;
        // This place, or one that was stored since.
        dir::sync_data(&file).map_err(self.fault("syncing a consumer", name))?;
        Ok(Some(place))
    }

    /// True if somebody has it open.
    pub(crate) fn is_owned(&self, name: &str) -> Result<bool> {
        match self.folder.open_to_read(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            opened => opened
                .and_then(|file| is_locked(&file, WHOLE))
                .map_err(self.fault("looking at a consumer", name)),
        }
    }

    /// The consumer `name`, owned by the caller from now on; made at the place `first` if there is none.
    pub(crate) fn own(log: &'d Dir, name: &str, mode: u32, first: &Cursor) -> Result<OwnCursor> {
        check_name(name).map_err(|error| error.at_path(log.path()))?;
        let cursors = Self::open_or_create(log, mode)?;
        loop {
            match cursors.take(name)? {
                Some((file, hold, birth)) => {
                    let place = cursors.newest(name, &file)?;
                    let path = cursors.path(name);
                    let hold = Some(hold);
                    return Ok(OwnCursor { file, hold, birth, place, in_doubt: false, path });
                }
                None => cursors.make(name, mode, first)?,
            }
        }
    }

    /// Removes the consumer, durably; false if there is none.
    pub(crate) fn remove(log: &'d Dir, name: &str) -> Result<bool> {
        check_name(name).map_err(|error| error.at_path(log.path()))?;
        let Some(cursors) = Self::open(log)? else { return Ok(false) };
        let Some((_file, _hold, _birth)) = cursors.take(name)? else { return Ok(false) };
        let removed = cursors.folder.remove(name).and_then(|()| cursors.folder.sync());
        removed.map_err(cursors.fault("removing a consumer", name))?;
        Ok(true)
    }

    /// Locks the file that has the name; `None` if there is none.
    fn take(&self, name: &str) -> Result<Option<(File, Hold, Birth)>> {
        let fault = self.fault("opening a consumer", name);
        let since = Instant::now();
        loop {
            let Some(file) = self.opened(name).map_err(&fault)? else { return Ok(None) };
            // The lock belongs to a description of its own, whose descriptor exists for these few calls
            // only: a child of `fork` neither keeps nor gives back what its parent owns. (One made by another
            // thread before the descriptor is closed here keeps the name until it ends or executes.)
            let Some(lock) = self.opened(name).map_err(&fault)? else { continue };
            if try_lock(&lock, WHOLE).map_err(&fault)? {
                // Else it was removed, or removed and made anew, since it was opened.
                let is_it = |file| self.folder.leads_to(name, file).map_err(&fault);
                if is_it(&file)? && is_it(&lock)? {
                    let hold = Hold::new(&lock).map_err(&fault)?;
                    return Ok(Some((file, hold, Birth::here().map_err(&fault)?)));
                }
            } else if since.elapsed() > LINGERING {
                let text = format!("consumer {name} has an owner; it may have one at a time");
                return Err(Error::new(ErrorKind::ConsumerInUse, text).at_path(&self.path(name)));
            }
            sleep(POLL);
        }
    }

    /// The file to write; `None` if there is none.
    fn opened(&self, name: &str) -> io::Result<Option<File>> {
        match self.folder.open_to_write(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Makes the file, durably with its name, unless there is one by then.
    fn make(&self, name: &str, mode: u32, place: &Cursor) -> Result<()> {
        let made = dir::random().map(next_consumer_name).and_then(|private| {
            let named = self.build(&private, mode, place).and_then(|()| {
                match self.folder.rename_new(&private, name) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        self.folder.remove(&private)
                    }
                    other => other,
                }
            });
            if named.is_err() {
                // The error that counts is the first.
                let _left_over = self.folder.remove_if_there(&private);
            }
            // The folder's own name may not be durable yet either, whoever made it.
            named.and_then(|()| self.folder.sync()).and_then(|()| self.log.sync())
        });
        made.map_err(self.fault("making a consumer", name))
    }

    fn build(&self, private: &str, mode: u32, place: &Cursor) -> io::Result<()> {
        let file = self.folder.create_new(private, mode)?;
        dir::allocate(&file, 0, FILE_BYTES)?;
        store(&file, place)?;
        dir::sync_data(&file)
    }

    fn newest(&self, name: &str, file: &File) -> Result<Cursor> {
        let mut newest: Option<Cursor> = None;
        for block in [0, 1] {
            let mut bytes = [0; CURSOR_BYTES];
            dir::read_at(file, Cursor::offset(block), &mut bytes)
                .map_err(self.fault("reading a consumer", name))?;
            match Cursor::decode(&bytes, block) {
                CursorState::Valid(place) => {
                    newest = newest.filter(|other| other.counter > place.counter).or(Some(place));
                }
                CursorState::Version(version) => {
                    let text = format!("expected a consumer of version 1, found {version}");
                    return Err(
                        Error::new(ErrorKind::UnsupportedVersion, text).at_path(&self.path(name))
                    );
                }
                CursorState::Invalid => {}
            }
        }
        let damaged = "neither place in a consumer's file is whole; remove it to begin anew";
        newest.ok_or_else(|| Error::new(ErrorKind::Damaged, damaged).at_path(&self.path(name)))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn fault(&self, doing: &'static str, name: &str) -> impl Fn(io::Error) -> Error + 'static {
        let path = self.path(name);
        move |source| Error::io(doing, source).at_path(&path)
    }
}

/// Refuses what no consumer can be called.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if is_consumer_name(name) {
        return Ok(());
    }
    let text = format!(
        "a consumer cannot be called {name:?}: expected 1 to 100 letters, digits, '-', '_' or '.', none \
         of the last first"
    );
    Err(Error::new(ErrorKind::InvalidName, text))
}

/// The place with the count behind that of `last`; `None` if there is none, as no file counts so far.
fn succeeding(place: Cursor, last: &Cursor) -> Option<Cursor> {
    Some(Cursor { counter: last.counter.checked_add(1)?, ..place })
}

fn used_up() -> Error {
    Error::new(ErrorKind::Damaged, "a consumer's file has counted all its writes")
}

fn store(file: &File, place: &Cursor) -> io::Result<()> {
    dir::write_at(file, Cursor::offset(place.counter), &place.encode())
}

/// A consumer's file, owned until the value is dropped, in this process and not in a child.
pub(crate) struct OwnCursor {
    file: File,
    hold: Option<Hold>,
    birth: Birth,
    /// As stored.
    pub(crate) place: Cursor,
    /// A sync failed, and it was not stored again since.
    in_doubt: bool,
    path: PathBuf,
}

impl OwnCursor {
    pub(crate) fn birth(&self) -> Birth {
        self.birth
    }

    /// Stores a place over the older of the two. On an error the newer one stands.
    pub(crate) fn store(&mut self, place: Cursor) -> Result<()> {
        let place = succeeding(place, &self.place);
        let place = place.ok_or_else(|| used_up().at_path(&self.path))?;
        store(&self.file, &place).map_err(|source| {
            Error::io("storing a consumer's place", source).at_path(&self.path)
        })?;
        self.place = place;
        Ok(())
    }

    /// Puts what was stored on stable storage.
    pub(crate) fn sync(&mut self) -> Result<()> {
        if self.in_doubt {
            self.store(self.place.clone())?;
            self.in_doubt = false;
        }
        let synced = dir::sync_data(&self.file);
        if synced.is_err() {
            // What did not reach the disk counts as clean from now on, and the next sync, whoever's, would
            // pass it over: stored again, in the other block, it does not.
            self.in_doubt = self.store(self.place.clone()).is_err();
        }
        synced.map_err(|source| Error::io("syncing a consumer", source).at_path(&self.path))
    }
}

impl Drop for OwnCursor {
    fn drop(&mut self) {
        if !self.birth.is_this_process() {
            // In a child the mapping does not exist, and its address may be another's by now.
            std::mem::forget(self.hold.take());
        }
    }
}

/// True if there is a consumer, and its file says nothing that this version can read.
pub(crate) fn cannot_tell(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Damaged | ErrorKind::UnsupportedVersion)
}

/// Where a consumer whose place was stored as `cursor` goes on: behind the records that still hold of
/// those that it was given.
pub(crate) fn goes_on_at(site: &Site, view: &View, cursor: &Cursor) -> Result<u64> {
    if cursor.epoch > view.epoch {
        return Ok(view.first_seq);
    }
    let cut = site.cut_above(view, cursor.epoch)?.map_or(u64::MAX, |cut| cut.base_seq);
    Ok(cursor.seq.min(cut).min(view.end.seq))
}

/// Sets back the consumers that were given records under an epoch which the log never had: then its
/// segments are from before that, as in a copy made while it was cut, and what the places mean is not
/// known. To be done while nobody has the log open; also removes what was never made whole.
pub(crate) fn set_back(log: &Dir, log_id: [u8; 16], epoch: u64, first_seq: u64) -> Result<()> {
    // A file that cannot be read stops no log from opening; it tells who opens the consumer.
    let Ok(Some(cursors)) = Cursors::open(log) else { return Ok(()) };
    let Ok(names) = cursors.folder.names() else { return Ok(()) };
    for name in &names {
        if is_next_consumer_name(name) {
            let _left_over = cursors.folder.remove_if_there(name);
        }
        if !is_consumer_name(name) {
            continue;
        }
        let Ok(Some(place)) = cursors.read(name) else { continue };
        if place.log_id == log_id && place.epoch > epoch {
            let first = Cursor { epoch, seq: first_seq, rewound: true, ..place.clone() };
            let place = succeeding(first, &place);
            let place = place.ok_or_else(|| used_up().at_path(&cursors.path(name)))?;
            let stored = cursors.folder.open_to_write(name).and_then(|file| {
                store(&file, &place)?;
                dir::sync_data(&file)
            });
            stored.map_err(cursors.fault("setting a consumer back", name))?;
        }
    }
    Ok(())
}
