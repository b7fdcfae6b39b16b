//! Orders' events flow to the other regions, each as that region's lawful view.
//!
//! The leader of a group ships; the leader of the matching group there applies. Delivery is at
//! least once, the effect exactly once: the receiver's cursor is replicated state. What is shipped
//! is an order as it is, under its last event; events that a later one has overtaken are skipped,
//! so a peer that was away for long is caught up by as many envelopes as there are orders, not
//! events.

mod receive;
mod send;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use hansa_types::region::RegionName;
use parking_lot::Mutex;

use crate::core::remote::Origin;
pub use receive::Receiver;
pub use send::Sender;

/// How far a peer lags behind one of our groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lag {
    pub events: u64,
    /// Age of the oldest event that the peer has not acknowledged.
    pub ms: u64,
    pub connected: bool,
    pub acknowledged: u64,
}

/// Lag per peer and group index, of the groups that this node leads.
#[derive(Clone, Default)]
pub struct Lags {
    inner: Arc<Mutex<BTreeMap<(RegionName, u16), Lag>>>,
}

impl Lags {
    pub fn all(&self) -> Vec<(RegionName, u16, Lag)> {
        let inner = self.inner.lock();
        inner.iter().map(|((peer, group), lag)| (peer.clone(), *group, *lag)).collect()
    }

    fn set(&self, peer: &RegionName, group: u16, lag: Lag) {
        self.inner.lock().insert((peer.clone(), group), lag);
    }

    fn forget(&self, peer: &RegionName, group: u16) {
        self.inner.lock().remove(&(peer.clone(), group));
    }
}

/// Until when we know to have all of an origin's events, as heard on its stream. Not in the log:
/// a bookmark should not cost a write, and what is forgotten only makes the answer more modest.
#[derive(Clone, Default)]
pub struct Freshness {
    inner: Arc<Mutex<BTreeMap<Origin, (u64, u64)>>>,
}

impl Freshness {
    /// As of `ms` the origin had nothing beyond `sequence`.
    fn note(&self, origin: Origin, sequence: u64, ms: u64) {
        self.inner.lock().insert(origin, (sequence, ms));
    }

    /// The origin's time up to which `applied` was all there was; 0 when that is not known.
    pub fn current_as_of_ms(&self, origin: Origin, applied: u64) -> u64 {
        match self.inner.lock().get(&origin) {
            Some((sequence, ms)) if applied >= *sequence => *ms,
            _ => 0,
        }
    }
}
