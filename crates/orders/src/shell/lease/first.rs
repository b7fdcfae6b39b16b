//! What a node that starts waits for where its region goes on by itself: whoever can be reached is
//! asked first whether births were taken over meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use hansa_types::region::RegionNumber;
use tokio::time::timeout;

use super::{Gate, Lease, Now};

/// For the record of which one of them told, until it is committed here. One that nobody signed
/// never is.
const TAKEN_MAX: Duration = Duration::from_secs(10);

/// The beginning of a node's life; times are of the monotonic clock.
#[derive(Default)]
pub(super) struct First {
    /// The others are asked, no longer than until then.
    asking: Option<Duration>,
    /// What is owned here, as of the newest look.
    owned: BTreeMap<RegionNumber, u64>,
    /// Births of which another region knows a record that counts here, the epoch that it leads to,
    /// and until when they wait for it.
    told: BTreeMap<RegionNumber, (u64, Duration)>,
}

impl First {
    /// How long the others are still waited for.
    pub fn asks(&self, clock: Duration) -> Option<Duration> {
        self.asking.and_then(|until| until.checked_sub(clock)).filter(|left| !left.is_zero())
    }

    /// Whether births wait for a record that says that they are another's. What is owned in an
    /// older epoch than it leads to is what a directory says that lags behind.
    pub fn ended(&self, birth: RegionNumber, clock: Duration) -> bool {
        let (Some(owned), Some((told, until))) = (self.owned.get(&birth), self.told.get(&birth))
        else {
            return false;
        };
        owned < told && clock < *until
    }

    /// Whether anything waits.
    pub fn waits(&self, clock: Duration) -> bool {
        self.asks(clock).is_some() || self.told.keys().any(|birth| self.ended(*birth, clock))
    }

    pub fn follow(&mut self, owned: &BTreeMap<RegionNumber, u64>) {
        self.owned.clone_from(owned);
    }
}

impl Lease {
    /// From now on the others are asked; who is alone goes on `within` that time.
    pub fn ask_first(&self, within: Duration) {
        let until = self.0.clock.monotonic() + within;
        self.change(|now| now.first.asking = Some(until));
    }

    /// Another region knows records of these births that count here, and lead to these epochs.
    pub(super) fn told(&self, births: &BTreeMap<RegionNumber, u64>) {
        let until = self.0.clock.monotonic() + TAKEN_MAX;
        self.change(|now| {
            for (birth, epoch) in births {
                let told = now.first.told.entry(*birth).or_default();
                *told = (told.0.max(*epoch), until);
            }
        });
    }

    /// All were asked, and have answered or cannot be reached.
    pub(super) fn asked(&self) {
        self.change(|now| now.first.asking = None);
        // Also where some births wait on: who waits looks at his own.
        self.0.back.notify_waiters();
    }

    /// Returns once nobody is asked any more: soon, whoever answers.
    pub(super) async fn begun(&self) {
        loop {
            let rung = self.0.back.notified();
            let left = {
                let now = self.0.now.lock();
                let serves = now.gate == Gate::Serve;
                now.first.asks(self.0.clock.monotonic()).filter(|_| serves)
            };
            let Some(left) = left else { return };
            _ = timeout(left, rung).await;
        }
    }
}

impl Now {
    /// Whether births of a region that goes on by itself may be written.
    pub(super) fn serves(&self, birth: RegionNumber, clock: Duration) -> bool {
        self.first.asks(clock).is_none() && !self.first.ended(birth, clock)
    }
}
