//! The coordination page: what processes with the log open tell each other, and whether what it says
//! is of now.
//!
//! Does not know: segments, frames, recovery.

use std::io;
use std::sync::OnceLock;

use crate::dir::{self, Dir, File};
use crate::format::frame::SEQ_MASK;
use crate::format::name::SHARED;
use crate::format::page;
use crate::map::{End, PageMap};

/// The number of this process among the participants: as long as one appends, the first.
const PARTICIPANT: usize = 0;

/// The page of one log.
pub(crate) struct Page {
    map: PageMap,
    file: File,
    /// Set once the page was found live: neither boot nor mount nor file change under an open file.
    here: OnceLock<()>,
}

/// What a page says when it is initialised.
pub(crate) struct Initial {
    pub(crate) end: End,
    pub(crate) epoch: u64,
    pub(crate) first_seq: u64,
    pub(crate) durable_seq: u64,
    /// The next append has to go into a fresh segment.
    pub(crate) fresh: bool,
}

impl Page {
    /// Opens the page for a handle that appends, making its file if needed. Only under the gate.
    pub(crate) fn open(dir: &Dir, mode: u32) -> io::Result<Self> {
        let file = dir.open_or_create(SHARED, mode)?;
        if !dir::is_backed(&file, page::BYTES)? {
            dir::allocate(&file, 0, page::BYTES)?;
        }
        let map = PageMap::new(&file, true)?;
        Ok(Page { map, file, here: OnceLock::new() })
    }

    /// Opens the page for a reader; `None` if there is none to speak of.
    pub(crate) fn open_to_read(dir: &Dir) -> io::Result<Option<Self>> {
        let file = match dir.open_to_read(SHARED) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        if dir::file_bytes(&file)? < page::BYTES {
            return Ok(None);
        }
        let map = PageMap::new(&file, false)?;
        Ok(Some(Page { map, file, here: OnceLock::new() }))
    }

    /// True while what the page says is of this boot, this mount and this very file: then the page
    /// cache is the truth. A page that came back from a disk or a copy is never live.
    pub(crate) fn is_live(&self) -> io::Result<bool> {
        if self.map.load(page::MAGIC) != page::MAGIC_WORD {
            return Ok(false);
        }
        if self.here.get().is_some() {
            return Ok(true);
        }
        let here = dir::whereabouts(&self.file)?;
        let is_here = here == self.whereabouts();
        if is_here {
            let _ = self.here.set(());
        }
        Ok(is_here)
    }

    /// True if the page is of this boot and this very file, whatever the mount: then what it says of syncs
    /// that failed still holds, though another mount namespace sees no live page.
    pub(crate) fn is_of_this_boot(&self) -> io::Result<bool> {
        let here = dir::whereabouts(&self.file)?;
        let initialised = self.map.load(page::MAGIC) == page::MAGIC_WORD;
        Ok(initialised
            && dir::Whereabouts { mount_id: here.mount_id, ..self.whereabouts() } == here)
    }

    /// Where the page was initialised.
    fn whereabouts(&self) -> dir::Whereabouts {
        dir::Whereabouts {
            boot_id: page::BOOT_ID.map(|place| self.map.load(place)),
            mount_id: self.map.load(page::MOUNT_ID),
            inode: self.map.load(page::INODE),
            birth_seconds: self.map.load(page::BIRTH_SECONDS),
            birth_nanos: self.map.load(page::BIRTH_NANOS),
        }
    }

    /// Begins a new life of the page, in place. Only under the gate, by its only participant.
    pub(crate) fn initialise(&self, initial: &Initial) -> io::Result<()> {
        let here = dir::whereabouts(&self.file)?;
        let instance = u64::from_le_bytes(dir::random()?);
        let store = |place, value| self.map.store(place, value);
        store(page::MAGIC, 0);
        store(page::MOUNT_ID, here.mount_id);
        store(page::INODE, here.inode);
        store(page::BIRTH_SECONDS, here.birth_seconds);
        store(page::BIRTH_NANOS, here.birth_nanos);
        for (place, value) in page::BOOT_ID.into_iter().zip(here.boot_id) {
            store(place, value);
        }
        store(page::INSTANCE, instance);
        store(page::EPOCH, initial.epoch);
        store(page::FIRST_SEQ, initial.first_seq);
        store(page::POISON, 0);
        store(page::INTENT, 0);
        store(page::FRESH, initial.fresh.into());
        store(page::LOCK, 0);
        // Even: whoever died while it was odd no longer renames anything. Moved on, so that no
        // listing from before counts.
        store(page::DIRECTORY, (self.map.load(page::DIRECTORY) | 1).wrapping_add(1));
        for participant in 0..page::PARTICIPANTS {
            store(page::syncing(participant), 0);
        }
        self.map.store_end(initial.end);
        store(page::DURABLE, durable_word(initial.epoch, initial.durable_seq));
        store(page::MAGIC, page::MAGIC_WORD);
        Ok(())
    }

    #[inline]
    pub(crate) fn end(&self) -> End {
        self.map.load_end()
    }

    /// Only the append lock's holder may.
    #[inline]
    pub(crate) fn set_end(&self, end: End) {
        self.map.store_end(end);
    }

    /// Drawn anew whenever the page is initialised.
    #[inline]
    pub(crate) fn instance(&self) -> u64 {
        self.map.load(page::INSTANCE)
    }

    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.map.load(page::EPOCH)
    }

    /// Only on a page that was opened to append.
    pub(crate) fn set_epoch(&self, epoch: u64) {
        self.map.store(page::EPOCH, epoch);
        loop {
            let old = self.map.load(page::DURABLE);
            if self.map.exchange(page::DURABLE, old, durable_word(epoch, old & SEQ_MASK)) {
                return;
            }
        }
    }

    pub(crate) fn first_seq(&self) -> u64 {
        self.map.load(page::FIRST_SEQ)
    }

    /// Every record below it is on stable storage.
    #[inline]
    pub(crate) fn durable_seq(&self) -> u64 {
        self.map.load(page::DURABLE) & SEQ_MASK
    }

    /// Moves the durable position up to `seq`, captured in `epoch`. False if the epoch is another
    /// by now or the log is poisoned: then it stays where it was.
    pub(crate) fn raise_durable(&self, epoch: u64, seq: u64) -> bool {
        loop {
            let old = self.map.load(page::DURABLE);
            let same_epoch = old == durable_word(epoch, old & SEQ_MASK);
            if !same_epoch || self.is_poisoned() {
                return false;
            }
            if old & SEQ_MASK >= seq
                || self.map.exchange(page::DURABLE, old, durable_word(epoch, seq))
            {
                return true;
            }
        }
    }

    #[inline]
    pub(crate) fn is_poisoned(&self) -> bool {
        self.map.load(page::POISON) != 0
    }

    pub(crate) fn poison(&self) {
        self.map.store(page::POISON, 1);
    }

    /// Says that a sync is under way whose outcome is not known yet: if its process dies now, nobody
    /// saw whether it failed.
    pub(crate) fn set_syncing(&self, syncing: bool) {
        self.map.store(page::syncing(PARTICIPANT), syncing.into());
    }

    pub(crate) fn any_syncing(&self) -> bool {
        (0..page::PARTICIPANTS).any(|participant| self.map.load(page::syncing(participant)) != 0)
    }

    /// True while the next append has to go into a fresh segment, whoever does it: an opening that
    /// appended nothing leaves a live page over what a crash left.
    pub(crate) fn is_fresh_due(&self) -> bool {
        self.map.load(page::FRESH) != 0
    }

    /// The fresh segment is there.
    pub(crate) fn fresh_is_done(&self) {
        self.map.store(page::FRESH, 0);
    }

    /// Moves when a file is renamed or unlinked: odd while that is under way.
    #[inline]
    pub(crate) fn directory(&self) -> u64 {
        self.map.load(page::DIRECTORY)
    }

    /// Does what changes the directory's names between two moves of the counter.
    pub(crate) fn changing_names<T>(&self, change: impl FnOnce() -> T) -> T {
        let before = self.directory();
        self.map.store(page::DIRECTORY, before.wrapping_add(1));
        let done = change();
        self.map.store(page::DIRECTORY, before.wrapping_add(2));
        done
    }

    /// True while the file `shared` in `dir` is still this one.
    pub(crate) fn is_in_place(&self, dir: &Dir) -> io::Result<bool> {
        dir.leads_to(SHARED, &self.file)
    }
}

fn durable_word(epoch: u64, seq: u64) -> u64 {
    epoch << SEQ_MASK.count_ones() | seq
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(dir: &Dir) -> io::Result<Page> {
        let page = Page::open(dir, 0o640)?;
        let end = End { segment_id: 2, offset: 8192, seq: 40 };
        page.initialise(&Initial {
            end,
            epoch: 257,
            first_seq: 10,
            durable_seq: 30,
            fresh: false,
        })?;
        Ok(page)
    }

    #[test]
    fn a_page_is_live_where_it_was_initialised_and_nowhere_else() -> io::Result<()> {
        let [here, copy] = [tempfile::tempdir()?, tempfile::tempdir()?];
        let dir = Dir::open(here.path())?;
        assert!(!Page::open(&dir, 0o640)?.is_live()?);
        let page = page(&dir)?;
        assert!(page.is_live()?);
        assert_eq!((page.first_seq(), page.epoch(), page.durable_seq()), (10, 257, 30));
        std::fs::copy(here.path().join(SHARED), copy.path().join(SHARED))?;
        assert!(!Page::open(&Dir::open(copy.path())?, 0o640)?.is_live()?);
        Ok(())
    }

    #[test]
    fn the_durable_position_rises_within_its_epoch_only() -> io::Result<()> {
        let here = tempfile::tempdir()?;
        let page = page(&Dir::open(here.path())?)?;
        assert!(page.raise_durable(257, 35));
        assert!(page.raise_durable(257, 31), "already durable");
        assert_eq!(page.durable_seq(), 35);
        assert!(!page.raise_durable(256, 38), "captured before the epoch rose");
        page.poison();
        assert!(!page.raise_durable(257, 38));
        assert_eq!(page.durable_seq(), 35);
        Ok(())
    }
}
