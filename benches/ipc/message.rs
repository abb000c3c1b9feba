//! Messages whose every byte is known to both sides.

/// Each message starts with its number; which of some bodies follows it depends on the number too.
pub struct Messages {
    ready: Vec<Box<[u8]>>,
    size: usize,
}

const NUMBER_BYTES: usize = 8;
/// Set in the number of the last message of a run.
const LAST: u64 = 1 << 63;

impl Messages {
    const BODIES: u64 = 16;

    pub fn new(size: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(size as u64);
        let ready = (0..Self::BODIES).map(|_| (0..size).map(|_| random.u8(..)).collect()).collect();
        Messages { ready, size }
    }

    /// Message `number`, ready to be sent.
    #[inline]
    pub fn number(&mut self, number: u64, is_last: bool) -> &[u8] {
        let message = &mut self.ready[(number % Self::BODIES) as usize];
        let number = if is_last { number | LAST } else { number };
        message[..NUMBER_BYTES].copy_from_slice(&number.to_ne_bytes());
        message
    }
}

/// The side that receives: it compares every byte, and misses no message and no wrong order.
pub struct Verifier {
    messages: Messages,
    pub next: u64,
    pub seen_last: bool,
}

impl Verifier {
    pub fn new(size: usize) -> Self {
        Verifier { messages: Messages::new(size), next: 0, seen_last: false }
    }

    #[inline]
    pub fn take(&mut self, data: &[u8]) {
        let (number, body) = data.split_at(NUMBER_BYTES);
        let number = u64::from_ne_bytes(number.try_into().expect("eight bytes"));
        assert!(!self.seen_last, "a message after the last");
        assert_eq!(number & !LAST, self.next, "the number of the message");
        assert_eq!(data.len(), self.messages.size, "the length of message {}", self.next);
        let expected = &self.messages.ready[(self.next % Messages::BODIES) as usize];
        assert!(body == &expected[NUMBER_BYTES..], "the bytes of message {}", self.next);
        self.seen_last = number & LAST != 0;
        self.next += 1;
    }
}
