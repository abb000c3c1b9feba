//! The tables, as Markdown.

use std::fmt::Write as _;
use std::path::Path;

use crate::peer::{About, Threads};
use crate::peers::MAPLOG;
use crate::results::Results;
use crate::row::Row;

pub fn draw(
    peers: &[&'static About],
    rows: &[Row],
    results: &Results,
    dir: &Path,
    quick: bool,
) -> String {
    let mut text = head(results, dir, quick);
    text += "\n### Figures\n\n";
    text += &table(peers, rows, |about, row| {
        let note = match about.threads {
            Threads::Mutex if row.threads() > 1 => " m",
            Threads::Transactions if row.threads() > 1 && !row.is_durable() => " t",
            _ => "",
        };
        match results.median(about.name, row) {
            _ if results.failures.contains_key(&(about.name, row)) => "failed".to_owned(),
            Some(value) => format!("{}{note}", three_digits(value)),
            None => "-".to_owned(),
        }
    });
    text += "\nm: a mutex around one writer. t: one transaction of 1,000 records at a time.\n";
    text += "\n### How many times better maplog is (below 1: worse)\n\n";
    text += &table(peers, rows, |about, row| {
        let ratio = results.ratio(about.name, MAPLOG, row);
        let ratio = ratio.map(|ratio| if row.title().less_is_better { ratio } else { 1.0 / ratio });
        ratio.map_or_else(|| "-".to_owned(), three_digits)
    });
    text += "\n### How each was set up, and what it does not do\n\n";
    for about in peers {
        let _ = writeln!(text, "- **{}**: {}.", about.name, about.settings);
        if !about.lacks.is_empty() {
            let _ = writeln!(text, "  Not: {}.", about.lacks);
        }
    }
    if !results.failures.is_empty() {
        text += "\n### Failures\n\n";
    }
    for ((peer, row), failure) in &results.failures {
        let _ = writeln!(text, "- {peer}, {}: {failure}", row.title().name);
    }
    text
}

fn head(results: &Results, dir: &Path, quick: bool) -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let what = if quick { "one quick round, whose figures mean little" } else { "medians" };
    format!(
        "## maplog and its peers\n\n{cpus} CPUs, Linux {}, {}, load {} before; {} interleaved rounds, {what}\n",
        kernel.trim(),
        file_system(dir),
        results.load,
        results.rounds,
    )
}

/// A line for each peer.
fn table(
    peers: &[&'static About],
    rows: &[Row],
    cell: impl Fn(&'static About, Row) -> String,
) -> String {
    let titles: Vec<&str> = rows.iter().map(|row| row.title().title).collect();
    let mut table = format!("| | {} |\n|---|{}\n", titles.join(" | "), "---|".repeat(rows.len()));
    for about in peers {
        let cells: Vec<String> = rows.iter().map(|row| cell(about, *row)).collect();
        let _ = writeln!(table, "| {} | {} |", about.name, cells.join(" | "));
    }
    table
}

/// The type of the file system that holds `dir`.
fn file_system(dir: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .filter(|fields| fields.len() > 2 && dir.starts_with(fields[1]))
        .max_by_key(|fields| fields[1].len())
        .map_or_else(|| "unknown file system".into(), |fields| fields[2].to_owned())
}

/// Three digits that count.
pub fn three_digits(figure: f64) -> String {
    let decimals = (2.0 - figure.abs().max(1e-3).log10().floor()).max(0.0) as usize;
    let text = format!("{figure:.decimals$}");
    if figure < 10_000.0 {
        return text;
    }
    let groups: Vec<&[u8]> = text.as_bytes().rchunks(3).rev().collect();
    String::from_utf8(groups.join(&b',')).expect("digits")
}
