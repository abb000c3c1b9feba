//! What `maplog append` says, and when what it appended is there.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use predicates::prelude::*;

use crate::support::{Ran, Scratch, numbered};

#[test]
fn it_ends_with_one_line_of_all_that_happened() {
    let here = Scratch::new();
    here.append(&["log"], &numbered(0..5));
    let line = here.append(&["log"], &numbered(5..1239));
    let expected = predicate::str::is_match(
        "^appended 1,234 records \\(5\\.\\.1239\\), 12,479 bytes in [0-9.]+ (us|ms|s) \
         \\([0-9,]+ records/s\\), not synced: a power cut may take them; \
         --sync makes them durable\n$",
    );
    assert!(expected.unwrap().eval(&line), "{line}");
}

#[test]
fn what_is_not_synced_is_said_to_be_so_and_the_next_sync_includes_it() {
    let here = Scratch::new();
    assert!(here.append(&["log"], b"a\nb\n").contains("), not synced: "));
    assert_eq!((here.stat("next"), here.stat("durable")), ("2".into(), "0".into()));
    assert!(here.append(&["log", "--sync"], b"c\n").ends_with(" records/s), durable\n"));
    assert_eq!((here.stat("next"), here.stat("durable")), ("3".into(), "3".into()));
    assert!(here.append(&["log"], b"d\n").contains("), not synced: "));
    assert_eq!((here.stat("next"), here.stat("durable")), ("4".into(), "3".into()));
    assert_eq!(here.cat(&["log"]), b"a\nb\nc\nd\n");
}

/// Waits until `maplog cat log` gives `expected`.
fn wait_for(here: &Scratch, expected: &[u8]) {
    let since = Instant::now();
    loop {
        let ran = here.run(&["cat", "log"]);
        if ran.code == Some(0) && ran.stdout == expected {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "{ran:?}");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_line_is_in_the_log_before_the_next_is_typed() {
    let here = Scratch::new();
    let mut typist = here.command(&["append", "log"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut keyboard = typist.stdin.take().unwrap();
    keyboard.write_all(b"first\nsec").unwrap();
    wait_for(&here, b"first\n");
    keyboard.write_all(b"ond\n").unwrap();
    wait_for(&here, b"first\nsecond\n");
    drop(keyboard);
    let ran = Ran::from(typist.wait_with_output().unwrap());
    assert!(ran.text().starts_with("appended 2 records (0..2), 11 bytes in "), "{ran:?}");
}

#[test]
fn a_log_that_another_process_appends_to_is_appended_to() {
    let here = Scratch::new();
    let mut other = here.command(&["append", "log"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = other.stdin.take().unwrap();
    input.write_all(b"first\n").unwrap();
    wait_for(&here, b"first\n");
    assert!(here.append(&["log"], b"second\n").starts_with("appended 1 record (1..2), "));
    assert_eq!(here.stat("records"), "2");
    input.write_all(b"third\n").unwrap();
    drop(input);
    let ran = Ran::from(other.wait_with_output().unwrap());
    assert!(ran.text().starts_with("appended 2 records (0..3, 1 of them by others), "), "{ran:?}");
    assert_eq!(here.cat(&["log"]), b"first\nsecond\nthird\n");
}

#[test]
fn several_at_once_lose_nothing() {
    let here = Scratch::new();
    let lines = |of: u64| -> Vec<u8> {
        (0..2000).flat_map(|line| format!("{of} {line}\n").into_bytes()).collect()
    };
    let all: Vec<_> = (0..4)
        .map(|of| {
            let mut one = here.command(&["append", "log"]).stdin(Stdio::piped()).spawn().unwrap();
            let mut input = one.stdin.take().unwrap();
            (std::thread::spawn(move || input.write_all(&lines(of)).unwrap()), one)
        })
        .collect();
    for (typing, one) in all {
        typing.join().unwrap();
        let ran = Ran::from(one.wait_with_output().unwrap());
        assert!(ran.text().starts_with("appended 2,000 records ("), "{ran:?}");
    }
    let text = String::from_utf8(here.cat(&["log"])).unwrap();
    for of in 0..4 {
        let of_one = text.lines().filter(|line| line.starts_with(&format!("{of} ")));
        let numbers = of_one.map(|line| line[2..].parse::<u64>().unwrap());
        assert!(numbers.eq(0..2000), "lines of {of}");
    }
}

#[test]
fn a_killed_append_leaves_all_that_it_had_appended() {
    let here = Scratch::new();
    let mut child = here.command(&["append", "log"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&numbered(0..100)).unwrap();
    wait_for(&here, &numbered(0..100));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(here.append(&["log"], &numbered(100..101)).contains("(100..101)"));
    assert_eq!(here.cat(&["log"]), numbered(0..101));
}

#[test]
fn a_file_size_limit_is_an_error_that_says_what_was_appended_and_the_rest_can_follow() {
    let here = Scratch::new();
    here.write("lines", numbered(0..50_000));
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", "ulimit -f 512; exec \"$MAPLOG\" append log lines"]);
    shell.env("MAPLOG", crate::support::MAPLOG).current_dir(here.path());
    let ran = Ran::from(shell.output().unwrap());
    let kept = here.cat(&["log"]);
    let records = kept.split(|byte| *byte == b'\n').count() - 1;
    assert!((1000..50_000).contains(&records), "{records}");
    assert_eq!(kept, numbered(0..records as u64));
    ran.assert_refused(2, "the process's file-size limit is reached");
    assert!(ran.stderr.contains(&format!(" (0..{records}) until then, ")), "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("lines, line {}: ", records + 1)), "{}", ran.stderr);
    here.append(&["log"], &numbered(records as u64..50_000));
    assert!(here.cat(&["log"]) == numbered(0..50_000));
}

#[test]
fn an_unwritable_standard_output_does_not_hide_that_the_lines_are_in() {
    let here = Scratch::new();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut append = here.command(&["append", "log", "-"]);
    let input = here.write("lines", "a\nb\n");
    append.stdin(std::fs::File::open(input).unwrap()).stdout(full);
    let ran = Ran::from(append.output().unwrap());
    ran.assert_refused(2, "standard output: No space left on device (os error 28); appended 2 ");
    assert_eq!(here.cat(&["log"]), b"a\nb\n");
}

#[test]
fn a_fifo_is_read_like_a_file() {
    let here = Scratch::new();
    let made = std::process::Command::new("mkfifo").arg(here.path().join("fifo")).status();
    assert!(made.unwrap().success());
    let append = here.command(&["append", "log", "fifo"]).spawn().unwrap();
    std::fs::write(here.path().join("fifo"), "through\nthe fifo").unwrap();
    let output = append.wait_with_output().unwrap();
    let line = BufReader::new(&output.stdout[..]).lines().next().unwrap().unwrap();
    assert!(line.starts_with("appended 2 records (0..2), 15 bytes in "), "{line}");
    assert_eq!(here.cat(&["log"]), b"through\nthe fifo\n");
}
