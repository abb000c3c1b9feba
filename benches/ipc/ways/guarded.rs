//! The textbook's way: slots in shared memory, a semaphore that counts the free ones and one that
//! counts the filled ones.

use std::io;

use super::region::Region;
use super::{End, Missing, Side, Way, missing};
use crate::plan::Plan;
use crate::sweeper::promised_key;

/// As far as a System V semaphore counts, and room that stays in the cache.
const MAX_SLOTS: usize = 4096;
const WARM_BYTES: usize = 256 * 1024;
/// The semaphores have a page of their own.
const SLOTS_AT: usize = 4096;

fn slots(plan: &Plan) -> usize {
    let bytes = if plan.measure.is_cold() { plan.room_bytes() } else { WARM_BYTES };
    (bytes / plan.size).min(if plan.measure.is_cold() { usize::MAX } else { MAX_SLOTS })
}

fn region_bytes(plan: &Plan) -> usize {
    SLOTS_AT + slots(plan) * plan.size
}

/// A pair of counting semaphores.
pub trait Semaphores {
    fn wait(&self, which: Which);
    fn try_wait(&self, which: Which) -> bool;
    fn post(&self, which: Which);
}

#[derive(Clone, Copy)]
pub enum Which {
    Free = 0,
    Filled = 1,
}

struct Slots<S> {
    region: Region,
    semaphores: S,
    slots: usize,
    size: usize,
}

impl<S: Semaphores> Slots<S> {
    fn slot(&self, index: u64) -> *mut u8 {
        self.region.at(SLOTS_AT + (index as usize % self.slots) * self.size, self.size)
    }
}

pub struct GuardedEnd<S> {
    sends: Slots<S>,
    sent: u64,
    receives: Slots<S>,
    received: u64,
}

impl<S: Semaphores> GuardedEnd<S> {
    fn new([there, back]: [Slots<S>; 2], side: Side) -> Self {
        let (sends, receives) = match side {
            Side::First => (there, back),
            Side::Second => (back, there),
        };
        GuardedEnd { sends, sent: 0, receives, received: 0 }
    }

    #[allow(unsafe_code)]
    fn take(&mut self, take: &mut impl FnMut(&[u8])) -> u64 {
        let slot = self.receives.slot(self.received);
        // SAFETY: the slot lies in the region, and until the semaphore of free slots is posted it is ours.
        take(unsafe { std::slice::from_raw_parts(slot, self.receives.size) });
        self.receives.semaphores.post(Which::Free);
        self.received += 1;
        1
    }
}

impl<S: Semaphores> End for GuardedEnd<S> {
    fn warm(&mut self) {
        self.sends.region.touch();
        self.receives.region.touch();
    }

    #[allow(unsafe_code)]
    fn send(&mut self, message: &[u8]) {
        assert_eq!(message.len(), self.sends.size);
        self.sends.semaphores.wait(Which::Free);
        // SAFETY: the slot lies in the region, and until the semaphore of filled slots is posted it is ours.
        unsafe {
            self.sends.slot(self.sent).copy_from_nonoverlapping(message.as_ptr(), message.len());
        }
        self.sends.semaphores.post(Which::Filled);
        self.sent += 1;
    }

    fn poll(&mut self, take: &mut impl FnMut(&[u8])) -> u64 {
        if self.receives.semaphores.try_wait(Which::Filled) { self.take(take) } else { 0 }
    }

    fn wait(&mut self, take: &mut impl FnMut(&[u8])) -> u64 {
        self.receives.semaphores.wait(Which::Filled);
        self.take(take)
    }
}

/// Two `sem_t` at the start of the region.
pub struct PosixSemaphores(Region);

impl PosixSemaphores {
    /// Lines that different processes write to are kept apart.
    const STRIDE: usize = 128;

    #[allow(unsafe_code)]
    fn new(region: Region, free: usize) -> io::Result<Self> {
        let semaphores = PosixSemaphores(region);
        for (which, count) in [(Which::Free, free), (Which::Filled, 0)] {
            // SAFETY: the place is aligned and in a region that nobody uses yet.
            if unsafe { libc::sem_init(semaphores.place(which), 1, count as u32) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(semaphores)
    }

    fn place(&self, which: Which) -> *mut libc::sem_t {
        self.0.at(which as usize * Self::STRIDE, size_of::<libc::sem_t>()).cast()
    }
}

#[allow(unsafe_code)]
impl Semaphores for PosixSemaphores {
    fn wait(&self, which: Which) {
        // SAFETY: the semaphore was made in `new` and is never destroyed.
        while unsafe { libc::sem_wait(self.place(which)) } != 0 {
            let error = io::Error::last_os_error();
            assert_eq!(error.kind(), io::ErrorKind::Interrupted, "{error}");
        }
    }

    fn try_wait(&self, which: Which) -> bool {
        // SAFETY: as above.
        if unsafe { libc::sem_trywait(self.place(which)) } == 0 {
            return true;
        }
        let error = io::Error::last_os_error();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
        false
    }

    fn post(&self, which: Which) {
        // SAFETY: as above.
        let posted = unsafe { libc::sem_post(self.place(which)) };
        assert_eq!(posted, 0, "{}", io::Error::last_os_error());
    }
}

pub struct Posix([Slots<PosixSemaphores>; 2]);

impl Posix {
    fn slots(plan: &Plan) -> io::Result<Slots<PosixSemaphores>> {
        let region = Region::in_posix(region_bytes(plan))?;
        let slots = slots(plan);
        let semaphores = PosixSemaphores::new(region, slots)?;
        Ok(Slots { region, semaphores, slots, size: plan.size })
    }
}

impl Way for Posix {
    type End = GuardedEnd<PosixSemaphores>;

    const SHARES_MEMORY: bool = true;

    fn open(plan: &Plan) -> Result<Self, Missing> {
        let slots = || Self::slots(plan).map_err(missing("shm_open and sem_init"));
        Ok(Posix([slots()?, slots()?]))
    }

    fn settings(&self) -> String {
        format!("{} slots, sem_wait and sem_post on each side", self.0[0].slots)
    }

    fn into_end(self, side: Side, _plan: &Plan) -> Self::End {
        GuardedEnd::new(self.0, side)
    }

    fn capacity(plan: &Plan) -> u64 {
        capacity(plan)
    }
}

/// A set of two, removed by the process that made it.
pub struct SystemVSemaphores(i32);

impl SystemVSemaphores {
    #[allow(unsafe_code)]
    fn new(free: usize) -> io::Result<Self> {
        let key = promised_key("sem");
        // SAFETY: the calls take numbers.
        unsafe {
            let id = libc::semget(key, 2, libc::IPC_CREAT | libc::IPC_EXCL | 0o600);
            if id < 0 {
                return Err(io::Error::last_os_error());
            }
            let semaphores = SystemVSemaphores(id);
            for (which, count) in [(Which::Free, free), (Which::Filled, 0)] {
                if libc::semctl(id, which as i32, libc::SETVAL, count as i32) != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(semaphores)
        }
    }

    #[allow(unsafe_code)]
    fn change(&self, which: Which, by: i16, flags: i32) -> io::Result<()> {
        let sem_num = which as u16;
        let mut change = libc::sembuf { sem_num, sem_op: by, sem_flg: flags as i16 };
        loop {
            // SAFETY: the pointer is to one change, as the count says.
            if unsafe { libc::semop(self.0, &mut change, 1) } == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

#[allow(unsafe_code)]
impl Drop for SystemVSemaphores {
    fn drop(&mut self) {
        // SAFETY: the call takes numbers.
        unsafe { libc::semctl(self.0, 0, libc::IPC_RMID) };
    }
}

impl Semaphores for SystemVSemaphores {
    fn wait(&self, which: Which) {
        self.change(which, -1, 0).expect("a semaphore");
    }

    fn try_wait(&self, which: Which) -> bool {
        match self.change(which, -1, libc::IPC_NOWAIT) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            other => other.map(|()| true).expect("a semaphore"),
        }
    }

    fn post(&self, which: Which) {
        self.change(which, 1, 0).expect("a semaphore");
    }
}

pub struct SystemV([Slots<SystemVSemaphores>; 2]);

impl SystemV {
    fn slots(plan: &Plan) -> io::Result<Slots<SystemVSemaphores>> {
        let region = Region::in_system_v(region_bytes(plan))?;
        // There may be more slots than a semaphore counts to; the rest is never free at once.
        let slots = slots(plan);
        let semaphores = SystemVSemaphores::new(slots.min(i16::MAX as usize))?;
        Ok(Slots { region, semaphores, slots, size: plan.size })
    }
}

impl Way for SystemV {
    type End = GuardedEnd<SystemVSemaphores>;

    const SHARES_MEMORY: bool = true;

    fn open(plan: &Plan) -> Result<Self, Missing> {
        let slots = || Self::slots(plan).map_err(missing("shmget and semget"));
        Ok(SystemV([slots()?, slots()?]))
    }

    fn settings(&self) -> String {
        format!("{} slots, semop on each side", self.0[0].slots)
    }

    fn into_end(self, side: Side, _plan: &Plan) -> Self::End {
        GuardedEnd::new(self.0, side)
    }

    fn capacity(plan: &Plan) -> u64 {
        capacity(plan)
    }
}

/// Less one for the greeting.
fn capacity(plan: &Plan) -> u64 {
    if plan.measure.is_cold() { slots(plan) as u64 - 1 } else { u64::MAX }
}
