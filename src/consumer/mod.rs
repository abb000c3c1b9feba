//! Durable named cursors: who receives the records of a log under a name, says which are done, and goes on
//! there whenever it comes back.
//!
//! A consumer is a tail and a file. What it was given and did not say to be done is given again: at least
//! once. Does not know: how records are found, how places are stored.

mod done;
mod progress;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::cursors::{Cursors, OwnCursor, cannot_tell, goes_on_at};
use crate::dir::Dir;
use crate::error::{Error, ErrorKind, Result};
use crate::format::cursor::{Cursor, USER_BYTES};
use crate::reader::{Reader, Record};
use crate::tail::{Batch, Found, Position, Tail};
use progress::Progress;

/// Receives the records of a log under a name, each at least once, whatever is restarted in between. See
/// [`Log::consumer`](crate::Log::consumer).
///
/// It gives what a [`Tail`] gives, by the same calls and with the same errors, and only records that are durable, so
/// that none that it passed on is missing after a power cut; [`include_volatile`](Self::include_volatile)
/// gives them as they come. What was [acknowledged](Self::ack) is stored in the log's directory and survives
/// the death of the process. After a power cut it is what was synced: with each `ack` under
/// [`SyncPolicy::Always`](crate::SyncPolicy::Always), with the first `ack` at least the interval after another under
/// `Every`, and by [`sync`](Self::sync), or when consumer and ackers are dropped. All others are given again.
///
/// A name has one owner at a time, in all processes; the kernel takes that from a process that died. It is the
/// consumer and its [`Acker`]s. In a child of `fork` every call gives `Forked`.
///
/// When the log was cut, or a power cut took records, behind what this consumer was given, it says
/// [`Rewound`](ErrorKind::Rewound) and goes on at [`Error::seq`], in this process or in a later one: numbers
/// from there on are other records. Nothing is passed over in silence.
pub struct Consumer {
    tail: Tail,
    progress: Arc<Progress>,
    /// It was set back while it was away, and its owner was not told yet.
    rewound: bool,
}

impl Consumer {
    /// How many bytes of its own a consumer may store with [`ack_with`](Self::ack_with).
    pub const USER_DATA_BYTES: usize = USER_BYTES;

    /// Takes the consumer `name`, which begins at `reader`'s first record if it is new.
    pub(crate) fn open(
        reader: &Reader,
        dir: &Dir,
        name: &str,
        mode: u32,
        log_id: [u8; 16],
        sync_within: Option<Duration>,
    ) -> Result<Self> {
        let (epoch, first_seq) = (reader.view().epoch, reader.first_seq());
        let user = Vec::new();
        let first = Cursor { counter: 0, log_id, epoch, seq: first_seq, rewound: false, user };
        let own = Cursors::own(dir, name, mode, &first)?;
        // Who had the name until now may have been told of an epoch behind this view's.
        let reader = &Reader::new(reader.site().clone(), reader.site().view()?);
        let epoch = reader.view().epoch;
        let (epoch, seq, rewound) = goes_on(reader, &own, log_id, epoch)?;
        let tail = reader.tail_at(&Position { id: log_id, epoch, seq })?.durable_only();
        let progress = Progress::new(name, own, (epoch, seq), sync_within);
        Ok(Consumer { tail, progress: Arc::new(progress), rewound })
    }

    /// Gives records whether they are durable or not. A power cut may then take some that were given; the
    /// consumer is told `Rewound`.
    #[must_use]
    pub fn include_volatile(mut self) -> Self {
        self.tail = self.tail.volatile_too();
        self
    }

    /// As [`Tail::spin`].
    #[must_use]
    pub fn spin(mut self, longest: Duration) -> Self {
        self.tail = self.tail.spin(longest);
        self
    }

    /// The name it was opened with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.progress.name
    }

    /// The sequence number of the next record.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.tail.next_seq()
    }

    /// All records below it are done; where it goes on when it is opened again. 0 in a child of `fork`.
    #[must_use]
    pub fn acked_seq(&self) -> u64 {
        self.progress.lowest_open()
    }

    /// The bytes that were stored with [`ack_with`](Self::ack_with); none at first, and in a child of `fork`.
    #[must_use]
    pub fn user_data(&self) -> Vec<u8> {
        self.progress.user_data()
    }

    /// As [`Tail::try_recv`].
    ///
    /// # Errors
    /// Those of a [`Tail`], and `Forked`.
    pub fn try_recv(&mut self) -> Result<Option<Record<'_>>> {
        let found = self.found(Tail::find_now)?;
        Ok(self.tail.record(found))
    }

    /// As [`Tail::recv`].
    ///
    /// # Errors
    /// Those of a [`Tail`], and `Forked`.
    pub fn recv(&mut self) -> Result<Record<'_>> {
        let found = self.found(Tail::find)?;
        self.tail.lend(found)
    }

    /// As [`Tail::recv_timeout`].
    ///
    /// # Errors
    /// Those of a [`Tail`], and `Forked`.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Record<'_>>> {
        let found = self.found(|tail| tail.find_within(timeout))?;
        Ok(self.tail.record(found))
    }

    /// As [`Tail::recv_batch`].
    ///
    /// # Errors
    /// Those of a [`Tail`], and `Forked`.
    pub fn recv_batch(&mut self, max_bytes: usize) -> Result<Batch<'_>> {
        let found = self.found(Tail::find)?;
        self.batch(found, max_bytes)
    }

    /// As [`Tail::try_recv_batch`].
    ///
    /// # Errors
    /// Those of a [`Tail`], and `Forked`.
    pub fn try_recv_batch(&mut self, max_bytes: usize) -> Result<Option<Batch<'_>>> {
        let found = self.found(Tail::find_now)?;
        found.map(|found| self.batch(found, max_bytes)).transpose()
    }

    /// What `find` found, and what that says about how far this consumer is.
    #[inline]
    fn found<T>(&mut self, find: impl FnOnce(&mut Tail) -> Result<T>) -> Result<T> {
        self.progress.check_process()?;
        if std::mem::take(&mut self.rewound) {
            return Err(self.set_back());
        }
        let found = find(&mut self.tail);
        let (epoch, next_seq) = (self.tail.epoch(), self.tail.next_seq());
        match &found {
            Ok(_) => self.progress.gave(epoch, next_seq),
            Err(error) => self.progress.told(error, epoch, next_seq),
        }
        found
    }

    fn batch(&mut self, first: Found, max_bytes: usize) -> Result<Batch<'_>> {
        let epoch = self.tail.epoch();
        let batch = self.tail.batch(first, max_bytes)?;
        self.progress.gave(epoch, batch.seqs().end);
        Ok(batch)
    }

    #[cold]
    fn set_back(&self) -> Error {
        let seq = self.tail.next_seq();
        let text = format!(
            "consumer {} was ahead of a log that is older than its place; it goes on at {seq}",
            self.name()
        );
        Error::new(ErrorKind::Rewound, text).at_path(self.tail.path()).at_seq(seq)
    }

    /// Record `seq` is done, and all before it: none of them is given again.
    ///
    /// Cost: a call to the file system, and under some policies a sync (see [`Consumer`]).
    ///
    /// # Errors
    /// `OutOfRange` if it was not given yet; `Io` and its kin if it cannot be stored: then it may be given
    /// again; `Forked`.
    pub fn ack(&self, seq: u64) -> Result<()> {
        self.progress.ack(None, seq, true, None)
    }

    /// Record `seq` is done, and those before it as far as they were acknowledged themselves: for records that are worked
    /// on beside one another. The stored place moves to the lowest that is not done; those behind it that are are
    /// known to this process only.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    pub fn ack_one(&self, seq: u64) -> Result<()> {
        self.progress.ack(None, seq, false, None)
    }

    /// As [`ack`](Self::ack), and stores some bytes with the place, both or neither: say, where in its output the
    /// consumer is, by which it can tell what it has done twice.
    ///
    /// # Errors
    /// As [`ack`](Self::ack), and `TooLarge` above [`USER_DATA_BYTES`](Self::USER_DATA_BYTES).
    pub fn ack_with(&self, seq: u64, user_data: &[u8]) -> Result<()> {
        self.progress.ack(None, seq, true, Some(user_data))
    }

    /// What acknowledges in other threads.
    #[must_use]
    pub fn acker(&self) -> Acker {
        Acker { progress: self.progress.clone(), generation: self.progress.generation() }
    }

    /// Puts on stable storage what is done.
    ///
    /// # Errors
    /// Those of syncing the file; `Forked`.
    pub fn sync(&self) -> Result<()> {
        self.progress.sync()
    }
}

/// Where it goes on, under which epoch, and whether its owner is to be told that this is further back than
/// it was.
fn goes_on(
    reader: &Reader,
    own: &OwnCursor,
    log_id: [u8; 16],
    epoch: u64,
) -> Result<(u64, u64, bool)> {
    let place = &own.place;
    if place.log_id != log_id {
        let text = "the consumer's place is one of another log; remove it to begin anew";
        return Err(Error::new(ErrorKind::Replaced, text).at_path(reader.path()));
    }
    if place.epoch > epoch {
        let seq = goes_on_at(reader.site(), reader.view(), place)?;
        return Ok((epoch, seq, true));
    }
    Ok((place.epoch, place.seq, place.rewound))
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("name", &self.name())
            .field("next_seq", &self.next_seq())
            .field("acked_seq", &self.acked_seq())
            .finish_non_exhaustive()
    }
}

/// Acknowledges what a [`Consumer`] gave, from any thread. Cheap to clone. The consumer's name has an owner as long
/// as there is one.
///
/// Once the consumer was told `Rewound`, the numbers that it gives may be those of other records than before: then
/// an acker from before gives `Rewound` for all of them, and another one is to be had from the consumer.
#[derive(Clone)]
pub struct Acker {
    progress: Arc<Progress>,
    generation: u64,
}

impl Acker {
    /// As [`Consumer::ack`].
    ///
    /// # Errors
    /// As [`Consumer::ack`], and `Rewound`.
    pub fn ack(&self, seq: u64) -> Result<()> {
        self.progress.ack(Some(self.generation), seq, true, None)
    }

    /// As [`Consumer::ack_one`].
    ///
    /// # Errors
    /// As [`Consumer::ack`], and `Rewound`.
    pub fn ack_one(&self, seq: u64) -> Result<()> {
        self.progress.ack(Some(self.generation), seq, false, None)
    }
}

impl fmt::Debug for Acker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acker").field("consumer", &self.progress.name).finish_non_exhaustive()
    }
}

/// How far one of a log's consumers is. See [`Reader::consumers`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerInfo {
    /// Its name.
    pub name: String,
    /// The record that it goes on with; `None` if its file cannot tell, or is another log's.
    pub next_seq: Option<u64>,
    /// How many records of the reader's view are not done: all of them if its file cannot tell.
    pub lag: u64,
    /// A process has it open.
    pub owned: bool,
}

impl Reader {
    /// The log's consumers, ordered by name, and how far they are, as of now beside this view's records.
    ///
    /// Cost: some calls to the file system for each.
    ///
    /// # Errors
    /// Those of listing and reading their files; a file that holds no place is no error.
    pub fn consumers(&self) -> Result<Vec<ConsumerInfo>> {
        let site = self.site();
        let Some(cursors) = Cursors::open(&site.dir)? else { return Ok(Vec::new()) };
        let id = site.id(self.view())?;
        let mut all = Vec::new();
        for name in cursors.names()? {
            let place = match cursors.read(&name) {
                Err(error) if cannot_tell(&error) => None,
                // It was removed since it was listed.
                Ok(None) => continue,
                place => place?.filter(|place| Some(place.log_id) == id),
            };
            let next_seq = place.map(|place| goes_on_at(site, self.view(), &place)).transpose()?;
            let next_seq = next_seq.map(|seq| seq.max(self.first_seq()));
            let lag = self.next_seq() - next_seq.unwrap_or(self.first_seq()).min(self.next_seq());
            let owned = cursors.is_owned(&name)?;
            all.push(ConsumerInfo { name, next_seq, lag, owned });
        }
        Ok(all)
    }
}
