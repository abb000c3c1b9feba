//! What is refused: with which sentence, which exit code, and without a trace.

use std::fs;

use crate::support::{Ran, Scratch};

#[test]
fn reading_a_directory_that_is_no_log_creates_nothing_in_it() {
    let here = Scratch::new();
    here.write("letter", "dear");
    for command in ["cat", "stat", "verify"] {
        here.run(&[command, "."]).assert_refused(2, "not a log: the directory holds no segments");
    }
    assert_eq!(here.names(""), ["letter"]);
}

#[test]
fn a_file_is_not_a_log_and_stays_as_it_is() {
    let here = Scratch::new();
    here.write("letter", "dear\n");
    for args in [&["cat", "letter"][..], &["stat", "letter"], &["append", "letter", "letter"]] {
        here.run(args).assert_refused(2, "not a log: ");
    }
    assert_eq!(here.names(""), ["letter"]);
    assert_eq!(fs::read(here.path().join("letter")).unwrap(), b"dear\n");
}

#[test]
fn a_missing_input_is_found_before_anything_is_appended() {
    let here = Scratch::new();
    here.write("one", "a\n");
    let ran = here.run(&["append", "log", "one", "two"]);
    ran.assert_refused(2, "two: No such file or directory (os error 2); nothing was appended");
    let ran = here.run(&["append", "log", "one", "."]);
    ran.assert_refused(2, ".: a directory, expected a file; nothing was appended");
    assert_eq!(here.names(""), ["one"]);
}

#[test]
fn an_input_that_fails_says_what_was_appended_before_it() {
    let here = Scratch::new();
    here.write("one", "a\nb\n");
    let mut append = here.command(&["append", "log", "one", "-", "--sync"]);
    append.stdin(fs::File::open(here.path()).unwrap());
    Ran::from(append.output().unwrap()).assert_refused(
        2,
        "standard input: Is a directory (os error 21); appended 2 records (0..2) until then, durable",
    );
    assert_eq!(here.cat(&["log"]), b"a\nb\n");
    assert_eq!(here.stat("durable"), "2");
}

#[test]
fn a_record_that_is_too_large_names_its_line_and_the_limit() {
    let here = Scratch::new();
    let [fits, too_large] = [8128, 8129].map(|len| "x".repeat(len) + "\n");
    let text = ["a\n", &fits, &too_large, "b\n"].concat();
    let ran = here.run_with(&["append", "log", "--segment-size", "16K"], text.as_bytes());
    ran.assert_refused(
        2,
        "standard input, line 3: too large: a record of 8129 bytes, of at most 8128 with segments \
         of this size; log log; split it, or give larger segments with --segment-size; \
         appended 2 records (0..2) until then, not synced",
    );
    assert_eq!(here.cat(&["log"]), ["a\n", &fits].concat().as_bytes());
    here.append(&["log", "--segment-size", "32K"], too_large.as_bytes());
    assert_eq!(here.cat(&["log", "--from", "2"]), too_large.as_bytes());
}

#[test]
fn segment_sizes_that_make_no_sense_are_usage_errors() {
    let here = Scratch::new();
    for size in ["", "16Q", "1.5M", "-1"] {
        let ran = here.run(&["append", "log", &format!("--segment-size={size}")]);
        assert_eq!(ran.code, Some(2));
        assert!(ran.stderr.contains("expected bytes, as 65536, 64K, 16M or 1G"), "{}", ran.stderr);
    }
    let ran = here.run(&["append", "log", "--segment-size", "1K"]);
    ran.assert_refused(2, "is 1024, expected 16384 to 17179869184; give another value");
    assert_eq!(here.names(""), [""; 0]);
}

#[test]
fn wrong_usage_exits_with_2() {
    let here = Scratch::new();
    for args in [&[][..], &["cat"], &["cat", "log", "--from", "x"], &["erase", "log"]] {
        assert_eq!(here.run(args).code, Some(2), "{args:?}");
    }
    assert_eq!(here.names(""), [""; 0]);
}
