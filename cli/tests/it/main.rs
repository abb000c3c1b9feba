//! The command as its users meet it: real processes, real files, real pipes.
#![allow(missing_docs, unreachable_pub, clippy::print_stderr, clippy::print_stdout)]

mod appending;
mod bench;
mod consumers;
mod damage;
mod disk;
mod failures;
mod forms;
mod help;
mod pipes;
mod python;
mod reading;
mod refusals;
mod repairing;
mod round_trip;
mod stat;
mod support;
mod tail;
mod terminal;
mod torture;
mod trimming;
mod verifying;
