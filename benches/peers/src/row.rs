//! The rows: what is measured, and with how much.

use std::time::Duration;

use crate::peer::{About, Peer, Setup, Threads};
use crate::records::BATCH;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    Append64,
    Append1024,
    Append16384,
    Batch,
    Threads2,
    Threads4,
    Durable1,
    Durable16,
    Iterate,
    Get,
    Bytes,
    Reopen,
    ReopenKilled,
}

/// How a row is called and what its figures are.
pub struct Title {
    /// On the command line.
    pub name: &'static str,
    pub title: &'static str,
    pub less_is_better: bool,
}

impl Row {
    pub const ALL: [Row; 13] = [
        Row::Append64,
        Row::Append1024,
        Row::Append16384,
        Row::Batch,
        Row::Threads2,
        Row::Threads4,
        Row::Durable1,
        Row::Durable16,
        Row::Iterate,
        Row::Get,
        Row::Bytes,
        Row::Reopen,
        Row::ReopenKilled,
    ];

    pub fn title(self) -> Title {
        let (name, title, less_is_better) = match self {
            Row::Append64 => ("append-64", "append 64 B, ns", true),
            Row::Append1024 => ("append-1k", "append 1 KiB, ns", true),
            Row::Append16384 => ("append-16k", "append 16 KiB, ns", true),
            Row::Batch => ("batch", "batches of 100 x 64 B, ns a record", true),
            Row::Threads2 => ("threads-2", "2 threads, 64 B, ns a record", true),
            Row::Threads4 => ("threads-4", "4 threads, 64 B, ns a record", true),
            Row::Durable1 => ("durable-1", "durable appends/s, 1 thread", false),
            Row::Durable16 => ("durable-16", "durable appends/s, 16 threads", false),
            Row::Iterate => ("iterate", "iterate 64 B, ns a record", true),
            Row::Get => ("get", "random get 64 B, ns", true),
            Row::Bytes => ("bytes", "disk bytes for a 64 B record", true),
            Row::Reopen => ("reopen", "reopen after close, ms", true),
            Row::ReopenKilled => ("reopen-killed", "reopen after SIGKILL, ms", true),
        };
        Title { name, title, less_is_better }
    }

    pub fn named(name: &str) -> Option<Row> {
        Row::ALL.into_iter().find(|row| row.title().name == name)
    }

    pub fn threads(self) -> usize {
        match self {
            Row::Threads2 => 2,
            Row::Threads4 => 4,
            Row::Durable16 => 16,
            _ => 1,
        }
    }

    pub fn is_durable(self) -> bool {
        matches!(self, Row::Durable1 | Row::Durable16)
    }

    /// Can the peer do it?
    pub fn is_for<P: Peer>(self) -> bool {
        let About { threads, .. } = P::ABOUT;
        match self {
            Row::Append64 | Row::Append1024 | Row::Append16384 => true,
            _ if P::ONLY_APPENDS => false,
            Row::Batch => P::BATCHES,
            Row::Threads2 | Row::Threads4 => threads != Threads::No,
            Row::Durable1 | Row::Durable16 => P::SYNCS,
            Row::Get => P::GETS,
            Row::Iterate | Row::Bytes | Row::Reopen | Row::ReopenKilled => true,
        }
    }

    pub fn setup(self, quick: bool) -> Setup {
        let size = match self {
            Row::Append1024 | Row::Reopen | Row::ReopenKilled => 1024,
            Row::Append16384 => 16384,
            _ => 64,
        };
        let most = match self {
            // More than any disk syncs in the spell.
            Row::Durable1 | Row::Durable16 => 200_000,
            Row::Append1024 => 30_000,
            Row::Append16384 => 2_000,
            Row::Reopen | Row::ReopenKilled => 100_000,
            Row::Bytes | Row::Batch | Row::Get | Row::Iterate => 300_000,
            Row::Append64 | Row::Threads2 | Row::Threads4 => 400_000,
        };
        let most = if quick && !self.is_durable() { most / 10 } else { most };
        Setup { size, most: most / BATCH as u64 * BATCH as u64, durable: self.is_durable() }
    }

    /// How long the durable rows append.
    pub fn spell(quick: bool) -> Duration {
        Duration::from_millis(if quick { 150 } else { 600 })
    }
}
