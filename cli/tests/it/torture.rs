//! Torture finds nothing in a log that keeps its promises, and something where one was broken.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Ran, Scratch};

/// What is not to be had everywhere: its row, its key, and what it needs.
const NEEDY: [(&str, &str, &str); 2] = [
    ("power cut of a disk in use", "outage", "needs root, mkfs.ext4 and mount"),
    ("power cut that keeps what was synced", "unsynced", "needs strace"),
];

/// The rows of the table: what was tried, how often, and how many losses.
fn rows(table: &str) -> BTreeMap<String, (u64, u64)> {
    let row = |line: &str| {
        let (name, counts) = line.split_at_checked(44)?;
        let mut counts = counts.split_whitespace().map(|count| count.replace(',', "").parse());
        let counts = (counts.next()?.ok()?, counts.next()?.ok()?);
        Some((name.trim().to_owned(), counts))
    };
    table.lines().filter_map(row).collect()
}

#[test]
fn a_short_torture_tries_everything_and_finds_no_loss() {
    let here = Scratch::new();
    // The example of its help.
    let ran = here.run(&["torture", "--seconds", "4", "--seed", "7", "."]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{}", ran.text());
    let table = ran.text();
    let rows = rows(&table);
    for (name, _, needs) in NEEDY {
        let skipped = format!("{name:<44}skipped: {needs}\n");
        assert!(
            rows.get(name).is_some_and(|row| row.0 >= 12) || table.contains(&skipped),
            "{table}"
        );
    }
    assert_eq!(rows.len() + table.matches("skipped: ").count(), 15, "{table}");
    assert!(rows.values().all(|(_, losses)| *losses == 0), "{table}");
    // How often processes die is a matter of time, the rest is not.
    for (fault, least) in [
        ("closed, opened again", 1),
        ("bit flipped in a copy", 3),
        ("bit flipped under a live page", 3),
        ("tail of a copy cut or zeroed", 3),
        ("power cut played on a copy", 12),
        ("frames inside a torn record", 12),
        ("sleeping reader to be woken", 16),
    ] {
        assert!(rows[fault].0 >= least, "{fault}: {table}");
    }
    let died = rows["one of several writers killed"].0 + rows["all writers killed at once"].0;
    assert!(died > 0, "{table}");
    let last = table.lines().last().unwrap();
    assert!(last.ends_with(" compared: 0 losses"), "{last}");
    let rounds: u64 = last.split(' ').next().unwrap().parse().unwrap();
    assert!(rounds >= 6, "each kind of round gets its turn: {last}");
    assert_eq!(here.names("."), [""; 0], "nothing is left");
}

/// Nobody finds mkfs.ext4 and strace there: the rest is tried all the same, and the table and the object say so.
#[test]
fn where_no_disk_can_be_made_it_says_that_it_skipped_that() {
    for json in [false, true] {
        let here = Scratch::new();
        let how = ["torture", "--seconds", "1", "--seed", "7", ".", "--json"];
        let mut command = here.command(&how[..6 + usize::from(json)]);
        let ran = Ran::from(command.env("PATH", "/nowhere").output().unwrap());
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{}", ran.text());
        if json {
            let told: Value = serde_json::from_slice(&ran.stdout).unwrap();
            for (_, key, needs) in NEEDY {
                let fault = &told["faults"][key];
                assert_eq!((fault["tried"].as_u64(), fault["losses"].as_u64()), (Some(0), Some(0)));
                assert!(fault["skipped"].as_str().unwrap().starts_with(needs), "{fault}");
            }
            assert!(told["faults"]["power_cut"].get("skipped").is_none(), "{told}");
        } else {
            for (name, _, needs) in NEEDY {
                let line = format!("{name:<44}skipped: {needs}\n");
                assert!(ran.text().contains(&line), "{}", ran.text());
            }
        }
        assert_eq!(here.names("."), [""; 0], "nothing is left");
    }
}

/// In the middle of a round that has disks mounted, with the power of one perhaps just cut.
#[test]
fn an_interrupted_torture_leaves_nothing_mounted() {
    for (time, signal) in [Signal::INT, Signal::TERM, Signal::TERM].into_iter().enumerate() {
        let here = Scratch::new();
        let dir = here.path().canonicalize().unwrap();
        let mounted = || {
            let list = fs::read_to_string("/proc/self/mountinfo").unwrap();
            list.lines().filter(|line| line.contains(dir.to_str().unwrap())).count()
        };
        let mut command = here.command(&["torture", "--seconds", "60", "--seed", "7", "."]);
        let mut torture = command.stdin(Stdio::null()).spawn().unwrap();
        let late = Instant::now() + Duration::from_secs(20);
        while mounted() < 2 {
            assert!(torture.try_wait().unwrap().is_none());
            if Instant::now() > late {
                eprintln!("skipped: needs root, mkfs.ext4 and mount");
                torture.kill().unwrap();
                torture.wait().unwrap();
                return;
            }
            sleep(Duration::from_millis(1));
        }
        sleep(Duration::from_millis(137 * time as u64));
        kill_process(Pid::from_child(&torture), signal).unwrap();
        let ran = Ran::from(torture.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.starts_with("maplog: interrupted; "), "{}", ran.stderr);
        assert_eq!(mounted(), 0);
    }
}

#[test]
fn its_example_is_what_is_tested() {
    let help = Scratch::new().run(&["torture", "--help"]).text();
    assert!(help.ends_with("\nExample:\n  maplog torture --seconds 4 --seed 7 .\n"), "{help}");
    assert!(
        help.contains(
            "\nExit status: 0 all is well, 1 a loss was found, 2 wrong usage or an error"
        )
    );
    assert!(!help.contains("--lie") && !help.contains("--as"), "{help}");
}

/// The twin remembers something that never happened: from where it stands the log has lost it.
#[test]
fn what_differs_from_its_twin_is_a_loss() {
    for (lie, found) in [
        ("bytes", " bytes of "),
        ("unsent", " was not to be there; it is of Id { worker: 0, "),
        ("appended", " was given to worker 0, step "),
    ] {
        let here = Scratch::new();
        let ran =
            here.run(&["torture", "--json", "--seconds", "1", "--seed", "7", "--lie", lie, "."]);
        assert_eq!(ran.code, Some(1), "{lie}: {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        assert!(ran.stderr.starts_with("maplog: loss: record "), "{}", ran.stderr);
        assert!(ran.stderr.contains(found), "{lie}: {}", ran.stderr);
        assert!(ran.stderr.contains("; round 1 (power:"), "{}", ran.stderr);
        assert!(ran.stderr.contains(" of seed 7, kept in "), "{}", ran.stderr);

        let told: Value = serde_json::from_slice(&ran.stdout).unwrap();
        assert_eq!(told["seed"], 7);
        assert_eq!((told["rounds"].as_u64(), &told["loss"]["kind"]), (Some(2), &"power".into()));
        let losses = told["faults"].as_object().unwrap().values();
        let losses: u64 = losses.map(|fault| fault["losses"].as_u64().unwrap()).sum();
        assert_eq!(losses, 1);
        let log = told["loss"]["log"].as_str().unwrap();
        assert!(fs::read_dir(log).unwrap().count() > 0, "the log is kept");
    }
}

#[test]
fn an_interrupted_torture_says_where_it_was_and_leaves_no_process() {
    let here = Scratch::new();
    let mut command = here.command(&["torture", "--seconds", "60", "--seed", "7", "new"]);
    let mut torture = command.stdin(Stdio::null()).spawn().unwrap();
    let late = Instant::now() + Duration::from_secs(20);
    while !here.path().join("new").exists() || here.names("new").is_empty() {
        assert!(Instant::now() < late && torture.try_wait().unwrap().is_none());
        sleep(Duration::from_millis(5));
    }
    sleep(Duration::from_millis(1500));
    kill_process(Pid::from_child(&torture), Signal::TERM).unwrap();
    let ran = Ran::from(torture.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    let kept = here.path().canonicalize().unwrap().join("new").join(&here.names("new")[0]);
    let sentence =
        format!("maplog: interrupted; what was made so far stays in {}\n", kept.display());
    assert_eq!(ran.stderr, sentence);
    assert!(rows(&ran.text()).len() >= 13, "what was tried until then: {}", ran.text());
    // Workers die with the process that started them, a moment later.
    let late = Instant::now() + Duration::from_secs(5);
    while let left = processes_with(kept.to_str().unwrap())
        && left > 0
    {
        assert!(Instant::now() < late, "{left} processes go on");
        sleep(Duration::from_millis(10));
    }
}

fn processes_with(argument: &str) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(argument)).count()
}
