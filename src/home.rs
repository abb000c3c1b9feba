//! What the parts of an appending process share: the log's site, what it was opened with, and which
//! segments hold bytes that are not known to be durable.
//!
//! Does not know: how to append or to sync.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::dir::Dir;
use crate::error::{Error, ErrorKind, Result};
use crate::map::{Birth, Owner};
use crate::segment::SegmentFile;
use crate::shared::Page;
use crate::view::Site;
use crate::wake::Wake;

/// A log that this process appends to.
pub(crate) struct Home {
    pub(crate) site: Arc<Site>,
    /// Whether this is still the process that opened the log.
    pub(crate) birth: Birth,
    /// The thread that holds the append lock.
    pub(crate) owner: Owner,
    pub(crate) wake: Wake,
    pub(crate) log_id: [u8; 16],
    pub(crate) segment_bytes: u64,
    /// The mode of new files.
    pub(crate) mode: u32,
    pub(crate) unsynced: Mutex<Unsynced>,
}

/// What the next sync has to do.
#[derive(Default)]
pub(crate) struct Unsynced {
    /// Segments with records at or above the durable position, in ascending order, the last one
    /// included: each through a descriptor that was opened before they were written.
    pub(crate) segments: Vec<Arc<SegmentFile>>,
    /// A segment got its name since the directory was synced.
    pub(crate) names: bool,
    /// The segment that this process appends to, once it does.
    pub(crate) tip: Option<Arc<SegmentFile>>,
}

impl Unsynced {
    /// Appends go to `file` from now on.
    pub(crate) fn append_to(&mut self, file: &Arc<SegmentFile>) {
        if self.segment(file.name.id).is_none() {
            self.segments.push(file.clone());
        }
        self.tip = Some(file.clone());
    }

    pub(crate) fn segment(&self, id: u64) -> Option<Arc<SegmentFile>> {
        self.segments.iter().find(|file| file.name.id == id).cloned()
    }
}

impl Home {
    pub(crate) fn dir(&self) -> &Dir {
        &self.site.dir
    }

    #[inline]
    pub(crate) fn page(&self) -> &Page {
        // `Site::of_log` was given one.
        self.site.page().expect("an appending process has a page")
    }

    /// Refuses in a child of `fork`.
    #[inline]
    pub(crate) fn check_process(&self) -> Result<()> {
        match self.birth.is_this_process() {
            true => Ok(()),
            false => Err(self.error(ErrorKind::Forked, "open the log anew in the child")),
        }
    }

    /// Refuses in a child of `fork`, and after a failed sync.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        self.check_process()?;
        if self.page().is_poisoned() {
            return Err(self.error(ErrorKind::Poisoned, "close the log and open it again"));
        }
        Ok(())
    }

    /// Refuses when other files took this log's place: what went into them would be in no log.
    pub(crate) fn check_place(&self) -> Result<()> {
        match self.page().is_in_place(self.dir()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.error(ErrorKind::Replaced, "its files were removed or replaced")),
            Err(source) => Err(self.io_error("looking at the page", source)),
        }
    }

    #[cold]
    pub(crate) fn error(&self, kind: ErrorKind, detail: &'static str) -> Error {
        Error::new(kind, detail).at_path(self.dir().path())
    }

    #[cold]
    pub(crate) fn io_error(&self, doing: &'static str, source: std::io::Error) -> Error {
        Error::io(doing, source).at_path(self.dir().path())
    }

    /// No sync that failed is tried again: what the disk holds is not known any more.
    #[cold]
    pub(crate) fn poison(&self, doing: &'static str, source: std::io::Error) -> Error {
        self.page().poison();
        self.wake.everyone();
        self.io_error(doing, source).of_kind(ErrorKind::Poisoned)
    }
}
