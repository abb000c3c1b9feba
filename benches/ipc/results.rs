//! What the runs told, by way, size and measure.

use std::collections::BTreeMap;

use crate::common::median;
use crate::plan::Measure;
use crate::ways::Known;

#[derive(Default)]
pub struct Results {
    pub rounds: usize,
    /// The machine's load average before the first run.
    pub load: String,
    /// The figures of each round.
    values: BTreeMap<(&'static str, usize, Measure), Vec<Vec<f64>>>,
    pub settings: BTreeMap<&'static str, String>,
    pub missing: BTreeMap<&'static str, String>,
    pub failures: Vec<String>,
}

impl Results {
    pub fn new(load: String) -> Self {
        Results { load, ..Self::default() }
    }

    /// Takes in what a run printed.
    pub fn take(&mut self, way: &Known, size: usize, measure: Measure, answer: &str) {
        let line = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name));
        if let Some(missing) = line("missing ") {
            self.missing.insert(way.key, missing.to_owned());
            return;
        }
        let values = line("values ").expect("a run that succeeds says what it measured");
        let values = values.split(' ').map(|value| value.parse().expect("a number")).collect();
        self.values.entry((way.key, size, measure)).or_default().push(values);
        if !measure.is_cold() && measure.is_throughput() {
            let settings = line("settings ").unwrap_or_default();
            self.settings.entry(way.key).or_insert_with(|| settings.to_owned());
        }
    }

    /// The median of the rounds; `index` is 0 for throughput and p50, 1 for p99, 2 for p99.9.
    pub fn median(&self, way: &str, size: usize, measure: Measure, index: usize) -> Option<f64> {
        let rounds = self.of(way, size, measure)?;
        Some(median(rounds.iter().map(|values| values[index]).collect()))
    }

    /// The median of the ratios to another way in the same round.
    pub fn ratio(&self, way: &str, to: &str, size: usize, measure: Measure) -> Option<f64> {
        let (own, other) = (self.of(way, size, measure)?, self.of(to, size, measure)?);
        Some(median(own.iter().zip(other).map(|(own, other)| own[0] / other[0]).collect()))
    }

    fn of(&self, way: &str, size: usize, measure: Measure) -> Option<&Vec<Vec<f64>>> {
        // Keys are few; a way's own name lives as long as the program.
        let found = self
            .values
            .iter()
            .find(|((key, bytes, of), _)| *key == way && *bytes == size && *of == measure);
        found.map(|(_, rounds)| rounds)
    }
}
