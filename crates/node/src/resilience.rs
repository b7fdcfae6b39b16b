//! Three pieces that keep one sick neighbour from making a sick house. Pure: time is an argument.
//!
//! # Units
//! `now` is a monotonic time, as [`crate::env::Clock::monotonic`] gives it.

#[cfg(test)]
mod tests;

use std::time::Duration;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct BreakerPolicy {
    /// Failures in a row that open it.
    pub failures_max: u32,
    /// Time without any call, and afterwards the length of one round of probes.
    pub open_for: Duration,
    /// Calls that may probe in one round; one of them may be a repeat.
    pub probes_max: u32,
}

/// Stops calling what keeps failing, then lets a few calls probe: the first success closes it.
///
/// One probe at a time would let one hopeless call, repeated for ever, speak for all that wait.
#[derive(Debug, Clone)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Duration,
    },
    /// A round of probes. It bounds the calls by itself, so their failures change nothing; nor does
    /// a probe that is never heard of.
    HalfOpen {
        until: Duration,
        probes: u32,
        repeated: bool,
    },
}

/// What an outcome did to the breaker, for the log of whoever called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    None,
    Opened,
    Closed,
}

impl Breaker {
    pub fn new(policy: BreakerPolicy) -> Self {
        Self { policy, state: State::Closed { failures: 0 } }
    }

    /// Whether a call may be made now; `first` unless it repeats one that failed, which says less
    /// about the neighbour.
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub fn admit(&mut self, now: Duration, first: bool) -> Result<(), Duration> {
        let (until, probes, repeated) = match self.state {
            State::Closed { .. } => return Ok(()),
            State::Open { until } if now < until => return Err(until - now),
            State::HalfOpen { until, probes, repeated } if now < until => (until, probes, repeated),
            State::Open { .. } | State::HalfOpen { .. } => (now + self.policy.open_for, 0, false),
        };
        if probes >= self.policy.probes_max || (repeated && !first) {
            return Err(until - now);
        }
        self.state = State::HalfOpen { until, probes: probes + 1, repeated: repeated || !first };
        Ok(())
    }

    /// Records how an admitted call went.
    pub fn record(&mut self, now: Duration, success: bool) -> Change {
        let (next, change) = match (self.state, success) {
            (State::Closed { .. }, true) => (State::Closed { failures: 0 }, Change::None),
            (State::Closed { failures }, false) if failures + 1 < self.policy.failures_max => {
                (State::Closed { failures: failures + 1 }, Change::None)
            }
            (State::Closed { .. }, false) => {
                (State::Open { until: now + self.policy.open_for }, Change::Opened)
            }
            (State::HalfOpen { .. }, true) => (State::Closed { failures: 0 }, Change::Closed),
            // Calls from before it opened decide nothing; nor does a probe that failed.
            (State::Open { .. }, _) | (State::HalfOpen { .. }, false) => (self.state, Change::None),
        };
        self.state = next;
        change
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }
}

/// Bounds the calls in flight to one neighbour, so that it cannot hold all of ours.
#[derive(Debug, Clone)]
pub struct Bulkhead {
    in_flight_max: usize,
    in_flight: usize,
}

impl Bulkhead {
    pub fn new(in_flight_max: usize) -> Self {
        Self { in_flight_max, in_flight: 0 }
    }

    /// Takes a place if there is one; whoever got it calls [`Self::leave`] once.
    pub fn enter(&mut self) -> bool {
        let free = self.in_flight < self.in_flight_max;
        self.in_flight += usize::from(free);
        free
    }

    pub fn leave(&mut self) {
        assert!(self.in_flight > 0, "a place was left that nobody took");
        self.in_flight -= 1;
    }

    /// Places that are free now.
    pub fn free(&self) -> usize {
        self.in_flight_max - self.in_flight
    }
}
