//! What is mounted below a directory, and taking it off again, whoever mounted it and however that one ended.
//!
//! The kernel's own list says what there is to do, so nothing has to be remembered. Does not know: why anything
//! was mounted.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// For this long a file system may be busy: with a process that was killed and is not gone yet.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs one of the system's commands; an error is what it said.
pub(crate) fn run(command: &str, arguments: &[&str], paths: &[&Path]) -> Result<(), String> {
    let mut command_line = Command::new(command);
    command_line.args(arguments).args(paths).stdin(Stdio::null());
    let done = command_line.output().map_err(|error| format!("{command}: {error}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    match done.status.success() {
        true => Ok(()),
        false => Err(format!("{command}: {}", said.trim().replace('\n', "; "))),
    }
}

/// Lets file systems below `dir` take writes again: a process that waits for one of them cannot even be
/// killed.
pub(crate) fn thaw(dir: &Path) {
    for point in below(dir) {
        let _it_was_not_frozen = run("fsfreeze", &["--unfreeze"], &[&point]);
    }
}

/// Unmounts what is mounted below `dir`, which also gives back the loop devices.
pub(crate) fn clear(dir: &Path) -> io::Result<()> {
    let since = Instant::now();
    loop {
        thaw(dir);
        let points = below(dir);
        if points.is_empty() {
            return Ok(());
        }
        let is_late = since.elapsed() > PATIENCE;
        let how: &[&str] = if is_late { &["--lazy"] } else { &[] };
        // What was mounted last may lie on what was mounted before.
        let busy: Vec<_> =
            points.iter().rev().filter_map(|point| run("umount", how, &[point]).err()).collect();
        if is_late && !busy.is_empty() {
            return Err(io::Error::other(busy.join("; ")));
        }
        sleep(Duration::from_millis(if busy.is_empty() { 0 } else { 5 }));
    }
}

/// Where something is mounted below `dir`, in the order in which it was.
fn below(dir: &Path) -> Vec<PathBuf> {
    let list = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mount_points(&list).into_iter().filter(|point| point.starts_with(dir)).collect()
}

fn mount_points(list: &str) -> Vec<PathBuf> {
    list.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped).collect()
}

/// The kernel writes what would break its list as three octal digits.
fn unescaped(field: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = field.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        (bytes, rest) = match byte.filter(|_| *first == b'\\') {
            Some(byte) => ([bytes, vec![byte]].concat(), &after[3..]),
            None => ([bytes, vec![*first]].concat(), after),
        };
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_whatever_they_are_called() {
        let list = "36 35 98:0 / / rw,noatime shared:1 - ext4 /dev/vda rw\n\
                    40 36 7:3 / /tmp/a\\040b\\134c rw - ext4 /dev/loop3 rw\n";
        assert_eq!(mount_points(list), [PathBuf::from("/"), PathBuf::from("/tmp/a b\\c")]);
    }
}
