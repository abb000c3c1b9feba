//! Aeron IPC: a stream for each direction.

use std::ffi::{CStr, CString};
use std::hint::spin_loop;
use std::time::Duration;

use rusteron_client::{
    Aeron, AeronContext, AeronExclusivePublication, AeronHeader, AeronSubscription, Handlers,
};

use super::End;
use crate::pair::{Plan, Side};

pub const SETTINGS: &str = "C driver in a third process, one thread, stopped while others are measured; when it has nothing to \
                            do it backs off, as is its default, or sleeps (`sleep-ns`); exclusive publication, terms of \
                            16 MiB, all touched beforehand; 10 fragments a poll";

const CHANNEL: &CStr = c"aeron:ipc?term-length=16m";
/// Three terms, and more.
const WARM_BYTES: usize = 64 << 20;
const WARM_MESSAGE_BYTES: usize = 1024;
const FRAGMENTS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(5);

pub struct AeronEnd {
    publication: AeronExclusivePublication,
    subscription: AeronSubscription,
    /// The others live as long as it does.
    _aeron: Aeron,
}

impl End for AeronEnd {
    fn create(side: Side, plan: &Plan) -> Self {
        let (sends, receives) = match side {
            Side::First => (1001, 1002),
            Side::Second => (1002, 1001),
        };
        let context = AeronContext::new().expect("a context");
        let dir = plan.driver.to_str().expect("a path of characters");
        context.set_dir(&CString::new(dir).expect("no zeros")).expect("a directory");
        let aeron = Aeron::new(&context).expect("a client");
        aeron.start().expect("a client");
        let subscription =
            aeron.async_add_subscription(CHANNEL, receives, Handlers::NONE, Handlers::NONE);
        let subscription = subscription.and_then(|adding| adding.poll_blocking(PATIENCE));
        let publication = aeron.async_add_exclusive_publication(CHANNEL, sends);
        let publication = publication.and_then(|adding| adding.poll_blocking(PATIENCE));
        AeronEnd {
            publication: publication.expect("a publication"),
            subscription: subscription.expect("a subscription"),
            _aeron: aeron,
        }
    }

    fn attach(&mut self) {
        while !self.publication.is_connected() || !self.subscription.is_connected() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn warm(&mut self, side: Side) {
        for sender in [Side::First, Side::Second] {
            let mut left = (WARM_BYTES / WARM_MESSAGE_BYTES) as u64;
            while left > 0 {
                match side == sender {
                    true => {
                        self.send(&[1; WARM_MESSAGE_BYTES]);
                        left -= 1;
                    }
                    false => left -= self.poll(&mut |_| {}),
                }
            }
        }
    }

    #[inline]
    fn send(&mut self, message: &[u8]) {
        // The reader is behind by a whole window, or the driver has not cleaned a term yet.
        while self.publication.offer(message).is_err() {
            spin_loop();
        }
    }

    #[inline]
    fn poll(&mut self, take: &mut impl FnMut(&[u8])) -> u64 {
        let mut count = 0;
        let taking = |message: &[u8], _header: AeronHeader| {
            take(message);
            count += 1;
        };
        self.subscription.poll_fn(taking, FRAGMENTS).expect("a subscription");
        count
    }
}
