//! The crate held against the second reader: on the golden logs, on logs harmed at random, on forged ones.

use std::fs;
use std::path::Path;

use super::format::{
    END, FIRST, Frame, HEADER_BYTES, Header, LAST, MARK, MIDDLE, SECTOR_BYTES, SINGLE, SLOT_BYTES,
    Slot, file_name, put, u64_at,
};
use super::reader::{Reading, lose, read};
use super::script::{Files, run};
use super::{all, closed, reader, recovered, synced_once, two_segments};
use crate::support;

/// What the crate reads, without a page.
fn read_by_crate(files: &Files) -> Reading {
    let dir = support::tempdir();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let reader = support::read(dir.path()).unwrap();
    let all = support::everything(&reader);
    let mut lost = Vec::new();
    all.lost.into_iter().for_each(|range| lose(&mut lost, range));
    let log = support::open(dir.path()).unwrap();
    assert_eq!((log.first_seq(), log.next_seq()), (reader.first_seq(), reader.next_seq()));
    Reading {
        end: end_in_page(dir.path()),
        first_seq: reader.first_seq(),
        next_seq: reader.next_seq(),
        durable_seq: reader.durable_seq(),
        clean: log.recovery().clean,
        lost_at_opening: log.recovery().lost.clone(),
        records: all.records,
        lost,
    }
}

/// The end that the page of an open log says.
fn end_in_page(log: &Path) -> reader::End {
    let page = fs::read(log.join("shared")).unwrap();
    let copy = 392 + (page[384] as usize & 1) * 24;
    let [segment_id, offset, seq] = [0, 8, 16].map(|at| u64_at(&page, copy + at));
    reader::End { segment_id, offset, seq }
}

#[test]
fn the_second_reader_reads_the_golden_logs_alike() {
    for golden in all().into_iter().filter(|golden| golden.name != "version-2") {
        let files = super::files(&golden.path());
        assert_eq!(read_by_crate(&files), read(&files), "{}", golden.name);
    }
}

/// One thing that happens to files: bits, sectors, slots, ends of files, whole files.
fn harm(files: &mut Files, random: &mut fastrand::Rng) -> String {
    let name = random.choice(files.keys()).unwrap().clone();
    let last_segment = files.len() == 1;
    let bytes = files.get_mut(&name).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    let at = match random.u8(..4) {
        0 => random.usize(..HEADER_BYTES),
        1 => SECTOR_BYTES + random.usize(..2) * 4096 + random.usize(..SLOT_BYTES),
        _ => random.usize(HEADER_BYTES.min(used)..=used),
    };
    let at = at.min(bytes.len().saturating_sub(1));
    match random.u8(..8) {
        _ if bytes.is_empty() => "nothing".into(),
        0 => {
            bytes.truncate(at);
            format!("{name} ends at {at}")
        }
        1 if !last_segment => {
            files.remove(&name);
            format!("{name} is gone")
        }
        2 | 3 => {
            let sector = at / SECTOR_BYTES * SECTOR_BYTES;
            let end = (sector + SECTOR_BYTES).min(bytes.len());
            bytes[sector..end].fill(0);
            format!("{name} has zeros at {sector}")
        }
        _ => {
            bytes[at] ^= 1 << random.u8(..8);
            format!("{name} has a rotten byte at {at}")
        }
    }
}

/// A log of one segment, base 0, with this slot and these frames.
fn forged(slot: Slot, frames: &[(u32, u64, &[u8])]) -> Files {
    let header = Header {
        reason: 1,
        log_id: [5; 16],
        epoch: 1,
        segment_id: 1,
        base_seq: 0,
        salt: 99,
        created_nanos: 0,
        segment_bytes: 16_384,
    };
    let mut bytes = vec![0; 16_384];
    put(&mut bytes, 0, &header.encode());
    put(&mut bytes, Slot::offset(slot.counter), &slot.encode(header.salt));
    let (mut offset, mut first_crc) = (HEADER_BYTES, 0);
    for (kind, seq, payload) in frames {
        let frame = Frame { offset, kind: *kind, seq: *seq, payload: payload.to_vec() };
        let (encoded, crc) = frame.encode(header.salt, first_crc);
        put(&mut bytes, offset, &encoded);
        offset = frame.next();
        first_crc = if *kind == FIRST { crc } else { first_crc };
    }
    Files::from([(file_name(0, 1), bytes)])
}

/// What no accident makes: valid checksums over claims that are not true.
#[test]
fn the_second_reader_reads_forged_logs_alike() {
    let claims = |durable_offset, durable_seq, closed| {
        let first_seq = 0;
        Slot { counter: 1, epoch: 1, durable_offset, durable_seq, first_seq, closed }
    };
    let open = claims(8192, 0, false);
    let mark = |durable: u64| [[0; 8], durable.to_le_bytes()].concat();
    let (far, near) = (mark((1 << 56) - 1), mark(1));
    let three = [(SINGLE, 0, &b"a"[..]), (SINGLE, 1, b"b"), (SINGLE, 2, b"c")];
    // The log, the number that the next record gets in it, and how many records can be read.
    let cases = [
        (
            "a slot claims more than the file holds",
            forged(claims(8192, 1 << 40, false), &three),
            1024,
            3,
        ),
        ("a slot's offset is in no frame", forged(claims(8200, 2, false), &three), 3, 3),
        ("a slot's number is not that of its offset", forged(claims(8192, 2, false), &three), 3, 3),
        ("closed before the end", forged(claims(8192, 0, true), &three), 3, 3),
        ("a mark claims all numbers", forged(open, &[three[0], (MARK, 1, &far)]), 1, 1),
        ("a mark claims its own", forged(open, &[three[0], (MARK, 1, &near)]), 1, 1),
        ("a batch skips a number", forged(open, &[(FIRST, 0, b"a"), (LAST, 2, b"b")]), 0, 0),
        ("a batch repeats one", forged(open, &[(FIRST, 0, b"a"), (LAST, 0, b"b")]), 0, 0),
        (
            "a batch has a mark inside",
            forged(open, &[(FIRST, 0, b"a"), (MARK, 1, &near), (LAST, 1, b"b")]),
            1,
            0,
        ),
        ("a batch without its first", forged(open, &[(MIDDLE, 0, b"a"), (LAST, 1, b"b")]), 0, 0),
        ("a batch of a first alone", forged(open, &[(FIRST, 0, b"a"), (SINGLE, 1, b"b")]), 0, 0),
        ("a number comes twice", forged(open, &[three[0], three[0], three[1]]), 1, 1),
        ("frames behind an end", forged(open, &[three[0], (END, 1, b""), (SINGLE, 1, b"b")]), 1, 1),
        (
            "an end has a payload",
            forged(open, &[three[0], (END, 1, b"x"), (SINGLE, 1, b"b")]),
            1,
            1,
        ),
    ];
    for (what, files, next_seq, records) in cases {
        let found = read_by_crate(&files);
        assert_eq!(found, read(&files), "{what}");
        assert_eq!((found.next_seq, found.records.len()), (next_seq, records), "{what}");
    }
}

#[test]
fn the_second_reader_reads_harmed_logs_alike() {
    let mut random = fastrand::Rng::with_seed(2);
    let logs: Vec<Files> = [closed(), recovered(), two_segments(), synced_once()]
        .iter()
        .map(|steps| run(3, steps))
        .collect();
    let (mut unclean, mut lossy) = (0, 0);
    let cases = 400;
    for case in 0..cases {
        let mut files = logs[case % logs.len()].clone();
        let harms: Vec<_> = (0..random.u8(1..4)).map(|_| harm(&mut files, &mut random)).collect();
        let found = read_by_crate(&files);
        unclean += usize::from(!found.clean);
        lossy += usize::from(!found.lost.is_empty());
        assert_eq!(found, read(&files), "case {case}: {harms:?}");
    }
    assert!(unclean > cases / 4 && lossy > cases / 4, "{unclean} unclean, {lossy} with losses");
}
