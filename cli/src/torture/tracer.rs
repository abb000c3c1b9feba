//! Workers under strace, which writes down what they ask of their directory.
//!
//! It can also kill a worker that enters some sync, which leaves nothing to luck. Does not know: what the calls are for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::crew::PATIENCE;
use super::mounts::run;

/// What it needs, if it cannot be had.
pub(crate) const NEEDS: &str = "needs strace";

/// A trace begins with the first; the others give names, take them, and sync.
const CALLS: &str = "trace=execve,renameat2,linkat,unlinkat,fsync,fdatasync";

pub(crate) struct Tracer {
    file: PathBuf,
    /// The worker dies when it enters this call for so many times.
    pub(crate) deadly: Option<(&'static str, u64)>,
}

impl Tracer {
    /// Traces are written to `file`. The error says why the machine cannot have them.
    pub(crate) fn new(file: PathBuf) -> Result<Self, String> {
        let tracer = Tracer { file, deadly: Some(("fsync", 9)) };
        let arguments = tracer.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run("strace", &arguments, &[&tracer.file, Path::new("true")])?;
        match tracer.worker_in_trace() {
            Some(_) => Ok(tracer),
            None => Err("it traces nothing".into()),
        }
    }

    /// What comes before the trace's name.
    fn arguments(&self) -> Vec<String> {
        let mut arguments =
            ["-f", "-y", "-e", "signal=none", "-e", CALLS].map(str::to_owned).to_vec();
        if let Some((call, time)) = self.deadly {
            arguments.extend(["-e".into(), format!("inject={call}:signal=KILL:when={time}")]);
        }
        arguments.push("-o".into());
        arguments
    }

    /// What runs this program, traced.
    pub(crate) fn command(&self, program: &Path) -> io::Result<Command> {
        // What is in it then is of this one.
        fs::write(&self.file, "")?;
        let mut command = Command::new("strace");
        command.args(self.arguments()).arg(&self.file).arg(program);
        Ok(command)
    }

    /// The traced process, which is a child of strace.
    pub(crate) fn worker(&self, strace: &mut Child) -> io::Result<Pid> {
        let late = Instant::now() + PATIENCE;
        loop {
            let has_ended = strace.try_wait()?.is_some();
            match self.worker_in_trace() {
                Some(worker) => return Ok(worker),
                None if has_ended || Instant::now() > late => {
                    return Err(io::Error::other("strace started no worker"));
                }
                None => sleep(Duration::from_micros(200)),
            }
        }
    }

    fn worker_in_trace(&self) -> Option<Pid> {
        let text = fs::read_to_string(&self.file).ok()?;
        Pid::from_raw(text.lines().next()?.split(' ').next()?.parse().ok()?)
    }

    /// All that was traced, once strace has ended.
    pub(crate) fn trace(&self) -> io::Result<String> {
        fs::read_to_string(&self.file)
    }
}
