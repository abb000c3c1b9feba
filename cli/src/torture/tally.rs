//! What was tried, and what was found.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::text::{Grouped, counted};

/// What is done to a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    WriterKilled,
    AllKilled,
    WriterStopped,
    Closed,
    Cut,
    Trimmed,
    BitFlipped,
    LiveBitFlipped,
    TailCut,
    PowerCut,
    Outage,
    Unsynced,
    DeadBatch,
    Planted,
    Asleep,
}

/// Each fault, as the table names it.
const FAULTS: [(Fault, &str, &str); 15] = [
    (Fault::WriterKilled, "writer_killed", "one of several writers killed"),
    (Fault::AllKilled, "all_killed", "all writers killed at once"),
    (Fault::WriterStopped, "writer_stopped", "writer stopped, and let go on"),
    (Fault::Closed, "closed", "closed, opened again"),
    (Fault::Cut, "cut", "newest records dropped, writer killed"),
    (Fault::Trimmed, "trimmed", "oldest records dropped"),
    (Fault::BitFlipped, "bit_flipped", "bit flipped in a copy"),
    (Fault::LiveBitFlipped, "live_bit_flipped", "bit flipped under a live page"),
    (Fault::TailCut, "tail_cut", "tail of a copy cut or zeroed"),
    (Fault::PowerCut, "power_cut", "power cut played on a copy"),
    (Fault::Outage, "outage", "power cut of a disk in use"),
    (Fault::Unsynced, "unsynced", "power cut that keeps what was synced"),
    (Fault::DeadBatch, "dead_batch", "half-written batch overwritten, power cut"),
    (Fault::Planted, "planted", "frames inside a torn record"),
    (Fault::Asleep, "asleep", "sleeping reader to be woken"),
];

/// Counts of one round, or of all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    tried: [u64; FAULTS.len()],
    losses: [u64; FAULTS.len()],
    pub(crate) rounds: u64,
    /// Records whose appending returned.
    pub(crate) appended: u64,
    /// Records that were read and compared.
    pub(crate) compared: u64,
    /// Losses that no fault can be named for: a process of a round died, or hung.
    pub(crate) elsewhere: u64,
    /// Why it was left out, if it was: what it needs, and in parentheses what was said instead.
    skipped: [Option<String>; FAULTS.len()],
    /// What is being tried.
    pub(crate) trying: Option<Fault>,
}

impl Tally {
    pub(crate) fn of_a_round() -> Self {
        Tally { rounds: 1, ..Tally::default() }
    }

    pub(crate) fn tried(&mut self, fault: Fault) {
        self.tried_many(fault, 1);
    }

    pub(crate) fn tried_many(&mut self, fault: Fault, times: u64) {
        self.tried[fault as usize] += times;
        self.trying = Some(fault);
    }

    /// The machine lacks what it takes to try this.
    pub(crate) fn skip(&mut self, fault: Fault, why: String) {
        self.skipped[fault as usize] = Some(why);
    }

    /// A loss, by what was being tried.
    pub(crate) fn lost(&mut self) {
        if let Some(fault) = self.trying {
            self.losses[fault as usize] += 1;
        }
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        for index in 0..FAULTS.len() {
            self.tried[index] += other.tried[index];
            self.losses[index] += other.losses[index];
            let skipped = &mut self.skipped[index];
            *skipped = skipped.take().or_else(|| other.skipped[index].clone());
        }
        self.rounds += other.rounds;
        self.appended += other.appended;
        self.compared += other.compared;
    }

    pub(crate) fn losses(&self) -> u64 {
        self.losses.iter().sum::<u64>() + self.elsewhere
    }

    pub(crate) fn object(&self) -> Value {
        let faults = FAULTS.iter().map(|(fault, key, _)| {
            let (tried, losses) = (self.tried[*fault as usize], self.losses[*fault as usize]);
            let mut counts = json!({ "tried": tried, "losses": losses });
            if let Some(why) = &self.skipped[*fault as usize] {
                counts["skipped"] = json!(why);
            }
            ((*key).to_owned(), counts)
        });
        json!({
            "rounds": self.rounds,
            "appended": self.appended,
            "compared": self.compared,
            "faults": Value::Object(faults.collect()),
        })
    }

    /// The counts that a round wrote; what is missing counts nothing.
    pub(crate) fn of_object(object: &Value) -> Self {
        let count = |value: &Value| value.as_u64().unwrap_or_default();
        let mut tally = Tally {
            rounds: count(&object["rounds"]),
            appended: count(&object["appended"]),
            compared: count(&object["compared"]),
            ..Tally::default()
        };
        for (fault, key, _) in FAULTS {
            let found = &object["faults"][key];
            tally.tried[fault as usize] = count(&found["tried"]);
            tally.losses[fault as usize] = count(&found["losses"]);
            tally.skipped[fault as usize] = found["skipped"].as_str().map(str::to_owned);
        }
        tally
    }

    pub(crate) fn table(&self, took: Duration) -> String {
        let mut text = format!("{:<44}{:>10}{:>10}\n", "fault", "tried", "losses");
        for (fault, _, name) in FAULTS {
            let (tried, losses) = (self.tried[fault as usize], self.losses[fault as usize]);
            if let Some(why) = &self.skipped[fault as usize] {
                let needs = why.split(" (").next().unwrap_or_default();
                let _never_fails = writeln!(text, "{name:<44}skipped: {needs}");
                continue;
            }
            let _never_fails = writeln!(
                text,
                "{name:<44}{:>10}{:>10}",
                Grouped(tried).to_string(),
                Grouped(losses).to_string()
            );
        }
        let losses = if self.losses() == 1 { "loss" } else { "losses" };
        text + &format!(
            "{} in {:.0} s, {} appended, {} compared: {} {losses}\n",
            counted(self.rounds, "round"),
            took.as_secs_f64(),
            counted(self.appended, "record"),
            Grouped(self.compared),
            Grouped(self.losses()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_survive_the_way_from_a_round_to_the_table() {
        let mut round = Tally { rounds: 1, appended: 2, compared: 3, ..Tally::default() };
        for (index, (fault, ..)) in FAULTS.into_iter().enumerate() {
            assert_eq!(fault as usize, index);
            round.tried_many(fault, 10 + index as u64);
        }
        round.lost();
        let read = Tally::of_object(&round.object());
        let mut all = Tally::default();
        all.add(&read);
        all.add(&read);
        assert_eq!((all.rounds, all.appended, all.compared, all.losses()), (2, 4, 6, 2));
        assert_eq!(all.tried[3], 26);
        let table = all.table(Duration::from_secs(9));
        let last = table.lines().rev().take(2).collect::<Vec<_>>();
        assert!(last[1].ends_with("        48         2"), "{table}");
        assert_eq!(last[0], "2 rounds in 9 s, 4 records appended, 6 compared: 2 losses");
    }
}
