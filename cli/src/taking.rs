//! Records from an input into a log: what `maplog append` and `maplog import` share.

use std::io::{self, Write};
use std::path::Path;

use maplog::Log;

use crate::feed::Feed;
use crate::summary::{Durability, Tally};
use crate::text::parse_size;
use crate::{Failure, Outcome, open};

/// How a log or its next segments are made.
#[derive(clap::Args)]
pub(crate) struct CreateFlags {
    /// Size of segment files made from now on, as 65536, 64K, 16M or 1G; it also bounds a record
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    segment_size: Option<u64>,
    /// The sequence number of the first record, if the log is created
    #[arg(long, value_name = "SEQ")]
    first_seq: Option<u64>,
}

/// A log that is appended to, and what was appended.
pub(crate) struct Taking {
    log: Log,
    tally: Tally,
    /// Records that the input says were lost where it comes from.
    lost: Option<u64>,
}

impl Taking {
    pub(crate) fn start(log: &Path, create: &CreateFlags) -> Result<Self, Failure> {
        let mut options = Log::options();
        if let Some(bytes) = create.segment_size {
            options = options.segment_bytes(bytes);
        }
        if let Some(seq) = create.first_seq {
            options = options.first_seq(seq);
        }
        let log = open::to_append(log, &options)?;
        let tally = Tally::new(log.next_seq());
        Ok(Taking { log, tally, lost: None })
    }

    pub(crate) fn max_record(&self) -> u64 {
        self.log.max_record()
    }

    /// Appends what can be read at once under one lock, and holds none while it waits for more.
    pub(crate) fn take(&mut self, feed: &mut impl Feed) -> Result<(), Failure> {
        while feed.wait()? {
            let mut writer = self.log.writer()?;
            feed.drain(|record| {
                let seq = writer.append(record)?;
                self.tally.add(seq, record.len());
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Notes what the input says of records that are not in it.
    pub(crate) fn lost(&mut self, lost: u64) {
        self.lost = Some(lost);
    }

    /// Closes the log and tells what it came to.
    pub(crate) fn end(
        self,
        appended: Result<(), Failure>,
        sync: bool,
        json: bool,
    ) -> Result<Outcome, Failure> {
        let Taking { log, tally, lost } = self;
        let outcome = if lost.unwrap_or(0) > 0 { Outcome::Damage } else { Outcome::Fine };
        let settled = settle(log, sync);
        let durability = settled.as_ref().map_or(Durability::Unknown, |durability| *durability);
        let ended = appended.and(settled);
        if json {
            let mut object = tally.object(durability);
            if let Some(lost) = lost {
                object["lost"] = lost.into();
            }
            let said = say(&object.to_string());
            return ended.and(said).map(|()| outcome);
        }
        match ended {
            Ok(_) => say(&tally.summary(durability)).map(|()| outcome),
            Err(failure) => Err(failure.after(tally.until_then(durability))),
        }
    }
}

/// Closes the log with what was asked for: all on stable storage, or no waiting for any disk.
fn settle(log: Log, sync: bool) -> Result<Durability, Failure> {
    if sync {
        log.close()?;
        return Ok(Durability::Durable);
    }
    // Dropping the last handle would sync.
    let (durable, next_seq) = (log.durable_seq(), log.next_seq());
    log.leave();
    match durable {
        durable if durable >= next_seq => Ok(Durability::Durable),
        durable => Ok(Durability::Below(durable)),
    }
}

fn say(summary: &str) -> Result<(), Failure> {
    match writeln!(io::stdout().lock(), "{summary}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io("standard output", &error).after(summary))
        }
        _ => Ok(()),
    }
}
