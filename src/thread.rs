//! Threads of this crate's own. They are of one process: a child of `fork` inherits what knows of them,
//! and none of them.
//!
//! Does not know: what they do.

use std::io;
use std::thread::{Builder, JoinHandle};

use crate::map::{Birth, without_signals};

/// A thread that was started here. It goes on when this is dropped.
pub(crate) struct OwnThread {
    handle: Option<JoinHandle<()>>,
    birth: Birth,
}

impl OwnThread {
    /// Starts one that gets no signals: those of the application are for its own threads.
    pub(crate) fn start(builder: Builder, run: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let birth = Birth::here()?;
        let handle = without_signals(|| builder.spawn(run))?;
        Ok(OwnThread { handle: Some(handle), birth })
    }

    /// Waits until it ends.
    pub(crate) fn join(mut self) {
        if self.birth.is_this_process()
            && let Some(handle) = self.handle.take()
        {
            let _ended = handle.join();
        }
    }
}

impl Drop for OwnThread {
    fn drop(&mut self) {
        if !self.birth.is_this_process() {
            // The C library would detach whatever thread of this process has that one's stack by now.
            std::mem::forget(self.handle.take());
        }
    }
}
