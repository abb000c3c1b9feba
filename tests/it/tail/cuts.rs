//! Logs that are cut, lose records, are damaged, or give way to others, under a tail.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use maplog::{ErrorKind, Log};

use super::{LONG, append, assert_nothing, expect, payload};
use crate::support::{self, image, open, read, records, segments, tempdir};

/// Stores bytes without ever shortening the file, which would take the pages from under a mapping.
fn store(file: &Path, at: u64, bytes: &[u8]) {
    File::options().write(true).open(file).unwrap().write_all_at(bytes, at).unwrap();
}

/// Where the words of `shared` stand (docs/format.md).
const FIRST_SEQ_AT: u64 = 136;

/// A log of `count` records whose last frames from `torn` on a power cut took.
fn torn(count: u64, torn: u64) -> (tempfile::TempDir, maplog::Position) {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append(&log, 5);
    log.sync().unwrap();
    append(&log, count - 5);
    let mut tail = log.reader().tail_from(count - 1);
    expect(&mut tail, count - 1..count);
    let cut = image(home.path());
    let last = segments(cut.path()).pop().unwrap();
    let frame = records(&last).into_iter().find(|frame| frame.seq == torn).unwrap();
    support::flip(&last, frame.payload_at());
    (cut, tail.position())
}

/// Attack 37: numbers that were read and lost are given again under a higher epoch; who had
/// read them hears of it, whether the log has come past that number again or not.
#[test]
fn attack_37_a_position_whose_records_a_power_cut_took_is_rewound() {
    for appended in [0, 1, 10, 40] {
        let (cut, position) = torn(30, 20);
        let log = open(cut.path()).unwrap();
        for seq in 20..20 + appended {
            assert_eq!(log.append(payload(seq)).unwrap(), seq);
        }
        for reader in [log.reader(), read(cut.path()).unwrap()] {
            let mut tail = reader.tail_at(&position).unwrap();
            let error = tail.try_recv().unwrap_err();
            assert_eq!((error.kind(), error.seq()), (ErrorKind::Rewound, Some(20)), "{error}");
            expect(&mut tail, 20..20 + appended);
            assert_nothing(&mut tail);
            let now = tail.position();
            assert_eq!((now.epoch, now.seq), (log.epoch(), 20 + appended));
            let mut again = reader.tail_at(&now).unwrap();
            assert_nothing(&mut again);
        }
        // What lies before the cut holds under any epoch.
        for seq in [0, 7, 20] {
            let before = maplog::Position { seq, ..position };
            expect(&mut log.reader().tail_at(&before).unwrap(), seq..20 + appended);
        }
    }
}

/// What was cut, and trimmed before the tail looked, is told as trimmed: the epoch tells that what it had may
/// have been cut, too. What was trimmed alone leaves the epoch as it was.
#[test]
fn attack_15_a_cut_that_was_trimmed_away_shows_in_the_position_s_epoch() {
    for is_cut in [false, true] {
        let home = tempdir();
        let log = open(home.path()).unwrap();
        append(&log, 100);
        let mut tail = log.reader().tail_from(0);
        expect(&mut tail, 0..52);
        let before = tail.position();
        if is_cut {
            log.truncate_from(51).unwrap();
        }
        append(&log, 3000);
        assert_eq!(log.trim_before(2000).unwrap(), 2000);
        let error = tail.try_recv().unwrap_err();
        assert_eq!((error.kind(), error.seq()), (ErrorKind::Trimmed, Some(2000)), "{error}");
        assert_eq!(tail.position().epoch > before.epoch, is_cut);
        let resumed =
            log.reader().tail_at(&before).and_then(|mut tail| Ok(tail.try_recv()?.map(|_| ())));
        assert_eq!(resumed.unwrap_err().kind(), ErrorKind::Trimmed);
        expect(&mut tail, 2000..2100);
    }
}

/// The place where it was cut first may be gone, while that of a later cut is left: what is told says so.
#[test]
fn attack_15_a_tail_is_told_that_an_earlier_cut_may_be_trimmed() {
    for trimmed in [60, 61] {
        let home = tempdir();
        let log = open(home.path()).unwrap();
        append(&log, 100);
        let mut tail = log.reader().tail_from(0);
        expect(&mut tail, 0..90);
        log.truncate_from(40).unwrap();
        append(&log, 40);
        log.truncate_from(60).unwrap();
        append(&log, 20);
        assert_eq!(log.trim_before(trimmed).unwrap(), trimmed);
        let error = tail.try_recv().unwrap_err();
        assert_eq!((error.kind(), error.seq()), (ErrorKind::Rewound, Some(60)), "{error}");
        assert!(error.to_string().contains("may have been trimmed"), "{error}");
        if trimmed > 60 {
            assert_eq!(tail.try_recv().unwrap_err().kind(), ErrorKind::Trimmed);
        }
        expect(&mut tail, trimmed..80);
    }
}

/// Attack 31: a reader parked where a log without a live page ends goes on in the fresh segment that the
/// next writer makes.
#[test]
fn attack_31_a_tail_goes_on_from_the_old_end_after_recovery() {
    let (cut, _) = torn(30, 20);
    let mut tail = read(cut.path()).unwrap().tail_from(0);
    expect(&mut tail, 0..20);
    assert!(tail.recv_timeout(Duration::from_millis(50)).unwrap().is_none(), "a torn record");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| expect(&mut tail, 20..50));
        thread::sleep(Duration::from_millis(20));
        let log = open(cut.path()).unwrap();
        for seq in 20..50 {
            assert_eq!(log.append(payload(seq)).unwrap(), seq);
        }
        waiting.join().unwrap();
        assert_eq!(log.epoch(), 2);
    });
}

/// G3: without a page a tail gives what a survey finds, and never what is torn behind it.
#[test]
fn a_tail_without_a_page_surveys_and_gives_nothing_torn() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append(&log, 100);
    let cut = image(home.path());
    fs::remove_file(cut.path().join("shared")).unwrap();
    let mut tail = read(cut.path()).unwrap().tail_from(90);
    expect(&mut tail, 90..100);
    let last = segments(cut.path()).pop().unwrap();
    let end = records(&last).last().unwrap().next() as u64;
    // All of a frame but its commit word, and then that: as a writer does whose page nobody sees here.
    append(&log, 1);
    let source = segments(home.path()).pop().unwrap();
    let frame = records(&source).pop().unwrap();
    assert_eq!(frame.offset as u64, end, "no mark was due");
    let bytes = &fs::read(&source).unwrap()[frame.offset..frame.next()];
    store(&last, end + 4, &bytes[4..]);
    for _ in 0..5 {
        assert!(tail.recv_timeout(Duration::from_millis(20)).unwrap().is_none());
    }
    store(&last, end, &bytes[..4]);
    expect(&mut tail, 100..101);
}

/// Attack 29: the page is initialised anew while readers sleep on it, over and over.
#[test]
fn attack_29_a_tail_goes_on_when_the_log_is_closed_and_opened_again() {
    let home = tempdir();
    append(&open(home.path()).unwrap(), 1);
    let mut sleepers: Vec<_> = [Duration::ZERO, Duration::from_micros(50)]
        .into_iter()
        .flat_map(|spin| {
            let reader = read(home.path()).unwrap();
            [reader.tail_from(0).spin(spin), reader.tail_from(0).spin(spin).durable_only()]
        })
        .collect();
    thread::scope(|scope| {
        for tail in &mut sleepers {
            scope.spawn(move || expect(tail, 0..100));
        }
        for life in 0..20 {
            let log = open(home.path()).unwrap();
            append(&log, if life == 0 { 4 } else { 5 });
            thread::sleep(Duration::from_millis(3));
            if life % 2 == 0 {
                log.close().unwrap()
            }
        }
    });
}

/// Attack 29: other files take the log's place.
#[test]
fn attack_29_a_tail_of_a_log_that_was_made_anew_says_so() {
    for removes_directory in [true, false] {
        let home = tempdir();
        let path = home.path().join("log");
        let log = open(&path).unwrap();
        append(&log, 3);
        let mut tails = [log.reader().tail_from(0), read(&path).unwrap().tail_from(0)];
        tails.iter_mut().for_each(|tail| expect(tail, 0..3));
        let position = tails[0].position();
        drop(log);
        thread::scope(|scope| {
            let waiting = tails
                .each_mut()
                .map(|tail| scope.spawn(move || tail.recv_timeout(LONG).unwrap_err().kind()));
            thread::sleep(Duration::from_millis(20));
            if removes_directory {
                fs::remove_dir_all(&path).unwrap();
            } else {
                fs::read_dir(&path)
                    .unwrap()
                    .for_each(|e| fs::remove_file(e.unwrap().path()).unwrap());
            }
            let log = open(&path).unwrap();
            append(&log, 10);
            for tail in waiting {
                assert_eq!(tail.join().unwrap(), ErrorKind::Replaced);
            }
            let refused = log.reader().tail_at(&position).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Replaced);
        });
        assert_eq!(tails[0].try_recv().unwrap_err().kind(), ErrorKind::Replaced);
    }
}

/// Attack 30: bits flip in the page cache below the committed end, while the log is live; before the
/// tail and where it waits. What is lost is named, and the tail does not wait for ever.
#[test]
fn attack_30_live_damage_is_reported_and_passed() {
    for (what, bytes) in [("payload", &[0xEE][..]), ("commit word", &[0xEE]), ("zeroed", &[0; 4])] {
        let home = tempdir();
        let log = open(home.path()).unwrap();
        append(&log, 20);
        // Each with mappings of its own: what one knows to be committed, the other has to find out.
        let [mut early, mut late] = [0, 20].map(|seq| read(home.path()).unwrap().tail_from(seq));
        assert_nothing(&mut late);
        // The tail does not know of these yet.
        append(&log, 20);
        let segment = segments(home.path()).pop().unwrap();
        for seq in [10, 20, 30] {
            let frame = *records(&segment).iter().find(|frame| frame.seq == seq).unwrap();
            let at = if what == "payload" { frame.payload_at() + 3 } else { frame.offset };
            // Those behind a frame whose word is gone cannot be found by walking.
            if what == "payload" || seq == 30 {
                store(&segment, at as u64, bytes);
            }
        }
        let lost: &[u64] = if what == "payload" { &[10, 20, 30] } else { &[30] };
        for (tail, from) in [(&mut early, 0), (&mut late, 20)] {
            let mut next = from;
            for lost in lost.iter().copied().filter(|seq| *seq >= from) {
                expect(tail, next..lost);
                let begun = Instant::now();
                let error = tail.recv_timeout(LONG).unwrap_err();
                assert_eq!(
                    (error.kind(), error.lost()),
                    (ErrorKind::Damaged, Some(lost..lost + 1))
                );
                assert!(begun.elapsed() < Duration::from_secs(5), "{what}: {:?}", begun.elapsed());
                next = lost + 1;
            }
            expect(tail, next..40);
            assert_nothing(tail);
        }
        append(&log, 3);
        expect(&mut late, 40..43);
    }
}

/// Below the first number of the page everything is gone at once, whatever files there are.
#[test]
fn a_tail_below_the_first_record_is_told_where_the_log_begins() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append(&log, 100);
    store(&home.path().join("shared"), FIRST_SEQ_AT, &50u64.to_le_bytes());
    for reader in [log.reader(), read(home.path()).unwrap()] {
        let mut tail = reader.tail_from(10);
        let error = tail.try_recv().unwrap_err();
        assert_eq!((error.kind(), error.seq()), (ErrorKind::Trimmed, Some(50)));
        expect(&mut tail, 50..100);
    }
}

/// A segment that is gone, which no trim says, is a loss.
#[test]
fn a_missing_segment_is_reported_and_passed() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append(&log, 300);
    log.close().unwrap();
    let files = segments(home.path());
    let lost = records(&files[1]);
    let lost = lost[0].seq..lost.last().unwrap().seq + 1;
    fs::remove_file(&files[1]).unwrap();
    let mut tail = read(home.path()).unwrap().tail_from(0);
    expect(&mut tail, 0..lost.start);
    let error = tail.recv().unwrap_err();
    assert_eq!((error.kind(), error.lost()), (ErrorKind::Damaged, Some(lost.clone())));
    expect(&mut tail, lost.end..300);
    let _: &Log = &open(home.path()).unwrap();
}

/// It stands between two segments when the next one goes: the error moves it on, and comes once.
#[test]
fn a_tail_whose_next_segment_was_trimmed_goes_on_at_the_first_left() {
    let home = tempdir();
    // SAFETY: nobody else changes the files of this log.
    #[allow(unsafe_code)]
    let log = unsafe { Log::options().segment_bytes(16 << 10).open(home.path()) }.unwrap();
    append(&log, 2000);
    let second: u64 = {
        let names = segments(home.path());
        let name = names[1].file_name().unwrap().to_str().unwrap();
        name.split_once('-').unwrap().0.parse().unwrap()
    };
    let mut tails = [log.reader(), read(home.path()).unwrap()].map(|reader| reader.tail_from(0));
    tails.iter_mut().for_each(|tail| expect(tail, 0..second));
    assert_eq!(log.trim_before(1900).unwrap(), 1900);
    for tail in &mut tails {
        let error = tail.try_recv().unwrap_err();
        assert_eq!((error.kind(), error.seq()), (ErrorKind::Trimmed, Some(1900)), "{error}");
        assert_eq!(tail.next_seq(), 1900);
        expect(tail, 1900..2000);
    }
}
