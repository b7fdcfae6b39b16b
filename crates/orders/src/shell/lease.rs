//! The gate of a region that takes writes only while most of the league renews its epoch.
//!
//! With `isolation = serve` the others are asked once, when a node starts, and waited for a moment.

mod first;
mod renew;
#[cfg(test)]
mod tests;

pub use renew::Renewer;
#[cfg(test)]
pub(crate) use renew::told;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::status::{Failure, Reason};
use hansa_node::env::Clock;
use hansa_region_router::core::directory::{Isolation, Snapshot};
use hansa_types::region::RegionNumber;
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::first::First;
use crate::core::command::Command;
use crate::core::lease::{Grants, Rule};
use crate::core::moves::Step;

/// When to ask again: a region that is back is renewed within a third of a lease.
const RETRY: Duration = Duration::from_secs(1);
/// The same where a record is on its way.
const SOON: Duration = Duration::from_millis(100);

/// What this node knows of its region's leases; clones are one.
#[derive(Clone)]
pub struct Lease(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    now: Mutex<Now>,
    /// Rung when a lease is held again: steps that waited go on.
    pub back: Notify,
}

/// What this region does while it is cut off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Gate {
    /// Nobody has looked yet: closed.
    #[default]
    Unknown,
    /// It goes on.
    Serve,
    /// It goes on while a lease is held.
    Lease(Rule),
}

impl Gate {
    /// What a version of the directory says.
    pub fn of(now: &Snapshot) -> Self {
        match now.isolation(now.here) {
            Isolation::Serve => Self::Serve,
            Isolation::Lease { ms } => {
                let (regions, lease) = (now.regions.len(), Duration::from_millis(ms));
                Self::Lease(Rule { regions, lease, here: now.here })
            }
        }
    }
}

#[derive(Default)]
struct Now {
    gate: Gate,
    /// The rule by the last linearizable read.
    read: Option<Rule>,
    births: BTreeMap<RegionNumber, Grants>,
    first: First,
}

impl Now {
    /// The rule by which a lease is held, if one must be.
    fn rule(&self) -> Option<Rule> {
        match (self.gate, self.read) {
            (Gate::Lease(rule), Some(read)) => Some(rule.strict(read)),
            (Gate::Lease(rule), None) => Some(rule),
            (Gate::Unknown | Gate::Serve, _) => None,
        }
    }

    /// Until when the lease of a birth is held.
    fn until(&self, birth: RegionNumber) -> Option<Duration> {
        self.births.get(&birth)?.until(self.rule()?)
    }

    /// Whether every birth that is owned here may be written at `clock`.
    fn open(&self, clock: Duration) -> bool {
        match self.gate {
            Gate::Unknown => false,
            Gate::Serve => !self.first.waits(clock),
            Gate::Lease(_) => {
                let held = |birth| self.until(birth).is_some_and(|until| until > clock);
                !self.births.is_empty() && self.births.keys().copied().all(held)
            }
        }
    }
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
    /// `LEASE_LOST` when the births of a region need a lease that is not held; `HOME_MOVING` when a
    /// node that starts has not asked the others yet, or heard that they are another's.
    pub fn check(&self, birth: RegionNumber) -> Result<(), Failure> {
        let now = self.0.now.lock();
        let clock = self.0.clock.monotonic();
        match now.gate {
            Gate::Serve if now.serves(birth, clock) => Ok(()),
            Gate::Serve => Err(Failure::of(Reason::HomeMoving).retry_after(SOON)),
            _ if now.until(birth).is_some_and(|until| until > clock) => Ok(()),
            Gate::Unknown | Gate::Lease(_) => {
                Err(Failure::of(Reason::LeaseLost).retry_after(RETRY))
            }
        }
    }

    /// Whether steps of sagas may begin: every birth that is owned here has its lease.
    pub fn open(&self) -> bool {
        self.0.now.lock().open(self.0.clock.monotonic())
    }

    /// Waits for the answer of something that needs the lease, no longer than that is held. What
    /// was let in may be applied later, and with books in the same log be decided by that.
    ///
    /// # Errors
    /// `LEASE_LOST`: what was let in may still be carried out; a repeat finds out. What is not let
    /// in as of [`Self::check`].
    pub async fn during<T>(
        &self,
        birth: RegionNumber,
        doing: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.begun().await;
        self.check(birth)?;
        let done = tokio::select! {
            biased;
            done = doing => done,
            lost = self.lost(birth) => Err(lost),
        };
        // What came too late may be what another region does not know.
        done.and_then(|done| self.check(birth).map(|()| done))
    }

    /// Returns once the lease of a birth is no longer held.
    async fn lost(&self, birth: RegionNumber) -> Failure {
        loop {
            if let Err(lost) = self.check(birth) {
                return lost;
            }
            let until = self.0.now.lock().until(birth);
            let left = until.map(|until| until.saturating_sub(self.0.clock.monotonic()));
            match left {
                Some(left) => tokio::time::sleep(left.max(Duration::from_millis(1))).await,
                // It serves whatever happens; looked at again in case that changes.
                None => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// Returns when all leases are held again, or may be: whoever waits looks. What is rung since
    /// it was called is heard, also if that was before the first poll.
    pub fn back(&self) -> impl Future<Output = ()> {
        let rung = self.0.back.notified();
        // What is held again by time alone rings nothing.
        async move { _ = tokio::time::timeout(RETRY, rung).await }
    }

    /// What is held, for people.
    pub fn held(&self) -> Vec<Held> {
        let now = self.0.now.lock();
        let Some(rule) = now.rule() else { return Vec::new() };
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
    pub fn follow(&self, gate: Gate, owned: &BTreeMap<RegionNumber, u64>) {
        self.change(|now| {
            now.gate = gate;
            now.first.follow(owned);
            now.births.retain(|birth, grants| owned.get(birth) == Some(&grants.epoch));
            if matches!(gate, Gate::Lease(_)) {
                for (birth, epoch) in owned {
                    now.births.entry(*birth).or_insert_with(|| Grants::new(*epoch));
                }
            }
        });
    }

    /// Takes in one region's answers to what it was asked at `asked`. `read`: the rule, where the
    /// answer is our own.
    fn answered(
        &self,
        by: RegionNumber,
        asked: Duration,
        answers: impl Iterator<Item = (RegionNumber, u64, bool)>,
        read: Option<Rule>,
    ) {
        self.change(|now| {
            now.read = read.or(now.read);
            for (birth, epoch, granted) in answers {
                let grants = now.births.get_mut(&birth).filter(|grants| grants.epoch == epoch);
                match (grants, granted) {
                    (Some(grants), true) => grants.granted(by, asked),
                    (Some(grants), false) => grants.refused(by),
                    (None, _) => {}
                }
            }
        });
    }

    /// Changes what is known, and wakes those who wait if that opens the gate.
    fn change(&self, how: impl FnOnce(&mut Now)) {
        let opened = {
            let mut now = self.0.now.lock();
            let was = now.open(self.0.clock.monotonic());
            how(&mut now);
            !was && now.open(self.0.clock.monotonic())
        };
        if opened {
            self.0.back.notify_waiters();
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
        // Who may not write may not let anybody go.
        Command::Moves(Step::Leave(leave)) => Some(leave.subject.home),
        Command::Dated { command, .. } | Command::Resident { command, .. } => birth_of(command),
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
        | Command::Takeover(_)
        | Command::Moves(_)
        // What comes back is as it left.
        | Command::Shelf(_) => None,
    }
}
