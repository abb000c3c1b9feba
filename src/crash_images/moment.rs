//! One moment at which power may fail: what is on stable storage, what is on its way there, and what
//! the log has promised.

use std::collections::BTreeMap;
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
    /// All records given, by number; those of the call under way included.
    pub(super) records: Rc<Vec<Rc<Given>>>,
    /// Records below it are promised to survive a power cut.
    pub(super) durable: u64,
    /// The log is being cut here, and may be cut already.
    pub(super) cut: Option<u64>,
    /// For each epoch, where the records ended that readers could see in it.
    pub(super) seen: Vec<(u64, u64)>,
    /// Opening has returned once.
    pub(super) exists: bool,
    /// The log's files must say that it was closed, and nothing was done since.
    pub(super) closed: bool,
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
