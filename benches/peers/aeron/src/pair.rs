//! A run: this process becomes two, which meet, warm up, and measure.

use std::hint::spin_loop;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

use rustix::process::{Pid, Signal, WaitOptions};

use crate::message::{Messages, Verifier};
use crate::ways::End;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// There and back, the reader looking all the time.
    Spinning,
    /// Messages one way, as fast as they go.
    Throughput,
    /// The same, and a reader that finds nothing lets the writer alone for a while.
    PausingThroughput,
}

impl Measure {
    pub const ALL: [Measure; 3] =
        [Measure::Spinning, Measure::Throughput, Measure::PausingThroughput];

    pub fn is_throughput(self) -> bool {
        self != Measure::Spinning
    }

    pub fn figures(self) -> &'static [&'static str] {
        match self {
            Measure::Spinning => {
                &["half round trip p50, us", "half round trip p99, us", "half round trip p99.9, us"]
            }
            Measure::Throughput => &["one way, millions/s, reader always looks"],
            Measure::PausingThroughput => &["one way, millions/s, reader pauses"],
        }
    }
}

impl FromStr for Measure {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Measure::ALL.into_iter().find(|measure| format!("{measure:?}") == name).ok_or(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    First,
    Second,
}

pub struct Plan {
    pub measure: Measure,
    /// Bytes of a message.
    pub size: usize,
    pub quick: bool,
    /// The run's own directory, on the file system of the build.
    pub dir: PathBuf,
    /// Where Aeron's driver is found.
    pub driver: PathBuf,
}

/// A run that takes longer hangs.
const LIMIT_SECONDS: u32 = 30;
const MIB: usize = 1 << 20;

impl Plan {
    /// What a log of a run takes: there is no ring to go round in.
    pub fn room_bytes(&self) -> usize {
        if self.quick { 4 * MIB } else { 128 * MIB }
    }

    /// With 16 bytes of header each, and marks.
    fn messages(&self) -> u64 {
        let room = (self.room_bytes() - self.room_bytes() / 64) as u64 / (self.size as u64 + 16);
        match self.measure {
            Measure::Spinning => room.min(if self.quick { 2_000 } else { 110_000 }),
            _ => room,
        }
    }
}

/// Runs the plan. The process is fresh and has one thread.
pub fn run<E: End>(plan: &Plan) -> Vec<f64> {
    die_with_parent();
    let [own_cpu, other_cpu] = two_cpus();
    let (control, other_control) = UnixStream::pair().expect("two sockets");
    let own_pid = rustix::process::getpid();
    // SAFETY: the process has one thread, so that no lock is held by another.
    let child = match unsafe { libc::fork() } {
        0 => {
            drop(control);
            let work = || {
                die_with_parent();
                Process::<E>::meet(plan, Side::Second, other_cpu, other_control).second();
            };
            let failed = catch_unwind(AssertUnwindSafe(work)).is_err();
            if failed {
                // The other side may be waiting for a message that never comes.
                let _gone = rustix::process::kill_process(own_pid, Signal::TERM);
            }
            // SAFETY: it ends the process.
            unsafe { libc::_exit(failed.into()) }
        }
        child => Pid::from_raw(child).expect("a second process"),
    };
    drop(other_control);
    let figures = Process::<E>::meet(plan, Side::First, own_cpu, control).first();
    let status = rustix::process::waitpid(Some(child), WaitOptions::empty());
    let status = status.expect("the second process").expect("its end").1;
    assert_eq!(status.exit_status(), Some(0), "the second process failed");
    figures
}

/// Nothing waits for ever, and nothing outlives who waits for it.
fn die_with_parent() {
    let parent = rustix::process::getppid();
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).expect("a signal");
    // SAFETY: the call takes a number, and nobody handles the signal: it ends the process.
    unsafe { libc::alarm(LIMIT_SECONDS) };
    assert_eq!(rustix::process::getppid(), parent, "the parent died just now");
}

/// The first and the last that are allowed, so that they are not two threads of one core if that can be.
fn two_cpus() -> [usize; 2] {
    let allowed = rustix::thread::sched_getaffinity(None).expect("a set of CPUs");
    let mut allowed = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    let first = allowed.next().expect("the CPU that runs this");
    [first, allowed.next_back().unwrap_or(first)]
}

fn pin(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).expect("a CPU that was allowed");
}

/// Nanoseconds on the clock that both processes read.
fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// How often a reader that pauses says `spin_loop`. While it does not look, the writer keeps the lines that
/// it writes to.
const PAUSES: u32 = 256;

/// One of the two.
struct Process<'p, E> {
    plan: &'p Plan,
    end: E,
    /// What they tell each other beside the messages.
    control: UnixStream,
}

impl<'p, E: End> Process<'p, E> {
    /// Aeron's own thread is started before this one is pinned, and stays free.
    fn meet(plan: &'p Plan, side: Side, cpu: usize, control: UnixStream) -> Self {
        let end = E::create(side, plan);
        let mut process = Process { plan, end, control };
        process.agree();
        process.end.attach();
        process.agree();
        process.end.warm(side);
        pin(cpu);
        process.agree();
        process
    }

    fn tell(&mut self, number: u64) {
        self.control.write_all(&number.to_ne_bytes()).expect("the other side");
    }

    fn hear(&mut self) -> u64 {
        let mut number = [0; 8];
        self.control.read_exact(&mut number).expect("the other side");
        u64::from_ne_bytes(number)
    }

    /// Goes on when both have come here.
    fn agree(&mut self) {
        self.tell(0);
        self.hear();
    }

    fn first(mut self) -> Vec<f64> {
        let mut messages = Messages::new(self.plan.size);
        match self.plan.measure {
            Measure::Spinning => self.go_there_and_back(&mut messages),
            _ => vec![self.send_all(&mut messages)],
        }
    }

    fn second(mut self) {
        let mut verifier = Verifier::new(self.plan.size);
        match self.plan.measure {
            Measure::Spinning => self.send_back(&mut verifier),
            _ => self.receive_all(&mut verifier),
        }
        assert_eq!(verifier.next, self.plan.messages(), "messages that came");
    }

    /// Millions of messages a second, from the first one's start to the last one's verification.
    fn send_all(&mut self, messages: &mut Messages) -> f64 {
        let count = self.plan.messages();
        let start = now();
        for number in 0..count {
            self.end.send(messages.number(number, number == count - 1));
        }
        let end = self.hear();
        count as f64 * 1e3 / (end - start) as f64
    }

    fn receive_all(&mut self, verifier: &mut Verifier) {
        let pauses = if self.plan.measure == Measure::PausingThroughput { PAUSES } else { 1 };
        while !verifier.seen_last {
            Self::receive(&mut self.end, verifier, pauses);
        }
        self.tell(now());
    }

    fn receive(end: &mut E, verifier: &mut Verifier, pauses: u32) {
        while end.poll(&mut |message| verifier.take(message)) == 0 {
            (0..pauses).for_each(|_| spin_loop());
        }
    }

    /// p50, p99 and p99.9 of half a round trip, in microseconds.
    fn go_there_and_back(&mut self, messages: &mut Messages) -> Vec<f64> {
        let trips = self.plan.messages();
        let unmeasured = trips / 10;
        let mut verifier = Verifier::new(self.plan.size);
        let mut samples = Vec::with_capacity(trips as usize);
        for number in 0..trips {
            let start = Instant::now();
            self.end.send(messages.number(number, false));
            Self::receive(&mut self.end, &mut verifier, 1);
            let trip = start.elapsed();
            if number >= unmeasured {
                samples.push(trip.as_nanos() as f64 / 2e3);
            }
        }
        assert_eq!(verifier.next, trips, "messages that came back");
        samples.sort_by(f64::total_cmp);
        let percentile = |part: f64| samples[(samples.len() as f64 * part) as usize];
        vec![percentile(0.5), percentile(0.99), percentile(0.999)]
    }

    fn send_back(&mut self, verifier: &mut Verifier) {
        let mut messages = Messages::new(self.plan.size);
        for number in 0..self.plan.messages() {
            Self::receive(&mut self.end, verifier, 1);
            self.end.send(messages.number(number, false));
        }
    }
}
