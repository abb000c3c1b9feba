//! The coordination page: the file `shared`, one page of plain integers that every process with the
//! log open maps. It is volatile: what it says counts only while it is live (docs/format.md).

use super::PAGE_BYTES;
use super::field::Field;

/// A word of the page.
pub(crate) type Place = Field<8>;

/// The file's size, never changed.
pub(crate) const BYTES: u64 = PAGE_BYTES;
/// Fields that different parties write lie in groups of this size.
const GROUP: usize = 128;

/// Says that the page was initialised, by this layout.
pub(crate) const MAGIC_WORD: u64 = u64::from_le_bytes(*b"maplog\x1a\x01");

// Who initialised the page, and where: the page is live while these hold.
pub(crate) const MAGIC: Field<8> = Field::first();
pub(crate) const BOOT_ID: [Field<8>; 2] = [MAGIC.then(), MAGIC.then::<8>().then()];
pub(crate) const MOUNT_ID: Field<8> = BOOT_ID[1].then();
pub(crate) const INODE: Field<8> = MOUNT_ID.then();
pub(crate) const BIRTH_SECONDS: Field<8> = INODE.then();
pub(crate) const BIRTH_NANOS: Field<8> = BIRTH_SECONDS.then();
pub(crate) const INSTANCE: Field<8> = BIRTH_NANOS.then();

// What holds for the log as a whole.
pub(crate) const EPOCH: Field<8> = INSTANCE.then_aligned(GROUP);
pub(crate) const FIRST_SEQ: Field<8> = EPOCH.then();
pub(crate) const POISON: Field<8> = FIRST_SEQ.then();
/// Odd while a file is being renamed or unlinked.
pub(crate) const DIRECTORY: Field<8> = POISON.then();
/// The id of a segment that is about to get its name.
pub(crate) const INTENT: Field<8> = DIRECTORY.then();
/// What the first append of this instance has to do; see [`Due`].
pub(crate) const DUE: Field<8> = INTENT.then();
/// How many attachments there were: each gets a number that is never used again.
pub(crate) const ATTACHED: Field<8> = DUE.then();

/// The append lock's word; see `map::append_lock`.
pub(crate) const LOCK: Field<8> = ATTACHED.then_aligned(GROUP);

// Written by the append lock's holder alone.

/// Which of the two copies of the end counts: the one of its lowest bit.
pub(crate) const END_TURN: Field<8> = LOCK.then_aligned(GROUP);
/// Segment id, offset and sequence number, twice.
pub(crate) const END: [[Field<8>; 3]; 2] = {
    let first = three(END_TURN.then());
    [first, three(first[2].then())]
};
const _: () = assert!(END[1][2].end() - END[0][0].at() == 6 * 8, "the copies adjoin");
/// The end's offset from which on a mark is due.
pub(crate) const MARK_AT: Field<8> = END[1][2].then();
/// The durable position that the last mark carries.
pub(crate) const MARKED_DURABLE: Field<8> = MARK_AT.then();
/// The highest segment id in the directory, whether it counts or not.
pub(crate) const LAST_ID: Field<8> = MARKED_DURABLE.then();

/// The durable position: eight low bits of the epoch, 56 bits of sequence number.
pub(crate) const DURABLE: Field<8> = LAST_ID.then_aligned(GROUP);
/// The token of the participant that is writing a slot; zero if nobody is.
pub(crate) const NOTING: Field<8> = DURABLE.then();

/// A word per participant: odd while its sync is in flight.
pub(crate) const PARTICIPANTS: usize = 256;
pub(crate) const SYNCING: Field<{ PARTICIPANTS * 8 }> = NOTING.then_aligned(GROUP);

const _: () = assert!(SYNCING.end() as u64 <= BYTES, "the page holds every participant");

/// What the first append has to do before it, whoever does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing: somebody has appended in this instance.
    Nothing,
    /// Sync what was found and say durably that the log is open, then go on at the end. `clean`: it had
    /// been closed.
    Reopen { clean: bool },
    /// Make a fresh segment, of a new epoch.
    Fresh,
}

impl Due {
    pub(crate) const fn word(self) -> u64 {
        match self {
            Due::Nothing => 0,
            Due::Reopen { clean: true } => 1,
            Due::Reopen { clean: false } => 2,
            Due::Fresh => 3,
        }
    }

    /// A word that no version wrote asks for the most careful thing.
    pub(crate) const fn of_word(word: u64) -> Self {
        match word {
            0 => Due::Nothing,
            1 => Due::Reopen { clean: true },
            2 => Due::Reopen { clean: false },
            _ => Due::Fresh,
        }
    }
}

const fn three(first: Field<8>) -> [Field<8>; 3] {
    [first, first.then(), first.then::<8>().then()]
}

/// The word of one participant, below [`PARTICIPANTS`].
pub(crate) const fn syncing(participant: usize) -> Place {
    assert!(participant < PARTICIPANTS, "a participant's number comes from its lock byte");
    SYNCING.element(participant)
}
