//! Orders' events flow to the other regions, each as that region's lawful view.
//!
//! The leader of a group ships; the leader of the matching group there applies. Delivery is at
//! least once, the effect exactly once: the receiver's cursor is replicated state. What is shipped
//! is an order as it is, under its last event; events that a later one has overtaken are skipped,
//! so a peer that was away for long is caught up by as many envelopes as there are orders, not
//! events.
//!
//! What a peer may know is a version of the policy. A wider one ships orders again, a narrower one
//! has the peer purge; both sides compare what they have all the time (docs/replication.md).

mod check;
mod heard;
mod lags;
mod law;
pub mod purge;
mod receive;
mod send;
pub mod status;
mod view;
pub mod wants;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use hansa_types::region::RegionNumber;

use crate::core::remote::Origin;
pub use heard::Heard;
pub use lags::{Lag, Lags, Stream};
#[cfg(all(test, feature = "seeded-bugs"))]
pub(crate) use law::Law;
pub use receive::Receiver;
pub use send::{Found, Sender};

/// Until when we know to have all of an origin's events, as heard on its stream. Not in the log:
/// a bookmark should not cost a write, and what is forgotten only makes the answer more modest.
#[derive(Clone, Default)]
pub struct Freshness {
    inner: Arc<Mutex<BTreeMap<Origin, (u64, u64)>>>,
    /// The highest sequence that each origin ever said it had.
    marks: Arc<Mutex<BTreeMap<Origin, u64>>>,
    /// Births that an origin has adopted all copies of.
    settled: Arc<Mutex<BTreeMap<(Origin, RegionNumber), SettledBirth>>>,
}

/// What an origin said of births that it took over.
#[derive(Clone, Debug)]
struct SettledBirth {
    epoch: u64,
    /// By which sequence of its stream.
    sequence: u64,
    /// How far it had come with the streams of who owned them before.
    from: Vec<(Origin, u64)>,
}

impl Freshness {
    /// As of `ms` the origin had nothing beyond `sequence`.
    fn note(&self, origin: Origin, sequence: u64, ms: u64) {
        self.inner.lock().insert(origin, (sequence, ms));
    }

    /// The origin says that it has come as far as `sequence`.
    fn mark(&self, origin: Origin, sequence: u64) {
        let mut marks = self.marks.lock();
        let mark = marks.entry(origin).or_default();
        *mark = (*mark).max(sequence);
    }

    /// The origin owns these births, and has told all of them.
    fn settled(&self, origin: Origin, birth: RegionNumber, told: SettledBirth) {
        let mut settled = self.settled.lock();
        // A later word of the same is no more than the first.
        if settled.get(&(origin, birth)).is_none_or(|known| known.epoch < told.epoch) {
            settled.insert((origin, birth), told);
        }
    }

    /// How far who owns these births in `epoch` had come with stream `of` when it took them over;
    /// 0 where it did not say.
    pub fn taken_from(&self, of: Origin, birth: RegionNumber, epoch: u64) -> u64 {
        let settled = self.settled.lock();
        let told = settled.iter().filter(|((_, one), told)| *one == birth && told.epoch == epoch);
        let from = told.flat_map(|(_, told)| &told.from).filter(|(from, _)| *from == of);
        from.map(|(_, sequence)| *sequence).max().unwrap_or(0)
    }

    /// Whether all that the origin adopted of these births in `epoch` is within `applied`.
    pub fn has_settled(
        &self,
        (origin, applied): (Origin, u64),
        birth: RegionNumber,
        epoch: u64,
    ) -> bool {
        let settled = self.settled.lock();
        let told = settled.get(&(origin, birth));
        told.is_some_and(|told| told.epoch == epoch && told.sequence <= applied)
    }

    /// What the origins of a region said last that they had.
    pub fn marks(&self, region: RegionNumber) -> Vec<(Origin, u64)> {
        let marks = self.marks.lock();
        let of = marks.iter().filter(|(origin, _)| origin.region == region);
        of.map(|(origin, mark)| (*origin, *mark)).collect()
    }

    pub fn all_marks(&self) -> BTreeMap<Origin, u64> {
        self.marks.lock().clone()
    }

    /// The origin's time up to which `applied` was all there was; 0 when that is not known.
    pub fn current_as_of_ms(&self, origin: Origin, applied: u64) -> u64 {
        match self.inner.lock().get(&origin) {
            Some((sequence, ms)) if applied >= *sequence => *ms,
            _ => 0,
        }
    }
}
