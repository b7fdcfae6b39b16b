//! Who leads after this node, and the way there.

use std::collections::BTreeSet;
use std::time::Duration;

use hansa_api::status::{Failure, Reason};
use hansa_types::id::NodeId;
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::time::{Instant, timeout, timeout_at};

use crate::outcome::Leadership;
use crate::running::Running;

impl Running {
    pub async fn transfer_leadership(&self, to: NodeId) {
        if let Err(error) = self.raft.trigger().transfer_leader(to.0).await {
            tracing::warn!(group = %self.id, %to, %error, "leadership not transferred");
        }
    }

    /// The voter that is best prepared to lead: one that answers and lacks least. Never this node,
    /// nor one of `tried`.
    pub fn successor(
        &self,
        among: Option<&BTreeSet<NodeId>>,
        tried: &BTreeSet<NodeId>,
    ) -> Option<NodeId> {
        let server = self.raft.server_metrics().borrow_watched().clone();
        let health = self.health();
        let voters = server.membership_config.membership().voter_ids().map(NodeId);
        let fit = voters.filter(|voter| {
            let asked = among.is_none_or(|among| among.contains(voter));
            *voter != self.node && asked && !tried.contains(voter)
        });
        // A leader that transfers to a dead node serves nobody until the next election.
        let alive = fit.filter_map(|voter| {
            let health = health.get(&voter).filter(|health| health.alive)?;
            Some((health.lag, voter))
        });
        alive.min().map(|(_, voter)| voter)
    }

    /// Whether this node leads, be it that it serves nobody yet: it was elected a moment ago.
    pub fn leads(&self) -> bool {
        self.leads_by(*self.leadership.borrow())
    }

    fn leads_by(&self, now: Leadership) -> bool {
        now.mine || now.leader == Some(self.node)
    }

    /// Hands leadership over, if this node leads, and waits a bounded time until it has gone.
    pub async fn hand_over(&self) -> bool {
        self.hand_over_to(None).await
    }

    /// As [`Running::hand_over`], to one of these voters only. Whether this node leads no more.
    pub async fn hand_over_to(&self, among: Option<&BTreeSet<NodeId>>) -> bool {
        let mut leadership = self.leadership.subscribe();
        let due = Instant::now() + self.timing.election_max() * 2;
        let (mut tried, pause) = (BTreeSet::new(), self.timing.election_max() / 2);
        while self.leads() {
            if Instant::now() >= due {
                tracing::warn!(group = %self.id, "still leading: nobody took over in time");
                return false;
            }
            match self.successor(among, &tried) {
                // Each is asked once before one is asked again.
                Some(to) => {
                    tried.insert(to);
                    self.transfer_leadership(to).await;
                }
                None => tried.clear(),
            }
            let wait = pause.min(due.saturating_duration_since(Instant::now()));
            let gone = leadership.wait_for(|now| !self.leads_by(*now));
            // A group that has stopped leads nothing either.
            if timeout(wait, gone).await.is_ok() {
                return true;
            }
        }
        true
    }

    /// Hands leadership to `to` and waits until it leads, as far as this node hears.
    ///
    /// # Errors
    /// `MEMBERSHIP_REFUSED` for who cannot lead; `NOT_LEADER` for what may be otherwise in a
    /// moment; `DEADLINE_EXCEEDED` where it may still come.
    pub async fn hand_over_now(&self, to: NodeId, within: Duration) -> Result<(), Failure> {
        let mut leadership = self.leadership.subscribe();
        let now = *leadership.borrow_and_update();
        if !now.mine {
            return Err(Failure::not_leader(now.leader));
        }
        let refused = |why| Failure::new(Reason::MembershipRefused, why);
        let server = self.raft.server_metrics().borrow_watched().clone();
        if !server.membership_config.membership().voter_ids().any(|voter| voter == to.0) {
            return Err(refused(format!("node {to} does not vote in the group")));
        }
        if !self.health().get(&to).is_some_and(|health| health.alive) {
            return Err(refused(format!("node {to} does not answer")));
        }
        self.transfer_leadership(to).await;
        let due = Instant::now() + within;
        let led = leadership.wait_for(|now| now.leader == Some(to));
        match timeout_at(due, led).await {
            Ok(Ok(_)) => Ok(()),
            _ => {
                let why = format!("node {to} has not taken over within {within:?}");
                // Not to be repeated by itself: each try stops the group for a moment.
                Err(Failure::new(Reason::DeadlineExceeded, why))
            }
        }
    }

    /// From now on this node stands for no election of the group: it is about to stop.
    pub fn retire_from_elections(&self) {
        self.draining.store(true, std::sync::atomic::Ordering::Relaxed);
        self.raft.runtime_config().elect(false);
    }
}
