//! The ways between two processes. All are used alike: a message is sent when it is made, by one
//! call, and none waits for more.

mod guarded;
mod log;
mod packet;
mod queue;
mod region;
mod ring;
mod stream;

use crate::pair;
use crate::plan::{Measure, Plan};

/// A way as the bench has it.
pub struct Known {
    pub key: &'static str,
    /// In the tables.
    pub label: &'static str,
    /// In the chart.
    pub short: &'static str,
    /// A reader can sleep until a message comes.
    pub sleeps: bool,
    /// Its pages can be cold: it is not copied through the kernel.
    pub shares_memory: bool,
    run: fn(&Plan) -> Outcome,
}

impl Known {
    pub fn can(&self, measure: Measure) -> bool {
        match measure {
            Measure::Throughput | Measure::PausingThroughput | Measure::Spinning => true,
            Measure::Sleeping => self.sleeps,
            Measure::ColdThroughput | Measure::ColdSpinning => self.shares_memory,
        }
    }
}

pub type Outcome = Result<pair::Figures, Missing>;

/// What the machine lacks.
pub struct Missing(pub String);

const fn known<W: Way>(key: &'static str, short: &'static str, label: &'static str) -> Known {
    let (sleeps, shares_memory) = (W::SLEEPS, W::SHARES_MEMORY);
    Known { key, label, short, sleeps, shares_memory, run: pair::run::<W> }
}

pub const PIPE: &str = "pipe";
pub const RING: &str = "ring-mmap";
pub const MAPLOG: &str = "maplog";

pub static ALL: [Known; 12] = [
    known::<log::Maplog>(MAPLOG, "maplog", "**maplog** (checksummed, persisted)"),
    known::<ring::InFile>(RING, "bare ring, mmap", "bare ring, mmapped file"),
    known::<ring::InSystemV>(
        "ring-sysv",
        "bare ring, System V shm",
        "bare ring, System V shared memory",
    ),
    known::<guarded::Posix>(
        "sem-posix",
        "POSIX semaphore + shm",
        "POSIX semaphores + shared memory",
    ),
    known::<guarded::SystemV>(
        "sem-sysv",
        "System V semaphore + shm",
        "System V semaphores + shared memory",
    ),
    known::<stream::Pipe>(PIPE, "pipe", "pipe"),
    known::<stream::Fifo>("fifo", "FIFO", "FIFO"),
    known::<stream::Unix>("unix-stream", "Unix stream socket", "Unix stream socket"),
    known::<packet::Seqpacket>("unix-seqpacket", "Unix seqpacket socket", "Unix seqpacket socket"),
    known::<stream::Tcp>("tcp", "TCP loopback", "TCP over loopback"),
    known::<queue::SystemV>("mq-sysv", "System V message queue", "System V message queue"),
    known::<queue::Posix>("mq-posix", "POSIX message queue", "POSIX message queue"),
];

/// Runs a plan in this process, which becomes one of the two.
pub fn run(plan: &Plan) -> Outcome {
    let known = ALL.iter().find(|known| known.key == plan.way).expect("a way that exists");
    (known.run)(plan)
}

/// Which of the two processes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It sends first, and measures.
    First,
    Second,
}

/// Two ways, there and back, made before the process becomes two.
pub trait Way: Sized {
    type End: End;

    const SLEEPS: bool = true;
    const SHARES_MEMORY: bool = false;
    /// The reader of a throughput run looks all the time, where others sleep when there is nothing.
    const SPINS_FOR_THROUGHPUT: bool = false;

    fn open(plan: &Plan) -> Result<Self, Missing>;

    /// How it was set up.
    fn settings(&self) -> String;

    /// One side's end. What belongs to the other side is closed.
    fn into_end(self, side: Side, plan: &Plan) -> Self::End;

    /// The most messages that one run can send.
    fn capacity(_plan: &Plan) -> u64 {
        u64::MAX
    }
}

/// What one process holds of a way. An error panics: there is nothing to go on with.
pub trait End {
    /// Called once both sides have their end.
    fn attach(&mut self) {}

    /// Touches all pages that messages will go through; called when one went each way.
    fn warm(&mut self) {}

    fn send(&mut self, message: &[u8]);

    /// Hands over messages that are there, and says how many.
    fn poll(&mut self, take: &mut impl FnMut(&[u8])) -> u64;

    /// The same, but sleeps until there is one.
    fn wait(&mut self, take: &mut impl FnMut(&[u8])) -> u64;
}

/// A call that the machine may not have, by name.
fn missing(call: &str) -> impl Fn(std::io::Error) -> Missing {
    move |error| Missing(format!("needs {call} ({error})"))
}
