//! What goes wrong without anybody's mistake in typing: what a person is told, and what a program.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::damage::hundred;
use crate::disk::Disk;
use crate::support::{MAPLOG, Ran, Scratch, names, numbered};

/// A failure in text and in JSON: the same sentence on standard error and the same exit code, and in JSON the
/// kind in the last object. `run` is given the arguments.
#[track_caller]
fn assert_told(
    run: impl Fn(&[&str]) -> Ran,
    args: &[&str],
    (code, kind): (i32, &str),
    sentence: &str,
) {
    let text = run(args);
    text.assert_refused(code, sentence);
    let json = run(&[args, &["--json"]].concat());
    assert_eq!(json.code, Some(code), "{args:?} --json");
    assert!(json.stderr.contains(sentence), "{args:?} --json: {}", json.stderr);
    let last = json.text().lines().last().map(str::to_owned).unwrap_or_default();
    let object: Value = serde_json::from_str(&last).unwrap();
    assert_eq!(object["error"]["kind"], kind, "{args:?} --json: {last}");
    let message = object["error"]["message"].as_str().unwrap();
    assert_eq!(json.stderr, format!("maplog: {message}\n"));
}

#[test]
fn no_such_log() {
    let here = Scratch::new();
    here.write("empty", "");
    let told = "no such log: none; check the path (`maplog append` creates a log, but not the directories \
                above it)";
    let get: &[&str] = &["get", "none", "0"];
    let trim: &[&str] = &["trim", "none", "--before", "0"];
    for args in [
        &["cat", "none"][..],
        get,
        &["tail", "none"],
        &["stat", "none"],
        &["verify", "none"],
        &["repair", "none"],
        trim,
        &["export", "none"],
    ] {
        assert_told(|args| here.run(args), args, (2, "NotFound"), told);
    }
    for args in [["append", "none/log", "empty"], ["import", "none/log", "empty"]] {
        assert_told(
            |args| here.run(args),
            &args,
            (2, "NotFound"),
            "no such log: none/log; check the path",
        );
    }
    assert_eq!(here.names(""), ["empty"]);
}

#[test]
fn no_permission() {
    let Some(stranger) = Stranger::new() else { return };
    let log = stranger.path().join("log");
    let before = names(&log);
    for args in [
        &["append", "log"][..],
        &["cat", "log"],
        &["get", "log", "0"],
        &["tail", "log"],
        &["stat", "log"],
        &["verify", "log"],
        &["repair", "log"],
        &["trim", "log", "--before", "1"],
        &["export", "log"],
        &["import", "log"],
    ] {
        let told =
            "permission denied: log; run it as a user who may open the log's directory and files";
        assert_told(|args| stranger.run(args), args, (2, "PermissionDenied"), told);
    }
    let told = ": Permission denied (os error 13); name a directory that this user may write to";
    assert_told(|args| stranger.run(args), &["bench"], (2, "PermissionDenied"), told);
    assert_eq!(names(&log), before);
    assert_eq!(names(stranger.path()), ["lines", "log", "maplog"]);

    // Who may read the files may read the log, look at it and check it, and nothing else.
    fs::set_permissions(&log, Permissions::from_mode(0o755)).unwrap();
    for name in &before {
        fs::set_permissions(log.join(name), Permissions::from_mode(0o444)).unwrap();
    }
    for args in [&["cat", "log"][..], &["tail", "log"], &["stat", "log"], &["verify", "log"]] {
        let ran = stranger.run(args);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
    assert_eq!(stranger.run(&["cat", "log"]).text(), "a\nb\n");
    for args in [&["append", "log"][..], &["trim", "log", "--before", "1"]] {
        stranger.run(args).assert_refused(2, "permission denied: ");
    }
    // Who may read only the segments is not told who appends.
    fs::set_permissions(log.join("lock"), Permissions::from_mode(0o600)).unwrap();
    let text = stranger.run(&["stat", "log"]).text();
    assert!(text.contains("\nappending not known, permission denied\n"), "{text}");
    let object = stranger.run(&["stat", "log", "--json"]).text();
    assert!(object.contains("\"appending\":null,"), "{object}");

    let segment = before.iter().find(|name| name.ends_with("-1.seg")).unwrap();
    fs::set_permissions(log.join(segment), Permissions::from_mode(0o000)).unwrap();
    for args in [&["cat", "log"][..], &["tail", "log"], &["stat", "log"], &["verify", "log"]] {
        stranger.run(args).assert_refused(2, "permission denied: log, segment 1; ");
    }
}

#[test]
fn a_log_in_use() {
    let here = hundred(true);
    let mut append = here.command(&["append", "log"]).stdin(Stdio::piped()).spawn().unwrap();
    while here.stat("appending") != "1" {
        std::thread::yield_now();
    }
    let told = "the log is open to append in another process: log; end that process first; `maplog cat` and \
                `maplog stat` work meanwhile";
    assert_told(|args| here.run(args), &["repair", "log"], (2, "InUse"), told);
    // As it says.
    assert_eq!(here.cat(&["log"]), numbered(0..100));
    drop(append.stdin.take());
    assert!(append.wait().unwrap().success());
}

#[test]
fn a_log_so_damaged_that_nothing_goes_on() {
    let here = Scratch::new();
    here.append(&["log", "--segment-size", "16K"], &numbered(0..1500));
    fs::remove_file(here.segments().pop().unwrap()).unwrap();
    let told = "damaged: the segment that the log ends in is missing; log log; segment 6; restore the log's \
                files from a copy";
    for command in ["cat", "tail", "stat", "verify", "export"] {
        assert_told(|args| here.run(args), &[command, "log"], (1, "Damaged"), told);
    }
}

#[test]
fn no_file_in_the_place_of_a_segment() {
    let here = hundred(true);
    let place = here.path().join(format!("log/{:020}-2.seg", 100));
    fs::create_dir(&place).unwrap();
    let told = "not a log: opening a segment; log log; segment 2: not a regular file; `maplog repair` sets aside \
                what is no part of a log";
    for command in ["append", "verify"] {
        assert_told(|args| here.run(args), &[command, "log"], (2, "NotALog"), told);
    }
    // As it says.
    assert_eq!(here.run(&["repair", "log"]).code, Some(0));
    assert_eq!(here.cat(&["log"]), numbered(0..100));
}

#[test]
fn a_full_disk() {
    let Some(disk) = Disk::new(8) else { return };
    let here = Scratch::new();
    let records = (0..4000).map(|number| format!("record {number} {}", "x".repeat(4000)));
    let lines: Vec<_> = records.map(|record| record + "\n").collect();
    here.write("lines", lines.concat());
    let stream = here.run(&["append", "here", "lines", "--json"]);
    assert_eq!(stream.code, Some(0));
    let stream = here.run(&["export", "here"]).stdout;
    here.write("stream", stream);
    let log = disk.path().join("log");
    let log = log.to_str().unwrap();
    for args in [["append", log, "lines"], ["import", log, "stream"]] {
        let ran = here.run(&args);
        ran.assert_refused(2, "the file system is full: ");
        assert!(
            ran.stderr.contains("; make room and append the rest; appended "),
            "{}",
            ran.stderr
        );
        let kept = here.run(&["cat", log]);
        assert_eq!((kept.code, kept.stderr.as_str()), (Some(0), ""));
        let count = kept.text().lines().count();
        assert!((1000..4000).contains(&count), "{count}");
        assert!(
            kept.text() == lines[..count].concat(),
            "all that was said to be there, and no more"
        );
        assert!(ran.stderr.contains(&format!(" (0..{count}) until then, ")), "{}", ran.stderr);
        let place = match args[0] {
            "append" => format!("maplog: lines, line {}: ", count + 1),
            _ => {
                let bytes: usize = lines[..count].iter().map(|line| line.len() + 3).sum();
                format!("maplog: stream, byte {bytes}: ")
            }
        };
        assert!(ran.stderr.starts_with(&place), "{place}: {}", ran.stderr);

        let ran = here.run(&[&args[..], &["--json"]].concat());
        if args[0] == "append" {
            let objects: Vec<Value> =
                ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!((ran.code, objects.len()), (Some(2), 2), "{}", ran.text());
            assert!(objects[0]["appended"].as_u64().unwrap() < 20, "the rest of the last pages");
            assert_eq!(objects[1]["error"]["kind"], "StorageFull");
        }
        // On a full disk space can be given back.
        let ran = here.run(&["trim", log, "--before", "10", "--json"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
        let ran = here.run(&["verify", log]);
        assert_eq!(ran.code, Some(0), "{}", ran.text());
        fs::remove_dir_all(log).unwrap();
    }
    let ran = here.run(&["bench", disk.path().to_str().unwrap(), "--seconds", "10"]);
    ran.assert_refused(2, "No space left on device (os error 28)");
    assert_eq!(names(disk.path()), ["lost+found"]);
}

#[test]
fn a_disk_that_can_only_be_read() {
    let Some(disk) = Disk::new(8) else { return };
    let here = Scratch::new();
    let log = disk.path().join("log");
    let log = log.to_str().unwrap();
    here.append(&[log], b"a\nb\n");
    disk.make_read_only();
    here.write("lines", "c\n");
    let told = "the file system is read-only: ";
    for args in [&["append", log, "lines"][..], &["trim", log, "--before", "1"]] {
        assert_told(|args| here.run(args), args, (2, "ReadOnly"), told);
        assert_told(|args| here.run(args), args, (2, "ReadOnly"), "; a log there can only be read");
    }
    assert_eq!(here.run(&["cat", log]).text(), "a\nb\n");
    assert_eq!(here.run(&["verify", log]).code, Some(0));
}

/// Commands that write, on a log of a hundred records.
const WRITING: [&[&str]; 12] = [
    &["cat", "log"],
    &["cat", "log", "--json"],
    &["get", "log", "3"],
    &["tail", "log", "--raw"],
    &["stat", "log"],
    &["stat", "log", "--json"],
    &["verify", "log"],
    &["verify", "log", "--json"],
    &["repair", "log", "--dry-run"],
    &["trim", "log", "--keep-bytes", "1G"],
    &["export", "log"],
    &["append", "log", "--json"],
];

#[test]
fn a_full_disk_behind_the_output() {
    let here = hundred(true);
    for args in [&WRITING[..], &[&["man"], &["completions", "bash"]]].concat() {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let ran = Ran::from(here.command(args).stdout(full).output().unwrap());
        ran.assert_refused(2, "standard output: No space left on device (os error 28)");
    }
}

#[test]
fn an_output_that_nobody_reads() {
    let here = hundred(true);
    let unread = |args: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Ran::from(here.command(args).stdout(writer).output().unwrap())
    };
    for args in [&WRITING[..], &[&["man"], &["completions", "zsh"]]].concat() {
        let ran = unread(args);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
    // A failure is told all the same.
    let ran = unread(&["cat", "none", "--json"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.starts_with("maplog: no such log: none; "), "{}", ran.stderr);
}

#[test]
fn too_many_open_files() {
    let here = hundred(true);
    let limited = |args: &[&str]| {
        let mut shell = Command::new("bash");
        shell.args(["-c", "ulimit -n 4; exec \"$@\"", "bash", MAPLOG]).args(args);
        Ran::from(shell.current_dir(here.path()).output().unwrap())
    };
    for command in ["cat", "stat", "verify", "append"] {
        let ran = limited(&[command, "log"]);
        ran.assert_refused(2, "too many open files: ");
        assert!(ran.stderr.ends_with("; raise the limit (`ulimit -n`)\n"), "{}", ran.stderr);
    }
    assert_eq!(here.cat(&["log"]), numbered(0..100));
}

/// Another user, before a log that only its owner may open.
struct Stranger(tempfile::TempDir);

impl Stranger {
    /// `None`, with the reason printed, where nobody can become another user.
    fn new() -> Option<Self> {
        let here = tempfile::tempdir().unwrap();
        if fs::metadata(here.path()).unwrap().uid() != 0 {
            eprintln!("skipped: needs root, to become another user");
            return None;
        }
        let open_to_all = Permissions::from_mode(0o755);
        fs::set_permissions(here.path(), open_to_all.clone()).unwrap();
        fs::copy(MAPLOG, here.path().join("maplog")).unwrap();
        fs::set_permissions(here.path().join("maplog"), open_to_all).unwrap();
        fs::write(here.path().join("lines"), "a\nb\n").unwrap();
        let log = ["log", "lines"].map(|name| here.path().join(name));
        assert!(Command::new(MAPLOG).arg("append").args(log).output().unwrap().status.success());
        let stranger = Stranger(here);
        let ran = stranger.run(&["--version"]);
        if ran.code != Some(0) {
            eprintln!("skipped: another user cannot run the command here: {ran:?}");
            return None;
        }
        Some(stranger)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(self.path().join("maplog")).args(args).current_dir(self.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        match command.spawn() {
            Ok(child) => Ran::from(child.wait_with_output().unwrap()),
            Err(error) => {
                Ran { code: None, stdout: Vec::new(), stderr: format!("setpriv: {error}") }
            }
        }
    }
}

#[test]
fn a_failure_in_the_middle_of_objects_is_the_last_of_them() {
    let here = hundred(true);
    let mut import = here.command(&["import", "copy", "--json"]);
    let mut import = import.stdin(Stdio::piped()).spawn().unwrap();
    let mut cut = here.run(&["export", "log", "--json"]).stdout;
    cut.truncate(cut.len() / 2);
    import.stdin.take().unwrap().write_all(&cut).unwrap();
    let ran = Ran::from(import.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(2));
    let objects: Vec<Value> =
        ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 2);
    let appended = objects[0]["appended"].as_u64().unwrap();
    assert_eq!(objects[1]["error"]["kind"], "Input");
    let line = format!("standard input, line {}: this is no JSON (", appended + 1);
    assert!(objects[1]["error"]["message"].as_str().unwrap().starts_with(&line), "{ran:?}");
    assert_eq!(here.cat(&["copy"]), numbered(0..appended));
}
