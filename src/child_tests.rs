//! Processes that do something to a log until they are done, or die by SIGKILL at a hook.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::crash_tests::{open, payload};
use crate::hook::KILL_AT;
use crate::{Log, Retention};

const LOG: &str = "MAPLOG_TEST_LOG";
const WORK: &str = "MAPLOG_TEST_WORK";

/// What a child does until it dies; it prints each number that was returned.
#[test]
#[ignore = "a child of other tests"]
fn child() {
    let path = std::env::var(LOG).unwrap();
    if std::env::var(WORK).unwrap() == "open retaining" {
        let options = Log::options().retention(Retention::default().max_segments(4));
        #[allow(unsafe_code)]
        // SAFETY: as for `open`.
        drop(unsafe { options.open(&path).unwrap() });
        return;
    }
    let log = open(Path::new(&path));
    let mut out = std::io::stdout();
    let mut told = |seqs: std::ops::Range<u64>| {
        for seq in seqs {
            writeln!(out, "seq {seq}").unwrap();
        }
    };
    match std::env::var(WORK).unwrap().as_str() {
        "append" => loop {
            let seq = log.append(payload(log.next_seq())).unwrap();
            told(seq..seq + 1);
        },
        "batch" => loop {
            let next = log.next_seq();
            told(log.append_batch(&[payload(next), payload(next + 1), payload(next + 2)]).unwrap());
        },
        "slot" => loop {
            let mut writer = log.writer().unwrap();
            let bytes = payload(log.next_seq());
            let mut slot = writer.reserve(bytes.len() + 100).unwrap();
            slot[..bytes.len()].copy_from_slice(&bytes);
            slot.truncate(bytes.len());
            let seq = slot.commit().unwrap();
            told(seq..seq + 1);
        },
        "zeros" => (0..100).for_each(|_| _ = log.append(vec![0; 1500]).unwrap()),
        // Many segments in doubt: the death comes inside the first sync.
        "late sync" => {
            for _ in 0..100 {
                let seq = log.append(payload(log.next_seq())).unwrap();
                told(seq..seq + 1);
            }
            log.sync().unwrap();
        }
        "open" => {}
        "look" => drop(log.writer().unwrap()),
        "reset low" => log.reset(5).unwrap(),
        "256 cuts" => {
            for _ in 0..256 {
                log.truncate_from(4).unwrap();
                log.append(payload(4)).unwrap();
            }
            (5..20).for_each(|seq| assert_eq!(log.append(payload(seq)).unwrap(), seq));
            log.leave();
        }
        "truncate" => log.truncate_from(10).unwrap(),
        "drop one" => log.truncate_from(log.next_seq() - 1).unwrap(),
        "reset" => log.reset(1000).unwrap(),
        "trim" => drop(log.trim_before(25).unwrap()),
        "append when told" => {
            writeln!(out, "open").unwrap();
            std::io::stdin().read_to_string(&mut String::new()).unwrap();
            loop {
                log.append(payload(log.next_seq())).unwrap();
            }
        }
        "reset when told" => {
            writeln!(out, "open").unwrap();
            std::io::stdin().read_to_string(&mut String::new()).unwrap();
            log.reset(1000).unwrap();
        }
        "stay" => {
            writeln!(out, "open").unwrap();
            std::io::stdin().read_to_string(&mut String::new()).unwrap();
        }
        "only sync" => drop(log.sync().unwrap()),
        "sync" => loop {
            let seq = log.append(payload(log.next_seq())).unwrap();
            let durable = log.sync().unwrap();
            assert_eq!(durable, seq + 1);
            told(seq..seq + 1);
        },
        other => panic!("{other}"),
    }
}

fn command(log: &Path, work: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child_tests::child", "--ignored", "--nocapture"])
        .env(LOG, log)
        .env(WORK, work)
        .stdout(Stdio::piped());
    command
}

/// A child that works until it is done.
pub(crate) fn spawned(log: &Path, work: &str) -> Child {
    command(log, work).stdout(Stdio::null()).spawn().unwrap()
}

pub(crate) fn ran(log: &Path, work: &str) {
    assert!(spawned(log, work).wait().unwrap().success());
}

/// Another process that has the log open, until it is dropped.
pub(crate) struct Company {
    child: Child,
    _what_it_says: BufReader<ChildStdout>,
}

impl Company {
    pub(crate) fn join(log: &Path) -> Self {
        Self::that(command(log, "stay"))
    }

    /// It appends when it is dropped, and dies at the hook.
    pub(crate) fn appending(log: &Path, hook: &str) -> Self {
        let mut command = command(log, "append when told");
        command.env(KILL_AT, hook);
        Self::that(command)
    }

    /// It works when it is dropped, and dies at the hook.
    pub(crate) fn when_told(log: &Path, work: &str, hook: &str) -> Self {
        let mut command = command(log, work);
        command.env(KILL_AT, hook);
        Self::that(command)
    }

    fn that(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        assert!(output.by_ref().lines().any(|line| line.unwrap() == "open"));
        Company { child, _what_it_says: output }
    }
}

impl Drop for Company {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _left = self.child.wait();
    }
}

/// Runs a child to its death at `hook`; gives how many records it was told of.
pub(crate) fn killed(log: &Path, work: &str, hook: &str) -> u64 {
    let mut child = command(log, work).env(KILL_AT, hook).spawn().unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{hook}: {said}");
    said.lines().filter(|line| line.starts_with("seq ")).count() as u64
}
