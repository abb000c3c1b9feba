//! Small disks of their own: ext4 in a loop device. They need root, and say so where there is none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use maplog::{ErrorKind, Log, Result};
use tempfile::TempDir;

use crate::support::{everything, read, segments, tempdir};

/// An ext4 file system in a file, mounted while the value lives.
pub struct Disk {
    home: TempDir,
    mounts: Vec<PathBuf>,
}

pub fn run(command: &str, arguments: &[&str]) -> std::result::Result<(), String> {
    let done = Command::new(command)
        .args(arguments)
        .output()
        .map_err(|error| format!("{command}: {error}"))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(format!("{command}: {}", String::from_utf8_lossy(&done.stderr).trim())),
    }
}

impl Disk {
    /// `None`, with the reason printed, where disks cannot be mounted.
    pub fn new(mebibytes: u64) -> Option<Disk> {
        Self::with_home(tempdir(), mebibytes)
    }

    /// A disk whose image is a file of another disk.
    pub fn inside(other: &Disk, mebibytes: u64) -> Option<Disk> {
        Self::with_home(tempfile::tempdir_in(other.path()).unwrap(), mebibytes)
    }

    fn with_home(home: TempDir, mebibytes: u64) -> Option<Disk> {
        let image = home.path().join("disk");
        fs::File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        let made = run("mkfs.ext4", &["-q", "-F", "-m", "0", image.to_str().unwrap()]);
        let mut disk = Disk { home, mounts: Vec::new() };
        match made.and_then(|()| disk.mount(&image)) {
            Ok(_) => Some(disk),
            Err(why) => {
                println!("skipped: needs root, mkfs.ext4 and loop devices ({why})");
                None
            }
        }
    }

    /// The file that the file system is in.
    pub fn image(&self) -> PathBuf {
        self.home.path().join("disk")
    }

    /// Unmounts the disk and mounts it again: nothing that the kernel kept in memory is left. Nobody may
    /// have a file of it open.
    pub fn mount_again(&self) {
        let point = self.path().to_str().unwrap();
        // For a moment a program that another test starts has copies of all that is open here.
        let since = Instant::now();
        while let Err(busy) = run("umount", &[point]) {
            assert!(since.elapsed() < Duration::from_secs(10), "{busy}");
            std::thread::sleep(Duration::from_millis(10));
        }
        run("mount", &["-o", "loop", self.image().to_str().unwrap(), point]).unwrap();
    }

    /// Mounts another image beside the disk's own.
    pub fn mount(&mut self, image: &Path) -> std::result::Result<PathBuf, String> {
        let point = self.home.path().join(format!("mount-{}", self.mounts.len()));
        fs::create_dir(&point).unwrap();
        run("mount", &["-o", "loop", image.to_str().unwrap(), point.to_str().unwrap()])?;
        self.mounts.push(point.clone());
        Ok(point)
    }

    pub fn path(&self) -> &Path {
        &self.mounts[0]
    }

    /// Unmounts the image that was mounted last.
    pub fn unmount_last(&mut self) {
        let point = self.mounts.pop().unwrap();
        run("umount", &[point.to_str().unwrap()]).unwrap();
        fs::remove_dir(point).unwrap();
    }

    /// Fills the disk to its last block, but for `spare` bytes.
    pub fn fill(&self, spare: u64) {
        let filler = self.path().join("filler");
        let file = fs::File::create(&filler).unwrap();
        let mut step: u64 = 1 << 20;
        let mut bytes = 0;
        while step >= 1024 {
            match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), bytes, step) {
                Ok(()) => bytes += step,
                Err(_) => step /= 2,
            }
        }
        file.set_len(bytes - spare).unwrap();
    }

    pub fn make_room(&self) {
        fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for point in &self.mounts {
            let _ = run("umount", &["-l", point.to_str().unwrap()]);
        }
    }
}

fn open(path: &Path) -> Result<Log> {
    // SAFETY: tests change files only while no handle is alive.
    unsafe { Log::options().segment_bytes(1 << 20).open(path) }
}

fn append_until_full(log: &Log, record: &[u8]) -> (u64, ErrorKind) {
    let mut appended = 0;
    loop {
        match log.append(record) {
            Ok(_) => appended += 1,
            Err(error) => return (appended, error.kind()),
        }
    }
}

/// G7: records of each size, to the last byte of the disk.
#[test]
fn g7_a_full_disk_is_an_error_and_appends_work_again_once_there_is_room() -> Result<()> {
    let Some(disk) = Disk::new(16) else { return Ok(()) };
    for (size, name) in [(64, "small"), (1000, "middle"), (100_000, "large")] {
        let path = disk.path().join(name);
        let log = open(&path)?;
        log.append(b"first")?;
        disk.fill(300_000);
        let (appended, kind) = append_until_full(&log, &vec![7; size]);
        assert_eq!(kind, ErrorKind::StorageFull);
        assert!(appended > 0, "{name}");
        assert_eq!(append_until_full(&log, &vec![7; size]), (0, ErrorKind::StorageFull));
        log.sync()?;
        assert_eq!(everything(&log.reader()).records.len() as u64, appended + 1);
        disk.make_room();
        for _ in 0..50 {
            log.append(vec![8; size])?;
        }
        log.close()?;
        assert_eq!(everything(&read(&path)?).records.len() as u64, appended + 51);
        fs::remove_dir_all(path).unwrap();
    }
    Ok(())
}

/// Attack 19: a sparse copy has holes behind the end; on a full disk the first append into one is an
/// error and not a signal.
#[test]
fn attack_19_a_sparse_copy_on_a_full_disk_is_an_error() -> Result<()> {
    let Some(disk) = Disk::new(16) else { return Ok(()) };
    let (path, copy) = (disk.path().join("log"), disk.path().join("copy"));
    let log = open(&path)?;
    for _ in 0..10 {
        log.append([9; 1000])?;
    }
    log.close()?;
    run("cp", &["-r", "--sparse=always", path.to_str().unwrap(), copy.to_str().unwrap()]).unwrap();
    disk.fill(0);
    assert_eq!(open(&copy).unwrap_err().kind(), ErrorKind::StorageFull, "holes in the page too");
    disk.make_room();
    disk.fill(8192);
    let log = open(&copy)?;
    let (appended, kind) = append_until_full(&log, &[1; 1000]);
    assert_eq!(kind, ErrorKind::StorageFull);
    assert!(appended < 10, "a few blocks were left");
    disk.make_room();
    log.append([2; 1000])?;
    assert_eq!(everything(&log.reader()).records.len() as u64, 10 + appended + 1);
    Ok(())
}

/// A page whose blocks all lie behind its first page has none where it is stored to.
#[test]
fn g7_a_page_with_a_hole_on_a_full_disk_is_an_error() -> Result<()> {
    let Some(disk) = Disk::new(16) else { return Ok(()) };
    let path = disk.path().join("log");
    open(&path)?.close()?;
    let with_a_hole = disk.path().join("bytes");
    fs::write(&with_a_hole, [[0; 4096], [b'x'; 4096]].concat()).unwrap();
    for name in ["shared", "wake"] {
        let place = path.join(name);
        let whole = fs::read(&place).unwrap();
        let [from, to] = [&with_a_hole, &place].map(|path| path.to_str().unwrap());
        run("cp", &["--sparse=always", from, to]).unwrap();
        disk.fill(0);
        assert_eq!(open(&path).unwrap_err().kind(), ErrorKind::StorageFull, "{name}");
        disk.make_room();
        open(&path)?.append(b"more")?;
        fs::write(place, whole).unwrap();
    }
    Ok(())
}

/// Attack 41: a log that was killed opens on a full disk, reads, and appends once there is room.
#[test]
fn attack_41_a_killed_log_opens_on_a_full_disk() -> Result<()> {
    let Some(disk) = Disk::new(16) else { return Ok(()) };
    let (path, copy) = (disk.path().join("log"), disk.path().join("copy"));
    crate::support::killed_after(&path, 40);
    run("cp", &["-r", path.to_str().unwrap(), copy.to_str().unwrap()]).unwrap();
    disk.fill(0);
    for (path, live) in [(&path, true), (&copy, false)] {
        let log = open(path)?;
        assert_eq!(log.recovery().live, live);
        let found = log.next_seq();
        assert!(found >= 40);
        assert_eq!(everything(&log.reader()).records.len() as u64, found);
        let (appended, kind) = append_until_full(&log, &[1; 8000]);
        assert_eq!(kind, ErrorKind::StorageFull);
        assert!(live || appended == 0, "a fresh segment has no room");
    }
    disk.make_room();
    for path in [&path, &copy] {
        let log = open(path)?;
        let found = log.next_seq();
        assert_eq!(log.append(b"more")?, found);
    }
    Ok(())
}

/// Attack 36: an image of the disk, taken while the log is open, mounted again in the same boot.
#[test]
fn attack_36_an_image_of_the_disk_is_never_live() -> Result<()> {
    let Some(mut disk) = Disk::new(16) else { return Ok(()) };
    let log = open(&disk.path().join("log"))?;
    for _ in 0..100 {
        log.append([9; 1000])?;
    }
    log.sync()?;
    run("sync", &["-f", disk.path().to_str().unwrap()]).unwrap();
    for _ in 0..100 {
        log.append([9; 1000])?;
    }
    let image = disk.home.path().join("image");
    fs::copy(disk.image(), &image).unwrap();
    let mounted = disk.mount(&image).unwrap();
    let other = open(&mounted.join("log"))?;
    assert!(
        !other.recovery().live,
        "the page says that it is of this boot, and is not of this mount"
    );
    let kept = other.next_seq();
    assert!((100..=200).contains(&kept), "{kept}");
    assert_eq!(everything(&other.reader()).records.len() as u64, kept);
    other.append(b"goes on")?;
    other.close()?;
    Ok(())
}

/// A file system that is mounted read-only can be read, and not appended to.
#[test]
fn a_read_only_file_system_can_be_read() -> Result<()> {
    let Some(disk) = Disk::new(16) else { return Ok(()) };
    let path = disk.path().join("log");
    let log = open(&path)?;
    log.append(b"there")?;
    log.close()?;
    run("mount", &["-o", "remount,ro", disk.path().to_str().unwrap()]).unwrap();
    assert_eq!(everything(&read(&path)?).records, [(0, b"there".to_vec())]);
    assert_eq!(open(&path).unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(segments(&path).len(), 1);
    Ok(())
}
