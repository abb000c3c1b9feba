//! Being one of the processes that append to a log: the file `lock`, its gate and its participants.
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
use crate::format::page;
use crate::lock::{is_locked, try_lock, unlock};
use crate::map::{Birth, Hold};

/// Held through attaching, recovery and detaching.
const GATE: Range<i64> = 0..1;
/// Byte 1 + n is participant n's.
const PARTICIPANTS: Range<i64> = 1..i64::MAX;

/// How long other processes may take to attach or to recover before this one gives up.
const GATE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a participant's byte may stay held before its holder counts as alive, where that matters.
/// While a program is started, its process has copies of all descriptors from fork to exec; one that
/// was copied in the middle of an attaching keeps the byte for as long, whatever its owner does.
const LINGERING: Duration = Duration::from_millis(200);

const POLL: Duration = Duration::from_millis(1);

const fn byte_of(participant: usize) -> Range<i64> {
    let byte = PARTICIPANTS.start + participant as i64;
    byte..byte + 1
}

fn fault(dir: &Dir) -> impl Fn(io::Error) -> Error + '_ {
    |source| Error::io("locking the log", source).at_path(dir.path())
}

/// The gate, held: nobody else attaches, recovers or detaches.
pub(crate) struct Gate {
    file: File,
}

impl Gate {
    /// Waits for the gate.
    pub(crate) fn pass(dir: &Dir, mode: u32) -> Result<Self> {
        let file = dir.open_or_create(LOCK, mode).map_err(fault(dir))?;
        let since = Instant::now();
        while !try_lock(&file, GATE).map_err(fault(dir))? {
            if since.elapsed() > GATE_TIMEOUT {
                let text = "another process has been opening the log all the while";
                return Err(Error::new(ErrorKind::LockTimeout, text).at_path(dir.path()));
            }
            sleep(POLL);
        }
        Ok(Gate { file })
    }

    /// Waits for the gate, and behind it for the byte of a participant that is gone; refuses while
    /// somebody appends.
    pub(crate) fn pass_alone(dir: &Dir, mode: u32) -> Result<Self> {
        let gate = Self::pass(dir, mode)?;
        if gate.has_company_that_stays(dir)? { Err(in_use(dir)) } else { Ok(gate) }
    }

    /// Refuses where [`pass_alone`](Self::pass_alone) would, as of now. Takes, waits for and makes
    /// nothing.
    pub(crate) fn look(dir: &Dir) -> Result<()> {
        let file = match dir.open_to_read(LOCK) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(fault(dir))?,
        };
        match is_locked(&file, PARTICIPANTS).map_err(fault(dir))? {
            true => Err(in_use(dir)),
            false => Ok(()),
        }
    }

    /// True if somebody participates.
    pub(crate) fn has_company(&self, dir: &Dir) -> Result<bool> {
        is_locked(&self.file, PARTICIPANTS).map_err(fault(dir))
    }

    /// As [`has_company`](Self::has_company), but waits for a moment whether they go.
    pub(crate) fn has_company_that_stays(&self, dir: &Dir) -> Result<bool> {
        let since = Instant::now();
        while self.has_company(dir)? {
            if since.elapsed() > LINGERING {
                return Ok(true);
            }
            sleep(POLL);
        }
        Ok(false)
    }

    /// True if somebody participates beside `mine`.
    pub(crate) fn has_company_beside(&self, dir: &Dir, mine: &Attachment) -> Result<bool> {
        let own = byte_of(mine.participant);
        for others in [PARTICIPANTS.start..own.start, own.end..PARTICIPANTS.end] {
            if !others.is_empty() && is_locked(&self.file, others).map_err(fault(dir))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes a participant's byte, one of those that `is_vacant` accepts: it is asked while the byte is
    /// held, since who held it before may have taken the append lock until it died.
    ///
    /// The byte is held through a file of its own whose descriptor exists for these few calls only,
    /// so that hardly any child ever has a copy.
    pub(crate) fn stay(&self, dir: &Dir, is_vacant: impl Fn(usize) -> bool) -> Result<Attachment> {
        let file = dir.open_to_write(LOCK).map_err(fault(dir))?;
        for participant in 0..page::PARTICIPANTS {
            if !try_lock(&file, byte_of(participant)).map_err(fault(dir))? {
                continue;
            }
            if is_vacant(participant) {
                let hold = Some(Hold::new(&file).map_err(fault(dir))?);
                let birth = Birth::here().map_err(fault(dir))?;
                return Ok(Attachment { hold, birth, participant });
            }
            unlock(&file, byte_of(participant)).map_err(fault(dir))?;
        }
        let text = format!("{} processes have the log open to append already", page::PARTICIPANTS);
        Err(Error::new(ErrorKind::InUse, text).at_path(dir.path()))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // Not left to the closing of the descriptor, of which a child may have a copy. If it fails, that
        // is what remains.
        let _opened = unlock(&self.file, GATE);
    }
}

fn in_use(dir: &Dir) -> Error {
    let text = "it is open to append; close it there first";
    Error::new(ErrorKind::InUse, text).at_path(dir.path())
}

/// How many participate, this process included, as of now. Takes, waits for and makes nothing.
pub(crate) fn participants(dir: &Dir) -> Result<usize> {
    let file = match dir.open_to_read(LOCK) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other.map_err(fault(dir))?,
    };
    if !is_locked(&file, PARTICIPANTS).map_err(fault(dir))? {
        return Ok(0);
    }
    let mut count = 0;
    for participant in 0..page::PARTICIPANTS {
        count += usize::from(is_locked(&file, byte_of(participant)).map_err(fault(dir))?);
    }
    Ok(count)
}

/// The byte of a dead participant, held for a moment so that nobody else takes its place.
pub(crate) struct Seized {
    file: File,
    participant: usize,
}

impl Seized {
    /// Takes the participant's byte; `None` if it is held: that process lives, or another is at this.
    pub(crate) fn take(dir: &Dir, participant: usize) -> Result<Option<Self>> {
        let file = dir.open_to_write(LOCK).map_err(fault(dir))?;
        let taken = try_lock(&file, byte_of(participant)).map_err(fault(dir))?;
        Ok(taken.then_some(Seized { file, participant }))
    }
}

impl Drop for Seized {
    fn drop(&mut self) {
        // As with the gate.
        let _released = unlock(&self.file, byte_of(self.participant));
    }
}

/// This process is a participant until the value is dropped, in this process and not in a child.
pub(crate) struct Attachment {
    hold: Option<Hold>,
    birth: Birth,
    participant: usize,
}

impl Attachment {
    pub(crate) fn birth(&self) -> Birth {
        self.birth
    }

    pub(crate) fn participant(&self) -> usize {
        self.participant
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
