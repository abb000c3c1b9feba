//! A process that appends, and tells of each thing once it is done.
//!
//! Does not know: when it will be killed.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use maplog::Log;
use rustix::process::{Signal, set_parent_process_death_signal};

use super::message::Message;
use super::plan::{Id, Op, Plan};
use super::stop::{Found, broke};
use crate::open;

/// Works on the log until it is killed, or its standard input ends; then it closes the log.
pub(crate) fn run(log: &Path, plan: Plan, worker: u32, first: u64) -> Found {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    let over = when_standard_input_ends();
    let mut out = io::stdout().lock();
    let log = open::to_append(log, &plan.options()).map_err(|error| broke("opening", error))?;
    Message::Opened { epoch: log.epoch() }.send(&mut out)?;
    for number in first.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        perform(&log, &plan, worker, number, |message| message.send(&mut out).and(out.flush()))?;
    }
    log.close().map_err(|error| broke("closing", error))?;
    Message::Closed.send(&mut out)?;
    Ok(out.flush()?)
}

fn when_standard_input_ends() -> Arc<AtomicBool> {
    let over = Arc::new(AtomicBool::new(false));
    let told = over.clone();
    thread::spawn(move || {
        let _ended = io::stdin().lock().read_to_end(&mut Vec::new());
        told.store(true, Ordering::Relaxed);
    });
    over
}

/// Does the `number`-th thing, and tells of it.
pub(crate) fn perform(
    log: &Log,
    plan: &Plan,
    worker: u32,
    number: u64,
    mut tell: impl FnMut(Message) -> io::Result<()>,
) -> Found {
    let payload = |index: usize, len| plan.payload(Id { worker, number, index: index as u32 }, len);
    let payloads = |lens: &[usize]| -> Vec<_> {
        lens.iter().enumerate().map(|(i, l)| payload(i, *l)).collect()
    };
    let at = |error| broke(format_args!("worker {worker}, step {number}"), error);
    let seq = match plan.op(worker, number) {
        Op::Append(len) => log.append(payload(0, len)).map_err(at)?,
        Op::Batch(lens) => log.append_batch(&payloads(&lens)).map_err(at)?.start,
        Op::Run(lens) => {
            let mut writer = log.writer().map_err(at)?;
            let seqs: Result<Vec<_>, _> =
                payloads(&lens).into_iter().map(|bytes| writer.append(bytes)).collect();
            seqs.map_err(at)?[0]
        }
        Op::InPlace { len, spare } => {
            let mut writer = log.writer().map_err(at)?;
            let mut slot = writer.reserve(len + spare).map_err(at)?;
            slot.fill(0xA5);
            slot.write_all(&payload(0, len))?;
            slot.truncate(len);
            slot.commit().map_err(at)?
        }
        Op::GivenUp(len) => {
            let mut writer = log.writer().map_err(at)?;
            writer.reserve(len).map_err(at)?.fill(0xA5);
            0
        }
        Op::Sync => {
            let durable = log.sync().map_err(at)?;
            return Ok(tell(Message::Synced { number, durable })?);
        }
        Op::Trim(share) => {
            let seq = log.first_seq() + log.len() * share / 16;
            tell(Message::WillDrop { number, seq })?;
            let seq = log.trim_before(seq).map_err(at)?;
            return Ok(tell(Message::Dropped { number, seq, epoch: log.epoch() })?);
        }
        Op::Cut(records) => {
            let seq = log.next_seq() - records.min(log.len());
            tell(Message::WillDrop { number, seq })?;
            log.truncate_from(seq).map_err(at)?;
            return Ok(tell(Message::Dropped { number, seq, epoch: log.epoch() })?);
        }
    };
    Ok(tell(Message::Appended { number, seq })?)
}
