//! Why a command gave up, in one sentence that also says what to do.

use std::fmt::{self, Display};
use std::io::{self, Write};

use maplog::{Error, ErrorKind};
use serde_json::{Value, json};

/// A sentence for standard error, and one word for programs.
#[derive(Debug)]
pub(crate) struct Failure {
    sentence: String,
    kind: Kind,
}

/// What is to be done about it depends on this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Log(ErrorKind),
    /// What was to be read as records is none.
    Input,
    /// What was asked for cannot be had here.
    Usage,
}

impl Failure {
    /// A failure of the kind that the library would call so.
    pub(crate) fn of(kind: ErrorKind, sentence: impl Into<String>) -> Self {
        Failure { sentence: sentence.into(), kind: Kind::Log(kind) }
    }

    /// For an input that is not what it should be.
    pub(crate) fn input(sentence: impl Into<String>) -> Self {
        Failure { sentence: sentence.into(), kind: Kind::Input }
    }

    /// For what makes no sense here.
    pub(crate) fn usage(sentence: impl Into<String>) -> Self {
        Failure { sentence: sentence.into(), kind: Kind::Usage }
    }

    /// For a failure of the system with `what`.
    pub(crate) fn io(what: impl Display, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            io::ErrorKind::StorageFull => ErrorKind::StorageFull,
            _ => ErrorKind::Io,
        };
        Failure::of(kind, format!("{what}: {error}"))
    }

    /// The same failure, with where it happened before it.
    pub(crate) fn at(self, place: impl Display) -> Self {
        Failure { sentence: format!("{place}: {}", self.sentence), ..self }
    }

    /// The same failure, with what was done until then behind it.
    pub(crate) fn after(self, done: impl Display) -> Self {
        Failure { sentence: format!("{}; {done}", self.sentence), ..self }
    }

    /// The log is damaged, so much that the command cannot go on.
    pub(crate) fn is_damage(&self) -> bool {
        self.kind == Kind::Log(ErrorKind::Damaged)
    }

    /// What `--json` ends with: the kind by its name in the library, `Input` or `Usage`.
    pub(crate) fn object(&self) -> Value {
        let kind = match self.kind {
            Kind::Log(kind) => format!("{kind:?}"),
            kind => format!("{kind:?}"),
        };
        json!({ "error": { "kind": kind, "message": self.sentence } })
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // Of these the kind and the place say it all; the library's text tells how it noticed.
        let brief = matches!(
            error.kind(),
            ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::InUse
        );
        let what = match error.path() {
            Some(path) if brief => {
                let segment = error.segment().map(|id| format!(", segment {id}"));
                let segment = segment.unwrap_or_default();
                format!("{}: {}{segment}", error.kind(), path.display())
            }
            _ => error.to_string(),
        };
        let advice = match error.kind() {
            ErrorKind::NotALog if error.segment().is_some() => {
                Some("`maplog repair` sets aside what is no part of a log")
            }
            kind => advice(kind),
        };
        let sentence = match advice {
            Some(advice) => format!("{what}; {advice}"),
            None => what,
        };
        Failure::of(error.kind(), sentence)
    }
}

/// What whoever runs the command can do about it.
fn advice(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::NotFound => {
            "check the path (`maplog append` creates a log, but not the directories above it)"
        }
        ErrorKind::NotALog => "name the directory that `maplog append` made",
        ErrorKind::PermissionDenied => {
            "run it as a user who may open the log's directory and files"
        }
        ErrorKind::InUse => "end that process first; `maplog cat` and `maplog stat` work meanwhile",
        ErrorKind::TooLarge => "split it, or give larger segments with --segment-size",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room and append the rest",
        ErrorKind::FileSizeLimit => "raise it (`ulimit -f`) and append the rest",
        ErrorKind::AddressSpace => "raise the memory limit (`ulimit -v`)",
        ErrorKind::TooManyOpenFiles => "raise the limit (`ulimit -n`)",
        ErrorKind::ReadOnly => "a log there can only be read",
        ErrorKind::UnsupportedVersion | ErrorKind::UnsupportedFeature => "use a newer maplog",
        ErrorKind::InvalidOption => "give another value",
        ErrorKind::Replaced => "start it again to read the new one",
        ErrorKind::Poisoned => "`maplog cat` reads what it holds",
        ErrorKind::Damaged => "restore the log's files from a copy",
        ErrorKind::LockTimeout => "find the process that holds it and try again",
        _ => return None,
    })
}

/// Tells whoever runs the command, and with `json` also whoever reads its output.
pub(crate) fn tell(failure: &Failure, json: bool) {
    if json {
        let _nobody_to_tell = writeln!(io::stdout().lock(), "{}", failure.object());
    }
    report(failure);
}

/// Tells standard error; where that cannot be written to, nobody is left to tell.
pub(crate) fn report(sentence: &impl Display) {
    let _nobody_to_tell = writeln!(io::stderr().lock(), "maplog: {sentence}");
}
