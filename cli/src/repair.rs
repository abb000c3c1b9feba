//! `maplog repair`: setting aside what is no part of a log.

use std::fmt::Write;
use std::path::PathBuf;

use crate::text::{counted, say};
use crate::{Failure, Outcome};

/// Set aside files that stop a log from being opened, and dead weight.
///
/// These go from the log's directory to a quarantine folder: copies of segments under another name,
/// segments of another log, the one of two segments with the same id that has no header, what has a
/// segment's name and is no file, segments that were never finished, and segments of which a later
/// one took all numbers. Each is copied first, and taken out of the log when the copies are on stable
/// storage: if it stops at any moment, no file is lost, and running it again finishes it.
///
/// It mends nothing. Records that are lost stay lost, the damaged segments stay where they are, and
/// `maplog verify` goes on telling. A torn tail, as a crash leaves it, needs no repair.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The log's directory; no process may have it open to append
    log: PathBuf,
    /// Only tell what would be done; change nothing
    #[arg(long)]
    dry_run: bool,
    /// The folder to put files into, made if it does not exist; without it a new one beside the log,
    /// LOG.quarantine-1 or with the first number that is free
    #[arg(long, value_name = "DIR")]
    quarantine: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Exit status: 0 all is well, whether or not there was anything to do, 2 wrong usage or an error.

Example:
  printf 'one\\ntwo\\n' | maplog append demo.log
  cp demo.log/00000000000000000000-1.seg demo.log/00000000000000000001-2.seg
  maplog repair --dry-run demo.log
  maplog repair demo.log
  maplog cat demo.log";

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let mut repair = maplog::repair(&args.log).dry_run(args.dry_run);
    if let Some(folder) = &args.quarantine {
        repair = repair.quarantine(folder);
    }
    let repaired = repair.run()?;
    let mut text = String::new();
    let verb = if args.dry_run { "would set aside" } else { "set aside" };
    for file in &repaired.set_aside {
        let bytes = counted(file.bytes, "byte");
        let _never_fails = writeln!(text, "{verb} {} ({bytes}): {}", file.name, file.why);
    }
    let files = counted(repaired.set_aside.len() as u64, "file");
    text += &match repaired.quarantine {
        Some(folder) => format!("{files} set aside in {}\n", folder.display()),
        None if repaired.set_aside.is_empty() => "nothing to set aside\n".to_owned(),
        None => format!("{files} to set aside\n"),
    };
    say(&text).map(|()| Outcome::Fine)
}
