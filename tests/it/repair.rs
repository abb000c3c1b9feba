//! Repairing a log: what is no part of it goes to a quarantine, byte for byte; what counts stays,
//! however damaged; and the log opens again.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use maplog::{ErrorKind, Repaired, Result, SetAside, Why, repair};
use tempfile::TempDir;

use crate::support::{
    everything, flip, image, killed_after, open, read, records, segments, tempdir,
};
use crate::verify::{check, closed_log};

/// A log named `log` in a directory of its own, so that its quarantine has room beside it.
struct Patient {
    here: TempDir,
    log: PathBuf,
    next_seq: u64,
}

fn patient() -> Patient {
    let (whole, next_seq) = closed_log();
    let here = tempdir();
    let log = here.path().join("log");
    copy(image(whole.path()).path(), &log);
    Patient { here, log, next_seq }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in files(from).keys() {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

/// The regular files of a directory, but for the volatile ones of a log.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .filter(|(name, _)| name != "lock" && name != "shared")
        .collect()
}

fn aside(repaired: &Repaired) -> Vec<(&str, &Why)> {
    repaired.set_aside.iter().map(|SetAside { name, why, .. }| (name.as_str(), why)).collect()
}

impl Patient {
    fn segment(&self, index: usize) -> PathBuf {
        segments(&self.log)[index].clone()
    }

    fn name(&self, index: usize) -> String {
        self.segment(index).file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// Repairs, after a dry run that says the same and changes nothing. All bytes that were in the log
    /// are in it or in the quarantine afterwards.
    fn repair(&self) -> Repaired {
        let before = files(&self.log);
        let names = |dir: &Path| fs::read_dir(dir).unwrap().count();
        let (here, log) = (names(self.here.path()), names(&self.log));
        let would = repair(&self.log).dry_run(true).run().unwrap();
        assert_eq!(would.quarantine, None);
        assert_eq!((names(self.here.path()), names(&self.log)), (here, log), "a dry run");
        assert!(files(&self.log) == before, "a dry run changed a file");

        let done = repair(&self.log).run().unwrap();
        assert_eq!(done.set_aside, would.set_aside);
        let mut after = files(&self.log);
        if let Some(quarantine) = &done.quarantine {
            assert_eq!(
                *quarantine,
                self.here.path().canonicalize().unwrap().join("log.quarantine-1")
            );
            for (name, bytes) in files(quarantine) {
                assert!(after.insert(name.clone(), bytes).is_none(), "{name} is in both");
            }
        }
        assert!(after == before, "a file was lost or changed");
        let again = repair(&self.log).run().unwrap();
        assert_eq!((again.quarantine, again.set_aside), (None, vec![]));
        done
    }

    /// The log opens and goes on, and has lost what is named and nothing else.
    fn assert_lost(&self, lost: &[std::ops::Range<u64>]) {
        let all = check(&self.log);
        assert_eq!((all.next_seq, &*all.lost), (self.next_seq, lost));
        let log = open(&self.log).unwrap();
        assert_eq!(log.append(b"goes on").unwrap(), self.next_seq);
        log.close().unwrap();
        assert_eq!(check(&self.log).lost, lost);
    }
}

#[test]
fn an_intact_log_is_left_alone() {
    let patient = patient();
    assert_eq!(patient.repair().set_aside, []);
    patient.assert_lost(&[]);
    assert_eq!(fs::read_dir(patient.here.path()).unwrap().count(), 1);
}

#[test]
fn a_copy_under_another_name_goes_and_the_log_is_whole_again() {
    for name in ["00000000000000000009-9.seg", "00000000000000000009-2.seg"] {
        let patient = patient();
        let says = patient.name(1);
        fs::copy(patient.segment(1), patient.log.join(name)).unwrap();
        assert_eq!(open(&patient.log).unwrap_err().kind(), ErrorKind::NotALog);
        let why = Why::OtherName { says, is_there: true };
        assert_eq!(aside(&patient.repair()), [(name, &why)]);
        patient.assert_lost(&[]);
    }
}

#[test]
fn a_segment_that_was_renamed_goes_and_the_report_says_how_it_comes_back() {
    let patient = patient();
    let (says, before) = (patient.name(1), patient.segment(1));
    let name = "00000000000000000005-7.seg";
    fs::rename(&before, patient.log.join(name)).unwrap();
    let done = patient.repair();
    let why = Why::OtherName { says, is_there: false };
    assert_eq!(aside(&done), [(name, &why)]);
    assert!(why.to_string().ends_with("which is missing: it may be put back under that name"));
    assert_eq!(check(&patient.log).lost.len(), 1);
    fs::rename(done.quarantine.unwrap().join(name), before).unwrap();
    patient.assert_lost(&[]);
}

#[test]
fn of_two_segments_of_one_id_the_one_without_a_header_goes() {
    let patient = patient();
    let name = "00000000000000000009-2.seg";
    fs::write(patient.log.join(name), [0; 20_000]).unwrap();
    assert_eq!(open(&patient.log).unwrap_err().kind(), ErrorKind::NotALog);
    assert_eq!(aside(&patient.repair()), [(name, &Why::IdTaken)]);
    patient.assert_lost(&[]);
}

#[test]
fn where_nothing_tells_two_segments_apart_both_stay() {
    let patient = patient();
    for block in [0, 4096] {
        flip(&patient.segment(1), block + 50);
    }
    fs::write(patient.log.join("00000000000000000009-2.seg"), [0; 20_000]).unwrap();
    assert_eq!(patient.repair().set_aside, []);
}

#[test]
fn a_segment_of_another_log_goes_wherever_it_lies() {
    for index in 0..4 {
        let patient = patient();
        let (other, _) = closed_log();
        let (name, file) = (patient.name(index), patient.segment(index));
        fs::copy(&segments(other.path())[index], &file).unwrap();
        assert_eq!(aside(&patient.repair()), [(name.as_str(), &Why::OtherLog)]);
        let all = check(&patient.log);
        match index {
            // What the last one held cannot be known.
            3 => assert!(all.is_intact() && all.next_seq < patient.next_seq),
            _ => assert_eq!((all.lost.len(), all.next_seq), (1, patient.next_seq)),
        }
        open(&patient.log).unwrap().append(b"goes on").unwrap();
    }
}

#[test]
fn what_is_no_file_goes_as_it_is() {
    let patient = patient();
    let [link, folder, shared] = ["00000000000000000009-9.seg", "next-0", "shared"];
    symlink("/etc/passwd", patient.log.join(link)).unwrap();
    fs::create_dir_all(patient.log.join(folder).join("inside")).unwrap();
    let _may_not_exist = fs::remove_file(patient.log.join(shared));
    fs::create_dir(patient.log.join(shared)).unwrap();
    let done = repair(&patient.log).run().unwrap();
    let why = &Why::NotAFile;
    assert_eq!(aside(&done), [(link, why), (folder, why), (shared, why)]);
    let quarantine = done.quarantine.unwrap();
    assert_eq!(fs::read_link(quarantine.join(link)).unwrap(), Path::new("/etc/passwd"));
    assert!(quarantine.join(folder).join("inside").is_dir());
    patient.assert_lost(&[]);
}

#[test]
fn left_overs_go_and_foreign_files_stay() {
    let patient = patient();
    for name in ["next-0", "next-12", "next-x", "README", "0-1.seg"] {
        fs::write(patient.log.join(name), name).unwrap();
    }
    let done = patient.repair();
    assert_eq!(aside(&done), [("next-0", &Why::LeftOver), ("next-12", &Why::LeftOver)]);
    assert!(patient.log.join("README").exists() && patient.log.join("next-x").exists());
    patient.assert_lost(&[]);
}

/// Attack 17: what was cut stays cut, since what cuts it stays.
#[test]
fn attack_17_segments_that_are_cut_whole_go_and_nothing_comes_back() -> Result<()> {
    let here = tempdir();
    let log = here.path().join("log");
    let whole = open(&log)?;
    for seq in 0..200_u64 {
        whole.append(vec![seq as u8; 300])?;
    }
    let cut = here.path().join("cut");
    copy(image(&log).path(), &cut);
    drop(whole);
    let files_before = segments(&cut);
    let torn = records(&files_before[1])[3];
    flip(&files_before[1], torn.payload_at());
    // Until an append made the cut durable, nothing says that those behind it are dead for good.
    assert_eq!(repair(&cut).run()?.set_aside, []);
    let log = open(&cut)?;
    assert_eq!(log.append(b"goes on")?, torn.seq);
    log.close()?;
    let before = everything(&read(&cut)?);
    let epoch = open(&cut)?.epoch();

    let done = repair(&cut).run()?;
    let dead = files_before.len() - 2;
    assert!(dead > 2);
    let by = files_before.len() as u64 + 1;
    assert_eq!(done.set_aside.len(), dead);
    for (file, path) in done.set_aside.iter().zip(&files_before[2..]) {
        assert_eq!((path.ends_with(&file.name), &file.why), (true, &Why::Cut { by }));
    }
    assert_eq!(everything(&read(&cut)?), before);
    // A power cut may undo any of the removals.
    for kept in 0..1_u32 << dead.min(6) {
        let some = image(&cut);
        for (index, file) in done.set_aside.iter().enumerate().take(6) {
            if kept & 1 << index != 0 {
                let from = done.quarantine.as_ref().unwrap().join(&file.name);
                fs::copy(from, some.path().join(&file.name)).unwrap();
            }
        }
        assert_eq!(everything(&read(some.path())?), before, "kept {kept:b}");
        assert_eq!(open(some.path())?.epoch(), epoch);
    }
    Ok(())
}

#[test]
fn a_segment_cut_by_one_whose_header_is_rotten_stays() -> Result<()> {
    let here = tempdir();
    let whole = open(here.path())?;
    for seq in 0..100_u64 {
        whole.append(vec![seq as u8; 300])?;
    }
    let cut = image(here.path());
    let files = segments(cut.path());
    flip(&files[1], records(&files[1])[3].payload_at());
    let log = open(cut.path())?;
    log.append(b"goes on")?;
    log.close()?;
    let last = segments(cut.path()).pop().unwrap();
    for block in [0, 4096] {
        flip(&last, block + 50);
    }
    assert_eq!(repair(cut.path()).run()?.set_aside, []);
    Ok(())
}

#[test]
fn damage_stays_where_it_is_and_is_reported_for_ever() {
    let patient = patient();
    let rotten = records(&patient.segment(1))[4];
    flip(&patient.segment(1), rotten.payload_at());
    for block in [0, 4096] {
        flip(&patient.segment(2), block + 50);
    }
    let lost = check(&patient.log).lost;
    assert_eq!(patient.repair().set_aside, []);
    assert_eq!((lost.len(), &lost[0]), (2, &(rotten.seq..rotten.seq + 1)));
    patient.assert_lost(&lost);
}

#[test]
fn a_torn_tail_needs_no_repair() {
    let dir = tempdir();
    killed_after(dir.path(), 100);
    // It may have died while it made a segment.
    let aside = repair(dir.path()).run().unwrap().set_aside;
    assert!(aside.iter().all(|file| file.why == Why::LeftOver), "{aside:?}");
    let copy = image(dir.path());
    let last = records(&segments(copy.path())[0])[90];
    flip(&segments(copy.path())[0], last.payload_at());
    assert_eq!(repair(copy.path()).run().unwrap().set_aside, []);
    open(copy.path()).unwrap().append(b"goes on").unwrap();
}

#[test]
fn a_log_that_is_open_is_in_use() -> Result<()> {
    let patient = patient();
    fs::write(patient.log.join("next-7"), b"left over").unwrap();
    let log = open(&patient.log)?;
    for dry_run in [true, false] {
        let error = repair(&patient.log).dry_run(dry_run).run().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    }
    assert!(patient.log.join("next-7").exists());
    let _reader = log.reader();
    log.close()?;
    assert_eq!(repair(&patient.log).run()?.set_aside.len(), 1, "readers are no hindrance");
    Ok(())
}

#[test]
fn what_is_no_log_and_what_a_newer_version_wrote_is_refused() {
    let dir = tempdir();
    assert_eq!(repair(dir.path().join("no")).run().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(repair(dir.path()).dry_run(true).run().unwrap_err().kind(), ErrorKind::NotALog);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

    let patient = patient();
    fs::write(patient.log.join("next-7"), b"left over").unwrap();
    for block in [0, 4096] {
        crate::support::patch(&patient.segment(3), block + 8, &[2]);
    }
    let error = repair(&patient.log).run().unwrap_err();
    assert_eq!((error.kind(), error.segment()), (ErrorKind::UnsupportedVersion, Some(4)));
    assert!(patient.log.join("next-7").exists());
}

#[test]
fn nothing_in_a_quarantine_is_ever_replaced() {
    let patient = patient();
    let quarantine = patient.here.path().join("aside");
    fs::create_dir(&quarantine).unwrap();
    fs::write(quarantine.join("next-7"), b"of another time").unwrap();
    fs::write(quarantine.join("next-7.part"), b"of another time").unwrap();
    fs::write(patient.log.join("next-7"), b"left over").unwrap();
    let done = repair(&patient.log).quarantine(&quarantine).run().unwrap();
    assert_eq!(done.quarantine.as_deref(), Some(&*quarantine));
    let expected = [
        ("next-7", "of another time"),
        ("next-7.2", "left over"),
        ("next-7.part", "of another time"),
    ];
    let expected = expected.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
    assert!(files(&quarantine).into_iter().eq(expected), "{:?}", files(&quarantine).keys());

    fs::write(patient.log.join("next-7"), b"left over").unwrap();
    let error = repair(&patient.log).quarantine(&patient.log).run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
    assert!(patient.log.join("next-7").exists());
}

/// A file leaves the log when its copy, the copy's name, and what cuts the file are on stable storage.
#[test]
fn copies_are_durable_before_anything_leaves_the_log() {
    let patient = patient();
    fs::write(patient.log.join("next-1"), b"left over").unwrap();
    let trace = patient.here.path().join("trace");
    let arguments =
        ["-o", trace.to_str().unwrap(), "-e", "trace=fsync,fdatasync,unlinkat,renameat2"];
    let role = "repair::repairs_and_tells";
    let Some(done) = crate::strace::strace(&arguments, role, &patient.log) else { return };
    assert!(done.status.success(), "{done:?}");
    let trace = fs::read_to_string(trace).unwrap();
    let log = patient.log.to_str().unwrap();
    let [parent, of_log, of_folder] = [
        format!("<{}>", patient.here.path().to_str().unwrap()),
        format!("<{log}>"),
        format!("<{log}.quarantine-1>"),
    ];
    let steps = [
        ["fsync(", &parent],
        ["fdatasync(", "/log.quarantine-1/next-1.part>"],
        ["renameat2(", "\"next-1.part\""],
        ["fsync(", &of_folder],
        ["fsync(", &of_log],
        ["unlinkat(", "\"next-1\""],
        ["fsync(", &of_log],
    ];
    let mut lines = trace.lines();
    for step in steps {
        let found = lines.any(|line| step.iter().all(|part| line.contains(part)));
        assert!(found, "{step:?} is missing or too late in {trace}");
    }
}

#[test]
#[ignore = "a child"]
fn repairs_and_tells() {
    repair(std::env::var("LOG").unwrap()).run().unwrap();
}

/// A file system in memory, of so many bytes, as long as the value lives.
struct Mounted(TempDir);

impl Mounted {
    fn new(size: &str) -> Option<Self> {
        let at = tempdir();
        let options = format!("size={size}");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(at.path())
            .status();
        if mount.is_ok_and(|done| done.success()) {
            return Some(Mounted(at));
        }
        println!("skipped: needs root, and leave to mount");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn without_room_in_the_quarantine_nothing_leaves_the_log() {
    let Some(small) = Mounted::new("32k") else { return };
    let patient = patient();
    fs::write(patient.log.join("next-1"), [1; 1000]).unwrap();
    fs::write(patient.log.join("next-2"), [2; 100_000]).unwrap();
    let before = files(&patient.log);
    let error = repair(&patient.log).quarantine(small.0.path()).run().unwrap_err();
    assert_eq!(
        (error.kind(), error.path()),
        (ErrorKind::StorageFull, Some(small.0.path())),
        "{error}"
    );
    assert!(files(&patient.log) == before);
    assert_eq!(
        files(small.0.path()).keys().collect::<Vec<_>>(),
        ["next-1"],
        "a part of a copy stayed"
    );
    assert_eq!(patient.repair().set_aside.len(), 2);
}

#[test]
fn on_a_file_system_that_is_read_only_only_a_dry_run_works() {
    let Some(mounted) = Mounted::new("1m") else { return };
    let patient = patient();
    let log = mounted.0.path().join("log");
    copy(&patient.log, &log);
    fs::write(log.join("next-1"), b"left over").unwrap();
    let remount = |how: &str| {
        Command::new("mount")
            .args(["-o", &format!("remount,{how}")])
            .arg(mounted.0.path())
            .status()
            .unwrap()
    };
    assert!(remount("ro").success());
    assert_eq!(repair(&log).dry_run(true).run().unwrap().set_aside.len(), 1);
    assert_eq!(repair(&log).run().unwrap_err().kind(), ErrorKind::ReadOnly);
    assert!(remount("rw").success());
    // Copies need no file system in common.
    let elsewhere = patient.here.path().join("aside");
    repair(&log).quarantine(&elsewhere).run().unwrap();
    assert_eq!(files(&elsewhere).values().next().unwrap(), b"left over");
    assert!(!log.join("next-1").exists());
}
