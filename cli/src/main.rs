//! The `maplog` command: append records to a log, write them out, all or some, follow it, look at it,
//! check and repair it, carry it elsewhere.
//!
//! Uses the public API of the library only. One file for each command.

mod append;
mod bench;
mod cat;
mod completions;
mod consumers;
mod export;
mod failure;
mod feed;
mod form;
mod get;
mod import;
mod man;
mod open;
mod output;
mod progress;
mod repair;
mod selection;
mod stat;
mod summary;
mod tail;
mod taking;
mod text;
mod torture;
mod trim;
mod verify;
mod who;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

/// An append-only log of records in memory-mapped files.
///
/// LOG is a directory. Nothing but maplog may change the files in it while a command runs.
#[derive(Parser)]
#[command(name = "maplog", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit status: 0 all is well, 1 damage was found, 2 wrong usage or an error; the same for every command.
One that is interrupted ends by that signal, to a shell 130 (torture: 2), and the log is whole.

With --json a command writes objects, one a line, and last of all, if it fails,
  {\"error\":{\"kind\":\"...\",\"message\":\"...\"}}
with the sentence that standard error has, too. The kind is that of the library's ErrorKind, or Input, or
Usage.

Example:
  printf 'one\\ntwo\\n' | maplog append demo.log
  maplog cat demo.log";

#[derive(Subcommand)]
enum Command {
    Append(append::Args),
    Cat(cat::Args),
    Get(get::Args),
    Tail(tail::Args),
    Stat(stat::Args),
    Verify(verify::Args),
    Repair(repair::Args),
    Trim(trim::Args),
    Consumers(consumers::Args),
    Export(export::Args),
    Import(import::Args),
    Bench(bench::Args),
    Torture(torture::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// What a command that did its work found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Fine,
    Damage,
}

fn main() -> ExitCode {
    let (json, done) = match Cli::parse().command {
        Command::Append(args) => (args.json, append::run(&args)),
        Command::Cat(args) => (args.form.json, cat::run(&args)),
        Command::Get(args) => (args.form.json, get::run(&args)),
        Command::Tail(args) => (args.form.json, tail::run(&args)),
        Command::Stat(args) => (args.json, stat::run(&args)),
        Command::Verify(args) => (args.json, verify::run(&args)),
        Command::Repair(args) => (args.json, repair::run(&args)),
        Command::Trim(args) => (args.json, trim::run(&args)),
        Command::Consumers(args) => (args.json, consumers::run(&args)),
        Command::Export(args) => (args.json, export::run(&args)),
        Command::Import(args) => (args.json, import::run(&args)),
        Command::Bench(args) => (args.json, bench::run(&args)),
        Command::Torture(args) => (args.json, torture::run(&args)),
        Command::Completions(args) => (false, completions::run(&args)),
        Command::Man(args) => (false, man::run(&args)),
    };
    match done {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Damage) => ExitCode::from(1),
        Err(failure) => {
            failure::tell(&failure, json);
            ExitCode::from(if failure.is_damage() { 1 } else { 2 })
        }
    }
}
