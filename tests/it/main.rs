//! Integration tests: real files, real processes, the public API.
#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::print_stdout,
    clippy::single_range_in_vec_init,
    clippy::undocumented_unsafe_blocks
)]

#[cfg(feature = "async")]
mod async_tasks;
mod attacks;
mod backup;
mod concurrent;
mod consumers;
mod disk;
mod faults;
mod find;
mod found;
mod golden;
mod house;
mod inspect;
mod kill;
mod kinds;
mod many;
mod policies;
mod python;
mod raft;
mod repair;
mod retention;
mod strace;
mod support;
mod sweep;
mod tail;
#[cfg(feature = "tracing")]
mod traced;
mod twin;
mod typed;
mod verify;
