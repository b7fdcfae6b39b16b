//! Follows the directory: whom this node knows, hears, and wants in its groups.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hansa_consensus::{Host, Membership, Wanted};
use hansa_node::layers::Deadline;
use hansa_node::peers::{Address, Peers};
use hansa_region_router::book::Book;
use hansa_region_router::change::change;
use hansa_region_router::core::directory::{Command, Snapshot};
use hansa_types::id::{GroupId, GroupKind, NodeId};
use hansa_types::identity::SpiffeId;

/// How often a leader looks whether those that were to leave have left.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const CHANGE_MAX: Duration = Duration::from_secs(5);
/// How a node says that its id is given to nobody any more: whoever watches it starts it again.
pub const RETIRED: &str = "was retired by the region's directory";

/// Keeps this node in step with its region's nodes and groups.
pub struct Members {
    trust_domain: String,
    host: Host,
    peers: Peers,
    book: Book,
    known: BTreeMap<NodeId, Address>,
    /// Groups of its roles that do not count on it, as it last said in its log.
    outside: BTreeSet<GroupId>,
}

impl Members {
    /// `known`: the nodes that were registered from the config, before the directory was known.
    pub fn new(
        trust_domain: String,
        host: Host,
        peers: Peers,
        book: Book,
        known: BTreeMap<NodeId, Address>,
    ) -> Self {
        Self { trust_domain, host, peers, book, known, outside: BTreeSet::new() }
    }

    /// Runs until this node is no longer one of its region.
    ///
    /// # Errors
    /// The directory has retired this node's id.
    pub async fn run(mut self) -> Result<(), String> {
        let mut changes = self.book.changes();
        loop {
            changes.borrow_and_update();
            if let Some(now) = self.book.now() {
                self.follow(&now)?;
                self.dismiss(&now).await;
            }
            if let Ok(Err(_)) = tokio::time::timeout(LOOK_EVERY, changes.changed()).await {
                return Ok(());
            }
        }
    }

    fn follow(&mut self, now: &Snapshot) -> Result<(), String> {
        let me = self.peers.me();
        if now.registry.get(&me).is_some_and(|record| record.retired) {
            return Err(format!(
                "node {me} {RETIRED}: start it again to go on under the id that its name has now"
            ));
        }
        let Some(region) = now.own_region() else { return Ok(()) };
        let mut nodes = BTreeMap::new();
        for node in &region.nodes {
            // A name that makes no SPIFFE id names no certificate either.
            if let Ok(id) = SpiffeId::node(&self.trust_domain, &region.name, &node.name) {
                nodes.insert(node.id, Address { id, addr: node.internal.clone() });
            }
        }
        for (node, address) in &nodes {
            if self.known.get(node) != Some(address) {
                self.host.set_name(*node, address.id.clone());
                if *node != me {
                    self.peers.set_node(*node, address.clone());
                }
            }
        }
        for gone in self.known.keys().filter(|node| !nodes.contains_key(node)) {
            tracing::info!(node = %gone, "no longer one of the region's nodes");
            self.host.remove_name(*gone);
            self.peers.remove_node(*gone);
        }
        self.known = nodes;
        self.tell(now.outside(me));
        for (group, wanted) in wanted(now) {
            self.host.want_members(group, wanted);
        }
        Ok(())
    }

    /// Says in the log which groups do not count on this node, when that changes: what they do is
    /// told to it by its peers, and its own replicas of them stand still.
    fn tell(&mut self, outside: BTreeSet<GroupId>) {
        for group in outside.difference(&self.outside) {
            tracing::warn!(%group, node = %self.peers.me(), "not one of the group's members");
        }
        for group in self.outside.difference(&outside) {
            tracing::info!(%group, node = %self.peers.me(), "one of the group's members");
        }
        self.outside = outside;
    }

    /// Tells the directory who has left the groups that this node leads.
    async fn dismiss(&self, now: &Snapshot) {
        if now.plans.values().all(|plan| plan.leaving.is_empty()) {
            return;
        }
        for (group, node) in left(now, &self.host.memberships()) {
            let keepers = now.members(GroupId::new(GroupKind::Directory, 0));
            let command = Command::Left { group, node };
            let due = Deadline::after(CHANGE_MAX);
            match change(&self.peers, keepers, &command, due).await {
                Ok(_) => tracing::info!(%group, %node, "has left"),
                Err(failure) => tracing::debug!(%group, %node, %failure, "said again later"),
            }
        }
    }
}

/// Whom each group is to have.
fn wanted(now: &Snapshot) -> impl Iterator<Item = (GroupId, Wanted)> + '_ {
    now.groups.iter().map(|(group, voters)| {
        let plan = now.plans.get(group);
        let learners = plan.map_or(&[][..], |plan| &plan.learners);
        let wanted = Wanted {
            voters: voters.iter().copied().collect(),
            learners: learners.iter().copied().collect(),
            forced: plan.is_some_and(|plan| plan.forced),
        };
        (*group, wanted)
    })
}

/// Nodes that were to leave a group led here, and are in it no more.
fn left(now: &Snapshot, led: &BTreeMap<GroupId, Membership>) -> Vec<(GroupId, NodeId)> {
    let mut gone = Vec::new();
    for (group, plan) in &now.plans {
        let Some(held) = led.get(group).filter(|held| held.leads && !held.joint) else { continue };
        let members: BTreeSet<_> = held.voters.iter().chain(&held.learners).collect();
        let left = plan.leaving.iter().filter(|node| !members.contains(node));
        gone.extend(left.map(|node| (*group, *node)));
    }
    gone
}
