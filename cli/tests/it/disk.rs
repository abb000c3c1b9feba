//! A small disk of its own: ext4 in a loop device. It needs root, and says so where there is none.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// An ext4 file system in a file, mounted while the value lives.
pub struct Disk {
    _home: TempDir,
    point: PathBuf,
}

fn run(command: &str, args: &[&str]) -> Result<(), String> {
    let done = Command::new(command).args(args).output();
    let done = done.map_err(|error| format!("{command}: {error}"))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(format!("{command}: {}", String::from_utf8_lossy(&done.stderr).trim())),
    }
}

impl Disk {
    /// `None`, with the reason printed, where disks cannot be mounted.
    pub fn new(mebibytes: u64) -> Option<Disk> {
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let [image, point] = ["image", "disk"].map(|name| home.path().join(name));
        File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        std::fs::create_dir(&point).unwrap();
        let image = image.to_str().unwrap();
        let made = run("mkfs.ext4", &["-q", "-F", "-m", "0", image]);
        match made.and_then(|()| run("mount", &["-o", "loop", image, point.to_str().unwrap()])) {
            Ok(()) => Some(Disk { _home: home, point }),
            Err(why) => {
                eprintln!("skipped: needs root, mkfs.ext4 and loop devices ({why})");
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.point
    }

    pub fn make_read_only(&self) {
        run("mount", &["-o", "remount,ro", self.point.to_str().unwrap()]).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // For a moment a program that another test starts has copies of all that is open here.
        let since = Instant::now();
        while run("umount", &[self.point.to_str().unwrap()]).is_err() {
            if since.elapsed() > Duration::from_secs(10) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
