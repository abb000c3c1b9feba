//! Records as JSON objects, one a line, as `--json` writes them.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Feed, Lines};
use crate::Failure;

/// Records as `export --json` writes them; also says how many of them it said were lost.
pub(crate) struct Objects<R> {
    lines: Lines<R>,
    shape: Shape,
}

/// What is known of the lines so far.
#[derive(Default)]
struct Shape {
    last_seq: Option<u64>,
    lost: u64,
}

impl<R: Read> Objects<R> {
    pub(crate) fn new(name: &str, input: R, max_record: u64) -> Self {
        // A byte of text takes six bytes at most, as \u0000, and what stands around it some dozens.
        let max_line = max_record.saturating_mul(6).saturating_add(1 << 12);
        Objects { lines: Lines::new(name, input, max_line), shape: Shape::default() }
    }

    /// How many records the lines say were lost where they come from.
    pub(crate) fn lost(&self) -> u64 {
        self.shape.lost
    }
}

impl<R: Read> Feed for Objects<R> {
    fn wait(&mut self) -> Result<bool, Failure> {
        self.lines.wait()
    }

    fn drain(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
        let shape = &mut self.shape;
        self.lines.drain(|line| match shape.record(line)? {
            Some(record) => take(&record),
            None => Ok(()),
        })
    }
}

impl Shape {
    /// The record of a line; `None` if it tells of lost ones.
    fn record(&mut self, line: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        let object: Value = serde_json::from_slice(line)
            .map_err(|error| unexpected(format_args!("this is no JSON ({error})")))?;
        if let Some(error) = object.get("error") {
            let message = error["message"].as_str().unwrap_or("an error");
            return Err(Failure::input(format!("the export ended with an error: {message}")));
        }
        if let Some(lost) = object.get("lost") {
            let [from, to] = ["from", "to"].map(|end| lost[end].as_u64());
            let count = from.zip(to).and_then(|(from, to)| to.checked_sub(from));
            let count = count.ok_or_else(|| unexpected("\"lost\" has no \"from\" and \"to\""))?;
            self.lost = self.lost.saturating_add(count);
            return Ok(None);
        }
        let seq = object["seq"].as_u64().ok_or_else(|| unexpected("there is no \"seq\""))?;
        if let Some(last) = self.last_seq.replace(seq).filter(|last| *last >= seq) {
            let text = format!("record {seq} comes behind record {last}, expected ascending ones");
            return Err(Failure::input(text));
        }
        let data = [object["data"].as_str(), object["base64"].as_str()];
        match data {
            [Some(text), None] => Ok(Some(text.as_bytes().to_vec())),
            [None, Some(text)] => {
                let bytes = STANDARD.decode(text);
                let bytes = bytes.map_err(|error| unexpected(format_args!("\"base64\": {error}")));
                bytes.map(Some)
            }
            [None, None] => Err(unexpected("there is neither \"data\" nor \"base64\"")),
            [Some(_), Some(_)] => Err(unexpected("there are \"data\" and \"base64\"")),
        }
    }
}

fn unexpected(what: impl std::fmt::Display) -> Failure {
    let expected = "expected {\"seq\":N,\"data\":\"text\"} or {\"seq\":N,\"base64\":\"...\"}";
    Failure::input(format!("{what}; {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_shape_is_named() {
        let cases = [
            ("", "this is no JSON"),
            ("{\"seq\":1,\"data\":\"a", "this is no JSON"),
            ("[1]", "there is no \"seq\""),
            ("{\"data\":\"a\"}", "there is no \"seq\""),
            ("{\"seq\":-1,\"data\":\"a\"}", "there is no \"seq\""),
            ("{\"seq\":1}", "there is neither \"data\" nor \"base64\""),
            ("{\"seq\":1,\"data\":7}", "there is neither \"data\" nor \"base64\""),
            ("{\"seq\":1,\"data\":\"a\",\"base64\":\"/w==\"}", "there are \"data\" and \"base64\""),
            ("{\"seq\":1,\"base64\":\"/\"}", "\"base64\": "),
            ("{\"lost\":{\"from\":3,\"to\":2}}", "\"lost\" has no \"from\" and \"to\""),
        ];
        for (line, expected) in cases {
            let failure = Shape::default().record(line.as_bytes()).unwrap_err().to_string();
            assert!(failure.starts_with(expected), "{line}: {failure}");
            assert!(failure.contains("; expected {\"seq\":N,"), "{failure}");
        }
    }

    #[test]
    fn records_come_in_ascending_order_and_losses_are_counted() {
        let mut shape = Shape::default();
        let mut record = |line: &str| shape.record(line.as_bytes());
        assert_eq!(record("{\"seq\":3,\"data\":\"a\\u0000\"}").unwrap(), Some(b"a\0".to_vec()));
        assert_eq!(record("{\"lost\":{\"from\":4,\"to\":9},\"message\":\"\"}").unwrap(), None);
        assert_eq!(record("{\"seq\":9,\"base64\":\"/w==\"}").unwrap(), Some(b"\xff".to_vec()));
        let failure = record("{\"seq\":9,\"data\":\"b\"}").unwrap_err().to_string();
        assert_eq!(failure, "record 9 comes behind record 9, expected ascending ones");
        let failure = record("{\"error\":{\"kind\":\"Io\",\"message\":\"bad\"}}").unwrap_err();
        assert_eq!(failure.to_string(), "the export ended with an error: bad");
        assert_eq!(shape.lost, 5);
    }
}
