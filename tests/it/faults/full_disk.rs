//! G7 in depth: disks filled to the last byte, with readers and deaths, and every file-size limit.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout};

use maplog::{Error, ErrorKind, Log, Reader, Result, SyncPolicy};

use crate::disk::{Disk, run};
use crate::strace::{can_trace, traced};
use crate::support::{child, read, tempdir};

/// Freed to make room on a disk that the log filled.
const BALLAST_BYTES: u64 = 2 << 20;

fn open_wide(path: impl AsRef<Path>) -> Result<Log> {
    // SAFETY: tests change files only while no handle is alive.
    unsafe { Log::options().segment_bytes(4 << 20).sync(SyncPolicy::Manual).open(path) }
}

/// The `nth` record of a thread, of at least 16 bytes.
fn record(thread: u64, nth: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![(thread * 31 + nth) as u8; len];
    bytes[..8].copy_from_slice(&thread.to_le_bytes());
    bytes[8..16].copy_from_slice(&nth.to_le_bytes());
    bytes
}

/// Counts the records of each thread and compares their bytes and their order.
#[derive(Default)]
struct Check {
    counts: Vec<u64>,
    next_seq: u64,
}

impl Check {
    fn take(&mut self, reader: &Reader) {
        for item in reader.range(self.next_seq..) {
            let found = item.unwrap();
            assert_eq!(found.seq(), self.next_seq);
            let [thread, nth] =
                [0, 8].map(|at| u64::from_le_bytes(found.data()[at..at + 8].try_into().unwrap()));
            if self.counts.len() <= thread as usize {
                self.counts.resize(thread as usize + 1, 0);
            }
            assert_eq!(nth, self.counts[thread as usize], "of thread {thread}, in its order");
            assert!(found.data() == record(thread, nth, found.data().len()), "its own bytes");
            self.counts[thread as usize] += 1;
            self.next_seq += 1;
        }
    }

    fn all(reader: &Reader) -> Vec<u64> {
        let mut check = Check::default();
        check.take(reader);
        check.counts
    }
}

/// A child's lines that are for its parent.
fn hear(out: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    loop {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "the child is gone");
        if let Some((_, said)) = line.split_once("> ") {
            return said.trim().to_owned();
        }
    }
}

fn numbers(said: &str) -> Vec<u64> {
    said.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn start(role: &str, settings: &[(&str, &str)]) -> (Child, BufReader<ChildStdout>) {
    let mut child = child(&format!("faults::full_disk::{role}"), settings);
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

/// Tells a child to go on, and waits until it is gone.
fn let_go(mut child: Child) {
    child.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "no signal, no panic: {status}");
}

fn wait_for_parent() {
    std::io::stdin().read_exact(&mut [0]).unwrap();
}

/// Fills the disk with records of one size, and then of the smallest. What was acknowledged is told,
/// and after room was made appends go on.
#[test]
#[ignore = "a child"]
fn fills_the_disk() {
    let number = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let (threads, len) = (number("THREADS"), number("LEN") as usize);
    let log = open_wide(std::env::var("LOG").unwrap()).unwrap();
    let until_full = |thread: u64| {
        let mut nth = 0;
        for len in [len, 16] {
            let mut refused = 0;
            while refused < 3 {
                match log.append(record(thread, nth, len)) {
                    Ok(_) => nth += 1,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                        refused += 1;
                    }
                }
            }
        }
        nth
    };
    let until_full = &until_full;
    let counts: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || until_full(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(Check::all(&log.reader()), counts, "readable on the full disk");
    assert_eq!(log.sync().unwrap(), log.next_seq(), "and synced");
    println!("> full {}", counts.iter().map(|count| format!("{count} ")).collect::<String>());
    wait_for_parent();
    for (thread, &count) in counts.iter().enumerate() {
        for nth in count..count + 100 {
            log.append(record(thread as u64, nth, len.min(2000))).unwrap();
        }
    }
    log.close().unwrap();
}

/// Follows the log from another process by refreshing, until it is told to stop.
#[test]
#[ignore = "a child"]
fn follows() {
    let path = std::env::var("LOG").unwrap();
    let mut reader = loop {
        match read(&path) {
            Ok(reader) => break reader,
            // It is being made.
            Err(_) => std::thread::yield_now(),
        }
    };
    let stopped = std::thread::spawn(wait_for_parent);
    let mut check = Check::default();
    let mut looks = 0;
    loop {
        let last = stopped.is_finished();
        reader.refresh().unwrap();
        check.take(&reader);
        looks += 1;
        if last {
            break;
        }
    }
    println!("> saw {} in {looks} looks", check.next_seq);
}

#[test]
fn g7_a_disk_filled_to_its_last_byte_keeps_every_record() {
    let runs = [
        (64, 1, false),
        (64, 4, true),
        (1024, 1, true),
        (1024, 4, false),
        (100 << 10, 1, false),
        (100 << 10, 4, true),
    ];
    for (len, threads, killed) in runs {
        let Some(disk) = Disk::new(48) else { return };
        let path = disk.path().join("log");
        let ballast = disk.path().join("ballast");
        let file = fs::File::create(&ballast).unwrap();
        let flags = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(&file, flags, 0, BALLAST_BYTES).unwrap();
        drop(file);
        let settings = [
            ("LOG", path.to_str().unwrap()),
            ("LEN", &len.to_string()),
            ("THREADS", &threads.to_string()),
        ];
        let (follower, mut seen) = start("follows", &settings);
        let (mut writer, mut said) = start("fills_the_disk", &settings);
        let mut counts = numbers(&hear(&mut said));
        assert_eq!(counts.len(), threads);
        let bytes = counts.iter().sum::<u64>();
        if killed {
            writer.kill().unwrap();
            writer.wait().unwrap();
        } else {
            fs::remove_file(&ballast).unwrap();
            let_go(writer);
            counts.iter_mut().for_each(|count| *count += 100);
        }
        let_go(follower);
        let looks = numbers(&hear(&mut seen));
        assert_eq!(looks[0], counts.iter().sum::<u64>(), "the follower saw all");
        for round in 0..2 {
            let log = open_wide(&path).unwrap();
            assert_eq!(Check::all(&log.reader()), counts, "round {round}");
            drop(log);
            disk.mount_again();
        }
        if killed {
            let log = open_wide(&path).unwrap();
            let refused = (0..40_000).find_map(|_| log.append([0; 1000]).err().map(|e| e.kind()));
            assert_eq!(refused, Some(ErrorKind::StorageFull));
            drop(log);
            fs::remove_file(&ballast).unwrap();
        }
        let log = open_wide(&path).unwrap();
        let next = log.next_seq();
        assert!(next >= counts.iter().sum::<u64>());
        assert_eq!(log.append(b"goes on").unwrap(), next);
        log.close().unwrap();
        assert!(maplog::verify(&path, |_, _| {}).unwrap().is_intact());
        println!(
            "{bytes} records of {len} bytes by {threads} filled 48 MiB, in {} looks",
            looks[1]
        );
    }
}

/// Appends until something refuses; gives how many went in, and why no more did.
fn append_until_refused(log: &Log, from: u64, len: usize) -> (u64, Error) {
    let mut nth = from;
    loop {
        match log.append(record(0, nth, len)) {
            Ok(_) => nth += 1,
            Err(error) => return (nth - from, error),
        }
    }
}

/// G7 on a file system that cannot allocate: zeros are written instead, so a store never meets a hole,
/// neither of a new file nor of a sparse copy, on a disk that is full.
#[test]
fn g7_a_sparse_copy_where_nothing_can_be_allocated_meets_a_full_disk() {
    let Some(disk) = Disk::new(16) else { return };
    if !can_trace() {
        return;
    }
    let (path, copy) = (disk.path().join("log"), disk.path().join("copy"));
    let log = open_wide(&path).unwrap();
    for nth in 0..500 {
        log.append(record(0, nth, 1000)).unwrap();
    }
    log.close().unwrap();
    let mut grown = 0;
    for spare in [0, 8192, 100_000, 1_000_000] {
        run("cp", &["-r", "--sparse=always", path.to_str().unwrap(), copy.to_str().unwrap()])
            .unwrap();
        disk.fill(spare);
        let unsupported = ["-e", "trace=fallocate", "-e", "inject=fallocate:error=EOPNOTSUPP"];
        let trace = disk.path().with_file_name("trace");
        let arguments = [&["-o", trace.to_str().unwrap()], &unsupported[..]].concat();
        let done = traced(&arguments, "faults::full_disk::goes_on_until_refused", &copy).output();
        let done = done.unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "no signal with {spare} bytes to spare: {said} {done:?}");
        assert!(fs::read_to_string(trace).unwrap().contains("(INJECTED)"));
        let (_, said) = said.split_once("> ").unwrap();
        assert!(said.contains("StorageFull"), "{said}");
        let appended = numbers(said)[0];
        grown += appended;
        assert!(appended * 1000 <= spare + 64 * 1024, "{appended} into {spare} bytes");
        disk.make_room();
        let log = open_wide(&copy).unwrap();
        assert_eq!(Check::all(&log.reader()), [500 + appended]);
        log.append(record(0, 500 + appended, 1000)).unwrap();
        log.close().unwrap();
        fs::remove_dir_all(&copy).unwrap();
    }
    assert!(grown > 500, "with room to spare there are appends: {grown}");
}

#[test]
#[ignore = "a child"]
fn goes_on_until_refused() {
    let (appended, error) = match open_wide(std::env::var("LOG").unwrap()) {
        Err(error) => (0, error),
        Ok(log) => {
            let before = log.next_seq();
            let (appended, error) = append_until_refused(&log, before, 1000);
            assert_eq!(Check::all(&log.reader()), [before + appended]);
            (appended, error)
        }
    };
    println!("> {appended} {:?}", error.kind());
}

/// G7, attack 26: every file-size limit, in small steps, met by a log that is made, grows and rolls.
#[test]
fn attack_26_every_file_size_limit_is_an_error_at_every_growth_and_roll() {
    let dir = tempdir();
    let (child, mut out) =
        start("lives_under_every_limit", &[("LOG", dir.path().to_str().unwrap())]);
    let said = {
        let mut said = String::new();
        out.read_to_string(&mut said).unwrap();
        said
    };
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "no signal: {} {said}", done.status);
    let counts = numbers(said.split_once("> ").unwrap().1.lines().next().unwrap());
    let [limits, not_made, refused, unlimited] = counts[..] else { panic!("{said}") };
    println!(
        "{limits} limits: {not_made} let no log be made, {refused} refused an append, \
         {unlimited} were never reached"
    );
    assert!(limits > 70 && not_made > 5 && refused > 50 && unlimited > 1, "{said}");
}

fn limit_file_size(bytes: Option<u64>) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}

#[test]
#[ignore = "a child"]
fn lives_under_every_limit() {
    const SEGMENT_BYTES: u64 = 256 << 10;
    /// Two segments and a piece.
    const RECORDS: u64 = 600;
    let top = std::env::var("LOG").unwrap();
    // SAFETY: nobody else touches the directories.
    let open = |path: &Path| unsafe {
        Log::options().segment_bytes(SEGMENT_BYTES).sync(SyncPolicy::Manual).open(path)
    };
    let [mut limits, mut not_made, mut refused, mut unlimited, mut closed_clean] = [0; 5];
    for limit in [0, 1, 512, 4096, 5000, 8191, 8192].into_iter().chain((0..80).map(|n| n * 4093)) {
        limits += 1;
        // A limit that is there from the first, and one that comes when half is written.
        for half in [0, RECORDS / 2] {
            let path = Path::new(&top).join(format!("{limit}-{half}-{limits}"));
            if half == 0 {
                limit_file_size(Some(limit));
                if let Err(error) = open(&path) {
                    assert_eq!(error.kind(), ErrorKind::FileSizeLimit, "{limit} {error}");
                    not_made += 1;
                    limit_file_size(None);
                }
            }
            let log = open(&path).unwrap();
            let mut count = half;
            (0..half).for_each(|nth| assert_eq!(log.append(record(0, nth, 1000)).unwrap(), nth));
            limit_file_size(Some(limit));
            while count < RECORDS {
                match log.append(record(0, count, 1000)) {
                    Ok(seq) => assert_eq!(seq, count),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::FileSizeLimit, "{limit} {error}");
                        refused += u64::from(half == 0);
                        break;
                    }
                }
                count += 1;
            }
            unlimited += u64::from(half == 0 && count == RECORDS);
            assert_eq!(Check::all(&log.reader()), if count == 0 { vec![] } else { vec![count] });
            // Under the limit, too, what was appended can be made durable.
            assert_eq!(log.sync().unwrap(), count, "{limit}");
            assert_eq!(log.sync().unwrap(), count, "{limit}");
            limit_file_size(None);
            assert_eq!(log.append(record(0, count, 1000)).unwrap(), count);
            limit_file_size(Some(limit));
            let closed = log.close();
            limit_file_size(None);
            match closed {
                Ok(()) => closed_clean += 1,
                // Where not even the header may be written, nothing says that the log was closed.
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::FileSizeLimit, "{error}");
                    assert!(limit < 8192, "{limit}");
                }
            }
            let log = open(&path).unwrap();
            assert_eq!(Check::all(&log.reader()), [count + 1]);
            assert_eq!(log.append(record(0, count + 1, 1000)).unwrap(), count + 1);
            drop(log);
            fs::remove_dir_all(&path).unwrap();
        }
    }
    assert!(closed_clean >= 150, "{closed_clean}");
    println!("> {limits} {not_made} {refused} {unlimited}");
}
