//! The clocks of a simulated host: each runs at its own rate and may be set wrong.

use std::sync::Arc;
use std::time::Duration;

use hansa_node::env::Clock;
use hansa_types::time::WallTime;
use parking_lot::Mutex;

/// Wall time at which every simulation begins.
pub const EPOCH_MS: u64 = 1_800_000_000_000;
/// A rate of 1.
pub const PAR: u32 = 1_000;

/// True time since the simulation began, to the nanosecond, as the host that asks has it.
#[must_use]
pub fn truth() -> Option<Duration> {
    turmoil::sim_elapsed()
}

/// A clock that is right: a third party's, and the judge's.
#[derive(Debug, Default)]
pub struct TrueClock(Mutex<Duration>);

impl Clock for TrueClock {
    fn monotonic(&self) -> Duration {
        let mut last = self.0.lock();
        *last = truth().unwrap_or(*last).max(*last);
        *last
    }

    fn wall(&self) -> WallTime {
        WallTime(EPOCH_MS + self.monotonic().as_millis() as u64)
    }
}

/// One machine's clocks: they outlive its processes.
#[derive(Clone, Debug)]
pub struct HostClock(Arc<Mutex<Dials>>);

#[derive(Debug)]
struct Dials {
    truth: Duration,
    monotonic: Duration,
    wall: Duration,
    /// Per mille of the truth.
    monotonic_rate: u32,
    wall_rate: u32,
}

impl HostClock {
    /// # Units
    /// `ahead_ms`: how far the wall clock is ahead of the truth; may be negative.
    #[must_use]
    pub fn new(ahead_ms: i64) -> Self {
        let dials = Dials {
            truth: Duration::ZERO,
            monotonic: Duration::ZERO,
            wall: Duration::from_millis(EPOCH_MS.saturating_add_signed(ahead_ms)),
            monotonic_rate: PAR,
            wall_rate: PAR,
        };
        Self(Arc::new(Mutex::new(dials)))
    }

    /// Steps the wall clock.
    pub fn jump(&self, at: Duration, by_ms: i64) {
        let mut dials = self.0.lock();
        dials.advance(at);
        let wall = dials.wall.as_millis() as u64;
        dials.wall = Duration::from_millis(wall.saturating_add_signed(by_ms));
    }

    /// Sets how fast both clocks run from now on.
    pub fn drift(&self, at: Duration, monotonic_rate: u32, wall_rate: u32) {
        let mut dials = self.0.lock();
        dials.advance(at);
        (dials.monotonic_rate, dials.wall_rate) = (monotonic_rate, wall_rate);
    }

    /// Sets the wall clock right and both rates to 1.
    pub fn heal(&self, at: Duration) {
        let mut dials = self.0.lock();
        dials.advance(at);
        (dials.monotonic_rate, dials.wall_rate) = (PAR, PAR);
        dials.wall = Duration::from_millis(EPOCH_MS) + at;
    }

    fn read(&self) -> (Duration, Duration) {
        let mut dials = self.0.lock();
        if let Some(at) = truth() {
            dials.advance(at);
        }
        (dials.monotonic, dials.wall)
    }
}

impl Dials {
    fn advance(&mut self, at: Duration) {
        let passed = at.saturating_sub(self.truth);
        self.truth = self.truth.max(at);
        self.monotonic += passed * self.monotonic_rate / PAR;
        self.wall += passed * self.wall_rate / PAR;
    }
}

impl Clock for HostClock {
    fn monotonic(&self) -> Duration {
        self.read().0
    }

    fn wall(&self) -> WallTime {
        WallTime(self.read().1.as_millis() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_drifting_clock_keeps_what_it_had_when_its_rate_changes() {
        let clock = HostClock::new(-5_000);
        clock.drift(SECOND, 1_500, 500);
        clock.drift(SECOND * 3, PAR, PAR);
        clock.jump(SECOND * 4, 60_000);
        assert_eq!(clock.monotonic(), Duration::from_millis(5_000));
        assert_eq!(clock.wall().ms(), EPOCH_MS - 5_000 + 3_000 + 60_000);
        clock.heal(SECOND * 4);
        assert_eq!(clock.wall().ms(), EPOCH_MS + 4_000);
        assert_eq!(clock.monotonic(), Duration::from_millis(5_000), "never goes back");
    }
}
