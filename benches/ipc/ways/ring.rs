//! The bare machine: a ring in shared memory, one process that fills it and one that empties it,
//! both looking all the time. No checksum, no lengths, nothing kept: what maplog costs more than this
//! is what those cost.

use std::hint::spin_loop;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::region::Region;
use super::{End, Missing, Side, Way, missing};
use crate::plan::Plan;

/// Two words that different processes write must not share a line, nor lines that are fetched in pairs.
const WORD_BYTES: usize = 128;
const SLOTS_AT: usize = 2 * WORD_BYTES;
/// A ring that stays in the cache is the fastest.
const RING_BYTES: usize = 256 * 1024;
/// The reader gives slots back in steps of this.
const GIVE_BACK: u64 = 64;

/// How many messages were ever put in, and how many were taken out and may be overwritten.
#[derive(Clone, Copy)]
struct Ring {
    region: Region,
    filled: &'static AtomicU64,
    freed: &'static AtomicU64,
    slots: u64,
    size: usize,
}

impl Ring {
    fn new(region: Region, plan: &Plan) -> Self {
        let slots = slots(plan);
        let (filled, freed) = (region.word(0), region.word(WORD_BYTES));
        Ring { region, filled, freed, slots, size: plan.size }
    }

    #[inline]
    fn slot(&self, index: u64) -> *mut u8 {
        let at = SLOTS_AT + (index & (self.slots - 1)) as usize * self.size;
        self.region.at(at, self.size)
    }
}

/// A power of two. A ring of cold pages is never gone round.
fn slots(plan: &Plan) -> u64 {
    let bytes = if plan.measure.is_cold() { plan.room_bytes() } else { RING_BYTES };
    let slots = (bytes / plan.size) as u64;
    slots.next_power_of_two() >> u32::from(!slots.is_power_of_two())
}

fn region_bytes(plan: &Plan) -> usize {
    SLOTS_AT + slots(plan) as usize * plan.size
}

pub struct RingEnd {
    sends: Ring,
    sent: u64,
    /// What `freed` was when it was last looked at.
    free_to: u64,
    receives: Ring,
    received: u64,
    given_back: u64,
}

impl RingEnd {
    fn new([there, back]: [Ring; 2], side: Side) -> Self {
        let (sends, receives) = match side {
            Side::First => (there, back),
            Side::Second => (back, there),
        };
        let free_to = sends.slots;
        RingEnd { sends, sent: 0, free_to, receives, received: 0, given_back: 0 }
    }

    fn give_back(&mut self) {
        self.receives.freed.store(self.received, Ordering::Release);
        self.given_back = self.received;
    }
}

impl End for RingEnd {
    fn warm(&mut self) {
        self.sends.region.touch();
        self.receives.region.touch();
    }

    #[inline]
    #[allow(unsafe_code)]
    fn send(&mut self, message: &[u8]) {
        assert_eq!(message.len(), self.sends.size);
        while self.sent == self.free_to {
            // Pairs with the Release in `give_back`: the reader is done with the slot.
            self.free_to = self.sends.freed.load(Ordering::Acquire) + self.sends.slots;
            spin_loop();
        }
        // SAFETY: the slot lies in the region, and below `free_to` the reader does not look at it until
        // `filled` says so.
        unsafe {
            self.sends.slot(self.sent).copy_from_nonoverlapping(message.as_ptr(), message.len());
        }
        self.sent += 1;
        self.sends.filled.store(self.sent, Ordering::Release);
    }

    #[inline]
    #[allow(unsafe_code)]
    fn poll(&mut self, take: &mut impl FnMut(&[u8])) -> u64 {
        // Pairs with the Release in `send`: the messages below are written.
        let filled = self.receives.filled.load(Ordering::Acquire);
        let from = self.received;
        while self.received < filled {
            let slot = self.receives.slot(self.received);
            // SAFETY: the slot lies in the region, and the writer does not touch it until it is given back.
            take(unsafe { std::slice::from_raw_parts(slot, self.receives.size) });
            self.received += 1;
            if self.received - self.given_back >= GIVE_BACK {
                self.give_back();
            }
        }
        filled - from
    }

    fn wait(&mut self, take: &mut impl FnMut(&[u8])) -> u64 {
        loop {
            match self.poll(take) {
                0 => spin_loop(),
                messages => return messages,
            }
        }
    }
}

pub struct InFile([Ring; 2]);

impl Way for InFile {
    type End = RingEnd;

    const SLEEPS: bool = false;
    const SHARES_MEMORY: bool = true;
    const SPINS_FOR_THROUGHPUT: bool = true;

    fn open(plan: &Plan) -> Result<Self, Missing> {
        rings(plan, |bytes| Region::in_file(plan, bytes)).map(InFile).map_err(missing("mmap"))
    }

    fn settings(&self) -> String {
        settings(&self.0)
    }

    fn into_end(self, side: Side, _plan: &Plan) -> RingEnd {
        RingEnd::new(self.0, side)
    }

    fn capacity(plan: &Plan) -> u64 {
        capacity(plan)
    }
}

pub struct InSystemV([Ring; 2]);

impl Way for InSystemV {
    type End = RingEnd;

    const SLEEPS: bool = false;
    const SHARES_MEMORY: bool = true;
    const SPINS_FOR_THROUGHPUT: bool = true;

    fn open(plan: &Plan) -> Result<Self, Missing> {
        rings(plan, Region::in_system_v).map(InSystemV).map_err(missing("shmget"))
    }

    fn settings(&self) -> String {
        settings(&self.0)
    }

    fn into_end(self, side: Side, _plan: &Plan) -> RingEnd {
        RingEnd::new(self.0, side)
    }

    fn capacity(plan: &Plan) -> u64 {
        capacity(plan)
    }
}

fn rings(plan: &Plan, region: impl Fn(usize) -> io::Result<Region>) -> io::Result<[Ring; 2]> {
    let ring = || region(region_bytes(plan)).map(|region| Ring::new(region, plan));
    Ok([ring()?, ring()?])
}

fn settings([ring, _]: &[Ring; 2]) -> String {
    let kib = (ring.slots as usize * ring.size) >> 10;
    format!("{} slots of {} B ({kib} KiB), busy waiting", ring.slots, ring.size)
}

/// Less one for the greeting.
fn capacity(plan: &Plan) -> u64 {
    if plan.measure.is_cold() { plan.room_messages().min(slots(plan) - 1) } else { u64::MAX }
}
