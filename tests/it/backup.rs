//! A copy of the directory taken while the log is appended to, by ordinary tools, is a log.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use maplog::{Log, Retention, SyncPolicy};

use crate::support::{SMALL, everything, open, read, tempdir};

fn payload(seq: u64) -> Vec<u8> {
    let more = (seq * 31 % 300) as usize;
    [&seq.to_le_bytes()[..], &vec![seq as u8; more]].concat()
}

/// How a directory is copied; false if some file went meanwhile.
type Copy = fn(&Path, &Path) -> bool;

fn run(command: &mut Command) -> bool {
    command.stderr(Stdio::null()).status().unwrap().success()
}

fn by_cp(from: &Path, to: &Path) -> bool {
    run(Command::new("cp").arg("-r").args([from, to]))
}

fn by_rsync(from: &Path, to: &Path) -> bool {
    let contents = format!("{}/", from.display());
    run(Command::new("rsync").args(["-a", &contents]).arg(to))
}

/// The worst tool: a page at a time, with rests, so that whoever appends overtakes it.
fn by_pages(from: &Path, to: &Path) -> bool {
    std::fs::create_dir(to).unwrap();
    let mut names: Vec<_> =
        std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for name in names {
        let Ok(file) = File::open(from.join(&name)) else { return false };
        let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
        for (index, page) in bytes.chunks_mut(4096).enumerate() {
            file.read_exact_at(page, index as u64 * 4096).unwrap();
            std::thread::sleep(Duration::from_micros(100));
        }
        std::fs::write(to.join(name), bytes).unwrap();
    }
    true
}

/// Copies until nothing went while it was copied, as the README says. Gives what was there before that.
fn back_up(log: &Log, copy: Copy, to: &Path) -> (u64, u64) {
    for _ in 0..1000 {
        let before = log.next_seq();
        if copy(log.path(), to) {
            // A trim is noted in the files before it is told.
            drop(log.writer().unwrap());
            return (log.first_seq(), before);
        }
        // What is left of the last try must not be taken for part of this one.
        std::fs::remove_dir_all(to).unwrap();
    }
    panic!("never while nothing went")
}

/// Everything that was appended before the copy began and was not trimmed is in it; of what came meanwhile
/// nothing is wrong, and what is missing in the middle is said to be.
fn check(copy: &Path, (first_seq, before): (u64, u64)) -> (u64, u64) {
    let before_opening = everything(&read(copy).unwrap());
    let log = open(copy).unwrap();
    let all = everything(&log.reader());
    assert_eq!(before_opening, all);
    assert!(
        log.first_seq() <= first_seq && log.next_seq() >= before,
        "{log:?}, {first_seq}..{before} were there, {:?}",
        log.recovery()
    );
    let mut records = all.records.iter();
    assert!(all.records.iter().all(|(seq, data)| *data == payload(*seq)));
    let known = (first_seq..before).filter(|seq| records.any(|(other, _)| other == seq)).count();
    // All of it may have been trimmed meanwhile.
    assert_eq!(
        known as u64,
        before.saturating_sub(first_seq),
        "{first_seq}..{before}: {:?}",
        all.lost
    );
    assert!(all.lost.iter().all(|lost| lost.start >= before), "{:?} from {before} on", all.lost);
    // And it goes on.
    let seq = log.append(payload(log.next_seq())).unwrap();
    log.close().unwrap();
    let log = open(copy).unwrap();
    assert!(log.recovery().clean);
    assert_eq!(log.reader().get(seq).unwrap().unwrap().data(), payload(seq));
    let lost = all.lost.iter().map(|lost| lost.end - lost.start).sum();
    (log.next_seq() - 1 - before, lost)
}

/// Ends who appends, whatever becomes of the test.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

fn copies_are_logs(copy: Copy, count: usize) {
    let home = tempdir();
    let path = home.path().join("log");
    let options = Log::options().segment_bytes(4 * SMALL).sync(SyncPolicy::Manual);
    let options = options.retention(Retention::default().max_segments(60));
    // SAFETY: only maplog changes the files; others read them.
    let log = unsafe { options.open(&path) }.unwrap();
    let stop = AtomicBool::new(false);
    let (mut more, mut lost) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(SeqCst) {
                for _ in 0..200 {
                    log.append(payload(log.next_seq())).unwrap();
                }
                log.sync().unwrap();
            }
        });
        let _ended = Ended(&stop);
        for index in 0..count {
            let to = home.path().join(format!("copy{index}"));
            let known = back_up(&log, copy, &to);
            let (came, gone) = check(&to, known);
            (more, lost) = (more + came, lost + gone);
            std::fs::remove_dir_all(&to).unwrap();
        }
    });
    println!(
        "{count} copies; {more} records more than when each began, {lost} of those missing and named"
    );
    assert!(more > 0, "nothing was appended meanwhile");
}

#[test]
fn a_copy_by_cp_of_a_log_that_is_appended_to_is_a_log() {
    copies_are_logs(by_cp, 25);
}

#[test]
fn a_copy_that_is_overtaken_while_it_reads_a_segment_is_a_log_that_names_what_it_missed() {
    copies_are_logs(by_pages, 6);
}

#[test]
fn a_copy_by_rsync_of_a_log_that_is_appended_to_is_a_log() {
    if Command::new("rsync").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: needs rsync");
        return;
    }
    copies_are_logs(by_rsync, 10);
}
