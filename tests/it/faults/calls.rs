//! Each system call that the log makes, made to fail, one at a time and for good.
//!
//! By default each pair of call and error is tried at several n, always the same;
//! `MAPLOG_FAULTS=all cargo test --test it faults::calls -- --nocapture` runs every n with every error.

use std::fs;

use super::inject::{Baseline, Case, ERRORS, ERRORS_OF_FALLOCATE, Outcome, SYNCS, run_all};
use crate::strace::{can_trace, traced};
use crate::support::{segments, tempdir};

/// How many n of a pair of call and error are tried if not all are.
const MOST_OF_A_PAIR: usize = 10;

fn whole_matrix() -> bool {
    std::env::var("MAPLOG_FAULTS").is_ok_and(|value| value == "all")
}

fn errors_of(call: &str) -> &'static [&'static str] {
    if call == "fallocate" { &ERRORS_OF_FALLOCATE } else { &ERRORS }
}

/// Every n of every call with every error; or, so that it is done in half a minute, each pair of
/// call and error with a few n, no two errors of a call with the same.
fn single_failures(baseline: &Baseline, also: Option<&'static str>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (&call, &count) in &baseline.counts {
        let errors = errors_of(call);
        for (index, &error) in errors.iter().enumerate() {
            let all = baseline.before[call] + 1..=count;
            let own: Vec<_> =
                all.filter(|nth| whole_matrix() || nth % errors.len() == index).collect();
            let step = if whole_matrix() { 1 } else { own.len().div_ceil(MOST_OF_A_PAIR).max(1) };
            cases.extend(own.into_iter().step_by(step).map(|nth| Case {
                call,
                error,
                when: nth.to_string(),
                sync: "manual",
                also,
            }));
        }
    }
    cases
}

/// What a signal interrupts is done again, and an allocation that the file system does not know is
/// made by writing: nobody hears of either.
fn is_retried(case: &Case, call: &str) -> bool {
    let never_interrupted = ["mmap", "statx", "fstat", "newfstatat"].contains(&case.call)
        || call.contains("MADV_WIPEONFORK")
        || call.contains("MADV_DONTFORK");
    match case.error {
        "EINTR" => !never_interrupted,
        "EOPNOTSUPP" => true,
        _ => false,
    }
}

/// One call fails once.
#[test]
fn a_call_that_fails_once_costs_no_record_and_no_further_call() {
    if !can_trace() {
        return;
    }
    let baseline = Baseline::new("manual", None);
    let cases = single_failures(&baseline, None);
    let outcomes = run_all(&baseline.names, &cases, |case, run| {
        let injected: Vec<_> = run.injected().collect();
        assert_eq!(injected.len(), 1, "{case:?} {}", run.trace);
        let outcome = run.outcome();
        assert!(run.told.finished, "{case:?} {:?}", run.told.failures);
        assert!(run.told.failures.len() <= 1, "{case:?} {:?}", run.told.failures);
        assert!(outcome != Outcome::Poisoned || SYNCS.contains(&case.call), "{case:?}");
        if is_retried(case, injected[0]) {
            assert_eq!(
                outcome,
                Outcome::Invisible,
                "{case:?} {injected:?} {:?}",
                run.told.failures
            );
        }
    });
    println!("{} single failures: {outcomes:?}; of calls {:?}", cases.len(), baseline.counts);
    assert!(cases.len() > 200, "{}", cases.len());
}

/// A sync fails, and then another call, while what it left in doubt is written anew and after that.
#[test]
fn g8_a_call_that_fails_while_doubts_are_written_anew_costs_no_record() {
    if !can_trace() {
        return;
    }
    for also in ["fdatasync:error=EIO:when=8", "fsync:error=EIO:when=3"] {
        let baseline = Baseline::new("manual", Some(also));
        let mut cases = single_failures(&baseline, Some(also));
        // Of one call strace lets only one rule be.
        cases.retain(|case| !also.starts_with(case.call));
        if !whole_matrix() {
            cases = cases.into_iter().step_by(4).collect();
        }
        let outcomes = run_all(&baseline.names, &cases, |case, run| {
            assert!(run.told.finished && run.told.poisoned, "{case:?} {:?}", run.told.failures);
        });
        println!("{} failures after a sync had failed: {outcomes:?}", cases.len());
        assert!(cases.len() > 20, "{}", cases.len());
    }
}

/// A call fails and goes on failing, as on a full disk or with no descriptor left: nothing that was
/// acknowledged is lost, and the log opens and goes on once it works again.
#[test]
fn a_call_that_fails_for_good_costs_no_record() {
    if !can_trace() {
        return;
    }
    let baseline = Baseline::new("manual", None);
    let errors = [
        ("fallocate", "ENOSPC"),
        ("fallocate", "EDQUOT"),
        ("fallocate", "EOPNOTSUPP"),
        ("pwrite64", "ENOSPC"),
        ("openat", "EMFILE"),
        ("mmap", "ENOMEM"),
        ("madvise", "EFAULT"),
        ("madvise", "EINVAL"),
        ("pread64", "EIO"),
        ("fstat", "EIO"),
        ("fdatasync", "EIO"),
        ("fsync", "EIO"),
        ("unlinkat", "EIO"),
        ("renameat2", "EIO"),
    ];
    let cases: Vec<_> = errors
        .into_iter()
        .flat_map(|(call, error)| {
            let count = baseline.counts[call];
            let step = if whole_matrix() { 1 } else { count.div_ceil(6) };
            (1..=count).step_by(step).map(move |nth| Case {
                call,
                error,
                when: format!("{nth}+"),
                sync: "manual",
                also: None,
            })
        })
        .collect();
    // The last file that is opened is the gate's, when the last handle is dropped, which tells nobody:
    // the log is found as it is left, and not as closed.
    let last_opened = format!("{}+", baseline.counts["openat"]);
    let outcomes = run_all(&baseline.names, &cases, |case, run| {
        let expected = match (case.call, case.error) {
            ("fallocate", "EOPNOTSUPP") => Outcome::Invisible,
            ("openat", _) if case.when == last_opened => Outcome::Invisible,
            ("fallocate" | "openat" | "renameat2", _) => Outcome::GaveUp,
            _ => return,
        };
        assert_eq!(run.outcome(), expected, "{case:?} {:?}", run.told.failures);
        let kind = match case.error {
            "ENOSPC" => "StorageFull",
            "EDQUOT" => "QuotaExceeded",
            "EMFILE" => "TooManyOpenFiles",
            _ => return,
        };
        let named = |failure: &String| failure.split(' ').nth(1) == Some(kind);
        assert!(run.told.failures.iter().all(named), "{case:?} {:?}", run.told.failures);
    });
    println!("{} lasting failures: {outcomes:?}", cases.len());
}

/// A file system whose rename cannot refuse to replace: a link gives the name, and what fails behind it
/// must not make the log go on in a segment that its successor cut.
#[test]
fn a_name_given_by_a_link_is_given_whatever_fails_behind_it() {
    if !can_trace() {
        return;
    }
    let baseline = Baseline::new("manual", None);
    let made = baseline.counts["renameat2"];
    let mut cases = Vec::new();
    for (call, error, most) in
        [("linkat", "EIO", made), ("unlinkat", "EIO", 2 * made), ("unlinkat", "EINTR", 2 * made)]
    {
        cases.extend((1..=most).map(|nth| Case {
            call,
            error,
            when: nth.to_string(),
            sync: "manual",
            also: Some("renameat2:error=EINVAL"),
        }));
    }
    let outcomes = run_all(&baseline.names, &cases, |case, run| {
        let failed = |line: &&str| line.contains(case.call);
        assert_eq!(run.injected().filter(failed).count(), 1, "{case:?} {}", run.trace);
        assert_ne!(run.outcome(), Outcome::GaveUp, "{case:?} {:?}", run.told.failures);
    });
    println!("{} failures beside a rename that is not there: {outcomes:?}", cases.len());
}

/// Under `Always` and `Every`, where a sync fails inside an append or in the helper thread.
#[test]
fn a_sync_that_fails_poisons_under_every_policy() {
    if !can_trace() {
        return;
    }
    for sync in ["always", "every"] {
        let baseline = Baseline::new(sync, None);
        let cases: Vec<_> = SYNCS
            .into_iter()
            .flat_map(|call| (1..=baseline.counts[call]).map(move |nth| (call, nth)))
            // How often the helper thread comes is left to the clock, but so often it does.
            .filter(|&(call, nth)| sync == "always" || call == "fdatasync" && nth <= 8)
            .step_by(if whole_matrix() || sync == "every" { 1 } else { 4 })
            .map(|(call, nth)| Case { call, error: "EIO", when: nth.to_string(), sync, also: None })
            .collect();
        let outcomes = run_all(&baseline.names, &cases, |case, run| {
            let of_a_segment = |line: &str| line.contains(".seg>");
            // What the last handle's end could not sync is told to whoever opens next.
            if run.injected().any(of_a_segment) && !run.told.finished {
                assert_eq!(run.outcome(), Outcome::Poisoned, "{case:?} {:?}", run.told.failures);
            }
        });
        println!("{} failing syncs under {sync}: {outcomes:?}", cases.len());
        assert!(outcomes[&Outcome::Poisoned] > 3, "{outcomes:?}");
    }
}

/// Attack 18, the other half: a log whose creator died before the directory above was synced, and that
/// another process opened and synced, must not vanish in a power cut.
#[test]
fn attack_18_who_takes_over_a_creation_that_died_syncs_the_directory_above() {
    if !can_trace() {
        return;
    }
    let role = "strace::creates_a_log_and_appends";
    for nth in [1, 2] {
        let dir = tempdir();
        let top = dir.path().canonicalize().unwrap();
        let (log, trace) = (top.join("log"), top.join("trace"));
        let kill = format!("inject=fsync:signal=KILL:when={nth}");
        let died = traced(&["-o", "/dev/null", "-e", "trace=fsync", "-e", &kill], role, &log)
            .output()
            .unwrap();
        assert!(!died.status.success(), "it dies at its directory's sync: {died:?}");
        assert_eq!(segments(&log).len(), 1, "the first segment has its name");
        let watch = ["-o", trace.to_str().unwrap(), "-e", "trace=fsync,write"];
        let done = traced(&watch, role, &log).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        let trace = fs::read_to_string(trace).unwrap();
        let above = format!("<{}>", top.to_str().unwrap());
        let place = |what: &dyn Fn(&str) -> bool| trace.lines().position(what);
        let synced = place(&|line| line.contains("fsync(") && line.contains(&above));
        let appended = place(&|line| line.contains("write(1") && line.contains("appended"));
        assert!(synced.is_some() && synced < appended, "{trace}");
    }
}
