//! The recorder: what is on stable storage while a log is worked on, what is on its way there, and
//! what the log promised by then.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::moment::{FileId, FileState, Given, Meta, Moment, Names, SECTOR_BYTES, Told};
use crate::Log;
use crate::home::Home;
use crate::hook::{Change, Listener, listen};

struct Tracked {
    file: File,
    inode: u64,
    current: Vec<u8>,
    state: Rc<FileState>,
}

/// Which moments are kept.
pub(super) enum Keep {
    All,
    /// The one with this number, or the last; sectors are looked at now and then only.
    One(usize),
}

pub(super) struct Tape {
    dir: PathBuf,
    files: BTreeMap<FileId, Tracked>,
    names: Names,
    pending: Vec<Meta>,
    parent_synced: bool,
    keep: Keep,
    rng: fastrand::Rng,
    number: usize,
    page: Option<Arc<Home>>,
    /// After so many more moments, of this name or any, the process dies: nothing that follows is
    /// recorded.
    dies: Option<(Option<&'static str>, usize)>,
    /// The coordination page as it was at that death.
    page_at_death: Option<Vec<u8>>,
    pub(super) told: Told,
    pub(super) moments: Vec<Moment>,
}

pub(super) type Shared = Rc<RefCell<Tape>>;

impl Tape {
    /// Of a directory that holds what a disk holds: all of it is on stable storage.
    pub(super) fn of_disk(dir: &Path, told: Told, keep: Keep, seed: u64) -> Shared {
        let mut tape = Tape {
            dir: dir.to_owned(),
            files: BTreeMap::new(),
            names: Names::new(),
            pending: Vec::new(),
            parent_synced: false,
            keep,
            rng: fastrand::Rng::with_seed(seed),
            number: 0,
            page: None,
            dies: None,
            page_at_death: None,
            told,
            moments: Vec::new(),
        };
        let listed = fs::read_dir(dir).into_iter().flatten();
        for entry in listed.map(|entry| entry.unwrap()) {
            let name = entry.file_name().into_string().unwrap();
            if is_of_the_log(&name) {
                let id = tape.track(File::open(entry.path()).unwrap());
                let tracked = tape.files.get_mut(&id).unwrap();
                tracked.current = fs::read(entry.path()).unwrap();
                tracked.state = Rc::new(FileState {
                    synced: Rc::new(tracked.current.clone()),
                    ..FileState::default()
                });
                tape.names.insert(name, id);
                tape.parent_synced = true;
            }
        }
        Rc::new(RefCell::new(tape))
    }

    fn track(&mut self, file: File) -> FileId {
        let id = self.files.keys().next_back().map_or(0, |last| last + 1);
        let inode = file.metadata().unwrap().ino();
        let tracked = Tracked { file, inode, current: Vec::new(), state: Rc::default() };
        self.files.insert(id, tracked);
        id
    }

    fn id_of(&self, file: &File) -> Option<FileId> {
        let inode = file.metadata().unwrap().ino();
        self.files.iter().find(|(_, tracked)| tracked.inode == inode).map(|(id, _)| *id)
    }

    fn is_dead(&self) -> bool {
        self.page_at_death.is_some()
    }

    fn note(&mut self, change: Change<'_>) {
        if self.is_dead() {
            return;
        }
        let at = match change {
            Change::Hook(name) => name,
            Change::Allocated => {
                self.look_at_all();
                "allocated"
            }
            Change::Created { name, file } => {
                let id = self.track(file.try_clone().unwrap());
                self.pending.push(Meta::Create(name.to_owned(), id));
                "created"
            }
            Change::Renamed { from, to } => {
                self.pending.push(Meta::Rename(from.to_owned(), to.to_owned()));
                "renamed"
            }
            Change::Removed { name } => {
                if !is_of_the_log(name) {
                    return;
                }
                self.pending.push(Meta::Remove(name.to_owned()));
                "removed"
            }
            Change::DataSynced { file } => {
                let Some(id) = self.id_of(file) else { return };
                self.data_is_synced(id);
                "data synced"
            }
            Change::NamesSynced => {
                self.names_are_synced();
                "names synced"
            }
            Change::ParentSynced => {
                self.parent_synced = true;
                "parent synced"
            }
        };
        self.moment(at);
    }

    fn data_is_synced(&mut self, id: FileId) {
        self.look_at(id);
        let tracked = self.files.get_mut(&id).unwrap();
        let synced = Rc::new(tracked.current.clone());
        tracked.state = Rc::new(FileState { synced, ..FileState::default() });
        self.pending.retain(|meta| !matches!(meta, Meta::Size(of, _) if *of == id));
    }

    fn names_are_synced(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        for meta in pending {
            match meta {
                Meta::Size(..) => self.pending.push(meta),
                _ => meta.apply(&mut self.names),
            }
        }
    }

    /// Takes in what has been stored to a file since the last look.
    fn look_at(&mut self, id: FileId) {
        let Some(tracked) = self.files.get_mut(&id) else { return };
        let bytes = tracked.file.metadata().unwrap().len() as usize;
        if bytes != tracked.current.len() {
            assert!(bytes > tracked.current.len(), "no file ever shrinks");
            self.pending.push(Meta::Size(id, bytes));
            tracked.current.resize(bytes, 0);
        }
        let mut now = vec![0; bytes];
        tracked.file.read_exact_at(&mut now, 0).unwrap();
        if now == tracked.current {
            return;
        }
        let state = Rc::make_mut(&mut tracked.state);
        let sectors =
            now.chunks_exact(SECTOR_BYTES).zip(tracked.current.chunks_exact(SECTOR_BYTES));
        for (sector, (new, old)) in sectors.enumerate() {
            if new != old {
                let versions = state.changed.entry(sector).or_default();
                versions.push(Rc::new(new.try_into().unwrap()));
            }
        }
        tracked.current = now;
    }

    fn look_at_all(&mut self) {
        for id in self.files.keys().copied().collect::<Vec<_>>() {
            self.look_at(id);
        }
    }

    /// One of the moments at which power may fail.
    fn moment(&mut self, at: &'static str) {
        self.number += 1;
        let kept = match self.keep {
            Keep::All => true,
            Keep::One(number) => self.number == number,
        };
        let to_come = matches!(self.keep, Keep::One(number) if self.number < number);
        if kept || to_come && self.rng.u8(..16) == 0 {
            self.look_at_all();
        }
        self.listen_to_the_page();
        if kept {
            self.moments.push(self.now(at));
        }
        if let Some((name, moments)) = &mut self.dies
            && name.is_none_or(|name| name == at)
        {
            *moments = moments.saturating_sub(1);
            if *moments == 0 {
                let page = fs::read(self.dir.join("shared")).unwrap();
                // While it is being initialised its magic is gone, and who comes next finds no live page:
                // the death is put off to the next moment.
                if page[..8] != [0; 8] {
                    self.look_at_all();
                    self.page_at_death = Some(page);
                    self.dies = None;
                }
            }
        }
    }

    /// What anyone can see in the page counts as said.
    fn listen_to_the_page(&mut self) {
        let Some(home) = &self.page else { return };
        let (epoch, end) = (home.page().epoch(), home.page().end().seq);
        self.told.durable = self.told.durable.max(home.page().durable_seq());
        if self.told.trim == Some(home.page().first_seq()) {
            self.told.first = home.page().first_seq();
        }
        match self.told.seen.last_mut() {
            Some((last, seen)) if *last == epoch => *seen = (*seen).max(end),
            _ => self.told.seen.push((epoch, end)),
        }
    }

    fn now(&self, at: &'static str) -> Moment {
        Moment {
            at,
            number: self.number,
            files: self.files.iter().map(|(id, of)| (*id, of.state.clone())).collect(),
            names: self.names.clone(),
            pending: self.pending.clone(),
            parent_synced: self.parent_synced,
            told: self.told.clone(),
        }
    }

    /// The kept moment; the last one if the work ended before it.
    pub(super) fn into_moment(mut self) -> Moment {
        self.moments.pop().unwrap_or_else(|| {
            self.look_at_all();
            self.now("at the end")
        })
    }
}

fn is_of_the_log(name: &str) -> bool {
    name.ends_with(".seg") || name.starts_with("next-")
}

/// What the one who works on the log tells the tape.
pub(super) trait Recording {
    fn start(&self);
    fn watch(&self, log: &Log);
    /// These records are about to be given to the log, in one call; gives the first one's number.
    fn give(&self, payloads: &[Box<[u8]>]) -> u64;
    fn returned(&self, at: &'static str);
    /// The log is about to be cut, trimmed, or reset.
    fn cuts(&self, seq: u64);
    fn trims(&self, seq: u64);
    fn resets(&self, seq: u64);
    fn was_cut(&self, seq: u64);
    fn was_trimmed(&self, seq: u64);
    fn was_reset(&self, seq: u64);
    fn is_durable(&self, below: u64);
    /// Closing returned; `says_so` if the log's files say that it was closed.
    fn closed(&self, says_so: bool);
    /// The process dies at the `moments`-th moment from now.
    fn dies_in(&self, moments: usize);
    fn dies_at(&self, name: &'static str, moments: usize);
    fn is_dead(&self) -> bool;
    /// The dead process's files, moved to `dir`, where the page is made to look live.
    /// False if no live page comes with them.
    fn move_to(&self, dir: &Path) -> bool;
}

impl Recording for Shared {
    fn start(&self) {
        let tape = self.clone();
        let listener: Listener = Rc::new(move |change| tape.borrow_mut().note(change));
        listen(Some(listener));
    }

    fn watch(&self, log: &Log) {
        let mut tape = self.borrow_mut();
        tape.page = Some(log.core.home.clone());
        tape.told.exists = true;
        tape.told.closed = false;
        tape.moment("opened");
    }

    fn give(&self, payloads: &[Box<[u8]>]) -> u64 {
        let mut tape = self.borrow_mut();
        let first = tape.told.end();
        let records = Rc::make_mut(&mut tape.told.records);
        let batch = first..first + payloads.len() as u64;
        for payload in payloads {
            records.push(Rc::new(Given { payload: payload.clone(), batch: batch.clone() }));
        }
        tape.told.closed = false;
        first
    }

    fn returned(&self, at: &'static str) {
        let mut tape = self.borrow_mut();
        if !tape.is_dead() {
            tape.moment(at);
        }
    }

    fn is_durable(&self, below: u64) {
        let mut tape = self.borrow_mut();
        if !tape.is_dead() {
            tape.told.durable = tape.told.durable.max(below);
        }
    }

    fn cuts(&self, seq: u64) {
        self.borrow_mut().told.cut = Some(seq);
    }

    fn trims(&self, seq: u64) {
        self.borrow_mut().told.trim = Some(seq);
    }

    fn resets(&self, seq: u64) {
        self.borrow_mut().told.reset = Some(seq);
    }

    fn was_cut(&self, seq: u64) {
        let mut tape = self.borrow_mut();
        if !tape.is_dead() {
            tape.told.end_at(seq);
            (tape.told.durable, tape.told.cut, tape.told.closed) = (seq, None, false);
            tape.moment("cut");
        }
    }

    fn was_trimmed(&self, seq: u64) {
        let mut tape = self.borrow_mut();
        if !tape.is_dead() {
            (tape.told.first, tape.told.trim, tape.told.closed) = (seq, None, false);
            tape.moment("trimmed");
        }
    }

    fn was_reset(&self, seq: u64) {
        let mut tape = self.borrow_mut();
        if !tape.is_dead() {
            tape.told.begin_at(seq);
            (tape.told.durable, tape.told.closed) = (seq, false);
            tape.moment("reset");
        }
    }

    fn closed(&self, says_so: bool) {
        let mut tape = self.borrow_mut();
        if !tape.is_dead() {
            tape.page = None;
            tape.told.durable = tape.told.end();
            tape.told.closed = says_so;
            tape.moment("closed");
        }
    }

    fn dies_in(&self, moments: usize) {
        self.borrow_mut().dies = Some((None, moments));
    }

    fn dies_at(&self, name: &'static str, moments: usize) {
        self.borrow_mut().dies = Some((Some(name), moments));
    }

    fn is_dead(&self) -> bool {
        self.borrow().is_dead()
    }

    fn move_to(&self, dir: &Path) -> bool {
        let mut tape = self.borrow_mut();
        let mut names = tape.names.clone();
        tape.pending.iter().for_each(|meta| meta.apply(&mut names));
        // Those that have lost their names never change again.
        tape.files.values_mut().for_each(|tracked| tracked.inode = 0);
        for (name, id) in &names {
            let path = dir.join(name);
            let tracked = tape.files.get_mut(id).unwrap();
            fs::write(&path, &tracked.current).unwrap();
            tracked.file = File::open(&path).unwrap();
            tracked.inode = tracked.file.metadata().unwrap().ino();
        }
        let page = tape.page_at_death.take().unwrap();
        tape.page = None;
        tape.dir = dir.to_owned();
        super::page::write_live(dir, &page)
    }
}
