//! What a node can tell of itself: its replicas, its invariants, whether it serves.

use std::sync::OnceLock;

use hansa_api::pb::admin::{GroupReplica, InvariantReport, ReplicaRole};
use hansa_api::pb::node::Replica;
use hansa_consensus::{GroupStatus, Host, Role};
use hansa_gateway::nodes::Local;
use hansa_ledger::Ledger;
use hansa_orders::Orders;
use hansa_region_router::book::Book;
use tokio_util::sync::CancellationToken;

use super::invariants;
use super::opener::Shards;

/// The parts that know something. Orders come last; a node without them is complete with `None`.
pub struct Inside {
    host: Host,
    book: Book,
    ledger: Ledger,
    orders: OnceLock<Option<Orders>>,
    shards: Shards,
    drained: CancellationToken,
}

impl Inside {
    pub fn new(host: Host, book: Book, ledger: Ledger) -> Self {
        let (orders, drained) = (OnceLock::new(), CancellationToken::new());
        Self { host, book, ledger, orders, shards: Shards::default(), drained }
    }

    /// Everything has started. Once.
    pub fn complete(&self, orders: Option<Orders>) {
        let first = self.orders.set(orders).is_ok();
        assert!(first, "the node was completed twice");
    }

    /// Whether everything has started: before, books that lie in an orders group are not there.
    pub fn is_complete(&self) -> bool {
        self.orders.get().is_some()
    }

    /// # Errors
    /// What this node waits for, or what is broken in it.
    pub fn ready(&self) -> Result<(), String> {
        let Some(now) = self.book.now() else {
            return Err("no directory yet".to_owned());
        };
        if self.drained.is_cancelled() {
            return Err("drained: it is about to stop".to_owned());
        }
        let Some(orders) = self.orders.get() else {
            return Err("starting".to_owned());
        };
        for status in self.host.statuses() {
            if let Some(why) = status.stopped {
                return Err(format!("{} has stopped: {why}", status.group));
            }
            // A group that this node hosts and that does not count on it is none of its duties.
            let duty = now.groups.get(&status.group).is_some_and(|of| of.contains(&status.node));
            if !duty {
                continue;
            }
            if !status.voters.contains(&status.node) {
                return Err(format!("waits to become a voter of {}", status.group));
            }
            if status.leader.is_none() {
                return Err(format!("{} has no leader", status.group));
            }
        }
        orders.as_ref().map_or(Ok(()), Orders::ready)
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The orders groups that keep their books.
    pub fn shards(&self) -> &Shards {
        &self.shards
    }

    /// The orders role, once it has started on a node that has it.
    pub fn orders(&self) -> Option<&Orders> {
        self.orders.get().and_then(Option::as_ref)
    }

    /// The residency policy by which this node goes; 0 until it knows one.
    pub fn policy_version(&self) -> u64 {
        self.book.now().map_or(0, |now| now.policy.version())
    }

    pub fn book(&self) -> &Book {
        &self.book
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Cancelled once an operator has drained this node.
    pub fn drained(&self) -> &CancellationToken {
        &self.drained
    }

    /// Ends streams that would never end by themselves; their callers go on elsewhere.
    pub fn close_watches(&self) {
        if let Some(Some(orders)) = self.orders.get() {
            orders.close_watches();
        }
    }
}

#[tonic::async_trait]
impl Local for Inside {
    fn replicas(&self) -> Vec<Replica> {
        let statuses = self.host.statuses();
        statuses.into_iter().map(replica).collect()
    }

    async fn check_invariants(&self) -> Vec<InvariantReport> {
        let orders = self.orders.get().and_then(Option::as_ref);
        let shards = self.shards.all();
        invariants::check(&self.host.statuses(), &self.ledger, orders, &shards).await
    }
}

fn replica(status: GroupStatus) -> Replica {
    let role = match status.role {
        Role::Leader => ReplicaRole::Leader,
        Role::Candidate => ReplicaRole::Candidate,
        Role::Follower => ReplicaRole::Follower,
        Role::Learner => ReplicaRole::Learner,
        Role::Stopped => ReplicaRole::Stopped,
    };
    let replica = GroupReplica {
        node: status.node.0,
        // The gateway that asks knows the names.
        node_name: String::new(),
        reachable: true,
        term: status.term,
        leader_node: status.leader.map_or(0, |leader| leader.0),
        role: role.into(),
        last_log_index: status.last_index,
        // Entries are applied as they commit: the host tells no other index.
        committed_index: status.applied,
        applied_index: status.applied,
        state_hash: status.state_hash.to_string(),
        checkpoint_index: status.checkpoint.unwrap_or(0),
        stopped: status.stopped.unwrap_or_default(),
    };
    Replica { group: status.group.number(), replica: Some(replica) }
}
