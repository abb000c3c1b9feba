//! stub
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!(
    "maplog needs Linux on a 64-bit machine: byte-range locks of open files, fallocate, statx"
);

#[macro_use]
mod hook;

mod attach;
mod create;
mod dir;
mod error;
mod format;
mod home;
mod lock;
mod log;
mod map;
mod options;
mod reader;
mod recovery;
mod scan;
mod segment;
mod shared;
mod survey;
mod sync;
mod view;
mod writer;

pub use error::{Error, ErrorKind, Result};
pub use log::{Log, Slot, Writer};
pub use options::{Options, SyncPolicy};
pub use reader::{Iter, Reader, Record, SharedRecord, Stats};
pub use survey::{CutTail, Recovery};
