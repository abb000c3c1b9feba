//! Small logs whose every image is checked, and work that makes one particular thing matter.

use std::fs;
use std::path::Path;

use super::check::Bench;
use super::moment::Told;
use super::tape::{Keep, Recording, Tape};
use super::work::{
    SEGMENT_BYTES, Work, append, append_batch, append_in_place, cut, give_up, on_disk, open,
    payload, reset, sync, trim,
};
use super::{check_every_image, finished, print};
use crate::Log;
use crate::format::frame::{
    COMMIT_BYTES, CommitWord, HEADER_BYTES, Kind, MARK_FRAME_BYTES, Mark, commit_bytes, seal, seed,
};

fn work() -> (Work, fastrand::Rng) {
    let tape = |dir: &Path| Tape::of_disk(dir, Told::default(), Keep::All, 0);
    (Work::start(tape, SEGMENT_BYTES, true), fastrand::Rng::with_seed(4))
}

/// Checks images of the moments from `from` on: all of each moment, or 48 where there are more.
fn check(what: &str, work: Work, from: usize) {
    check_most(what, work, from, 48);
}

fn check_most(what: &str, work: Work, from: usize, most: usize) {
    let (moments, page) = finished(work);
    let mut bench = Bench::new();
    bench.stale_page = page;
    check_every_image(&mut bench, &moments[from..], most);
    print(what, bench.count);
    assert!(bench.count.images > 0);
}

/// Where the log ends.
fn end(log: &Log) -> u64 {
    log.core.home.page().end().offset
}

/// The bytes of the log's only segment.
fn segment(log: &Path) -> Vec<u8> {
    let names = fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = names.filter(|path| path.extension().is_some()).collect();
    assert_eq!(segments.len(), 1);
    fs::read(segments.remove(0)).unwrap()
}

#[test]
fn every_image_of_a_small_log_keeps_every_promise() {
    let (mut work, mut rng) = work();
    for len in [10, 0, 300] {
        append(work.log(), &work.tape, payload(&mut rng, len));
    }
    sync(work.log(), &work.tape);
    append_batch(work.log(), &work.tape, &[40, 500, 40].map(|len| payload(&mut rng, len)));
    append_in_place(work.log(), &work.tape, &payload(&mut rng, 100), 200);
    give_up(work.log(), &[0x11; 400]);
    append(work.log(), &work.tape, payload(&mut rng, 20));
    work.close();
    work.reopen();
    append(work.log(), &work.tape, payload(&mut rng, 70));
    append(work.log(), &work.tape, payload(&mut rng, 600));
    sync(work.log(), &work.tape);
    // All of them, without a bound: this log is small enough.
    check_most("small log", work, 0, usize::MAX);
}

/// Attacks 5 and 8: an older segment that is not synced, a newer one whose name is not.
#[test]
fn every_image_around_a_roll_keeps_every_promise() {
    let (work, mut rng) = work();
    for len in [3000, 3000, 1500] {
        append(work.log(), &work.tape, payload(&mut rng, len));
    }
    sync(work.log(), &work.tape);
    let synced = work.tape.borrow().moments.len();
    for len in [200, 500, 30] {
        append(work.log(), &work.tape, payload(&mut rng, len));
    }
    assert_eq!(work.log().stats().unwrap().segments, 2);
    sync(work.log(), &work.tape);
    append(work.log(), &work.tape, payload(&mut rng, 30));
    check("roll", work, synced);
}

/// Appends `count` records, of which two fill a segment.
fn append_large(work: &Work, rng: &mut fastrand::Rng, count: usize) {
    (0..count).for_each(|_| append(work.log(), &work.tape, payload(rng, 3500)));
}

fn segments_of(work: &Work) -> u64 {
    work.log().stats().unwrap().segments
}

/// Attack 43: each subset of the removals, with the slot as it was or is.
#[test]
fn every_image_around_a_trim_keeps_every_promise() {
    let (work, mut rng) = work();
    append_large(&work, &mut rng, 7);
    sync(work.log(), &work.tape);
    append(work.log(), &work.tape, payload(&mut rng, 30));
    assert_eq!(segments_of(&work), 4);
    let from = work.tape.borrow().moments.len();
    trim(work.log(), &work.tape, 6);
    assert_eq!(segments_of(&work), 1);
    append(work.log(), &work.tape, payload(&mut rng, 30));
    // In a segment that stays; and all there is.
    trim(work.log(), &work.tape, 7);
    trim(work.log(), &work.tape, 9);
    append(work.log(), &work.tape, payload(&mut rng, 30));
    check_most("trim", work, from, 24);
}

/// The segment whose slot says what was trimmed has a name that no sync made durable.
#[test]
fn a_trim_behind_a_roll_holds_in_every_image() {
    let (work, mut rng) = work();
    append_large(&work, &mut rng, 2);
    sync(work.log(), &work.tape);
    append_large(&work, &mut rng, 1);
    assert_eq!(segments_of(&work), 2);
    let from = work.tape.borrow().moments.len();
    trim(work.log(), &work.tape, 1);
    append(work.log(), &work.tape, payload(&mut rng, 30));
    check_most("trim behind a roll", work, from, 24);
}

/// Of what was trimmed some was never durable, and the file that held the durable position is gone while an older
/// one is back: nothing of that is lost.
#[test]
fn a_trim_beyond_the_durable_position_holds_in_every_image() {
    let (work, mut rng) = work();
    append_large(&work, &mut rng, 3);
    sync(work.log(), &work.tape);
    append_large(&work, &mut rng, 4);
    assert_eq!(segments_of(&work), 4);
    let from = work.tape.borrow().moments.len();
    trim(work.log(), &work.tape, 6);
    append(work.log(), &work.tape, payload(&mut rng, 30));
    check_most("trim beyond the durable position", work, from, 6);
}

/// Attack 17: a segment that was cut outlives the one that cut it.
#[test]
fn what_was_cut_and_then_trimmed_comes_back_in_no_image() {
    let (work, mut rng) = work();
    append_large(&work, &mut rng, 5);
    cut(work.log(), &work.tape, 3);
    append_large(&work, &mut rng, 2);
    cut(work.log(), &work.tape, 1);
    append_large(&work, &mut rng, 4);
    sync(work.log(), &work.tape);
    let from = work.tape.borrow().moments.len();
    trim(work.log(), &work.tape, 4);
    append(work.log(), &work.tape, payload(&mut rng, 30));
    check_most("trim behind cuts", work, from, 4);
}

#[test]
fn every_image_around_a_reset_keeps_every_promise() {
    for next_seq in [0, 3, 1000] {
        let (work, mut rng) = work();
        append_large(&work, &mut rng, 4);
        sync(work.log(), &work.tape);
        append(work.log(), &work.tape, payload(&mut rng, 30));
        let from = work.tape.borrow().moments.len();
        reset(work.log(), &work.tape, next_seq);
        append(work.log(), &work.tape, payload(&mut rng, 30));
        sync(work.log(), &work.tape);
        append(work.log(), &work.tape, payload(&mut rng, 30));
        check_most("reset", work, from, 6);
    }
}

/// Attack 20: the slot says open, durably, before the first frame.
#[test]
fn a_closed_log_that_went_on_is_not_taken_for_a_closed_one() {
    let (mut work, mut rng) = work();
    append(work.log(), &work.tape, payload(&mut rng, 50));
    work.close();
    work.reopen();
    let from = work.tape.borrow().moments.len();
    append(work.log(), &work.tape, payload(&mut rng, 700));
    append(work.log(), &work.tape, payload(&mut rng, 30));
    check("closed log that went on", work, from);
}

/// What a slot that was given up leaves is no frame behind the end, for the next opening either.
#[test]
fn a_log_closed_on_top_of_a_slot_given_up_is_found_closed() {
    let (mut work, mut rng) = work();
    give_up(work.log(), &[0xA5; 400]);
    append(work.log(), &work.tape, payload(&mut rng, 50));
    work.close();
    let closed = work.tape.borrow().moments.len() - 1;
    work.reopen();
    check("closed on a slot given up", work, closed);
}

/// Attack 4: all of a dead batch but its first word reached the disk; of the next batch, whose
/// frames stand in the same places, only the beginning did.
#[test]
fn the_rest_of_a_dead_batch_never_joins_another() {
    let (mut work, mut rng) = work();
    append(work.log(), &work.tape, payload(&mut rng, 100));
    sync(work.log(), &work.tape);
    append(work.log(), &work.tape, payload(&mut rng, 100));
    let first_frame = 96;
    work.tape.dies_at("batch.frame_written", 3);
    let dead =
        [first_frame, 300, 300].map(|frame| payload(&mut rng, frame - HEADER_BYTES as usize));
    append_batch(work.log(), &work.tape, &dead);
    work.rise_again();
    assert_eq!(work.log().next_seq(), 2);
    let from = work.tape.borrow().moments.len();
    // A mark comes first, now.
    let first_frame = first_frame - MARK_FRAME_BYTES as usize;
    let next =
        [first_frame, 300, 300].map(|frame| payload(&mut rng, frame - HEADER_BYTES as usize));
    append_batch(work.log(), &work.tape, &next);
    check("dead batch", work, from);
}

/// A record that holds what another log's segment holds in the same place.
#[test]
fn frames_of_another_log_inside_a_torn_record_are_no_frames() {
    let begin = |log: &Log, rng: &mut fastrand::Rng| {
        log.append(payload(rng, 100)).unwrap();
        log.sync().unwrap();
        log.append(payload(rng, 100)).unwrap();
    };
    let mut rng = fastrand::Rng::with_seed(4);
    let other = on_disk();
    let log = open(other.path());
    begin(&log, &mut rng);
    let at = end(&log);
    append_and_claim(&log, &mut rng);
    drop(log);

    let (work, mut rng) = work();
    append(work.log(), &work.tape, payload(&mut rng, 100));
    sync(work.log(), &work.tape);
    append(work.log(), &work.tape, payload(&mut rng, 100));
    assert_eq!(end(work.log()), at, "both logs end in the same place");
    let from = (at + HEADER_BYTES) as usize;
    let copy = segment(other.path())[from..from + 1800].into();
    let moments = work.tape.borrow().moments.len();
    append(work.log(), &work.tape, copy);
    check("another log's frames", work, moments);
}

/// Appends records, and marks among them that call the first of them durable.
fn append_and_claim(log: &Log, rng: &mut fastrand::Rng) {
    for _ in 0..3 {
        log.append(payload(rng, 200)).unwrap();
        log.sync().unwrap();
    }
    log.append(payload(rng, 200)).unwrap();
    log.append(payload(rng, 200)).unwrap();
}

/// A copy of a closed log goes on under the same salt; its segment becomes a record of the log.
#[test]
fn frames_of_the_same_salt_inside_a_torn_record_are_no_frames_elsewhere() {
    let (mut work, mut rng) = work();
    append(work.log(), &work.tape, payload(&mut rng, 100));
    work.close();
    let copied = on_disk();
    for entry in fs::read_dir(work.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copied.path().join(entry.file_name())).unwrap();
    }
    crate::hook::listen(None);
    let log = open(copied.path());
    let at = end(&log) as usize;
    log.append(payload(&mut rng, 200)).unwrap();
    append_and_claim(&log, &mut rng);
    drop(log);
    work.tape.start();
    work.reopen();
    let moments = work.tape.borrow().moments.len();
    append(work.log(), &work.tape, segment(copied.path())[at..at + 1800].into());
    check("frames moved", work, moments);
}

/// Attack 39: a mark in what is cut claims more than can have been durable where it stands.
#[test]
fn what_is_cut_claims_no_more_than_its_place() {
    let (work, mut rng) = work();
    append(work.log(), &work.tape, payload(&mut rng, 100));
    append(work.log(), &work.tape, payload(&mut rng, 100));
    sync(work.log(), &work.tape);
    let record_at = end(work.log()) + MARK_FRAME_BYTES;
    let mark_at = record_at + HEADER_BYTES + 512;
    let salt = work.log().core.home.unsynced.lock().segments()[0].header.salt;
    let claim = Mark { time_nanos: 0, durable_seq: 480 }.encode();
    let word = CommitWord::new(Kind::Mark, Mark::BYTES);
    let mut body = [0; (MARK_FRAME_BYTES - COMMIT_BYTES) as usize];
    body[(HEADER_BYTES - COMMIT_BYTES) as usize..].copy_from_slice(&claim);
    seal(&mut body, seed(salt, mark_at, word, 2), 2, Mark::BYTES);
    let mut record = payload(&mut rng, 900);
    let (before, mark) = record.split_at_mut(512);
    before.fill(0);
    mark[..COMMIT_BYTES as usize].copy_from_slice(&commit_bytes(word));
    mark[COMMIT_BYTES as usize..MARK_FRAME_BYTES as usize].copy_from_slice(&body);
    let moments = work.tape.borrow().moments.len();
    append(work.log(), &work.tape, record);
    check("claims of what is cut", work, moments);
}
