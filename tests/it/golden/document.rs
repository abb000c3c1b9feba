//! docs/format.md itself: its example, its rulers, its rules for later versions, its limits.

use std::fs;
use std::time::Duration;

use maplog::{ErrorKind, Log, SyncPolicy};
use tempfile::TempDir;

use super::format::{
    BASE_SEQ_AT, COMPATIBLE_AT, CREATED_AT, END, EPOCH_AT, FIRST, Frame, HEADER_BYTES,
    HEADER_CRC_AT, Header, INCOMPATIBLE_AT, LAST, LOG_ID_AT, MARK, REASON_AT, REASON_FIRST,
    SALT_AT, SECTOR_BYTES, SEGMENT_BYTES_AT, SEGMENT_ID_AT, SINGLE, SLOT_BYTES, Slot, VERSION_AT,
    crc32, decode_frames, file_name, put, seal_header, seed, u32_at, u64_at,
};
use crate::support;

const DOCUMENT: &str = include_str!("../../../docs/format.md");

const SALT: u64 = 0x1122_3344_5566_7788;

/// The example's file, from the document: its name and its bytes.
fn example() -> (String, Vec<u8>) {
    let (_, block) = DOCUMENT.split_once("```hex\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let mut lines = block.lines();
    let (name, size) = lines.next().unwrap().split_once(", ").unwrap();
    let size = size.split_once(' ').unwrap().0.parse().unwrap();
    let mut bytes = vec![0; size];
    for line in lines {
        let (at, row) = line.split_once("  ").unwrap();
        let at = usize::from_str_radix(at, 16).unwrap();
        let row: Vec<u8> =
            row.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        assert_eq!(row.len(), 16, "{line}");
        put(&mut bytes, at, &row);
    }
    (name.strip_prefix("file ").unwrap().to_owned(), bytes)
}

fn example_header() -> Header {
    Header {
        reason: REASON_FIRST,
        log_id: std::array::from_fn(|index| index as u8),
        epoch: 1,
        segment_id: 1,
        base_seq: 7,
        salt: SALT,
        created_nanos: 1_767_225_600_000_000_000,
        segment_bytes: 16_384,
    }
}

fn example_slots() -> [Slot; 2] {
    let first = Slot {
        counter: 1,
        epoch: 1,
        durable_offset: 0x2000,
        durable_seq: 7,
        first_seq: 7,
        closed: false,
    };
    let newest =
        Slot { counter: 2, durable_offset: 0x2080, durable_seq: 10, closed: true, ..first };
    [newest, first]
}

fn example_frames() -> Vec<Frame> {
    let frame = |offset, kind, seq, payload: &[u8]| {
        let payload = payload.to_vec();
        Frame { offset, kind, seq, payload }
    };
    let second_later = 1_767_225_601_000_000_000_u64.to_le_bytes();
    vec![
        frame(0x2000, MARK, 7, &[second_later, 7_u64.to_le_bytes()].concat()),
        frame(0x2020, SINGLE, 7, b"hello"),
        frame(0x2040, FIRST, 8, b"a"),
        frame(0x2060, LAST, 9, b"bc"),
    ]
}

/// A log of one segment, with these bytes.
fn log_of(name: &str, bytes: &[u8]) -> TempDir {
    let dir = support::tempdir();
    fs::write(dir.path().join(name), bytes).unwrap();
    dir
}

#[test]
fn the_example_decodes_to_what_its_text_says() {
    let (name, bytes) = example();
    assert_eq!(name, file_name(7, 1));
    assert_eq!(bytes.len(), 16_384);
    for (block, slot) in [0, 4096].into_iter().zip(example_slots()) {
        assert_eq!(Header::decode(&bytes[block..block + SECTOR_BYTES]), Ok(example_header()));
        let at = block + SECTOR_BYTES;
        let found = Slot::decode(&bytes[at..at + SLOT_BYTES], SALT, block as u64 / 4096);
        assert_eq!(found, Some(slot));
    }
    assert_eq!(decode_frames(&bytes, &example_header()), example_frames());
    assert!(bytes[0x2080..].iter().all(|byte| *byte == 0));
}

#[test]
fn the_crate_reads_the_example_as_its_text_says() {
    let (name, bytes) = example();
    let dir = log_of(&name, &bytes);
    let reader = support::read(dir.path()).unwrap();
    assert_eq!((reader.first_seq(), reader.next_seq(), reader.durable_seq()), (7, 10, 10));
    let frames = decode_frames(&bytes, &example_header());
    let records: Vec<_> = frames
        .into_iter()
        .filter(|frame| frame.kind != MARK)
        .map(|frame| (frame.seq, frame.payload))
        .collect();
    let all = support::everything(&reader);
    assert_eq!((all.records, all.lost), (records, vec![]));

    let log = support::open(dir.path()).unwrap();
    assert!(log.recovery().clean);
    assert_eq!((log.id(), log.epoch()), (example_header().log_id, 1));
    assert_eq!(log.append(b"more").unwrap(), 10);
}

#[test]
fn the_numbers_in_the_text_are_those_of_the_example() {
    assert_eq!(crc32(0, b"123456789"), 0xCBF4_3926);
    let (_, bytes) = example();
    let said = |value: u32| DOCUMENT.contains(&format!("{value:#010x}"));
    for offset in [0x2000, 0x2020] {
        let seed = seed(SALT, offset, u32_at(&bytes, offset), u64_at(&bytes, offset + 8));
        assert!(said(seed), "seed at {offset:#x}");
    }
    assert!(said(u32_at(&bytes, 0x2044)), "crc of the batch's first frame");
}

/// The rows of the ruler that follows `heading`: place, size, name.
fn ruler(heading: &str) -> Vec<(usize, usize, &'static str)> {
    let (_, section) = DOCUMENT.split_once(heading).unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with("| at |")).skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            (cells[1].parse().unwrap(), cells[2].parse().unwrap(), cells[3])
        })
        .collect()
}

#[test]
fn every_ruler_of_the_document_adds_up() {
    for (heading, total) in [
        ("\n## Header\n", 512),
        ("\n## Slot\n", 128),
        ("\n## Frame\n", 16),
        ("\nA mark's payload", 16),
        ("\n## `shared`", 4096),
        ("\n## `wake`", 4096),
        ("\n## Positions", 48),
    ] {
        let end = ruler(heading).into_iter().fold(0, |end, (at, bytes, name)| {
            assert_eq!(at, end, "{heading}: {name}");
            at + bytes
        });
        assert_eq!(end, total, "{heading}");
    }
}

#[test]
fn the_header_s_ruler_is_the_one_that_the_tests_use() {
    let places = [
        ("version", VERSION_AT),
        ("reason", REASON_AT),
        ("compatible", COMPATIBLE_AT),
        ("incompatible", INCOMPATIBLE_AT),
        ("log id", LOG_ID_AT),
        ("epoch", EPOCH_AT),
        ("segment id", SEGMENT_ID_AT),
        ("base", BASE_SEQ_AT),
        ("salt", SALT_AT),
        ("created", CREATED_AT),
        ("segment bytes", SEGMENT_BYTES_AT),
        ("header crc", HEADER_CRC_AT),
    ];
    let rows = ruler("\n## Header\n");
    for (field, at) in places {
        let row = rows.iter().find(|(_, _, name)| *name == field);
        assert_eq!(row.map(|row| row.0), Some(at), "{field}");
    }
}

/// The words of `wake` move as the document says, and a position's bytes are as its ruler says.
#[test]
fn the_wake_words_and_a_position_are_as_their_rulers_say() {
    let dir = support::tempdir();
    // SAFETY: nobody changes the files while the log is open.
    let log = unsafe { Log::options().sync(SyncPolicy::Manual).first_seq(5).open(dir.path()) };
    let log = log.unwrap();
    let rows = ruler("\n## `wake`");
    let words = || {
        let wake = fs::read(dir.path().join("wake")).unwrap();
        assert_eq!(wake.len(), 4096);
        let gaps = rows.iter().filter(|(_, _, name)| *name == "gap");
        for (at, bytes, _) in gaps {
            assert!(wake[*at..at + bytes].iter().all(|byte| *byte == 0), "gap at {at}");
        }
        ["records", "durable"].map(|wanted| {
            let (at, _, _) = rows.iter().find(|(_, _, name)| *name == wanted).unwrap();
            u32_at(&wake, *at)
        })
    };
    let [records, durable] = words();
    log.append(b"five").unwrap();
    assert_eq!(words(), [records, durable], "nobody waits");
    log.sync().unwrap();
    assert_eq!(words(), [records, durable + 2]);
    let mut tail = log.reader().tail_from(6).spin(Duration::ZERO);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || {
            let record = tail.recv_timeout(Duration::from_secs(30)).unwrap();
            record.map(|record| record.data().to_vec())
        });
        while words()[0] & 1 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        log.append(b"six").unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), b"six");
    });
    // It may have said once more that it waits before it saw the record.
    assert_eq!(words()[0] & !1, records + 2, "somebody waited");

    let bytes = log.reader().tail_from(5).position().to_bytes();
    let rows = ruler("\n## Positions");
    let field = |wanted: &str| {
        let (at, len, _) = *rows.iter().find(|(_, _, name)| *name == wanted).unwrap();
        &bytes[at..at + len]
    };
    assert_eq!((field("position magic"), field("version")), (&b"mlp\x1a"[..], &[1, 0, 0, 0][..]));
    assert_eq!((field("log id"), u64_at(field("epoch"), 0)), (&log.id()[..], 1));
    assert_eq!((u64_at(field("seq"), 0), u32_at(field("spare"), 0)), (5, 0));
    assert_eq!(u32_at(field("position crc"), 0), crc32fast::hash(&bytes[..44]));
}

/// The coordination page of a log that is open holds what the ruler says, where it says.
#[test]
fn the_page_of_an_open_log_is_as_its_ruler_says() {
    let dir = support::tempdir();
    // SAFETY: nobody changes the files while the log is open.
    let log = unsafe {
        Log::options()
            .sync(SyncPolicy::Manual)
            .segment_bytes(support::SMALL)
            .first_seq(5)
            .open(dir.path())
    };
    let log = log.unwrap();
    log.append(b"five").unwrap();
    log.sync().unwrap();
    log.append(b"six").unwrap();
    let page = fs::read(dir.path().join("shared")).unwrap();
    assert_eq!(page.len(), 4096);
    let rows = ruler("\n## `shared`");
    let field = |wanted: &str| {
        let row = rows.iter().find(|(_, _, name)| *name == wanted);
        let (at, bytes, _) = *row.unwrap_or_else(|| panic!("{wanted}"));
        page[at..at + bytes].chunks(8).map(|word| u64_at(word, 0)).collect::<Vec<_>>()
    };
    assert_eq!(field("magic"), [u64::from_le_bytes(*b"maplog\x1a\x01")]);
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().replace('-', "");
    let words = field("boot id");
    assert_eq!(format!("{:016x}{:016x}", words[0], words[1]), boot_id.trim());
    let inode =
        std::os::unix::fs::MetadataExt::ino(&fs::metadata(dir.path().join("shared")).unwrap());
    assert_eq!(field("inode"), [inode]);
    assert_eq!((field("epoch"), field("first seq")), (vec![1], vec![5]));
    assert_eq!((field("poison"), field("directory")[0] % 2), (vec![0], 0));
    assert_eq!(field("durable"), [1 << 56 | 6]);
    let copy = format!("end, copy {}", field("end turn")[0] % 2);
    let segment = &fs::read(&support::segments(dir.path())[0]).unwrap();
    let header = Header::decode(&segment[..SECTOR_BYTES]).unwrap();
    let end = decode_frames(segment, &header).last().unwrap().next() as u64;
    assert_eq!(field(&copy), [1, end, 7]);
    for (at, bytes, _) in rows.iter().filter(|(_, _, name)| *name == "gap") {
        assert!(page[*at..at + bytes].iter().all(|byte| *byte == 0), "gap at {at}");
    }
    assert_eq!(fs::metadata(dir.path().join("lock")).unwrap().len(), 0);
}

/// The example as a later version might write it: spare bytes in use, a compatible feature, a longer
/// mark, frames of the kinds 8 to 15 between the records.
fn of_a_later_version(frames: impl IntoIterator<Item = (u32, u64, Vec<u8>)>) -> Vec<u8> {
    let (_, mut bytes) = example();
    for block in [0, 4096] {
        let sector = &mut bytes[block..block + SECTOR_BYTES];
        put(sector, COMPATIBLE_AT, &[0xFF; 8]);
        sector[200] = 0xAB;
        seal_header(sector);
    }
    bytes[HEADER_BYTES..].fill(0);
    // Of no slot but the first: the log ends where its frames do.
    bytes[SECTOR_BYTES..SECTOR_BYTES + SLOT_BYTES].fill(0);
    let mut offset = HEADER_BYTES;
    for (kind, seq, payload) in frames {
        let frame = Frame { offset, kind, seq, payload };
        let encoded = frame.encode(SALT, 0).0;
        put(&mut bytes, offset, &encoded);
        offset = frame.next();
    }
    bytes
}

#[test]
fn what_a_later_version_adds_is_passed_over() {
    let mut frames = vec![(MARK, 7, vec![9; 40]), (SINGLE, 7, b"seven".to_vec())];
    frames.extend((8..16).map(|kind| (kind, 8, vec![kind as u8; 3 * kind as usize])));
    frames.extend([(SINGLE, 8, b"eight".to_vec()), (END, 9, vec![])]);
    let dir = log_of(&file_name(7, 1), &of_a_later_version(frames));
    let all = support::everything(&support::read(dir.path()).unwrap());
    assert_eq!(all.records, [(7, b"seven".to_vec()), (8, b"eight".to_vec())]);
    assert_eq!(all.lost, []);
    assert_eq!(support::open(dir.path()).unwrap().next_seq(), 9);
}

#[test]
fn what_a_later_version_forbids_to_pass_over_is_refused() {
    let flagged = 8 | 1 << 60;
    for odd in
        [(7, 8, vec![]), (7, 8, vec![1; 100]), (SINGLE, flagged, vec![]), (9, flagged, vec![])]
    {
        let what = format!("{odd:?}");
        let frames = [(SINGLE, 7, b"seven".to_vec()), odd, (SINGLE, 8, b"eight".to_vec())];
        let dir = log_of(&file_name(7, 1), &of_a_later_version(frames));
        let read = support::read(dir.path()).map(|_| ());
        assert_eq!(read.unwrap_err().kind(), ErrorKind::UnsupportedFeature, "{what}");
        let open = support::open(dir.path()).map(|_| ());
        assert_eq!(open.unwrap_err().kind(), ErrorKind::UnsupportedFeature, "{what}");
    }
}

#[test]
fn records_and_batches_fit_up_to_the_limits_of_the_document() {
    let dir = support::tempdir();
    let log = support::open(dir.path()).unwrap();
    let longest = support::SMALL as usize - 8256;
    assert_eq!(log.max_record(), longest as u64);
    assert_eq!(log.append(vec![1; longest]).unwrap(), 0);
    assert_eq!(log.append(vec![1; longest + 1]).unwrap_err().kind(), ErrorKind::TooLarge);
    // Two frames of half of what a batch may take, headers included.
    let half = (support::SMALL as usize - 8240) / 2 / 16 * 16 - 16;
    let rest = support::SMALL as usize - 8240 - (half + 16) - 16;
    assert_eq!(log.append_batch(&[vec![2; half], vec![2; rest]]).unwrap(), 1..3);
    let over = log.append_batch(&[vec![2; half + 1], vec![2; rest]]);
    assert_eq!(over.unwrap_err().kind(), ErrorKind::TooLarge);
    log.close().unwrap();
    assert_eq!(support::everything(&support::read(dir.path()).unwrap()).records.len(), 3);
}

/// The number of the next record must fit 56 bits too: it stands in marks and in the durable word.
#[test]
fn the_last_number_of_a_log_is_durable_and_read_like_any_other() {
    let highest = (1_u64 << 56) - 2;
    let dir = support::tempdir();
    // SAFETY: nobody changes the files while the log is open.
    let log = unsafe { Log::options().first_seq(highest).segment_bytes(16384).open(dir.path()) };
    let log = log.unwrap();
    assert_eq!(log.append(b"the last").unwrap(), highest);
    assert_eq!(log.append(b"one more").unwrap_err().kind(), ErrorKind::OutOfRange);
    assert_eq!(log.append_batch(&["one", "more"]).unwrap_err().kind(), ErrorKind::OutOfRange);
    assert_eq!(log.sync().unwrap(), highest + 1);
    log.close().unwrap();
    let all = support::everything(&support::read(dir.path()).unwrap());
    assert_eq!((all.records, all.lost), (vec![(highest, b"the last".to_vec())], vec![]));
    let log = support::open(dir.path()).unwrap();
    assert_eq!((log.next_seq(), log.recovery().lost.len()), (highest + 1, 0));
    assert_eq!(log.append(b"one more").unwrap_err().kind(), ErrorKind::OutOfRange);
}

/// A slot names the first number, so a file that is gone is told from one that was trimmed.
#[test]
fn records_of_a_missing_first_segment_are_reported_lost() {
    let dir = support::tempdir();
    let log = support::open(dir.path()).unwrap();
    for _ in 0..10 {
        log.append([1; 2000]).unwrap();
    }
    log.close().unwrap();
    fs::remove_file(&support::segments(dir.path())[0]).unwrap();
    let gone: Vec<_> = std::iter::once(0..4).collect();
    let image = support::image(dir.path());
    for (live, path) in [(true, dir.path()), (false, image.path())] {
        let all = support::everything(&support::read(path).unwrap());
        let seqs: Vec<_> = all.records.iter().map(|(seq, _)| *seq).collect();
        assert_eq!((seqs, &all.lost), ((4..10).collect(), &gone), "live: {live}");
        let log = support::open(path).unwrap();
        assert_eq!((log.first_seq(), log.next_seq()), (0, 10), "live: {live}");
        assert_eq!(log.recovery().lost, gone, "live: {live}");
        assert_eq!(log.append(b"goes on").unwrap(), 10);
    }
}
