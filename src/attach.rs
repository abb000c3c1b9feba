//! Becoming the process that appends to a log: the file `lock`, its gate and its participants.
//!
//! The kernel holds the locks, so a dead process holds none. A child of `fork` neither keeps nor
//! releases its parent's. Does not know: what is done behind the gate.

use std::io;
use std::ops::Range;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::dir::{Dir, File};
use crate::error::{Error, ErrorKind, Result};
use crate::format::name::LOCK;
use crate::lock::{is_locked, try_lock, unlock};
use crate::map::{Birth, Hold};

/// Held through attaching and recovery.
const GATE: Range<i64> = 0..1;
/// Byte 1 + n is participant n's.
const PARTICIPANTS: Range<i64> = 1..i64::MAX;
const FIRST_PARTICIPANT: Range<i64> = 1..2;

/// How long another process may take to attach before this one gives up.
const GATE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a participant's byte may stay held before its holder counts as alive. While a program is
/// started, its process has copies of all descriptors from fork to exec; one that was copied in the
/// middle of an attaching keeps the byte for as long, whatever its owner does.
const LINGERING: Duration = Duration::from_millis(200);

const POLL: Duration = Duration::from_millis(1);

/// The gate, held: nobody else attaches or recovers.
pub(crate) struct Gate {
    file: File,
}

impl Gate {
    /// Waits for the gate, and behind it for the byte of a participant that is gone.
    pub(crate) fn pass(dir: &Dir, mode: u32) -> Result<Self> {
        let fault = |source| Error::io("locking the log", source).at_path(dir.path());
        let file = dir.open_or_create(LOCK, mode).map_err(fault)?;
        let since = Instant::now();
        while !try_lock(&file, GATE).map_err(fault)? {
            if since.elapsed() > GATE_TIMEOUT {
                let text = "another process has been opening the log all the while";
                return Err(Error::new(ErrorKind::LockTimeout, text).at_path(dir.path()));
            }
            sleep(POLL);
        }
        let since = Instant::now();
        while is_locked(&file, PARTICIPANTS).map_err(fault)? {
            if since.elapsed() > LINGERING {
                return Err(in_use(dir));
            }
            sleep(POLL);
        }
        Ok(Gate { file })
    }

    /// Refuses where [`pass`](Self::pass) would, as of now. Takes, waits for and makes nothing.
    pub(crate) fn look(dir: &Dir) -> Result<()> {
        let fault = |source| Error::io("locking the log", source).at_path(dir.path());
        let file = match dir.open_to_read(LOCK) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(fault)?,
        };
        match is_locked(&file, PARTICIPANTS).map_err(fault)? {
            true => Err(in_use(dir)),
            false => Ok(()),
        }
    }

    /// Takes a participant's byte and opens the gate for others.
    ///
    /// The byte is held through a file of its own whose descriptor exists for these few calls only,
    /// so that hardly any child ever has a copy.
    pub(crate) fn stay(self, dir: &Dir) -> Result<Attachment> {
        let fault = |source| Error::io("locking the log", source).at_path(dir.path());
        let file = dir.open_to_write(LOCK).map_err(fault)?;
        if !try_lock(&file, FIRST_PARTICIPANT).map_err(fault)? {
            return Err(in_use(dir));
        }
        let hold = Hold::new(&file).map_err(fault)?;
        drop(file);
        // Not left to the closing of the descriptor, of which a child may have a copy.
        unlock(&self.file, GATE).map_err(fault)?;
        Ok(Attachment { hold: Some(hold), birth: Birth::here().map_err(fault)? })
    }
}

fn in_use(dir: &Dir) -> Error {
    let text = "close it there, or read it with a Reader";
    Error::new(ErrorKind::InUse, text).at_path(dir.path())
}

/// This process is a participant until the value is dropped, in this process and not in a child.
pub(crate) struct Attachment {
    hold: Option<Hold>,
    birth: Birth,
}

impl Attachment {
    pub(crate) fn birth(&self) -> Birth {
        self.birth
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if !self.birth.is_this_process() {
            // In a child the mapping does not exist, and its address may be another's by now.
            std::mem::forget(self.hold.take());
        }
    }
}
