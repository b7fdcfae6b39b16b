//! The gate of a region that takes writes only while most of the league renews its epoch.
//!
//! With `isolation = serve` nothing is asked and nothing waits.

mod renew;
#[cfg(test)]
mod tests;

pub use renew::Renewer;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::status::{Failure, Reason};
use hansa_node::env::Clock;
use hansa_types::region::RegionNumber;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::core::command::Command;
use crate::core::lease::{Grants, Rule};

/// When to ask again: a region that is back is renewed within a third of a lease.
const RETRY: Duration = Duration::from_secs(1);

/// What this node knows of its region's leases; clones are one.
#[derive(Clone)]
pub struct Lease(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    now: Mutex<Now>,
    /// Rung when a lease is held again: steps that waited go on.
    pub back: Notify,
}

#[derive(Default)]
struct Now {
    /// `None`: this region serves while it is cut off.
    rule: Option<Rule>,
    births: BTreeMap<RegionNumber, Grants>,
}

/// What one birth's lease is, for people.
pub struct Held {
    pub birth: RegionNumber,
    pub epoch: u64,
    pub left: Duration,
    pub by: Vec<RegionNumber>,
}

impl Lease {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner { clock, now: Mutex::default(), back: Notify::new() }))
    }

    /// # Errors
    /// `LEASE_LOST` when the births of a region need a lease that is not held.
    pub fn check(&self, birth: RegionNumber) -> Result<(), Failure> {
        let now = self.0.now.lock();
        let Some(rule) = now.rule else { return Ok(()) };
        let until = now.births.get(&birth).and_then(|grants| grants.until(rule));
        match until.is_some_and(|until| until > self.0.clock.monotonic()) {
            true => Ok(()),
            false => Err(Failure::of(Reason::LeaseLost).retry_after(RETRY)),
        }
    }

    /// Whether steps of sagas may begin: every birth that is owned here has its lease.
    pub fn open(&self) -> bool {
        let now = self.0.now.lock();
        let Some(rule) = now.rule else { return true };
        let clock = self.0.clock.monotonic();
        let held = |grants: &Grants| grants.until(rule).is_some_and(|until| until > clock);
        !now.births.is_empty() && now.births.values().all(held)
    }

    /// Waits for the answer of something that needs the lease, no longer than that is held.
    ///
    /// # Errors
    /// `LEASE_LOST`: what was let in may still be carried out; a repeat finds out.
    pub async fn during<T>(
        &self,
        birth: RegionNumber,
        doing: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.check(birth)?;
        tokio::select! {
            biased;
            done = doing => done,
            lost = self.lost(birth) => Err(lost),
        }
    }

    /// Returns once the lease of a birth is no longer held.
    async fn lost(&self, birth: RegionNumber) -> Failure {
        loop {
            if let Err(lost) = self.check(birth) {
                return lost;
            }
            let left = {
                let now = self.0.now.lock();
                let grants = now.births.get(&birth);
                let until = now.rule.and_then(|rule| grants?.until(rule));
                until.map(|until| until.saturating_sub(self.0.clock.monotonic()))
            };
            match left {
                Some(left) => tokio::time::sleep(left.max(Duration::from_millis(1))).await,
                // It serves whatever happens; looked at again in case that changes.
                None => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// Rung when all leases are held again.
    pub async fn back(&self) {
        self.0.back.notified().await;
    }

    /// What is held, for people.
    pub fn held(&self) -> Vec<Held> {
        let now = self.0.now.lock();
        let Some(rule) = now.rule else { return Vec::new() };
        let clock = self.0.clock.monotonic();
        let held = |(birth, grants): (&RegionNumber, &Grants)| Held {
            birth: *birth,
            epoch: grants.epoch,
            left: grants.until(rule).map_or(Duration::ZERO, |until| until.saturating_sub(clock)),
            by: grants.by(clock, rule).collect(),
        };
        now.births.iter().map(held).collect()
    }

    /// Takes in what is owned and by which rule; grants of another epoch count for nothing.
    fn follow(&self, rule: Option<Rule>, owned: &BTreeMap<RegionNumber, u64>) {
        let mut now = self.0.now.lock();
        now.rule = rule;
        now.births.retain(|birth, grants| owned.get(birth) == Some(&grants.epoch));
        if rule.is_some() {
            for (birth, epoch) in owned {
                now.births.entry(*birth).or_insert_with(|| Grants::new(*epoch));
            }
        }
    }

    /// Takes in one region's answers to what it was asked at `asked`.
    fn answered(
        &self,
        by: RegionNumber,
        asked: Duration,
        answers: impl Iterator<Item = (RegionNumber, u64, bool)>,
    ) {
        let was = self.open();
        {
            let mut now = self.0.now.lock();
            for (birth, epoch, granted) in answers {
                let grants = now.births.get_mut(&birth).filter(|grants| grants.epoch == epoch);
                match (grants, granted) {
                    (Some(grants), true) => grants.granted(by, asked),
                    (Some(grants), false) => grants.refused(by),
                    (None, _) => {}
                }
            }
        }
        if !was && self.open() {
            self.0.back.notify_one();
        }
    }
}

/// Whose birth a caller's command changes; `None` for what needs no lease: it is not about orders
/// that are owned, or it is what a lost lease calls for.
pub fn birth_of(command: &Command) -> Option<RegionNumber> {
    match command {
        Command::Accept(accept) => Some(accept.order.region()),
        Command::Cancel { order, .. }
        | Command::Ship { order, .. }
        | Command::Return { order, .. }
        | Command::Refund { order, .. }
        | Command::Resume { order } => Some(order.region()),
        Command::Dated { command, .. } => birth_of(command),
        Command::UnderPolicy { command, .. } => birth_of(command.as_deref()?),
        Command::Report(_)
        | Command::ApplyRemote(_)
        | Command::ResolveRemote { .. }
        | Command::BindVault { .. }
        | Command::Restore(_)
        | Command::Keys(_)
        | Command::Erase(_)
        | Command::Remote(_)
        | Command::Repair(_)
        | Command::Takeover(_) => None,
    }
}
