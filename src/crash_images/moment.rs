//! One moment at which power may fail: what is on stable storage, what is on its way there, and what
//! the log has promised.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

pub(super) const SECTOR_BYTES: usize = 512;

/// A file by a number that is never used again, whatever names it has.
pub(super) type FileId = u64;

/// One file: what the last `fdatasync` put on the disk, and what may have replaced parts of it.
#[derive(Clone, Default)]
pub(super) struct FileState {
    pub(super) synced: Rc<Vec<u8>>,
    /// By sector, all that it was seen to hold since then; the newest comes last.
    pub(super) changed: BTreeMap<usize, Vec<Rc<[u8; SECTOR_BYTES]>>>,
}

/// A change of the file system's own bookkeeping.
#[derive(Clone, Debug)]
pub(super) enum Meta {
    Create(String, FileId),
    Rename(String, String),
    Remove(String),
    Size(FileId, usize),
}

pub(super) type Names = BTreeMap<String, FileId>;

impl Meta {
    pub(super) fn removes_a_segment(&self) -> bool {
        matches!(self, Meta::Remove(name) if name.ends_with(".seg"))
    }

    pub(super) fn apply(&self, names: &mut Names) {
        match self {
            Meta::Create(name, id) => {
                names.insert(name.clone(), *id);
            }
            Meta::Rename(from, to) => {
                let id = names.remove(from).expect("a name that is recorded is renamed");
                names.insert(to.clone(), id);
            }
            Meta::Remove(name) => {
                names.remove(name);
            }
            Meta::Size(..) => {}
        }
    }
}

/// A record that was given to the log, whether the call returned or not.
pub(super) struct Given {
    pub(super) payload: Box<[u8]>,
    /// The numbers of its batch; its own alone if it came alone.
    pub(super) batch: Range<u64>,
}

/// What was asked of the log and what it said, up to one moment.
#[derive(Clone, Default)]
pub(super) struct Told {
    /// All records given since the log was created or reset; those of the call under way included.
    pub(super) records: Rc<Vec<Rc<Given>>>,
    /// The number of the first of them.
    pub(super) base: u64,
    /// What lies below it was dropped, and does not come back.
    pub(super) first: u64,
    /// Records below it are promised to survive a power cut.
    pub(super) durable: u64,
    /// The log is being cut here, and may be cut already.
    pub(super) cut: Option<u64>,
    /// What lies below is being dropped, and may be gone already.
    pub(super) trim: Option<u64>,
    /// Everything is being dropped, and may be gone already: then the log goes on here.
    pub(super) reset: Option<u64>,
    /// For each epoch, where the records ended that readers could see in it.
    pub(super) seen: Vec<(u64, u64)>,
    /// Opening has returned once.
    pub(super) exists: bool,
    /// The log's files must say that it was closed, and nothing was done since.
    pub(super) closed: bool,
}

impl Moment {
    /// How many removals of segments are on their way.
    pub(super) fn removals(&self) -> usize {
        self.pending.iter().filter(|meta| meta.removes_a_segment()).count()
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told")
            .field("first", &self.first)
            .field("given", &(self.base..self.end()))
            .field("durable", &self.durable)
            .field("cut", &self.cut)
            .field("trim", &self.trim)
            .field("reset", &self.reset)
            .field("seen", &self.seen)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

impl Told {
    /// The number that comes behind all records given.
    pub(super) fn end(&self) -> u64 {
        self.base + self.records.len() as u64
    }

    pub(super) fn given(&self, seq: u64) -> Option<&Given> {
        let index = seq.checked_sub(self.base)?;
        self.records.get(index as usize).map(Rc::as_ref)
    }

    /// Where the batch begins that may be half given: the last one's.
    pub(super) fn under_way(&self) -> u64 {
        self.records.last().map_or(self.base, |last| last.batch.start)
    }

    /// The log ends at `seq`; of a batch that reaches over it, the rest counts as one.
    pub(super) fn end_at(&mut self, seq: u64) {
        let records = Rc::make_mut(&mut self.records);
        records.truncate((seq - self.base) as usize);
        for given in records.iter_mut().rev().take_while(|given| given.batch.end > seq) {
            let batch = given.batch.start..seq;
            *given = Rc::new(Given { payload: given.payload.clone(), batch });
        }
    }

    /// The log was found to hold the numbers from `first` to `next`, or to be reset to `next`.
    pub(super) fn take_in(&mut self, first: u64, next: u64, is_reset: bool) {
        match is_reset {
            true => self.begin_at(next),
            false => self.end_at(next),
        }
        self.first = first;
        (self.cut, self.trim, self.reset) = (None, None, None);
    }

    /// The log goes on at `seq`, and nothing else is left of it.
    pub(super) fn begin_at(&mut self, seq: u64) {
        (self.records, self.base, self.first) = (Rc::default(), seq, seq);
        (self.trim, self.reset) = (None, None);
    }
}

/// All that is needed to make the images that a power cut at one moment could leave.
pub(super) struct Moment {
    pub(super) at: &'static str,
    pub(super) number: usize,
    pub(super) files: BTreeMap<FileId, Rc<FileState>>,
    /// The names on stable storage.
    pub(super) names: Names,
    /// What was done since, in order: any number of these from the first on has reached the disk.
    pub(super) pending: Vec<Meta>,
    pub(super) parent_synced: bool,
    pub(super) told: Told,
}
