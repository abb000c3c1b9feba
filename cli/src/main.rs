//! The `maplog` command: append lines to a log, write its records out, all or some, follow it, look
//! at it, check and repair it.
//!
//! Uses the public API of the library only. One file for each command.

mod append;
mod cat;
mod failure;
mod get;
mod open;
mod output;
mod repair;
mod stat;
mod tail;
mod text;
mod torture;
mod verify;

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
Exit status: 0 all is well, 1 damage was found, 2 wrong usage or an error.

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
    Torture(torture::Args),
}

/// What a command that did its work found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Fine,
    Damage,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Append(args) => append::run(&args),
        Command::Cat(args) => cat::run(&args),
        Command::Get(args) => get::run(&args),
        Command::Tail(args) => tail::run(&args),
        Command::Stat(args) => stat::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Repair(args) => repair::run(&args),
        Command::Torture(args) => torture::run(&args),
    };
    match done {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Damage) => ExitCode::from(1),
        Err(failure) => {
            failure::report(&failure);
            ExitCode::from(if failure.is_damage() { 1 } else { 2 })
        }
    }
}
