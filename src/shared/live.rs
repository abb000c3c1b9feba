//! Whether a page is of now, and making it so.
//!
//! Does not know: what the log holds.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use super::{Marks, Page, durable_word};
use crate::dir;
use crate::format::page::{self, Due};
use crate::map::End;

/// How long a page is waited for that is being initialised.
const LOOKS: usize = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// What a page says when it is initialised.
pub(crate) struct Initial {
    pub(crate) end: End,
    pub(crate) epoch: u64,
    pub(crate) first_seq: u64,
    pub(crate) durable_seq: u64,
    /// What the first append has to do.
    pub(crate) due: Due,
    /// The highest segment id in the directory, whether it counts or not.
    pub(crate) last_id: u64,
}

impl Page {
    /// True while what the page says is of this boot, this mount and this very file: then the page
    /// cache is the truth. A page that came back from a disk or a copy is never live.
    pub(crate) fn is_live(&self) -> io::Result<bool> {
        let magic = || self.map.load(page::MAGIC);
        if magic() == page::MAGIC_WORD && self.here.get().is_some() {
            return Ok(true);
        }
        let is_here = dir::whereabouts(&self.file)? == self.whereabouts();
        // Being initialised takes less than this, if who does it lives.
        let looks = if is_here { LOOKS } else { 0 };
        (0..looks).take_while(|_| magic() == 0).for_each(|_| sleep(BETWEEN_LOOKS));
        let is_live = is_here && magic() == page::MAGIC_WORD;
        if is_live {
            let _ = self.here.set(());
        }
        Ok(is_live)
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
        store(page::DUE, initial.due.word());
        store(page::ATTACHED, 0);
        store(page::LOCK, 0);
        store(page::NOTING, 0);
        store(page::LAST_ID, initial.last_id);
        self.set_marks(Marks { due_at: 0, durable_seq: 0 });
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
}
