//! A run: this process becomes two, which meet, greet each other, and measure.

use std::hint::spin_loop;
use std::io::{Read as _, Write as _};
use std::mem::ManuallyDrop;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions};

use crate::common::warm_free_memory;
use crate::message::{Messages, Verifier};
use crate::plan::{LIMIT_SECONDS, Measure, Plan, REST};
use crate::ways::{End, Outcome, Side, Way};

/// What a run found out.
pub struct Figures {
    /// Throughput: millions of messages a second. Latency: p50, p99 and p99.9 of half a round trip, in
    /// microseconds.
    pub values: Vec<f64>,
    pub settings: String,
}

/// Runs `plan` over `W`. The process is fresh and has one thread.
#[allow(unsafe_code)]
pub fn run<W: Way>(plan: &Plan) -> Outcome {
    die_with_parent();
    if plan.measure.is_cold() {
        warm_free_memory(plan.room_bytes() as u64);
    }
    let way = W::open(plan)?;
    let settings = way.settings();
    let [own_cpu, other_cpu] = two_cpus();
    let (control, other_control) = UnixStream::pair().expect("two sockets");
    let own_pid = rustix::process::getpid();
    // SAFETY: the process has one thread, so that no lock is held by another.
    let child = match unsafe { libc::fork() } {
        0 => {
            drop(control);
            let work = || {
                die_with_parent();
                let end = way.into_end(Side::Second, plan);
                pin(other_cpu);
                // What the first side made is the first side's to remove.
                let mut process =
                    ManuallyDrop::new(Process::<W> { plan, end, control: other_control });
                process.second();
            };
            let failed = catch_unwind(AssertUnwindSafe(work)).is_err();
            if failed {
                // The other side may be waiting for a message that never comes.
                let _gone = rustix::process::kill_process(own_pid, Signal::TERM);
            }
            // SAFETY: it ends the process, without removing what the other side still uses.
            unsafe { libc::_exit(failed.into()) }
        }
        child => Pid::from_raw(child).expect("a second process"),
    };
    drop(other_control);
    let end = way.into_end(Side::First, plan);
    pin(own_cpu);
    let values = Process::<W> { plan, end, control }.first();
    let status = rustix::process::waitpid(Some(child), WaitOptions::empty());
    let status = status.expect("the second process").expect("its end").1;
    assert_eq!(status.exit_status(), Some(0), "the second process failed");
    Ok(Figures { values, settings })
}

/// Nothing waits for ever, and nothing outlives who waits for it.
#[allow(unsafe_code)]
fn die_with_parent() {
    let parent = rustix::process::getppid();
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).expect("a signal");
    // SAFETY: the call takes a number, and nobody handles the signal: it ends the process.
    unsafe { libc::alarm(LIMIT_SECONDS) };
    assert_eq!(rustix::process::getppid(), parent, "the parent died just now");
}

/// Two CPUs that are not two threads of one core, if there are; the same one twice if it is alone.
fn two_cpus() -> [usize; 2] {
    let allowed = rustix::thread::sched_getaffinity(None).expect("a set of CPUs");
    let mut allowed = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    let first = allowed.next().expect("the CPU that runs this");
    let siblings = format!("/sys/devices/system/cpu/cpu{first}/topology/thread_siblings_list");
    let siblings = std::fs::read_to_string(siblings).unwrap_or_default();
    let is_sibling = |cpu: usize| {
        siblings.trim().split(',').any(|range| {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            matches!((from.parse(), to.parse()), (Ok(from), Ok(to)) if (from..=to).contains(&cpu))
        })
    };
    let others: Vec<usize> = allowed.collect();
    let second = others.iter().copied().find(|cpu| !is_sibling(*cpu));
    [first, second.or(others.first().copied()).unwrap_or(first)]
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

/// What the reader does when there is nothing.
#[derive(Clone, Copy)]
enum Reader {
    Looks { pauses: u32 },
    Sleeps,
}

/// How often a reader that pauses says `spin_loop`, some microseconds in all. While it does not look, the
/// writer keeps the lines that it writes to.
const PAUSES: u32 = 256;

impl Reader {
    /// How long to rest before sending to it.
    fn rest(self) -> Duration {
        match self {
            Reader::Looks { .. } => Duration::ZERO,
            Reader::Sleeps => REST,
        }
    }
}

/// One of the two.
struct Process<'p, W: Way> {
    plan: &'p Plan,
    end: W::End,
    /// What they tell each other beside the messages.
    control: UnixStream,
}

impl<W: Way> Process<'_, W> {
    fn tell(&mut self, number: u64) {
        self.control.write_all(&number.to_ne_bytes()).expect("the other process");
    }

    fn hear(&mut self) -> u64 {
        let mut number = [0; 8];
        self.control.read_exact(&mut number).expect("the other process");
        u64::from_ne_bytes(number)
    }

    fn meet(&mut self) {
        self.tell(0);
        self.hear();
    }

    /// Reads as the measure has it, until there is something.
    #[inline]
    fn receive(end: &mut W::End, reader: Reader, verifier: &mut Verifier) {
        let mut take = |data: &[u8]| verifier.take(data);
        match reader {
            Reader::Looks { pauses } => {
                while end.poll(&mut take) == 0 {
                    (0..pauses).for_each(|_| spin_loop());
                }
            }
            Reader::Sleeps => drop(end.wait(&mut take)),
        }
    }

    fn reader(&self) -> Reader {
        match self.plan.measure {
            Measure::Throughput | Measure::ColdThroughput if !W::SPINS_FOR_THROUGHPUT => {
                Reader::Sleeps
            }
            Measure::Throughput | Measure::ColdThroughput => Reader::Looks { pauses: 1 },
            Measure::PausingThroughput => Reader::Looks { pauses: PAUSES },
            Measure::Spinning | Measure::ColdSpinning => Reader::Looks { pauses: 1 },
            Measure::Sleeping => Reader::Sleeps,
        }
    }

    /// A message each way, so that everything is in place; then pages, if they are to be warm.
    fn greet(&mut self, side: Side) -> (Messages, Verifier) {
        self.meet();
        self.end.attach();
        self.meet();
        let mut messages = Messages::new(self.plan.size);
        let mut verifier = Verifier::new(self.plan.size);
        let reader = self.reader();
        if side == Side::Second {
            Self::receive(&mut self.end, reader, &mut verifier);
        }
        self.end.send(messages.number(0, false));
        if side == Side::First {
            Self::receive(&mut self.end, reader, &mut verifier);
        }
        self.meet();
        if !self.plan.measure.is_cold() {
            self.end.warm();
        }
        self.meet();
        (messages, verifier)
    }

    fn first(mut self) -> Vec<f64> {
        let (mut messages, mut verifier) = self.greet(Side::First);
        match self.plan.measure.is_throughput() {
            true => vec![self.send_all(&mut messages)],
            false => self.go_there_and_back(&mut messages, &mut verifier),
        }
    }

    fn second(&mut self) {
        let (mut messages, mut verifier) = self.greet(Side::Second);
        match self.plan.measure.is_throughput() {
            true => self.receive_all(&mut verifier),
            false => self.send_back(&mut messages, &mut verifier),
        }
    }

    /// Sends as fast as it goes; gives millions of messages a second, from before the first was sent
    /// until the last was verified.
    fn send_all(&mut self, messages: &mut Messages) -> f64 {
        const BETWEEN_LOOKS: u64 = 64;
        let capacity = W::capacity(self.plan);
        let mut number = 1;
        self.hear();
        let start = now();
        let until = Instant::now() + self.plan.sending();
        while number + BETWEEN_LOOKS < capacity && Instant::now() < until {
            for _ in 0..BETWEEN_LOOKS {
                self.end.send(messages.number(number, false));
                number += 1;
            }
        }
        self.end.send(messages.number(number, true));
        let end = self.hear();
        assert_eq!(self.hear(), number, "messages that arrived");
        number as f64 * 1e3 / (end - start) as f64
    }

    fn receive_all(&mut self, verifier: &mut Verifier) {
        self.tell(0);
        let reader = self.reader();
        while !verifier.seen_last {
            Self::receive(&mut self.end, reader, verifier);
        }
        let end = now();
        self.tell(end);
        self.tell(verifier.next - 1);
    }

    fn go_there_and_back(&mut self, messages: &mut Messages, verifier: &mut Verifier) -> Vec<f64> {
        let trips = self.plan.round_trips();
        let unmeasured = trips / 10;
        let reader = self.reader();
        let rest = reader.rest();
        let mut samples = Vec::with_capacity(trips as usize);
        for number in 1..trips {
            let start = rested(rest);
            self.end.send(messages.number(number, false));
            Self::receive(&mut self.end, reader, verifier);
            let trip = start.elapsed().saturating_sub(rest);
            if number >= unmeasured {
                samples.push(trip.as_nanos() as f64 / 2e3);
            }
        }
        assert_eq!(verifier.next, trips, "messages that came back");
        samples.sort_by(f64::total_cmp);
        let percentile =
            |part: f64| samples[((samples.len() as f64 * part) as usize).min(samples.len() - 1)];
        vec![percentile(0.5), percentile(0.99), percentile(0.999)]
    }

    fn send_back(&mut self, messages: &mut Messages, verifier: &mut Verifier) {
        let reader = self.reader();
        let rest = reader.rest();
        for number in 1..self.plan.round_trips() {
            Self::receive(&mut self.end, reader, verifier);
            if !rest.is_zero() {
                rested(rest);
            }
            self.end.send(messages.number(number, false));
        }
        assert_eq!(verifier.next, self.plan.round_trips(), "messages that came");
    }
}

/// Rests awake, so that the other side falls asleep and this one does not; says when that was over.
fn rested(rest: Duration) -> Instant {
    let start = Instant::now();
    loop {
        let now = Instant::now();
        if now - start >= rest {
            return now;
        }
        spin_loop();
    }
}
