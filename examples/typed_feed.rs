//! A feed of fixed structs: written in place, read in place, never copied and never parsed.
//!
//! ```text
//! cargo run --release --example typed_feed
//! ```
//!
//! Records lie at multiples of 16 in memory, so the bytes of one are a `&Tick` as they stand; zerocopy checks size and
//! alignment, and that any bytes make a `Tick`. The feed keeps its last megabytes and no more than a
//! day; a reader that comes later begins at the first tick that is left.
#![allow(clippy::print_stdout, unsafe_code)]

use std::error::Error;
use std::time::{Duration, Instant};

use maplog::{Log, Reader, Retention};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One trade, in this machine's byte order.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C, align(16))]
struct Tick {
    instrument: [u8; 8],
    number: u64,
    /// In ten-thousandths.
    price: i64,
    amount: u64,
}

impl Tick {
    fn example(number: u64) -> Self {
        let price = 1_000_000 + (number * 7 % 1000) as i64;
        Tick { instrument: *b"MAPL/EUR", number, price, amount: 1 + number % 10 }
    }
}

const TICKS: u64 = 200_000;
const SEGMENT_BYTES: u64 = 1 << 20;
const KEPT_BYTES: u64 = 4 << 20;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn main() -> Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let retention = Retention::default().max_bytes(KEPT_BYTES).max_age(DAY);
    let options = Log::options().segment_bytes(SEGMENT_BYTES).retention(retention);
    // SAFETY: only maplog changes the files of this new log.
    let log = unsafe { options.open(home.path())? };
    let begun = Instant::now();
    let mut writer = log.writer()?;
    for number in 0..TICKS / 2 {
        // From a value, or filled where it will lie.
        writer.append(Tick::example(2 * number).as_bytes())?;
        let mut slot = writer.reserve(size_of::<Tick>())?;
        *Tick::mut_from_bytes(&mut slot).map_err(|_| "a slot of another size")? =
            Tick::example(2 * number + 1);
        slot.commit()?;
    }
    drop(writer);
    report("wrote", TICKS, begun);
    // Many in one record, for who reads them together.
    log.append([3, 5, 8].map(Tick::example).as_bytes())?;
    // And something else, which is no tick.
    log.append("the end of the day")?;

    // SAFETY: as above. It may be any process.
    let reader = unsafe { Reader::open(home.path())? };
    let stats = reader.stats()?;
    assert!(stats.first_seq > 0 && stats.bytes <= KEPT_BYTES + SEGMENT_BYTES);
    println!("{} bytes are kept, from tick {} on", stats.bytes, stats.first_seq);
    let mut feed = reader.tail_from(stats.first_seq);
    let begun = Instant::now();
    let (mut paid, mut amount) = (0, 0);
    for number in stats.first_seq..TICKS {
        let record = feed.recv()?;
        let tick = Tick::ref_from_bytes(record.data()).map_err(|_| "not a tick")?;
        assert!(std::ptr::addr_eq(tick, record.data().as_ptr()), "no copy was made");
        assert_eq!(*tick, Tick::example(number));
        paid += i128::from(tick.price) * i128::from(tick.amount);
        amount += i128::from(tick.amount);
    }
    report("read and checked", TICKS - stats.first_seq, begun);
    println!("mean price {:.4}", paid as f64 / amount as f64 / 1e4);

    let many = <[Tick]>::ref_from_bytes(feed.recv()?.data()).map_err(|_| "not ticks")?.to_vec();
    assert_eq!(many, [3, 5, 8].map(Tick::example));
    assert!(Tick::ref_from_bytes(feed.recv()?.data()).is_err(), "a checked cast says so");
    Ok(())
}

fn report(did: &str, ticks: u64, begun: Instant) {
    let rate = ticks as f64 / begun.elapsed().as_secs_f64() / 1e6;
    println!("{did} {ticks} ticks, {rate:.1} million a second");
}
