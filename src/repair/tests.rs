//! A repair that dies by SIGKILL at any of its steps loses no file, and running it again finishes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::hook::KILL_AT;
use crate::{Log, Reader};

const LOG: &str = "MAPLOG_TEST_LOG";

#[allow(unsafe_code)]
fn open(path: &Path) -> crate::Result<Log> {
    // SAFETY: the tests change files only while no handle is alive.
    unsafe { Log::options().segment_bytes(16 * 1024).open(path) }
}

fn log_of_three_segments(path: &Path) -> u64 {
    let log = open(path).unwrap();
    let mut seq = 0;
    while log.stats().unwrap().segments < 3 {
        seq = log.append([seq as u8; 300]).unwrap() + 1;
    }
    log.close().unwrap();
    seq
}

#[allow(unsafe_code)]
fn records(path: &Path) -> crate::Result<u64> {
    // SAFETY: as above.
    let reader = unsafe { Reader::open(path) }?;
    Ok(reader.iter().filter(|record| record.is_ok()).count() as u64)
}

#[test]
#[ignore = "a child of the test below"]
fn child() {
    repair(std::env::var(LOG).unwrap()).run().unwrap();
}

/// Whole files of this name and these bytes: in the log, and in all of its quarantines.
fn copies(log: &Path, name: &str, bytes: &[u8]) -> [usize; 2] {
    let holds =
        |dir: &Path| usize::from(fs::read(dir.join(name)).is_ok_and(|found| found == bytes));
    let beside = fs::read_dir(log.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let quarantines: Vec<PathBuf> =
        beside.filter(|path| path.to_str().unwrap().contains("log.quarantine-")).collect();
    [holds(log), quarantines.iter().map(|dir| holds(dir)).sum()]
}

#[test]
fn a_death_at_any_step_loses_no_file_and_the_next_run_finishes() {
    let steps = [
        ("repair.copied_in_part:1", [1, 0], [1, 0]),
        ("repair.copied:1", [1, 1], [1, 0]),
        ("repair.copied_in_part:2", [1, 1], [1, 0]),
        ("repair.copied:2", [1, 1], [1, 1]),
        ("repair.removed:1", [0, 1], [1, 1]),
        ("repair.removed:2", [0, 1], [0, 1]),
    ];
    for (hook, first_then, second_then) in steps {
        let here =
            tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        let log = here.path().join("log");
        let next_seq = log_of_three_segments(&log);
        let [first, second] = ["00000000000000000007-9.seg", "next-4"];
        let segment = fs::read(log.join("00000000000000000000-1.seg")).unwrap();
        fs::write(log.join(first), &segment).unwrap();
        fs::write(log.join(second), b"left over").unwrap();
        assert_eq!(open(&log).unwrap_err().kind(), ErrorKind::NotALog);
        let order: Vec<_> = repair(&log).dry_run(true).run().unwrap().set_aside;
        let order: Vec<_> = order.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(order, [second, first]);

        let died = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "repair::tests::child", "--ignored"])
            .env(LOG, &log)
            .env(KILL_AT, hook)
            .output()
            .unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&died.status), Some(9), "{hook}");
        assert_eq!(copies(&log, second, b"left over"), first_then, "{hook}");
        assert_eq!(copies(&log, first, &segment), second_then, "{hook}");

        let left = repair(&log).run().unwrap().set_aside.len();
        assert_eq!(left, first_then[0] + second_then[0], "{hook}");
        for (name, bytes) in [(first, &segment[..]), (second, b"left over")] {
            let [in_log, aside] = copies(&log, name, bytes);
            assert!(in_log == 0 && aside >= 1, "{name} at {hook}");
        }
        assert_eq!(records(&log).unwrap(), next_seq, "{hook}");
        open(&log).unwrap();
    }
}
