//! How records are written out: the flags that say so, and the bytes.

use std::io::{self, Write};

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use maplog::Record;

/// What stands around a record's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Lines,
    Json,
    Raw,
    LengthPrefixed,
}

/// The same flags for every command that writes records out.
#[derive(clap::Args)]
#[group(multiple = false)]
pub(crate) struct FormFlags {
    /// Write one JSON object a line: {"seq":N,"data":"text"}, or {"seq":N,"base64":"..."} where a
    /// record is not UTF-8
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the records' bytes as they are, with nothing between them
    #[arg(long)]
    raw: bool,
    /// Write before each record its length in bytes, as 4 bytes, little-endian, and nothing behind it
    #[arg(long)]
    length_prefixed: bool,
}

impl FormFlags {
    pub(crate) fn form(&self) -> Form {
        match self {
            FormFlags { json: true, .. } => Form::Json,
            FormFlags { raw: true, .. } => Form::Raw,
            FormFlags { length_prefixed: true, .. } => Form::LengthPrefixed,
            _ => Form::Lines,
        }
    }
}

/// What `--help` says of the forms.
macro_rules! form_help {
    () => {
        "\
With --json, between the records:
  {\"lost\":{\"from\":A,\"to\":B},\"message\":\"...\"}  records A to B, without B, are damaged
and last of all, if the command fails:
  {\"error\":{\"kind\":\"...\",\"message\":\"...\"}}    the sentence of standard error, and its kind
Standard error has the sentences in every form. More may be added; what is there keeps its meaning.

"
    };
}
pub(crate) use form_help as FORM_HELP;

/// Bytes of the length before a record.
pub(crate) const PREFIX_BYTES: usize = size_of::<u32>();

impl Form {
    #[inline]
    pub(crate) fn write(self, out: &mut impl Write, record: Record<'_>) -> io::Result<()> {
        let data = record.data();
        match self {
            Form::Lines => {
                out.write_all(data)?;
                out.write_all(b"\n")
            }
            Form::Raw => out.write_all(data),
            Form::LengthPrefixed => {
                let len = u32::try_from(data.len()).map_err(io::Error::other)?;
                out.write_all(&len.to_le_bytes())?;
                out.write_all(data)
            }
            Form::Json => write_object(out, record.seq(), data),
        }
    }
}

fn write_object(out: &mut impl Write, seq: u64, data: &[u8]) -> io::Result<()> {
    out.write_all(b"{\"seq\":")?;
    serde_json::to_writer(&mut *out, &seq)?;
    match str::from_utf8(data) {
        Ok(text) => {
            out.write_all(b",\"data\":")?;
            serde_json::to_writer(&mut *out, text)?;
            out.write_all(b"}\n")
        }
        Err(_) => writeln!(out, ",\"base64\":\"{}\"}}", Base64Display::new(data, &STANDARD)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(data: &[u8]) -> String {
        let mut out = Vec::new();
        write_object(&mut out, 7, data).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_record_is_text_where_it_is_utf_8_and_base64_where_it_is_not() {
        assert_eq!(object(b""), "{\"seq\":7,\"data\":\"\"}\n");
        assert_eq!(object("a\"\n\u{7f}é".as_bytes()), "{\"seq\":7,\"data\":\"a\\\"\\n\u{7f}é\"}\n");
        assert_eq!(object(b"\xff\x00a"), "{\"seq\":7,\"base64\":\"/wBh\"}\n");
        assert_eq!(object(b"\xff"), "{\"seq\":7,\"base64\":\"/w==\"}\n");
    }
}
