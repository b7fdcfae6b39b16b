//! Two kinds of time that must not be mixed: the group's own, and the wall's.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The time of a replicated group, stamped on each entry by its leader; never goes back.
///
/// # Units
/// Milliseconds since the Unix epoch, as near as the leader's clock allows.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LogTime(pub u64);

impl LogTime {
    pub const ZERO: Self = Self(0);

    pub fn ms(self) -> u64 {
        self.0
    }

    /// This time plus `ms`, at the end of time if that overflows.
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// How far `earlier` lies before this, zero if it does not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for LogTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// A reading of a wall clock: for people and certificates, never for a decision in a core.
///
/// # Units
/// Milliseconds since the Unix epoch.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct WallTime(pub u64);

impl WallTime {
    pub fn ms(self) -> u64 {
        self.0
    }
}
