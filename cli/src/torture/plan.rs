//! What a worker does, and with which bytes: all of it follows from seed, worker and number, so that
//! nobody has to keep what was sent.
//!
//! Does not know: logs, processes.

use std::time::Duration;

use fastrand::Rng;
use maplog::{Log, Options, SyncPolicy};

/// Segments of these sizes: the smallest make new segments all the time, in the largest files grow.
const SEGMENT_BYTES: [u64; 5] = [16 << 10, 64 << 10, 256 << 10, 1 << 20, 8 << 20];

/// What all workers of a story have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) segment_bytes: u64,
    policy: SyncPolicy,
    /// Whether the log is cut and trimmed, which needs a worker who is alone.
    pub(crate) cuts: bool,
    /// Whether it syncs and trims much more often than most do.
    often_durable: bool,
}

/// The record that a worker sent with the `number`-th thing it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) worker: u32,
    pub(crate) number: u64,
    pub(crate) index: u32,
}

/// One thing that a worker does; lengths are of records, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Append(usize),
    /// All of them or none.
    Batch(Vec<usize>),
    /// One after the other, while it holds the append lock.
    Run(Vec<usize>),
    /// Written in place, into a slot that is larger by `spare`.
    InPlace {
        len: usize,
        spare: usize,
    },
    /// A slot that is filled and let go.
    GivenUp(usize),
    Sync,
    /// Drops so many sixteenths of the log, the oldest.
    Trim(u64),
    /// Drops so many records, the newest.
    Cut(u64),
}

impl Plan {
    pub(crate) fn new(seed: u64, cuts: bool) -> Self {
        let mut rng = Rng::with_seed(mix(seed, 0x706c_616e));
        let sizes = if cuts { &SEGMENT_BYTES[..3] } else { &SEGMENT_BYTES[..] };
        let segment_bytes = sizes[rng.usize(..sizes.len())];
        let policy = match rng.u8(..6) {
            0 => SyncPolicy::Always,
            1 | 2 => SyncPolicy::Every(Duration::from_millis(rng.u64(2..40))),
            _ => SyncPolicy::Manual,
        };
        Plan { seed, segment_bytes, policy, cuts, often_durable: false }
    }

    /// For power cuts that are played on copies: nothing is synced but when it is asked for.
    pub(crate) fn unsynced(seed: u64, segment_bytes: u64) -> Self {
        let policy = SyncPolicy::Manual;
        Plan { seed, segment_bytes, policy, cuts: false, often_durable: false }
    }

    /// For power cuts of a disk: new segments come often, and so does what has to be durable.
    pub(crate) fn often_durable(seed: u64) -> Self {
        let plan = Plan::new(seed, false);
        let segment_bytes = if (seed >> 1).is_multiple_of(4) { 64 << 10 } else { 16 << 10 };
        // What follows an append by itself is seldom late.
        let policy = if seed.is_multiple_of(3) { plan.policy } else { SyncPolicy::Manual };
        Plan { segment_bytes, policy, often_durable: true, ..plan }
    }

    pub(crate) fn options(&self) -> Options {
        let helper = self.policy != SyncPolicy::Manual;
        Log::options().segment_bytes(self.segment_bytes).sync(self.policy).helper_thread(helper)
    }

    pub(crate) fn syncs_always(&self) -> bool {
        self.policy == SyncPolicy::Always
    }

    fn rng(&self, worker: u32, number: u64) -> Rng {
        Rng::with_seed(mix(mix(self.seed, u64::from(worker)), number))
    }

    /// The `number`-th thing that a worker does.
    pub(crate) fn op(&self, worker: u32, number: u64) -> Op {
        let mut rng = self.rng(worker, number);
        let most = (self.segment_bytes / 4).min(200_000) as usize;
        match rng.u16(..256) {
            0..4 => Op::Sync,
            4..20 => Op::Batch((0..rng.usize(2..9)).map(|_| small(&mut rng, most / 12)).collect()),
            20..24 => Op::Batch((0..rng.usize(9..60)).map(|_| rng.usize(..most / 60)).collect()),
            24..36 => Op::Run((0..rng.usize(2..12)).map(|_| small(&mut rng, most)).collect()),
            36..56 => Op::InPlace { len: small(&mut rng, most), spare: rng.usize(..600) },
            56..64 => Op::GivenUp(rng.usize(1..most)),
            64 => Op::Append(rng.usize(..most)),
            65 if worker == 0 => Op::Trim(rng.u64(..12)),
            66..70 if self.cuts => Op::Cut(rng.u64(..60)),
            70..80 if self.often_durable => Op::Sync,
            84..90 if self.often_durable => Op::Trim(rng.u64(1..4)),
            90..92 if self.often_durable => Op::Trim(rng.u64(..16)),
            _ => Op::Append(small(&mut rng, most)),
        }
    }

    /// The bytes of a record.
    pub(crate) fn payload(&self, id: Id, len: usize) -> Vec<u8> {
        let name = mix(u64::from(id.worker) << 32 | u64::from(id.index), id.number);
        let mut bytes = vec![0; len];
        Rng::with_seed(mix(self.seed, name)).fill(&mut bytes);
        bytes
    }

    /// The records of an operation, in order.
    pub(crate) fn lens(&self, worker: u32, number: u64) -> Vec<usize> {
        match self.op(worker, number) {
            Op::Append(len) | Op::InPlace { len, .. } => vec![len],
            Op::Batch(lens) | Op::Run(lens) => lens,
            Op::GivenUp(_) | Op::Sync | Op::Trim(_) | Op::Cut(_) => Vec::new(),
        }
    }
}

/// Mostly short, so that there are many.
fn small(rng: &mut Rng, most: usize) -> usize {
    let len = match rng.u8(..16) {
        0 => 0,
        1..11 => rng.usize(1..100),
        11..15 => rng.usize(100..800),
        _ => rng.usize(800..5000),
    };
    len.min(most)
}

/// One number out of two, so that near ones are far apart (splitmix64).
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let mut z = a.rotate_left(32) ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
