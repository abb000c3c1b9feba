//! What every image must keep, asked through the public API; then the log goes on in it, and power
//! fails again.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use tempfile::TempDir;

use super::image::{Choice, Layout, Metas};
use super::moment::{Moment, Told};
use super::tape::{Keep, Recording, Tape};
use super::work::{go_on, open};
use crate::{Log, Reader};

/// Where images are written, and how many there were.
pub(super) struct Bench {
    dirs: [TempDir; 2],
    /// A page that some images get beside their segments: it is of another life.
    pub(super) stale_page: Option<Vec<u8>>,
    /// Whoever goes on in an image also drops records.
    pub(super) drops: bool,
    pub(super) count: Count,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) images: usize,
    pub(super) second: usize,
    pub(super) checks: usize,
}

/// What is printed if a check fails.
struct Where<'a> {
    seed: u64,
    moment: &'a Moment,
    metas: Metas,
    choice: &'a Choice,
    generation: u32,
}

impl Drop for Where<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Where { seed, moment, metas, choice, generation } = self;
            eprintln!(
                "image of generation {generation}, seed {seed}: moment {} ({}), {metas:?} of the \
                 changes {:?}, sectors {choice:?}; {:?}",
                moment.number, moment.at, moment.pending, moment.told,
            );
        }
    }
}

impl Bench {
    pub(super) fn new() -> Self {
        let dirs = [in_memory(), in_memory()];
        Bench { dirs, stale_page: None, drops: false, count: Count::default() }
    }

    /// Checks one image, goes on in it, and checks one image of that.
    pub(super) fn try_image(
        &mut self,
        moment: &Moment,
        layout: &Layout,
        choice: &Choice,
        seed: u64,
    ) {
        let told = &moment.told;
        let mut rng = fastrand::Rng::with_seed(seed);
        let place = Where { seed, moment, metas: layout.metas, choice, generation: 1 };
        assert!(moment.parent_synced || !told.exists, "the directory itself may be gone");
        let path = self.dirs[0].path().to_owned();
        layout.write(choice, &path);
        self.add_page(&path, &mut rng);
        self.count.images += 1;
        let found = self.found(&path, layout, told);
        let number = match rng.u8(..4) {
            0 => rng.usize(1..20),
            _ => rng.usize(1..450),
        };
        let again = going_on_from(told, found);
        let tape = Tape::of_disk(&path, again, Keep::One(number), rng.u64(..));
        tape.start();
        let log = self.opened(&path, told, found);
        tape.watch(&log);
        go_on(&log, &tape, told, &mut rng, (100, self.drops));
        let now = tape.borrow().told.clone();
        assert_eq!(compare(&log.reader(), &now).next, now.end());
        log.close().unwrap();
        crate::hook::listen(None);
        drop(place);
        let second = Rc::into_inner(tape).unwrap().into_inner().into_moment();
        self.try_second(&second, &mut rng, seed);
    }

    fn try_second(&mut self, moment: &Moment, rng: &mut fastrand::Rng, seed: u64) {
        let told = &moment.told;
        let layout = Layout::new(moment, some_metas(moment, rng));
        let choice = layout.random(rng);
        let _place = Where { seed, moment, metas: layout.metas, choice: &choice, generation: 2 };
        let path = self.dirs[1].path().to_owned();
        layout.write(&choice, &path);
        self.add_page(&path, rng);
        self.count.second += 1;
        let found = self.found(&path, &layout, told);
        let log = self.opened(&path, told, found);
        let again = going_on_from(told, found);
        let tape = Tape::of_disk(&path, again, Keep::One(0), 0);
        go_on(&log, &tape, told, rng, (5, self.drops));
        log.close().unwrap();
        let now = tape.borrow().told.clone();
        assert_eq!(compare(&read(&path), &now).next, now.end());
        self.count.checks += 1;
    }

    fn add_page(&self, path: &Path, rng: &mut fastrand::Rng) {
        if let Some(page) = &self.stale_page
            && rng.bool()
        {
            std::fs::write(path.join("shared"), page).unwrap();
        }
    }

    /// What a reader finds before any recovery; `None` if there is no log yet.
    fn found(&mut self, path: &Path, layout: &Layout, told: &Told) -> Option<Found> {
        if !layout.has_segments() {
            assert!(!told.exists, "a log that was open is gone");
            return None;
        }
        let found = compare(&read(path), told);
        self.count.checks += 1;
        let Found { first, next, is_reset } = found;
        let was_cut = told.cut == Some(next);
        assert!(
            next >= told.durable || was_cut || is_reset,
            "durable up to {}, found {next}",
            told.durable
        );
        if !is_reset && !was_cut && next > first {
            let batch = &told.given(next - 1).unwrap().batch;
            assert_eq!(batch.end, next, "a batch is cut: {batch:?}");
        }
        Some(found)
    }

    fn opened(&mut self, path: &Path, told: &Told, found: Option<Found>) -> Log {
        let log = open(path);
        let recovery = log.recovery();
        assert!(!recovery.live, "an image is no live log");
        assert!(recovery.lost.is_empty(), "nothing is lost, but {recovery:?}");
        let found = found.unwrap_or_default();
        assert_eq!(compare(&log.reader(), told), found, "log and reader disagree");
        assert_eq!((log.first_seq(), log.next_seq()), (found.first, found.next));
        assert!(log.durable_seq() <= log.next_seq());
        let seen = told.seen.last().map_or(0, |(epoch, _)| *epoch);
        assert!(log.epoch() >= seen, "epoch {seen} was seen, and is given again: {}", log.epoch());
        if told.closed {
            assert_eq!((log.first_seq(), log.next_seq()), (told.first, told.end()));
            assert!(recovery.clean, "closed, and yet {recovery:?}");
        }
        self.count.checks += 1;
        log
    }
}

/// What was found of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) first: u64,
    pub(super) next: u64,
    /// It is empty, as a reset that was under way was to leave it.
    pub(super) is_reset: bool,
}

/// What is true of a log that was found so.
fn going_on_from(told: &Told, found: Option<Found>) -> Told {
    let exists = found.is_some();
    let found = found.unwrap_or_default();
    let mut again = Told { durable: found.next, exists, closed: false, ..told.clone() };
    again.take_in(found.first, found.next, found.is_reset);
    again
}

/// Compares what is read with what was given.
pub(super) fn compare(reader: &Reader, told: &Told) -> Found {
    let (first, next) = (reader.first_seq(), reader.next_seq());
    if told.reset == Some(next) && first == next {
        return Found { first, next, is_reset: true };
    }
    // Of what was dropped, power may have taken the newest: then the log ends before it.
    let begins = |seq: u64| first == seq.min(next);
    assert!(
        begins(told.first) || told.trim.is_some_and(begins),
        "the log begins at {first}, and not at {} or {:?}",
        told.first,
        told.trim
    );
    let mut seq = first;
    for item in reader {
        let record = item.unwrap_or_else(|error| panic!("record {seq} was expected: {error}"));
        assert_eq!(record.seq(), seq);
        let given = told.given(seq);
        let given = given.unwrap_or_else(|| panic!("record {seq} was never given to the log"));
        assert!(record.data() == &*given.payload, "record {seq} is not what was given");
        seq += 1;
    }
    assert_eq!(seq, next);
    Found { first, next, is_reset: false }
}

#[allow(unsafe_code)]
fn read(path: &Path) -> Reader {
    // SAFETY: nobody changes the files of an image while it is read.
    unsafe { Reader::open(path).unwrap() }
}

/// Which of the pending changes survive: all, none, or some; of removed files, perhaps others.
pub(super) fn some_metas(moment: &Moment, rng: &mut fastrand::Rng) -> Metas {
    let all = moment.pending.len();
    let first = match rng.u8(..4) {
        0 | 1 => all,
        _ => rng.usize(..=all),
    };
    let odd_removals = match moment.removals() {
        0 => 0,
        _ if rng.bool() => 0,
        removals => rng.usize(..1 << removals.min(16)),
    };
    Metas { first, odd_removals }
}

/// Images lie in memory where that can be had: what reaches a disk, and when, is played anyway.
fn in_memory() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).unwrap()
}
