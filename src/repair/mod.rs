//! Setting aside what is no part of a log: what stops it from being opened, and dead weight.
//!
//! Only it takes files out of a log's directory that it did not make. It cuts nothing, mends nothing
//! and changes no record: a segment that counts stays, however damaged. If it stops at any moment,
//! every file is in the log or, whole, in the quarantine, or in both. Does not know: frames.

mod aside;
mod find;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::attach::Gate;
use crate::dir::Dir;
use crate::error::{Error, ErrorKind, Result};
use crate::survey::list;

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
        if list(&dir, None)?.is_empty() {
            return Err(nothing_left(&dir));
        }
        let _gate = match self.dry_run {
            true => Gate::look(&dir).map(|()| None)?,
            false => Some(Gate::pass_alone(&dir, MODE)?),
        };
        let set_aside = find::find(&dir)?;
        let mut repaired = Repaired { quarantine: None, set_aside };
        if !self.dry_run && !repaired.set_aside.is_empty() {
            let folder = self.folder().map_err(at)?;
            if folder.identity().map_err(at)? == dir.identity().map_err(at)? {
                let text = "the quarantine is the log's own directory";
                return Err(Error::new(ErrorKind::InvalidOption, text).at_path(&self.path));
            }
            let done = aside::move_to(&dir, &folder, &repaired.set_aside);
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
            None => aside::new_folder(&self.path.canonicalize()?)?,
        };
        folder.sync_parent()?;
        Ok(folder)
    }
}

/// The mode of a lock file and a quarantine that are made.
const MODE: u32 = 0o640;

fn nothing_left(dir: &Dir) -> Error {
    let text = "nothing of a log would be left in the directory";
    Error::new(ErrorKind::NotALog, text).at_path(dir.path())
}

#[cfg(test)]
mod tests;
