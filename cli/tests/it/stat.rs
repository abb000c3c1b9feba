//! `maplog stat`: the log, its segments, and who has it open.

use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::{Scratch, numbered};

fn told(here: &Scratch) -> Value {
    let ran = here.run(&["stat", "log", "--json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    serde_json::from_slice(&ran.stdout).unwrap()
}

#[test]
fn stat_tells_how_much_there_is_and_of_which_segments() {
    let here = Scratch::new();
    here.append(&["log", "--segment-size", "16K", "--sync"], &numbered(0..500));
    here.append(&["log", "--segment-size", "16K"], &numbered(500..501));
    let files = here.segments();
    let bytes: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    assert_eq!((files.len(), bytes), (2, 32_768));
    let ran = here.run(&["stat", "log"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let text = ran.text();
    let (log, segments) = text.split_once("\n\n").unwrap();
    let waste = here.stat("waste");
    assert_eq!(
        log,
        format!(
            "log       log\nrecords   501\nfirst     0\nnext      501\ndurable   500\nsegments  2\n\
             bytes     32,768\nwaste     {waste}\ntrimmed   0\nappending nobody\nreading   nobody seen"
        )
    );
    let rows: Vec<Vec<_>> = segments.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 3);
    assert_eq!((rows[1][0], rows[2][0], rows[2][2]), ("1", "2", "16,384"));
    assert_eq!((rows[1][5], rows[2][5], rows[2][4]), ("first", "roll", "500"));
    assert_eq!((rows[1][7], rows[2][7]), ("ended", "open"));
    assert!(rows[1][1].starts_with("0..") && rows[2][1].ends_with("..501"), "{segments}");
}

#[test]
fn in_json_each_segment_has_all_that_is_known() {
    let here = Scratch::new();
    here.append(&["log", "--first-seq", "7", "--sync"], &numbered(0..10));
    let object = told(&here);
    let segment = &object["segments"][0];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - 60.0..=now).contains(&segment["created"].as_f64().unwrap()), "{segment}");
    // A header, a mark, ten records of 8 bytes.
    let used = 8192 + 32 + 10 * (16 + 16);
    let expected = json!({
        "log": "log", "records": 10, "first_seq": 7, "next_seq": 17, "durable_seq": 17,
        "bytes": 65536, "trimmed": 0,
        "waste_bytes": 65536 - used, "appending": 0, "processes": [],
        "segments": [{
            "id": 1, "base_seq": 7, "end_seq": 17, "file_bytes": 65536, "used_bytes": used,
            "created": segment["created"], "reason": "first", "epoch": 1,
            "noted_durable_seq": 17, "state": "closed",
        }],
    });
    assert_eq!(object, expected);
}

#[test]
fn a_header_that_is_lost_hides_what_it_said_and_nothing_else() {
    let here = Scratch::new();
    here.append(&["log", "--segment-size", "16K", "--sync"], &numbered(0..600));
    let file = &here.segments()[1];
    let mut bytes = std::fs::read(file).unwrap();
    bytes[100] ^= 1;
    bytes[4096 + 100] ^= 1;
    std::fs::write(file, bytes).unwrap();
    let object = told(&here);
    let segment = &object["segments"][1];
    assert_eq!((&segment["state"], &segment["created"]), (&json!("unreadable"), &Value::Null));
    assert_eq!(object["segments"].as_array().unwrap().len(), 3);
    assert!(here.run(&["stat", "log"]).text().contains("  unreadable\n"));
}

/// Waits until it is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn who_has_the_log_open_is_told_while_they_do() {
    let here = Scratch::new();
    here.append(&["log"], &numbered(0..10));
    assert_eq!((here.stat("appending"), here.stat("reading")), ("nobody".into(), "nobody".into()));
    let mut append = here.command(&["append", "log"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut tail = here.command(&["tail", "log", "-f"]).spawn().unwrap();
    let pids = [append.id(), tail.id()];
    until("both are there", || {
        let object = told(&here);
        let is = |pid: u32, appends: bool| {
            let one = json!({ "pid": pid, "name": "maplog", "appends": appends });
            object["processes"].as_array().unwrap().contains(&one)
        };
        object["appending"] == 1 && is(pids[0], true) && is(pids[1], false)
    });
    let text = here.run(&["stat", "log"]).text();
    assert!(text.contains(&format!("\nappending 1 process: {} maplog\n", pids[0])), "{text}");
    assert!(text.contains(&format!("\nreading   {} maplog\n", pids[1])), "{text}");
    append.kill().unwrap();
    append.wait().unwrap();
    let object = told(&here);
    assert_eq!(
        (&object["appending"], object["processes"].as_array().unwrap().len()),
        (&json!(0), 1)
    );
    tail.kill().unwrap();
    tail.wait().unwrap();
    assert_eq!(told(&here)["processes"], json!([]));
}
