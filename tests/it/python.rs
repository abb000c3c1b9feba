//! The reader in clients/python, written from docs/format.md alone, beside the crate's: both must give the
//! same records, the same lost ones and the same damaged bytes, whatever was done to a log or its files (G13).
//!
//! `MAPLOG_PYTHON_SEEDS=500` harms so many logs in place of 40; `MAPLOG_PYTHON_SEED=17` only that one, which is what a
//! failure names.

mod follow;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use fastrand::Rng;
use maplog::{Error, ErrorKind, Log};
use tempfile::TempDir;

use crate::support::{
    DATA_START, NamedOnFailure, image, killed_after, open, read, segments, tempdir,
};

const SEEDS: u64 = 40;
const HARMS_EACH: usize = 10;
const OPERATIONS: usize = 50;

/// python3 with the package on its path; None, and a line that says so, where there is none.
fn python(script: &str) -> Option<Command> {
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python");
    let found = Command::new("python3").arg("--version").stdout(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        println!("skipped: needs python3");
        return None;
    }
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", &client).env("PYTHONDONTWRITEBYTECODE", "1").current_dir(&client);
    command.args(script.split(' '));
    Some(command)
}

/// A python that tells what logs hold, one at a time.
struct Scanner {
    child: Child,
    asked: ChildStdin,
    told: BufReader<ChildStdout>,
}

impl Scanner {
    fn start() -> Option<Self> {
        let mut child =
            python("tests/scans.py")?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let asked = child.stdin.take().unwrap();
        let told = BufReader::new(child.stdout.take().unwrap());
        Some(Scanner { child, asked, told })
    }

    fn scan(&mut self, log: &Path) -> String {
        writeln!(self.asked, "{}", log.display()).unwrap();
        let mut text = String::new();
        for line in self.told.by_ref().lines().map(Result::unwrap) {
            if line == "." {
                return text;
            }
            writeln!(text, "{line}").unwrap();
        }
        panic!("python died over {}", log.display());
    }

    fn assert_reads_as_the_crate_does(&mut self, log: &Path, case: &str) -> String {
        let expected = crate_scan(log).unwrap_or_else(|error| error_line(&error));
        let found = self.scan(log);
        if found != expected {
            let differs = found.lines().zip(expected.lines()).position(|(one, two)| one != two);
            let short = |text: &str, other: &str| {
                let lines = text
                    .lines()
                    .skip(
                        differs
                            .unwrap_or(text.lines().count().min(other.lines().count()))
                            .saturating_sub(2),
                    )
                    .take(12);
                lines.map(|line| format!("  {line:.60}\n")).collect::<String>()
            };
            panic!(
                "{case}, from line {differs:?} on\npython:\n{}crate:\n{}",
                short(&found, &expected),
                short(&expected, &found)
            );
        }
        found
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}

/// What the crate's reader and its `verify` say, in the words of clients/python/tests/scans.py.
fn crate_scan(log: &Path) -> Result<String, Error> {
    let reader = read(log)?;
    let mut text = String::new();
    let (first, next, durable) = (reader.first_seq(), reader.next_seq(), reader.durable_seq());
    writeln!(text, "log {first} {next} {durable}").unwrap();
    for item in &reader {
        match item {
            Ok(record) => {
                write!(text, "record {} ", record.seq()).unwrap();
                record.data().iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
                text.push('\n');
            }
            Err(error) => write_lost(&mut text, &error.lost().ok_or(error)?),
        }
    }
    let found = maplog::verify(log, |_, _| {})?;
    writeln!(text, "verified {} {}", found.is_intact(), found.records()).unwrap();
    found.lost.iter().for_each(|lost| write_lost(&mut text, lost));
    Ok(text)
}

fn write_lost(text: &mut String, lost: &Range<u64>) {
    writeln!(text, "lost {} {}", lost.start, lost.end).unwrap();
}

fn error_line(error: &Error) -> String {
    let class = match error.kind() {
        ErrorKind::UnsupportedVersion | ErrorKind::UnsupportedFeature => "Unsupported",
        ErrorKind::NotALog => "NotALog",
        ErrorKind::Damaged => "Damaged",
        ErrorKind::NotFound => "NotFound",
        kind => panic!("{kind:?}: {error}"),
    };
    format!("error {class}\n")
}

/// A log with some history: rolls, batches, syncs, cuts, trims, a reset now and then.
struct Made {
    dir: TempDir,
    history: String,
}

impl Made {
    fn new(rng: &mut Rng) -> Self {
        let dir = tempdir();
        let mut history = String::new();
        let mut log = open(dir.path()).unwrap();
        for _ in 0..OPERATIONS {
            operate(&log, rng, &mut history);
            if rng.u8(..) < 10 {
                history.push('|');
                drop(log);
                log = open(dir.path()).unwrap();
            }
        }
        let dir = match rng.u8(..3) {
            0 => {
                history += " live";
                drop(log);
                dir
            }
            1 => {
                history += " closed";
                log.close().unwrap();
                image(dir.path())
            }
            _ => {
                history += " unclean";
                let copy = image(dir.path());
                drop(log);
                copy
            }
        };
        Made { dir, history }
    }
}

fn operate(log: &Log, rng: &mut Rng, history: &mut String) {
    let (first, next) = (log.first_seq(), log.next_seq());
    let what = match rng.u8(..100) {
        0..70 => {
            log.append(payload(rng, 3000)).unwrap();
            'a'
        }
        70..88 => {
            let batch: Vec<_> = (0..rng.usize(2..6)).map(|_| payload(rng, 600)).collect();
            log.append_batch(&batch).unwrap();
            'b'
        }
        88..94 => {
            log.sync().unwrap();
            's'
        }
        94..96 => {
            log.truncate_from(rng.u64(first.max(next.saturating_sub(9))..=next)).unwrap();
            'c'
        }
        96..98 => {
            log.trim_before(rng.u64(first..=next)).unwrap();
            't'
        }
        98 => {
            let mut writer = log.writer().unwrap();
            writer.reserve(100).unwrap().fill(0xEE);
            'g'
        }
        _ => {
            log.reset(rng.u64(first..next + 20)).unwrap();
            'r'
        }
    };
    history.push(what);
}

/// Mostly short, some empty, all told apart by their bytes.
fn payload(rng: &mut Rng, most: usize) -> Vec<u8> {
    let len = if rng.bool() { rng.usize(..40) } else { rng.usize(..most) };
    (0..len).map(|_| rng.u8(..)).collect()
}

/// Does one to three things to the files of a log, and says which.
fn harm(log: &Path, rng: &mut Rng) -> String {
    (0..rng.usize(1..4)).map(|_| harm_once(log, rng)).collect::<Vec<_>>().join(", ")
}

fn harm_once(log: &Path, rng: &mut Rng) -> String {
    let files = segments(log);
    let Some(path) = files.get(rng.usize(..files.len().max(1))) else { return "none left".into() };
    let file = File::options().read(true).write(true).open(path).unwrap();
    let size = file.metadata().unwrap().len();
    let name = path.file_name().unwrap().to_string_lossy().trim_start_matches('0').to_owned();
    let at = place(rng, size);
    match rng.u8(..20) {
        0..9 => {
            let mut byte = [0];
            if file.read_at(&mut byte, at).unwrap() == 1 {
                file.write_all_at(&[byte[0] ^ 1 << rng.u8(..8)], at).unwrap();
            }
            format!("flip {name} {at}")
        }
        9..12 => {
            let garbage: Vec<u8> = (0..rng.usize(1..800)).map(|_| rng.u8(..)).collect();
            file.write_all_at(&garbage[..garbage.len().min((size - at) as usize)], at).unwrap();
            format!("garbage {name} {at} {}", garbage.len())
        }
        12..15 => {
            let zeros = rng.u64(1..800).min(size - at);
            file.write_all_at(&vec![0; zeros as usize], at).unwrap();
            format!("zeros {name} {at} {zeros}")
        }
        15..18 => {
            file.set_len(at).unwrap();
            format!("cut {name} {at}")
        }
        18 => {
            let to = place(rng, size) / 16 * 16;
            let mut bytes = vec![0; rng.usize(1..1000)];
            let len = file.read_at(&mut bytes, at / 16 * 16).unwrap();
            file.write_all_at(&bytes[..len.min((size - to) as usize)], to).unwrap();
            format!("copy {name} {at} {to} {len}")
        }
        _ => {
            fs::remove_file(path).unwrap();
            format!("remove {name}")
        }
    }
}

/// Somewhere in a file: the first sectors of its header blocks as often as all of the rest.
fn place(rng: &mut Rng, size: u64) -> u64 {
    let at = match rng.u8(..8) {
        0 => rng.u64(..640),
        1 => 4096 + rng.u64(..640),
        2 => DATA_START as u64 + rng.u64(..200),
        _ => DATA_START as u64 + rng.u64(..8192),
    };
    at.min(size)
}

fn copy_of(log: &Path, files: &[(PathBuf, Vec<u8>)]) {
    for path in segments(log) {
        fs::remove_file(path).unwrap();
    }
    files.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
}

#[test]
fn golden_logs_read_alike() {
    let Some(mut scanner) = Scanner::start() else { return };
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let logs: Vec<_> = fs::read_dir(golden)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    for log in &logs {
        let text = scanner.assert_reads_as_the_crate_does(log, &log.display().to_string());
        let told = fs::read_to_string(log.with_extension("txt")).unwrap();
        let count = |text: &str, what: &str| text.lines().filter(|l| l.starts_with(what)).count();
        assert_eq!(
            count(&text, "record "),
            told.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).count(),
            "{}",
            log.display()
        );
    }
    assert_eq!(logs.len(), 6);
}

#[test]
fn whole_and_harmed_logs_read_alike() {
    let Some(mut scanner) = Scanner::start() else { return };
    let only = std::env::var("MAPLOG_PYTHON_SEED").ok().map(|seed| seed.parse().unwrap());
    let count = std::env::var("MAPLOG_PYTHON_SEEDS").map_or(SEEDS, |count| count.parse().unwrap());
    let (mut compared, mut records, mut lost, mut refused) = (0, 0, 0, 0);
    for seed in only.map_or(0..count, |seed: u64| seed..seed + 1) {
        let _named = NamedOnFailure("MAPLOG_PYTHON_SEED", seed);
        let mut rng = Rng::with_seed(seed);
        let made = Made::new(&mut rng);
        let log = made.dir.path();
        let text = scanner.assert_reads_as_the_crate_does(log, &made.history);
        assert!(text.contains("\nverified true "), "{}: {text:.200}", made.history);
        let whole: Vec<_> =
            segments(log).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        for _ in 0..HARMS_EACH {
            let case = format!("{}: {}", made.history, harm(log, &mut rng));
            let text = scanner.assert_reads_as_the_crate_does(log, &case);
            compared += 1;
            records += text.lines().filter(|line| line.starts_with("record ")).count();
            lost += usize::from(text.contains("\nlost "));
            refused += usize::from(text.starts_with("error "));
            copy_of(log, &whole);
        }
    }
    println!(
        "{compared} harmed logs read alike: {records} records, {lost} with losses, {refused} refused"
    );
    if only.is_none() && count >= SEEDS {
        assert!(compared >= 400 && records > 10_000 && lost > 150 && refused < compared / 10);
    }
}

#[test]
fn a_killed_writers_log_reads_alike() {
    let Some(mut scanner) = Scanner::start() else { return };
    let dir = tempdir();
    for _ in 0..3 {
        killed_after(dir.path(), 300);
        let live = scanner.assert_reads_as_the_crate_does(dir.path(), "live");
        assert!(live.lines().count() > 300);
        scanner.assert_reads_as_the_crate_does(image(dir.path()).path(), "an image of it");
    }
}

#[test]
fn a_segment_that_the_live_page_does_not_end_in_yet_does_not_count() {
    let Some(mut scanner) = Scanner::start() else { return };
    let dir = tempdir();
    let log = open(dir.path()).unwrap();
    log.append_batch(&["record"; 10]).unwrap();
    drop(log);
    let cut = image(dir.path());
    open(cut.path()).unwrap().truncate_from(5).unwrap();
    let segment = segments(cut.path()).pop().unwrap();
    fs::copy(&segment, dir.path().join(segment.file_name().unwrap())).unwrap();
    assert_eq!(segments(dir.path()).len(), 2);
    let text = scanner.assert_reads_as_the_crate_does(dir.path(), "about to be cut");
    assert!(text.starts_with("log 0 10 "), "{text}");
}

#[test]
fn directories_without_a_log_are_refused_alike() {
    let Some(mut scanner) = Scanner::start() else { return };
    let dir = tempdir();
    let case = |scanner: &mut Scanner, path: &Path, expected: &str| {
        assert_eq!(
            scanner.assert_reads_as_the_crate_does(path, expected),
            format!("error {expected}\n")
        );
    };
    case(&mut scanner, dir.path(), "NotALog");
    case(&mut scanner, &dir.path().join("none"), "NotFound");
    drop(open(dir.path().join("log")).unwrap());
    let segment = segments(&dir.path().join("log")).remove(0);
    fs::copy(&segment, segment.with_file_name("00000000000000000007-1.seg")).unwrap();
    case(&mut scanner, &dir.path().join("log"), "NotALog");
}

#[test]
fn the_clients_own_tests_pass() {
    let Some(mut command) = python("-m unittest discover -s tests") else { return };
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("\nOK"), "{said}");
    println!("{}", said.lines().find(|line| line.starts_with("Ran ")).unwrap());
}
