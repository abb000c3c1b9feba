//! The script of `script.rs` under strace, which lets calls fail, and what must hold after each run.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use maplog::{ErrorKind, Log, verify};

use super::script::Told;
use crate::strace::traced;
use crate::support::{Everything, everything, image, open, read, segments, tempdir};

/// What any call may fail with, beside what only some do.
pub const ERRORS: [&str; 4] = ["EIO", "ENOSPC", "ENOMEM", "EINTR"];
pub const ERRORS_OF_FALLOCATE: [&str; 6] =
    ["EIO", "ENOSPC", "ENOMEM", "EINTR", "EDQUOT", "EOPNOTSUPP"];

/// The calls that are made to fail, those of them that name a file or a descriptor.
const CALLS: [&str; 18] = [
    "open",
    "openat",
    "mkdir",
    "mkdirat",
    "mmap",
    "fallocate",
    "fdatasync",
    "fsync",
    "renameat2",
    "linkat",
    "unlinkat",
    "pread64",
    "pwrite64",
    "read",
    "statx",
    "fstat",
    "newfstatat",
    "getdents64",
];
/// Files that do not belong to the log and are read all the same.
const ELSEWHERE: [&str; 2] = ["/dev/urandom", "/proc/sys/kernel/random/boot_id"];
/// The log's files beside its segments.
const OWN_NAMES: [&str; 7] = ["lock", "shared", "wake", "next-0", "copy-0", "copy-1", "copy-2"];
/// Those whose failure leaves nobody knowing what the disk holds.
pub const SYNCS: [&str; 2] = ["fdatasync", "fsync"];
/// It names neither, so that those of the allocator come in between.
const MADVISE: &str = "madvise";

/// Longer than any run takes on a machine with other work to do.
const HANG: Duration = Duration::from_secs(60);
const WORKERS: usize = 2;
/// In place of a number: nothing fails.
const NEVER: &str = "";

pub type Outcomes = BTreeMap<Outcome, usize>;

/// One run of the script.
#[derive(Clone, Debug)]
pub struct Case {
    pub call: &'static str,
    pub error: &'static str,
    /// As strace says it: `3` is the third call, `3+` the third and all after it.
    pub when: String,
    pub sync: &'static str,
    /// Another call that fails in the same run.
    pub also: Option<&'static str>,
}

/// How a run went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// As if nothing had failed.
    Invisible,
    /// A step failed, and worked when it was tried again.
    Told,
    Poisoned,
    /// A step failed as long as the call did.
    GaveUp,
}

/// A run that is over.
pub struct Run {
    pub told: Told,
    /// What strace saw.
    pub trace: String,
    log: PathBuf,
    _dir: tempfile::TempDir,
}

/// The script's calls on the log's files when nothing fails.
pub struct Baseline {
    pub counts: BTreeMap<&'static str, usize>,
    /// Those made before something failed in the baseline.
    pub before: BTreeMap<&'static str, usize>,
    /// The log's files, from its directory.
    pub names: Vec<String>,
}

fn finish(mut command: Command, what: &dyn std::fmt::Debug) -> ExitStatus {
    use std::os::unix::process::CommandExt;
    let mut child = command.process_group(0).spawn().unwrap();
    let since = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if since.elapsed() > HANG {
            let group = rustix::process::Pid::from_child(&child);
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            panic!("it hangs: {what:?}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What strace watches: calls on the log's files, or those that name no file.
fn watched(names: &[String], log: &Path, call: &str) -> Vec<String> {
    if call == MADVISE {
        return vec!["-e".into(), format!("trace={MADVISE},{}", SYNCS.join(","))];
    }
    let mut paths = vec![log.parent().unwrap().to_owned(), log.to_owned()];
    paths.extend(ELSEWHERE.map(PathBuf::from));
    paths.extend(names.iter().map(|name| log.join(name)));
    let paths = paths.iter().flat_map(|path| ["-P".into(), path.to_str().unwrap().into()]);
    let calls = ["-e".into(), format!("trace={}", CALLS.join(","))];
    calls.into_iter().chain(paths).collect()
}

/// Runs the script with these failures; `names` are the files of the log whose calls count.
fn run(names: &[String], case: &Case) -> Run {
    let dir = tempdir();
    let top = dir.path().canonicalize().unwrap();
    let [log, trace, out, err] = ["log", "trace", "out", "err"].map(|name| top.join(name));
    let Case { call, error, when, also, sync } = case;
    let mut arguments = vec!["--seccomp-bpf".into(), "-o".into(), trace.to_str().unwrap().into()];
    arguments.extend(watched(names, &log, call));
    if when != NEVER {
        arguments.extend(["-e".into(), format!("inject={call}:error={error}:when={when}")]);
    }
    if let Some(also) = also {
        arguments.extend(["-e".into(), format!("inject={also}")]);
    }
    let mut command = traced(&arguments, "faults::script::is_lived", &log);
    command.env("SYNC", sync);
    command.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
    let status = finish(command, case);
    let [out, err, trace] = [out, err, trace].map(|file| fs::read_to_string(file).unwrap());
    assert!(status.success(), "no panic, no signal: {case:?} {status} {out} {err}\n{trace}");
    assert!(!err.contains("panicked"), "{case:?} {err}");
    Run { told: Told::read(&out), trace, log, _dir: dir }
}

impl Run {
    /// The calls that were made to fail, as strace shows them.
    pub fn injected(&self) -> impl Iterator<Item = &str> {
        self.trace.lines().filter(|line| line.contains("(INJECTED)"))
    }

    pub fn outcome(&self) -> Outcome {
        let Told { failures, poisoned, gave_up, finished, .. } = &self.told;
        assert!(*finished || *poisoned || *gave_up, "{:?}", self.told);
        match (poisoned, gave_up) {
            (_, true) => Outcome::GaveUp,
            (true, _) => Outcome::Poisoned,
            _ if failures.is_empty() => Outcome::Invisible,
            _ => Outcome::Told,
        }
    }

    /// Everything that was acknowledged is there and right, and nothing else: for this boot and in a
    /// copy, to the next reader and the next writer, whose appends need new segments.
    fn check(&self, case: &Case) {
        let promised = self.told.records();
        if !self.log.exists() {
            assert_eq!((promised.len(), self.outcome()), (0, Outcome::GaveUp), "{case:?}");
            return;
        }
        let complete = |found: Everything| {
            assert_eq!(found.lost, [], "{case:?}");
            let extra = found.records.len().saturating_sub(promised.len());
            assert_eq!(found.records[..found.records.len() - extra], promised, "{case:?}");
            // Under Always, an append whose sync failed is in the log and was not acknowledged.
            assert!(extra == 0 || case.sync == "always" && extra <= 4, "{extra} more, {case:?}");
            found.records.len() as u64
        };
        match read(&self.log) {
            Ok(reader) => complete(everything(&reader)),
            Err(error) if error.kind() == ErrorKind::NotALog && promised.is_empty() => 0,
            Err(error) => panic!("{case:?} {error}"),
        };
        let copy = image(&self.log);
        // A failed sync is no reason to refuse: what it left in doubt is written anew.
        for path in [&self.log, copy.path()] {
            let log = open(path).unwrap_or_else(|error| panic!("{case:?} {error}"));
            complete(everything(&log.reader()));
            goes_on(log, case);
        }
    }
}

/// Appends until two new segments were needed, closes, and finds everything again.
fn goes_on(log: Log, case: &Case) {
    let (path, next) = (log.path().to_owned(), log.next_seq());
    for at in 0..20 {
        assert_eq!(log.append([at as u8; 1000]).unwrap(), next + at, "{case:?}");
    }
    log.close().unwrap();
    let log = open(&path).unwrap();
    assert!(log.recovery().clean, "{case:?} {:?}", log.recovery());
    assert_eq!(log.next_seq(), next + 20, "{case:?}");
    drop(log);
    let found = verify(&path, |_, _| {}).unwrap();
    assert!(found.is_intact(), "{case:?} {found:?}");
    for entry in fs::read_dir(&path).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let belongs = ["lock", "shared", "wake"].contains(&&*name) || name.ends_with(".seg");
        assert!(belongs, "{name} is left over: {case:?}");
    }
}

impl Baseline {
    /// `also` fails in the baseline, too.
    pub fn new(sync: &'static str, also: Option<&'static str>) -> Baseline {
        let quiet = |call| Case { call, error: "", when: NEVER.into(), sync, also };
        let mut names: Vec<String> = OWN_NAMES.map(String::from).into();
        let first = run(&names, &quiet("open"));
        assert!(first.told.finished || sync == "always", "{:?}", first.told);
        assert_eq!(first.told.failures.is_empty(), also.is_none(), "{:?}", first.told.failures);
        let files = segments(&first.log);
        assert!(files.len() >= 5, "the script rolls, {files:?}");
        names.extend(files.iter().map(|path| path.file_name().unwrap().to_str().unwrap().into()));
        let traces = [run(&names, &quiet("open")).trace, run(&names, &quiet(MADVISE)).trace];
        let watch = |part: &dyn Fn(&str) -> usize| {
            let of = |call| {
                let trace = &traces[usize::from(call == MADVISE)];
                (call, count(&trace[..part(trace)], call))
            };
            CALLS.into_iter().chain([MADVISE]).map(of).collect()
        };
        let counts = watch(&str::len);
        let before = watch(&|trace| trace.find("(INJECTED)").unwrap_or(0));
        Baseline { counts, before, names }
    }
}

/// How often the thread that does it most makes `call`: strace counts for each thread.
fn count(trace: &str, call: &str) -> usize {
    let mut of_threads = BTreeMap::<&str, usize>::new();
    for line in trace.lines() {
        let (thread, said) = line.split_once(' ').unwrap();
        let is_call =
            said.trim_start().strip_prefix(call).is_some_and(|rest| rest.starts_with('('));
        *of_threads.entry(thread).or_default() += usize::from(is_call);
    }
    of_threads.into_values().max().unwrap_or(0)
}

/// Runs all cases on a few threads, and says how many came to which outcome. A case that goes wrong
/// does not keep the others from being tried.
pub fn run_all(names: &[String], cases: &[Case], judge: impl Fn(&Case, &Run) + Sync) -> Outcomes {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Outcomes::new());
    let wrong = Mutex::new(Vec::new());
    let one = |case: &Case| {
        let run = run(names, case);
        run.check(case);
        judge(case, &run);
        *outcomes.lock().unwrap().entry(run.outcome()).or_default() += 1;
    };
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if catch_unwind(AssertUnwindSafe(|| one(case))).is_err() {
                        wrong.lock().unwrap().push(case);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} went wrong: {wrong:#?}", wrong.len(), cases.len());
    outcomes.into_inner().unwrap()
}
