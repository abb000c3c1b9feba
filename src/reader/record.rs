//! A record, as readers get it: borrowed, or with a share of its own.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::segment::ReadSegment;

/// A record, borrowed from the log's memory: no copy was made, none is needed to read it.
#[derive(Clone, Copy)]
pub struct Record<'r> {
    pub(super) data: &'r [u8],
    pub(super) seq: u64,
    /// Where the payload begins in the segment.
    pub(super) at: u64,
    pub(super) segment: &'r Arc<ReadSegment>,
}

impl<'r> Record<'r> {
    /// The payload of `len` bytes at `at`, in a frame that was found valid below what is lent.
    #[inline]
    pub(crate) fn at(segment: &'r Arc<ReadSegment>, at: u64, len: u64, seq: u64) -> Self {
        Record { data: segment.frames().bytes(at, len), seq, at, segment }
    }

    /// Its place in the log.
    #[inline]
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Its bytes, which start at a multiple of 16 in memory.
    #[inline]
    #[must_use]
    pub fn data(&self) -> &'r [u8] {
        self.data
    }

    /// The record with a share of its own in the mapping, to keep or to send to another thread.
    #[must_use]
    pub fn to_shared(&self) -> SharedRecord {
        let Record { data, seq, at, segment } = *self;
        SharedRecord { segment: segment.clone(), at, len: data.len() as u64, seq }
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_record(f, "Record", self.seq, self.data)
    }
}

/// A record that owns a share of the mapping it lies in: it may outlive reader and log, and its
/// bytes stay what they are.
#[derive(Clone)]
pub struct SharedRecord {
    segment: Arc<ReadSegment>,
    at: u64,
    len: u64,
    seq: u64,
}

impl SharedRecord {
    /// Its place in the log.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Its bytes, which start at a multiple of 16 in memory.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.segment.frames().bytes(self.at, self.len)
    }
}

impl Deref for SharedRecord {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.data()
    }
}

impl fmt::Debug for SharedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_record(f, "SharedRecord", self.seq, self.data())
    }
}

fn debug_record(f: &mut fmt::Formatter<'_>, name: &str, seq: u64, data: &[u8]) -> fmt::Result {
    f.debug_struct(name).field("seq", &seq).field("data", &data.escape_ascii().to_string()).finish()
}
