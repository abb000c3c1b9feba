//! Memory that other threads and processes share: mapped files and the words in them.
//!
//! Only it may say `unsafe` or name a memory ordering (beside it, `lock.rs` makes one foreign call
//! and `open` carries its contract in its signature). Each type is a promise: a [`WriteMap`] never
//! forms a reference below its end, a [`ReadMap`] never one above what it was told is committed, and
//! what is committed is never written again.
//!
//! Does not know: what the bytes mean, which file they are from, what to do about an error.
#![allow(unsafe_code)]

mod append_lock;
#[cfg(feature = "async")]
mod bell;
mod cell;
mod futex;
mod hints;
mod pages;
mod prefetch;
mod process;
mod segment;
mod shared;
mod wake;
mod word;

pub(crate) use append_lock::{Guarded, Held, Manner, Seen, Token};
#[cfg(feature = "async")]
pub(crate) use bell::{Awaited as AwaitedWord, Bell};
pub(crate) use cell::{Flag, Owner};
pub(crate) use hints::Hints;
pub(crate) use pages::Pages;
pub(crate) use prefetch::{AHEAD_BYTES, prefetch, prefetch_behind};
pub(crate) use process::{Birth, ProcessLocal, without_signals};
pub(crate) use segment::{ReadMap, WriteMap};
pub(crate) use shared::{End, PageMap};
pub(crate) use wake::{Waited, WakeMap};

use std::io;

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::dir::File;

/// Keeps a file's open description, and with it the kernel's locks on it, alive without a
/// descriptor: a child of `fork` inherits neither, and no closing of descriptors ends it.
#[derive(Debug)]
pub(crate) struct Hold {
    _mapping: MmapRaw,
}

impl Hold {
    /// `file` may be closed afterwards; what it holds lasts until the `Hold` is dropped. In a child
    /// of `fork` the mapping does not exist: there a `Hold` must be forgotten, not dropped.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        let mapping = MmapOptions::new().len(1).map_raw_read_only(file)?;
        mapping.advise(Advice::DontFork)?;
        Ok(Hold { _mapping: mapping })
    }
}
