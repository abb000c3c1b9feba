//! What fuzzing found: each the smallest log that showed it.

use std::fs;
use std::os::unix::fs::FileExt;

use maplog::{ErrorKind, verify};

use crate::golden::format::{
    FIRST, Frame, HEADER_BYTES, Header, LAST, SINGLE, Slot, file_name, put,
};
use crate::support::{self, everything};

const SALT: u64 = 99;
const BYTES: usize = 16 * 1024;

/// A segment with these frames, in its own words.
fn segment(
    id: u64,
    base_seq: u64,
    epoch: u64,
    slot: Slot,
    frames: &[(u32, u64, &[u8])],
) -> Vec<u8> {
    let header = Header {
        reason: 1,
        log_id: [5; 16],
        epoch,
        segment_id: id,
        base_seq,
        salt: SALT,
        created_nanos: 0,
        segment_bytes: BYTES as u64,
    };
    let mut bytes = vec![0; BYTES];
    put(&mut bytes, 0, &header.encode());
    put(&mut bytes, 4096, &header.encode());
    put(&mut bytes, Slot::offset(slot.counter), &slot.encode(SALT));
    let (mut offset, mut first_crc) = (HEADER_BYTES, 0);
    for (kind, seq, payload) in frames {
        let frame = Frame { offset, kind: *kind, seq: *seq, payload: payload.to_vec() };
        let (encoded, crc) = frame.encode(SALT, first_crc);
        put(&mut bytes, offset, &encoded);
        first_crc = if *kind == FIRST { crc } else { first_crc };
        offset = frame.next();
    }
    bytes
}

fn slot(durable_offset: u64, durable_seq: u64) -> Slot {
    Slot { counter: 1, epoch: 1, durable_offset, durable_seq, first_seq: 0, closed: false }
}

fn log_of(segments: &[(u64, u64, Vec<u8>)]) -> tempfile::TempDir {
    let dir = support::tempdir();
    for (id, base_seq, bytes) in segments {
        fs::write(dir.path().join(file_name(*base_seq, *id)), bytes).unwrap();
    }
    dir
}

/// On the way to a record checksums are not compared; a rotten frame there must not be believed.
#[test]
fn a_rotten_frame_before_a_record_does_not_take_that_record_along() {
    let records: [(u32, u64, &[u8]); 4] =
        [(SINGLE, 0, &[1; 40]), (SINGLE, 1, &[2; 40]), (SINGLE, 2, &[3; 40]), (SINGLE, 3, b"x")];
    let whole = segment(1, 0, 1, slot(8192 + 3 * 64 + 32, 4), &records);
    let mut cases = 0;
    for bit in 0..16 * 8 {
        let mut bytes = whole.clone();
        bytes[HEADER_BYTES + 64 + bit / 8] ^= 1 << (bit % 8);
        let dir = log_of(&[(1, 0, bytes)]);
        let reader = support::read(dir.path()).unwrap();
        let all = everything(&reader);
        assert_eq!(all.lost, vec![1..2], "bit {bit}");
        for (seq, data) in &all.records {
            let record = reader.get(*seq).unwrap_or_else(|error| panic!("bit {bit}: {error}"));
            assert_eq!(record.unwrap().data(), data, "bit {bit}, record {seq}");
            cases += 1;
        }
        let lost = reader.get(1).unwrap_err();
        assert_eq!((lost.kind(), lost.lost()), (ErrorKind::Damaged, Some(1..2)), "bit {bit}");
    }
    assert_eq!(cases, 16 * 8 * 3);
}

#[test]
fn verify_does_not_miss_what_was_trimmed() {
    let trimmed = Slot { first_seq: 2, ..slot(8192 + 3 * 32, 3) };
    let records: [(u32, u64, &[u8]); 3] = [(SINGLE, 0, b"a"), (SINGLE, 1, b"b"), (SINGLE, 2, b"c")];
    let mut bytes = segment(1, 0, 1, trimmed, &records);
    bytes[HEADER_BYTES + 16] ^= 1;
    let dir = log_of(&[(1, 0, bytes)]);
    let found = verify(dir.path(), |_, _| {}).unwrap();
    assert_eq!((found.first_seq, found.next_seq), (2, 3));
    assert_eq!(found.lost, vec![]);
}

/// Bytes behind the end have no meaning, not even as the rest of a batch before it.
#[test]
fn verify_and_readers_agree_on_a_batch_that_the_end_cuts() {
    let batch: [(u32, u64, &[u8]); 2] = [(FIRST, 0, b"a"), (LAST, 1, &[7; 40])];
    let dir = log_of(&[(1, 0, segment(1, 0, 1, slot(8192 + 64, 2), &batch))]);
    let all = everything(&support::read(dir.path()).unwrap());
    assert_eq!((all.records.len(), &all.lost), (0, &vec![0..2]));
    assert_eq!(verify(dir.path(), |_, _| {}).unwrap().lost, all.lost);
}

/// An epoch, an id and a counter that have no next: an error, no overflow.
#[test]
fn numbers_that_cannot_rise_are_an_error() {
    let records: [(u32, u64, &[u8]); 1] = [(SINGLE, 0, b"a")];
    let last_epoch = log_of(&[(1, 0, segment(1, 0, u64::MAX, slot(8192, 0), &records))]);
    let last_id = log_of(&[(u64::MAX, 0, segment(u64::MAX, 0, 1, slot(8192, 0), &records))]);
    let closed = Slot { counter: u64::MAX, closed: true, ..slot(8192 + 32, 1) };
    let last_counter = log_of(&[(1, 0, segment(1, 0, 1, closed, &records))]);
    for (what, dir) in [("epoch", last_epoch), ("id", last_id), ("counter", last_counter)] {
        let log = support::open(dir.path()).unwrap();
        let error = log.append(b"b").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfRange, "{what}");
        assert_eq!(everything(&log.reader()).records, vec![(0, b"a".to_vec())], "{what}");
    }
}

/// Words of the page, written over while nobody has the log open.
fn forge_page<const N: usize>(dir: &tempfile::TempDir, words: [(u64, u64); N]) {
    let page = fs::OpenOptions::new().write(true).open(dir.path().join("shared")).unwrap();
    for (at, word) in words {
        page.write_all_at(&word.to_le_bytes(), at).unwrap();
    }
}

/// A live page says where the log ends; one that was written over may say anything.
#[test]
fn a_live_page_does_not_end_a_log_beyond_all_numbers() {
    let dir = support::tempdir();
    let log = support::open(dir.path()).unwrap();
    log.append(b"a").unwrap();
    log.close().unwrap();
    forge_page(&dir, [(392 + 16, u64::MAX), (416 + 16, u64::MAX)]);
    let reader = support::read(dir.path()).unwrap();
    assert_eq!(reader.next_seq(), (1 << 56) - 1);
    let all = everything(&reader);
    assert_eq!(all.records, vec![(0, b"a".to_vec())]);
    assert_eq!(all.lost, vec![1..(1 << 56) - 1]);
    assert_eq!(verify(dir.path(), |_, _| {}).unwrap().lost, all.lost);
}

/// Where its last segment ends, too; the file is no longer for that, nor the memory to index it.
#[test]
fn a_live_page_does_not_index_more_than_there_is() {
    let dir = support::tempdir();
    let log = support::open(dir.path()).unwrap();
    log.append(b"a").unwrap();
    log.close().unwrap();
    for offset in [u64::MAX, u64::MAX / 2, 1 << 40] {
        let end = 1 << 55;
        forge_page(&dir, [(400, offset), (408, end), (424, offset), (432, end)]);
        let reader = support::read(dir.path()).unwrap();
        assert_eq!(reader.get(0).unwrap().unwrap().data(), b"a");
        let index_bytes = reader.stats().unwrap().index_bytes;
        assert!(index_bytes < 1 << 20, "{index_bytes} bytes of index for one record");
    }
}

#[test]
fn verify_loses_nothing_beyond_the_end_that_a_live_page_says() {
    let dir = support::tempdir();
    // SAFETY: the page is changed only while the log is closed.
    let log = unsafe { maplog::Log::options().first_seq(1000).open(dir.path()) }.unwrap();
    log.append(b"a").unwrap();
    log.close().unwrap();
    forge_page(&dir, [(136, 1), (392 + 16, 8), (416 + 16, 8)]);
    let reader = support::read(dir.path()).unwrap();
    assert_eq!(everything(&reader).lost, vec![1..8]);
    let found = verify(dir.path(), |_, _| {}).unwrap();
    assert_eq!((found.first_seq, found.next_seq, found.lost), (1, 8, vec![1..8]));
}

/// A writer that died after it had named a segment left it behind the end; its header may have rotted since.
#[test]
fn verify_reports_a_segment_behind_the_end_whose_header_is_rotten() {
    let dir = support::tempdir();
    let log = support::open(dir.path()).unwrap();
    log.append(b"a").unwrap();
    log.close().unwrap();
    assert!(verify(dir.path(), |_, _| {}).unwrap().is_intact());
    fs::write(dir.path().join(file_name(1, 2)), vec![0; BYTES]).unwrap();
    let all = everything(&support::read(dir.path()).unwrap());
    assert_eq!((all.records, all.lost), (vec![(0, b"a".to_vec())], vec![]));
    let found = verify(dir.path(), |_, _| {}).unwrap();
    assert_eq!((found.records(), &found.lost), (1, &vec![]));
    let coming = &found.segments[1];
    assert_eq!((coming.id, coming.base_seq, coming.end_seq), (2, 1, 1));
    assert!(coming.unreadable.is_some() && !found.is_intact());
}

/// Copies that end before the log's end cut it there; when no number is left, no segment can begin behind them.
#[test]
fn numbers_that_are_lost_at_the_end_of_all_numbers_are_not_given_again() {
    let dir = support::tempdir();
    let first_seq = (1 << 56) - 100;
    // SAFETY: the page is changed only while the log is closed.
    let log = unsafe { maplog::Log::options().first_seq(first_seq).open(dir.path()) }.unwrap();
    log.append(b"a").unwrap();
    log.close().unwrap();
    let [end, poison, durable] = [(1 << 56) - 1, 144, 512];
    let durable_word = 1 << 56 | first_seq;
    forge_page(&dir, [(408, end), (432, end), (poison, 1), (durable, durable_word)]);
    let error = support::open(dir.path()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
    let reader = support::read(dir.path()).unwrap();
    assert_eq!(reader.next_seq(), end);
    assert_eq!(everything(&reader).records, vec![(first_seq, b"a".to_vec())]);
}

/// All that a tail from the first record on gives before it says that there is none yet: records, what is lost.
fn followed(dir: &tempfile::TempDir) -> (Vec<u64>, Vec<std::ops::Range<u64>>) {
    let reader = support::read(dir.path()).unwrap();
    let mut tail = reader.tail_from(reader.first_seq());
    let (mut records, mut lost) = (Vec::new(), Vec::new());
    loop {
        match tail.try_recv() {
            Ok(Some(record)) => records.push(record.seq()),
            Ok(None) => return (records, lost),
            Err(error) => {
                lost.push(error.lost().unwrap_or_else(|| panic!("{:?}: {error}", error.kind())));
            }
        }
    }
}

/// Where a file ends there is nothing yet, unless more was durable.
#[test]
fn a_tail_reports_what_is_lost_behind_the_end_of_the_file() {
    let records: [(u32, u64, &[u8]); 3] = [(SINGLE, 0, b"a"), (SINGLE, 1, b"b"), (SINGLE, 2, b"c")];
    let mut cases = 0;
    for bytes in [HEADER_BYTES, HEADER_BYTES + 32, HEADER_BYTES + 40, HEADER_BYTES + 64] {
        let mut cut = segment(1, 0, 1, slot(8192 + 3 * 32, 3), &records);
        cut.truncate(bytes);
        let dir = log_of(&[(1, 0, cut)]);
        let left = ((bytes - HEADER_BYTES) / 32) as u64;
        let all = everything(&support::read(dir.path()).unwrap());
        assert_eq!(all.lost, vec![left..3], "{bytes} bytes");
        assert_eq!(followed(&dir), ((0..left).collect(), all.lost), "{bytes} bytes");
        cases += 1;
    }
    assert_eq!(cases, 4);
}

/// A slot that says that fewer records were durable than its own offset covers: there the log ends.
#[test]
fn a_tail_gives_no_record_behind_the_end_that_a_survey_found() {
    let records: Vec<(u32, u64, &[u8])> = (0..5).map(|seq| (SINGLE, seq, &b"a"[..])).collect();
    let dir = log_of(&[(1, 0, segment(1, 0, 1, slot(8192 + 5 * 32, 3), &records))]);
    assert_eq!(support::read(dir.path()).unwrap().next_seq(), 3);
    assert_eq!(followed(&dir), (vec![0, 1, 2], vec![]));
}
