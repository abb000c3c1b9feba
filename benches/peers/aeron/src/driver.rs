//! Aeron's media driver, in a process of its own.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rusteron_media_driver::{AeronDriver, AeronDriverContext, bindings};
use rustix::process::{Pid, Signal};

/// The argument that makes this program the driver.
pub const ROLE: &str = "--driver";

pub struct Driver {
    pub idle: Idle,
    child: Child,
    dir: PathBuf,
}

/// What the driver does between two rounds of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// What it does if nobody says otherwise: spins, yields, and sleeps up to a millisecond.
    Backoff,
    /// Sleeps, however short.
    SleepNs,
}

impl Idle {
    pub const ALL: [Idle; 2] = [Idle::Backoff, Idle::SleepNs];

    fn name(self) -> &'static str {
        match self {
            Idle::Backoff => "backoff",
            Idle::SleepNs => "sleep-ns",
        }
    }
}

impl Driver {
    /// It is stopped, but for what is run while it is [awake](Self::awake).
    pub fn start(idle: Idle) -> Self {
        let name = format!("/dev/shm/aeron-maplog-{}-{}", std::process::id(), idle.name());
        let dir = PathBuf::from(name);
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args([ROLE, idle.name()])
            .arg(&dir)
            .stdout(Stdio::null())
            .spawn()
            .expect("the driver's process");
        let start = Instant::now();
        while !dir.join("cnc.dat").exists() {
            assert!(start.elapsed() < Duration::from_secs(10), "the driver starts");
            std::thread::sleep(Duration::from_millis(10));
        }
        // The file is made before it is filled.
        std::thread::sleep(Duration::from_millis(500));
        let driver = Driver { idle, child, dir };
        driver.signal(Signal::STOP);
        driver
    }

    /// Awake, it takes up to a third of a processor with nothing to do: so it is only for who needs it.
    pub fn awake<T>(&self, run: impl FnOnce(&Path) -> T) -> T {
        self.signal(Signal::CONT);
        // Its clients take one that said nothing for ten seconds for dead.
        std::thread::sleep(Duration::from_millis(100));
        let result = run(&self.dir);
        self.signal(Signal::STOP);
        result
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).expect("the driver");
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

pub fn serve(idle: &str, dir: &str) -> ExitCode {
    let signal = Some(Signal::KILL);
    rustix::process::set_parent_process_death_signal(signal).expect("a signal");
    let context = AeronDriverContext::new().expect("a context");
    context.set_dir(&CString::new(dir).expect("no zeros")).expect("a directory");
    context.set_dir_delete_on_start(true).expect("an option");
    let shared = bindings::aeron_threading_mode_enum::AERON_THREADING_MODE_SHARED;
    context.set_threading_mode(shared).expect("an option");
    context.set_shared_idle_strategy(&CString::new(idle).expect("no zeros")).expect("an option");
    context.set_print_configuration(false).expect("an option");
    let driver = AeronDriver::new(&context).expect("a driver");
    driver.start(false).expect("a driver");
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}
