//! Attack 33: logs of very many segments.

use std::fs;
use std::io::BufRead;
use std::path::Path;
use std::time::{Duration, Instant};

use maplog::{ErrorKind, Reader, Result};

use crate::golden::format::{END, Frame, HEADER_BYTES, Header, SINGLE, Slot, file_name, put};
use crate::support::{child, read, tempdir};

const SALT: u64 = 33;
const LOG_ID: [u8; 16] = [3; 16];

fn payload(seq: u64) -> Vec<u8> {
    seq.to_le_bytes().to_vec()
}

/// A segment of one record, whole but for the header's second copy, which would be one more block.
fn segment(seq: u64, is_last: bool) -> Vec<u8> {
    let header = Header {
        reason: 1,
        log_id: LOG_ID,
        epoch: 1,
        segment_id: seq + 1,
        base_seq: seq,
        salt: SALT,
        created_nanos: 0,
        segment_bytes: 16 * 1024,
    };
    let mut bytes = vec![0; HEADER_BYTES];
    put(&mut bytes, 0, &header.encode());
    let add = |bytes: &mut Vec<u8>, kind, seq, payload| {
        let frame = Frame { offset: bytes.len(), kind, seq, payload };
        bytes.extend(frame.encode(SALT, 0).0);
    };
    add(&mut bytes, SINGLE, seq, payload(seq));
    let end = bytes.len() as u64;
    if !is_last {
        add(&mut bytes, END, seq + 1, Vec::new());
    }
    let slot = Slot {
        counter: 0,
        epoch: 1,
        durable_offset: end,
        durable_seq: seq + 1,
        first_seq: 0,
        closed: is_last,
    };
    put(&mut bytes, Slot::offset(0), &slot.encode(SALT));
    bytes
}

/// A closed log of `count` segments with one record each. Those between the first and the last are
/// empty files if they are not `whole`: nobody may open them.
fn write(path: &Path, count: u64, whole: bool) {
    for seq in 0..count {
        let is_last = seq + 1 == count;
        let bytes = match whole || is_last || seq == 0 {
            true => segment(seq, is_last),
            false => Vec::new(),
        };
        fs::write(path.join(file_name(seq, seq + 1)), bytes).unwrap();
    }
}

/// Mappings of segments in this process.
fn mappings(log: &Path) -> usize {
    let maps = fs::read("/proc/self/maps").unwrap();
    let log = log.to_str().unwrap();
    maps.lines().filter(|line| line.as_ref().unwrap().contains(log)).count()
}

/// Opens a log of so many segments; gives how long that took, and the listing of its directory alone.
fn opening(count: u64) -> (Duration, Duration) {
    let dir = tempdir();
    write(dir.path(), count, false);
    let start = Instant::now();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count() as u64, count);
    let listing = start.elapsed();
    let start = Instant::now();
    let reader = read(dir.path()).unwrap();
    let took = start.elapsed();
    assert_eq!((reader.len(), mappings(dir.path())), (count, 0));
    let last = reader.get(count - 1).unwrap().unwrap();
    assert_eq!((last.data(), mappings(dir.path())), (payload(count - 1).as_slice(), 1));
    (took, listing)
}

/// Those between are empty files, so that opening one would be an error.
#[test]
fn attack_33_opening_looks_at_the_names_and_not_into_the_segments_between() {
    for count in [10, 1000, 5000] {
        let (took, listing) = opening(count);
        println!("{count} segments: {took:.1?}; the listing alone {listing:.1?}");
    }
}

#[test]
#[ignore = "makes 100,000 files"]
fn attack_33_opening_100_000_segments_costs_what_listing_them_does() {
    for count in [10, 1000, 100_000] {
        let (took, listing) = opening(count);
        println!("{count} segments: {took:.1?}; the listing alone {listing:.1?}");
        assert!(took < 20 * listing + Duration::from_millis(20));
    }
}

/// All records, letting go now and then; gives the most mappings that were seen.
fn iterate_releasing(reader: &mut Reader, backwards: bool) -> usize {
    let (mut low, mut high) = (reader.first_seq(), reader.next_seq());
    let mut most = 0;
    while low < high {
        let mut range = reader.range(low..high);
        for _ in 0..1000 {
            let item = if backwards { range.next_back() } else { range.next() };
            let Some(record) = item.transpose().unwrap() else { break };
            assert_eq!(record.data(), payload(record.seq()));
            match backwards {
                true => high = record.seq(),
                false => low = record.seq() + 1,
            }
        }
        most = most.max(mappings(reader.path()));
        reader.release();
        assert_eq!(mappings(reader.path()), 0);
    }
    most
}

#[test]
fn attack_33_a_reader_that_lets_go_maps_no_more_than_it_went_through() {
    let dir = tempdir();
    write(dir.path(), 3000, true);
    let mut reader = read(dir.path()).unwrap();
    for backwards in [false, true] {
        let most = iterate_releasing(&mut reader, backwards);
        assert!((1000..=1001).contains(&most), "{most}");
    }
    // What was noted stays, within its bounds.
    let stats = reader.stats().unwrap();
    assert!((1..100_000).contains(&stats.index_bytes), "{}", stats.index_bytes);
}

/// In a process of its own, since others here map segments too.
#[test]
#[ignore = "makes 70,000 files; a minute"]
fn attack_33_a_reader_that_never_lets_go_is_told_to_before_the_process_is_harmed() {
    let dir = tempdir();
    write(dir.path(), 70_000, true);
    let log = dir.path().to_str().unwrap();
    let mut child = child("find::many::iterates_many", &[("LOG", log)]);
    let out = std::io::BufReader::new(child.stdout.take().unwrap());
    let lines: Vec<_> = out.lines().map(std::result::Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{lines:?}");
    println!("{}", lines.join("\n"));
}

#[test]
#[ignore = "a child"]
fn iterates_many() -> Result<()> {
    let mut reader = read(std::env::var("LOG").unwrap())?;
    let mut iter = reader.iter();
    let whole = iter.by_ref().take_while(|item| item.is_ok()).count();
    assert_eq!(whole, 32 * 1024);
    let error = iter.next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddressSpace);
    assert!(error.to_string().contains("`Reader::release`"), "{error}");
    // The program goes on, and so does the reader once it has let go.
    let threads: Vec<_> = (0..50).map(|_| std::thread::spawn(|| vec![1u8; 1 << 20])).collect();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap().len() == 1 << 20));
    reader.release();
    let start = Instant::now();
    assert!(iterate_releasing(&mut reader, false) <= 1001);
    println!(
        "70,000 segments in {:.1?}, index of {} bytes",
        start.elapsed(),
        reader.stats()?.index_bytes
    );
    let start = Instant::now();
    assert!(iterate_releasing(&mut reader, true) <= 1001);
    println!("70,000 segments backwards in {:.1?}", start.elapsed());
    Ok(())
}
