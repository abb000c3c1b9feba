//! What a log is opened with.
//!
//! Does not know: how it is opened.

use std::time::Duration;

use crate::cursors::check_name;
use crate::error::{Error, ErrorKind, Result};
use crate::format::frame::MAX_SEQ;
use crate::format::header::{MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES};
use crate::format::{PAGE_BYTES, round_up};
use crate::retention::Retention;

/// When appended records reach stable storage without being told to. Whatever it is, the death of a
/// process loses nothing that was appended; this is about power cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// By a thread of the log, this long after a record came or soon after; at least 1 ms. A power
    /// cut takes at most what came since. The default, with one second.
    Every(Duration),
    /// Before `append` or `append_batch` of this handle returns, after the append lock was given back:
    /// a power cut takes nothing that returned. Appends of a [`Writer`](crate::Writer) are durable after
    /// [`finish`](crate::Writer::finish).
    Always,
    /// Never: [`Log::sync`](crate::Log::sync) does it.
    Manual,
}

impl Default for SyncPolicy {
    fn default() -> Self {
        SyncPolicy::Every(Duration::from_secs(1))
    }
}

/// Options for opening a log; made by [`Log::options`](crate::Log::options).
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    pub(crate) segment_bytes: u64,
    pub(crate) first_seq: u64,
    pub(crate) mode: u32,
    pub(crate) create: bool,
    pub(crate) sync: SyncPolicy,
    pub(crate) helper_thread: bool,
    pub(crate) lock_timeout: Duration,
    pub(crate) any_filesystem: bool,
    pub(crate) retention: Retention,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            segment_bytes: 128 << 20,
            first_seq: 0,
            mode: 0o640,
            create: true,
            sync: SyncPolicy::default(),
            helper_thread: true,
            lock_timeout: Duration::from_secs(30),
            any_filesystem: false,
            retention: Retention::default(),
        }
    }
}

impl Options {
    /// Bytes that a segment file may grow to, 128 MiB by default; rounded up to 4 KiB. From 16 KiB to
    /// 16 GiB. It holds for segments made from now on, and bounds what a record may be:
    /// [`Log::max_record`](crate::Log::max_record).
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// The sequence number of the first record of a log that is created; 0 by default, at most 2^56 - 2. An
    /// existing log keeps its own.
    pub fn first_seq(mut self, seq: u64) -> Self {
        self.first_seq = seq;
        self
    }

    /// The permission bits of files that are created, less the umask; `0o640` by default. Who may
    /// read the files may also list a directory that is created, and write the file `wake`, to be
    /// woken; without that its tails look once a millisecond.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Whether a log that does not exist is created; true by default. Only the last component of the
    /// path is ever created.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// When records reach stable storage by themselves. It belongs to the handle that is opened, and
    /// to its clones.
    pub fn sync(mut self, policy: SyncPolicy) -> Self {
        self.sync = policy;
        self
    }

    /// Whether the log may start threads of its own; true by default. [`SyncPolicy::Every`] needs one. Another
    /// touches pages before they are needed, up to 16 MiB ahead, and has the file grow for them, once appends bring more than 26 MB a second
    /// between syncs that are far apart; a page's first touch costs what fifty small appends do. It sleeps
    /// otherwise.
    pub fn helper_thread(mut self, allowed: bool) -> Self {
        self.helper_thread = allowed;
        self
    }

    /// How long an append, or asking for the [`Writer`](crate::Writer), may wait while another thread or
    /// process holds the append lock; 30 seconds by default. Then it gives
    /// [`LockTimeout`](ErrorKind::LockTimeout). A process that died holds no lock; one that is stopped
    /// does. It belongs to the handle that is opened, and to its clones.
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// How much of the log is kept; all of it by default. What is too much is dropped when this process
    /// opens the log, when it rolls to a new segment, and by
    /// [`Log::enforce_retention`](crate::Log::enforce_retention). It belongs to the log as this process has it
    /// open, whichever handle came first.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Opens the log even on a file system that is known not to show one machine what another stores
    /// into a mapped file (NFS, SMB, 9P and their like); false by default. Only one machine may then have
    /// it open at a time, and nothing checks that.
    pub fn any_filesystem(mut self, allowed: bool) -> Self {
        self.any_filesystem = allowed;
        self
    }

    /// The same options with values that make sense, or an error that says which does not.
    pub(crate) fn checked(&self) -> Result<Self> {
        let invalid = |text: String| Err(Error::new(ErrorKind::InvalidOption, text));
        if !(MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&self.segment_bytes) {
            return invalid(format!(
                "segment_bytes is {}, expected {MIN_SEGMENT_BYTES} to {MAX_SEGMENT_BYTES}",
                self.segment_bytes
            ));
        }
        if self.first_seq > MAX_SEQ {
            return invalid(format!("first_seq is {}, expected at most {MAX_SEQ}", self.first_seq));
        }
        if self.mode & !0o777 != 0 || self.mode & 0o600 != 0o600 {
            return invalid(format!(
                "mode is {:#o}, expected permission bits that let the owner read and write",
                self.mode
            ));
        }
        let guards = self.retention.guards().iter();
        guards.filter_map(|guard| guard.consumer.as_deref()).try_for_each(check_name)?;
        if !self.helper_thread && matches!(self.sync, SyncPolicy::Every(_)) {
            return invalid(
                "sync is Every(..), expected Always or Manual without the helper thread".into(),
            );
        }
        Ok(Options { segment_bytes: round_up(self.segment_bytes, PAGE_BYTES), ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_make_no_sense_are_named() {
        let cases = [
            (Options::default().segment_bytes(16 * 1024 - 1), "segment_bytes"),
            (Options::default().segment_bytes((16 << 30) + 1), "segment_bytes"),
            (Options::default().first_seq((1 << 56) - 1), "first_seq"),
            (Options::default().mode(0o444), "mode"),
            (Options::default().mode(0o4640), "mode"),
            (Options::default().helper_thread(false), "sync"),
        ];
        for (options, names) in cases {
            let error = options.checked().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidOption);
            assert!(error.to_string().contains(names), "{error}");
        }
        let rounded = Options::default().segment_bytes(16 * 1024 + 1).checked().unwrap();
        assert_eq!(rounded.segment_bytes, 20 * 1024);
    }
}
