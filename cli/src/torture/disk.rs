//! A small disk with a file system of its own, and what a power cut leaves of it at any moment.
//!
//! The disk is a file in a loop device: what the kernel still keeps in memory is not in that file, and that is what a
//! power cut takes. A file that is copied while it is written is a mixture of moments that no power cut leaves.
//! So it lies on another small file system, which is frozen for the copy: then no block of the disk
//! changes, wherever its own file system, or a process in its fdatasync, is. Does not know: logs.

use std::fs::{File, create_dir};
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::mounts::{clear, run};

/// What it needs, if it cannot be had.
pub(crate) const NEEDS: &str = "needs root, mkfs.ext4 and mount";

/// Sparse, as the one that carries it.
const DISK_BYTES: u64 = 64 << 20;
const CARRIER_BYTES: u64 = 160 << 20;

/// A directory in which disks are mounted; they are taken off when it is dropped.
pub(crate) struct Bench {
    dir: PathBuf,
}

/// A disk in use.
pub(crate) struct Disk<'b> {
    bench: &'b Bench,
    image: PathBuf,
    point: PathBuf,
}

/// No write reaches a disk while the value lives.
struct Frozen<'b>(&'b Path);

impl Bench {
    /// The error says why the machine cannot have one.
    pub(crate) fn new(dir: &Path) -> Result<Self, String> {
        if !geteuid().is_root() {
            return Err("not root".into());
        }
        let bench = Bench { dir: dir.to_owned() };
        // It carries files that are synced; its own names are never looked at after a cut.
        make(&bench.dir.join("carrier"), CARRIER_BYTES, "^has_journal")?;
        bench.mount("carrier", &bench.dir.join("carrier"), "noatime")?;
        drop(Frozen::new(&bench.carrier())?);
        Ok(bench)
    }

    fn carrier(&self) -> PathBuf {
        self.dir.join("carrier.mnt")
    }

    fn mount(&self, name: &str, image: &Path, how: &str) -> Result<PathBuf, String> {
        let point = self.dir.join(format!("{name}.mnt"));
        match create_dir(&point) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.to_string()),
            _ => run("mount", &["-t", "ext4", "-o", &format!("loop,{how}")], &[image, &point]),
        }?;
        Ok(point)
    }

    pub(crate) fn disk(&self) -> Result<Disk<'_>, String> {
        let image = self.carrier().join("disk");
        make(&image, DISK_BYTES, "has_journal")?;
        // Nothing but what is asked for reaches the disk meanwhile.
        let point = self.mount("disk", &image, "noatime,commit=300")?;
        Ok(Disk { bench: self, image, point })
    }
}

fn make(image: &Path, bytes: u64, journal: &str) -> Result<(), String> {
    let file = File::create(image).and_then(|file| file.set_len(bytes));
    file.map_err(|error| format!("{}: {error}", image.display()))?;
    let now = "lazy_itable_init=0,lazy_journal_init=0";
    run("mkfs.ext4", &["-q", "-F", "-m", "0", "-O", journal, "-E", now], &[image])
}

impl<'b> Frozen<'b> {
    fn new(point: &'b Path) -> Result<Self, String> {
        run("fsfreeze", &["--freeze"], &[point])?;
        Ok(Frozen(point))
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _who_unmounts_tries_again = run("fsfreeze", &["--unfreeze"], &[self.0]);
    }
}

impl Disk<'_> {
    /// Where its file system is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.point
    }

    /// The power goes: gives the file that holds what stands on the disk.
    pub(crate) fn cut_power(&self) -> Result<PathBuf, String> {
        let left = self.bench.dir.join("left");
        let carrier = self.bench.carrier();
        let _frozen = Frozen::new(&carrier)?;
        copy(&self.image, &left)?;
        Ok(left)
    }

    /// The power is back: gives where a copy of that file is mounted, which replays its journal.
    pub(crate) fn restore_power(&self, left: &Path) -> Result<PathBuf, String> {
        let back = self.bench.dir.join("back");
        copy(left, &back)?;
        self.bench.mount("back", &back, "noatime")
    }

    /// That copy is looked at no more.
    pub(crate) fn forget(&self, point: &Path) -> Result<(), String> {
        clear(point).map_err(|error| error.to_string())
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    run("cp", &["--sparse=always"], &[from, to])
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _who_started_the_round_tries_again = clear(&self.dir);
    }
}
