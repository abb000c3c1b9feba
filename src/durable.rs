//! Waiting for the durable position as a future, for any executor.
//!
//! Does not know: how anything becomes durable.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::{ErrorKind, Result};
use crate::log::Log;
use crate::waiter::Ticket;
use crate::wake::{Awaited, LONGEST_SLEEP, NAP, Pending};

/// Resolves when a record is durable. See [`Log::durable`].
#[must_use = "a future does nothing unless it is polled"]
pub struct Durable {
    /// A handle, so that what syncs the log by the clock goes on meanwhile.
    log: Log,
    seq: u64,
    /// Under which `seq` is the record that was meant.
    epoch: u64,
    ticket: Ticket,
}

impl Log {
    /// Waits until record `seq` is durable, with all before it; gives the first sequence number that is not.
    /// The record may be one that is not appended yet.
    ///
    /// It starts no sync: under [`SyncPolicy::Every`](crate::SyncPolicy::Every) one comes by the clock, under
    /// [`Manual`](crate::SyncPolicy::Manual) somebody has to call [`sync`](Self::sync). Dropping it at any time
    /// is harmless. It is a handle as any other: the log stays open while it is there.
    ///
    /// Cost: see [`Tail::into_stream`](crate::Tail::into_stream).
    ///
    /// # Errors
    /// `Poisoned` if a sync failed and the record is not known to be durable; `Rewound` if the log was cut
    /// at or before it meanwhile, or may have been, when what would tell is trimmed; `Replaced`; `Forked`.
    pub fn durable(&self, seq: u64) -> Durable {
        Durable { log: self.clone(), seq, epoch: self.epoch(), ticket: Ticket::default() }
    }
}

impl Durable {
    fn look(&mut self) -> Result<Option<u64>> {
        let home = &self.log.core.home;
        home.check_process()?;
        // Before the epoch, so that it is not the position of a later one. Nor is it one of the last epoch,
        // which says nothing of the records of this one.
        let durable_seq = home.page().durable_seq_in_epoch().unwrap_or(0);
        let epoch = home.page().epoch();
        if epoch != self.epoch {
            let view = home.site.view()?;
            if let Some(cut) = home.site.cut_above(&view, self.epoch)?
                && (cut.base_seq <= self.seq || cut.hides_others)
            {
                let text = match cut.hides_others {
                    true => "the log was cut, and what told where is trimmed",
                    false => "the log was cut",
                };
                return Err(home.error(ErrorKind::Rewound, text).at_seq(cut.base_seq));
            }
            // Else the cut is under way, and its segment not there yet.
            if view.epoch == epoch {
                self.epoch = epoch;
            }
        }
        if durable_seq > self.seq {
            return Ok(Some(durable_seq));
        }
        home.check()?;
        Ok(None)
    }

    /// What is known, or `None` if the task will be woken.
    fn look_or_wait(&mut self, cx: &Context<'_>) -> Result<Option<u64>> {
        let known = self.look()?;
        if known.is_some() {
            return Ok(known);
        }
        self.log.core.home.check_place()?;
        let pending = Pending::announce(self.log.core.home.clone(), Awaited::Durable);
        // Once more behind the announcement: who moves the position from here on finds it.
        let known = self.look()?;
        if known.is_some() {
            return Ok(known);
        }
        let limit = if pending.is_some() { LONGEST_SLEEP } else { NAP };
        self.ticket.wait(cx.waker(), pending, limit).map_err(|source| {
            self.log.core.home.io_error("starting the thread that waits", source)
        })?;
        Ok(None)
    }
}

impl Future for Durable {
    type Output = Result<u64>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<u64>> {
        let future = self.get_mut();
        let known = future.look_or_wait(cx).transpose();
        if known.is_some() {
            // It may have been asked before it was woken.
            future.ticket.leave();
        }
        known.map_or(Poll::Pending, Poll::Ready)
    }
}

impl fmt::Debug for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durable")
            .field("path", &self.log.path())
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}
