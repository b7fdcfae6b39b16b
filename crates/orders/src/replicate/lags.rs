//! How far peers are behind the groups that this node leads, and what else is known of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use hansa_types::id::OrderId;
use hansa_types::region::RegionName;
use parking_lot::Mutex;

use super::Found;

/// How far a peer lags behind one of our groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lag {
    pub events: u64,
    /// Age of the oldest event that the peer has not acknowledged.
    pub ms: u64,
    pub connected: bool,
    /// What the peer has; until it has said that, what there was when this node began to lead: it
    /// lags at least by what came since.
    pub acknowledged: u64,
    /// Whether the peer ever said what it has, since this node leads.
    pub heard: bool,
}

/// What an operator may want to know of one stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stream {
    pub epoch: u64,
    pub view_version: u64,
    pub purge_pending: bool,
    /// Orders that are shipped again: how far, and until where.
    pub sweep: Option<(u64, u64)>,
    /// Our events that wait for an operator at the peer.
    pub parked: u64,
    /// Why the last stream ended.
    pub last_error: String,
    /// When all was compared, and what differed; wall clock ms.
    pub compared_ms: u64,
    pub differences: u64,
    pub truncated: bool,
    pub compared_bytes: u64,
    pub compared_took_ms: u64,
    pub found: BTreeMap<OrderId, Found>,
    pub(super) found_as_of_ms: u64,
}

/// What was compared says nothing any more after this many times the wait between two, and at
/// least this long: a descent takes its time.
const OUTDATED_TIMES: u64 = 12;
const OUTDATED_MS_MIN: u64 = 60_000;

impl Stream {
    /// Whether it is known what differs, now that the wall clock says `wall` ms.
    pub fn compared(&self, wall: u64, every_ms: u64) -> bool {
        let outdated = every_ms.saturating_mul(OUTDATED_TIMES).max(OUTDATED_MS_MIN);
        self.compared_ms > 0 && wall.saturating_sub(self.compared_ms) <= outdated
    }
}

type Key = (RegionName, u16);

/// Per peer and group index, of the groups that this node leads.
#[derive(Clone, Default)]
pub struct Lags {
    inner: Arc<Mutex<BTreeMap<Key, (Lag, Stream)>>>,
}

impl Lags {
    pub fn all(&self) -> Vec<(RegionName, u16, Lag)> {
        let inner = self.inner.lock();
        inner.iter().map(|((peer, group), (lag, _))| (peer.clone(), *group, *lag)).collect()
    }

    pub fn streams(&self) -> Vec<(RegionName, u16, Lag, Stream)> {
        let all = self.inner.lock();
        let told = |((peer, group), (lag, stream)): (&Key, &(Lag, Stream))| {
            (peer.clone(), *group, *lag, stream.clone())
        };
        all.iter().map(told).collect()
    }

    pub(super) fn set(&self, peer: &RegionName, group: u16, lag: Lag) {
        self.inner.lock().entry((peer.clone(), group)).or_default().0 = lag;
    }

    /// How far a peer was known to lag.
    pub(super) fn of(&self, peer: &RegionName, group: u16) -> Option<Lag> {
        let known = self.inner.lock().get(&(peer.clone(), group)).map(|(lag, _)| *lag);
        known.filter(|lag| lag.heard)
    }

    pub(super) fn disconnected(&self, peer: &RegionName, group: u16) {
        self.inner.lock().entry((peer.clone(), group)).or_default().0.connected = false;
    }

    pub(super) fn tell(&self, peer: &RegionName, group: u16, how: impl FnOnce(&mut Stream)) {
        how(&mut self.inner.lock().entry((peer.clone(), group)).or_default().1);
    }

    pub(super) fn failed(&self, peer: &RegionName, group: u16, why: &str) {
        self.tell(peer, group, |stream| why.clone_into(&mut stream.last_error));
    }

    /// Whether anything was known.
    pub(super) fn forget(&self, peer: &RegionName, group: u16) -> bool {
        self.inner.lock().remove(&(peer.clone(), group)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_acknowledged_stays_known_when_its_stream_is_cut() {
        let (lags, peer) = (Lags::default(), "us-east".parse().unwrap());
        lags.disconnected(&peer, 0);
        assert_eq!(lags.of(&peer, 0), None, "never heard");
        let lag = Lag { events: 2, ms: 5, connected: true, acknowledged: 7, heard: true };
        lags.set(&peer, 0, lag);
        lags.disconnected(&peer, 0);
        assert_eq!(lags.of(&peer, 0), Some(Lag { connected: false, ..lag }));
    }

    #[test]
    fn what_was_compared_long_ago_is_not_known() {
        let stream = |compared_ms| Stream { compared_ms, ..Stream::default() };
        assert!(!stream(0).compared(1_000, 5_000), "never");
        assert!(stream(1_000).compared(61_000, 5_000));
        assert!(!stream(1_000).compared(61_001, 5_000));
        assert!(stream(1_000).compared(121_000, 10_000), "a longer wait ages it later");
    }
}
