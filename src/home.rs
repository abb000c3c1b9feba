//! What the parts of an appending process share: the log's site, what it was opened with, and which
//! segments hold bytes that are not known to be durable.
//!
//! Does not know: how to append or to sync.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::ahead::Ahead;
use crate::dir::Dir;
use crate::error::{Error, ErrorKind, Result};
use crate::map::{Birth, End, Owner, Token};
use crate::retention::{Clock, Retention};
use crate::segment::SegmentFile;
use crate::shared::Page;
use crate::survey::Span;
use crate::view::Site;
use crate::wake::Wake;

/// A log that this process appends to.
pub(crate) struct Home {
    pub(crate) site: Arc<Site>,
    /// The site's, which every append looks at.
    pub(crate) page: Arc<Page>,
    /// Whether this is still the process that opened the log.
    pub(crate) birth: Birth,
    /// The thread that holds the append lock.
    pub(crate) owner: Owner,
    pub(crate) wake: Wake,
    /// What touches pages before they are needed.
    pub(crate) ahead: Ahead,
    /// This process among the participants.
    pub(crate) token: Token,
    pub(crate) log_id: [u8; 16],
    pub(crate) segment_bytes: u64,
    /// The longest record, in bytes.
    pub(crate) max_record: u64,
    pub(crate) retention: Retention,
    pub(crate) clock: Clock,
    /// The mode of new files.
    pub(crate) mode: u32,
    pub(crate) unsynced: Mutex<Unsynced>,
}

/// What the next sync has to do.
#[derive(Default)]
pub(crate) struct Unsynced {
    /// Segments with records at or above the durable position, in ascending order, the one that the log
    /// ends in included, whoever writes them.
    segments: Vec<Arc<SegmentFile>>,
    /// A segment got its name since the directory was synced, or may have.
    pub(crate) names: bool,
    /// Syncs of other participants that were under way when a segment was opened here: an error that
    /// one of them was told, this process is not (fsync(2): once for each description).
    pub(crate) doubts: Vec<(usize, u64)>,
}

impl Unsynced {
    pub(crate) fn add(&mut self, file: &Arc<SegmentFile>) {
        if self.segment(file.name.id).is_none() {
            self.segments.push(file.clone());
            self.segments.sort_by_key(|file| file.name.id);
        }
    }

    pub(crate) fn segment(&self, id: u64) -> Option<Arc<SegmentFile>> {
        self.segments.iter().find(|file| file.name.id == id).cloned()
    }

    pub(crate) fn segments(&self) -> Vec<Arc<SegmentFile>> {
        self.segments.clone()
    }

    /// The segment was removed.
    pub(crate) fn forget(&mut self, id: u64) {
        self.segments.retain(|file| file.name.id != id);
    }

    /// Everything in segments below `id` is durable.
    pub(crate) fn forget_below(&mut self, id: u64) {
        self.segments.retain(|file| file.name.id >= id);
    }
}

#[cfg(feature = "async")]
impl AsRef<Wake> for Home {
    fn as_ref(&self) -> &Wake {
        &self.wake
    }
}

impl Home {
    pub(crate) fn dir(&self) -> &Dir {
        &self.site.dir
    }

    #[inline]
    pub(crate) fn page(&self) -> &Page {
        &self.page
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

    pub(crate) fn participant(&self) -> usize {
        self.token.participant()
    }

    /// The end, and a descriptor of every segment that holds what is below it and not known to be
    /// durable.
    pub(crate) fn learn(&self) -> Result<End> {
        let page = self.page();
        let end = page.end();
        // Whoever knows a segment knows those before it.
        if self.unsynced.lock().segment(end.segment_id).is_some() {
            return Ok(end);
        }
        let (epoch, durable_seq) = (page.epoch(), page.durable_seq());
        let (shares, end) = self.site.shares(page)?;
        hook!("learn.listed");
        // Who syncs notices another epoch, too, before it raises the durable position.
        let is_gone = |span: &Span| page.let_go_of(span.end_seq, epoch);
        let mut unsynced = self.unsynced.lock();
        for span in shares.iter().filter(|span| span.end_seq > durable_seq) {
            if unsynced.segment(span.name.id).is_some() {
                continue;
            }
            match SegmentFile::open_to_write(self.dir(), span.name) {
                // Readers report what is lost there when they come to it.
                Err(error) if error.kind() == ErrorKind::Damaged => continue,
                // Trimmed or cut since it was listed: there is nothing to sync.
                Err(error) if error.kind() == ErrorKind::NotFound && is_gone(span) => continue,
                file => unsynced.add(&Arc::new(file?)),
            }
            unsynced.names = true;
            // After the opening: what ends before it is told by the log's poison.
            let others = page.syncs().filter(|(participant, _)| *participant != self.participant());
            unsynced.doubts.extend(others);
        }
        Ok(end)
    }

    #[cold]
    pub(crate) fn error(&self, kind: ErrorKind, detail: &'static str) -> Error {
        Error::new(kind, detail).at_path(self.dir().path())
    }

    #[cold]
    pub(crate) fn io_error(&self, doing: &'static str, source: std::io::Error) -> Error {
        Error::io(doing, source).at_path(self.dir().path())
    }

    /// What was committed is not there any more.
    #[cold]
    pub(crate) fn poison_with(&self, error: Error) -> Error {
        self.page().poison();
        self.wake.everyone();
        event!(ERROR, %error, "poisoned");
        error.of_kind(ErrorKind::Poisoned)
    }

    /// No sync that failed is tried again: what the disk holds is not known any more.
    #[cold]
    pub(crate) fn poison(&self, doing: &'static str, source: std::io::Error) -> Error {
        self.poison_with(self.io_error(doing, source))
    }
}
