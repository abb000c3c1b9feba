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
    child: Child,
    dir: PathBuf,
}

impl Driver {
    pub fn start() -> Self {
        let dir = PathBuf::from(format!("/dev/shm/aeron-maplog-{}", std::process::id()));
        let child = Command::new(std::env::current_exe().expect("this program"))
            .arg(ROLE)
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
        Driver { child, dir }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Awake, it takes a third of a processor with nothing to do: so it is, for who needs it, and is not,
    /// for who has no third process.
    pub fn wake(&self, awake: bool) {
        let signal = if awake { Signal::CONT } else { Signal::STOP };
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the driver");
        // Its clients take one that was silent for ten seconds for dead.
        if awake {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// Two CPUs are for the two who talk, so the driver sleeps when it has nothing to do.
pub fn serve(dir: &str) -> ExitCode {
    let signal = Some(Signal::KILL);
    rustix::process::set_parent_process_death_signal(signal).expect("a signal");
    let context = AeronDriverContext::new().expect("a context");
    context.set_dir(&CString::new(dir).expect("no zeros")).expect("a directory");
    context.set_dir_delete_on_start(true).expect("an option");
    let shared = bindings::aeron_threading_mode_enum::AERON_THREADING_MODE_SHARED;
    context.set_threading_mode(shared).expect("an option");
    context.set_shared_idle_strategy(c"sleep-ns").expect("an option");
    context.set_print_configuration(false).expect("an option");
    let driver = AeronDriver::new(&context).expect("a driver");
    driver.start(false).expect("a driver");
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}
