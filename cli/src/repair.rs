//! `maplog repair`: setting aside what is no part of a log.

use std::fmt::Write;
use std::path::PathBuf;

use maplog::Repaired;
use serde_json::{Value, json};

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
    /// Write one JSON object instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

const AFTER_HELP: &str = "\
Exit status: 0 all is well, whether or not there was anything to do, 2 wrong usage or an error.

With --json:
  dry_run             true if nothing was changed
  quarantine          the folder, or null if there is none
  set_aside           files that were set aside, or would be, each with
    name, bytes       in the log's directory, and its size
    why               in words
More may be added; what is there keeps its meaning.

Example:
  printf 'one\\ntwo\\n' | maplog append demo.log
  cp demo.log/00000000000000000000-1.seg demo.log/00000000000000000001-2.seg
  maplog repair --dry-run demo.log
  maplog repair --dry-run --json demo.log
  maplog repair demo.log
  maplog cat demo.log";

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let mut repair = maplog::repair(&args.log).dry_run(args.dry_run);
    if let Some(folder) = &args.quarantine {
        repair = repair.quarantine(folder);
    }
    let repaired = repair.run()?;
    let text = match args.json {
        true => format!("{}\n", object(&repaired, args.dry_run)),
        false => lines(&repaired, args.dry_run),
    };
    say(&text).map(|()| Outcome::Fine)
}

fn object(repaired: &Repaired, dry_run: bool) -> Value {
    let files = repaired
        .set_aside
        .iter()
        .map(|file| json!({ "name": file.name, "bytes": file.bytes, "why": file.why.to_string() }));
    json!({
        "dry_run": dry_run,
        "quarantine": repaired.quarantine.as_ref().map(|folder| folder.to_string_lossy()),
        "set_aside": files.collect::<Value>(),
    })
}

fn lines(repaired: &Repaired, dry_run: bool) -> String {
    let mut text = String::new();
    let verb = if dry_run { "would set aside" } else { "set aside" };
    for file in &repaired.set_aside {
        let bytes = counted(file.bytes, "byte");
        let _never_fails = writeln!(text, "{verb} {} ({bytes}): {}", file.name, file.why);
    }
    let files = counted(repaired.set_aside.len() as u64, "file");
    text + &match &repaired.quarantine {
        Some(folder) => format!("{files} set aside in {}\n", folder.display()),
        None if repaired.set_aside.is_empty() => "nothing to set aside\n".to_owned(),
        None => format!("{files} to set aside\n"),
    }
}
