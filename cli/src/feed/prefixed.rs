//! Records with their length before them.

use std::io::Read;

use maplog::ErrorKind;

use super::Feed;
use super::window::Window;
use crate::Failure;
use crate::form::PREFIX_BYTES;

/// Records with their lengths in bytes before them, each as 4 bytes, little-endian.
pub(crate) struct Prefixed<R> {
    window: Window<R>,
    name: String,
    max_record: u64,
}

impl<R: Read> Prefixed<R> {
    pub(crate) fn new(name: &str, input: R, max_record: u64) -> Self {
        Prefixed { window: Window::new(input), name: name.to_owned(), max_record }
    }

    fn place(&self) -> String {
        format!("{}, byte {}", self.name, self.window.left_at())
    }

    fn check_len(&self, len: u64) -> Result<(), Failure> {
        if len <= self.max_record {
            return Ok(());
        }
        let text = format!(
            "a record of {len} bytes is announced, the log takes at most {}; check that this is a \
             stream of lengths and records, or give larger segments with --segment-size",
            self.max_record
        );
        Err(Failure::of(ErrorKind::TooLarge, text).at(self.place()))
    }

    /// The input ended inside a record.
    fn cut(&self, announced: Option<u64>) -> Failure {
        let there = self.window.left().len();
        let ends_at = self.window.left_at() + there as u64;
        let what = match announced {
            Some(len) => format!("{} of its {len} bytes are", there - PREFIX_BYTES),
            None => format!("{there} of the {PREFIX_BYTES} bytes of its length are"),
        };
        let text = format!("the input ends at byte {ends_at} inside this record, {what} there");
        Failure::input(text).at(self.place())
    }
}

/// The length announced at the start of `bytes`, if it is there.
fn announced(bytes: &[u8]) -> Option<u64> {
    let prefix = bytes.first_chunk::<PREFIX_BYTES>()?;
    Some(u32::from_le_bytes(*prefix).into())
}

/// The record at the start of `bytes`, if all of it is there.
fn record(bytes: &[u8]) -> Option<&[u8]> {
    let len = announced(bytes)? as usize;
    bytes.get(PREFIX_BYTES..PREFIX_BYTES + len)
}

impl<R: Read> Feed for Prefixed<R> {
    fn wait(&mut self) -> Result<bool, Failure> {
        self.window.let_go();
        loop {
            let len = announced(self.window.left());
            self.check_len(len.unwrap_or(0))?;
            if record(self.window.left()).is_some() {
                return Ok(true);
            }
            if self.window.ended {
                return if self.window.left().is_empty() { Ok(false) } else { Err(self.cut(len)) };
            }
            self.window.read_more().map_err(|error| Failure::io(&self.name, &error))?;
        }
    }

    fn drain(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
        while let Some(record) = record(self.window.left()) {
            let bytes = PREFIX_BYTES + record.len();
            take(record).map_err(|failure| failure.at(self.place()))?;
            self.window.give(bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let len = self.1.min(buffer.len());
            self.0.read(&mut buffer[..len])
        }
    }

    fn all(bytes: &[u8], step: usize) -> (Vec<Vec<u8>>, Option<String>) {
        let mut feed = Prefixed::new("it", Slow(bytes, step), 100_000);
        let mut records = Vec::new();
        loop {
            match feed.wait() {
                Ok(true) => {
                    let keep = |record: &[u8]| {
                        records.push(record.to_vec());
                        Ok(())
                    };
                    feed.drain(keep).unwrap();
                }
                Ok(false) => return (records, None),
                Err(failure) => return (records, Some(failure.to_string())),
            }
        }
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_records_before_and_the_byte() {
        let records = [vec![], b"\n\0".to_vec(), vec![7; 300], vec![]];
        let mut stream = Vec::new();
        let mut bounds = vec![0];
        for record in &records {
            stream.extend((record.len() as u32).to_le_bytes());
            stream.extend(record);
            bounds.push(stream.len());
        }
        for cut in 0..=stream.len() {
            let whole = bounds.partition_point(|bound| *bound <= cut) - 1;
            for step in [1, 3, usize::MAX] {
                let (found, failure) = all(&stream[..cut], step);
                assert_eq!(found, records[..whole], "cut at {cut}");
                let begins = format!("it, byte {}: the input ends at byte {cut} ", bounds[whole]);
                match bounds.contains(&cut) {
                    true => assert_eq!(failure, None, "cut at {cut}"),
                    false => assert!(failure.unwrap().starts_with(&begins), "cut at {cut}"),
                }
            }
        }
    }

    #[test]
    fn a_length_that_no_record_can_have_is_refused_before_memory_is_taken_for_it() {
        let (found, failure) = all(b"\x01\0\0\0aHTTP/1.1 200 OK", 3);
        assert_eq!(found, [b"a"]);
        let failure = failure.unwrap();
        assert!(failure.starts_with("it, byte 5: a record of 1347703880 bytes is"), "{failure}");
    }
}
