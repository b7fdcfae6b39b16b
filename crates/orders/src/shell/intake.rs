//! How many new orders a group's leader has under way before it refuses more.
//!
//! An order that was taken is seen through, so what can be limited is whom we take. The sign of too
//! many is how long the log needs for a new order's first command: our own CPU and disks. The limit
//! grows by an eighth while it is reached and the log is quick, and falls by an eighth while it is
//! reached and the log is not. An order counts until it is decided, so behind a slow payment
//! provider the limit has to grow first; the log stays quick then, and it does.

use std::time::Duration;

use hansa_api::status::{Failure, Reason};
use hansa_types::id::GroupId;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config;
use crate::metrics;

/// The limit is looked at again after this long and with so many commands: about as long as an
/// order is under way when there are too many.
const WINDOW: Duration = Duration::from_millis(100);
const SAMPLES_MIN: u32 = 8;
/// Some windows: the limit may have changed by then.
const RETRY_AFTER: Duration = Duration::from_millis(200);

pub struct Intake {
    group: GroupId,
    limit: Mutex<Limit>,
}

/// An order that is being placed, until this goes.
pub struct Placing<'a>(&'a Intake);

/// What is known of the last moments: no clock of its own.
struct Limit {
    rules: config::Intake,
    /// How many may be under way.
    now: usize,
    placing: usize,
    window: Window,
}

struct Window {
    began: Instant,
    /// The most that were under way.
    most: usize,
    samples: u32,
    waited: Duration,
}

impl Window {
    const fn since(began: Instant, most: usize) -> Self {
        Self { began, most, samples: 0, waited: Duration::ZERO }
    }
}

impl Intake {
    pub fn new(group: GroupId, rules: config::Intake) -> Self {
        let window = Window::since(Instant::now(), 0);
        let limit = Limit { rules, now: rules.orders_min, placing: 0, window };
        Self { group, limit: Mutex::new(limit) }
    }

    /// Takes one more order.
    ///
    /// # Errors
    /// `OVERLOADED`, and when to come again: nothing was begun.
    pub fn begin(&self) -> Result<Placing<'_>, Failure> {
        if self.limit.lock().enter() {
            return Ok(Placing(self));
        }
        metrics::intake_refused(self.group);
        Err(Failure::of(Reason::Overloaded).retry_after(RETRY_AFTER))
    }

    /// The log needed this long for a new order's first command, or gave none in this time.
    pub fn logged(&self, waited: Duration) {
        let changed = self.limit.lock().logged(Instant::now(), waited);
        if let Some(now) = changed {
            metrics::intake_limit(self.group, now);
        }
    }
}

impl Drop for Placing<'_> {
    fn drop(&mut self) {
        self.0.limit.lock().placing -= 1;
    }
}

impl Limit {
    fn enter(&mut self) -> bool {
        let free = self.placing < self.now;
        self.placing += usize::from(free);
        self.window.most = self.window.most.max(self.placing);
        free
    }

    /// The new limit, when a window has ended in which it was reached.
    fn logged(&mut self, at: Instant, waited: Duration) -> Option<usize> {
        let window = &mut self.window;
        window.samples += 1;
        window.waited += waited;
        if at.duration_since(window.began) < WINDOW || window.samples < SAMPLES_MIN {
            return None;
        }
        let (mean, most) = (window.waited / window.samples, window.most);
        self.window = Window::since(at, self.placing);
        if most < self.now {
            return None;
        }
        let config::Intake { commit_within_ms, orders_min, orders_max } = self.rules;
        let now = match mean > Duration::from_millis(commit_within_ms) {
            true => self.now - self.now / 8,
            false => self.now + self.now / 8 + 1,
        };
        self.now = now.clamp(orders_min, orders_max);
        Some(self.now)
    }
}

#[cfg(test)]
mod tests;
