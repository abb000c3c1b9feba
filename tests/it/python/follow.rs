//! Following a log that grows, is cut, trimmed, closed and made anew: the Python tail must tell what the crate's
//! tells, in that order and once.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use maplog::{ErrorKind, Log, Tail};
use rustix::process::{Pid, Signal, kill_process};

use super::{payload, python};
use crate::support::{image, killed_after, open, read, segments, tempdir};

const PATIENCE: Duration = Duration::from_secs(30);

/// A python that follows a log, and the crate's tail beside it.
struct Followers {
    child: Child,
    told: Receiver<String>,
    tail: Tail,
    events: usize,
}

impl Followers {
    fn start(log: &Path) -> Option<Self> {
        let mut child = python("tests/follows.py")?
            .args([log.to_str().unwrap(), "0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (teller, told) = channel();
        thread::spawn(move || {
            lines.map_while(Result::ok).try_for_each(|line| teller.send(line)).unwrap_or(());
        });
        let tail = read(log).unwrap().tail_from(0);
        Some(Followers { child, told, tail, events: 0 })
    }

    /// Everything there is now, told by both alike; gives it but for the records.
    fn catch_up(&mut self) -> Vec<String> {
        self.catch_up_within(Duration::ZERO)
    }

    fn catch_up_within(&mut self, wait: Duration) -> Vec<String> {
        let mut others = Vec::new();
        while let Some(expected) = self.next_of_crate(wait) {
            let found = self.told.recv_timeout(PATIENCE).unwrap_or_else(|_| {
                panic!("python is silent where the crate says {expected:.60}");
            });
            assert!(found == expected, "python: {found:.60}, crate: {expected:.60}");
            self.events += 1;
            if !expected.starts_with("record ") {
                others.push(expected.clone());
            }
            if expected == "replaced" {
                break;
            }
        }
        others
    }

    fn next_of_crate(&mut self, wait: Duration) -> Option<String> {
        match self.tail.recv_timeout(wait) {
            Ok(None) => None,
            Ok(Some(record)) => {
                let mut line = format!("record {} ", record.seq());
                record.data().iter().for_each(|byte| write!(line, "{byte:02x}").unwrap());
                Some(line)
            }
            Err(error) => Some(match error.kind() {
                ErrorKind::Replaced => "replaced".into(),
                ErrorKind::Trimmed => format!("trimmed {}", self.tail.next_seq()),
                ErrorKind::Rewound => format!("rewound {}", self.tail.next_seq()),
                ErrorKind::Damaged => {
                    let lost = error.lost().unwrap();
                    format!("lost {} {}", lost.start, lost.end)
                }
                kind => panic!("{kind:?}: {error}"),
            }),
        }
    }

    /// Holds python while `work` is done.
    fn asleep(&self, work: impl FnOnce()) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP).unwrap();
        work();
        kill_process(pid, Signal::CONT).unwrap();
    }
}

impl Drop for Followers {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}

fn append(log: &Log, rng: &mut Rng, count: usize) {
    for _ in 0..count {
        match rng.u8(..20) {
            0 => drop(log.append_batch(&[payload(rng, 300), payload(rng, 300)]).unwrap()),
            1 => drop(log.sync().unwrap()),
            _ => drop(log.append(payload(rng, 300)).unwrap()),
        }
    }
}

/// Both tell `expected`, and beside it nothing but records.
fn told(followers: &mut Followers, expected: &str) {
    assert_eq!(followers.catch_up(), [expected.to_owned()]);
}

#[test]
fn a_log_at_work_is_followed_through_rolls_cuts_trims_and_deaths() {
    let dir = tempdir();
    let path = dir.path().join("log");
    let mut rng = Rng::with_seed(1);
    let mut log = open(&path).unwrap();
    let Some(mut followers) = Followers::start(&path) else { return };

    for round in 0..10 {
        append(&log, &mut rng, 400);
        if round % 2 == 0 {
            assert!(followers.catch_up().is_empty());
        }
    }
    assert!(followers.catch_up().is_empty());

    for back in [0, 1, 30, 300] {
        let cut = log.next_seq() - back;
        log.truncate_from(cut).unwrap();
        append(&log, &mut rng, 50);
        assert_eq!(followers.catch_up().len(), usize::from(back > 0), "cut by {back}");
    }

    let cut = log.next_seq() - 10;
    followers.asleep(|| {
        log.truncate_from(cut).unwrap();
        append(&log, &mut rng, 200);
    });
    told(&mut followers, &format!("rewound {cut}"));

    let mut first = 0;
    followers.asleep(|| {
        append(&log, &mut rng, 400);
        first = log.next_seq() - 30;
        log.trim_before(first).unwrap();
    });
    told(&mut followers, &format!("trimmed {first}"));

    log.close().unwrap();
    log = open(&path).unwrap();
    append(&log, &mut rng, 100);
    assert!(followers.catch_up().is_empty());
    log.close().unwrap();

    for _ in 0..2 {
        killed_after(&path, 500);
        assert!(followers.catch_up().is_empty());
    }
    log = open(&path).unwrap();
    append(&log, &mut rng, 100);
    assert!(followers.catch_up().is_empty());

    let next = log.next_seq() + 1000;
    log.reset(next).unwrap();
    append(&log, &mut rng, 100);
    told(&mut followers, &format!("trimmed {next}"));

    drop(log);
    fs::remove_dir_all(&path).unwrap();
    drop(open(&path).unwrap());
    assert_eq!(followers.catch_up_within(PATIENCE), ["replaced"]);
    println!("{} things followed alike", followers.events);
    assert!(followers.events > 5000 && followers.child.wait().unwrap().success());
}

#[test]
fn a_rotten_record_of_a_live_log_is_passed_by() {
    let dir = tempdir();
    let log = open(dir.path()).unwrap();
    log.append("zero").unwrap();
    let Some(mut followers) = Followers::start(dir.path()) else { return };
    assert!(followers.catch_up().is_empty());
    followers.asleep(|| {
        log.append("one").unwrap();
        log.append("two").unwrap();
        let segment = segments(dir.path()).remove(0);
        let at = crate::support::records(&segment)[1].payload_at();
        // In place, through the page cache: a new file would not be the one that is mapped.
        let file = fs::File::options().write(true).open(&segment).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"X", at as u64).unwrap();
    });
    told(&mut followers, "lost 1 2");
}

#[test]
fn a_copy_that_comes_to_life_is_followed() {
    let dir = tempdir();
    let log = open(dir.path()).unwrap();
    let mut rng = Rng::with_seed(2);
    append(&log, &mut rng, 100);
    log.sync().unwrap();
    let copy = image(dir.path());
    let Some(mut followers) = Followers::start(copy.path()) else { return };
    assert!(followers.catch_up().is_empty());
    let before = followers.events;
    let revived = open(copy.path()).unwrap();
    append(&revived, &mut rng, 500);
    // Where a log has no live page yet, who follows it looks for one only now and then.
    assert!(followers.catch_up_within(Duration::from_secs(2)).is_empty());
    assert!(followers.events > before + 400);
}
