//! What fuzzing found: each the smallest log that showed it.

use std::fs;

use maplog::ErrorKind;

use crate::golden::format::{
    Frame, HEADER_BYTES, Header, SINGLE, Slot, file_name, put,
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
