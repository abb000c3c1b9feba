//! What came out: a table for people, an object for programs.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::contest::Held;
use super::times::{Times, clock_nanos};
use crate::Failure;
use crate::text::Grouped;

pub(super) struct Report<'a> {
    pub(super) dir: &'a Path,
    pub(super) record_bytes: u64,
    pub(super) seconds: u64,
    pub(super) works: Vec<Held>,
}

/// Parts of the calls, and what they are called.
pub(super) const PARTS: [(&str, f64); 4] =
    [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

impl Report<'_> {
    pub(super) fn title(&self) -> String {
        format!("records of {} bytes in {}", Grouped(self.record_bytes), self.dir.display())
    }

    pub(super) fn table(&self) -> String {
        let mut text = format!("{}\n\n", self.title());
        let _never_fails = writeln!(
            text,
            "{:<12}  {:<7}  {:>12}  {:>8}  {:>8}  {:>8}  {:>8}",
            "work", "way", "records/s", "p50", "p99", "p99.9", "max"
        );
        for Held { work, ways } in &self.works {
            for (at, (way, times)) in ways.iter().enumerate() {
                let work = if at == 0 { work.name() } else { "" };
                let rate = times
                    .records_per_second()
                    .map_or("-".to_owned(), |rate| Grouped(rate as u64).to_string());
                let _never_fails = write!(text, "{work:<12}  {:<7}  {rate:>12}", way.name());
                for (_, part) in PARTS {
                    let _never_fails = write!(text, "  {:>8}", brief(times.nanos(part)));
                }
                text.push('\n');
            }
        }
        let _never_fails = writeln!(
            text,
            "\nEach time has a look at the clock in it, {} ns. tail: to a second process, write is a pipe there.",
            clock_nanos()
        );
        text
    }

    pub(super) fn object(&self) -> Value {
        let way = |(way, times): &(super::contest::Way, Times)| {
            json!({
                "way": way.name(),
                "records_per_second": times.records_per_second().map(f64::round),
                "calls": times.calls(),
                "p50_ns": times.nanos(0.5),
                "p99_ns": times.nanos(0.99),
                "p999_ns": times.nanos(0.999),
                "max_ns": times.nanos(1.0),
            })
        };
        let work = |held: &Held| json!({ "work": held.work.name(), "ways": held.ways.iter().map(way).collect::<Value>() });
        json!({
            "dir": self.dir.to_string_lossy(),
            "record_bytes": self.record_bytes,
            "seconds": self.seconds,
            "clock_ns": clock_nanos(),
            "works": self.works.iter().map(work).collect::<Value>(),
        })
    }
}

/// Three digits and a unit.
pub(super) fn brief(nanos: u64) -> String {
    let (value, unit) = match nanos {
        0..1000 => return format!("{nanos} ns"),
        1000..1_000_000 => (nanos as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => (nanos as f64 / 1e6, "ms"),
        _ => (nanos as f64 / 1e9, "s"),
    };
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {unit}")
}

/// The file that the chart goes to.
pub(super) struct SvgFile {
    name: String,
    file: File,
}

impl SvgFile {
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let file = File::create(path).map_err(|error| Failure::io(&name, &error))?;
        Ok(SvgFile { name, file })
    }

    pub(super) fn write(mut self, svg: &str) -> Result<(), Failure> {
        let written = self.file.write_all(svg.as_bytes());
        written.map_err(|error| Failure::io(&self.name, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        for (nanos, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1000, "1.00 us"),
            (9_994, "9.99 us"),
            (9_996, "10.0 us"),
            (99_960, "100 us"),
            (123_456_789, "123 ms"),
            (2_500_000_000, "2.50 s"),
        ] {
            assert_eq!(brief(nanos), text);
        }
    }
}
