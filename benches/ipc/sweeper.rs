//! What outlives processes, and the process that removes it however the bench ends.
//!
//! System V queues and semaphores cannot be unlinked while they are in use, nor can a log. So their
//! names go, before anything bears them, through a pipe to a process of its own. It removes them when
//! the pipe's last writer is gone, which is the bench itself and every process it started.

use std::ffi::CString;
use std::io::{self, BufRead as _, PipeWriter, Write as _};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The argument that makes this program the sweeper.
pub const ROLE: &str = "--sweep";

pub struct Sweeper {
    pipe: PipeWriter,
    child: Child,
}

impl Sweeper {
    pub fn start(dir: &Path) -> Self {
        let (reader, mut pipe) = io::pipe().expect("a pipe");
        let child = Command::new(std::env::current_exe().expect("this program"))
            .arg(ROLE)
            .stdin(reader)
            .stdout(Stdio::null())
            // Ctrl-C in a terminal goes to the bench's group of processes.
            .process_group(0)
            .spawn()
            .expect("the sweeper");
        writeln!(pipe, "dir {}", dir.display()).expect("the sweeper's pipe");
        Sweeper { pipe, child }
    }

    /// What a run gets as its standard input, to `promise` names with.
    pub fn pipe(&self) -> Stdio {
        OwnedFd::from(self.pipe.try_clone().expect("a descriptor")).into()
    }

    pub fn finish(self) {
        let Sweeper { pipe, mut child } = self;
        drop(pipe);
        assert!(child.wait().expect("the sweeper's end").success(), "the sweeper failed");
    }
}

/// Tells the sweeper a name before something is made that bears it.
#[allow(unsafe_code)]
pub fn promise(kind: &str, name: &str) {
    // SAFETY: a run's standard input is open as long as the run.
    let pipe = unsafe { BorrowedFd::borrow_raw(0) };
    let line = format!("{kind} {name}\n");
    let written = rustix::io::write(pipe, line.as_bytes()).expect("the sweeper's pipe");
    assert_eq!(written, line.len(), "a line goes into a pipe whole");
}

/// A key for a System V object that nobody else has.
pub fn promised_key(kind: &str) -> i32 {
    let key = fastrand::i32(1..);
    promise(kind, &key.to_string());
    key
}

/// A name for a POSIX object that nobody else has.
pub fn promised_name(kind: &str) -> CString {
    let name = format!("/maplog-ipc-{:016x}", fastrand::u64(..));
    promise(kind, &name);
    CString::new(name).expect("no zeros")
}

/// The sweeper itself. Most of what it was told is gone already.
pub fn sweep() {
    let lines: Vec<String> = io::stdin().lock().lines().map_while(Result::ok).collect();
    for line in lines {
        let Some((kind, name)) = line.split_once(' ') else { continue };
        remove(kind, name);
    }
}

#[allow(unsafe_code)]
fn remove(kind: &str, name: &str) {
    let key = name.parse().unwrap_or(libc::IPC_PRIVATE);
    let c_name = CString::new(name).unwrap_or_default();
    // SAFETY: the calls take numbers and a string that ends in zero. A key that could not be parsed
    // names no object, and the ids that are removed are those of the keys that were drawn.
    unsafe {
        match kind {
            "dir" => drop(std::fs::remove_dir_all(name)),
            "mq" => drop(libc::mq_unlink(c_name.as_ptr())),
            "shm_open" => drop(rustix::shm::unlink(name)),
            _ if key == libc::IPC_PRIVATE => {}
            "msg" => match libc::msgget(key, 0) {
                -1 => {}
                id => drop(libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut())),
            },
            "sem" => match libc::semget(key, 0, 0) {
                -1 => {}
                id => drop(libc::semctl(id, 0, libc::IPC_RMID)),
            },
            "shm" => match libc::shmget(key, 0, 0) {
                -1 => {}
                id => drop(libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut())),
            },
            _ => {}
        }
    }
}
