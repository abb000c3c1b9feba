//! maplog. A run is over before a log would be synced by itself, so it is told not to: what was touched
//! beforehand would have to be written too.

use std::path::PathBuf;

use maplog::{Log, Reader, SyncPolicy, Tail, Writer};
use rustix::mm::Advice;

use super::{End, Missing, Side, Way};
use crate::common::touch::{HEADROOM_BYTES, touch};
use crate::plan::Plan;

/// All that a run sends stays in one segment.
fn segment_bytes(plan: &Plan, sends_back: bool) -> u64 {
    match sends_back && plan.measure.is_throughput() {
        // The greeting.
        true => HEADROOM_BYTES,
        false => HEADROOM_BYTES + plan.room_bytes() as u64,
    }
}

/// A log for each direction.
pub struct Maplog;

impl Way for Maplog {
    type End = LogEnd;

    const SHARES_MEMORY: bool = true;
    const SPINS_FOR_THROUGHPUT: bool = true;

    fn open(_plan: &Plan) -> Result<Self, Missing> {
        Ok(Maplog)
    }

    fn settings(&self) -> String {
        "CRC-32 on both sides; a file on the disk, not synced while it is measured".to_owned()
    }

    #[allow(unsafe_code)]
    fn into_end(self, side: Side, plan: &Plan) -> LogEnd {
        let (sends, receives) = match side {
            Side::First => ("there", "back"),
            Side::Second => ("back", "there"),
        };
        let [sends, receives] = [sends, receives].map(|name| plan.dir.join(name));
        let options = Log::options()
            .sync(SyncPolicy::Manual)
            .segment_bytes(segment_bytes(plan, side == Side::Second));
        // SAFETY: the directory is the bench's own. `touch` makes a file longer by zeros, as the log does.
        let log = unsafe { options.open(&sends) }.expect("a new log");
        // The writer borrows from the log; both stay until the process ends.
        let log: &'static Log = Box::leak(Box::new(log));
        let writer = log.writer().expect("a free lock");
        LogEnd { writer, sends, receives, tail: None }
    }

    /// Less one for the greeting.
    fn capacity(plan: &Plan) -> u64 {
        plan.room_messages() - 1
    }
}

pub struct LogEnd {
    writer: Writer<'static>,
    sends: PathBuf,
    receives: PathBuf,
    tail: Option<Tail>,
}

impl LogEnd {
    #[inline]
    fn tail(&mut self) -> &mut Tail {
        self.tail.as_mut().expect("attached")
    }
}

impl End for LogEnd {
    #[allow(unsafe_code)]
    fn attach(&mut self) {
        // SAFETY: as above.
        let reader = unsafe { Reader::open(&self.receives) }.expect("the other side's log");
        self.tail = Some(reader.tail_from(0));
    }

    /// An appender allocates and touches pages as it goes, a reader touches them when it gets there.
    /// Here both are done with all of them before, in the mappings that the log itself uses.
    fn warm(&mut self) {
        touch(&self.sends, Advice::LinuxPopulateWrite);
        touch(&self.receives, Advice::LinuxPopulateRead);
    }

    #[inline]
    fn send(&mut self, message: &[u8]) {
        self.writer.append(message).expect("room");
    }

    #[inline]
    fn poll(&mut self, take: &mut impl FnMut(&[u8])) -> u64 {
        match self.tail().try_recv().expect("a log that can be read") {
            Some(record) => {
                take(record.data());
                1
            }
            None => 0,
        }
    }

    fn wait(&mut self, take: &mut impl FnMut(&[u8])) -> u64 {
        take(self.tail().recv().expect("a log that can be read").data());
        1
    }
}
