//! Whole files, opened: G11, and that the crate reads what docs/format.md says, before recovery as after it,
//! and when the log goes on.

use std::ops::Range;
use std::path::Path;

use maplog::{ErrorKind, Log, Reader, verify};

use crate::case::{Case, base_and_id};
use crate::folder::{Folder, segments};
use crate::judge::{
    Everything, Oddities, assert_is_somewhere, everything, oddities, open, read, straddles,
};
use crate::live::{Page, no_doubt, with_live_page};
use crate::second::format::{BLOCK_BYTES, SECTOR_BYTES, u64_at};
use crate::second::reader::{self, End, Reading, Seen};
use crate::second::script::Files;
use crate::second::{leads_to, newest_slot, past_one_append, read_cut, seen_at};
use crate::ways::Ways;

pub fn run(case: &Case) {
    let files = &case.files;
    if files.is_empty() {
        return;
    }
    let odd = oddities(files);
    let folder = match &case.page {
        None => Folder::of(files),
        Some(patches) => with_live_page(files, patches),
    };
    let page = case.page.as_ref().map(|_| Page::in_folder(folder.path()));
    let live = page.as_ref();
    let expected = match live {
        _ if odd.any() => None,
        None => Some(reader::read(files)),
        Some(page) if has_id(files, page.end.segment_id) => Some(on_a_live_page(files, page)),
        // The segment that the log ends in, by its page, is not there.
        Some(_) => None,
    };

    let before = match read(folder.path()) {
        Ok(reader) => {
            assert!(live.is_none_or(|page| has_id(files, page.end.segment_id)));
            let all = everything(&reader);
            check_sound(&all, files, odd);
            if let Some(expected) = &expected
                && !begins_amid(files, all.first_seq, odd)
            {
                all.assert_is(expected);
            }
            if !odd.two_of_one_id {
                let ways = Ways::new(&all, files, odd);
                ask_for_single_records(&reader, &ways, &case.gets);
                ways.check(|| read(folder.path()).unwrap());
                let end = live.map_or(End::default(), |page| past_one_append(files, page.end));
                ways.check_tail(&reader, live.is_none() || ends_at(files, end, odd));
            }
            Ok(all)
        }
        Err(error) => {
            let lost = live.is_some_and(|page| !has_id(files, page.end.segment_id));
            let right = error.kind() == ErrorKind::Damaged && lost;
            assert!(right || may_fail(error.kind(), odd), "{error}");
            Err(error.kind())
        }
    };
    check_verify(folder.path(), &before, |kind| may_fail(kind, odd));
    assert_eq!(&segments(folder.path()), files, "reading changed the files");

    let log = match open(folder.path()) {
        Ok(log) => log,
        Err(error) => {
            // Copies take epochs, ids and numbers, of which a forger may have left none.
            let last_numbers =
                files.keys().any(|name| base_and_id(name).0 >= (1 << 56) - (16 << 30));
            let no_copies = live
                .is_some_and(|page| page.in_doubt && (last_numbers || is_used_up(files, page, 0)));
            let right = error.kind() == ErrorKind::OutOfRange && no_copies;
            assert!(right || may_fail(error.kind(), odd), "{error}");
            let only_a_writer = live.is_none() && before != Err(error.kind());
            assert!(!only_a_writer, "a reader could, a writer not: {error}");
            return;
        }
    };
    let opened = Opened::of(folder, log);
    match (live, &expected) {
        (None, Some(expected)) => {
            assert_eq!(opened.page.end, expected.end);
            assert_eq!(opened.log.durable_seq(), expected.durable_seq);
            assert_eq!(opened.log.recovery().clean, expected.clean);
            assert_eq!(opened.log.recovery().lost, expected.lost_at_opening);
        }
        (Some(page), Some(expected)) if is_true(files, page, expected.end) => {
            assert_eq!(opened.page.end, expected.end);
            assert_eq!(before.as_ref(), Ok(&opened.found), "a true page, and taking over from it");
        }
        _ => {}
    }
    match live {
        None => assert_eq!(before.as_ref(), Ok(&opened.found), "before recovery, and recovery"),
        // No number that was committed is given again.
        Some(page) => assert!(opened.found.next_seq >= committed_at_least(files, page)),
    }
    // A page that says that a sync failed has what is in doubt written anew.
    let rewrites = live.is_some_and(|page| page.in_doubt);
    assert!(rewrites || opened.files == *files, "opening changed the files");
    opened.check();
    if rewrites && !odd.any() {
        assert_copies_lose_nothing(case, &opened.found);
    }
    opened.go_on(&case.appends);
}

/// G8: what is read without a copy is read of the copies.
fn assert_copies_lose_nothing(case: &Case, copied: &Everything) {
    let mut patches = case.page.clone().unwrap_or_default();
    patches.extend(no_doubt());
    let folder = with_live_page(&case.files, &patches);
    let log = open(folder.path()).unwrap();
    let plain = Opened::of(folder, log);
    let (first_seq, end) = (plain.page.first_seq, plain.page.end);
    let below = reader::read_below(&case.files, first_seq, end);
    // As in `Kept`: a forged frame may reach over the end of the segment that copies cut.
    if below == read_cut(&case.files, first_seq, end) {
        let range = |all: &Everything| all.first_seq..all.next_seq;
        assert_eq!(range(copied), range(&plain.found), "copied, and taken over without a copy");
        let has = |record| copied.records.binary_search(record).is_ok();
        assert!(plain.found.records.iter().all(has), "a record is not in the copies");
    }
}

fn has_id(files: &Files, id: u64) -> bool {
    files.keys().any(|name| base_and_id(name).1 == id)
}

/// How opening, or reading a part, may fail: only what no reader of version 1 may read.
fn may_fail(kind: ErrorKind, odd: Oddities) -> bool {
    use ErrorKind::{NotALog, UnsupportedFeature, UnsupportedVersion};
    matches!(kind, NotALog | UnsupportedFeature | UnsupportedVersion) && odd.may_be_refused
}

/// What holds whatever is wrong with the files.
fn check_sound(all: &Everything, files: &Files, odd: Oddities) {
    assert!(all.refused.iter().all(|kind| may_fail(*kind, odd)), "{:?}", all.refused);
    if all.refused.is_empty() {
        all.check_complete();
    }
    // Where the second reader has an answer, it says so of every record.
    for (seq, data) in all.records.iter().filter(|_| odd.any()) {
        assert_is_somewhere(files, *seq, data);
    }
}

/// What a live page's reader reads: every frame below the end that the page says, and one append more if it
/// stands there. First and durable sequence numbers are the page's.
fn on_a_live_page(files: &Files, page: &Page) -> Reading {
    let hint = End { seq: page.end.seq.min((1 << 56) - 1), ..page.end };
    let first_seq = page.first_seq.min(hint.seq);
    let end = past_one_append(files, hint);
    let (records, lost) = reader::read_below(files, first_seq, end);
    Reading { end, first_seq, next_seq: end.seq, records, lost, ..Reading::default() }
}

/// True if a page's end, moved behind the one append to `end`, is where taking over from it ends too: a place
/// in the last segment where nothing was committed, and nothing else claims more.
fn is_true(files: &Files, page: &Page, end: End) -> bool {
    let Some(name) = files.keys().max_by_key(|name| base_and_id(name).1) else { return false };
    let (base, id) = base_and_id(name);
    let bytes = files[name].len() as u64;
    let inside = (8192..=bytes).contains(&page.end.offset) && page.end.offset.is_multiple_of(16);
    let before = page.end.offset.saturating_sub(8192) / 16;
    let slot = newest_slot(files, id);
    let outdone = slot.is_some_and(|slot| {
        slot.durable_seq.min(base + bytes / 16) > end.seq || slot.first_seq > page.first_seq
    });
    id == end.segment_id
        && inside
        && (base..=base + before).contains(&page.end.seq)
        && page.first_seq <= page.end.seq
        && slot.is_some()
        && !outdone
        && !page.fresh_due
        && !page.in_doubt
        && matches!(seen_at(files, end), Some(Seen::Vacant))
}

/// What a page says of its end is evidence, as far as its segment can hold it.
fn committed_at_least(files: &Files, page: &Page) -> u64 {
    let mut names: Vec<_> = files.keys().map(|name| base_and_id(name)).collect();
    names.sort_by_key(|name| name.1);
    let mut share_end = (1 << 56) - 1;
    for (base, id) in names.into_iter().rev() {
        if base < share_end {
            if id <= page.end.segment_id {
                return page.end.seq.min(share_end).min(base + (16 << 30) / 16);
            }
            share_end = base;
        }
    }
    0
}

/// True if a few more numbers, segment ids, epochs or slots may be more than there are.
fn is_used_up(files: &Files, page: &Page, next_seq: u64) -> bool {
    let near = |number: u64| number >= u64::MAX - 64;
    let in_file = |bytes: &[u8]| {
        let at = |at: usize| bytes.len() >= at + 8 && near(u64_at(bytes, at));
        [0, BLOCK_BYTES]
            .into_iter()
            .any(|block| at(block + 48) || at(block + SECTOR_BYTES) || at(block + SECTOR_BYTES + 8))
    };
    next_seq >= (1 << 56) - 64
        || near(page.epoch)
        || files.keys().any(|name| near(base_and_id(name).1))
        || files.values().any(|bytes| in_file(bytes))
}

/// True if the first record lies inside a segment whose frames are out of order: to it even the walk is a way of its own.
fn begins_amid(files: &Files, first_seq: u64, odd: Oddities) -> bool {
    odd.out_of_order && files.keys().all(|name| base_and_id(name).0 != first_seq)
}

/// True if the frames of its segment lead to `end`, and nothing is committed there, as far as the second reader can tell.
fn ends_at(files: &Files, end: End, odd: Oddities) -> bool {
    let has_base = files
        .keys()
        .map(|name| base_and_id(name))
        .any(|(base, id)| id == end.segment_id && base <= end.seq);
    has_base
        && !odd.any()
        && leads_to(files, end)
        && matches!(seen_at(files, end), None | Some(Seen::Vacant))
}

fn ask_for_single_records(reader: &Reader, ways: &Ways, gets: &[u8]) {
    let all = ways.all;
    for part in gets {
        let seq = all.first_seq + (all.next_seq - all.first_seq) / 255 * u64::from(*part);
        ways.check_get(reader, seq);
    }
    for part in gets.iter().filter_map(|part| all.records.get(usize::from(*part))) {
        ways.check_get(reader, part.0);
    }
    let past = reader.get(all.next_seq);
    assert!(matches!(past, Ok(None)), "past the end: {past:?}");
    if all.first_seq > 0 {
        let trimmed = reader.get(all.first_seq - 1).unwrap_err();
        assert_eq!((trimmed.kind(), trimmed.seq()), (ErrorKind::Trimmed, Some(all.first_seq)));
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

/// A log that was opened, and appended to no more than that.
struct Opened {
    folder: Folder,
    log: Log,
    files: Files,
    page: Page,
    odd: Oddities,
    found: Everything,
}

impl Opened {
    fn of(folder: Folder, log: Log) -> Self {
        let files = segments(folder.path());
        let page = Page::in_folder(folder.path());
        let (odd, found) = (oddities(&files), everything(&log.reader()));
        Opened { folder, log, files, page, odd, found }
    }

    /// The log holds what its files say below the end that was found.
    fn check(&self) {
        let Opened { folder, log, files, page, odd, found } = self;
        check_sound(found, files, *odd);
        assert_eq!(found.next_seq, page.end.seq);
        let ways = Ways::new(found, files, *odd);
        ways.check(|| read(folder.path()).unwrap());
        ways.check_tail(&log.reader(), ends_at(files, page.end, *odd));
        if !odd.any() && !begins_amid(files, found.first_seq, *odd) {
            let (records, lost) = reader::read_below(files, page.first_seq, page.end);
            found.assert_reads(page.first_seq..page.end.seq, &records, &lost);
        }
    }

    /// Appends, and reads back what was there and what came.
    fn go_on(self, lengths: &[u8]) {
        let used_up = is_used_up(&self.files, &self.page, self.found.next_seq);
        let appended = append_twenty(&self.log, lengths, used_up);
        if appended.is_empty() {
            return;
        }
        assert_eq!(appended[0].0, self.found.next_seq, "the number behind the log's end");
        let kept = Kept::new(&self, &appended);
        let Opened { folder, log, .. } = self;
        let synced = log.sync();
        kept.check(&everything(&log.reader()), "through the log");
        kept.check(&everything(&read(folder.path()).unwrap()), "beside the log");
        // The last slots that a segment can have may be written before this log is closed.
        let done = synced.map(|durable| assert_eq!(durable, kept.next_seq)).and(log.close());
        if let Err(error) = done {
            assert!(used_up && error.kind() == ErrorKind::OutOfRange, "{error}");
            return;
        }

        // As after a power cut, then as it was closed.
        let files = segments(folder.path());
        let copy = Folder::of(&files);
        let copied = everything(&read(copy.path()).unwrap());
        kept.check(&copied, "a copy");
        let odd = oddities(&files);
        let ways = Ways::new(&copied, &files, odd);
        ways.check(|| read(copy.path()).unwrap());
        ways.check_tail(&read(copy.path()).unwrap(), true);
        if !odd.any() && !begins_amid(&files, copied.first_seq, odd) {
            copied.assert_is(&reader::read(&files));
        }
        let log = open(folder.path()).unwrap();
        assert!(log.recovery().clean, "closed, and not clean: {:?}", log.recovery());
        kept.check(&everything(&log.reader()), "opened again");
    }
}

/// What must be read after appending.
struct Kept<'a> {
    found: Everything,
    next_seq: u64,
    appended: &'a [(u64, Vec<u8>)],
    /// All that was there before it went on.
    before: bool,
    /// What was appended.
    after: bool,
    /// It went on in a segment of its own.
    elsewhere: bool,
}

impl<'a> Kept<'a> {
    fn new(opened: &Opened, appended: &'a [(u64, Vec<u8>)]) -> Self {
        let Opened { folder, files, page, odd, found, .. } = opened;
        let goes_on =
            |name: &String| !files.contains_key(name) && base_and_id(name).0 == page.end.seq;
        let elsewhere = segments(folder.path()).keys().any(goes_on);
        // Who can forge a checksum can have a frame begin before the log's end and reach over it. It is not
        // whole while the log ends there; when the next segment's name has ended this one, it is, and may hide
        // what lies in it.
        let uncovers = || match odd.any() {
            true => straddles(files, page.end),
            false => {
                let (records, _) = read_cut(files, page.first_seq, page.end);
                !found.records.iter().all(|record| records.binary_search(record).is_ok())
            }
        };
        // And can say that a log was closed, or ends, at a number that the frames before it do not lead to.
        // Then nobody who comes through them finds what is appended there.
        let in_order = || leads_to(files, page.end) && !odd.costly_search;
        let next_seq = found.next_seq + appended.len() as u64;
        let before = if elsewhere { !uncovers() } else { in_order() };
        Kept {
            found: found.clone(),
            next_seq,
            appended,
            before,
            after: elsewhere || before,
            elsewhere,
        }
    }

    /// What was read is still there, and what was appended. More may be: a frame that was not whole before.
    fn check(&self, now: &Everything, what: &str) {
        let range = self.found.first_seq..self.next_seq;
        assert_eq!(now.first_seq..now.next_seq, range, "{what}: the log's numbers");
        // A frame that must not be passed over hides what comes behind it in its segment.
        let whole = now.refused.is_empty();
        let has = |record| now.records.binary_search(record).is_ok();
        let appended = || self.appended.iter().all(has);
        assert!(
            !self.after || !whole && !self.elsewhere || appended(),
            "{what}: an appended record is gone"
        );
        if !self.before || !whole {
            return;
        }
        now.check_complete();
        assert!(self.found.records.iter().all(has), "{what}: a record of before is gone");
        let known = |lost: &Range<u64>| {
            let before = &self.found.lost;
            before.iter().any(|all| all.start <= lost.start && lost.end <= all.end)
        };
        let before = &self.found.lost;
        assert!(now.lost.iter().all(known), "{what}: lost {:?}, before {before:?}", now.lost);
    }
}

/// Twenty records, singly, in a batch, in place. Fewer if the log has come to an end of its
/// numbers, epochs or segment ids.
fn append_twenty(log: &Log, lengths: &[u8], used_up: bool) -> Vec<(u64, Vec<u8>)> {
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
                assert!(used_up, "{error}");
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
