//! `maplog cat --json` and the Python reader's say the same of the same logs.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Ran, Scratch};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// What the Python reader's `cat --json` gives; `None` where there is no python3.
fn python(log: &Path) -> Option<Ran> {
    let mut command = Command::new("python3");
    command
        .args(["-m", "maplog", "cat", "--json"])
        .arg(log)
        .current_dir(root().join("clients/python"));
    command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    command.output().ok().map(Ran::from)
}

/// The objects of records, which is all but those of losses.
fn records(ran: &Ran) -> Vec<Value> {
    let text = ran.text();
    let objects = text.lines().map(|line| serde_json::from_str(line).unwrap());
    objects.filter(|object: &Value| object.get("seq").is_some()).collect()
}

fn compare(here: &Scratch, log: &Path, at_least: usize) -> bool {
    let Some(python) = python(log) else {
        println!("skipped: needs python3");
        return false;
    };
    let own = here.run(&["cat", "--json", log.to_str().unwrap()]);
    assert_eq!(own.code, python.code, "{}: {}", log.display(), python.stderr);
    let (own, python) = (records(&own), records(&python));
    assert!(own.len() >= at_least, "{}: {} records", log.display(), own.len());
    assert_eq!(own, python, "{}", log.display());
    true
}

#[test]
fn the_python_reader_gives_the_same_objects() {
    let here = Scratch::new();
    for name in ["closed", "unclosed", "torn", "damaged", "recovered"] {
        if !compare(&here, &root().join("tests/golden").join(name), 1) {
            return;
        }
    }
    // Text of every kind, bytes that are none, and nothing at all.
    let lines = "plain\n\n\"quoted\\\"\n\u{1F980} \u{e9}\n\ttab\u{7f}\n".repeat(300);
    here.append(&["log", "--segment-size", "16K"], lines.as_bytes());
    here.append(&["log"], b"\xff\xfe no text\n\xc3\x28\n");
    let log = here.path().join("log");
    assert!(compare(&here, &log, 1502));
    // A rotten byte in the middle of a segment.
    let segment = here.segments().remove(1);
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[12_000] ^= 4;
    std::fs::write(segment, bytes).unwrap();
    assert!(compare(&here, &log, 1490));
    assert_eq!(here.run(&["cat", "--json", "log"]).code, Some(1));
}
