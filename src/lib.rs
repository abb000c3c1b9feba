#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!(
    "maplog needs Linux on a 64-bit machine: locks of open file descriptions, fallocate, statx"
);

#[macro_use]
mod hook;
#[macro_use]
mod trace;

// The floors, from the ground up; imports go down only (docs/architecture.md).

mod format;

mod dir;

mod lock;
mod map;
mod monitor;

mod error;
mod registry;
mod scan;
mod thread;

mod ahead;
mod attach;
mod recovery;
mod segment;
mod shared;
mod wake;

mod create;
mod index;
mod survey;
#[cfg(feature = "async")]
mod waiter;

mod probe;
mod retention;
mod tip;
mod view;

mod copy;
mod cursors;

mod home;
mod reader;
mod repair;
mod verify;

mod redo;

mod sync;
mod tail;

mod consumer;
mod helper;
mod writer;

mod queue;

mod handle;
mod options;

mod log;

#[cfg(feature = "async")]
mod durable;
mod open;

#[cfg(test)]
mod beside_tests;
#[cfg(test)]
mod child_tests;
#[cfg(test)]
mod crash_images;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod cut_tests;
#[cfg(test)]
mod dead_sync_tests;
#[cfg(test)]
mod heir_tests;
#[cfg(test)]
mod rot_tests;
#[cfg(test)]
mod takeover_tests;
#[cfg(test)]
mod told_tests;

pub use consumer::{Acker, Consumer, ConsumerInfo};
#[cfg(feature = "async")]
pub use durable::Durable;
pub use error::{Error, ErrorKind, Result};
pub use handle::{Slot, Writer};
pub use log::Log;
pub use options::{Options, SyncPolicy};
pub use reader::{
    Iter, Reader, Record, SegmentReason, SegmentStat, SegmentState, SharedRecord, Stats,
};
pub use repair::{Repair, Repaired, SetAside, Why, repair};
pub use retention::{Held, Retention};
pub use survey::{CutTail, Recovery};
#[cfg(feature = "async")]
pub use tail::TailStream;
pub use tail::{Batch, Position, Tail};
pub use verify::{CutReport, SegmentReport, Verification, verify};
