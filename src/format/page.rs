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
/// Not zero while the next append has to go into a fresh segment.
pub(crate) const FRESH: Field<8> = INTENT.then();

/// The append lock's word.
pub(crate) const LOCK: Field<8> = FRESH.then_aligned(GROUP);

/// Which of the two copies of the end counts: the one of its lowest bit. Written by the lock's
/// holder alone.
pub(crate) const END_TURN: Field<8> = LOCK.then_aligned(GROUP);
/// Segment id, offset and sequence number, twice.
pub(crate) const END: [[Field<8>; 3]; 2] = {
    let first = three(END_TURN.then());
    [first, three(first[2].then())]
};

/// The durable position: eight low bits of the epoch, 56 bits of sequence number.
pub(crate) const DURABLE: Field<8> = END[1][2].then_aligned(GROUP);

/// A word per participant: its sync is in flight.
pub(crate) const PARTICIPANTS: usize = 128;
pub(crate) const SYNCING: Field<{ PARTICIPANTS * 8 }> = DURABLE.then_aligned(GROUP);

const _: () = assert!(SYNCING.end() as u64 <= BYTES, "the page holds every participant");

const fn three(first: Field<8>) -> [Field<8>; 3] {
    [first, first.then(), first.then::<8>().then()]
}

/// The word of one participant, below [`PARTICIPANTS`].
pub(crate) const fn syncing(participant: usize) -> Place {
    assert!(participant < PARTICIPANTS, "a participant's number comes from its lock byte");
    SYNCING.element(participant)
}
