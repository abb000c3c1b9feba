//! Why a round ended early: a loss, or something that is no fault of the log.

use std::fmt::Display;
use std::io;

use maplog::{Error, ErrorKind};

use crate::Failure;

/// Why a round ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The log broke a promise. The sentence says which, and where.
    Loss(String),
    /// The machine is full, forbids something, or the like: nothing is known about the log.
    Failure(Failure),
}

pub(crate) type Found<T = ()> = Result<T, Stop>;

/// The log broke a promise.
pub(crate) fn loss<T>(sentence: impl Into<String>) -> Found<T> {
    Err(Stop::Loss(sentence.into()))
}

/// A call of the log failed that should not.
pub(crate) fn broke(doing: impl Display, error: Error) -> Stop {
    match error.kind() {
        ErrorKind::StorageFull
        | ErrorKind::QuotaExceeded
        | ErrorKind::FileSizeLimit
        | ErrorKind::AddressSpace
        | ErrorKind::TooManyOpenFiles
        | ErrorKind::PermissionDenied
        | ErrorKind::ReadOnly
        | ErrorKind::UnsupportedFilesystem => Stop::Failure(error.into()),
        _ => Stop::Loss(format!("{doing}: {error}")),
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Failure(Failure::io("torture", &error))
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Failure(failure)
    }
}
