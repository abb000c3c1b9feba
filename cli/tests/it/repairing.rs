//! `maplog repair`: what it sets aside, where, and what it says.

use std::fs;

use crate::damage::{hundred, rot};
use crate::support::{Scratch, names, numbered};

const COPY: &str = "00000000000000000050-7.seg";

/// A log that does not open, since one of its segments lies there under another name too.
fn with_a_copy() -> Scratch {
    let here = hundred(true);
    fs::copy(&here.segments()[0], here.path().join("log").join(COPY)).unwrap();
    here.run(&["append", "log"]).assert_refused(
        2,
        "a copy under another name; move it out of the log; log log; segment 7; `maplog repair` sets \
         aside what is no part of a log",
    );
    here
}

fn said(here: &Scratch, args: &[&str]) -> String {
    let ran = here.run(&[&["repair"], args].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    ran.text()
}

#[test]
fn a_log_that_does_not_open_opens_again_and_nothing_is_thrown_away() {
    let here = with_a_copy();
    let whole = fs::read(here.path().join("log").join(COPY)).unwrap();
    let line = format!("set aside {COPY} (65,536 bytes): a copy of 00000000000000000000-1.seg\n");
    let before = here.names("log");
    assert_eq!(said(&here, &["log", "--dry-run"]), format!("would {line}1 file to set aside\n"));
    assert_eq!((here.names("log"), here.names("")), (before, vec!["log".to_owned()]));

    let folder = here.path().canonicalize().unwrap().join("log.quarantine-1");
    let last = format!("1 file set aside in {}\n", folder.display());
    assert_eq!(said(&here, &["log"]), line + &last);
    assert_eq!(names(&folder), [COPY]);
    assert!(fs::read(folder.join(COPY)).unwrap() == whole);
    here.append(&["log"], b"goes on\n");
    assert_eq!(here.cat(&["log"]), [numbered(0..100), b"goes on\n".to_vec()].concat());
    assert_eq!(said(&here, &["log"]), "nothing to set aside\n");
}

#[test]
fn files_go_where_they_are_told_to() {
    let here = with_a_copy();
    fs::write(here.path().join("log/next-3"), "left over").unwrap();
    let text = said(&here, &["log", "--quarantine", "aside"]);
    assert!(text.contains("set aside next-3 (9 bytes): a segment that was never finished\n"));
    assert!(text.ends_with("2 files set aside in aside\n"), "{text}");
    assert_eq!(here.names("aside"), [COPY, "next-3"]);
    assert_eq!(here.names(""), ["aside", "log"]);
}

#[test]
fn what_is_lost_stays_lost_and_is_told_for_ever() {
    let here = with_a_copy();
    rot(&here.segments()[0], 40);
    said(&here, &["log"]);
    for _ in 0..2 {
        let ran = here.run(&["verify", "log"]);
        assert_eq!(ran.code, Some(1));
        assert!(ran.text().ends_with("damaged, 1 record lost (40..41)\n"), "{}", ran.text());
        assert_eq!(said(&here, &["log"]), "nothing to set aside\n");
    }
}

#[test]
fn a_log_that_another_process_appends_to_is_refused() {
    let here = hundred(true);
    let mut append = here.command(&["append", "log"]);
    let mut append = append.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut tries = 0;
    while here.run(&["repair", "log", "--dry-run"]).code == Some(0) {
        tries += 1;
        assert!(tries < 1000, "the other process never opened it");
    }
    for args in [&["repair", "log"][..], &["repair", "log", "--dry-run"]] {
        here.run(args).assert_refused(2, "the log is open to append in another process: log; ");
    }
    drop(append.stdin.take());
    assert!(append.wait().unwrap().success());
    assert_eq!(said(&here, &["log"]), "nothing to set aside\n");
}

#[test]
fn a_directory_without_a_log_is_refused_and_left_as_it_is() {
    let here = Scratch::new();
    here.write("letter", "dear");
    here.run(&["repair", ".", "--dry-run"])
        .assert_refused(2, "not a log: nothing of a log would be left");
    here.run(&["repair", "."]).assert_refused(2, "not a log: nothing of a log would be left");
    assert_eq!(here.names(""), ["letter"]);
}
