//! What every image must keep, asked through the public API; then the log goes on in it, and power
//! fails again.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use tempfile::TempDir;

use super::image::{Choice, Layout};
use super::moment::{Given, Moment, Told};
use super::tape::{Keep, Recording, Tape};
use super::work::{go_on, open};
use crate::{Log, Reader};

/// Where images are written, and how many there were.
pub(super) struct Bench {
    dirs: [TempDir; 2],
    /// A page that some images get beside their segments: it is of another life.
    pub(super) stale_page: Option<Vec<u8>>,
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
    metas: usize,
    choice: &'a Choice,
    generation: u32,
}

impl Drop for Where<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Where { seed, moment, metas, choice, generation } = self;
            eprintln!(
                "image of generation {generation}, seed {seed}: moment {} ({}), {metas} of the \
                 changes {:?}, sectors {choice:?}; durable {}, seen {:?}, given {}",
                moment.number,
                moment.at,
                moment.pending,
                moment.told.durable,
                moment.told.seen,
                moment.told.records.len(),
            );
        }
    }
}

impl Bench {
    pub(super) fn new() -> Self {
        let dirs = [in_memory(), in_memory()];
        Bench { dirs, stale_page: None, count: Count::default() }
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
        let again = going_on_from(told, found.unwrap_or(0), found.is_some());
        let tape = Tape::of_disk(&path, again, Keep::One(number), rng.u64(..));
        tape.start();
        let log = self.opened(&path, told, found);
        tape.watch(&log);
        go_on(&log, &tape, told, &mut rng, 100);
        let records = tape.borrow().told.records.clone();
        assert_eq!(compare(&log.reader(), &records), records.len() as u64);
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
        let again = going_on_from(told, found.unwrap_or(0), found.is_some());
        let tape = Tape::of_disk(&path, again, Keep::One(0), 0);
        go_on(&log, &tape, told, rng, 5);
        log.close().unwrap();
        let records = &tape.borrow().told.records;
        assert_eq!(compare(&read(&path), records), records.len() as u64);
        self.count.checks += 1;
    }

    fn add_page(&self, path: &Path, rng: &mut fastrand::Rng) {
        if let Some(page) = &self.stale_page
            && rng.bool()
        {
            std::fs::write(path.join("shared"), page).unwrap();
        }
    }

    /// How many records a reader finds before any recovery; `None` if there is no log yet.
    fn found(&mut self, path: &Path, layout: &Layout, told: &Told) -> Option<u64> {
        if !layout.has_segments() {
            assert!(!told.exists, "a log that was open is gone");
            return None;
        }
        let found = compare(&read(path), &told.records);
        self.count.checks += 1;
        assert!(found >= told.durable, "durable up to {}, found {found}", told.durable);
        if let Some(last) = found.checked_sub(1) {
            let batch = &told.records[last as usize].batch;
            assert_eq!(batch.end, found, "a batch is cut: {batch:?}");
        }
        Some(found)
    }

    fn opened(&mut self, path: &Path, told: &Told, found: Option<u64>) -> Log {
        let log = open(path);
        let recovery = log.recovery();
        assert!(!recovery.live, "an image is no live log");
        assert!(recovery.lost.is_empty(), "nothing is lost, but {recovery:?}");
        assert_eq!(log.next_seq(), found.unwrap_or(0), "log and reader disagree");
        assert!(log.durable_seq() <= log.next_seq());
        assert_eq!(compare(&log.reader(), &told.records), log.next_seq());
        if told.closed {
            assert_eq!(log.next_seq(), told.records.len() as u64);
            assert!(recovery.clean, "closed, and yet {recovery:?}");
        }
        self.count.checks += 1;
        log
    }
}

/// What is true of a log that begins with the first `found` of the records that `told` knows.
fn going_on_from(told: &Told, found: u64, exists: bool) -> Told {
    let records = told.records[..found as usize].to_vec();
    let seen = told.seen.clone();
    Told { records: Rc::new(records), durable: found, cut: None, seen, exists, closed: false }
}

/// Compares what is read with what was given; gives how many records were read.
pub(super) fn compare(reader: &Reader, given: &[Rc<Given>]) -> u64 {
    assert_eq!(reader.first_seq(), 0);
    let mut seq = 0;
    for item in reader {
        let record = item.unwrap_or_else(|error| panic!("record {seq} was expected: {error}"));
        assert_eq!(record.seq(), seq);
        let given = given.get(seq as usize);
        let given = given.unwrap_or_else(|| panic!("record {seq} was never given to the log"));
        assert!(record.data() == &*given.payload, "record {seq} is not what was given");
        seq += 1;
    }
    assert_eq!(seq, reader.next_seq());
    seq
}

#[allow(unsafe_code)]
fn read(path: &Path) -> Reader {
    // SAFETY: nobody changes the files of an image while it is read.
    unsafe { Reader::open(path).unwrap() }
}

/// How many of the pending changes survive: all, none, or some.
pub(super) fn some_metas(moment: &Moment, rng: &mut fastrand::Rng) -> usize {
    let all = moment.pending.len();
    match rng.u8(..4) {
        0 | 1 => all,
        _ => rng.usize(..=all),
    }
}

/// Images lie in memory where that can be had: what reaches a disk, and when, is played anyway.
fn in_memory() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).unwrap()
}
