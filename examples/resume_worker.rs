//! A worker that is killed again and again and goes on where it was: every order is billed, and none twice.
//!
//! ```text
//! cargo run --example resume_worker
//! ```
//!
//! A consumer gives every record at least once: what was billed and not acknowledged when the worker died comes again.
//! To bill once all the same, the bills are a log of their own, and each says which order it is for; a worker that
//! starts anew sees there what the last one did not get to acknowledge.
#![allow(clippy::print_stdout, unsafe_code)]

use std::env;
use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode};

use maplog::{Log, Result, SyncPolicy};

const ORDERS: u64 = 2000;
/// How many orders a worker bills before it is killed.
const LIFETIMES: [u64; 5] = [1, 70, 300, 7, 411];

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().collect();
    let done = match &arguments[..] {
        [_, home, lifetime] => work(home.as_ref(), lifetime.parse().unwrap_or(ORDERS)),
        _ => run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// SAFETY, for all of this example: only maplog changes the files of the two logs.
fn open(home: &Path, name: &str) -> Result<Log> {
    // SAFETY: as above.
    unsafe { Log::options().sync(SyncPolicy::Always).open(home.join(name)) }
}

fn work(home: &Path, lifetime: u64) -> std::result::Result<(), Box<dyn Error>> {
    let (orders, bills) = (open(home, "orders")?, open(home, "bills")?);
    let mut consumer = orders.consumer("billing")?;
    // The last bill may be ahead of what was acknowledged; all before it was.
    let billed = last_billed(&bills)?.map_or(0, |order| order + 1);
    let mut lives = 0;
    while let Some(order) = consumer.try_recv()? {
        let seq = order.seq();
        if seq >= billed {
            let bill = [&seq.to_le_bytes()[..], b"bill for ", order.data()].concat();
            bills.append(bill)?;
            lives += 1;
        }
        if lives == lifetime {
            // Billed, and nobody was told: the worst moment to die.
            rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            )?;
        }
        // Now and then is enough: what is not acknowledged comes again.
        if seq.is_multiple_of(64) {
            consumer.ack(seq)?;
        }
    }
    if let Some(last) = consumer.next_seq().checked_sub(1) {
        consumer.ack(last)?;
    }
    Ok(())
}

fn last_billed(bills: &Log) -> Result<Option<u64>> {
    let reader = bills.reader();
    let last = reader.iter().next_back().transpose()?;
    Ok(last.map(|bill| order_of(bill.data())))
}

fn order_of(bill: &[u8]) -> u64 {
    let mut seq = [0; 8];
    seq.copy_from_slice(&bill[..8]);
    u64::from_le_bytes(seq)
}

fn run() -> std::result::Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let orders = open(home.path(), "orders")?;
    let all: Vec<_> = (0..ORDERS).map(|order| format!("order {order}")).collect();
    for some in all.chunks(100) {
        orders.append_batch(some)?;
    }
    let mut kills = 0;
    for lifetime in LIFETIMES.into_iter().chain([u64::MAX]) {
        let before = orders.consumers()?.first().map_or(ORDERS, |billing| billing.lag);
        let worker = Command::new(env::current_exe()?)
            .arg(home.path())
            .arg(lifetime.to_string())
            .status()?;
        kills += u32::from(!worker.success());
        let lag = orders.consumers()?[0].lag;
        println!("a worker ended ({worker}); {before} orders were open, {lag} are");
    }
    assert_eq!((kills, orders.consumers()?[0].lag), (LIFETIMES.len() as u32, 0));
    let bills = open(home.path(), "bills")?.reader();
    let billed: Vec<_> =
        bills.iter().map(|bill| Ok(order_of(bill?.data()))).collect::<Result<_>>()?;
    assert!(billed.iter().copied().eq(0..ORDERS), "each order once, in order");
    println!("{ORDERS} orders, {kills} workers killed, each order billed once");
    Ok(())
}
