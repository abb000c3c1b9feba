//! A tail as a stream of records, for any executor.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::{FusedStream, Stream};

use super::Tail;
use super::cursor::Found;
use crate::error::{Error, ErrorKind, Result};
use crate::reader::SharedRecord;
use crate::waiter::Ticket;
use crate::wake::{LONGEST_SLEEP, NAP, Pending};

/// The records of a [`Tail`], as a stream for any executor. See [`Tail::into_stream`].
///
/// Dropping what waits for the next record, as `select!` does, loses no record: the tail goes behind one
/// only when it gives it.
#[must_use = "a stream gives nothing unless it is polled"]
pub struct TailStream {
    tail: Tail,
    ticket: Ticket,
    is_terminated: bool,
}

impl Tail {
    /// The records of this tail, from its position on, as a stream; each with a share of its own in the mapping.
    ///
    /// It gives errors as [`recv`](Self::recv) does, and goes on behind them. It ends behind `Replaced` alone,
    /// since then there is nowhere to go on. A record that is there is given at once: who follows a
    /// long log beside other tasks lets them run now and then.
    ///
    /// Cost: no thread but one for all streams and futures of the process, which sleeps for those that wait
    /// and is started by the first of them. Being woken costs a thread's wake more than [`recv`](Self::recv).
    /// Before Linux 5.16, and while tasks wait for more than 127 logs and kinds of news at once, that
    /// thread looks once a millisecond. A task also looks for itself at least every 100 ms.
    pub fn into_stream(self) -> TailStream {
        TailStream { tail: self, ticket: Ticket::default(), is_terminated: false }
    }
}

impl TailStream {
    /// The tail, to ask it where it is.
    #[must_use]
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// The tail, to go on without an executor.
    #[must_use]
    pub fn into_tail(self) -> Tail {
        self.tail
    }

    /// The next record, or `None` if the task will be woken.
    fn found_or_wait(&mut self, cx: &Context<'_>) -> Result<Option<Found>> {
        let TailStream { tail, ticket, .. } = self;
        let found = tail.find_now()?;
        if found.is_some() {
            return Ok(found);
        }
        let what = tail.awaited();
        let pending = tail.wake()?.and_then(|wake| Pending::announce(wake, what));
        // Once more behind the announcement: who publishes from here on finds it.
        let found = tail.next()?;
        if found.is_some() {
            return Ok(found);
        }
        let limit = match pending {
            None if tail.view.live => NAP,
            _ => tail.waiting.until_due().min(LONGEST_SLEEP),
        };
        ticket.wait(cx.waker(), pending, limit).map_err(|source| {
            Error::io("starting the thread that waits", source).at_path(tail.path())
        })?;
        Ok(None)
    }
}

impl Stream for TailStream {
    type Item = Result<SharedRecord>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let stream = self.get_mut();
        if stream.is_terminated {
            return Poll::Ready(None);
        }
        let Some(found) = stream.found_or_wait(cx).transpose() else { return Poll::Pending };
        // It may have been asked before it was woken.
        stream.ticket.leave();
        stream.is_terminated =
            found.as_ref().is_err_and(|error| error.kind() == ErrorKind::Replaced);
        let shared = |found| stream.tail.record(Some(found)).map(|record| record.to_shared());
        Poll::Ready(found.map(shared).transpose())
    }
}

impl FusedStream for TailStream {
    fn is_terminated(&self) -> bool {
        self.is_terminated
    }
}

impl fmt::Debug for TailStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TailStream").field("tail", &self.tail).finish_non_exhaustive()
    }
}
