//! `maplog consumers`: who works through a log, and how far each is.

use std::fmt::Write;
use std::path::PathBuf;

use maplog::{ConsumerInfo, ErrorKind, Log};
use serde_json::json;

use crate::text::{Grouped, say};
use crate::{Failure, Outcome, open};

/// Tell how far the consumers of a log are, or remove one.
///
/// A consumer is a name under which a program receives records and goes on where it left off. One that nobody uses
/// any more may hold space that a retention would give back.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The log's directory
    log: PathBuf,
    /// Remove this consumer; one of the same name begins anew
    #[arg(long, value_name = "NAME")]
    remove: Option<String>,
    /// Write JSON objects, one for each, instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

const AFTER_HELP: &str = "\
  next    the record that it goes on with; all before it are done
  lag     how many records are not done
  state   owned if a process has it open, free if none has, unreadable if its file cannot tell: then it is to
          be removed

Exit status: 0 all is well, 2 wrong usage or an error.

With --json, for each: name, next_seq (null if its file cannot tell), lag, owned; with --remove one
object, {\"removed\":\"NAME\"}. More may be added; what is there keeps its meaning.

Example:
  printf 'one\\ntwo\\n' | maplog append demo.log
  maplog consumers demo.log
  maplog consumers --json demo.log";

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let text = match &args.remove {
        Some(name) => remove(args, name)?,
        None => {
            let consumers = open::to_read(&args.log)?.consumers()?;
            if args.json { objects(&consumers) } else { table(&consumers) }
        }
    };
    say(&text).map(|()| Outcome::Fine)
}

fn remove(args: &Args, name: &str) -> Result<String, Failure> {
    let log = open::to_append(&args.log, &Log::options().create(false))?;
    let removed = log.remove_consumer(name);
    log.leave();
    match removed? {
        false => Err(Failure::of(ErrorKind::NotFound, format!("the log has no consumer {name}"))),
        true if args.json => Ok(format!("{}\n", json!({ "removed": name }))),
        true => Ok(format!("removed consumer {name}\n")),
    }
}

fn objects(consumers: &[ConsumerInfo]) -> String {
    let object = |one: &ConsumerInfo| {
        let ConsumerInfo { name, next_seq, lag, owned, .. } = one;
        let object = json!({ "name": name, "next_seq": next_seq, "lag": lag, "owned": owned });
        format!("{object}\n")
    };
    consumers.iter().map(object).collect()
}

fn table(consumers: &[ConsumerInfo]) -> String {
    let width = consumers.iter().map(|one| one.name.len()).max().unwrap_or(0).max("consumer".len());
    let mut text = format!("{:width$}  {:>15}  {:>15}  state\n", "consumer", "next", "lag");
    for one in consumers {
        let state = match one.next_seq {
            None => "unreadable",
            Some(_) if one.owned => "owned",
            Some(_) => "free",
        };
        let next = one.next_seq.map_or_else(|| "?".to_owned(), |seq| Grouped(seq).to_string());
        let lag = Grouped(one.lag).to_string();
        let _never_fails = writeln!(text, "{:width$}  {next:>15}  {lag:>15}  {state}", one.name);
    }
    text
}
