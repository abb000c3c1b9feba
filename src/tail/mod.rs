//! Following a log as it grows: one record after the other, through new segments, writers that come,
//! go and die, cuts and damage.
//!
//! A tail has one segment mapped and looks at the commit word at its own place: there is no position
//! that all readers poll. What it does about what it sees there:
//!
//! | at the tail's place | page live | no live page |
//! |---|---|---|
//! | a valid frame or batch | it is committed, since it stands where the log ended before | as far as a survey says that the log reaches |
//! | zero, and the page's end is not behind it | nothing yet | nothing yet; survey again before long |
//! | zero or the end of the file, and the log's end is behind it | damage | damage, below the surveyed end |
//! | no valid frame, and the page's end is behind it, here or in a later segment | damage | damage, below the surveyed end |
//! | no valid frame, and the page's end is not behind it | nothing yet: its writer, or whoever recovers it, decides | nothing: torn |
//! | end frame, or the end of the segment's share | the next segment; if there is none yet, nothing yet | the same |
//!
//! Before a record is handed out, and each time none is found, it compares (instance, epoch, first seq) of the page
//! with those of its view; another value sends it to the directory. So it never goes on in what was cut,
//! nor waits at an end that the log has left. Every 100 ms without a record it takes a new view all the same. `shared` losing its name says that other files took
//! the log's place.
//!
//! Does not know: how anything is written.

mod batch;
mod cursor;
mod find;
mod position;
#[cfg(feature = "async")]
mod stream;
mod wait;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::format::frame::HEADER_BYTES;
use crate::reader::{Reader, Record};
use crate::view::{Site, View, Watch};

pub use batch::Batch;
pub(crate) use cursor::Found;
use cursor::{Cursor, Step};
pub use position::Position;
#[cfg(feature = "async")]
pub use stream::TailStream;
use wait::Waiting;

/// A log followed as it grows, in this process or any other. See [`Reader::tail_from`].
///
/// It gives every record from its position on, each checked against its CRC-32 (G3), and goes on through
/// new segments, through the death of whoever appends, and through later openings of the log. It takes no
/// lock and never makes a writer wait (G10). A record is borrowed from the tail until the
/// next is received; [`Record::to_shared`] keeps one. One segment is mapped at a time.
///
/// An error is given once, and the next call goes on:
///
/// | kind | what happened | goes on at |
/// |---|---|---|
/// | `Damaged` | [`Error::lost`] names the records that are lost | the first behind them |
/// | `Trimmed` | the next record was trimmed away | [`Error::seq`], the first that is left |
/// | `Rewound` | the log was cut before this position, or lost what was not synced | [`Error::seq`], where its numbers begin anew |
/// | `OutOfRange` | it was asked to begin behind the log's end | [`Error::seq`], the end |
/// | `Replaced` | other files took the log's place | nowhere: open it anew |
/// | others | a call failed, or a later version's frame is in the way | the same position |
///
/// What it gave before holds up to the number that `Rewound` names, if the log begins below that. Else, and if
/// [`position().epoch`](Self::position) is another behind `Trimmed`, the place where the log was cut may be
/// among what was trimmed since: then nothing is left that tells how much of it holds.
///
/// A failed sync is no error here: what was appended stays readable, and a later opening goes on.
///
/// Cost: a record that is there costs a checksum and some loads, about 20 ns for 64 bytes. Waiting, it spins
/// for [some microseconds](Self::spin) and then sleeps until it is woken; where it may not write the file
/// `wake` it looks once a millisecond. Without a page that says where the log ends, as for a log that was
/// copied or that lies in another mount namespace, it looks at directory and files at growing intervals,
/// up to 100 ms, and reads the log's end when something moved.
pub struct Tail {
    site: Arc<Site>,
    view: View,
    watch: Watch,
    /// `None` between segments.
    cursor: Option<Cursor>,
    /// The next record to give.
    seq: u64,
    /// Under which what was given is known to hold.
    epoch: u64,
    /// The log, and what comes before `seq` in it, was seen by who asked for this tail.
    has_history: bool,
    /// A view was taken since it was made.
    has_begun: bool,
    durable_only: bool,
    /// Records below it are known to be durable.
    durable_seq: u64,
    waiting: Waiting,
}

impl Reader {
    /// Follows the log from the record `seq` on, live: what is there, and then what comes. For what
    /// comes from now on only, begin at [`next_seq`](Self::next_seq).
    ///
    /// The tail is independent of this reader. Errors of finding the record come with the first call:
    /// `Trimmed` if it is gone, `OutOfRange` if the log ends before it.
    #[must_use]
    pub fn tail_from(&self, seq: u64) -> Tail {
        Tail::new(self, seq, self.view().epoch, false)
    }

    /// Follows the log from a position that another tail was at, in any process, at any time.
    ///
    /// If what was read before that position does not hold any more, the first call gives `Rewound`
    /// with the number where it goes on.
    ///
    /// # Errors
    /// `Replaced` if the position is of another log; those of opening a segment.
    pub fn tail_at(&self, position: &Position) -> Result<Tail> {
        if self.site().id(self.view())? != Some(position.id) {
            let text = "the position is of another log";
            return Err(Error::new(ErrorKind::Replaced, text).at_path(self.path()));
        }
        Ok(Tail::new(self, position.seq, position.epoch, true))
    }
}

impl Tail {
    fn new(reader: &Reader, seq: u64, epoch: u64, has_history: bool) -> Self {
        Tail {
            site: reader.site().clone(),
            view: reader.view().clone(),
            watch: Watch::default(),
            cursor: None,
            seq,
            epoch,
            has_history,
            has_begun: false,
            durable_only: false,
            durable_seq: 0,
            waiting: Waiting::new(),
        }
    }

    /// Gives records only once they are durable: below the position that a sync moves. For who passes
    /// them on to where a power cut here must not make them orphans.
    #[must_use]
    pub fn durable_only(mut self) -> Self {
        self.durable_only = true;
        self
    }

    /// Gives records whether they are durable or not.
    #[must_use]
    pub(crate) fn volatile_too(mut self) -> Self {
        self.durable_only = false;
        self
    }

    /// Under which what was given is known to hold.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// For how long to look again and again before sleeping; 20 microseconds by default, none on a machine
    /// with one processor. Shorter while nothing comes for long. Being woken costs some 20
    /// microseconds; spinning costs a processor.
    #[must_use]
    pub fn spin(mut self, longest: Duration) -> Self {
        self.waiting.spin(longest);
        self
    }

    /// The sequence number of the next record.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.seq
    }

    /// Where this tail is: behind the last record, or batch, that it gave.
    #[must_use]
    pub fn position(&self) -> Position {
        // A log of which no header can be read has no id, and no position of it can be taken up.
        let id = self.site.id(&self.view).ok().flatten().unwrap_or_default();
        Position { id, epoch: self.epoch, seq: self.seq }
    }

    /// The log's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.site.dir.path()
    }

    /// The next record; `None` if there is none yet. Never waits.
    ///
    /// # Errors
    /// See [`Tail`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<Option<Record<'_>>> {
        // Both ways lend what they found by themselves: joined, it would go through memory, and the processor
        // waits for a third of a small record's time to read words together that were stored one by one.
        if let Some(found) = self.next_at_hand() {
            return self.lend(found).map(Some);
        }
        let found = self.find_now()?;
        Ok(self.record(found))
    }

    /// The next record; waits for it.
    ///
    /// # Errors
    /// See [`Tail`].
    #[inline]
    pub fn recv(&mut self) -> Result<Record<'_>> {
        if let Some(found) = self.next_at_hand() {
            return self.lend(found);
        }
        let found = self.find()?;
        self.lend(found)
    }

    /// The next record; `None` if none came within `timeout`.
    ///
    /// # Errors
    /// See [`Tail`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Record<'_>>> {
        let found = self.find_within(timeout)?;
        Ok(self.record(found))
    }

    /// All records that are there, up to `max_bytes` of payload but at least one; waits for that one. A
    /// batch lies in one segment, so it may end before the last record that is there.
    ///
    /// Cost: less than record by record, since the page is looked at once.
    ///
    /// # Errors
    /// See [`Tail`]. An error behind some records comes with the next call.
    pub fn recv_batch(&mut self, max_bytes: usize) -> Result<Batch<'_>> {
        let found = self.find()?;
        self.batch(found, max_bytes)
    }

    /// As [`recv_batch`](Self::recv_batch); `None` if there is no record yet. Never waits.
    ///
    /// # Errors
    /// See [`Tail`].
    pub fn try_recv_batch(&mut self, max_bytes: usize) -> Result<Option<Batch<'_>>> {
        let found = self.find_now()?;
        found.map(|found| self.batch(found, max_bytes)).transpose()
    }

    /// Finds the next record, which [`record`](Self::record) or [`batch`](Self::batch) then lends.
    #[inline]
    pub(crate) fn find_now(&mut self) -> Result<Option<Found>> {
        match self.next()? {
            None => self.look_if_due(),
            found => Ok(found),
        }
    }

    #[inline]
    pub(crate) fn find(&mut self) -> Result<Found> {
        loop {
            if let Some(found) = self.wait_for_next(None)? {
                return Ok(found);
            }
        }
    }

    pub(crate) fn find_within(&mut self, timeout: Duration) -> Result<Option<Found>> {
        // A time too far off to name is never reached.
        self.wait_for_next(Instant::now().checked_add(timeout))
    }

    #[inline]
    pub(crate) fn record(&self, found: Option<Found>) -> Option<Record<'_>> {
        self.cursor.as_ref().zip(found).map(|(cursor, found)| cursor.record(found))
    }

    /// The record that was found, which lies in the segment of the cursor.
    #[inline]
    pub(crate) fn lend(&self, found: Found) -> Result<Record<'_>> {
        self.record(Some(found)).ok_or_else(|| out_of_place(&self.site))
    }

    /// The record that was found and those behind it that are there.
    pub(crate) fn batch(&mut self, first: Found, max_bytes: usize) -> Result<Batch<'_>> {
        let Tail { site, view, watch, cursor, seq: next_seq, durable_only, durable_seq, .. } = self;
        let Some(cursor) = cursor else { return Err(out_of_place(site)) };
        let page = if view.live { site.page() } else { None };
        let mut left = (max_bytes as u64).saturating_sub(first.len);
        let behind_first = cursor.bookmark();
        while !*durable_only || cursor.seq < *durable_seq {
            if let Some((len, next)) = cursor.single().filter(|(len, _)| *len <= left) {
                left -= len;
                cursor.take(len, next);
                continue;
            }
            match cursor.step(page) {
                Ok(Step::Record { len, next }) if len <= left => {
                    left -= len;
                    cursor.take(len, next);
                }
                Ok(Step::Passed) => {}
                // Whatever it is, the next call finds it again.
                _ => break,
            }
        }
        if site.has_moved(*watch) {
            // The first was in the log after it was checked; of the others that is not known.
            cursor.go_back(behind_first);
        }
        *next_seq = cursor.seq;
        let segment = &cursor.followed().segment;
        Ok(Batch { segment, at: first.at - HEADER_BYTES, seqs: first.seq..cursor.seq })
    }
}

/// What was found lies in the segment of the cursor, so this says that this crate lost it.
#[cold]
fn out_of_place(site: &Site) -> Error {
    Error::new(ErrorKind::OutOfRange, "a record left its segment").at_path(site.dir.path())
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail")
            .field("path", &self.path())
            .field("next_seq", &self.seq)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
