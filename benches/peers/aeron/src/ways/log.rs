//! maplog: a log for each direction, on the disk.

use std::hint::spin_loop;
use std::path::PathBuf;

use maplog::{Log, Reader, SyncPolicy, Tail, Writer};
use rustix::mm::Advice;

use super::End;
use crate::pair::{Plan, Side};
use crate::touch::{HEADROOM_BYTES, touch};

pub const SETTINGS: &str = "`Log::writer` and `Tail::try_recv`, CRC-32 on both sides, files on the disk, not synced while \
                            it is measured; pages touched beforehand but where it says cold";

/// `WARM`: its pages are touched before it is measured.
pub struct LogEnd<const WARM: bool> {
    writer: Writer<'static>,
    sends: PathBuf,
    receives: PathBuf,
    tail: Option<Tail>,
}

impl<const WARM: bool> End for LogEnd<WARM> {
    fn create(side: Side, plan: &Plan) -> Self {
        let (sends, receives) = match side {
            Side::First => ("there", "back"),
            Side::Second => ("back", "there"),
        };
        let [sends, receives] = [sends, receives].map(|name| plan.dir.join(name));
        // All that a run sends stays in one segment; nobody answers where only throughput is measured.
        let room = match plan.measure.is_throughput() && side == Side::Second {
            true => 0,
            false => plan.room_bytes(),
        };
        let options =
            Log::options().sync(SyncPolicy::Manual).segment_bytes(HEADROOM_BYTES + room as u64);
        // SAFETY: the directory is the bench's own. `touch` makes a file longer by zeros, as the log does.
        let log = unsafe { options.open(&sends) }.expect("a new log");
        // The writer borrows from the log; both stay until the process ends.
        let log: &'static Log = Box::leak(Box::new(log));
        LogEnd { writer: log.writer().expect("a free lock"), sends, receives, tail: None }
    }

    fn attach(&mut self) {
        // SAFETY: as above.
        let reader = unsafe { Reader::open(&self.receives) }.expect("the other side's log");
        self.tail = Some(reader.tail_from(0));
    }

    /// An appender allocates and touches pages as it goes, a reader touches them when it gets there.
    /// Here both are done before, in the mappings that the log itself uses; a tail has one when it has
    /// received something.
    fn warm(&mut self, _side: Side) {
        self.send(b"hello");
        while self.poll(&mut |greeting| assert_eq!(greeting, b"hello")) == 0 {
            spin_loop();
        }
        if !WARM {
            return;
        }
        touch(&self.sends, Advice::LinuxPopulateWrite);
        touch(&self.receives, Advice::LinuxPopulateRead);
    }

    #[inline]
    fn send(&mut self, message: &[u8]) {
        self.writer.append(message).expect("room");
    }

    #[inline]
    fn poll(&mut self, take: &mut impl FnMut(&[u8])) -> u64 {
        let tail = self.tail.as_mut().expect("attached");
        match tail.try_recv().expect("a log that can be read") {
            Some(record) => {
                take(record.data());
                1
            }
            None => 0,
        }
    }
}
