//! What must be in the log: a twin of it, made of what the workers told.
//!
//! Does not know: how anything is written, what was done to it.

mod untold;

use std::collections::{BTreeMap, BTreeSet};

use maplog::{Reader, Record};

use super::message::Message;
use super::plan::{Id, Op, Plan};
use super::stop::{Found, broke, loss};

/// The worker of a record that none appended.
const NOBODY: u32 = u32::MAX;

/// What must be in a log, and what may be.
#[derive(Clone, Debug)]
pub(crate) struct Twin {
    pub(crate) plan: Plan,
    /// By sequence number; `None` where nobody told yet what was appended.
    records: Vec<Option<Id>>,
    /// What is below was dropped, and told so.
    first_seq: u64,
    /// What is below may have been dropped.
    may_begin_at: u64,
    /// A worker was about to cut the log here, and did not live to tell.
    may_end_at: Option<u64>,
    /// What workers were doing when they died: the next of its records that may turn up, and where its last
    /// one did.
    under_way: Vec<(Id, Option<u64>)>,
    /// Every record below it was said to be durable.
    pub(crate) durable: u64,
    /// Told by who cut the log last.
    pub(crate) epoch: u64,
    /// Where the log was cut: there a batch may lack its end.
    cuts: BTreeSet<u64>,
    /// Records whose appending returned.
    pub(crate) appended: u64,
    /// Cuts and trims that were begun.
    pub(crate) drops: (u64, u64),
    /// What each worker was told last.
    last: BTreeMap<u32, u64>,
    /// What was not a worker's.
    own: Vec<Vec<u8>>,
    /// A byte of this record is remembered wrong: for trying the torture itself.
    wrong_seq: Option<u64>,
}

impl Twin {
    pub(crate) fn new(plan: Plan) -> Self {
        Twin {
            plan,
            records: Vec::new(),
            first_seq: 0,
            may_begin_at: 0,
            may_end_at: None,
            under_way: Vec::new(),
            durable: 0,
            epoch: 0,
            cuts: BTreeSet::new(),
            appended: 0,
            drops: (0, 0),
            last: BTreeMap::new(),
            own: Vec::new(),
            wrong_seq: None,
        }
    }

    /// Below it records were trimmed, some perhaps unseen.
    pub(crate) fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// Below it records may have been trimmed.
    pub(crate) fn may_begin_at(&self) -> u64 {
        self.may_begin_at.max(self.first_seq)
    }

    /// No worker died while it was about to cut the log.
    pub(crate) fn knows_its_end(&self) -> bool {
        self.may_end_at.is_none()
    }

    /// Behind the last record that is known.
    pub(crate) fn next_seq(&self) -> u64 {
        self.records.len() as u64
    }

    pub(crate) fn id(&self, seq: u64) -> Option<Id> {
        self.records.get(seq as usize).copied().flatten()
    }

    /// Takes in what a worker told.
    pub(crate) fn take(&mut self, worker: u32, message: Message) -> Found {
        match message {
            Message::Opened { epoch } => {
                if epoch < self.epoch {
                    let known = self.epoch;
                    return loss(format!("the log was in epoch {known} and is in {epoch}"));
                }
                self.epoch = epoch;
            }
            Message::WillDrop { number, seq } => match self.plan.op(worker, number) {
                Op::Trim(_) => {
                    self.drops.1 += 1;
                    self.may_begin_at = self.may_begin_at.max(seq);
                }
                _ => {
                    self.drops.0 += 1;
                    self.may_end_at = Some(seq);
                }
            },
            Message::Appended { number, seq } => self.appended(worker, number, seq)?,
            Message::Synced { durable, .. } => self.durable = self.durable.max(durable),
            Message::Dropped { number, seq, epoch } => match self.plan.op(worker, number) {
                Op::Trim(_) => self.first_seq = self.first_seq.max(seq),
                _ => self.cut(seq, epoch)?,
            },
            Message::Closed => {}
        }
        Ok(())
    }

    fn appended(&mut self, worker: u32, number: u64, seq: u64) -> Found {
        let count = self.plan.lens(worker, number).len() as u64;
        let end = (seq + count) as usize;
        if self.plan.cuts && count > 0 && seq != self.next_seq() {
            // Of a worker who is alone.
            let next = self.next_seq();
            return loss(format!("record {next} is the next, but an append gave {seq}"));
        }
        if count == 0 {
            return Ok(());
        }
        if let Some(last) = self.last.insert(worker, seq)
            && last > seq
            && !self.plan.cuts
        {
            return loss(format!("worker {worker} appended record {last}, and then {seq}"));
        }
        if self.records.len() < end {
            self.records.resize(end, None);
        }
        for index in 0..count {
            let record = &mut self.records[(seq + index) as usize];
            if let Some(other) = record {
                return loss(format!(
                    "record {} was given to worker {worker}, step {number}, and before to {other:?}",
                    seq + index
                ));
            }
            *record = Some(Id { worker, number, index: index as u32 });
        }
        self.appended += count;
        if self.plan.syncs_always()
            && !matches!(self.plan.op(worker, number), Op::Run(_) | Op::InPlace { .. })
        {
            self.durable = self.durable.max(seq + count);
        }
        Ok(())
    }

    fn cut(&mut self, seq: u64, epoch: u64) -> Found {
        self.may_end_at = None;
        if seq >= self.next_seq() {
            return Ok(());
        }
        if epoch <= self.epoch {
            return loss(format!("the log was cut at {seq}, and its epoch is {epoch} as before"));
        }
        self.epoch = epoch;
        self.ends_at(seq);
        Ok(())
    }

    fn ends_at(&mut self, seq: u64) {
        self.records.truncate(seq as usize);
        self.durable = seq;
        self.cuts.insert(seq);
    }

    /// A worker died while it was about to do this.
    pub(crate) fn died_at(&mut self, worker: u32, number: u64) {
        self.under_way.push((Id { worker, number, index: 0 }, None));
    }

    /// The bytes of a record that is known.
    fn bytes(&self, id: Id) -> Vec<u8> {
        if id.worker == NOBODY {
            return self.own[id.number as usize].clone();
        }
        let lens = self.plan.lens(id.worker, id.number);
        self.plan.payload(id, lens[id.index as usize])
    }

    pub(crate) fn record(&self, seq: u64) -> Option<Vec<u8>> {
        self.id(seq).map(|id| self.bytes(id))
    }

    /// Compares all of the log with what was told, while nobody works on it, and learns what the dead
    /// had done and could not tell. `recovered`: somebody has taken over from the dead, so that nothing of
    /// theirs comes any more. Gives how many records were compared.
    pub(crate) fn settle(&mut self, reader: &Reader, recovered: bool) -> Found<u64> {
        self.begins_right(reader)?;
        if let Some(end) = self.may_end_at.take()
            && reader.next_seq() == end
            && end < self.next_seq()
        {
            self.ends_at(end);
        }
        let (first, next) = (reader.first_seq(), reader.next_seq());
        if next < self.next_seq() {
            return loss(format!("records {next}..{} were appended and are gone", self.next_seq()));
        }
        if reader.durable_seq() < self.durable {
            let (now, told) = (reader.durable_seq(), self.durable);
            return loss(format!("the log was durable to {told}, and now to {now}"));
        }
        self.records.resize(next as usize, None);
        let mut seq = first;
        let mut untold = Vec::new();
        for item in reader {
            let record = item.map_err(|error| broke(format_args!("record {seq}"), error))?;
            in_place(record, seq)?;
            match self.id(seq) {
                Some(id) => {
                    self.explain(seq, &mut untold, first)?;
                    self.equal(seq, record.data(), id)?;
                }
                None => untold.push(record.data().to_vec()),
            }
            seq += 1;
        }
        self.explain(seq, &mut untold, first)?;
        self.counted(seq, next)?;
        // What was trimmed does not come back.
        self.first_seq = first;
        if recovered {
            self.under_way.clear();
            self.may_begin_at = first;
        }
        Ok(next - first)
    }

    /// Compares the log with the first of the twin's records, as many as it has; gives how many.
    pub(crate) fn compare_start(&self, reader: &Reader, at_least: u64) -> Found<u64> {
        self.begins_right(reader)?;
        let next = reader.next_seq();
        if next < at_least {
            return loss(format!("records {next}..{at_least} were durable and are gone"));
        }
        let mut seq = reader.first_seq();
        for item in reader {
            let record = item.map_err(|error| broke(format_args!("record {seq}"), error))?;
            self.matches(record, seq)?;
            seq += 1;
        }
        self.counted(seq, next)?;
        self.ends_whole(next)?;
        Ok(next)
    }

    /// A batch is there whole or not at all.
    pub(crate) fn ends_whole(&self, next: u64) -> Found {
        let before = next.checked_sub(1).and_then(|last| self.id(last));
        if let (Some(a), Some(b)) = (before, self.id(next))
            && self.same_batch(a, b)
            && !self.cuts.contains(&next)
        {
            return loss(format!("the log ends at {next}, inside the batch of {a:?}"));
        }
        Ok(())
    }

    fn same_batch(&self, a: Id, b: Id) -> bool {
        let by_workers = (a.worker, a.number) == (b.worker, b.number) && a.worker != NOBODY;
        by_workers && matches!(self.plan.op(a.worker, a.number), Op::Batch(_))
    }

    pub(crate) fn matches(&self, record: Record<'_>, seq: u64) -> Found {
        in_place(record, seq)?;
        match self.id(seq) {
            Some(id) => self.equal(seq, record.data(), id),
            None => self.not_expected(seq, record.data()),
        }
    }

    pub(crate) fn begins_right(&self, reader: &Reader) -> Found {
        let (first, most) = (reader.first_seq(), self.may_begin_at);
        // Of what was trimmed, some may be gone that was never durable: then the log begins where it ends.
        let least = self.first_seq.min(reader.next_seq());
        match (least..=most.max(least)).contains(&first) {
            true => Ok(()),
            false => loss(format!("the log begins at {first}, expected {least} to {most}")),
        }
    }

    fn equal(&self, seq: u64, data: &[u8], id: Id) -> Found {
        let mut sent = self.bytes(id);
        if self.wrong_seq == Some(seq) {
            sent.push(0);
        }
        if data == sent {
            return Ok(());
        }
        let Some(at) = (0..data.len().max(sent.len())).find(|at| data.get(*at) != sent.get(*at))
        else {
            return Ok(());
        };
        loss(format!(
            "record {seq} of {id:?} has {} bytes of {}, and differs from byte {at} on",
            data.len(),
            sent.len()
        ))
    }

    fn counted(&self, seq: u64, next: u64) -> Found {
        match seq == next {
            true => Ok(()),
            false => loss(format!("the records end at {seq}, the log at {next}")),
        }
    }

    /// The log goes on behind its first `next` records.
    pub(crate) fn cut_by_power(&self, next: u64) -> Self {
        let mut twin = self.clone();
        twin.records.truncate(next as usize);
        twin.durable = next;
        twin.first_seq = twin.first_seq.min(next);
        twin
    }

    /// After a power cut that left `next` records: what must be there is what was told `before`, and what came
    /// after it was never lost.
    pub(crate) fn as_told_before(&self, before: &Self, next: u64) -> Self {
        let mut twin = self.clone();
        twin.records.truncate(before.next_seq().max(next) as usize);
        twin.may_begin_at = self.may_begin_at();
        twin.first_seq = before.first_seq;
        (twin.durable, twin.epoch) = (before.durable, before.epoch);
        twin
    }

    /// A record that no worker appended.
    pub(crate) fn append(&mut self, bytes: Vec<u8>) {
        let number = self.own.len() as u64;
        self.own.push(bytes);
        self.records.push(Some(Id { worker: NOBODY, number, index: 0 }));
        self.appended += 1;
    }

    /// For trying the torture itself: the twin is told something that never happened.
    pub(crate) fn lie(&mut self, lie: Lie) {
        let middle = u64::midpoint(self.first_seq, self.next_seq());
        match lie {
            Lie::Appended => self.records.push(Some(Id { worker: 99, number: 0, index: 0 })),
            Lie::Bytes => self.wrong_seq = Some(middle),
            Lie::Unsent => self.records.truncate(middle as usize),
        }
    }
}

/// What the twin can be told falsely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Lie {
    /// A record was appended that was not.
    Appended,
    /// A record had other bytes.
    Bytes,
    /// Records were not sent.
    Unsent,
}

fn in_place(record: Record<'_>, seq: u64) -> Found {
    match record.seq() == seq {
        true => Ok(()),
        false => loss(format!("record {seq} was expected and {} came", record.seq())),
    }
}
