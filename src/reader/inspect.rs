//! What there is of a log, file by file, and how many processes append to it.
//!
//! Through `pread` of headers and of a few frames, so that a bad block is an error and not a signal, and
//! nothing is mapped. Does not know: whether what it did not read is whole.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Reader;
use crate::attach::participants;
use crate::error::{Error, ErrorKind, Result};
use crate::format::header::{HEADER_BYTES as DATA_START, Reason};
use crate::format::name::SegmentName;
use crate::probe::{Anchor, locate};
use crate::scan::{Rules, Seen, Source, look};
use crate::segment::{Pread, SegmentFile};
use crate::survey::{Span, list};

/// One file of a log, as [`Reader::segments`] finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentStat {
    /// The id in its file name.
    pub id: u64,
    /// The first sequence number of its share.
    pub base_seq: u64,
    /// Behind the last sequence number of its share; equal to `base_seq` if it has none.
    pub end_seq: u64,
    /// Bytes of its file.
    pub file_bytes: u64,
    /// How many of them are its header and frames from the first record that was not trimmed to behind the
    /// last of its share; of a batch, all. The others are waste: allocated ahead, left over at its
    /// end, cut, or trimmed. `None` if damage hides where those records stand.
    pub used_bytes: Option<u64>,
    /// When it was made, by the clock of the process that made it; `None` if its header cannot be read.
    pub created: Option<SystemTime>,
    /// Why it was made; `None` if its header cannot be read.
    pub reason: Option<SegmentReason>,
    /// The epoch it was made in; `None` if its header cannot be read.
    pub epoch: Option<u64>,
    /// Every record below it was durable when this was last noted in the file, which is now and then
    /// while the log ends there; `None` if neither note is whole. See [`Reader::durable_seq`].
    pub noted_durable_seq: Option<u64>,
    /// What part of the log it is.
    pub state: SegmentState,
}

/// Why a segment was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SegmentReason {
    /// The log was created.
    First,
    /// The segment before was full.
    Roll,
    /// [`Log::truncate_from`](crate::Log::truncate_from).
    Cut,
    /// [`Log::reset`](crate::Log::reset).
    Reset,
    /// The segment before did not end cleanly, and nothing is written behind what a crash left.
    Recovery,
    /// Records that a failed sync had left in doubt were written anew.
    Copy,
}

/// What part of a log a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SegmentState {
    /// The log ends in it, and was not closed since the last append.
    Open,
    /// The log ends in it, and was closed there.
    Closed,
    /// A later one follows.
    Ended,
    /// All its numbers belong to later ones: it is not part of the log any more.
    Cut,
    /// It counts, and no record in it can be read: neither copy of its header is whole, or it is that of
    /// another segment, or of another version of the format.
    Unreadable,
}

impl Reader {
    /// The files of the log, in ascending order of their ids, those too of which nothing counts any more.
    /// A file that was removed since the view was taken is left out.
    ///
    /// It maps nothing and checks no records but those few that it meets on the way to a segment's last and
    /// to the first that was not trimmed; [`verify`](crate::verify()) checks all. Cost: for each file some
    /// calls, and some probes of a few pages each.
    ///
    /// # Errors
    /// Those of listing the directory and of reading a file. What is in a file is no error, whatever it is.
    pub fn segments(&self) -> Result<Vec<SegmentStat>> {
        let mut found = Vec::new();
        for name in list(&self.site.dir, self.site.page())? {
            let counts = self.view.spans.binary_search_by_key(&name, |span| span.name);
            let stat = match counts {
                Ok(span) => self.segment_stat(&self.view.spans[span]),
                // Behind the end of a log that is open stand those that are about to be part of it.
                Err(_) if name.id > self.view.end.segment_id && self.view.live => continue,
                Err(_) => self.cut_stat(name),
            };
            match stat {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                stat => found.push(stat?),
            }
        }
        Ok(found)
    }

    /// How many processes have the log open to append, this one included, as of now. The kernel knows, so one
    /// that died does not count. Readers hold nothing that could be counted.
    ///
    /// Cost: a call, and 256 more if there are any.
    ///
    /// # Errors
    /// `PermissionDenied` if this user may not read the file `lock`; `Io`.
    pub fn appenders(&self) -> Result<usize> {
        participants(&self.site.dir)
    }

    fn segment_stat(&self, span: &Span) -> Result<SegmentStat> {
        let name = span.name;
        let end_seq = span.end_seq.min(self.view.end.seq).max(name.base_seq);
        let stat = self.bare_stat(name, end_seq)?;
        let Some(file) = self.opened(name)? else { return Ok(stat) };
        let fault = |source| self.fault_in(name, source);
        let slot = file.slots().map_err(fault)?.newest();
        let end = self.view.end;
        let state = match slot {
            _ if name.id != end.segment_id => SegmentState::Ended,
            Some(slot) if slot.closed && slot.durable_offset == end.offset => SegmentState::Closed,
            _ => SegmentState::Open,
        };
        let used_bytes = self.used_bytes(&file, span, end_seq).map_err(fault)?;
        // A page may say any end.
        let used_bytes = used_bytes.map(|bytes| bytes.min(stat.file_bytes));
        let noted_durable_seq = slot.map(|slot| slot.durable_seq);
        Ok(SegmentStat { used_bytes, noted_durable_seq, state, ..told_by(&file, stat) })
    }

    fn cut_stat(&self, name: SegmentName) -> Result<SegmentStat> {
        let stat = self.bare_stat(name, name.base_seq)?;
        let stat = SegmentStat { used_bytes: Some(0), state: SegmentState::Cut, ..stat };
        Ok(match self.opened(name)? {
            Some(file) => told_by(&file, stat),
            None => stat,
        })
    }

    /// The segment, if its header can be read and is its own.
    fn opened(&self, name: SegmentName) -> Result<Option<SegmentFile>> {
        use ErrorKind::{Damaged, NotALog, UnsupportedFeature, UnsupportedVersion};
        match SegmentFile::open_to_read(&self.site.dir, name) {
            Err(error) => match error.kind() {
                Damaged | NotALog | UnsupportedFeature | UnsupportedVersion => Ok(None),
                _ => Err(error),
            },
            file => file.map(Some),
        }
    }

    /// What name and size tell.
    fn bare_stat(&self, name: SegmentName, end_seq: u64) -> Result<SegmentStat> {
        let file_bytes = self.site.dir.bytes_of(&name.file_name());
        Ok(SegmentStat {
            id: name.id,
            base_seq: name.base_seq,
            end_seq,
            file_bytes: file_bytes.map_err(|source| self.fault_in(name, source))?,
            used_bytes: None,
            created: None,
            reason: None,
            epoch: None,
            noted_durable_seq: None,
            state: SegmentState::Unreadable,
        })
    }

    fn fault_in(&self, name: SegmentName, source: io::Error) -> Error {
        Error::io("looking at a segment", source).at_path(self.path()).in_segment(name.id)
    }

    fn used_bytes(&self, file: &SegmentFile, span: &Span, end_seq: u64) -> io::Result<Option<u64>> {
        let is_tip = span.name.id == self.view.end.segment_id;
        let first_seq = self.first_seq().max(span.name.base_seq);
        if first_seq >= end_seq {
            return Ok(Some(if is_tip { DATA_START } else { 0 }));
        }
        let committed = if is_tip { self.view.end.offset } else { u64::MAX };
        let mut share = Share {
            source: file.pread()?.below(committed),
            rules: Rules { salt: file.header.salt, cut_seq: span.end_seq, check: true },
            base_seq: span.name.base_seq,
            end_seq,
        };
        let from = match first_seq == span.name.base_seq {
            true => Some(DATA_START),
            false => share.place(first_seq)?.map(|anchor| anchor.at),
        };
        let to = if is_tip { Some(committed) } else { share.behind_the_last()? };
        Ok(from.zip(to).map(|(from, to)| DATA_START + to.saturating_sub(from)))
    }
}

/// A segment's share of the log.
struct Share<'a> {
    source: Pread<'a>,
    rules: Rules,
    base_seq: u64,
    end_seq: u64,
}

impl Share<'_> {
    /// A frame at or shortly before the record `seq`: a mark, or the first of its batch.
    fn place(&mut self, seq: u64) -> io::Result<Option<Anchor>> {
        let from = Anchor { at: DATA_START, seq: self.base_seq };
        let to = Anchor { at: self.source.limit(), seq: self.end_seq };
        locate(&mut self.source, &self.rules, from, to, seq)
    }

    fn behind_the_last(&mut self) -> io::Result<Option<u64>> {
        let Some(Anchor { mut at, mut seq }) = self.place(self.end_seq - 1)? else {
            return Ok(None);
        };
        while seq < self.end_seq {
            (at, seq) = match look(&mut self.source, &self.rules, at, seq)? {
                Seen::Single { next, .. } => (next, seq + 1),
                Seen::Batch { records, next } => (next, seq + records),
                Seen::Mark { next, .. } | Seen::Skipped { next } => (next, seq),
                _ => return Ok(None),
            };
        }
        Ok(Some(at))
    }
}

/// What the header tells.
fn told_by(file: &SegmentFile, stat: SegmentStat) -> SegmentStat {
    let header = &file.header;
    SegmentStat {
        created: UNIX_EPOCH.checked_add(Duration::from_nanos(header.created_nanos)),
        reason: Some(header.reason.into()),
        epoch: Some(header.epoch),
        ..stat
    }
}

impl From<Reason> for SegmentReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::First => SegmentReason::First,
            Reason::Roll => SegmentReason::Roll,
            Reason::Cut => SegmentReason::Cut,
            Reason::Reset => SegmentReason::Reset,
            Reason::Recovery => SegmentReason::Recovery,
            Reason::Copy => SegmentReason::Copy,
        }
    }
}
