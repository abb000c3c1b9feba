//! What the feature `tracing` tells: everything that happens to a log, nothing for a record.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use maplog::{ErrorKind, Log, Retention, SyncPolicy};
use tracing::Level;

use crate::strace::{can_trace, traced};
use crate::support::{SMALL, image, tempdir};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The lines that `work` made a subscriber write.
fn told(work: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_ansi(false)
        .without_time()
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap().lines().map(|line| line.trim().to_owned()).collect()
}

fn open(path: &Path) -> Log {
    let options = Log::options().segment_bytes(SMALL).sync(SyncPolicy::Manual);
    let options = options.retention(Retention::default().max_segments(2));
    // SAFETY: only maplog changes the files.
    unsafe { options.open(path) }.unwrap()
}

#[track_caller]
fn assert_told(lines: &[String], level: &str, words: &[&str]) {
    let is_it =
        |line: &&String| line.starts_with(level) && words.iter().all(|word| line.contains(word));
    assert!(lines.iter().any(|line| is_it(&line)), "{level} {words:?}: {lines:#?}");
}

#[test]
fn everything_that_happens_to_a_log_is_told_and_no_record() {
    let home = tempdir();
    let path = home.path();
    let lines = told(|| {
        let log = open(path);
        for _ in 0..300 {
            log.append([5; 100]).unwrap();
        }
        log.sync().unwrap();
        log.trim_before(log.next_seq() - 3).unwrap();
        log.truncate_from(log.next_seq() - 1).unwrap();
        log.reset(1000).unwrap();
    });
    let log = path.file_name().unwrap().to_str().unwrap();
    assert_told(&lines, "INFO", &["open{", log, "opened", "next_seq=0", "joined=false"]);
    assert_told(&lines, "INFO", &["segment made", "segment=2", "base_seq=", "reason=Roll"]);
    assert_told(&lines, "INFO", &["trimmed", "first_seq="]);
    assert_told(&lines, "DEBUG", &["segment removed", "segment=1"]);
    assert_told(&lines, "DEBUG", &["sync{", log, "synced", "durable_seq=300"]);
    assert_told(&lines, "INFO", &["cut", "next_seq=299", "epoch=2", "reason=Cut"]);
    assert_told(&lines, "INFO", &["cut", "next_seq=1000", "epoch=3", "reason=Reset"]);
    assert!(lines.len() < 60, "300 records, {} lines", lines.len());
}

#[test]
fn a_recovery_is_told_with_what_it_found() {
    let home = tempdir();
    let log = open(home.path());
    log.append("synced").unwrap();
    log.sync().unwrap();
    log.append("not").unwrap();
    let cut = image(home.path());
    let lines = told(|| {
        let log = open(cut.path());
        log.append("behind").unwrap();
    });
    assert_told(&lines, "WARN", &["it had not been closed", "recovery=Recovery"]);
    assert_told(&lines, "INFO", &["segment made", "reason=Recovery", "epoch=2"]);
}

#[test]
fn a_failed_sync_is_told() {
    if !can_trace() {
        return;
    }
    let home = tempdir();
    let calls = ["-o", "/dev/null", "-e", "inject=fdatasync:error=EIO:when=2+"];
    let done = traced(&calls, "traced::fails_to_sync", &home.path().join("log")).output().unwrap();
    let out = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{out}");
    let told = |line: &str| {
        line.contains("ERROR") && line.contains("poisoned") && line.contains("os error 5")
    };
    assert!(out.lines().any(told), "{out}");
}

#[test]
#[ignore = "a child"]
fn fails_to_sync() {
    let path = std::env::var("LOG").unwrap();
    let lines = told(|| {
        let log = open(path.as_ref());
        log.append("lost").unwrap();
        assert_eq!(log.sync().unwrap_err().kind(), ErrorKind::Poisoned);
    });
    println!("\n{}", lines.join("\n"));
}
