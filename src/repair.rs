//! Setting aside what is no part of a log: what stops it from being opened, and dead weight.
//!
//! Only it takes files out of a log's directory that it did not make. It cuts nothing, mends nothing
//! and changes no record: a segment that counts stays, however damaged. If it stops at any moment,
//! every file is in the log or, whole, in the quarantine, or in both. Does not know: frames.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::attach::Gate;
use crate::dir::{self, Dir};
use crate::error::{Error, ErrorKind, Result};
use crate::format::header::SegmentHeader;
use crate::format::name::{SHARED, SegmentName, is_next_name};
use crate::segment::SegmentFile;
use crate::shared::Page;
use crate::survey::spans;

/// How to repair a log; made by [`repair`].
#[derive(Clone, Debug)]
#[must_use = "nothing is done until `run`"]
pub struct Repair {
    path: PathBuf,
    quarantine: Option<PathBuf>,
    dry_run: bool,
}

/// What [`Repair::run`] set aside, or would.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// Where the files are now; `None` if there were none, or nothing was to be done.
    pub quarantine: Option<PathBuf>,
    /// Each file that was set aside, by name.
    pub set_aside: Vec<SetAside>,
}

/// A file that is no part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAside {
    /// Its name in the log's directory.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Why it is no part of the log. Its `Display` is a sentence for people.
    pub why: Why,
}

/// Why a file was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// It has the name of one of the log's files and is none: a directory, a link, a FIFO.
    NotAFile,
    /// Its header says that it is another segment.
    OtherName {
        /// The name that its header says.
        says: String,
        /// A file of that name is there. If not, this may be the only copy of its records: given that
        /// name, it is a part of the log again.
        is_there: bool,
    },
    /// Its header is of no use, and another file that has one claims the same id.
    IdTaken,
    /// It is a segment of another log.
    OtherLog,
    /// A segment that was being made when its process died, and never got its name.
    LeftOver,
    /// A later segment took all its numbers, for ever.
    Cut {
        /// The id of that segment.
        by: u64,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::NotAFile => f.write_str("no regular file"),
            Why::OtherName { says, is_there: true } => write!(f, "a copy of {says}"),
            Why::OtherName { says, is_there: false } => {
                write!(f, "it is {says}, which is missing: it may be put back under that name")
            }
            Why::IdTaken => f.write_str("its header is damaged and another segment has its id"),
            Why::OtherLog => f.write_str("a segment of another log"),
            Why::LeftOver => f.write_str("a segment that was never finished"),
            Why::Cut { by } => write!(f, "segment {by} took all its numbers"),
        }
    }
}

/// Repairs the log in the directory `path`, so that it can be opened again, by setting aside the files
/// that are no part of it. Nothing happens before [`Repair::run`].
///
/// ```no_run
/// let would = maplog::repair("orders").dry_run(true).run()?;
/// for file in &would.set_aside {
///     println!("{}: {}", file.name, file.why);
/// }
/// let done = maplog::repair("orders").run()?;
/// # Ok::<(), maplog::Error>(())
/// ```
pub fn repair(path: impl AsRef<Path>) -> Repair {
    Repair { path: path.as_ref().to_owned(), quarantine: None, dry_run: false }
}

impl Repair {
    /// The folder that files are put into; made if it does not exist, and nothing in it is replaced.
    /// Without one, a new folder beside the log: its name, `.quarantine-` and a number.
    pub fn quarantine(mut self, folder: impl AsRef<Path>) -> Self {
        self.quarantine = Some(folder.as_ref().to_owned());
        self
    }

    /// Only tells what would be done; changes nothing.
    pub fn dry_run(mut self, on: bool) -> Self {
        self.dry_run = on;
        self
    }

    /// Copies each file that is no part of the log to the quarantine, puts the copies on stable storage,
    /// and then takes the files out of the log.
    ///
    /// It is never needed for a torn tail, which opening deals with. What is lost stays lost: damaged
    /// segments that count stay where they are, and [`verify`](crate::verify) goes on reporting them.
    /// Where files contradict each other and nothing tells which is right, they stay too.
    ///
    /// # Errors
    /// `InUse` while the log is open to append; `NotALog` if nothing of a log would be left;
    /// `UnsupportedVersion` and `UnsupportedFeature` if a segment needs a newer version of this crate;
    /// those of the file system. On an error no file is lost: it is in the log or in the quarantine.
    pub fn run(&self) -> Result<Repaired> {
        let at = |source| Error::io("repairing the log", source).at_path(&self.path);
        let dir = Dir::open(&self.path).map_err(at)?;
        let _gate = match self.dry_run {
            true => Gate::look(&dir).map(|()| None)?,
            false => Some(Gate::pass(&dir, MODE)?),
        };
        let set_aside = find(&dir)?;
        let mut repaired = Repaired { quarantine: None, set_aside };
        if !self.dry_run && !repaired.set_aside.is_empty() {
            let folder = self.folder().map_err(at)?;
            if folder.identity().map_err(at)? == dir.identity().map_err(at)? {
                let text = "the quarantine is the log's own directory";
                return Err(Error::new(ErrorKind::InvalidOption, text).at_path(&self.path));
            }
            let done = move_to(&dir, &folder, &repaired.set_aside);
            done.map_err(|source| Error::io("setting files aside", source).at_path(folder.path()))?;
            repaired.quarantine = Some(folder.path().to_owned());
        }
        Ok(repaired)
    }

    /// The quarantine, durable with its name.
    fn folder(&self) -> io::Result<Dir> {
        let folder = match &self.quarantine {
            Some(path) => {
                Dir::create(path, MODE)?;
                Dir::open(path)?
            }
            None => new_folder(&self.path.canonicalize()?)?,
        };
        folder.sync_parent()?;
        Ok(folder)
    }
}

/// The mode of a lock file and a quarantine that are made.
const MODE: u32 = 0o640;

fn new_folder(log: &Path) -> io::Result<Dir> {
    for number in 1_u32.. {
        let mut name = log.as_os_str().to_owned();
        name.push(format!(".quarantine-{number}"));
        if Dir::create_new_dir(Path::new(&name), MODE)? {
            return Dir::open(Path::new(&name));
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// A file that has a segment's name, and what its header says; `None` if no copy of it is whole.
struct Candidate {
    name: SegmentName,
    header: Option<SegmentHeader>,
}

/// Every file that is no part of the log, in the order in which they can be taken out.
fn find(dir: &Dir) -> Result<Vec<SetAside>> {
    let fault = |source| Error::io("looking at a file", source).at_path(dir.path());
    let mut names = dir.names().map_err(fault)?;
    names.sort();
    names.dedup();
    let mut found = Vec::new();
    let mut candidates = Vec::new();
    for name in names {
        let segment = SegmentName::parse(&name);
        if segment.is_none() && !is_next_name(&name) && name != SHARED {
            continue;
        }
        let mut because = |why| {
            dir.bytes_of(&name).map(|bytes| found.push(SetAside { name: name.clone(), bytes, why }))
        };
        if !dir.is_regular(&name).map_err(fault)? {
            because(Why::NotAFile).map_err(fault)?;
        } else if let Some(segment) = segment {
            candidates.push(Candidate { name: segment, header: header(dir, segment)? });
        } else if name != SHARED {
            because(Why::LeftOver).map_err(fault)?;
        }
    }
    let mut because = |candidate: &Candidate, why| {
        let name = candidate.name.file_name();
        dir.bytes_of(&name).map(|bytes| found.push(SetAside { name, bytes, why })).map_err(fault)
    };
    candidates.sort_by_key(|candidate| candidate.name);
    for stranger in strangers(&mut candidates) {
        because(&stranger.0, stranger.1)?;
    }
    if candidates.is_empty() {
        let text = "nothing of a log would be left in the directory";
        return Err(Error::new(ErrorKind::NotALog, text).at_path(dir.path()));
    }
    let ending = live_end(dir).map_err(fault)?;
    for (dead, by) in cut(&candidates) {
        if Some(dead.name.id) != ending {
            because(dead, Why::Cut { by })?;
        }
    }
    Ok(found)
}

/// What the header of a regular file says, whatever its name.
fn header(dir: &Dir, name: SegmentName) -> Result<Option<SegmentHeader>> {
    match SegmentFile::read_header_of(dir, name) {
        Ok(header) => Ok(Some(header)),
        Err(error) if error.kind() == ErrorKind::Damaged => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes out what is not of this log.
fn strangers(candidates: &mut Vec<Candidate>) -> Vec<(Candidate, Why)> {
    let mut strangers = Vec::new();
    let names: Vec<_> = candidates.iter().map(|candidate| candidate.name).collect();
    take(candidates, &mut strangers, |candidate| {
        let header = candidate.header.as_ref()?;
        let says = SegmentName { id: header.segment_id, base_seq: header.base_seq };
        let is_there = names.binary_search(&says).is_ok();
        (says != candidate.name).then(|| Why::OtherName { says: says.file_name(), is_there })
    });
    if let Some(log_id) = log_id(candidates) {
        take(candidates, &mut strangers, |candidate| {
            let header = candidate.header.as_ref()?;
            (header.log_id != log_id).then_some(Why::OtherLog)
        });
    }
    let with_header = candidates.iter().filter(|candidate| candidate.header.is_some());
    let ids: Vec<_> = with_header.map(|candidate| candidate.name.id).collect();
    take(candidates, &mut strangers, |candidate| {
        let taken = candidate.header.is_none() && ids.binary_search(&candidate.name.id).is_ok();
        taken.then_some(Why::IdTaken)
    });
    strangers
}

fn take(
    candidates: &mut Vec<Candidate>,
    taken: &mut Vec<(Candidate, Why)>,
    why: impl Fn(&Candidate) -> Option<Why>,
) {
    for candidate in std::mem::take(candidates) {
        match why(&candidate) {
            Some(why) => taken.push((candidate, why)),
            None => candidates.push(candidate),
        }
    }
}

/// That of most segments; of as many, that of the oldest.
fn log_id(candidates: &[Candidate]) -> Option<[u8; 16]> {
    let ids = || candidates.iter().filter_map(|candidate| Some(candidate.header.as_ref()?.log_id));
    let mut counts: HashMap<_, usize> = HashMap::new();
    for id in ids() {
        *counts.entry(id).or_default() += 1;
    }
    let most = counts.values().max()?;
    ids().find(|id| counts[id] == *most)
}

/// Segments of which a later one took all numbers, in ascending order of their ids, with that one's id.
///
/// The later one stays, so whichever of these come out, in whatever order a power cut leaves it, no
/// number comes back. Nor is an epoch forgotten: the later one's is as high. Where either cannot tell,
/// or two segments claim one id, it stays.
fn cut(candidates: &[Candidate]) -> Vec<(&Candidate, u64)> {
    let names: Vec<_> = candidates.iter().map(|candidate| candidate.name).collect();
    let mut cut = Vec::new();
    if names.windows(2).any(|pair| pair[0].id == pair[1].id) {
        return cut;
    }
    let counting = spans(&names);
    let by_name = |name| names.binary_search(&name).ok().map(|index| &candidates[index]);
    for dead in candidates {
        let behind = counting.partition_point(|span| span.name.id <= dead.name.id);
        let is_counting = counting.binary_search_by_key(&dead.name, |span| span.name).is_ok();
        // Of those behind it, the first has the lowest base.
        let Some(by) = counting.get(behind).and_then(|span| by_name(span.name)) else { continue };
        let (Some(header), Some(cutter)) = (&dead.header, &by.header) else { continue };
        if !is_counting && by.name.base_seq <= dead.name.base_seq && cutter.epoch >= header.epoch {
            cut.push((dead, by.name.id));
        }
    }
    cut
}

/// The segment in which a live page says that the log ends.
fn live_end(dir: &Dir) -> io::Result<Option<u64>> {
    if dir.is_regular(SHARED).unwrap_or(false)
        && let Some(page) = Page::open_to_read(dir)?
        && page.is_live()?
    {
        return Ok(Some(page.end().segment_id));
    }
    Ok(None)
}

/// Copies first, all of them, and only when they are on stable storage takes out the first.
fn move_to(log: &Dir, folder: &Dir, files: &[SetAside]) -> io::Result<()> {
    for file in files.iter().filter(|file| file.why != Why::NotAFile) {
        copy(log, folder, &file.name)?;
        hook!("repair.copied");
    }
    folder.sync()?;
    // What cuts a segment is there for good before the segment goes.
    log.sync()?;
    let page = match log.is_regular(SHARED) {
        Ok(true) => Some(Page::open(log, MODE)?),
        _ => None,
    };
    for file in files {
        let take_out = || match file.why {
            Why::NotAFile => log.move_new(&file.name, folder, &free_name(folder, &file.name)?),
            _ => log.remove(&file.name),
        };
        match &page {
            Some(page) => page.changing_names(take_out)?,
            None => take_out()?,
        }
        hook!("repair.removed");
    }
    folder.sync()?;
    log.sync()
}

/// A copy has its name when it is whole and on stable storage.
fn copy(log: &Dir, folder: &Dir, name: &str) -> io::Result<()> {
    let part = free_name(folder, &format!("{name}.part"))?;
    let from = log.open_to_read(name)?;
    let copied = folder.create_new(&part, MODE).and_then(|to| {
        dir::copy(&from, &to)?;
        hook!("repair.copied_in_part");
        dir::sync_data(&to)?;
        folder.rename_new(&part, &free_name(folder, name)?)
    });
    copied.inspect_err(|_| {
        // The error that counts is the first, and the file is still in the log.
        let _left_over = folder.remove_if_there(&part);
    })
}

/// `name`, or with a number behind it if that is taken.
fn free_name(folder: &Dir, name: &str) -> io::Result<String> {
    let mut free = name.to_owned();
    let mut number = 1_u32;
    while folder.holds(&free)? {
        number += 1;
        free = format!("{name}.{number}");
    }
    Ok(free)
}

#[cfg(test)]
#[path = "repair_tests.rs"]
mod tests;
