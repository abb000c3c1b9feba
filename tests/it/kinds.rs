//! What can lie where a log is expected, and what may be asked of one: each gives the kind of error
//! that its cause has, says where, loses nothing, and never panics.
#![allow(clippy::print_stdout)]

mod forge;
mod hostile;
mod limits;

use std::fs;
use std::ops::Range;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use maplog::{Error, ErrorKind, Log, Result};
use tempfile::TempDir;

use crate::support::{SMALL, child, everything, flip, image, open, read, segments, tempdir};
use forge::{BLOCK_BYTES, Forged};

fn payload(seq: u64) -> Vec<u8> {
    vec![seq as u8; 300 + seq as usize % 7]
}

/// A closed log of four segments, and how many records it holds.
fn closed_log() -> (TempDir, u64) {
    let dir = tempdir();
    let log = open(dir.path()).unwrap();
    let mut next_seq = 0;
    while log.stats().unwrap().segments < 4 || next_seq % 10 != 0 {
        next_seq = log.append(payload(next_seq)).unwrap() + 1;
    }
    log.close().unwrap();
    (dir, next_seq)
}

/// The first record of each segment.
fn bases(log: &Path) -> Vec<u64> {
    let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    segments(log).into_iter().map(|path| name(path)[..20].parse().unwrap()).collect()
}

/// Reading gives every record, and reports nothing lost.
fn check_all(log: &Path, records: Range<u64>) {
    check_all_but(log, records, 0..0);
}

/// Reading gives every record but those in `lost`, and reports exactly those.
fn check_all_but(log: &Path, records: Range<u64>, lost: Range<u64>) {
    let reader = read(log).unwrap();
    assert_eq!(reader.first_seq()..reader.next_seq(), records);
    let all = everything(&reader);
    assert_eq!(all.lost, Vec::from_iter((!lost.is_empty()).then(|| lost.clone())));
    let kept: Vec<_> =
        records.filter(|seq| !lost.contains(seq)).map(|seq| (seq, payload(seq))).collect();
    assert!(all.records == kept, "records differ");
}

/// The error of opening to read and to append; both say the same, name the log, and lose nothing.
fn refusal(log: &Path) -> Error {
    let before = contents(log);
    let to_read = read(log).map(drop).unwrap_err();
    let to_append = open(log).map(drop).unwrap_err();
    assert_eq!(to_read.kind(), to_append.kind(), "{to_read} | {to_append}");
    assert_eq!(to_read.segment(), to_append.segment(), "{to_read} | {to_append}");
    for error in [&to_read, &to_append] {
        assert_eq!(error.path(), Some(log), "{error}");
        assert!(error.to_string().contains(log.to_str().unwrap()), "{error}");
        if let Some(segment) = error.segment() {
            assert!(error.to_string().contains(&format!("segment {segment}")), "{error}");
        }
    }
    assert!(contents(log) == before, "refusing changed a file");
    to_read
}

/// Names and bytes of a log's segments and whatever else is a file, but for the volatile ones.
fn contents(log: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(log) else { return Vec::new() };
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.ends_with("shared") && !path.ends_with("lock"))
        .filter(|path| fs::symlink_metadata(path).unwrap().is_file())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_segment_of_zeros_or_noise_is_damage_of_exactly_its_records() -> Result<()> {
    let (log, next_seq) = closed_log();
    let bases = bases(log.path());
    let mut random = fastrand::Rng::with_seed(2);
    for harmed in 0..3 {
        for noise in [false, true] {
            let copy = image(log.path());
            let file = segments(copy.path())[harmed].clone();
            let mut bytes = vec![0; fs::read(&file).unwrap().len()];
            if noise {
                random.fill(&mut bytes);
            }
            fs::write(&file, bytes).unwrap();
            let lost = bases[harmed]..bases[harmed + 1];
            check_all_but(copy.path(), 0..next_seq, lost.clone());
            let error = read(copy.path())?.get(lost.start).unwrap_err();
            assert_eq!(
                (error.kind(), error.segment()),
                (ErrorKind::Damaged, Some(harmed as u64 + 1))
            );
            let log = open(copy.path())?;
            assert_eq!(log.append(payload(next_seq))?, next_seq);
            log.close()?;
            check_all_but(copy.path(), 0..next_seq + 1, lost);
        }
    }
    Ok(())
}

/// Attack 40: nobody knows how many records the last segment held; none of their numbers is
/// given again.
#[test]
fn attack_40_a_last_segment_of_zeros_loses_what_it_may_have_held() -> Result<()> {
    let (log, next_seq) = closed_log();
    let last_base = *bases(log.path()).last().unwrap();
    let file = segments(log.path()).pop().unwrap();
    fs::write(&file, vec![0; SMALL as usize]).unwrap();
    let copy = image(log.path());
    let lost = last_base..last_base + (SMALL - 8192) / 16;
    assert!(lost.contains(&(next_seq - 1)));
    check_all_but(copy.path(), 0..lost.end, lost.clone());
    let log = open(copy.path())?;
    assert_eq!(log.recovery().lost, std::slice::from_ref(&lost));
    assert_eq!(log.append(payload(lost.end))?, lost.end);
    log.close()?;
    check_all_but(copy.path(), 0..lost.end + 1, lost);
    Ok(())
}

#[test]
fn noise_behind_a_whole_header_is_damage_too() {
    let (log, next_seq) = closed_log();
    let bases = bases(log.path());
    let copy = image(log.path());
    let file = &segments(copy.path())[1];
    let mut bytes = fs::read(file).unwrap();
    fastrand::Rng::with_seed(3).fill(&mut bytes[8192..]);
    fs::write(file, bytes).unwrap();
    check_all_but(copy.path(), 0..next_seq, bases[1]..bases[2]);
}

#[test]
fn a_missing_first_or_middle_segment_is_damage_of_exactly_its_records() -> Result<()> {
    let (log, next_seq) = closed_log();
    let bases = bases(log.path());
    for missing in 0..3 {
        let copy = image(log.path());
        fs::remove_file(&segments(copy.path())[missing]).unwrap();
        let lost = bases[missing]..bases[missing + 1];
        check_all_but(copy.path(), 0..next_seq, lost.clone());
        let log = open(copy.path())?;
        assert_eq!(log.append(payload(next_seq))?, next_seq);
        log.close()?;
        check_all_but(copy.path(), 0..next_seq + 1, lost);
    }
    Ok(())
}

/// What was in it cannot be known: the log ends before it, and an epoch tells the new numbers from
/// the old.
#[test]
fn a_missing_last_segment_ends_the_log_before_it() -> Result<()> {
    let (log, _) = closed_log();
    let last_base = *bases(log.path()).last().unwrap();
    fs::remove_file(segments(log.path()).pop().unwrap()).unwrap();
    let copy = image(log.path());
    check_all(copy.path(), 0..last_base);
    let log = open(copy.path())?;
    let epoch = log.epoch();
    assert!(!log.recovery().clean);
    assert_eq!(log.append(payload(last_base))?, last_base);
    assert_eq!(log.epoch(), epoch + 1);
    log.close()?;
    check_all(copy.path(), 0..last_base + 1);
    Ok(())
}

#[test]
fn a_copy_of_a_segment_under_another_name_is_refused() {
    let (log, next_seq) = closed_log();
    let bases = bases(log.path());
    // Another id, with its own base, one between, one behind the end; and its own id, with another
    // base.
    let copies =
        [(bases[1], 9, 9), (bases[1] + 1, 9, 9), (next_seq + 50, 9, 9), (bases[1] + 1, 2, 2)];
    for (base, id, named) in copies {
        let copy = image(log.path());
        let second = segments(copy.path())[1].clone();
        let other = copy.path().join(format!("{base:020}-{id}.seg"));
        fs::copy(second, &other).unwrap();
        let error = refusal(copy.path());
        assert_eq!((error.kind(), error.segment()), (ErrorKind::NotALog, Some(named)), "{error}");
        fs::remove_file(other).unwrap();
        check_all(copy.path(), 0..next_seq);
    }
}

#[test]
fn a_segment_of_another_log_is_refused_wherever_it_lies() -> Result<()> {
    let (log, next_seq) = closed_log();
    let (other, _) = closed_log();
    for index in 0..4 {
        let copy = image(log.path());
        let [ours, theirs] = [copy.path(), other.path()].map(|path| segments(path)[index].clone());
        assert_eq!(ours.file_name(), theirs.file_name());
        let whole = fs::read(&ours).unwrap();
        fs::copy(theirs, &ours).unwrap();
        // Where opening does not look, reading does: no record of the other log is given.
        let found = match read(copy.path()) {
            Err(error) => error,
            Ok(reader) => reader.iter().find_map(Result::err).expect("another log's records"),
        };
        assert_eq!(found.kind(), ErrorKind::NotALog, "segment {index}: {found}");
        assert!(found.segment().is_some() && found.path() == Some(copy.path()), "{found}");
        fs::write(ours, whole).unwrap();
        check_all(copy.path(), 0..next_seq);
    }
    Ok(())
}

/// A directory of something else was hardly meant; the root of a new file system is as good as empty.
#[test]
fn no_log_is_made_among_other_things() -> Result<()> {
    let dir = tempdir();
    fs::write(dir.path().join("thesis.tex"), "not a log").unwrap();
    let error = open(dir.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotALog);
    assert!(error.to_string().contains("thesis.tex"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something was made");

    let root = tempdir();
    fs::create_dir(root.path().join("lost+found")).unwrap();
    assert_eq!(open(root.path())?.append(b"first")?, 0);
    Ok(())
}

#[test]
fn foreign_files_are_no_business_of_the_log() -> Result<()> {
    let (log, next_seq) = closed_log();
    let copy = image(log.path());
    let left_over = copy.path().join("next-0");
    fs::write(&left_over, b"a segment that never got its name").unwrap();
    for name in ["README", "0-1.seg", "00000000000000000000-1.seg.bak", ".seg", "next-1", "core"] {
        fs::write(copy.path().join(name), [0xFF; 100]).unwrap();
    }
    fs::create_dir(copy.path().join("lost+found")).unwrap();
    check_all(copy.path(), 0..next_seq);
    let log = open(copy.path())?;
    assert!(log.recovery().clean);
    let mut end = next_seq;
    while log.stats()?.segments == 4 {
        end = log.append(payload(end))? + 1;
    }
    log.close()?;
    assert!(!left_over.exists(), "who builds next takes the private name");
    check_all(copy.path(), 0..end);
    assert_eq!(fs::read(copy.path().join("README")).unwrap(), [0xFF; 100]);
    Ok(())
}

#[test]
fn what_is_no_file_in_a_segments_place_is_an_error_and_not_a_hang() {
    let (log, next_seq) = closed_log();
    let log = image(log.path());
    let place = log.path().join(format!("{:020}-9.seg", next_seq + 5));
    let fifo: fn(&Path) = |path| {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).unwrap();
    };
    let directory: fn(&Path) = |path| fs::create_dir(path).unwrap();
    let link: fn(&Path) = |path| symlink("/etc/passwd", path).unwrap();
    for make in [fifo, link, directory] {
        make(&place);
        let error = refusal(log.path());
        assert_eq!((error.kind(), error.segment()), (ErrorKind::NotALog, Some(9)), "{error}");
        fs::remove_file(&place).or_else(|_| fs::remove_dir(&place)).unwrap();
        check_all(log.path(), 0..next_seq);
    }
}

#[test]
fn a_path_that_holds_no_log_is_named_for_what_it_is() {
    let dir = tempdir();
    let file = dir.path().join("file");
    fs::write(&file, b"bytes").unwrap();
    assert_eq!(refusal(&file).kind(), ErrorKind::NotALog);
    assert_eq!(fs::read(&file).unwrap(), b"bytes");

    let missing = dir.path().join("missing");
    let without_creating = |path: &Path| {
        // SAFETY: nothing changes the files.
        unsafe { Log::options().create(false).open(path) }.map(drop).unwrap_err()
    };
    assert_eq!(without_creating(&missing).kind(), ErrorKind::NotFound);
    assert_eq!(read(&missing).map(drop).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!missing.exists());
    assert_eq!(refusal(&missing.join("deeper")).kind(), ErrorKind::NotFound);

    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let to_read = read(&empty).map(drop).unwrap_err();
    for error in [to_read, without_creating(&empty)] {
        assert_eq!((error.kind(), error.path()), (ErrorKind::NotALog, Some(&*empty)), "{error}");
    }
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0, "asking made a file");
}

#[test]
fn a_log_of_another_version_or_with_unknown_features_is_refused_by_name() {
    let (log, next_seq) = closed_log();
    let cases: [(usize, &[u8], ErrorKind, &str); 5] = [
        (forge::VERSION_AT, &[2, 0, 0, 0], ErrorKind::UnsupportedVersion, "found version 2"),
        (forge::INCOMPATIBLE_AT, &[0, 0x10], ErrorKind::UnsupportedFeature, "bits 0x1000"),
        (forge::ALIGNMENT_AT, &[64], ErrorKind::UnsupportedFeature, "alignment 0x40"),
        (forge::CHECKSUM_AT, &[2], ErrorKind::UnsupportedFeature, "checksum id 0x2"),
        (forge::REASON_AT, &[7], ErrorKind::UnsupportedFeature, "reason 0x7"),
    ];
    for (at, value, kind, says) in cases {
        let copy = image(log.path());
        let last = segments(copy.path()).pop().unwrap();
        let whole = Forged::read(&last);
        Forged::read(&last).header(at, value).write(&last);
        let error = refusal(copy.path());
        assert_eq!((error.kind(), error.segment()), (kind, Some(4)), "{error}");
        assert!(error.to_string().contains(says), "{error}");
        whole.write(&last);
        check_all(copy.path(), 0..next_seq);
    }
}

#[test]
fn another_version_in_one_copy_of_the_header_is_rot() {
    let (log, next_seq) = closed_log();
    let copy = image(log.path());
    let last = segments(copy.path()).pop().unwrap();
    for block in [0, BLOCK_BYTES] {
        flip(&last, block + forge::VERSION_AT + 2);
        check_all(copy.path(), 0..next_seq);
        flip(&last, block + forge::VERSION_AT + 2);
    }
}

/// The child becomes nobody; who may not look into a directory learns that and nothing else.
#[test]
fn without_permission_the_log_says_so() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    let dir = tempdir();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let log = open(dir.path().join("log")).unwrap();
    for seq in 0..30 {
        log.append(payload(seq)).unwrap();
    }
    log.close().unwrap();
    let done = child("kinds::nobody_opens_a_log", &[("LOG_PARENT", dir.path().to_str().unwrap())])
        .wait_with_output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    assert!(String::from_utf8_lossy(&done.stdout).contains("looked at five ways to be denied"));
}

#[test]
#[ignore = "the child of without_permission_the_log_says_so"]
fn nobody_opens_a_log() {
    const NOBODY: u32 = 65534;
    // A relative path, since a directory above may be closed to others.
    std::env::set_current_dir(std::env::var("LOG_PARENT").unwrap()).unwrap();
    let log = Path::new("log");
    let file = segments(log).remove(0);
    let set = |mode_of_dir, mode_of_files| {
        fs::set_permissions(log, fs::Permissions::from_mode(mode_of_dir)).unwrap();
        for entry in fs::read_dir(log).unwrap() {
            let path = entry.unwrap().path();
            fs::set_permissions(path, fs::Permissions::from_mode(mode_of_files)).unwrap();
        }
    };
    let become_user = |user| {
        // SAFETY: plain system calls; glibc changes all threads, of which the others only wait.
        assert_eq!(unsafe { libc::seteuid(0) }, 0);
        assert_eq!(unsafe { libc::setegid(user) }, 0);
        assert_eq!(unsafe { libc::seteuid(user) }, 0);
    };
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setgroups(0, std::ptr::null()) }, 0);
    let denied = |error: Error, segment| {
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        assert_eq!((error.path(), error.segment()), (Some(log), segment), "{error}");
    };

    set(0o700, 0o644);
    become_user(NOBODY);
    denied(read(log).map(drop).unwrap_err(), None);
    denied(open(log).map(drop).unwrap_err(), None);
    become_user(0);

    set(0o755, 0o640);
    become_user(NOBODY);
    denied(read(log).map(drop).unwrap_err(), Some(2));
    denied(open(log).map(drop).unwrap_err(), None);
    become_user(0);

    set(0o755, 0o644);
    become_user(NOBODY);
    check_all(log, 0..30);
    denied(open(log).map(drop).unwrap_err(), None);
    become_user(0);
    assert!(file.exists());
    println!("looked at five ways to be denied");
}
