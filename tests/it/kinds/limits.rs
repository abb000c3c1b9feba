//! What may be asked of a log and what is too much.

use maplog::{Error, ErrorKind, Log, Result};

use super::contents;
use crate::support::{SMALL, everything, image, open, read, tempdir};

#[test]
fn options_that_make_no_sense_are_refused_before_anything_is_made() {
    let dir = tempdir();
    let path = dir.path().join("log");
    let options = [
        Log::options().segment_bytes(0),
        Log::options().segment_bytes(SMALL - 1),
        Log::options().segment_bytes(u64::MAX),
        Log::options().first_seq(1 << 56),
        Log::options().first_seq(u64::MAX),
        Log::options().mode(0),
        Log::options().mode(0o7777),
    ];
    for options in options {
        // SAFETY: nothing changes the files.
        let error = unsafe { options.open(&path) }.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
        assert!(!path.exists());
    }
}

#[test]
fn what_can_never_fit_is_refused_before_anything_is_written() -> Result<()> {
    let dir = tempdir();
    let log = open(dir.path())?;
    log.append(b"first")?;
    let max = log.max_record() as usize;
    let before = contents(dir.path());
    let refused = |error: Error, limit: usize| {
        assert_eq!((error.kind(), error.path()), (ErrorKind::TooLarge, Some(dir.path())));
        assert!(error.to_string().contains(&limit.to_string()), "{error}");
        assert_eq!(log.next_seq(), 1);
        assert!(contents(dir.path()) == before, "a byte was written: {error}");
    };
    refused(log.append(vec![1; max + 1]).unwrap_err(), max);
    refused(log.append_batch(&[vec![1; max + 1], vec![]]).unwrap_err(), max);
    refused(log.writer()?.reserve(max + 1).map(drop).unwrap_err(), max);
    // Two frames that are a multiple of 16 each and share the room of the longest record.
    let room = max + 16;
    refused(log.append_batch(&[vec![1; max - 16], vec![1; 16]]).unwrap_err(), room);
    refused(log.append_batch(&vec![b""; room / 16 + 1]).unwrap_err(), room);

    let fits = [vec![vec![2; max]], vec![vec![3; max - 32], vec![4; 16]], vec![vec![]; room / 16]];
    for batch in &fits {
        let seqs = log.append_batch(batch)?;
        for (seq, record) in seqs.zip(batch) {
            assert_eq!(log.reader().get(seq)?.unwrap().data(), record);
        }
    }
    let mut writer = log.writer()?;
    let mut slot = writer.reserve(max)?;
    slot.fill(5);
    let seq = slot.commit()?;
    drop(writer);
    log.close()?;
    assert_eq!(read(dir.path())?.get(seq)?.unwrap().data(), vec![5; max]);
    Ok(())
}

#[test]
fn a_log_that_used_all_its_sequence_numbers_says_so_and_can_be_read() -> Result<()> {
    let dir = tempdir();
    // A mark behind the last record carries the next number, in 56 bits.
    let last = (1 << 56) - 1;
    // SAFETY: nothing changes the files.
    let log = unsafe { Log::options().segment_bytes(SMALL).first_seq(last - 3).open(dir.path())? };
    let mut appended = 0;
    let error = loop {
        match log.append([7; 40]) {
            Ok(seq) => assert_eq!(seq, last - 3 + appended),
            Err(error) => break error,
        }
        appended += 1;
        assert!(appended < 10);
    };
    assert_eq!(error.kind(), ErrorKind::OutOfRange, "{error}");
    assert_eq!((appended, log.next_seq()), (3, last));
    assert_eq!(log.append_batch(&[b"", b""]).unwrap_err().kind(), ErrorKind::OutOfRange);
    assert_eq!(log.sync()?, log.next_seq());
    assert_eq!(everything(&log.reader()).records.len() as u64, appended);
    log.close()?;
    for path in [dir.path(), image(dir.path()).path()] {
        let all = everything(&read(path)?);
        assert_eq!((all.records.len() as u64, all.lost.len()), (appended, 0));
    }
    let log = open(image(dir.path()).path())?;
    assert_eq!((log.recovery().clean, log.next_seq()), (true, last - 3 + appended));
    assert_eq!(log.append(b"").unwrap_err().kind(), ErrorKind::OutOfRange);
    Ok(())
}
