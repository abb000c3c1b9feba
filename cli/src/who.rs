//! Which processes have a log mapped, as far as this user may see: by what /proc says of their mappings.

use std::fs;
use std::path::Path;

/// A process that has files of a log mapped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) name: String,
    /// It has the log open to append, and not only to read.
    pub(crate) appends: bool,
}

/// Processes but this one, in ascending order. One of another user, or in another mount namespace, is not
/// seen.
pub(crate) fn processes(log: &Path) -> Vec<Process> {
    let (Ok(log), Ok(entries)) = (log.canonicalize(), fs::read_dir("/proc")) else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let pids = pids.filter(|pid| *pid != std::process::id());
    let mut found: Vec<_> = pids.filter_map(|pid| process(&log, pid)).collect();
    found.sort_by_key(|process| process.pid);
    found
}

fn process(log: &Path, pid: u32) -> Option<Process> {
    let maps = fs::read(format!("/proc/{pid}/maps")).ok()?;
    let appends = appends(log, &String::from_utf8_lossy(&maps))?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(Process { pid, name: name.trim_end().to_owned(), appends })
}

/// Whether somebody with these mappings appends to the log; `None` if none of them is of it. Who appends
/// holds a mapping of the file `lock` all the while.
fn appends(log: &Path, maps: &str) -> Option<bool> {
    let files = maps.lines().filter_map(|line| {
        // Address, permissions, offset, device, inode, path.
        let path = line.find('/').map(|at| Path::new(&line[at..]))?;
        path.strip_prefix(log).ok()
    });
    files.map(|file| file == Path::new("lock")).reduce(|one, other| one || other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_tell_who_appends_and_who_reads() {
        let line = |path: &str| format!("7f12-7f13 rw-s 00000000 fd:01 131 {path}\n");
        let segment = line("/logs/a b/00000000000000000000-1.seg (deleted)");
        let log = Path::new("/logs/a b");
        assert_eq!(appends(log, ""), None);
        assert_eq!(
            appends(log, &(line("/usr/bin/cat") + "7f12-7f13 rw-p 0 00:00 0 [heap]\n")),
            None
        );
        assert_eq!(appends(log, &segment), Some(false));
        assert_eq!(appends(log, &(segment.clone() + &line("/logs/a b/lock"))), Some(true));
        assert_eq!(appends(log, &(line("/logs/a b/lock") + &segment)), Some(true));
        assert_eq!(appends(log, &line("/logs/a bc/lock")), None);
    }
}
