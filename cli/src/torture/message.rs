//! What a worker tells, through a pipe: each message in one write, so that a death leaves it whole or
//! not at all.

use std::io::{self, Read, Write};

/// Numbers are of what the worker does; each is told of once it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The log is open, in this epoch.
    Opened { epoch: u64 },
    /// It is about to drop what is below, or from, this number on.
    WillDrop { number: u64, seq: u64 },
    /// Its records were appended from `seq` on; or nothing was to be appended.
    Appended { number: u64, seq: u64 },
    /// Everything below `durable` is on stable storage.
    Synced { number: u64, durable: u64 },
    /// What it was about to drop is gone: the log begins, or goes on, at `seq`, in this epoch.
    Dropped { number: u64, seq: u64, epoch: u64 },
    /// The log was closed.
    Closed,
}

const BYTES: usize = 25;

impl Message {
    fn encode(self) -> [u8; BYTES] {
        let (tag, numbers) = match self {
            Message::Opened { epoch } => (0, [epoch, 0, 0]),
            Message::WillDrop { number, seq } => (1, [number, seq, 0]),
            Message::Appended { number, seq } => (2, [number, seq, 0]),
            Message::Synced { number, durable } => (3, [number, durable, 0]),
            Message::Dropped { number, seq, epoch } => (4, [number, seq, epoch]),
            Message::Closed => (5, [0; 3]),
        };
        let mut bytes = [tag; BYTES];
        for (at, number) in bytes[1..].chunks_exact_mut(8).zip(numbers) {
            at.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: [u8; BYTES]) -> io::Result<Self> {
        let mut numbers = [0; 3];
        for (number, at) in numbers.iter_mut().zip(bytes[1..].chunks_exact(8)) {
            *number = at.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        }
        let [a, b, c] = numbers;
        Ok(match bytes[0] {
            0 => Message::Opened { epoch: a },
            1 => Message::WillDrop { number: a, seq: b },
            2 => Message::Appended { number: a, seq: b },
            3 => Message::Synced { number: a, durable: b },
            4 => Message::Dropped { number: a, seq: b, epoch: c },
            5 => Message::Closed,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }

    pub(crate) fn send(self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.encode())
    }

    /// The next message; an error where there is none.
    pub(crate) fn receive(from: &mut impl Read) -> io::Result<Self> {
        let mut bytes = [0; BYTES];
        from.read_exact(&mut bytes)?;
        Message::decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_they_were_sent() {
        let all = [
            Message::Opened { epoch: 7 },
            Message::WillDrop { number: 1, seq: u64::MAX },
            Message::Appended { number: 2, seq: 1 << 40 },
            Message::Synced { number: 3, durable: 256 },
            Message::Dropped { number: 4, seq: 5, epoch: 6 },
            Message::Closed,
        ];
        let mut pipe = Vec::new();
        for message in all {
            message.send(&mut pipe).unwrap();
        }
        let mut pipe = pipe.as_slice();
        for message in all {
            assert_eq!(Message::receive(&mut pipe).unwrap(), message);
        }
        assert!(Message::receive(&mut pipe).is_err());
    }
}
