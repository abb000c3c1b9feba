//! What one run measures, and with how much.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// What a run measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Messages one way, as fast as they go.
    Throughput,
    /// The same, and a reader that finds nothing lets the writer alone for a while.
    PausingThroughput,
    /// The same over pages that nobody touched before.
    ColdThroughput,
    /// There and back, the reader looking all the time.
    Spinning,
    ColdSpinning,
    /// There and back, the reader asleep when the message comes.
    Sleeping,
}

impl Measure {
    pub const ALL: [Measure; 6] = [
        Measure::Throughput,
        Measure::PausingThroughput,
        Measure::ColdThroughput,
        Measure::Spinning,
        Measure::ColdSpinning,
        Measure::Sleeping,
    ];

    pub fn is_cold(self) -> bool {
        matches!(self, Measure::ColdThroughput | Measure::ColdSpinning)
    }

    /// The reader only ever looks, so that reads must not wait.
    pub fn only_looks(self) -> bool {
        matches!(self, Measure::PausingThroughput | Measure::Spinning | Measure::ColdSpinning)
    }

    pub fn is_throughput(self) -> bool {
        !matches!(self, Measure::Spinning | Measure::ColdSpinning | Measure::Sleeping)
    }
}

/// One run.
pub struct Plan {
    pub way: String,
    pub measure: Measure,
    /// Bytes of a message.
    pub size: usize,
    /// Only checks, on little data.
    pub quick: bool,
    /// The run's own directory, on the file system of the build.
    pub dir: PathBuf,
}

/// Both sides rest so long before they send to a sleeper: longer than any way spins before it sleeps.
pub const REST: Duration = Duration::from_micros(60);

/// A run that takes longer hangs.
pub const LIMIT_SECONDS: u32 = 20;

const MIB: usize = 1 << 20;

impl Plan {
    /// What the ways that cannot reuse their pages write in one run, and cold rings hold.
    pub fn room_bytes(&self) -> usize {
        match self.measure {
            _ if self.quick => 2 * MIB,
            Measure::Throughput | Measure::PausingThroughput => 64 * MIB,
            Measure::ColdThroughput => 32 * MIB,
            Measure::Spinning | Measure::ColdSpinning | Measure::Sleeping => 16 * MIB,
        }
    }

    /// The most messages that fit such room, with 16 bytes of header each and marks.
    pub fn room_messages(&self) -> u64 {
        (self.room_bytes() - self.room_bytes() / 64) as u64 / (self.size as u64 + 16)
    }

    /// For how long a throughput run sends, if it may.
    pub fn sending(&self) -> Duration {
        Duration::from_millis(if self.quick { 2 } else { 80 })
    }

    /// How many times a message goes there and back.
    pub fn round_trips(&self) -> u64 {
        let trips = match (self.measure, self.quick) {
            (Measure::Sleeping, false) => 800,
            (_, false) => 12_000,
            (Measure::Sleeping, true) => 20,
            (_, true) => 100,
        };
        // The greeting takes room too.
        trips.min(self.room_messages() - 1)
    }

    pub fn to_args(&self) -> [String; 6] {
        [
            ROLE.to_owned(),
            self.way.clone(),
            format!("{:?}", self.measure),
            self.size.to_string(),
            self.quick.to_string(),
            self.dir.to_str().expect("a path that can be an argument").to_owned(),
        ]
    }

    pub fn from_args(args: &[String]) -> Option<Self> {
        let [role, way, measure, size, quick, dir] = args else { return None };
        if role != ROLE {
            return None;
        }
        Some(Plan {
            way: way.clone(),
            measure: measure.parse().ok()?,
            size: size.parse().ok()?,
            quick: quick.parse().ok()?,
            dir: dir.into(),
        })
    }
}

/// The argument that makes this program a run.
const ROLE: &str = "--run";

impl FromStr for Measure {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Measure::ALL.into_iter().find(|measure| format!("{measure:?}") == name).ok_or(())
    }
}
