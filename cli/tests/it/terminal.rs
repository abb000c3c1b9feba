//! The command at a terminal: bars, colours, and Ctrl-C anywhere. The terminal is left as it was, the log
//! whole.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::support::{MAPLOG, Scratch, numbered, without_wishes};

const PATIENCE: Duration = Duration::from_secs(120);
const CTRL_C: &[u8] = b"\x03";
/// What a shell makes of an end by SIGINT.
const INTERRUPTED: i32 = 130;

/// A shell at a pseudo-terminal, which runs one line with `maplog` in it.
struct Terminal {
    script: Child,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// `None`, with the reason printed, where there is no `script` to make a terminal. The settings of the
    /// terminal before and after the line are kept.
    fn run(here: &Scratch, line: &str) -> Option<Self> {
        // The shell goes on after an interruption; what it runs gets the signal as ever.
        let line = format!(
            "trap : INT; stty -a >before; {line}; echo \"[code $?]\"; stty -a >after; echo '[end]'"
        );
        let bin = std::path::Path::new(MAPLOG).parent().unwrap().display();
        let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).current_dir(here.path());
        script.env("PATH", path).env("SHELL", "/bin/sh").env("TERM", "xterm");
        without_wishes(&mut script);
        let script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut script) = script else {
            eprintln!("skipped: needs `script` to make a terminal");
            return None;
        };
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut out, screen) = (script.stdout.take().unwrap(), shown.clone());
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut bytes) {
                screen.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Some(Terminal { script, shown })
    }

    /// All that was shown so far.
    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    fn wait_for(&self, text: &str) {
        let since = Instant::now();
        while !self.shown().contains(text) {
            assert!(since.elapsed() < PATIENCE, "{text:?} never came: {:?}", self.shown());
            sleep(Duration::from_millis(5));
        }
    }

    fn press(&mut self, keys: &[u8]) {
        let keyboard = self.script.stdin.as_mut().unwrap();
        keyboard.write_all(keys).unwrap();
        keyboard.flush().unwrap();
    }

    /// Waits for the end; gives the exit code of the line and all that was shown. The terminal has to be as
    /// it was.
    fn end(mut self, here: &Scratch) -> (i32, String) {
        self.wait_for("[end]");
        drop(self.script.stdin.take());
        self.script.wait().unwrap();
        let shown = self.shown();
        let [before, after] =
            ["before", "after"].map(|name| fs::read_to_string(here.path().join(name)).unwrap());
        assert!(before.contains("speed") && before == after, "{before}\n{after}");
        // Modes that are set have to be set back: a hidden cursor, another screen, the mouse, paste.
        for part in shown.split("\x1b[?").skip(1) {
            let mode: String = part.chars().take_while(char::is_ascii_digit).collect();
            let switches = |letter: char| shown.matches(&format!("\x1b[?{mode}{letter}")).count();
            assert_eq!(switches('l'), switches('h'), "mode {mode} in {shown:?}");
        }
        let code = shown.rsplit_once("[code ").unwrap().1.split_once(']').unwrap().0;
        (code.parse().unwrap(), shown)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ended_already = self.script.kill();
        let _waited_for_already = self.script.wait();
    }
}

fn assert_intact(here: &Scratch, log: &str) {
    let ran = here.run(&["verify", log]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{}", ran.text());
}

/// A log of so many MiB as the environment says, or 64; and its file of lines.
fn large() -> Scratch {
    let mebibytes = std::env::var("MAPLOG_PTY_MIB").map_or(64, |text| text.parse().unwrap());
    let here = Scratch::new();
    let line = [vec![b'x'; 4095], vec![b'\n']].concat();
    let mut lines = fs::File::create(here.path().join("lines")).unwrap();
    let chunk = line.repeat(256);
    (0..mebibytes).for_each(|_| lines.write_all(&chunk).unwrap());
    let ran = here.run(&["append", "log", "lines"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    here
}

#[test]
fn tail_follows_at_a_terminal_until_it_is_interrupted() {
    let here = Scratch::new();
    here.append(&["log"], &numbered(0..100));
    let Some(mut terminal) = Terminal::run(&here, "maplog tail log -n 1 -f") else { return };
    terminal.wait_for("record 99");
    here.append(&["log"], &numbered(100..200));
    terminal.wait_for("record 199");
    terminal.press(CTRL_C);
    let (code, shown) = terminal.end(&here);
    assert_eq!(code, INTERRUPTED);
    assert!(!shown.contains('\x1b'), "{shown:?}");
    assert_intact(&here, "log");
}

#[test]
fn verify_shows_a_bar_that_is_gone_at_the_end_and_can_be_interrupted() {
    let here = large();
    let Some(terminal) = Terminal::run(&here, "maplog verify log") else { return };
    let (code, shown) = terminal.end(&here);
    assert_eq!(code, 0);
    assert!(shown.contains("\u{2588}") && shown.contains(" MiB of "), "no bar: {shown:?}");
    // The bar's line was cleared before the verdict was written there.
    let verdict = here.run(&["verify", "log"]).text().replace('\n', "\r\n");
    assert!(shown.contains(&("\x1b[2K".to_owned() + &verdict)), "{shown:?}");

    let mut terminal = Terminal::run(&here, "maplog verify log").unwrap();
    terminal.wait_for("\u{2588}");
    terminal.press(CTRL_C);
    let (code, _) = terminal.end(&here);
    // A machine may be so fast that it is through before.
    assert!([INTERRUPTED, 0].contains(&code), "{code}");
    assert_intact(&here, "log");
}

#[test]
fn append_and_import_of_files_show_bars_that_are_gone_at_the_end() {
    let here = large();
    let stream = here.run(&["export", "log"]);
    here.write("stream", &stream.stdout);
    for line in ["maplog append one lines", "maplog import two stream", "maplog export log >three"]
    {
        let Some(terminal) = Terminal::run(&here, line) else { return };
        let (code, shown) = terminal.end(&here);
        assert_eq!(code, 0);
        assert!(shown.contains("\u{2588}"), "no bar: {shown:?}");
        let behind = shown.rsplit_once("\x1b[2K").unwrap().1;
        assert!(!behind.contains('\u{2588}'), "{behind:?}");
        assert_eq!(
            behind.contains("appended "),
            line.contains("append") || line.contains("import")
        );
    }
    assert!(fs::read(here.path().join("three")).unwrap() == stream.stdout);
    assert!(here.cat(&["one"]) == here.cat(&["two"]));
}

#[test]
fn what_was_typed_before_an_interruption_is_in_the_log() {
    let here = Scratch::new();
    let Some(mut terminal) = Terminal::run(&here, "maplog append log") else { return };
    terminal.press(b"first\nsecond\nthi");
    let since = Instant::now();
    while here.run(&["cat", "log"]).stdout != b"first\nsecond\n" {
        assert!(since.elapsed() < PATIENCE);
        sleep(Duration::from_millis(20));
    }
    terminal.press(CTRL_C);
    assert_eq!(terminal.end(&here).0, INTERRUPTED);
    assert_eq!(here.cat(&["log"]), b"first\nsecond\n");
    assert_intact(&here, "log");
    assert!(here.append(&["log"], b"third\n").contains("(2..3)"));
}

#[test]
fn an_interruption_in_the_middle_leaves_whole_records_and_no_others() {
    let here = Scratch::new();
    here.write("lines", numbered(0..1000));
    here.append(&["small", "lines"], b"");
    let stream = here.run(&["export", "small"]).stdout;
    here.write("stream", stream);
    let endless = |of: &str, command: &str| {
        format!("while cat {of}; do :; done 2>/dev/null | maplog {command} log --segment-size 1M")
    };
    for (of, command) in [("lines", "append"), ("stream", "import")] {
        let Some(mut terminal) = Terminal::run(&here, &endless(of, command)) else { return };
        let since = Instant::now();
        while !here.path().join("log").exists() || here.segments().len() < 3 {
            assert!(since.elapsed() < PATIENCE, "{:?}", terminal.shown());
            sleep(Duration::from_millis(5));
        }
        terminal.press(CTRL_C);
        assert_eq!(terminal.end(&here).0, INTERRUPTED, "{command}");
        assert_intact(&here, "log");
        let kept = String::from_utf8(here.cat(&["log"])).unwrap();
        let count = kept.lines().count();
        assert!(count > 10_000, "{count}");
        assert!(kept.lines().zip((0..1000).cycle()).all(|(line, n)| line == format!("record {n}")));
        here.append(&["log"], b"goes on\n");
        fs::remove_dir_all(here.path().join("log")).unwrap();
    }
}

#[test]
fn an_interrupted_bench_cleans_up_at_a_terminal_too() {
    let here = Scratch::new();
    let Some(mut terminal) = Terminal::run(&here, "maplog bench --seconds 14") else { return };
    terminal.wait_for("1 of 7");
    terminal.press(CTRL_C);
    let (code, shown) = terminal.end(&here);
    assert_eq!(code, INTERRUPTED, "{shown:?}");
    assert_eq!(here.names(""), ["after", "before"]);
}

#[test]
fn colours_are_for_terminals_whose_owner_wants_them() {
    let here = Scratch::new();
    let coloured = |line: &str| {
        let terminal = Terminal::run(&here, line)?;
        Some(terminal.end(&here).1.contains("\x1b["))
    };
    for (line, expected) in [
        ("maplog --help", true),
        ("maplog cat --help", true),
        ("maplog nonsense", true),
        ("NO_COLOR=1 maplog --help", false),
        ("NO_COLOR=1 maplog nonsense", false),
        ("TERM=dumb maplog --help", false),
        ("maplog --help | cat", false),
    ] {
        let Some(coloured) = coloured(line) else { return };
        assert_eq!(coloured, expected, "{line}");
    }
    assert!(!here.run(&["--help"]).text().contains('\x1b'));
    assert!(!here.run(&["nonsense"]).stderr.contains('\x1b'));
}

#[test]
fn a_stream_of_bytes_is_not_thrown_at_a_terminal() {
    let here = Scratch::new();
    here.append(&["log"], b"a\n");
    let Some(terminal) = Terminal::run(&here, "maplog export log") else { return };
    let (code, shown) = terminal.end(&here);
    assert_eq!(code, 2);
    assert!(
        shown.contains("maplog: standard output is a terminal; send it to a file"),
        "{shown:?}"
    );
    let terminal = Terminal::run(&here, "maplog export log --json").unwrap();
    let (code, shown) = terminal.end(&here);
    assert_eq!((code, shown.contains("{\"seq\":0,\"data\":\"a\"}\r\n")), (0, true), "{shown:?}");
}
