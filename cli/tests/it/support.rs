//! What the tests share: a scratch directory, the command run in it, and its three outputs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

pub const MAPLOG: &str = env!("CARGO_BIN_EXE_maplog");

/// A directory of its own for each test, where relative paths lead.
pub struct Scratch(TempDir);

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Scratch {
    pub fn new() -> Self {
        Scratch(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(MAPLOG);
        command.args(args).current_dir(self.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        without_wishes(&mut command);
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(args).output().unwrap())
    }

    /// With standard input; all of it is written while the command runs.
    pub fn run_with(&self, args: &[&str], stdin: &[u8]) -> Ran {
        let mut command = assert_cmd::Command::new(MAPLOG);
        command.args(args).current_dir(self.path()).write_stdin(stdin);
        Ran::from(command.output().unwrap())
    }

    /// Appends lines, which must work; gives the line that it ended with.
    pub fn append(&self, args: &[&str], stdin: &[u8]) -> String {
        let ran = self.run_with(&[&["append"], args].concat(), stdin);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "append {args:?}");
        ran.text()
    }

    /// Reads a log, which must work; gives its bytes.
    pub fn cat(&self, args: &[&str]) -> Vec<u8> {
        let ran = self.run(&[&["cat"], args].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "cat {args:?}");
        ran.stdout
    }

    /// What `maplog stat log` says of `name`.
    pub fn stat(&self, name: &str) -> String {
        let ran = self.run(&["stat", "log"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "stat");
        let text = ran.text();
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.and_then(|line| line.split_whitespace().nth(1)).unwrap().to_owned()
    }

    /// The names in a directory of this one, in order.
    pub fn names(&self, dir: &str) -> Vec<String> {
        names(&self.path().join(dir))
    }

    /// The segment files of `log`, in order.
    pub fn segments(&self) -> Vec<PathBuf> {
        let segments = self.names("log").into_iter().filter(|name| name.ends_with(".seg"));
        segments.map(|name| self.path().join("log").join(name)).collect()
    }
}

pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Ran {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    pub fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }

    /// It refused: nothing on standard output, one line on standard error with `sentence` in it.
    #[track_caller]
    pub fn assert_refused(&self, code: i32, sentence: &str) {
        assert_eq!((self.code, self.text().as_str()), (Some(code), ""), "{}", self.stderr);
        assert!(self.stderr.contains(sentence), "{:?} in {:?}", sentence, self.stderr);
        assert!(self.stderr.starts_with("maplog: ") && self.stderr.ends_with('\n'));
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
    }
}

/// The first `count` lines "record 0", "record 1" ...
pub fn numbered(numbers: std::ops::Range<u64>) -> Vec<u8> {
    numbers.flat_map(|number| format!("record {number}\n").into_bytes()).collect()
}

/// Without what the machine that runs the tests says of colours, or of itself.
pub fn without_wishes(command: &mut Command) {
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        command.env_remove(name);
    }
}
