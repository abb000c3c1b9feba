//! `maplog cat` and `maplog get` on a log that is well.

use crate::support::{Scratch, numbered};

#[test]
fn cat_starts_and_stops_where_it_is_told() {
    let here = Scratch::new();
    here.append(&["log", "--segment-size", "16K"], &numbered(0..1500));
    assert!(here.segments().len() > 1);
    let cases: [(&[&str], _); 8] = [
        (&["--from", "0"], 0..1500),
        (&["--from", "1499"], 1499..1500),
        (&["--from", "1500"], 1500..1500),
        (&["-n", "0"], 0..0),
        (&["-n", "3"], 0..3),
        (&["--from", "700", "-n", "2"], 700..702),
        (&["--from", "1490", "-n", "100"], 1490..1500),
        (&["--from", "7", "-n", "18446744073709551615"], 7..1500),
    ];
    for (args, expected) in cases {
        assert!(here.cat(&[&["log"], args].concat()) == numbered(expected), "{args:?}");
    }
}

#[test]
fn cat_from_behind_the_end_names_the_end() {
    let here = Scratch::new();
    here.append(&["log"], &numbered(0..10));
    let ran = here.run(&["cat", "log", "--from", "11"]);
    ran.assert_refused(2, "record 11 does not exist yet; the next is 10");
}

#[test]
fn reading_leaves_no_trace() {
    let here = Scratch::new();
    here.append(&["log"], b"a\n");
    // As a copy has it: without what the appending process needed.
    for name in ["lock", "shared", "wake"] {
        let _may_not_exist = std::fs::remove_file(here.path().join("log").join(name));
    }
    let before = here.names("log");
    assert_eq!(before, ["00000000000000000000-1.seg"]);
    assert_eq!(here.cat(&["log"]), b"a\n");
    assert_eq!(here.stat("next"), "1");
    assert_eq!(here.names("log"), before);
}

/// The same lines, the last first.
fn reversed(numbers: std::ops::Range<u64>) -> Vec<u8> {
    numbers.rev().flat_map(|number| numbered(number..number + 1)).collect()
}

#[test]
fn cat_writes_the_last_record_first_if_told_to() {
    let here = Scratch::new();
    here.append(&["log", "--segment-size", "16K"], &numbered(0..1500));
    let cases: [(&[&str], _); 6] = [
        (&[], 0..1500),
        (&["-n", "3"], 1497..1500),
        (&["--to", "1000"], 0..1000),
        (&["--from", "700", "--to", "702"], 700..702),
        (&["--from", "700", "--to", "1000", "-n", "250"], 750..1000),
        (&["--to", "0"], 0..0),
    ];
    for (args, expected) in cases {
        let written = here.cat(&[&["log", "--reverse"], args].concat());
        assert!(written == reversed(expected), "{args:?}");
    }
}

#[test]
fn cat_stops_before_the_record_it_is_told() {
    let here = Scratch::new();
    here.append(&["log", "--segment-size", "16K"], &numbered(0..1500));
    let cases: [(&[&str], _); 5] = [
        (&["--to", "3"], 0..3),
        (&["--to", "99999"], 0..1500),
        (&["--from", "10", "--to", "9"], 10..10),
        (&["--from", "10", "--to", "1400", "-n", "2"], 10..12),
        (&["--from", "1390", "--to", "1400", "-n", "200"], 1390..1400),
    ];
    for (args, expected) in cases {
        assert!(here.cat(&[&["log"], args].concat()) == numbered(expected), "{args:?}");
    }
}

#[test]
fn cat_since_leaves_out_what_is_known_to_be_older() {
    let here = Scratch::new();
    here.append(&["log"], &numbered(0..10));
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let before = std::time::Instant::now();
    here.append(&["log"], &numbered(10..20));
    // Each opening is noted with its time: what came before the second is older than that.
    let ago = |extra: u64| format!("{}ms", before.elapsed().as_millis() as u64 + extra);
    assert_eq!(here.cat(&["log", "--since", "1h"]), numbered(0..20));
    assert_eq!(here.cat(&["log", "--since", "2001-09-09T01:46:40Z"]), numbered(0..20));
    assert_eq!(here.cat(&["log", "--since", "2100-01-01T00:00:00Z"]), numbered(10..20));
    assert_eq!(here.cat(&["log", "--since", &ago(0), "--reverse", "-n", "3"]), reversed(17..20));
    assert_eq!(here.cat(&["log", "--since", "1h", "--from", "15"]), numbered(15..20));
    let ran = here.run(&["cat", "log", "--since", "yesterday"]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("expected a time since 1970, as 2026-01-31T12:00:00Z"),
        "{}",
        ran.stderr
    );
}

#[test]
fn get_writes_the_records_it_is_asked_for_in_that_order() {
    let here = Scratch::new();
    here.append(&["log", "--segment-size", "16K"], &numbered(0..1500));
    let ran = here.run(&["get", "log", "1499", "0", "700", "700"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(ran.text(), "record 1499\nrecord 0\nrecord 700\nrecord 700\n");
}

#[test]
fn get_of_what_is_not_there_says_so_and_writes_nothing() {
    let here = Scratch::new();
    here.append(&["log"], &numbered(0..10));
    let next = here.run(&["get", "log", "3", "10"]);
    next.assert_refused(2, "record 10 does not exist yet; it is the next");
    here.run(&["get", "log", "11"])
        .assert_refused(2, "record 11 does not exist yet; the next is 10");
    here.run(&["get", "none", "1"]).assert_refused(2, "no such log");
    assert_eq!(here.run(&["get", "log"]).code, Some(2));
}

#[test]
fn get_names_a_record_that_is_lost_and_goes_on() {
    let here = Scratch::new();
    here.append(&["log"], &numbered(0..10));
    let file = here.segments().remove(0);
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(8).position(|window| window == b"record 4").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let ran = here.run(&["get", "log", "3", "4", "5"]);
    assert_eq!((ran.code, ran.text().as_str()), (Some(1), "record 3\nrecord 5\n"));
    assert!(ran.stderr.contains("lost records 4..5"), "{}", ran.stderr);
    let ran = here.run(&["cat", "log", "--reverse", "--from", "3", "--to", "6"]);
    assert_eq!((ran.code, ran.text().as_str()), (Some(1), "record 5\nrecord 3\n"));
    assert!(ran.stderr.contains("lost records 4..5"), "{}", ran.stderr);
}
