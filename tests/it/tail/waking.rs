//! Sleeping and being woken, between processes.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::{LONG, append, assert_nothing, expect};
use crate::concurrent::processes::{Other, log_of_parent, say, wait_to_be_told};
use crate::support::{open, read, tempdir};

/// Round trips; each is two sleeps and two wakings, so this is a million.
const PING_PONGS: u64 = 500_000;

fn ping_pongs() -> u64 {
    std::env::var("MAPLOG_PING_PONGS").map_or(PING_PONGS, |count| count.parse().unwrap())
}

#[test]
#[ignore = "a process of the test below"]
fn pong() {
    let path = log_of_parent();
    let mut ping = read(path.join("ping")).unwrap().tail_from(0).spin(Duration::ZERO);
    let pong = open(path.join("pong")).unwrap();
    say("open");
    for seq in 0..ping_pongs() {
        let record = ping.recv().unwrap();
        assert_eq!(record.seq(), seq);
        pong.append(record.data()).unwrap();
    }
}

/// No wake-up is lost: two processes hand a record back and forth, each asleep until the other's comes. One that
/// slept to the end of its hundred milliseconds would show.
#[test]
fn two_processes_that_sleep_in_turn_are_always_woken() {
    let home = tempdir();
    // SAFETY: only maplog touches the directory.
    let ping = unsafe { maplog::Log::open(home.path().join("ping")) }.unwrap();
    drop(unsafe { maplog::Log::open(home.path().join("pong")) }.unwrap());
    let mut pong = read(home.path().join("pong")).unwrap().tail_from(0).spin(Duration::ZERO);
    let mut other = Other::start("tail::waking::pong", home.path());
    other.wait_for("open");
    let count = ping_pongs();
    let begun = Instant::now();
    let mut slow = 0;
    for seq in 0..count {
        let sent = Instant::now();
        ping.append(seq.to_le_bytes()).unwrap();
        let record = pong.recv_timeout(LONG).unwrap().unwrap_or_else(|| panic!("{seq} hangs"));
        assert_eq!((record.seq(), record.data()), (seq, &seq.to_le_bytes()[..]));
        slow += u64::from(sent.elapsed() > Duration::from_millis(95));
    }
    let took = begun.elapsed();
    other.end();
    eprintln!(
        "{count} round trips in {took:?}, {:?} a sleep, {slow} slow",
        took / (2 * count as u32)
    );
    // A machine that is busy with other things may be slow now and then; a lost wake-up always is.
    assert!(slow <= 5 + count / 1_000_000, "{slow} of {count} waited for their own limit");
}

/// The word that readers wait for records on (docs/format.md).
fn record_word(log: &Path) -> u32 {
    let mut word = [0; 4];
    fs::File::open(log.join("wake")).unwrap().read_exact_at(&mut word, 0).unwrap();
    u32::from_le_bytes(word)
}

fn is_awaited(log: &Path) -> bool {
    record_word(log) & 1 == 1
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "never: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
#[ignore = "a process of the tests below"]
fn sleeper() {
    let mut tail = read(log_of_parent()).unwrap().tail_from(0);
    say("open");
    let mut seq = 0;
    while let Ok(record) = tail.recv() {
        assert_eq!(record.seq(), seq);
        say(&format!("got {seq}"));
        seq += 1;
    }
}

/// G10: a reader that died asleep costs its log one needless call, and nothing else.
#[test]
fn a_reader_that_is_killed_asleep_costs_nothing_lasting() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    let mut sleeper = Other::start("tail::waking::sleeper", home.path());
    sleeper.wait_for("open");
    wait_until("it sleeps", || is_awaited(home.path()));
    append(&log, 1);
    sleeper.wait_for("got 0");
    wait_until("it sleeps again", || is_awaited(home.path()));
    sleeper.kill();
    let before = record_word(home.path());
    assert_eq!(before & 1, 1, "it died asleep");
    append(&log, 100);
    let after = record_word(home.path());
    assert_eq!(after & 1, 0, "the first append took its bit away, and it stayed away");
    let counted = (after >> 1).wrapping_sub(before >> 1);
    assert!((1..100).contains(&counted), "{counted}: who appends adds only while somebody waits");
    let names = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let others = names.filter(|name| !name.to_str().unwrap().ends_with(".seg")).count();
    assert_eq!(others, 3, "a reader leaves no files: there are shared, lock and wake");
    expect(&mut log.reader().tail_from(0), 0..101);
}

/// A writer that dies by itself, with a reader asleep; then another comes.
#[test]
fn a_reader_sleeps_through_the_death_of_a_writer_and_the_coming_of_another() {
    let home = tempdir();
    let mut tail = {
        append(&open(home.path()).unwrap(), 1);
        read(home.path()).unwrap().tail_from(0)
    };
    expect(&mut tail, 0..1);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            expect(&mut tail, 1..2);
            Instant::now()
        });
        let mut writer = Other::start("tail::waking::writer", home.path());
        writer.wait_for("open");
        writer.kill();
        assert!(!waiting.is_finished());
        let log = open(home.path()).unwrap();
        thread::sleep(Duration::from_millis(30));
        let begun = Instant::now();
        append(&log, 1);
        let took = waiting.join().unwrap().saturating_duration_since(begun);
        assert!(took < Duration::from_millis(200), "{took:?}");
    });
}

#[test]
#[ignore = "a process of the test above"]
fn writer() {
    let _log = open(log_of_parent()).unwrap();
    say("open");
    wait_to_be_told();
}

/// Who may read a log may write `wake`, at first; later on its mode is its owner's business.
#[test]
fn wake_is_writable_for_who_may_read_the_log() {
    for (mode, wake) in [(0o600, 0o600), (0o640, 0o660), (0o644, 0o666)] {
        let home = tempdir();
        // SAFETY: only maplog touches the directory.
        let open = || unsafe { maplog::Log::options().mode(mode).open(home.path()) }.unwrap();
        drop(open());
        let file = home.path().join("wake");
        let found = || fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(found(), wake, "{mode:#o}");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        drop(open());
        assert_eq!(found(), mode, "the mode that its owner gave it");
    }
}

/// Waiting for long costs hardly any processor time.
#[test]
fn a_tail_that_waits_for_long_sleeps() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    let mut tail = log.reader().tail_from(0);
    let used = || {
        let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
    };
    let before = used();
    assert!(tail.recv_timeout(Duration::from_secs(2)).unwrap().is_none());
    let used = used() - before;
    eprintln!("waiting for 2 s used {used:?}");
    assert!(used < Duration::from_millis(40), "{used:?}");
    assert_nothing(&mut tail);
}
