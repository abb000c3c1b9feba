//! `maplog tail`.
#![allow(unsafe_code)]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout};
use std::time::{Duration, Instant};

use crate::support::{Ran, Scratch, numbered};

#[test]
fn tail_writes_the_last_records() {
    let here = Scratch::new();
    here.append(&["log", "--segment-size", "16K"], &numbered(0..1500));
    assert!(here.segments().len() > 1);
    let cases: [(&[&str], _); 6] = [
        (&[], 1490..1500),
        (&["-n", "0"], 1500..1500),
        (&["-n", "1"], 1499..1500),
        (&["-n", "1200"], 300..1500),
        (&["-n", "99999"], 0..1500),
        (&["-n", "18446744073709551615"], 0..1500),
    ];
    for (args, expected) in cases {
        let ran = here.run(&[&["tail", "log"], args].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(ran.stdout == numbered(expected), "{args:?}");
    }
}

#[test]
fn tail_durable_stops_where_a_power_cut_would() {
    let here = Scratch::new();
    here.append(&["log", "--sync"], &numbered(0..20));
    let ran = here.run(&["tail", "log", "-n", "3", "--durable"]);
    assert_eq!((ran.code, ran.text()), (Some(0), "record 17\nrecord 18\nrecord 19\n".into()));
}

#[test]
fn tail_reports_damage_and_goes_on_behind_it() {
    let here = Scratch::new();
    here.append(&["log"], &numbered(0..20));
    let segment = here.segments().remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(9).position(|window| window == b"record 15").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let ran = here.run(&["tail", "log"]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.stdout, [numbered(10..15), numbered(16..20)].concat());
    assert!(ran.stderr.contains("lost records 15..16"), "{}", ran.stderr);
}

#[test]
fn tail_of_nothing_says_so() {
    let here = Scratch::new();
    here.run(&["tail", "log"]).assert_refused(2, "no such log");
}

struct Following {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Following {
    fn start(here: &Scratch, args: &[&str]) -> Self {
        let mut child = here.command(&[&["tail", "log", "-f"], args].concat()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Following { child, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    fn expect(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            assert_eq!(self.line(), format!("record {number}\n"));
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _dead_already = self.child.kill();
        let _waited_for_already = self.child.wait();
    }
}

/// Each `append` is a writer that comes, appends, closes the log and goes.
#[test]
fn tail_follows_writers_that_come_and_go() {
    let here = Scratch::new();
    here.append(&["log", "--segment-size", "16K", "--sync"], &numbered(0..5));
    let mut all = Following::start(&here, &["-n", "3"]);
    let mut durable = Following::start(&here, &["-n", "0", "--durable"]);
    all.expect(2..5);
    // Until it has begun there is no telling where it begins.
    std::thread::sleep(Duration::from_millis(500));
    for life in 0..5 {
        let numbers = 5 + 400 * life..405 + 400 * life;
        here.append(&["log", "--segment-size", "16K", "--sync"], &numbered(numbers.clone()));
        all.expect(numbers.clone());
        durable.expect(numbers);
    }
}

/// Also where nothing more is appended.
#[test]
fn tail_ends_when_nobody_reads_its_output() {
    let here = Scratch::new();
    here.append(&["log"], &numbered(0..5));
    let mut child = here.command(&["tail", "log", "-f"]).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut String::new()).unwrap();
    drop(output);
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}

/// A cut, and a trim that overtakes: in JSON each stands where the records go on, and standard error has its
/// sentence.
#[test]
fn tail_tells_of_what_was_cut_or_trimmed_under_it_and_goes_on() {
    let here = Scratch::new();
    here.append(&["log"], &numbered(0..100));
    let mut following = Following::start(&here, &["-n", "1", "--json"]);
    assert_eq!(following.line(), "{\"seq\":99,\"data\":\"record 99\"}\n");
    // SAFETY: only maplog changes the files.
    let log = unsafe { maplog::Log::open(here.path().join("log")) }.unwrap();
    log.truncate_from(50).unwrap();
    log.append("record 50 again").unwrap();
    let rewound: serde_json::Value = serde_json::from_str(&following.line()).unwrap();
    assert_eq!(rewound["rewound"], serde_json::json!({ "to": 50 }), "{rewound}");
    assert_eq!(following.line(), "{\"seq\":50,\"data\":\"record 50 again\"}\n");
    let stop = |signal| {
        let pid = following.child.id().to_string();
        assert!(
            std::process::Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    };
    stop("STOP");
    log.append("never read").unwrap();
    log.trim_before(52).unwrap();
    log.append("the next").unwrap();
    stop("CONT");
    let trimmed: serde_json::Value = serde_json::from_str(&following.line()).unwrap();
    assert_eq!(trimmed["trimmed"], serde_json::json!({ "to": 52 }), "{trimmed}");
    assert_eq!(following.line(), "{\"seq\":52,\"data\":\"the next\"}\n");
    following.child.kill().unwrap();
    let mut told = String::new();
    std::io::Read::read_to_string(&mut following.child.stderr.take().unwrap(), &mut told).unwrap();
    let told: Vec<_> = told.lines().collect();
    assert_eq!(told.len(), 2, "{told:?}");
    for (line, object) in told.iter().zip([rewound, trimmed]) {
        assert_eq!(*line, format!("maplog: {}", object["message"].as_str().unwrap()));
    }
}
