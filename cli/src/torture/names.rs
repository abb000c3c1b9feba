//! The names of a log's segments: which are on stable storage, and which nobody has synced yet.
//!
//! What the log asked of its directory is read from a trace. A name, given or taken, is sure to outlive a power
//! cut once a sync of the directory has succeeded that began after it. Of the others a file system keeps the first so
//! many that were given; of those that were taken, any may be back. A name may lead to nothing but zeros, if its file
//! was never synced. Does not know: what is in a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use fastrand::Rng;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Given(String),
    Taken(String),
}

/// All changes of the names of one directory, in order.
#[derive(Debug, Default)]
pub(crate) struct Names {
    changes: Vec<Change>,
    /// So many of them were synced.
    synced: usize,
    /// Names, also of files that are being built, whose bytes were synced once.
    filled: BTreeSet<String>,
}

impl Names {
    /// Takes in what a process did that has ended, until when it may have left the log in any state.
    pub(crate) fn take(&mut self, trace: &str, log: &Path) -> io::Result<()> {
        self.follow(trace);
        // Calls that its end cut off had their effect or not.
        let mut here = BTreeSet::new();
        for entry in fs::read_dir(log)? {
            here.insert(entry?.file_name().to_string_lossy().into_owned());
        }
        here.retain(|name| is_segment(name));
        let known = after(self.changes.iter());
        self.filled.extend(here.difference(&known).cloned());
        self.changes.extend(here.difference(&known).cloned().map(Change::Given));
        self.changes.extend(known.difference(&here).cloned().map(Change::Taken));
        Ok(())
    }

    fn follow(&mut self, trace: &str) {
        // By thread: what it called, and how many changes there had been then.
        let mut begun = BTreeMap::new();
        for line in trace.lines() {
            let Some((thread, said)) = line.split_once(' ') else { continue };
            let said = said.trim_start();
            if let Some(call) = said.strip_suffix("<unfinished ...>") {
                begun.insert(thread, (call, self.changes.len()));
            } else if let Some((_, rest)) = said.split_once(" resumed>")
                && let Some((call, before)) = begun.remove(thread)
            {
                self.returned(&format!("{call}{rest}"), before);
            } else {
                self.returned(said, self.changes.len());
            }
        }
    }

    /// A call returned, before which so many changes had been made.
    fn returned(&mut self, line: &str, before: usize) {
        let Some((call, "0")) = line.rsplit_once("= ") else { return };
        let call = call.trim_end().trim_end_matches(')').trim_end();
        if call.starts_with("fsync(") && call.ends_with("/log>") {
            self.synced = self.synced.max(before);
        } else if call.starts_with("fdatasync(")
            && let Some((_, name)) = call.trim_end_matches('>').rsplit_once("/log/")
        {
            self.filled.insert(name.to_owned());
        }
        // The last name, the directory that stands before it, and the name before that.
        let mut quoted = call.rsplit('"').skip(1);
        let (Some(name), Some(place)) = (quoted.next(), quoted.next()) else { return };
        if !place.ends_with("/log>, ") {
            return;
        }
        if call.starts_with("unlinkat(") {
            self.taken(name);
        } else if call.starts_with("renameat2(") || call.starts_with("linkat(") {
            self.given(quoted.next().unwrap_or_default(), name);
        }
    }

    fn given(&mut self, built: &str, name: &str) {
        if self.filled.remove(built) {
            self.filled.insert(name.to_owned());
        }
        if is_segment(name) {
            self.changes.push(Change::Given(name.to_owned()));
        }
    }

    fn taken(&mut self, name: &str) {
        match is_segment(name) {
            true => self.changes.push(Change::Taken(name.to_owned())),
            false => drop(self.filled.remove(name)),
        }
    }

    /// True if nobody synced its file since it was made, not even once.
    pub(crate) fn may_be_zeros(&self, name: &str) -> bool {
        !self.filled.contains(name)
    }

    /// Names that a power cut may leave.
    pub(crate) fn left(&self, rng: &mut Rng) -> BTreeSet<String> {
        let kept = match rng.bool() {
            true => self.synced,
            false => rng.usize(self.synced..=self.changes.len()),
        };
        let is_left = |index: usize, change: &Change, rng: &mut Rng| match change {
            _ if index < self.synced => true,
            Change::Given(_) => index < kept,
            Change::Taken(_) => rng.bool(),
        };
        let left = self.changes.iter().enumerate();
        after(left.filter(|(index, change)| is_left(*index, change, rng)).map(|(_, change)| change))
    }

    /// Every name that a power cut may leave.
    pub(crate) fn possible(&self) -> BTreeSet<String> {
        let unsynced = self.changes[self.synced..].iter();
        let given = unsynced.filter(|change| matches!(change, Change::Given(_)));
        after(self.changes[..self.synced].iter().chain(given))
    }
}

/// The names that are there after these changes.
fn after<'c>(changes: impl Iterator<Item = &'c Change>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for change in changes {
        match change {
            Change::Given(name) => names.insert(name.clone()),
            Change::Taken(name) => names.remove(name),
        };
    }
    names
}

pub(crate) fn is_segment(name: &str) -> bool {
    name.ends_with(".seg")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(trace: &str) -> Names {
        let mut names = Names::default();
        names.follow(trace);
        names
    }

    fn given(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_named_before_a_sync_of_the_directory_stays() {
        let names = names(
            "7  execve(\"maplog\", [\"maplog\"], 0x7ffc) = 0\n\
             7  renameat2(3</a \"b/log>, \"next-0\", 3</a \"b/log>, \"0-1.seg\", RENAME_NOREPLACE) = 0\n\
             7  fdatasync(5</a \"b/log/0-1.seg>) = 0\n\
             7  fsync(3</a \"b/log>)    = 0\n\
             7  linkat(3</a \"b/log>, \"next-0\", 3</a \"b/log>, \"9-2.seg\", 0) = 0\n\
             7  renameat2(3</a \"b/log>, \"next-0\", 3</a \"b/log>, \"9-3.seg\", RENAME_NOREPLACE) = ?\n\
             7  fsync(3</a \"b/log>) = ?\n\
             7  +++ killed by SIGKILL +++\n",
        );
        assert_eq!((names.changes.len(), names.synced), (2, 1));
        assert!(!names.may_be_zeros("0-1.seg") && names.may_be_zeros("9-2.seg"));
        assert_eq!(names.possible(), given(&["0-1.seg", "9-2.seg"]));
        let mut rng = Rng::with_seed(0);
        let left: BTreeSet<_> = (0..99).map(|_| names.left(&mut rng)).collect();
        assert_eq!(left, [given(&["0-1.seg"]), names.possible()].into());
    }

    #[test]
    fn a_sync_covers_what_came_before_it_began_and_any_of_what_is_taken_behind_it_is_back() {
        let names = names(
            "7 fdatasync(5</log/next-0>) = 0\n\
             7 renameat2(3</log>, \"next-0\", 3</log>, \"0-1.seg\", RENAME_NOREPLACE) = 0\n\
             8 fsync(3</log> <unfinished ...>\n\
             7 renameat2(3</log>, \"next-0\", 3</log>, \"5-2.seg\", RENAME_NOREPLACE <unfinished ...>\n\
             7 <... renameat2 resumed>) = 0\n\
             8 <... fsync resumed>) = 0\n\
             7 unlinkat(3</log>, \"9-0.seg\", 0) = -1 ENOENT (No such file or directory)\n\
             7 unlinkat(3</log>, \"next-0\", 0) = 0\n\
             7 unlinkat(3</log>, \"0-1.seg\", 0) = 0\n",
        );
        assert!(!names.may_be_zeros("0-1.seg") && names.may_be_zeros("5-2.seg"));
        let mut rng = Rng::with_seed(0);
        let left: BTreeSet<_> = (0..99).map(|_| names.left(&mut rng)).collect();
        let both = given(&["0-1.seg", "5-2.seg"]);
        assert_eq!(left, [given(&[]), given(&["0-1.seg"]), given(&["5-2.seg"]), both].into());
    }
}
