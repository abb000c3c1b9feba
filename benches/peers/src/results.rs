//! What the runs told, by peer and row.

use std::collections::BTreeMap;

use crate::row::Row;

pub struct Results {
    pub rounds: usize,
    /// The machine's load average before the first run.
    pub load: String,
    values: BTreeMap<(&'static str, Row), Vec<f64>>,
    pub failures: BTreeMap<(&'static str, Row), String>,
}

impl Results {
    pub fn new() -> Self {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default().to_owned();
        Results { rounds: 0, load, values: BTreeMap::new(), failures: BTreeMap::new() }
    }

    pub fn take(&mut self, peer: &'static str, row: Row, outcome: Result<Option<f64>, String>) {
        match outcome {
            Ok(Some(value)) => self.values.entry((peer, row)).or_default().push(value),
            Ok(None) => {}
            Err(failure) => drop(self.failures.insert((peer, row), failure)),
        }
    }

    pub fn median(&self, peer: &'static str, row: Row) -> Option<f64> {
        self.values.get(&(peer, row)).map(|values| median(values.clone()))
    }

    /// The median of the ratios to another peer in the same round.
    pub fn ratio(&self, peer: &'static str, to: &'static str, row: Row) -> Option<f64> {
        let (own, other) = (self.values.get(&(peer, row))?, self.values.get(&(to, row))?);
        Some(median(own.iter().zip(other).map(|(own, other)| own / other).collect()))
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
