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

/// The gate, held: nobody else attaches or recovers.
pub(crate) struct Gate {
    file: File,
}

impl Gate {
    /// Waits for the gate and takes the participant's byte behind it.
    pub(crate) fn pass(dir: &Dir, mode: u32) -> Result<Self> {
        let fault = |source| Error::io("locking the log", source).at_path(dir.path());
        let file = dir.open_or_create(LOCK, mode).map_err(fault)?;
        let since = Instant::now();
        while !try_lock(&file, GATE).map_err(fault)? {
            if since.elapsed() > GATE_TIMEOUT {
                let text = "another process has been opening the log all the while";
                return Err(Error::new(ErrorKind::LockTimeout, text).at_path(dir.path()));
            }
            sleep(Duration::from_millis(1));
        }
        let held = is_locked(&file, PARTICIPANTS).map_err(fault)?;
        if held || !try_lock(&file, FIRST_PARTICIPANT).map_err(fault)? {
            let text = "close it there, or read it with a Reader";
            return Err(Error::new(ErrorKind::InUse, text).at_path(dir.path()));
        }
        Ok(Gate { file })
    }

    /// Opens the gate for others; this process stays a participant.
    pub(crate) fn stay(self) -> io::Result<Attachment> {
        let hold = Hold::new(&self.file)?;
        unlock(&self.file, GATE)?;
        Ok(Attachment { hold: Some(hold), birth: Birth::here()? })
    }
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
