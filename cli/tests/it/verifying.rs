//! `maplog verify`: what it tells, and with which exit code.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::damage::{hundred, rot};
use crate::support::{Scratch, numbered};

impl Scratch {
    /// The one JSON object that `verify --json log` writes.
    fn verified(&self, code: i32) -> Value {
        let ran = self.run(&["verify", "--json", "log"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(code), ""));
        assert_eq!(ran.text().lines().count(), 1);
        serde_json::from_slice(&ran.stdout).unwrap()
    }
}

#[test]
fn an_intact_log_exits_with_0_and_tells_each_segment_and_the_sum() {
    let here = Scratch::new();
    here.append(&["log", "--segment-size", "16K", "--sync"], &numbered(0..600));
    let ran = here.run(&["verify", "log"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let text = ran.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), here.segments().len() + 1);
    let records: u64 = (1..lines.len())
        .map(|id| {
            let told = lines[id - 1].strip_prefix(&format!("segment {id}: ")).unwrap();
            told.strip_suffix(" records, 16,384 bytes").unwrap().parse::<u64>().unwrap()
        })
        .sum();
    assert_eq!(records, 600);
    assert_eq!(lines[3], "600 records (0..600) in 3 segments, 49,152 bytes: intact");
}

#[test]
fn damage_exits_with_1_and_names_bytes_and_records() {
    let here = hundred(true);
    for record in [40, 41, 60] {
        rot(&here.segments()[0], record);
    }
    let object = here.verified(1);
    let damaged = object["segments"][0]["damaged"].clone();
    let bytes = fs::read(&here.segments()[0]).unwrap();
    for (range, rotten) in damaged.as_array().unwrap().iter().zip(["Record 40", "Record 60"]) {
        let [from, to] = [0, 1].map(|end| range[end].as_u64().unwrap() as usize);
        assert!(bytes[from..to].windows(9).any(|window| window == rotten.as_bytes()), "{range}");
    }
    let expected = json!({
        "log": "log", "intact": false, "first_seq": 0, "next_seq": 100, "records": 97,
        "lost": [[40, 42], [60, 61]], "cut": [],
        "segments": [{
            "id": 1, "base_seq": 0, "end_seq": 100, "records": 97, "file_bytes": 65536,
            "used_bytes": object["segments"][0]["used_bytes"], "damaged": damaged,
            "lost": [[40, 42], [60, 61]], "spare_copy_damaged": false, "unreadable": null,
        }],
    });
    assert_eq!(object, expected);

    let ran = here.run(&["verify", "log"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    let text = ran.text();
    let [segment, sum] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    let [one, two] = [0, 1].map(|index| format!("{}..{}", damaged[index][0], damaged[index][1]));
    assert_eq!(
        segment,
        format!(
            "segment 1: 97 records, 65,536 bytes; damaged bytes {one} {two}; \
             lost records 40..42 60..61"
        )
    );
    assert_eq!(
        sum,
        "97 records (0..100) in 1 segment, 65,536 bytes: damaged, 3 records lost (40..42 60..61)"
    );
}

#[test]
fn of_much_damage_a_line_tells_some_and_json_all() {
    let here = hundred(true);
    for record in (0..40).step_by(2) {
        rot(&here.segments()[0], record);
    }
    let ran = here.run(&["verify", "log"]);
    assert!(ran.text().ends_with(
        " 20 records lost (0..1 2..3 4..5 6..7 8..9 10..11 12..13 14..15 and 12 more)\n"
    ));
    assert_eq!(here.verified(1)["lost"].as_array().unwrap().len(), 20);
}

#[test]
fn a_segment_without_header_says_why_and_a_spare_copy_is_no_damage() {
    let here = Scratch::new();
    here.append(&["log", "--segment-size", "16K", "--sync"], &numbered(0..600));
    let file = &here.segments()[1];
    let mut bytes = fs::read(file).unwrap();
    bytes[100] ^= 1;
    fs::write(file, &bytes).unwrap();
    let ran = here.run(&["verify", "log"]);
    assert_eq!(ran.code, Some(0));
    assert!(ran.text().contains("; a spare copy is damaged, the other serves\n"), "{}", ran.text());
    bytes[4096 + 100] ^= 1;
    fs::write(file, &bytes).unwrap();
    let object = here.verified(1);
    let segment = &object["segments"][1];
    let why = segment["unreadable"].as_str().unwrap();
    assert!(why.contains("neither copy of the segment's header is whole"), "{why}");
    assert_eq!(segment["lost"], json!([[segment["base_seq"], segment["end_seq"]]]));
    assert!(
        here.run(&["verify", "log"])
            .text()
            .contains("segment 2: 0 records, 16,384 bytes; unreadable: ")
    );
}

/// A log of three segments of which nothing was ever synced.
fn never_synced() -> Scratch {
    loop {
        let here = Scratch::new();
        here.append(&["log", "--segment-size", "16K"], &numbered(0..600));
        // On a machine that stalls for a second, what is there is synced meanwhile.
        if here.stat("durable") == "0" {
            return here;
        }
    }
}

#[test]
fn what_a_power_cut_left_behind_the_end_is_cut_and_no_damage() {
    let here = never_synced();
    let files = here.segments();
    // As after a reboot that lost a piece in the middle.
    fs::remove_file(here.path().join("log/shared")).unwrap();
    rot(&files[1], 300);
    let object = here.verified(0);
    assert_eq!((&object["next_seq"], &object["intact"]), (&json!(300), &json!(true)));
    let cut = object["cut"].as_array().unwrap();
    assert_eq!((cut.len(), &cut[0]["segment"]), (2, &json!(2)));
    assert_eq!(cut[1], json!({ "segment": 3, "bytes": [0, 16384] }));
    let [from, to] = [0, 1].map(|end| cut[0]["bytes"][end].as_u64().unwrap());
    let text = here.run(&["verify", "log"]).text();
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines[1].ends_with(&format!(" records, 16,384 bytes; cut bytes {from}..{to}")),
        "{text}"
    );
    assert_eq!(lines[2], "segment 3: cut, 16,384 bytes");
    assert_eq!(lines[3], "300 records (0..300) in 2 segments, 32,768 bytes: intact");
}

#[test]
fn a_log_is_checked_while_another_process_appends() {
    let here = Scratch::new();
    let mut append = here.command(&["append", "log", "--segment-size", "16K"]);
    let mut append = append.stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = append.stdin.take().unwrap();
    let mut seen = 0;
    for round in 0..30 {
        lines.write_all(&numbered(round * 1000..(round + 1) * 1000)).unwrap();
        lines.flush().unwrap();
        while !here.path().join("log").exists() || here.segments().is_empty() {
            std::thread::yield_now();
        }
        let object = here.verified(0);
        let (next, records) = (object["next_seq"].as_u64().unwrap(), object["records"].as_u64());
        assert!(next >= seen && records == Some(next), "{object}");
        assert_eq!((&object["cut"], &object["lost"]), (&json!([]), &json!([])), "{object}");
        seen = next;
    }
    drop(lines);
    assert!(append.wait_with_output().unwrap().status.success());
    assert_eq!(here.verified(0)["next_seq"], 30_000);
}

#[test]
fn a_segment_of_another_log_is_an_error_that_names_the_cure() {
    let [here, other] = [hundred(true), hundred(true)];
    here.append(&["log", "--segment-size", "16K"], b"");
    let foreign = here.path().join("log/00000000000000000100-2.seg");
    fs::copy(&other.segments()[0], foreign).unwrap();
    let ran = here.run(&["verify", "log"]);
    assert_eq!((ran.code, ran.text().as_str()), (Some(2), ""), "{}", ran.stderr);
    assert!(
        ran.stderr.ends_with("; `maplog repair` sets aside what is no part of a log\n"),
        "{}",
        ran.stderr
    );
}
