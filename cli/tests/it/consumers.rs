//! `maplog consumers`, and a trim that waits for them.

use std::fs;

use maplog::{Consumer, Log};
use serde_json::{Value, json};

use crate::support::{Scratch, numbered};

/// A log of 2,000 records, of which "billing" has done 700 and "audit" none.
fn log() -> Scratch {
    let here = Scratch::new();
    here.append(&["log", "--segment-size", "16K", "--sync"], &numbered(0..2000));
    let log = open(&here);
    let mut billing = log.consumer("billing").unwrap();
    receive(&mut billing, 700);
    billing.ack(699).unwrap();
    drop(log.consumer("audit").unwrap());
    drop(billing);
    log.close().unwrap();
    here
}

#[allow(unsafe_code)]
fn open(here: &Scratch) -> Log {
    // SAFETY: only maplog changes the files while the log is open.
    unsafe { Log::open(here.path().join("log")) }.unwrap()
}

fn receive(consumer: &mut Consumer, count: u64) {
    for _ in 0..count {
        consumer.recv().unwrap();
    }
}

#[test]
fn consumers_are_listed_with_what_they_have_not_done() {
    let here = log();
    let held = open(&here);
    let owned = held.consumer("audit").unwrap();
    let ran = here.run(&["consumers", "log"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let lines: Vec<Vec<_>> = ran
        .text()
        .lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect();
    assert_eq!(lines[0], ["consumer", "next", "lag", "state"]);
    assert_eq!(lines[1], ["audit", "0", "2,000", "owned"]);
    assert_eq!(lines[2], ["billing", "700", "1,300", "free"]);
    here.run(&["consumers", "log", "--remove", "audit"])
        .assert_refused(2, "the consumer is open elsewhere");
    drop((owned, held));
    let objects: Vec<Value> = here
        .run(&["consumers", "log", "--json"])
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let object = |name, next_seq: u64, lag: u64| json!({ "name": name, "next_seq": next_seq, "lag": lag, "owned": false });
    assert_eq!(objects, [object("audit", 0, 2000), object("billing", 700, 1300)]);
}

#[test]
fn a_consumer_is_removed_by_name() {
    let here = log();
    assert_eq!(
        here.run(&["consumers", "log", "--remove", "audit"]).text(),
        "removed consumer audit\n"
    );
    here.run(&["consumers", "log", "--remove", "audit"])
        .assert_refused(2, "the log has no consumer audit");
    here.run(&["consumers", "log", "--remove", "a/b"])
        .assert_refused(2, "a consumer cannot be called");
    let ran = here.run(&["consumers", "log", "--remove", "billing", "--json"]);
    assert_eq!(ran.text(), "{\"removed\":\"billing\"}\n");
    assert_eq!(here.run(&["consumers", "log"]).text().lines().count(), 1);
}

#[test]
fn a_consumer_whose_file_cannot_tell_is_listed_and_can_be_removed() {
    let here = log();
    fs::write(here.path().join("log/consumers/audit"), [7; 8192]).unwrap();
    let text = here.run(&["consumers", "log"]).text();
    let line = text.lines().find(|line| line.starts_with("audit")).unwrap();
    assert!(line.contains('?') && line.ends_with("unreadable"), "{line}");
    assert_eq!(here.run(&["consumers", "log", "--remove", "audit"]).code, Some(0));
}

#[test]
fn a_trim_waits_for_consumers_if_it_is_told_to() {
    for args in [["--before", "1500"], ["--keep-segments", "1"]] {
        let here = log();
        let trim = |wait: &[&str]| here.run(&[&["trim", "log"][..], &args, wait].concat());
        let waits = ["--not-past-consumers"];
        assert!(trim(&waits).text().starts_with("dropped 0 records"), "audit has done none");
        assert_eq!(here.run(&["consumers", "log", "--remove", "audit"]).code, Some(0));
        trim(&waits);
        let first: u64 = here.stat("first").parse().unwrap();
        assert!((400..=700).contains(&first), "{args:?}: {first}");
        trim(&[]);
        assert!(here.stat("first").parse::<u64>().unwrap() >= 1500, "{args:?}");
    }
}
