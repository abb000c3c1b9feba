//! The one error type.
//!
//! Does not know: how anything it describes came about.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What a call gives: a value, or an [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed: one name for each cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Nothing of that name exists, and the call does not create it.
    NotFound,
    /// It exists, and the call was to create it.
    AlreadyExists,
    /// The operating system denies this user the access.
    PermissionDenied,
    /// The path is a file, or a directory that holds no segments of a log, or what has a segment's name there is none.
    NotALog,
    /// Other processes have the log open to append, and what was asked for needs that none has; or as
    /// many have as can.
    InUse,
    /// The handle was made before a `fork`, and this is the child.
    Forked,
    /// The log's files were replaced by others since the handle was opened.
    Replaced,
    /// The files are of a version of the format that this crate does not read.
    UnsupportedVersion,
    /// The files use a feature that this version does not know and must not ignore.
    UnsupportedFeature,
    /// Mappings of this file system are not coherent between processes.
    UnsupportedFilesystem,
    /// The file system is mounted read-only.
    ReadOnly,
    /// The record or batch can never fit; see [`Log::max_record`](crate::Log::max_record).
    TooLarge,
    /// The file system is full. Nothing was appended; it works again once there is room.
    StorageFull,
    /// A disk quota is used up. As [`StorageFull`](Self::StorageFull).
    QuotaExceeded,
    /// The process's file-size limit (`RLIMIT_FSIZE`) is reached. As [`StorageFull`](Self::StorageFull).
    FileSizeLimit,
    /// No address space or memory for another mapping.
    AddressSpace,
    /// The process or the system has no descriptor left.
    TooManyOpenFiles,
    /// A sync failed, so that nobody can tell what the disk holds: nothing more is accepted.
    Poisoned,
    /// Bytes that were written are no longer what they were; [`Error::lost`] names the records.
    Damaged,
    /// The records asked for were trimmed away.
    Trimmed,
    /// The log was cut behind this position, and its numbers may have been given again.
    Rewound,
    /// The sequence numbers asked for are not in the log or make no range.
    OutOfRange,
    /// An option has a value that makes no sense.
    InvalidOption,
    /// The name cannot be used.
    InvalidName,
    /// Another holder of a lock did not give it back in time.
    LockTimeout,
    /// This thread waits for what it holds itself, as an append beside its own `Writer` would.
    Deadlock,
    /// Another handle has this consumer open.
    ConsumerInUse,
    /// Any other failure of the operating system; [`source`](std::error::Error::source) has it.
    Io,
}

impl ErrorKind {
    /// The kind's one-line meaning.
    fn phrase(self) -> &'static str {
        match self {
            Self::NotFound => "no such log",
            Self::AlreadyExists => "it exists already",
            Self::PermissionDenied => "permission denied",
            Self::NotALog => "not a log",
            Self::InUse => "the log is open to append in another process",
            Self::Forked => "this handle belongs to the parent process",
            Self::Replaced => "the log's files were replaced since it was opened",
            Self::UnsupportedVersion => "unsupported format version",
            Self::UnsupportedFeature => "unsupported format feature",
            Self::UnsupportedFilesystem => "unsupported file system",
            Self::ReadOnly => "the file system is read-only",
            Self::TooLarge => "too large",
            Self::StorageFull => "the file system is full",
            Self::QuotaExceeded => "the disk quota is used up",
            Self::FileSizeLimit => "the process's file-size limit is reached",
            Self::AddressSpace => "no room for another mapping",
            Self::TooManyOpenFiles => "too many open files",
            Self::Poisoned => "an earlier sync failed, so the log accepts nothing more",
            Self::Damaged => "damaged",
            Self::Trimmed => "trimmed away",
            Self::Rewound => "the log was cut behind this position",
            Self::OutOfRange => "out of range",
            Self::InvalidOption => "invalid option",
            Self::InvalidName => "invalid name",
            Self::LockTimeout => "timed out waiting for a lock",
            Self::Deadlock => "this thread holds the log's writer already",
            Self::ConsumerInUse => "the consumer is open elsewhere",
            Self::Io => "input/output error",
        }
    }

    fn of_io(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOENT) => Self::NotFound,
            Some(libc::EEXIST) => Self::AlreadyExists,
            Some(libc::EACCES | libc::EPERM) => Self::PermissionDenied,
            Some(libc::ENOTDIR) => Self::NotALog,
            Some(libc::EROFS) => Self::ReadOnly,
            Some(libc::ENOSPC) => Self::StorageFull,
            Some(libc::EDQUOT) => Self::QuotaExceeded,
            Some(libc::EFBIG) => Self::FileSizeLimit,
            Some(libc::ENOMEM) => Self::AddressSpace,
            Some(libc::EMFILE | libc::ENFILE) => Self::TooManyOpenFiles,
            _ => Self::Io,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.phrase())
    }
}

/// Why a call failed, and where. One pointer wide.
///
/// Its text names what is known of path, segment, sequence number and offset. It converts into
/// [`std::io::Error`], of the nearest kind and with this error inside.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    detail: Cow<'static, str>,
    path: Option<PathBuf>,
    segment: Option<u64>,
    seq: Option<u64>,
    offset: Option<u64>,
    lost: Option<Range<u64>>,
    source: Option<io::Error>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Error(Box::new(Inner {
            kind,
            detail: detail.into(),
            path: None,
            segment: None,
            seq: None,
            offset: None,
            lost: None,
            source: None,
        }))
    }

    /// `doing` completes the sentence "while ...".
    pub(crate) fn io(doing: &'static str, source: io::Error) -> Self {
        let mut error = Self::new(ErrorKind::of_io(&source), doing);
        error.0.source = Some(source);
        error
    }

    pub(crate) fn loss(range: Range<u64>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Damaged, detail).at_seq(range.start).losing(range)
    }

    /// A frame whose kind or flags are a later version's, which may not be passed over.
    pub(crate) fn refused_frame(path: &Path, segment: u64, offset: u64) -> Self {
        let text = "a frame of a kind that this version must not skip";
        Self::new(ErrorKind::UnsupportedFeature, text)
            .at_path(path)
            .in_segment(segment)
            .at_offset(offset)
    }

    pub(crate) fn losing(mut self, range: Range<u64>) -> Self {
        self.0.lost = Some(range);
        self
    }

    pub(crate) fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    pub(crate) fn at_path(mut self, path: &Path) -> Self {
        self.0.path = Some(path.to_owned());
        self
    }

    pub(crate) fn in_segment(mut self, id: u64) -> Self {
        self.0.segment = Some(id);
        self
    }

    pub(crate) fn at_seq(mut self, seq: u64) -> Self {
        self.0.seq = Some(seq);
        self
    }

    pub(crate) fn at_offset(mut self, offset: u64) -> Self {
        self.0.offset = Some(offset);
        self
    }

    /// The cause's name.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The log's directory or the file concerned.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The id of the segment concerned, as its file name has it.
    #[must_use]
    pub fn segment(&self) -> Option<u64> {
        self.0.segment
    }

    /// The sequence number concerned; with [`Trimmed`](ErrorKind::Trimmed), the first that is left.
    #[must_use]
    pub fn seq(&self) -> Option<u64> {
        self.0.seq
    }

    /// The place in the segment's file, in bytes.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// With [`Damaged`](ErrorKind::Damaged): exactly which records are lost.
    #[must_use]
    pub fn lost(&self) -> Option<Range<u64>> {
        self.0.lost.clone()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, detail, path, segment, seq, offset, lost, source } = &*self.0;
        write!(f, "{kind}: {detail}")?;
        if let Some(path) = path {
            write!(f, "; log {}", path.display())?;
        }
        if let Some(segment) = segment {
            write!(f, "; segment {segment}")?;
        }
        if let Some(offset) = offset {
            write!(f, "; offset {offset}")?;
        }
        match (lost, seq) {
            (Some(lost), _) => write!(f, "; lost records {}..{}", lost.start, lost.end)?,
            (None, Some(seq)) => write!(f, "; sequence number {seq}")?,
            (None, None) => {}
        }
        match source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}, \"{self}\")", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::AlreadyExists => io::ErrorKind::AlreadyExists,
            ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
            ErrorKind::NotALog | ErrorKind::Damaged => io::ErrorKind::InvalidData,
            ErrorKind::UnsupportedVersion
            | ErrorKind::UnsupportedFeature
            | ErrorKind::UnsupportedFilesystem => io::ErrorKind::Unsupported,
            ErrorKind::ReadOnly => io::ErrorKind::ReadOnlyFilesystem,
            ErrorKind::StorageFull => io::ErrorKind::StorageFull,
            ErrorKind::QuotaExceeded => io::ErrorKind::QuotaExceeded,
            ErrorKind::FileSizeLimit => io::ErrorKind::FileTooLarge,
            ErrorKind::AddressSpace => io::ErrorKind::OutOfMemory,
            ErrorKind::TooLarge
            | ErrorKind::OutOfRange
            | ErrorKind::InvalidOption
            | ErrorKind::InvalidName => io::ErrorKind::InvalidInput,
            ErrorKind::LockTimeout => io::ErrorKind::TimedOut,
            ErrorKind::Deadlock => io::ErrorKind::Deadlock,
            ErrorKind::InUse | ErrorKind::ConsumerInUse => io::ErrorKind::ResourceBusy,
            ErrorKind::Io => error.0.source.as_ref().map_or(io::ErrorKind::Other, io::Error::kind),
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

const _: () = assert!(size_of::<Error>() == size_of::<usize>(), "errors cost one register");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_cause_and_place() {
        let full = Error::io("growing the segment", io::Error::from_raw_os_error(libc::ENOSPC))
            .at_path(Path::new("orders"))
            .in_segment(3)
            .at_offset(65536);
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        assert_eq!(
            full.to_string(),
            "the file system is full: growing the segment; log orders; segment 3; offset 65536: \
             No space left on device (os error 28)"
        );
        assert_eq!(io::Error::from(full).kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_loss_names_its_records() {
        let lost = Error::loss(5..8, "checksum mismatch");
        assert_eq!(lost.lost(), Some(5..8));
        assert_eq!(lost.to_string(), "damaged: checksum mismatch; lost records 5..8");
    }

    #[test]
    fn errors_cross_threads() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<Error>();
    }
}
