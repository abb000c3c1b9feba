//! The files of consumers: damaged, foreign, hostile, synced.

use std::fs;
use std::path::{Path, PathBuf};

use maplog::{ErrorKind, Log, SyncPolicy};

use super::{append_durably, assert_nothing, expect};
use crate::strace::{can_trace, traced};
use crate::support::{SMALL, flip, open, tempdir};

fn file(log: &Path) -> PathBuf {
    log.join("consumers/a")
}

/// A closed log with 30 records whose consumer acknowledged 9, then 19.
fn log_with_consumer(path: &Path) {
    let log = open(path).unwrap();
    append_durably(&log, 30);
    let mut consumer = log.consumer("a").unwrap();
    expect(&mut consumer, 0..30);
    consumer.ack(9).unwrap();
    consumer.ack(19).unwrap();
    drop(consumer);
    log.close().unwrap();
}

/// A file written by docs/format.md alone is taken up, and what is stored is what it says.
#[test]
fn g13_the_file_is_as_the_document_says() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append_durably(&log, 30);
    let mut place = vec![0; 512];
    let put = |place: &mut Vec<u8>, at: usize, bytes: &[u8]| {
        place[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(&mut place, 0, b"mapcur\x1a\n");
    put(&mut place, 8, &1_u32.to_le_bytes());
    put(&mut place, 16, &log.id());
    put(&mut place, 32, &7_u64.to_le_bytes());
    put(&mut place, 40, &1_u64.to_le_bytes());
    put(&mut place, 48, &12_u64.to_le_bytes());
    put(&mut place, 56, &3_u32.to_le_bytes());
    put(&mut place, 60, b"own");
    let sum = crc32fast::hash(&place[..508]);
    put(&mut place, 508, &sum.to_le_bytes());
    let mut bytes = vec![0; 8192];
    put(&mut bytes, 4096, &place);
    fs::create_dir(home.path().join("consumers")).unwrap();
    fs::write(file(home.path()), bytes).unwrap();

    let mut consumer = log.consumer("a").unwrap();
    assert_eq!((consumer.next_seq(), &consumer.user_data()[..]), (12, &b"own"[..]));
    expect(&mut consumer, 12..20);
    consumer.ack(19).unwrap();
    put(&mut place, 32, &8_u64.to_le_bytes());
    put(&mut place, 48, &20_u64.to_le_bytes());
    let sum = crc32fast::hash(&place[..508]);
    put(&mut place, 508, &sum.to_le_bytes());
    assert_eq!(fs::read(file(home.path())).unwrap()[..512], place);
}

#[test]
fn a_torn_place_leaves_the_one_before() {
    let home = tempdir();
    log_with_consumer(home.path());
    let whole = fs::read(file(home.path())).unwrap();
    assert_eq!(whole.len(), 8192);
    for (block, next_seq) in [(0, 10), (1, 20)] {
        flip(&file(home.path()), block * 4096 + 44);
        let log = open(home.path()).unwrap();
        let mut consumer = log.consumer("a").unwrap();
        expect(&mut consumer, next_seq..30);
        drop(consumer);
        fs::write(file(home.path()), &whole).unwrap();
    }
}

#[test]
fn a_file_without_a_whole_place_is_damage_until_it_is_removed() {
    let home = tempdir();
    log_with_consumer(home.path());
    flip(&file(home.path()), 44);
    flip(&file(home.path()), 4096 + 44);
    let log = open(home.path()).unwrap();
    let error = log.consumer("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert_eq!(error.path(), Some(&*file(home.path())));
    let listed = log.consumers().unwrap();
    assert_eq!((listed[0].next_seq, listed[0].lag), (None, 30));
    assert!(log.remove_consumer("a").unwrap());
    expect(&mut log.consumer("a").unwrap(), 0..30);
}

/// Whatever else lies in the folder, those that are consumers are listed.
#[test]
fn what_is_no_consumers_file_stops_no_listing() {
    let home = tempdir();
    log_with_consumer(home.path());
    let folder = file(home.path()).parent().unwrap().to_owned();
    std::os::unix::fs::symlink("/nowhere", folder.join("link")).unwrap();
    fs::create_dir(folder.join("folder")).unwrap();
    let log = open(home.path()).unwrap();
    let names: Vec<String> = log.consumers().unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["a"]);
}

#[test]
fn a_place_in_another_log_is_refused() {
    let [home, other] = [tempdir(), tempdir()];
    log_with_consumer(home.path());
    let log = open(other.path()).unwrap();
    append_durably(&log, 100);
    fs::create_dir(other.path().join("consumers")).unwrap();
    fs::copy(file(home.path()), file(other.path())).unwrap();
    assert_eq!(log.consumer("a").unwrap_err().kind(), ErrorKind::Replaced);
    assert_eq!(log.consumers().unwrap()[0].next_seq, None);
    assert!(log.remove_consumer("a").unwrap());
    expect(&mut log.consumer("a").unwrap(), 0..100);
}

/// G11: whatever stands in the file, and in the folder, the log opens, and the consumer gives records in
/// order or an error.
#[test]
fn g11_any_bytes_in_a_consumers_file_give_an_error_or_records() {
    let home = tempdir();
    log_with_consumer(home.path());
    let whole = fs::read(file(home.path())).unwrap();
    let mut random = fastrand::Rng::with_seed(11);
    let (mut errors, mut went_on) = (0, 0);
    for round in 0..400 {
        let mut bytes = whole.clone();
        match round % 4 {
            0 => random.fill(&mut bytes),
            1 => bytes.truncate(random.usize(0..bytes.len())),
            // Whole places that say anything: the sums are made anew.
            2 => {
                for block in [0, 4096] {
                    let at = block + random.usize(12..60);
                    random.fill(&mut bytes[at..at + 8]);
                    let sum = crc32fast::hash(&bytes[block..block + 508]);
                    bytes[block + 508..block + 512].copy_from_slice(&sum.to_le_bytes());
                }
            }
            _ => bytes[random.usize(0..512) + 4096 * random.usize(0..2)] ^= 1 << random.u8(0..8),
        }
        fs::write(file(home.path()), &bytes).unwrap();
        let log = open(home.path()).unwrap();
        assert_eq!(log.consumers().unwrap().len(), 1);
        let mut consumer = match log.consumer("a") {
            Ok(consumer) => consumer,
            Err(error) => {
                let known =
                    [ErrorKind::Damaged, ErrorKind::Replaced, ErrorKind::UnsupportedVersion];
                assert!(known.contains(&error.kind()), "{error}");
                errors += 1;
                continue;
            }
        };
        if let Err(error) = consumer.try_recv() {
            assert_eq!(error.kind(), ErrorKind::Rewound, "{error}");
        }
        let next_seq = consumer.next_seq();
        expect(&mut consumer, next_seq..30);
        assert_nothing(&mut consumer);
        went_on += 1;
    }
    assert!(errors > 100 && went_on > 100, "{errors} errors, {went_on} went on");
    fs::remove_file(file(home.path())).unwrap();
    fs::create_dir(file(home.path())).unwrap();
    let log = open(home.path()).unwrap();
    assert_eq!(log.consumer("a").unwrap_err().kind(), ErrorKind::Io);
}

/// What the policy promises about places and power cuts, by the calls that reach the kernel.
#[test]
fn places_are_synced_as_the_policy_says() {
    if !can_trace() {
        return;
    }
    for (policy, expected) in [("always", 41), ("every", 2), ("manual", 2)] {
        let home = tempdir();
        let (log, trace) = (home.path().join("log"), home.path().join("trace"));
        let calls = ["-o", trace.to_str().unwrap(), "-e", "trace=fdatasync,fsync"];
        let done =
            traced(&calls, "consumers::files::acknowledges", &log).env("POLICY", policy).output();
        assert!(done.unwrap().status.success());
        let trace = fs::read_to_string(trace).unwrap();
        // Its making, under its private name; then its places, or the last of them at the end.
        let of_the_file = |line: &&str| line.contains("fdatasync") && line.contains("/consumers/");
        let syncs = trace.lines().filter(of_the_file).count();
        assert_eq!(syncs, expected, "{policy}: {trace}");
        // Its name, and then that of the folder.
        let of_folder = trace.find("/log/consumers>)").unwrap_or_else(|| panic!("{trace}"));
        assert!(
            trace[of_folder..].contains("fsync") && trace[of_folder..].contains("/log>)"),
            "{trace}"
        );
    }
}

#[test]
#[ignore = "a process of the test above"]
fn acknowledges() {
    let home = std::env::var("LOG").unwrap();
    let policy = match &*std::env::var("POLICY").unwrap() {
        "always" => SyncPolicy::Always,
        "every" => SyncPolicy::Every(std::time::Duration::from_secs(3600)),
        _ => SyncPolicy::Manual,
    };
    // SAFETY: only maplog changes the files.
    let log = unsafe { Log::options().segment_bytes(SMALL).sync(policy).open(home) }.unwrap();
    let records: Vec<_> = (0..40).map(|seq: u64| seq.to_le_bytes()).collect();
    log.append_batch(&records).unwrap();
    log.sync().unwrap();
    let mut consumer = log.consumer("counted").unwrap();
    for _ in 0..40 {
        let seq = consumer.recv().unwrap().seq();
        consumer.ack(seq).unwrap();
    }
}

/// After a failed sync the kernel takes for clean what never reached the disk: to sync again proves nothing
/// about it. So the place is stored again first.
#[test]
fn g8_a_place_whose_sync_failed_is_stored_again_before_it_counts_as_synced() {
    if !can_trace() {
        return;
    }
    let home = tempdir();
    let (log, trace) = (home.path().join("log"), home.path().join("trace"));
    log_with_consumer(&log);
    let place = file(&log);
    let calls = ["-o", trace.to_str().unwrap(), "-P", place.to_str().unwrap()];
    let fails = ["-e", "trace=pwrite64,fdatasync", "-e", "inject=fdatasync:error=EIO:when=1"];
    let role = "consumers::files::acknowledges_again_after_an_error";
    let done = traced(&[calls, fails].concat(), role, &log).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let trace = fs::read_to_string(trace).unwrap();
    let (before, after) = trace.split_once("EIO").unwrap();
    assert_eq!(before.matches("pwrite64(").count(), 1, "{trace}");
    let lines: Vec<_> = after.lines().skip(1).collect();
    let [stored, synced] = lines[..] else { panic!("{trace}") };
    assert!(stored.contains("pwrite64(") && synced.contains("fdatasync("), "{trace}");

    let log = open(&log).unwrap();
    expect(&mut log.consumer("a").unwrap(), 26..30);
}

#[test]
#[ignore = "a process of the test above"]
fn acknowledges_again_after_an_error() {
    let options = Log::options().segment_bytes(SMALL).sync(SyncPolicy::Always);
    // SAFETY: only maplog changes the files.
    let log = unsafe { options.open(std::env::var("LOG").unwrap()) }.unwrap();
    let mut consumer = log.consumer("a").unwrap();
    expect(&mut consumer, 20..30);
    assert_eq!(consumer.ack(25).unwrap_err().kind(), ErrorKind::Io);
    consumer.ack(25).unwrap();
    consumer.sync().unwrap();
    // What is dropped syncs, too.
    std::mem::forget(consumer);
}
