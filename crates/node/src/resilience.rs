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

/// Retries as a share of calls, so that retries cannot multiply an outage.
///
/// # Invariant
/// Over any time, retries ≤ calls × `per_call_milli` / 1000 + `held_max`.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    per_call_milli: u64,
    held_max_milli: u64,
    held_milli: u64,
}

impl RetryBudget {
    const RETRY: u64 = 1000;

    /// Each call earns `per_call_milli` thousandths of a retry, of which `held_max` whole ones are
    /// kept; starts full.
    pub fn new(per_call_milli: u64, held_max: u64) -> Self {
        let held_max_milli = held_max.saturating_mul(Self::RETRY);
        Self { per_call_milli, held_max_milli, held_milli: held_max_milli }
    }

    /// A first attempt was made.
    pub fn earn(&mut self) {
        self.held_milli =
            self.held_milli.saturating_add(self.per_call_milli).min(self.held_max_milli);
    }

    /// Whether nothing is left for a retry.
    pub fn is_spent(&self) -> bool {
        self.held_milli < Self::RETRY
    }

    /// Whether a retry may be made; takes it from the budget if so.
    pub fn spend(&mut self) -> bool {
        let left = self.held_milli.checked_sub(Self::RETRY);
        self.held_milli = left.unwrap_or(self.held_milli);
        left.is_some()
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
