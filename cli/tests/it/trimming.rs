//! `maplog trim`: what is dropped, what is freed, what is refused.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Scratch, numbered};

fn log() -> Scratch {
    let here = Scratch::new();
    here.append(&["log", "--segment-size", "16K"], &numbered(0..2000));
    assert_eq!(here.segments().len(), 8);
    here
}

/// What `trim log --json` says, of what must work.
fn trimmed(here: &Scratch, args: &[&str]) -> Value {
    let ran = here.run(&[&["trim", "log", "--json"], args].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
    serde_json::from_slice(&ran.stdout).unwrap()
}

#[test]
fn trim_before_is_exact_and_frees_whole_segments() {
    let here = log();
    let ran = here.run(&["trim", "log", "--before", "700"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        ran.text(),
        "dropped 700 records (0..700), freed 2 segments, 32,768 bytes; left are 700..2000\n"
    );
    assert_eq!((here.segments().len(), here.stat("first")), (6, "700".into()));
    assert!(here.cat(&["log"]) == numbered(700..2000));
    here.run(&["cat", "log", "--from", "699"])
        .assert_refused(2, "record 699 is gone; the first that is left is 700");
    let nothing = json!({
        "dropped": 0, "first_seq": 700, "next_seq": 2000, "freed_segments": 0, "freed_bytes": 0,
    });
    assert_eq!(trimmed(&here, &["--before", "10"]), nothing);
    let all = trimmed(&here, &["--before", "2000"]);
    assert_eq!((&all["dropped"], &all["first_seq"]), (&json!(1300), &json!(2000)));
    assert_eq!((here.cat(&["log"]), here.segments().len()), (b"".to_vec(), 1));
    assert!(here.append(&["log"], b"next\n").contains("(2000..2001)"));
}

#[test]
fn each_limit_keeps_what_it_says_and_the_strictest_counts() {
    let cases: [(&[&str], u64); 7] = [
        (&["--keep-segments", "3"], 5),
        (&["--keep-segments", "0"], 7),
        (&["--keep-bytes", "64K"], 4),
        (&["--keep-bytes", "1G"], 0),
        (&["--keep-age", "1h"], 0),
        (&["--keep-age", "0s"], 7),
        (&["--keep-age", "1h", "--keep-bytes", "96K", "--keep-segments", "4"], 4),
    ];
    for (args, freed) in cases {
        let here = log();
        let told = trimmed(&here, args);
        assert_eq!(told["freed_segments"], freed, "{args:?}");
        assert_eq!(told["freed_bytes"], freed * 16384, "{args:?}");
        let first = told["first_seq"].as_u64().unwrap();
        assert_eq!(
            (told["dropped"].as_u64(), told["next_seq"].as_u64()),
            (Some(first), Some(2000))
        );
        assert!(here.cat(&["log"]) == numbered(first..2000), "{args:?}");
        assert_eq!(here.segments().len() as u64, 8 - freed);
    }
}

#[test]
fn a_log_is_trimmed_while_another_process_has_it_open() {
    let here = log();
    let mut append = here.command(&["append", "log"]).stdin(Stdio::piped()).spawn().unwrap();
    while here.stat("appending") != "1" {
        std::thread::yield_now();
    }
    assert_eq!(trimmed(&here, &["--keep-segments", "1"])["freed_segments"], 7);
    let first = here.stat("first").parse().unwrap();
    std::io::Write::write_all(append.stdin.as_mut().unwrap(), &numbered(2000..2100)).unwrap();
    drop(append.stdin.take());
    assert!(append.wait().unwrap().success());
    assert!(here.cat(&["log"]) == numbered(first..2100));
}

#[test]
fn what_would_drop_more_than_was_meant_is_refused() {
    let here = log();
    here.run(&["trim", "log", "--before", "2001"])
        .assert_refused(2, "record 2001 does not exist yet; the next is 2000");
    for args in [&[][..], &["--before", "1", "--keep-age", "1h"], &["--keep-age", "5"]] {
        let ran = here.run(&[&["trim", "log"], args].concat());
        assert_eq!((ran.code, ran.text().as_str()), (Some(2), ""), "{args:?}");
    }
    here.run(&["trim", "none", "--before", "1"]).assert_refused(2, "no such log: none; check ");
    assert!(here.cat(&["log"]) == numbered(0..2000));
    assert_eq!(here.names(""), ["log"]);
}
