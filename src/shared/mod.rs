//! The coordination page: what processes with the log open tell each other, and whether what it says
//! is of now.
//!
//! Does not know: segments, frames, recovery.

use std::io;
use std::sync::{Arc, OnceLock};

use crate::dir::{self, Dir, File};
use crate::format::frame::SEQ_MASK;
use crate::format::name::SHARED;
use crate::format::page::{self, Due};
use crate::map::{Birth, End, Guarded, PageMap, Seen, Token};

mod live;

pub(crate) use live::Initial;

/// The page of one log.
pub(crate) struct Page {
    map: Arc<PageMap>,
    file: File,
    /// Set once the page was found live: neither boot nor mount nor file change under an open file.
    here: OnceLock<()>,
}

/// Where marks stand, for who appends next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    /// The end's offset from which on one is due.
    pub(crate) due_at: u64,
    /// The durable position that the last one carries.
    pub(crate) durable_seq: u64,
}

impl Page {
    /// Opens the page for a handle that appends, making its file if needed. Only under the gate.
    pub(crate) fn open(dir: &Dir, mode: u32) -> io::Result<Self> {
        let file = dir.open_or_create(SHARED, mode)?;
        if !dir::is_backed(&file, page::BYTES)? {
            dir::allocate(&file, 0, page::BYTES)?;
        }
        let map = Arc::new(PageMap::new(&file, true)?);
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
        let map = Arc::new(PageMap::new(&file, false)?);
        Ok(Some(Page { map, file, here: OnceLock::new() }))
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

    /// The epoch, and an end in it: none of before, whose numbers other records have under this epoch.
    pub(crate) fn epoch_and_end(&self) -> (u64, End) {
        loop {
            let epoch = self.epoch();
            hook!("page.epoch_known");
            let end = self.end();
            if self.epoch() == epoch {
                return (epoch, end);
            }
        }
    }

    /// The epoch rose, and the log is durable up to `durable_seq` in it: numbers from there on may be given
    /// anew. Only the append lock's holder may. A death between the two stores leaves the position as it
    /// was under the last epoch; whoever settles stores both again.
    fn set_epoch(&self, epoch: u64, durable_seq: u64) {
        self.map.store(page::EPOCH, epoch);
        hook!("epoch.half_stored");
        loop {
            let old = self.map.load(page::DURABLE);
            // Of this epoch already: a sync beside this one may have moved it.
            let known = old & SEQ_MASK;
            let is_same = old == durable_word(epoch, known);
            let seq = if is_same { durable_seq.max(known) } else { durable_seq };
            if self.map.exchange(page::DURABLE, old, durable_word(epoch, seq)) {
                break;
            }
        }
        hook!("epoch.stored");
    }

    /// The log begins at `first_seq` from now on, ends where `set_end` says, and is of this epoch, durable to
    /// `durable_seq` in it. Only the append lock's holder may.
    pub(crate) fn enter_epoch(
        &self,
        (epoch, durable_seq): (u64, u64),
        first_seq: u64,
        set_end: impl FnOnce(),
    ) {
        // Who looks between two of these stores sees an empty log, and no records that are not there.
        if first_seq > self.first_seq() {
            self.set_first_seq(first_seq);
        }
        set_end();
        self.set_first_seq(first_seq);
        // Behind the end: who captures this epoch, to move the durable position in it, captures no end of
        // before.
        self.set_epoch(epoch, durable_seq);
    }

    pub(crate) fn first_seq(&self) -> u64 {
        self.map.load(page::FIRST_SEQ)
    }

    /// True if the file of a segment that ended at `end_seq`, in a log of `epoch` then, may have been removed since:
    /// it was trimmed, or the log was cut.
    pub(crate) fn let_go_of(&self, end_seq: u64, epoch: u64) -> bool {
        end_seq <= self.first_seq() || self.epoch() > epoch
    }

    /// Only the append lock's holder may.
    pub(crate) fn set_first_seq(&self, seq: u64) {
        self.map.store(page::FIRST_SEQ, seq);
    }

    /// Every record below it is on stable storage.
    #[inline]
    pub(crate) fn durable_seq(&self) -> u64 {
        self.map.load(page::DURABLE) & SEQ_MASK
    }

    /// As [`durable_seq`](Self::durable_seq); `None` while the position is still one of the last epoch.
    pub(crate) fn durable_seq_in_epoch(&self) -> Option<u64> {
        let word = self.map.load(page::DURABLE);
        let seq = word & SEQ_MASK;
        (word == durable_word(self.epoch(), seq)).then_some(seq)
    }

    /// The low bits of the epoch that the durable position is of: to be captured before an end.
    pub(crate) fn durable_epoch(&self) -> u64 {
        self.map.load(page::DURABLE) >> SEQ_MASK.count_ones()
    }

    /// Moves the durable position up to `seq`, captured in `epoch`, of which the low bits count. False if
    /// that is another by now or the log is poisoned: then it stays where it was.
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

    /// Says that a sync of this participant is under way whose outcome is not known yet: if its process
    /// dies now, nobody saw whether it failed.
    pub(crate) fn begin_sync(&self, participant: usize) {
        let word = self.map.load(page::syncing(participant));
        self.map.store(page::syncing(participant), word | 1);
    }

    /// It went well.
    pub(crate) fn end_sync(&self, participant: usize) {
        let word = self.map.load(page::syncing(participant));
        self.map.store(page::syncing(participant), (word | 1).wrapping_add(1));
    }

    /// The syncs that are under way: participants, and what tells this sync from their others.
    pub(crate) fn syncs(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let words = (0..page::PARTICIPANTS)
            .map(|participant| (participant, self.map.load(page::syncing(participant))));
        words.filter(|(_, word)| word % 2 == 1)
    }

    pub(crate) fn any_syncing(&self) -> bool {
        self.syncs().next().is_some()
    }

    /// True while that very sync is under way.
    pub(crate) fn is_syncing(&self, (participant, word): (usize, u64)) -> bool {
        self.map.load(page::syncing(participant)) == word
    }

    /// Says of a dead participant's sync that it is known how it ended: well.
    pub(crate) fn end_dead_sync(&self, (participant, word): (usize, u64)) {
        self.map.exchange(page::syncing(participant), word, word.wrapping_add(1));
    }

    /// What the first append has to do, whoever does it: an opening that appended nothing leaves a live
    /// page over what a crash left.
    pub(crate) fn due(&self) -> Due {
        Due::of_word(self.map.load(page::DUE))
    }

    /// Only the append lock's holder may.
    pub(crate) fn set_due(&self, due: Due) {
        self.map.store(page::DUE, due.word());
    }

    /// The segment that is about to get its name, or just got it.
    pub(crate) fn intent(&self) -> Option<u64> {
        Some(self.map.load(page::INTENT)).filter(|id| *id != 0)
    }

    /// Only the append lock's holder may.
    pub(crate) fn set_intent(&self, id: Option<u64>) {
        self.map.store(page::INTENT, id.unwrap_or(0));
    }

    pub(crate) fn last_id(&self) -> u64 {
        self.map.load(page::LAST_ID)
    }

    /// Only the append lock's holder may.
    pub(crate) fn set_last_id(&self, id: u64) {
        self.map.store(page::LAST_ID, id);
    }

    pub(crate) fn marks(&self) -> Marks {
        Marks {
            due_at: self.map.load(page::MARK_AT),
            durable_seq: self.map.load(page::MARKED_DURABLE),
        }
    }

    /// Only the append lock's holder may.
    pub(crate) fn set_marks(&self, marks: Marks) {
        self.map.store(page::MARK_AT, marks.due_at);
        self.map.store(page::MARKED_DURABLE, marks.durable_seq);
    }

    /// A number for an attachment that no other has. Only under the gate.
    pub(crate) fn count_attachment(&self) -> u64 {
        let number = self.map.load(page::ATTACHED).wrapping_add(1);
        self.map.store(page::ATTACHED, number);
        number
    }

    /// True if nothing on the page is left of an earlier holder of this participant's byte.
    pub(crate) fn is_vacant(&self, participant: usize) -> bool {
        let seen = self.seen_lock();
        let holds = seen.is_held() && seen.token().participant() == participant;
        let notes = self.noting().is_some_and(|token| token.participant() == participant);
        !holds && !notes && self.map.load(page::syncing(participant)).is_multiple_of(2)
    }

    pub(crate) fn seen_lock(&self) -> Seen {
        self.map.seen_lock()
    }

    /// A value that the append lock guards; `None` on a page opened to read.
    pub(crate) fn guard<T>(&self, token: Token, birth: Birth, value: T) -> Option<Guarded<T>> {
        self.map.guard(token, birth, value)
    }

    /// Who is writing a slot.
    pub(crate) fn noting(&self) -> Option<Token> {
        let word = self.map.load(page::NOTING);
        (word != 0).then(|| Token::of_word(word))
    }

    /// Begins to write a slot, if `before` is who was seen at it, alive no more.
    pub(crate) fn begin_noting(&self, before: Option<Token>, token: Token) -> bool {
        self.map.exchange(page::NOTING, before.map_or(0, Token::word), token.word())
    }

    pub(crate) fn end_noting(&self, token: Token) {
        self.map.exchange(page::NOTING, token.word(), 0);
    }

    /// Moves when a file is renamed or unlinked: odd while that is under way.
    #[inline]
    pub(crate) fn directory(&self) -> u64 {
        self.map.load(page::DIRECTORY)
    }

    /// Who was changing names died: the change was made, or not, and is under way no more. Only the
    /// append lock's holder may.
    pub(crate) fn settle_names(&self) {
        let counter = self.directory();
        if counter % 2 == 1 {
            self.map.store(page::DIRECTORY, counter.wrapping_add(1));
        }
    }

    /// Does what changes the directory's names between two moves of the counter. Only the append lock's
    /// holder may, and who is alone behind the gate.
    pub(crate) fn changing_names<T>(&self, change: impl FnOnce() -> T) -> T {
        let before = self.directory();
        self.map.store(page::DIRECTORY, before.wrapping_add(1));
        hook!("names.announced");
        let done = change();
        hook!("names.changed");
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
mod tests;
