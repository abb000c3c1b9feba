//! Ships the durable records of a log into another log, each exactly once, whatever is restarted in between.
//!
//! ```text
//! cargo run --example log_shipper
//! ```
//!
//! Each record of the target holds one of the source with the position behind it, so neither is ever there
//! without the other: a shipper that starts anew reads the target's last record, and goes on from there.
//! Beside it runs an eager one that does not wait until records are durable. When a power cut takes some
//! that it has shipped, it is told `Rewound`, and passes that on.
#![allow(clippy::print_stdout, unsafe_code)]

use std::error::Error;
use std::fs;
use std::path::Path;

use maplog::{ErrorKind, Log, Position, Reader, Result, SyncPolicy, Tail};

/// What a record of the target says, behind the position.
const RECORD: u8 = 0;
/// From here on the source's numbers begin anew.
const REWOUND: u8 = 1;

/// Ships what `which` gives now; gives how many records that were. A service would `recv` for ever.
fn ship(source: &Path, target: &Path, which: fn(Tail) -> Tail) -> Result<u64> {
    // SAFETY: only maplog changes the files of the two logs while they are open.
    let (source, target) = unsafe { (Reader::open(source)?, Log::open(target)?) };
    let mut tail = which(match last_position(&target)? {
        Some(position) => source.tail_at(&position)?,
        None => source.tail_from(source.first_seq()),
    });
    let mut shipped = 0;
    loop {
        match tail.try_recv().map(|record| record.map(|record| record.to_shared())) {
            Ok(Some(record)) => {
                target.append(entry(&tail.position(), RECORD, &record))?;
                shipped += 1;
            }
            Ok(None) => break,
            Err(error) if error.kind() == ErrorKind::Rewound => {
                println!("{error}");
                target.append(entry(&tail.position(), REWOUND, &[]))?;
            }
            Err(error) => return Err(error),
        }
    }
    target.close()?;
    Ok(shipped)
}

fn entry(behind: &Position, kind: u8, payload: &[u8]) -> Vec<u8> {
    [&behind.to_bytes()[..], &[kind], payload].concat()
}

/// The position, the kind and the payload of a record of the target.
fn parse(entry: &[u8]) -> Result<(Position, u8, &[u8])> {
    let (position, rest) = entry.split_at(Position::BYTES);
    Ok((Position::from_bytes(position)?, rest[0], &rest[1..]))
}

fn last_position(target: &Log) -> Result<Option<Position>> {
    let Some(last) = target.next_seq().checked_sub(1) else { return Ok(None) };
    let reader = target.reader();
    reader.get(last)?.map(|entry| Ok(parse(entry.data())?.0)).transpose()
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let [source, careful, eager, disk] =
        ["source", "careful", "eager", "disk"].map(|name| home.path().join(name));
    // SAFETY: as above; files are put in place while the log is closed.
    let open = || unsafe { Log::options().sync(SyncPolicy::Manual).open(&source) };

    let log = open()?;
    append(&log, 1000)?;
    log.sync()?;
    copy(&source, &disk)?;
    append(&log, 500)?;
    assert_eq!(ship(&source, &careful, Tail::durable_only)?, 1000);
    assert_eq!(ship(&source, &careful, Tail::durable_only)?, 0, "a new shipper goes on there");
    assert_eq!(ship(&source, &eager, |tail| tail)?, 1500);

    // A power cut: what is left is what the sync had put on the disk.
    drop(log);
    fs::remove_dir_all(&source)?;
    copy(&disk, &source)?;
    let log = open()?;
    append(&log, 100)?;
    log.close()?;

    assert_eq!(ship(&source, &careful, Tail::durable_only)?, 100);
    assert_eq!(ship(&source, &eager, |tail| tail)?, 100);
    for target in [careful, eager] {
        assert_eq!(shipped(&target)?, everything(&source)?);
    }
    println!("both targets have what the source has");
    Ok(())
}

/// What the target says that the source holds.
fn shipped(target: &Path) -> Result<Vec<Vec<u8>>> {
    let mut records = Vec::new();
    for entry in everything(target)? {
        let (behind, kind, payload) = parse(&entry)?;
        match kind {
            REWOUND => records.truncate(behind.seq as usize),
            _ => records.push(payload.to_vec()),
        }
    }
    Ok(records)
}

fn everything(log: &Path) -> Result<Vec<Vec<u8>>> {
    // SAFETY: as above.
    let reader = unsafe { Reader::open(log)? };
    reader.iter().map(|record| Ok(record?.data().to_vec())).collect()
}

fn append(log: &Log, records: u64) -> Result<()> {
    for _ in 0..records {
        // What a power cut takes is not appended again: the next with this number is another.
        log.append(format!("order {} of epoch {}", log.next_seq(), log.epoch()))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}
