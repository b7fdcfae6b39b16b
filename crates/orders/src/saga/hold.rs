//! A pause between steps, for a consistent cut of the region: what has begun goes on, nothing
//! begins.
//!
//! While it lasts, every step that reaches a ledger was decided at or before the index at which it
//! began. So a cut of the orders at that index or later, followed by cuts of the ledgers, holds the
//! intent of every effect that it holds (ADR 0009). In memory on purpose: a new leader knows of no
//! pause, and whoever made the cut finds out by asking whether it lasted.

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

#[derive(Default)]
pub struct Hold {
    now: Mutex<Now>,
    /// Rung when a pause ends early.
    pub ended: Notify,
}

#[derive(Default)]
struct Now {
    /// Counts pauses.
    number: u64,
    until: Option<Instant>,
}

impl Hold {
    /// Begins a pause; one that was there ends as if it had never been.
    pub fn begin(&self, until: Instant) -> u64 {
        let mut now = self.now.lock();
        now.number += 1;
        now.until = Some(until);
        now.number
    }

    /// Ends pause `number`: `true` when it has lasted until here.
    pub fn end(&self, number: u64) -> bool {
        let mut now = self.now.lock();
        if now.number != number {
            return false;
        }
        let lasted = now.until.take().is_some_and(|until| until > Instant::now());
        self.ended.notify_one();
        lasted
    }

    /// Keeps pauses from beginning while steps do: `Err` says until when none may.
    pub fn pass(&self) -> Result<Pass<'_>, Instant> {
        let now = self.now.lock();
        match now.until.filter(|until| *until > Instant::now()) {
            Some(until) => Err(until),
            None => Ok(Pass { _now: now }),
        }
    }
}

/// Leave to begin steps.
pub struct Pass<'a> {
    _now: MutexGuard<'a, Now>,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_ran_out_or_was_replaced_did_not_last() {
        let hold = Hold::default();
        let soon = || Instant::now() + Duration::from_secs(1);
        assert!(hold.pass().is_ok());
        let first = hold.begin(soon());
        assert!(hold.pass().is_err());
        let second = hold.begin(soon());
        assert!(!hold.end(first) && hold.pass().is_err());
        assert!(hold.end(second) && hold.pass().is_ok());
        assert!(!hold.end(second), "it ends once");
        let third = hold.begin(soon());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(hold.pass().is_ok() && !hold.end(third));
    }
}
