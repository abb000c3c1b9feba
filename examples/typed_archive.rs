//! Records with strings and lists in them, archived by rkyv in the log's memory and read there: nothing is parsed.
//!
//! ```text
//! cargo run --release --example typed_archive
//! ```
//!
//! Records lie at multiples of 16 in memory, so an archive in one is aligned as it stands. `access` looks whether
//! the bytes are an archive of that type, and then the record's bytes are the value. What a log's records
//! hold is between those who write and read them: an archive of another version of the type is refused or, if it
//! happens to fit, misunderstood, so a log that is kept for years wants a version number in its records.
#![allow(clippy::print_stdout, unsafe_code)]

use std::error::Error;
use std::time::Instant;

use maplog::{Log, Reader, Writer};
use rkyv::api::high::to_bytes_in;
use rkyv::rancor;
use rkyv::ser::writer::Buffer;
use rkyv::{Archive, Serialize, access};

#[derive(Archive, Serialize)]
struct Order {
    number: u64,
    customer: String,
    lines: Vec<Line>,
    note: Option<String>,
}

#[derive(Archive, Serialize)]
struct Line {
    article: String,
    amount: u32,
    cents: u64,
}

impl Order {
    fn example(number: u64) -> Self {
        let line = |amount: u32| Line {
            article: format!("article {amount}, in a box"),
            amount,
            cents: 100 + 7 * u64::from(amount),
        };
        Order {
            number,
            customer: format!("customer {}", number % 1000),
            lines: (1..=1 + (number % 4) as u32).map(line).collect(),
            note: number.is_multiple_of(10).then(|| "leave it with the neighbours".to_owned()),
        }
    }

    fn cents(&self) -> u64 {
        self.lines.iter().map(|line| u64::from(line.amount) * line.cents).sum()
    }
}

const ORDERS: u64 = 100_000;
/// No order is longer.
const MOST_BYTES: usize = 1000;

/// Archives an order where its record will lie.
fn append(writer: &mut Writer<'_>, order: &Order) -> Result<u64, Box<dyn Error>> {
    let mut slot = writer.reserve(MOST_BYTES)?;
    let archived = to_bytes_in::<_, rancor::Error>(order, Buffer::from(&mut slot[..]))?.len();
    slot.truncate(archived);
    Ok(slot.commit()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    // SAFETY: only maplog changes the files of this new log.
    let log = unsafe { Log::open(home.path())? };
    let begun = Instant::now();
    let mut writer = log.writer()?;
    let mut sold = 0;
    for number in 0..ORDERS {
        let order = Order::example(number);
        assert_eq!(append(&mut writer, &order)?, number);
        sold += order.cents();
    }
    drop(writer);
    report("wrote", begun);

    // SAFETY: as above. It may be any process.
    let reader = unsafe { Reader::open(home.path())? };
    let begun = Instant::now();
    let (mut cents, mut notes) = (0, 0);
    for record in &reader {
        let record = record?;
        let order = access::<ArchivedOrder, rancor::Error>(record.data())?;
        assert_eq!(order.number, record.seq());
        assert!(
            record.data().as_ptr_range().contains(&order.customer.as_ptr()),
            "no copy was made"
        );
        for line in order.lines.iter() {
            cents += u64::from(line.amount.to_native()) * line.cents.to_native();
        }
        notes += u64::from(order.note.is_some());
    }
    report("read and checked", begun);
    assert_eq!((cents, notes), (sold, ORDERS / 10));
    println!("{cents} cents, {notes} notes");

    log.append("no order")?;
    let reader = log.reader();
    let other = reader.get(ORDERS)?.ok_or("it was appended")?;
    assert!(
        access::<ArchivedOrder, rancor::Error>(other.data()).is_err(),
        "a checked access says so"
    );
    Ok(())
}

fn report(did: &str, begun: Instant) {
    let rate = ORDERS as f64 / begun.elapsed().as_secs_f64() / 1e6;
    println!("{did} {ORDERS} orders, {rate:.1} million a second");
}
