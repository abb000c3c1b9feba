//! The ways.

pub mod aeron;
pub mod log;

use std::str::FromStr;

use crate::driver::Idle;
use crate::pair::{Plan, Side};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Its driver backs off when it has nothing to do.
    Aeron,
    /// Its driver sleeps then, however short.
    AeronSleeping,
    Maplog,
    /// Over pages that nobody has touched.
    MaplogCold,
}

impl Way {
    pub const ALL: [Way; 4] = [Way::Aeron, Way::AeronSleeping, Way::Maplog, Way::MaplogCold];

    /// What the driver does that it needs.
    pub fn idle(self) -> Option<Idle> {
        match self {
            Way::Aeron => Some(Idle::Backoff),
            Way::AeronSleeping => Some(Idle::SleepNs),
            Way::Maplog | Way::MaplogCold => None,
        }
    }
}

impl FromStr for Way {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Way::ALL.into_iter().find(|way| format!("{way:?}") == name).ok_or(())
    }
}

/// One side's end of a way. Both sides are made in their own process, the first half of it before the
/// other side can be looked for.
pub trait End {
    fn create(side: Side, plan: &Plan) -> Self;

    /// The other side's half is there now.
    fn attach(&mut self);

    /// Touches the pages that the run will use. Both sides at once; each message that is sent for it is
    /// received for it.
    fn warm(&mut self, side: Side);

    fn send(&mut self, message: &[u8]);

    /// Takes what has come; says how many.
    fn poll(&mut self, take: &mut impl FnMut(&[u8])) -> u64;
}
