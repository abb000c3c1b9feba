//! What a peer must be able to do, in the few operations that the rows need.
//!
//! An operation takes many records at once, so that each peer keeps its own loop: a transaction for each
//! thousand, a lock held for all, or a call for each record, as its authors advise.

use std::path::Path;

use crate::records::{Batches, Feed};

/// What is said about a peer in the tables.
pub struct About {
    pub name: &'static str,
    /// How it was set up.
    pub settings: &'static str,
    /// What it does not do, and a log must.
    pub lacks: &'static str,
    pub threads: Threads,
}

/// How several threads append.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// The peer takes care of it.
    Own,
    /// It has one writer; the bench puts a mutex around it.
    Mutex,
    /// One transaction at a time, each of a thousand records.
    Transactions,
    No,
}

/// What a run will need.
#[derive(Clone, Copy)]
pub struct Setup {
    /// Bytes of a record.
    pub size: usize,
    /// The most records that the run appends.
    pub most: u64,
    /// Each append is to be on stable storage when it returns.
    pub durable: bool,
}

impl Setup {
    /// Bytes of frames, for those who want to know beforehand: a header of 16 bytes and padding.
    pub fn bytes(&self) -> u64 {
        self.most * (self.size as u64 + 32)
    }
}

/// Records in a transaction where there are transactions.
pub const TRANSACTION: usize = 1000;

pub trait Peer: Sized + Sync {
    const ABOUT: About;
    /// `append_all`, and nothing else.
    const ONLY_APPENDS: bool = false;
    const BATCHES: bool = true;
    const SYNCS: bool = true;
    const GETS: bool = true;

    /// Creates what is not there, in a directory that is.
    fn open(dir: &Path, setup: Setup) -> Self;

    /// Appends every record. When it returns, the kernel has them all.
    fn append_all(&mut self, records: &mut Feed);

    /// As `append_all`; where the user must know the place of a record to get it, it is kept.
    fn append_for_get(&mut self, records: &mut Feed) {
        self.append_all(records);
    }

    /// Each batch in one call, all or nothing if the peer knows that.
    fn append_batches(&mut self, _batches: &mut Batches) {
        unreachable!("asked only of who has batches")
    }

    /// Several threads at once; `thread` counts from 0.
    fn append_beside(&self, _thread: usize, _records: &mut Feed) {
        unreachable!("asked only of who lets several threads append")
    }

    /// One record, on stable storage when this returns. Several threads at once.
    fn append_durably(&self, _thread: usize, _record: &[u8]) {
        unreachable!("asked only of who can sync")
    }

    /// Every record, checked as far as the peer can, from a handle that was just opened.
    fn walk(&mut self, take: &mut impl FnMut(&[u8]));

    /// Each of these records, counted from 0, from a handle that appended them.
    fn get_all(&mut self, _order: &[u64], _take: &mut impl FnMut(&[u8])) {
        unreachable!("asked only of who can get")
    }

    /// Closes in an orderly way.
    fn close(self) {}
}
