//! Records as typed references: fixed structs by zerocopy and by bytemuck, archived ones by rkyv, written into
//! the log's memory and read there, with no copy, whatever lies between them.

use std::fs;
use std::ops::Range;
use std::path::Path;

use bytemuck::{Pod, Zeroable};
use fastrand::Rng;
use maplog::{Log, Reader, Record, SyncPolicy};
use rkyv::rancor;
use rkyv::ser::writer::Buffer;
use rkyv::{Archive, Serialize};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::support::{SMALL, child, read, segments, tempdir};

/// By zerocopy.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C, align(16))]
struct Tick {
    instrument: [u8; 8],
    number: u64,
    price: i64,
    amount: u64,
}

/// By bytemuck.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C, align(16))]
struct Quote {
    number: u128,
    bid: f64,
    ask: f64,
    depths: [u32; 4],
}

/// By rkyv: what it archives asks for an alignment of 16, too.
#[derive(Archive, Debug, Serialize)]
#[rkyv(compare(PartialEq), derive(Debug))]
struct Order {
    number: u128,
    customer: String,
    lines: Vec<Line>,
    note: Option<String>,
}

#[derive(Archive, Debug, Serialize)]
#[rkyv(compare(PartialEq), derive(Debug))]
struct Line {
    article: String,
    amount: u32,
}

fn tick(number: u64) -> Tick {
    Tick { instrument: *b"MAPL/EUR", number, price: -(number as i64), amount: number % 7 }
}

fn quote(number: u64) -> Quote {
    let bid = number as f64 / 4.0;
    Quote { number: number.into(), bid, ask: bid + 0.25, depths: [number as u32; 4] }
}

fn order(number: u64) -> Order {
    let line = |amount| Line { article: "x".repeat(amount as usize * 3), amount };
    Order {
        number: number.into(),
        customer: format!("customer {number}"),
        lines: (0..(number % 9) as u32).map(line).collect(),
        note: number.is_multiple_of(2).then(|| "in a hurry".to_owned()),
    }
}

/// Of odd lengths, so that what follows would not be aligned by itself.
fn odd_bytes(number: u64) -> Vec<u8> {
    vec![number as u8; (number % 61) as usize | 1]
}

/// What a number's record is.
enum Kind {
    Odd,
    Tick,
    Quote,
    Order,
}

fn kind(number: u64) -> Kind {
    match number % 5 {
        0 | 3 => Kind::Odd,
        1 => Kind::Tick,
        2 => Kind::Quote,
        _ => Kind::Order,
    }
}

fn bytes(number: u64) -> Vec<u8> {
    match kind(number) {
        Kind::Odd => odd_bytes(number),
        Kind::Tick => tick(number).as_bytes().to_vec(),
        Kind::Quote => bytemuck::bytes_of(&quote(number)).to_vec(),
        Kind::Order => rkyv::to_bytes::<rancor::Error>(&order(number)).unwrap().to_vec(),
    }
}

/// Made where it will lie: the slot's memory is as aligned as the record's will be.
fn append_in_place(log: &Log, number: u64) -> u64 {
    let mut writer = log.writer().unwrap();
    let (size, kind) = (bytes(number).len(), kind(number));
    let spare = if matches!(kind, Kind::Order) { 333 } else { 0 };
    let mut slot = writer.reserve(size + spare).unwrap();
    match kind {
        Kind::Odd => slot.copy_from_slice(&odd_bytes(number)),
        Kind::Tick => *Tick::mut_from_bytes(&mut slot).unwrap() = tick(number),
        Kind::Quote => *bytemuck::from_bytes_mut(&mut slot) = quote(number),
        Kind::Order => {
            let into = Buffer::from(&mut slot[..]);
            let written =
                rkyv::api::high::to_bytes_in::<_, rancor::Error>(&order(number), into).unwrap();
            let len = written.len();
            assert_eq!(len, size);
            slot.truncate(len);
        }
    }
    slot.commit().unwrap()
}

/// Reads the record as what it is; the reference that was made is the record's own bytes.
fn check(record: Record<'_>) {
    let (number, data) = (record.seq(), record.data());
    assert!(data.as_ptr().addr().is_multiple_of(16), "record {number} at {:?}", data.as_ptr());
    match kind(number) {
        Kind::Odd => assert_eq!(data, odd_bytes(number)),
        Kind::Tick => {
            let typed = Tick::ref_from_bytes(data).unwrap();
            assert_eq!(*typed, tick(number));
            lies_in(typed, data);
        }
        Kind::Quote => {
            let typed: &Quote = bytemuck::try_from_bytes(data).unwrap();
            assert_eq!(*typed, quote(number));
            lies_in(typed, data);
        }
        Kind::Order => {
            let typed = rkyv::access::<ArchivedOrder, rancor::Error>(data).unwrap();
            let wanted = order(number);
            assert!(typed.number == wanted.number && typed.customer == wanted.customer);
            assert!(typed.lines == wanted.lines && typed.note == wanted.note, "{typed:?}");
            lies_in(typed, data);
            for line in typed.lines.iter() {
                lies_in(line, data);
                lies_in(line.article.as_str(), data);
            }
        }
    }
}

/// Short strings are archived in the struct, long ones beside it: within the record both.
fn lies_in<T: ?Sized>(typed: &T, data: &[u8]) {
    let begin = (&raw const *typed).addr();
    let within = data.as_ptr_range();
    assert!(begin >= within.start.addr() && begin + size_of_val(typed) <= within.end.addr());
    assert!(begin.is_multiple_of(align_of_val(typed)));
}

/// Where this process has segment files mapped.
fn mapped_segments() -> Vec<Range<usize>> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let segments = maps.lines().filter(|line| line.contains(".seg"));
    let range = |line: &str| {
        let (begin, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let address = |hex| usize::from_str_radix(hex, 16).unwrap();
        address(begin)..address(end)
    };
    segments.map(range).collect()
}

/// Checks every record that the reader has, whichever way it is come by.
fn check_all(reader: &Reader) {
    assert!(reader.len() > 1000);
    let numbers = reader.first_seq()..reader.next_seq();
    let mut checked = 0;
    let mut check = |record: Record<'_>| (check(record), checked += 1).0;
    reader.iter().for_each(|record| check(record.unwrap()));
    reader.iter().rev().for_each(|record| check(record.unwrap()));
    for number in numbers.clone().step_by(7) {
        check(reader.get(number).unwrap().unwrap());
        reader.range(number..number + 2).for_each(|record| check(record.unwrap()));
    }
    let mut tail = reader.tail_from(numbers.start);
    for _ in numbers.clone() {
        check(tail.try_recv().unwrap().unwrap());
    }
    let mut tail = reader.tail_from(numbers.start);
    while tail.next_seq() < numbers.end {
        let batch = tail.recv_batch(4000).unwrap();
        batch.for_each(&mut check);
    }
    assert!(checked > 4 * reader.len());
    let mapped = mapped_segments();
    for record in reader {
        let data = record.unwrap().data().as_ptr_range();
        let is_there =
            |map: &Range<usize>| map.start <= data.start.addr() && data.end.addr() <= map.end;
        assert!(mapped.iter().any(is_there), "a record lies outside the segments' memory");
    }
}

/// Odd records, batches, slots that are given up or cut short, marks, rolls, a cut, a trim, closing between.
#[test]
fn typed_records_are_read_in_place_whatever_lies_between_them() {
    let dir = tempdir();
    let mut log = open(dir.path());
    let mut rng = Rng::with_seed(7);
    while log.next_seq() < 4000 {
        let number = log.next_seq();
        match rng.u8(..16) {
            0..6 => assert_eq!(append_in_place(&log, number), number),
            6..9 => assert_eq!(log.append(bytes(number)).unwrap(), number),
            9..12 => {
                let end = number + rng.u64(1..8);
                let batch: Vec<_> = (number..end).map(bytes).collect();
                assert_eq!(log.append_batch(&batch).unwrap(), number..end);
            }
            12 => {
                let mut writer = log.writer().unwrap();
                writer.reserve(rng.usize(1..500)).unwrap().fill(0x77);
            }
            // The next append writes a mark first.
            13 | 14 => assert_eq!(log.sync().unwrap(), number),
            _ if rng.u8(..8) > 0 => {}
            _ if rng.bool() => log.truncate_from(number.saturating_sub(3)).unwrap(),
            _ => {
                log.close().unwrap();
                log = open(dir.path());
            }
        }
    }
    log.trim_before(1001).unwrap();
    assert!(segments(dir.path()).len() > 10);
    check_all(&log.reader());
    check_all(&read(dir.path()).unwrap());
    let settings = [("LOG", dir.path().to_str().unwrap())];
    assert!(child("typed::reads_what_another_process_wrote", &settings).wait().unwrap().success());
    let shared = log.reader().get(3966).unwrap().unwrap().to_shared();
    drop(log);
    let tick = Tick::ref_from_bytes(&shared).unwrap();
    assert_eq!(*tick, self::tick(3966), "a share of the mapping is enough");
}

#[test]
#[ignore = "a child"]
fn reads_what_another_process_wrote() {
    check_all(&read(std::env::var("LOG").unwrap()).unwrap());
}

fn open(path: &Path) -> Log {
    // SAFETY: only this test touches the directory, and only through maplog.
    unsafe { Log::options().segment_bytes(SMALL).sync(SyncPolicy::Manual).open(path) }.unwrap()
}

/// One record of many structs, which is a slice of them as it stands.
#[test]
fn a_record_of_many_structs_is_a_slice_of_them() {
    let dir = tempdir();
    let log = open(dir.path());
    log.append("odd").unwrap();
    let ticks: Vec<Tick> = (0..100).map(tick).collect();
    log.append(ticks.as_bytes()).unwrap();
    let quotes: Vec<Quote> = (0..50).map(quote).collect();
    log.append(bytemuck::cast_slice(&quotes)).unwrap();
    let reader = log.reader();
    let data = |number| reader.get(number).unwrap().unwrap().data();
    let typed = <[Tick]>::ref_from_bytes(data(1)).unwrap();
    assert_eq!(typed, ticks);
    lies_in(typed, data(1));
    let typed: &[Quote] = bytemuck::try_cast_slice(data(2)).unwrap();
    assert_eq!(typed, quotes);
    lies_in(typed, data(2));
}

/// The log keeps bytes, and says nothing of types: a checked cast does.
#[test]
fn a_record_that_is_something_else_is_refused_by_each_checked_cast() {
    let dir = tempdir();
    let log = open(dir.path());
    // Of another length; for rkyv, also of a length that fits and bytes that do not.
    for number in [0, 3, 5] {
        log.append(odd_bytes(number)).unwrap();
    }
    let archived = rkyv::to_bytes::<rancor::Error>(&order(4)).unwrap();
    let mut broken = archived.to_vec();
    let end = broken.len();
    broken[end - 48..].fill(0xFF);
    log.append(&broken).unwrap();
    let reader = log.reader();
    for record in &reader {
        let data = record.unwrap().data();
        assert!(Tick::ref_from_bytes(data).is_err());
        assert!(bytemuck::try_from_bytes::<Quote>(data).is_err());
        assert!(rkyv::access::<ArchivedOrder, rancor::Error>(data).is_err());
    }
}
