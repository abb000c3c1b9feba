//! The child that is killed, and what its records say of themselves.

use std::fs::File;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::path::Path;
use std::thread;

use maplog::{ErrorKind, Log};

use crate::support::open;

/// What a record of these tests says of itself; its payload follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Word {
    pub(super) life: u64,
    pub(super) thread: u32,
    /// Counts the appends of one thread; all records of a batch have the same.
    pub(super) count: u64,
    pub(super) index: u32,
    pub(super) of: u32,
}

impl Word {
    pub(super) fn payload(&self) -> Vec<u8> {
        let mut payload =
            format!("{} {} {} {} {}\n", self.life, self.thread, self.count, self.index, self.of)
                .into_bytes();
        let seed = self.count << 16 ^ u64::from(self.thread) << 8 ^ u64::from(self.index);
        let mut rng = fastrand::Rng::with_seed(seed);
        let more = if rng.u32(0..40) == 0 { rng.usize(0..2000) } else { rng.usize(0..150) };
        payload.extend(std::iter::repeat_with(|| rng.u8(..)).take(more));
        payload
    }

    /// The word in a payload, if the payload is that word's to the byte.
    pub(super) fn of_payload(payload: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(payload.split(|byte| *byte == b'\n').next()?).ok()?;
        let word = Self::of_fields(line)?;
        (word.payload() == payload).then_some(word)
    }

    pub(super) fn of_fields(line: &str) -> Option<Self> {
        let fields: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        let [life, thread, count, index, of] = fields[..] else { return None };
        Some(Word { life, thread: thread as u32, count, index: index as u32, of: of as u32 })
    }
}

/// The child: appends until it is killed, and says each record that was acknowledged.
#[test]
#[ignore = "a process of the tests above"]
fn appends_until_it_is_killed() {
    let setting = |name: &str| std::env::var(name).unwrap();
    let path = setting("MAPLOG_TEST_LOG");
    let how = setting("MAPLOG_TEST_HOW");
    let life: u64 = setting("MAPLOG_TEST_LIFE").parse().unwrap();
    let threads: u32 = setting("MAPLOG_TEST_THREADS").parse().unwrap();
    let log = open(Path::new(&path)).unwrap();
    say("\nready\n");
    thread::scope(|scope| {
        for thread in 0..threads {
            let (log, how) = (log.clone(), how.as_str());
            scope.spawn(move || {
                for count in 0.. {
                    append_once(&log, how, Word { life, thread, count, index: 0, of: 1 });
                }
            });
        }
    });
}

/// One append, of one of the four kinds; `word` says whose it is.
fn append_once(log: &Log, how: &str, word: Word) {
    let seq = match (how, fastrand::u32(0..4)) {
        ("single", _) | ("mixed", 0) => log.append(word.payload()).unwrap(),
        ("batch", _) | ("mixed", 1) => {
            let of = fastrand::u32(1..12);
            let words = (0..of).map(|index| Word { index, of, ..word });
            let payloads: Vec<_> = words.map(|word| word.payload()).collect();
            let seqs = match log.append_batch(&payloads) {
                // A batch of the longest does not fit into one segment.
                Err(error) if error.kind() == ErrorKind::TooLarge => {
                    return append_once(log, "single", word);
                }
                other => other.unwrap(),
            };
            let told = seqs.zip((0..of).map(|index| Word { index, of, ..word }));
            return say(&told.map(|(seq, word)| line(seq, word)).collect::<String>());
        }
        ("reserve", _) | ("mixed", 2) => {
            let mut writer = log.writer().unwrap();
            if fastrand::bool() {
                writer.reserve(fastrand::usize(0..3000)).unwrap().fill(0x11);
            }
            let payload = word.payload();
            let mut slot = writer.reserve(payload.len() + fastrand::usize(0..100)).unwrap();
            slot.write_all(&payload).unwrap();
            slot.truncate(payload.len());
            slot.commit().unwrap()
        }
        _ => {
            let seq = log.append(word.payload()).unwrap();
            assert!(log.sync().unwrap() > seq);
            seq
        }
    };
    say(&line(seq, word));
}

fn line(seq: u64, word: Word) -> String {
    let Word { life, thread, count, index, of } = word;
    format!("told {seq} {life} {thread} {count} {index} {of}\n")
}

/// One write to the pipe, whole or not at all: what was said before death is in the pipe.
fn say(lines: &str) {
    assert!(lines.len() <= libc::PIPE_BUF);
    // SAFETY: standard output stays open, and `ManuallyDrop` keeps this handle from closing it.
    let mut output = ManuallyDrop::new(unsafe { File::from_raw_fd(1) });
    assert_eq!(output.write(lines.as_bytes()).unwrap(), lines.len());
}
