//! Append, sync, read back.
#![allow(clippy::print_stdout, unsafe_code)]

use maplog::Log;

fn main() -> maplog::Result<()> {
    let dir = std::env::temp_dir().join(format!("maplog-quickstart-{}", std::process::id()));
    // SAFETY: nothing else touches this new directory.
    let log = unsafe { Log::open(&dir)? };
    let seq = log.append(b"hello")?;
    log.append_batch(&["all", "or", "nothing"])?;
    let mut writer = log.writer()?;
    let mut slot = writer.reserve(8)?;
    slot.copy_from_slice(b"in place");
    slot.commit()?;
    drop(writer);
    let durable = log.sync()?;

    let reader = log.reader();
    for record in &reader {
        let record = record?;
        println!("{} {}", record.seq(), String::from_utf8_lossy(record.data()));
    }
    assert_eq!(reader.get(seq)?.map(|record| record.data()), Some(&b"hello"[..]));
    assert_eq!(durable, reader.next_seq());
    log.close()?;
    std::fs::remove_dir_all(&dir).expect("the example's own directory");
    Ok(())
}
