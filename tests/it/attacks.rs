//! The attacks of docs/durability.md that one process can show, each a test that names it.
//!
//! A power cut is an image of the files in which sectors of an older and a newer state are mixed, or a
//! plain copy: in neither is the coordination page live.

use std::fs;
use std::path::Path;

use maplog::{ErrorKind, Log, Result};

use crate::support::{
    DATA_START, Everything, FIRST, Frame, LAST, MARK, everything, flip, frames, image, open, patch,
    read, records, segments, tempdir,
};

fn text(seq: u64) -> Vec<u8> {
    format!("record {seq} {}", "x".repeat(seq as usize % 90)).into_bytes()
}

fn append(log: &Log, seqs: std::ops::Range<u64>) {
    for seq in seqs {
        assert_eq!(log.append(text(seq)).unwrap(), seq);
    }
}

fn texts(seqs: std::ops::Range<u64>) -> Vec<(u64, Vec<u8>)> {
    seqs.map(|seq| (seq, text(seq))).collect()
}

/// Everything below `end`, less the lost.
fn all_but(end: u64, lost: &[std::ops::Range<u64>]) -> Everything {
    let records =
        texts(0..end).into_iter().filter(|(seq, _)| !lost.iter().any(|lost| lost.contains(seq)));
    Everything { records: records.collect(), lost: lost.to_vec() }
}

/// One range of lost records.
fn once(lost: std::ops::Range<u64>) -> Vec<std::ops::Range<u64>> {
    std::iter::once(lost).collect()
}

fn frame_of(segment: &Path, seq: u64) -> Frame {
    records(segment).into_iter().find(|frame| frame.seq == seq).unwrap()
}

fn zero(segment: &Path, range: std::ops::Range<usize>) {
    patch(segment, range.start, &vec![0; range.len()]);
}

/// Sector-wise: the newer file where `newer` says so, else the older one.
fn mix(older: &Path, newer: &Path, into: &Path, newer_sector: impl Fn(usize) -> bool) {
    let (old, mut new) = (fs::read(older).unwrap(), fs::read(newer).unwrap());
    for (index, sector) in new.chunks_mut(512).enumerate() {
        if !newer_sector(index) {
            let from = index * 512;
            match old.get(from..from + sector.len()) {
                Some(bytes) => sector.copy_from_slice(bytes),
                None => sector.fill(0),
            }
        }
    }
    fs::write(into, new).unwrap();
}

/// Attack 4: the rest of a batch whose first frame never reached the disk neither appears alone nor
/// joins what is appended in its place.
#[test]
fn attack_4_a_dead_batch_never_comes_back() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path())?;
    append(&log, 0..5);
    log.sync()?;
    let before = image(dir.path());
    let batch = [vec![b'a'; 300], vec![b'b'; 300], vec![b'c'; 300]];
    log.append_batch(&batch)?;
    let after = image(dir.path());
    drop(log);

    let name = segments(dir.path())[0].file_name().unwrap().to_owned();
    let first = frames(&fs::read(after.path().join(&name)).unwrap())
        .into_iter()
        .find(|frame| frame.kind == FIRST)
        .unwrap();
    // Of the batch, the sectors behind its first commit word survived, and that one did not.
    let cut = image(before.path());
    let into = cut.path().join(&name);
    mix(&before.path().join(&name), &after.path().join(&name), &into, |sector| {
        sector > first.offset / 512
    });

    assert_eq!(everything(&read(cut.path())?), all_but(5, &[]));
    let log = open(cut.path())?;
    assert_eq!(log.recovery().cut.map(|cut| cut.records), Some(0), "a batch without its first");
    for size in [300, 300, 300] {
        log.append(vec![b'n'; size])?;
    }
    log.append_batch(&batch)?;
    let all = everything(&log.reader());
    assert_eq!(all.records.len(), 5 + 3 + 3);
    assert_eq!(all.records[5].1, vec![b'n'; 300]);
    assert_eq!(all.lost, []);
    Ok(())
}

/// Attack 4, the same first record again: after a death the frames of a new batch stand in other
/// places than those of the dead one, since a mark comes first.
#[test]
fn attack_4_a_batch_repeated_after_a_death_does_not_meet_its_dead_twin() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path())?;
    append(&log, 0..5);
    log.close()?;
    let segment = segments(dir.path())[0].clone();
    let end = records(&segment).last().unwrap().next();
    let log = open(dir.path())?;
    log.append_batch(&[b"same", b"text"])?;
    let bytes = fs::read(&segment).unwrap();
    let behind: Vec<_> = frames(&bytes).into_iter().filter(|frame| frame.offset >= end).collect();
    assert_eq!(behind[0].kind, MARK, "the first frame after opening");
    assert_eq!(behind[1].kind, FIRST);
    assert_eq!(behind[2].kind, LAST);
    Ok(())
}

/// Attack 4, in two steps: who opens after a power cut and appends nothing leaves a page that is live,
/// but what lies behind the end is no less what the cut left.
#[test]
fn attack_4_a_fresh_segment_is_still_due_for_the_next_opener() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path())?;
    append(&log, 0..30);
    let cut = image(dir.path());
    drop(log);
    let segment = segments(cut.path())[0].clone();
    let gap = frame_of(&segment, 10);
    zero(&segment, gap.offset..gap.next());
    for _ in 0..3 {
        let log = open(cut.path())?;
        assert_eq!((log.next_seq(), log.recovery().clean), (10, false));
    }
    let log = open(cut.path())?;
    assert_eq!(log.append(text(10))?, 10);
    assert_eq!(segments(cut.path()).len(), 2, "written where dead frames lie");
    append(&log, 11..12);
    assert_eq!(everything(&log.reader()), all_but(12, &[]));
    Ok(())
}

/// Attack 5: a segment that was rolled and never synced ends early; the next one, synced, does not
/// join, and nothing appended later is cut by it.
#[test]
fn attack_5_a_hole_in_the_chain_cuts_what_lies_behind_it() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path())?;
    append(&log, 0..20);
    log.sync()?;
    let before = image(dir.path());
    let mut next = 20;
    while segments(dir.path()).len() < 2 {
        append(&log, next..next + 1);
        next += 1;
    }
    append(&log, next..next + 10);
    let cut = image(dir.path());
    let files = segments(cut.path());
    // The first segment is as it was at the sync, the second one whole.
    fs::copy(&segments(before.path())[0], &files[0]).unwrap();

    assert_eq!(everything(&read(cut.path())?), all_but(20, &[]));
    let log = open(cut.path())?;
    let tail = log.recovery().cut.expect("a report of what was cut");
    assert_eq!((tail.segments, tail.segment), (1, 1));
    assert!(tail.records >= 10, "{tail:?}");
    append(&log, 20..200);
    log.close()?;
    assert_eq!(everything(&read(cut.path())?), all_but(200, &[]));
    let log = open(cut.path())?;
    assert!(log.recovery().clean);
    assert_eq!(everything(&log.reader()), all_but(200, &[]));
    Ok(())
}

/// Attack 5, synced: then the missing records are damage, and those behind them stay.
#[test]
fn attack_5_a_hole_below_what_was_synced_is_damage() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path())?;
    append(&log, 0..20);
    log.sync()?;
    let before = image(dir.path());
    let mut next = 20;
    while segments(dir.path()).len() < 2 {
        append(&log, next..next + 1);
        next += 1;
    }
    log.sync()?;
    append(&log, next..next + 10);
    log.sync()?;
    drop(log);
    let cut = image(dir.path());
    let files = segments(cut.path());
    fs::copy(&segments(before.path())[0], &files[0]).unwrap();
    let base = records(&files[1])[0].seq;

    let log = open(cut.path())?;
    assert_eq!(everything(&log.reader()), all_but(next + 10, &once(20..base)));
    append(&log, next + 10..next + 12);
    Ok(())
}

/// Attack 9: the last synced frame is rotten and zeros lie behind it.
#[test]
fn attack_9_one_rotten_record_at_the_end_is_one_lost_and_its_number_is_not_given_again()
-> Result<()> {
    let dir = tempdir();
    let log = open(dir.path())?;
    append(&log, 0..10);
    log.close()?;
    let segment = segments(dir.path())[0].clone();
    flip(&segment, frame_of(&segment, 9).payload_at());
    for path in [dir.path(), image(dir.path()).path()] {
        let lost = once(9..10);
        assert_eq!(everything(&read(path)?), all_but(10, &lost));
        let log = open(path)?;
        append(&log, 10..12);
        assert_eq!(everything(&log.reader()), all_but(12, &lost));
    }
    Ok(())
}

/// Attack 9, where only a mark knows that the record was durable.
#[test]
fn attack_9_a_mark_is_evidence_of_what_was_synced() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path())?;
    append(&log, 0..5);
    log.sync()?;
    let noted = image(dir.path());
    append(&log, 5..10);
    log.sync()?;
    append(&log, 10..11);
    let cut = image(dir.path());
    let segment = segments(cut.path())[0].clone();
    // The slots are those of the first sync, as they are when syncs follow one another.
    mix(&segments(noted.path())[0], &segment.clone(), &segment, |sector| {
        sector >= DATA_START / 512
    });
    let lost = frame_of(&segment, 9);
    zero(&segment, lost.offset..lost.next());
    let log = open(cut.path())?;
    assert!(!log.recovery().clean && !log.recovery().live);
    assert_eq!(log.recovery().lost, once(9..10));
    assert_eq!(everything(&log.reader()), all_but(11, &once(9..10)));
    append(&log, 11..12);
    Ok(())
}

/// Attack 10: one slot, or one copy of the header, is enough.
#[test]
fn attack_10_one_slot_or_one_header_copy_is_enough() -> Result<()> {
    for offset in [0, 20, 512 + 8, 4096, 4096 + 20, 4096 + 512 + 8] {
        let dir = tempdir();
        let log = open(dir.path())?;
        append(&log, 0..10);
        log.close()?;
        flip(&segments(dir.path())[0], offset);
        let cut = image(dir.path());
        assert_eq!(everything(&read(cut.path())?), all_but(10, &[]), "offset {offset}");
        let log = open(cut.path())?;
        append(&log, 10..20);
        assert_eq!(everything(&log.reader()), all_but(20, &[]), "offset {offset}");
    }
    Ok(())
}

/// Attack 10, for what a slot alone knows: what was trimmed stays so, and what was removed is not lost.
#[test]
fn attack_10_one_slot_is_enough_to_know_what_was_trimmed() -> Result<()> {
    for offset in [512 + 8, 512 + 33, 4096 + 512 + 8, 4096 + 512 + 33] {
        let dir = tempdir();
        let log = open(dir.path())?;
        append(&log, 0..500);
        log.sync()?;
        log.trim_before(300)?;
        append(&log, 500..501);
        // As it is while the log is open: closing writes a slot, too.
        let cut = image(dir.path());
        flip(segments(cut.path()).last().unwrap(), offset);
        let reader = read(cut.path())?;
        assert_eq!((reader.first_seq(), reader.next_seq()), (300, 501), "offset {offset}");
        assert_eq!(everything(&reader).lost, []);
        let log = open(cut.path())?;
        assert_eq!((log.first_seq(), log.recovery().lost.len()), (300, 0), "offset {offset}");
    }
    Ok(())
}

/// Attack 10: without both slots nothing is cut on a guess.
#[test]
fn attack_10_without_slots_nothing_is_cut() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path())?;
    append(&log, 0..10);
    log.close()?;
    let segment = segments(dir.path())[0].clone();
    flip(&segment, 512);
    flip(&segment, 4096 + 512);
    flip(&segment, frame_of(&segment, 4).payload_at());
    let cut = image(dir.path());
    let lost = once(4..5);
    let log = open(cut.path())?;
    assert_eq!(log.recovery().lost, lost);
    assert_eq!(everything(&log.reader()), all_but(10, &lost));
    append(&log, 10..12);
    Ok(())
}

/// Attack 10: both copies of a header rotten in the middle of the log.
#[test]
fn attack_10_both_headers_rotten_lose_exactly_their_segment() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path())?;
    append(&log, 0..500);
    log.close()?;
    let files = segments(dir.path());
    assert!(files.len() > 3);
    let [base, next] = [1, 2].map(|index: usize| records(&files[index])[0].seq);
    flip(&files[1], 0);
    flip(&files[1], 4096);
    for path in [dir.path(), image(dir.path()).path()] {
        let reader = read(path)?;
        let lost = once(base..next);
        assert_eq!(everything(&reader), all_but(500, &lost));
        let error = reader.get(base).unwrap_err();
        assert_eq!((error.kind(), error.segment()), (ErrorKind::Damaged, Some(2)));
    }
    Ok(())
}

/// Attack 11: nothing was ever synced and only processes died, so a rotten frame in the middle is
/// damage and the rest is kept.
#[test]
fn attack_11_on_a_live_page_a_rotten_frame_is_damage_though_nothing_was_synced() -> Result<()> {
    let dir = tempdir();
    crate::support::killed_after(dir.path(), 30);
    let segment = segments(dir.path())[0].clone();
    let count = records(&segment).len() as u64;
    assert!(count >= 30);
    flip(&segment, frame_of(&segment, 11).payload_at());
    let log = open(dir.path())?;
    assert!(log.recovery().live);
    assert_eq!(everything(&log.reader()).lost, once(11..12));
    assert!(log.next_seq() >= count, "the rest is kept");
    Ok(())
}

/// Attack 20: the slot says open, durably, before the first append after a clean close.
#[test]
fn attack_20_a_log_that_went_on_never_looks_closed() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path())?;
    append(&log, 0..10);
    log.close()?;
    let closed = image(dir.path());
    let log = open(dir.path())?;
    append(&log, 10..15);
    // What a power cut may leave: the new records are gone, and what was synced by the append is not.
    let cut = image(dir.path());
    let (old, new) = (segments(closed.path())[0].clone(), segments(cut.path())[0].clone());
    mix(&old, &new.clone(), &new, |sector| sector < DATA_START / 512);
    drop(log);
    let log = open(cut.path())?;
    assert!(!log.recovery().clean, "numbers 10..15 were seen by readers");
    assert_eq!(everything(&log.reader()), all_but(10, &[]));
    let epoch = log.epoch();
    append(&log, 10..11);
    assert!(log.epoch() > epoch, "numbers are given again");
    Ok(())
}

/// Attack 21: a reader that comes before recovery sees what recovery will keep, and no more.
#[test]
fn attack_21_a_reader_before_recovery_never_looks_behind_the_gap() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path())?;
    append(&log, 0..300);
    let cut = image(dir.path());
    drop(log);
    let torn_in = segments(cut.path())[0].clone();
    flip(&torn_in, frame_of(&torn_in, 100).payload_at());
    let reader = read(cut.path())?;
    assert_eq!(reader.next_seq(), 100);
    assert!(reader.get(150)?.is_none());
    let lent: Vec<_> = reader.iter().map(|record| record.unwrap()).collect();
    let kept: Vec<_> = lent.iter().map(|record| record.to_shared()).collect();
    // SAFETY: only maplog writes here.
    let log = open(cut.path())?;
    assert_eq!(log.next_seq(), 100);
    append(&log, 100..250);
    log.close()?;
    for (record, (seq, text)) in lent.iter().zip(texts(0..100)) {
        assert_eq!((record.seq(), record.data()), (seq, &text[..]));
    }
    assert!(kept.iter().zip(texts(0..100)).all(|(record, (_, text))| record[..] == text[..]));
    assert_eq!(everything(&read(cut.path())?), all_but(250, &[]));
    Ok(())
}

/// Attack 22: damage right behind which a batch is being written is not searched beyond the end.
#[test]
fn attack_22_resync_stays_below_the_end_that_the_reader_saw() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path())?;
    append(&log, 0..20);
    log.close()?;
    let segment = segments(dir.path())[0].clone();
    flip(&segment, frame_of(&segment, 19).payload_at());
    let log = open(dir.path())?;
    let reader = log.reader();
    let mut writer = log.writer()?;
    let mut slot = writer.reserve(1000)?;
    slot.fill(0xEE);
    let all = everything(&reader);
    assert_eq!(all, all_but(20, &once(19..20)));
    slot.commit()?;
    assert_eq!(everything(&reader), all);
    Ok(())
}

/// Attack 23: `as_ref` is asked once, before the lock.
#[test]
fn attack_23_an_as_ref_that_changes_its_answer_or_panics_or_appends_does_no_harm() -> Result<()> {
    use std::cell::Cell;

    struct Fickle<'a>(&'a Cell<usize>, &'a [u8]);
    impl AsRef<[u8]> for Fickle<'_> {
        fn as_ref(&self) -> &[u8] {
            self.0.set(self.0.get() + 1);
            &self.1[..self.1.len() / self.0.get()]
        }
    }
    struct Nested<'a>(&'a Log);
    impl AsRef<[u8]> for Nested<'_> {
        fn as_ref(&self) -> &[u8] {
            self.0.append(b"inner").unwrap();
            b"outer"
        }
    }
    struct Panics;
    impl AsRef<[u8]> for Panics {
        fn as_ref(&self) -> &[u8] {
            panic!("by design")
        }
    }

    let dir = tempdir();
    let log = open(dir.path())?;
    let (calls, bytes) = (Cell::new(0), [7; 4000]);
    log.append(Fickle(&calls, &bytes))?;
    assert_eq!(calls.get(), 1);
    calls.set(0);
    log.append_batch(&[Fickle(&calls, &bytes), Fickle(&calls, &bytes)])?;
    assert_eq!(calls.get(), 2);
    log.append(Nested(&log))?;
    assert_eq!(
        everything(&log.reader()).records[3..],
        [(3, b"inner".to_vec()), (4, b"outer".to_vec())]
    );
    let panicked =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| log.append_batch(&[Panics])));
    assert!(panicked.is_err());
    assert_eq!(log.append(b"after")?, 5, "the lock was released");

    let mut writer = log.writer()?;
    let nested =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writer.append(Nested(&log))));
    assert!(nested.is_err(), "Deadlock, unwrapped");
    writer.append(b"goes on")?;
    Ok(())
}

/// Attack 25: nothing is cut off a file on close, so a reader at the end never meets a missing page.
#[test]
fn attack_25_no_file_ever_shrinks() -> Result<()> {
    let dir = tempdir();
    let sizes = |path: &Path| -> Vec<u64> {
        segments(path).iter().map(|file| fs::metadata(file).unwrap().len()).collect()
    };
    let mut before: Vec<u64> = Vec::new();
    let mut kept = Vec::new();
    for round in 0..6_u64 {
        // SAFETY: nobody else touches the directory.
        let log = unsafe { Log::options().segment_bytes(1 << 18).open(dir.path())? };
        append(&log, round * 700..(round + 1) * 700);
        let reader = read(dir.path())?;
        kept.push(reader.get(round * 700 + 699)?.unwrap().to_shared());
        match round % 3 {
            0 => log.close()?,
            1 => drop(log),
            _ => drop((log.sync()?, log)),
        }
        let now = sizes(dir.path());
        assert!(before.iter().zip(&now).all(|(before, now)| before <= now), "{before:?} {now:?}");
        before = now;
        assert_eq!(everything(&reader), all_but((round + 1) * 700, &[]));
    }
    assert!(before.len() > 1, "rolled too");
    for (round, record) in (0..).zip(kept) {
        assert_eq!(record[..], text(round * 700 + 699));
    }
    Ok(())
}

/// Attack 26: the file-size limit is an error, and SIGXFSZ is not raised.
#[test]
fn attack_26_the_file_size_limit_is_an_error() {
    let dir = tempdir();
    let child = crate::support::child(
        "attacks::under_a_file_size_limit",
        &[("LOG", dir.path().to_str().unwrap())],
    );
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[test]
#[ignore = "the child of attack 26"]
fn under_a_file_size_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let path = std::env::var("LOG").unwrap();
    // SAFETY: nobody else touches the directory.
    let log = unsafe { Log::options().segment_bytes(1 << 24).open(path) }.unwrap();
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: Some(1_000_000), maximum }).unwrap();
    let mut appended = 0;
    let error = loop {
        match log.append([3; 1000]) {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::FileSizeLimit, "{error}");
    assert!((900..1000).contains(&appended), "up to the limit, {appended}");
    setrlimit(Resource::Fsize, Rlimit { current: maximum, maximum }).unwrap();
    assert_eq!(log.append([3; 1000]).unwrap(), appended);
    assert_eq!(log.reader().iter().filter(|record| record.is_ok()).count() as u64, appended + 1);
}

/// Attack 37: a cut leaves zeros where readers had seen records.
#[test]
fn attack_37_numbers_that_readers_saw_come_back_under_another_epoch() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path())?;
    append(&log, 0..10);
    log.sync()?;
    let before = image(dir.path());
    append(&log, 10..20);
    let (seen, epoch) = (log.next_seq(), log.epoch());
    assert_eq!(seen, 20);
    let log = open(before.path())?;
    assert_eq!(log.next_seq(), 10);
    append(&log, 10..11);
    assert!(log.epoch() > epoch);
    Ok(())
}

/// Attack 38: an end frame whose successor's name was lost with an unsynced directory.
#[test]
fn attack_38_a_lost_successor_ends_the_log_and_raises_the_epoch() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path())?;
    let mut next = 0;
    while segments(dir.path()).len() < 2 {
        append(&log, next..next + 1);
        next += 1;
    }
    append(&log, next..next + 5);
    let epoch = log.epoch();
    let cut = image(dir.path());
    drop(log);
    let files = segments(cut.path());
    let base = records(&files[1])[0].seq;
    fs::remove_file(&files[1]).unwrap();
    assert_eq!(everything(&read(cut.path())?), all_but(base, &[]));
    let log = open(cut.path())?;
    assert_eq!(log.recovery().lost, []);
    append(&log, base..base + 50);
    assert!(log.epoch() > epoch);
    assert_eq!(everything(&log.reader()), all_but(base + 50, &[]));
    Ok(())
}

/// Attack 42: listings that run while files come and go have no holes.
#[test]
fn attack_42_readers_that_list_while_segments_come_see_no_hole() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path())?;
    let done = std::sync::atomic::AtomicBool::new(false);
    let views = std::thread::scope(|scope| -> Result<u64> {
        let reading = scope.spawn(|| -> Result<u64> {
            let mut views = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let reader = read(dir.path())?;
                let mut expected = 0;
                for record in &reader {
                    assert_eq!(record?.seq(), expected);
                    expected += 1;
                }
                assert_eq!(expected, reader.next_seq());
                views += 1;
            }
            Ok(views)
        });
        for _ in 0..400 {
            log.append([5; 8000])?;
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        reading.join().unwrap()
    })?;
    assert!(views > 0);
    assert!(segments(dir.path()).len() >= 400);
    Ok(())
}

/// Attack 45: a copy of an open log, made in the same boot, is not live, and a valid log.
#[test]
fn attack_45_a_copy_of_an_open_log_is_judged_as_after_a_power_cut() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path())?;
    append(&log, 0..200);
    let copy = image(dir.path());
    append(&log, 200..210);
    let other = open(copy.path())?;
    assert!(!other.recovery().live);
    assert_eq!(other.id(), log.id());
    assert_eq!(everything(&other.reader()), all_but(200, &[]));
    append(&other, 200..220);
    assert_eq!(everything(&log.reader()), all_but(210, &[]));
    Ok(())
}

/// Attack 46: the directory is removed and made again under an open handle.
#[test]
fn attack_46_a_log_made_anew_under_a_handle_is_another_log() -> Result<()> {
    let dir = tempdir();
    let path = dir.path().join("log");
    let old = open(&path)?;
    append(&old, 0..10);
    fs::remove_dir_all(&path).unwrap();
    let new = open(&path)?;
    assert_ne!(old.id(), new.id());
    assert_eq!(new.next_seq(), 0);
    assert_eq!(old.sync().unwrap_err().kind(), ErrorKind::Replaced);
    append(&new, 0..5);
    assert_eq!(everything(&new.reader()), all_but(5, &[]));
    Ok(())
}

/// Attack 48: one bad block of 4 KiB in the header; the other copy serves.
#[test]
fn attack_48_a_bad_header_block_costs_nothing() -> Result<()> {
    for block in [0, 4096] {
        let dir = tempdir();
        let log = open(dir.path())?;
        append(&log, 0..10);
        log.close()?;
        zero(&segments(dir.path())[0], block..block + 4096);
        let cut = image(dir.path());
        assert_eq!(everything(&read(cut.path())?), all_but(10, &[]));
        let log = open(cut.path())?;
        append(&log, 10..20);
        log.close()?;
        assert_eq!(everything(&read(cut.path())?), all_but(20, &[]));
    }
    Ok(())
}
