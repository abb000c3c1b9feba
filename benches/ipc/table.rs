//! The tables, in Markdown.

use std::path::Path;

use crate::common::file_system;
use crate::plan::Measure;
use crate::results::Results;
use crate::ways::{Known, PIPE, RING};

pub fn print(ways: &[&Known], sizes: &[usize], results: &Results, dir: &Path) {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!("\n## Between two processes\n");
    println!(
        "{cpus} CPUs, Linux {}, {}; {} interleaved rounds, medians; each process has a CPU of its own; \
         load average before the first run: {}",
        kernel.trim(),
        file_system(dir),
        results.rounds,
        results.load
    );
    for &size in sizes {
        throughput(ways, size, results);
        latency(ways, size, results);
    }
    settings(ways, results);
    for failure in &results.failures {
        println!("\n**failed**: {failure}");
    }
}

fn throughput(ways: &[&Known], size: usize, results: &Results) {
    println!(
        "\n### {size} B one way, millions of messages a second\n\n\
         Every message is checked by the reader. Pages were touched before, but for the last column. First \
         the readers of maplog and the rings look all the time and others sleep when there is nothing; then all \
         look, and wait some microseconds (256 spin hints) when there was nothing.\n\n\
         | | M/s | to the ring | to the pipe | reader pauses | to the ring | pages cold |\n\
         |---|---|---|---|---|---|---|"
    );
    rows(ways, results, |key| {
        let of = |measure| figure(results.median(key, size, measure, 0));
        let to = |other, measure| ratio(results.ratio(key, other, size, measure));
        vec![
            of(Measure::Throughput),
            to(RING, Measure::Throughput),
            to(PIPE, Measure::Throughput),
            of(Measure::PausingThroughput),
            to(RING, Measure::PausingThroughput),
            of(Measure::ColdThroughput),
        ]
    });
}

fn latency(ways: &[&Known], size: usize, results: &Results) {
    println!(
        "\n### {size} B there and back, half of it in microseconds\n\n\
         | | reader spins: p50 | p99 | p99.9 | p50 to the ring | reader sleeps: p50 | p99 | p99.9 \
         | p50 to the pipe | spins, pages cold: p50 | p99.9 |\n\
         |---|---|---|---|---|---|---|---|---|---|---|"
    );
    rows(ways, results, |key| {
        let of = |measure, index| figure(results.median(key, size, measure, index));
        let to = |other, measure| ratio(results.ratio(key, other, size, measure));
        vec![
            of(Measure::Spinning, 0),
            of(Measure::Spinning, 1),
            of(Measure::Spinning, 2),
            to(RING, Measure::Spinning),
            of(Measure::Sleeping, 0),
            of(Measure::Sleeping, 1),
            of(Measure::Sleeping, 2),
            to(PIPE, Measure::Sleeping),
            of(Measure::ColdSpinning, 0),
            of(Measure::ColdSpinning, 2),
        ]
    });
}

fn rows(ways: &[&Known], results: &Results, cells: impl Fn(&str) -> Vec<String>) {
    for way in ways {
        match results.missing.get(way.key) {
            Some(missing) => println!("| {} | skipped: {missing} |", way.label),
            None => println!("| {} | {} |", way.label, cells(way.key).join(" | ")),
        }
    }
}

fn settings(ways: &[&Known], results: &Results) {
    println!("\nHow each was set up for the smallest messages:\n");
    for way in ways {
        if let Some(settings) = results.settings.get(way.key) {
            println!("- {}: {settings}", way.label);
        }
    }
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(String::new, |ratio| format!("{}x", three_digits(ratio)))
}

fn figure(figure: Option<f64>) -> String {
    figure.map_or_else(String::new, three_digits)
}

/// Three digits that count.
pub fn three_digits(figure: f64) -> String {
    let decimals = (2.0 - figure.abs().max(1e-3).log10().floor()).max(0.0) as usize;
    format!("{figure:.decimals$}")
}
