//! `maplog bench`: that it measures all it says, tells it in each form, and leaves nothing behind.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::Scratch;

const WORKS: [&str; 7] = ["append", "batch", "sync", "group commit", "iterate", "get", "tail"];

#[test]
fn every_work_is_measured_by_every_way_and_nothing_is_left_behind() {
    let here = Scratch::new();
    let args = ["bench", ".", "--seconds", "1", "--record", "1K", "--json", "--svg", "chart.svg"];
    let ran = here.run(&args);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let told: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((&told["record_bytes"], &told["seconds"]), (&1024.into(), &1.into()));
    let works = told["works"].as_array().unwrap();
    let names: Vec<_> = works.iter().map(|work| work["work"].as_str().unwrap()).collect();
    assert_eq!(names, WORKS);
    for work in works {
        let is_tail = work["work"] == "tail";
        let ways = work["ways"].as_array().unwrap();
        let names: Vec<_> = ways.iter().map(|way| way["way"].as_str().unwrap()).collect();
        let all = ["maplog", "mapping", "write"];
        assert_eq!(names, if is_tail { vec!["maplog", "write"] } else { all.to_vec() });
        for way in ways {
            let number = |name: &str| way[name].as_f64().unwrap_or(0.0);
            assert_eq!(number("records_per_second") > 0.0, !is_tail, "{work}");
            assert!(number("calls") >= 1.0 && number("p50_ns") > 0.0, "{work}");
            let parts = ["p50_ns", "p99_ns", "p999_ns", "max_ns"].map(number);
            assert!(parts.is_sorted(), "{work}");
        }
    }
    let svg = std::fs::read_to_string(here.path().join("chart.svg")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert!(WORKS.iter().all(|work| svg.contains(&format!(">{work}</text>"))), "{svg}");
    assert_eq!(svg.matches("<circle").count(), 20 * 4);
    assert_eq!(here.names(""), ["chart.svg"]);
}

#[test]
fn the_table_has_a_line_for_each_and_says_what_the_clock_costs() {
    let here = Scratch::new();
    let ran = here.run(&["bench", "--seconds", "1"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let text = ran.text();
    assert!(text.starts_with("records of 100 bytes in .\n\nwork "), "{text}");
    for work in WORKS {
        let line = text.lines().find(|line| line.starts_with(work)).unwrap();
        let cells: Vec<_> = line[12..].split_whitespace().collect();
        assert_eq!((cells[0], cells.len()), ("maplog", 2 + 4 * 2), "{line}");
    }
    assert!(text.contains("\nEach time has a look at the clock in it, "), "{text}");
    assert_eq!(here.names(""), [""; 0]);
}

#[test]
fn an_interrupted_bench_leaves_nothing_behind() {
    for signal in ["INT", "TERM", "HUP"] {
        let here = Scratch::new();
        let mut bench = here.command(&["bench", "--seconds", "60"]).spawn().unwrap();
        let begun = Instant::now();
        while here.names("").is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it does not begin");
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(200));
        let signalled = Command::new("kill").args(["-s", signal, &bench.id().to_string()]).status();
        assert!(signalled.unwrap().success());
        let status = bench.wait().unwrap();
        let number = match signal {
            "INT" => 2,
            "TERM" => 15,
            _ => 1,
        };
        assert_eq!(status.signal(), Some(number), "{status}");
        assert_eq!(here.names(""), [""; 0], "after {signal}");
    }
}

#[test]
fn what_cannot_be_written_to_is_found_at_once() {
    let here = Scratch::new();
    let begun = Instant::now();
    here.run(&["bench", "nowhere"])
        .assert_refused(2, ": No such file or directory (os error 2); name ");
    here.run(&["bench", "--svg", "no/chart"])
        .assert_refused(2, "no/chart: No such file or directory");
    for args in [["--record", "15"], ["--record", "65K"], ["--seconds", "0"]] {
        assert_eq!(here.run(&[&["bench"], &args[..]].concat()).code, Some(2), "{args:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(here.names(""), [""; 0]);
}
