//! Whole files, opened: G11, and that the crate reads what docs/format.md says, before recovery as after it.

use std::fs;
use std::path::Path;

use maplog::{ErrorKind, Log, Reader, verify};

use crate::folder::{Folder, segments};
use crate::forge::{apply, forge};
use crate::judge::{
    Everything, assert_is_somewhere, everything, numbers_from, oddities, open, read,
};
use crate::recipe::{Page, Patch, Recipe};
use crate::second;
use crate::second::format::put;
use crate::second::script::Files;

pub fn run(recipe: &Recipe) {
    let files = forge(recipe);
    let odd = oddities(&files);
    let live = recipe.page.is_some();
    let folder = match &recipe.page {
        None => Folder::of(&files),
        Some(page) => with_live_page(&files, page),
    };
    let expected = (!odd.any() && !live).then(|| second::reader::read(&files));
    let may_fail = |kind| may_fail(kind, odd.may_be_refused, live);

    let before = match read(folder.path()) {
        Ok(reader) => {
            let all = everything(&reader);
            assert!(all.refused.iter().all(|kind| may_fail(*kind)), "{:?}", all.refused);
            if all.refused.is_empty() {
                all.check_complete();
            }
            match &expected {
                Some(expected) => all.assert_is(expected),
                None => all.records.iter().for_each(|(seq, data)| {
                    assert_is_somewhere(&files, *seq, data);
                }),
            }
            ask_for_single_records(&reader, &all, &recipe.gets);
            Ok(all)
        }
        Err(error) => {
            assert!(may_fail(error.kind()), "{error}");
            Err(error.kind())
        }
    };
    check_verify(folder.path(), &before, may_fail);
    assert_eq!(segments(folder.path()), files, "reading changed the files");

    let log = match open(folder.path()) {
        Ok(log) => log,
        Err(error) => {
            assert!(may_fail(error.kind()), "{error}");
            assert!(live || before == Err(error.kind()), "a reader could, a writer not: {error}");
            return;
        }
    };
    // A page that says that a sync failed has what is in doubt written anew.
    assert!(live || segments(folder.path()) == files, "opening changed the files");
    let found = everything(&log.reader());
    if let Some(expected) = &expected {
        assert_eq!(log.durable_seq(), expected.durable_seq);
        assert_eq!(log.recovery().clean, expected.clean);
        assert_eq!(log.recovery().lost, expected.lost_at_opening);
    }
    if !live {
        assert_eq!(before.as_ref(), Ok(&found), "a reader before recovery, and recovery");
    }
    // Who can forge a checksum can put the end of a log below numbers that stand before it, and then no
    // reader finds what comes behind them.
    // Nor is it said what a forged frame covers that begins before the end and reaches behind it: once the
    // log goes on elsewhere, its segment is read to the end of its file.
    let cut = log.recovery().cut.is_some();
    let told_wrong = live || cut || log.recovery().clean && numbers_from(&files, found.next_seq);
    go_on(folder, log, found, &recipe.appends, told_wrong);
}

/// How opening, or reading a part, may fail: only what no reader of version 1 may read, or what a page
/// says that nobody wrote.
fn may_fail(kind: ErrorKind, may_be_refused: bool, live: bool) -> bool {
    use ErrorKind::{Damaged, NotALog, OutOfRange, UnsupportedFeature, UnsupportedVersion};
    match kind {
        NotALog | UnsupportedFeature | UnsupportedVersion => may_be_refused,
        // A page that says that a sync failed has copies made at once, and a forged epoch or segment id may
        // leave no room for them.
        Damaged | OutOfRange => live,
        _ => false,
    }
}

/// The log's directory with a page that this machine made just now, in which something else stands.
fn with_live_page(files: &Files, page: &Page) -> Folder {
    let folder = Folder::new();
    open(folder.path()).unwrap().close().unwrap();
    for name in segments(folder.path()).keys() {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let names: Vec<(u64, u64)> = files
        .keys()
        .filter_map(|name| name.strip_suffix(".seg")?.split_once('-'))
        .map(|(base, id)| (base.parse().unwrap(), id.parse().unwrap()))
        .collect();
    let base = names.iter().map(|name| name.0).min().unwrap_or(0);
    let last_id = names.iter().map(|name| name.1).max().unwrap_or(0);
    let path = folder.path().join("shared");
    let mut bytes = fs::read(&path).unwrap();
    let mut word = |at: usize, value: u64| put(&mut bytes, at, &value.to_le_bytes());
    word(128, page.epoch);
    word(136, base.wrapping_add(page.first_above));
    for copy in [392, 416] {
        word(copy, last_id.wrapping_sub(page.end_segment_below));
        word(copy + 8, page.end_offset);
        word(copy + 16, base.wrapping_add(page.end_above));
    }
    let low_byte = page.epoch << 56;
    word(512, low_byte | base.wrapping_add(page.durable_above) & ((1 << 56) - 1));
    for Patch { at, bytes: with } in &page.patches {
        // Not the part that says that it is live.
        apply(&Patch { at: 128 + at % 3900, bytes: with.clone() }, &mut bytes);
    }
    // In place: another file would not be live.
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, &bytes))
        .unwrap();
    folder
}

fn ask_for_single_records(reader: &Reader, all: &Everything, gets: &[u8]) {
    for part in gets {
        let seq = all.first_seq + (all.next_seq - all.first_seq) / 255 * u64::from(*part);
        check_get(reader, all, seq);
    }
    for part in gets.iter().filter_map(|part| all.records.get(usize::from(*part))) {
        check_get(reader, all, part.0);
    }
    let past = reader.get(all.next_seq);
    assert!(matches!(past, Ok(None)), "past the end: {past:?}");
    if all.first_seq > 0 {
        let trimmed = reader.get(all.first_seq - 1).unwrap_err();
        assert_eq!((trimmed.kind(), trimmed.seq()), (ErrorKind::Trimmed, Some(all.first_seq)));
    }
}

fn check_get(reader: &Reader, all: &Everything, seq: u64) {
    let found = all.records.binary_search_by_key(&seq, |record| record.0);
    match (reader.get(seq), found) {
        (Ok(Some(record)), Ok(index)) => assert_eq!(record.data(), all.records[index].1),
        (Ok(None), Err(_)) => assert!(seq >= all.next_seq, "record {seq} is past no end"),
        (Err(error), Err(_)) if error.kind() == ErrorKind::Damaged => {
            assert_eq!(error.lost(), Some(seq..seq + 1));
            assert!(all.lost.iter().any(|range| range.contains(&seq)), "lost only when asked for");
        }
        (Err(error), Err(_)) => assert!(all.refused.contains(&error.kind()), "{error}"),
        (got, _) => panic!("iterating gives another record {seq} than asking: {got:?}"),
    }
}

fn check_verify(
    path: &Path,
    before: &Result<Everything, ErrorKind>,
    may_fail: impl Fn(ErrorKind) -> bool,
) {
    match (verify(path, |_, _| {}), before) {
        (Ok(found), Ok(all)) => {
            assert_eq!((found.first_seq, found.next_seq), (all.first_seq, all.next_seq));
            if all.refused.is_empty() {
                assert_eq!(found.lost, all.lost, "verify and reading report other losses");
                assert!(!found.is_intact() || all.lost.is_empty());
            }
        }
        // It looks at names before it looks at the end; and a part, or what was trimmed, may be a later
        // version's.
        (Err(error), Err(kind)) => {
            assert!(error.kind() == *kind || may_fail(error.kind()), "{error}")
        }
        (Err(error), Ok(_)) => assert!(may_fail(error.kind()), "{error}"),
        (Ok(found), Err(kind)) => panic!("{kind:?} to a reader, to verify {found:?}"),
    }
}

/// Appends, and reads back what was there and what came.
fn go_on(folder: Folder, log: Log, mut all: Everything, lengths: &[u8], told_wrong: bool) {
    let appended = append_twenty(&log, lengths);
    if appended.is_empty() {
        return;
    }
    assert_eq!(appended[0].0, all.next_seq, "the number behind the log's end");
    all.next_seq += appended.len() as u64;
    let before = all.records.len();
    all.records.extend(appended);
    let kept = |found: &Everything, what| assert_kept(found, &all, before, what, told_wrong);
    assert_eq!(log.sync().unwrap(), all.next_seq);
    kept(&everything(&log.reader()), "through the log");
    kept(&everything(&read(folder.path()).unwrap()), "beside the log");
    log.close().unwrap();

    // As after a power cut, then as it was closed.
    let files = segments(folder.path());
    let copy = Folder::of(&files);
    let copied = everything(&read(copy.path()).unwrap());
    kept(&copied, "a copy");
    if !oddities(&files).any() {
        copied.assert_is(&second::reader::read(&files));
    }
    let log = open(folder.path()).unwrap();
    assert!(told_wrong || log.recovery().clean, "closed, and not clean: {:?}", log.recovery());
    kept(&everything(&log.reader()), "opened again");
}

/// What was read is still there, and what was appended. More may be: where a forged slot, or a page, put
/// the log's end into the middle of a frame, that frame was not whole before the log went on elsewhere.
fn assert_kept(found: &Everything, all: &Everything, before: usize, what: &str, told_wrong: bool) {
    // A frame that must not be passed over hides what comes behind it in its segment.
    if told_wrong || !found.refused.is_empty() {
        return;
    }
    let has = |record| found.records.binary_search(record).is_ok();
    let (before, appended) = all.records.split_at(before);
    assert!(appended.iter().all(has), "{what}: an appended record is gone, of {}", appended.len());
    found.check_complete();
    assert!(before.iter().all(has), "{what}: a record of before is gone");
    let range = all.first_seq..all.next_seq;
    assert_eq!(found.first_seq..found.next_seq, range, "{what}: the log's numbers");
    let known = |lost: &std::ops::Range<u64>| {
        all.lost.iter().any(|all| all.start <= lost.start && lost.end <= all.end)
    };
    assert!(found.lost.iter().all(known), "{what}: lost {:?}, before {:?}", found.lost, all.lost);
}

/// Twenty records, singly, in a batch, in place. None if the log has come to an end of its numbers.
fn append_twenty(log: &Log, lengths: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut appended: Vec<(u64, Vec<u8>)> = Vec::new();
    let length = |index: usize| match lengths {
        [] => 16,
        _ => usize::from(lengths[index % lengths.len()]) * 8,
    };
    let record = |index: usize| vec![0xA0 + index as u8; length(index)];
    while appended.len() < 20 {
        let index = appended.len();
        let first = match index {
            5 => log.append_batch(&[record(5), record(6), record(7)]).map(|seqs| seqs.start),
            9 => in_place(log, &record(9)),
            _ => log.append(record(index)),
        };
        let count = if index == 5 { 3 } else { 1 };
        match first {
            Ok(seq) => {
                assert!(appended.last().is_none_or(|last| last.0 + 1 == seq), "a gap at {seq}");
                appended.extend((0..count).map(|more| (seq + more as u64, record(index + more))));
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OutOfRange, "{error}");
                break;
            }
        }
    }
    appended
}

fn in_place(log: &Log, record: &[u8]) -> maplog::Result<u64> {
    let mut writer = log.writer()?;
    let _given_up = writer.reserve(record.len() + 7)?;
    let mut slot = writer.reserve(record.len() + 1)?;
    slot.truncate(record.len());
    slot.copy_from_slice(record);
    slot.commit()
}
