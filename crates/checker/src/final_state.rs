//! What harnesses read once every fault has healed and the house has settled.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::loss::Loss;
use crate::seen::{OrderSeen, PaymentSeen, StockKey, StockSeen};

/// Plain values, filled through the public and operator RPCs after the last client has stopped.
///
/// What could not be read stays out and is named in `unread`: it makes the verdict unknown, never
/// a pass.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FinalState {
    /// By name: a linearizable read of every order that any answer or listing named. `None`: the
    /// home says that there is no such order.
    pub orders: BTreeMap<String, Option<OrderSeen>>,
    /// Every entry of every page of every home region's listing.
    pub listed: Vec<Listed>,
    /// By the name of the order; `None`: it has no payment.
    pub payments: BTreeMap<String, Option<PaymentSeen>>,
    pub stock: Vec<(StockKey, StockSeen)>,
    pub groups: Vec<GroupSeen>,
    /// What other regions hold of orders, read once their copies had time to catch up.
    #[serde(default)]
    pub copies: Vec<CopySeen>,
    /// How long stock is held for an order before it runs out unless extended; 0: not said.
    #[serde(default)]
    pub hold_ms: u64,
    /// The fastest that any node's monotonic clock ran.
    ///
    /// # Units
    /// Per mille of true time; 0: all were right.
    #[serde(default)]
    pub clock_permille: u64,
    /// When the last of it was read, on the history's clock, in nanoseconds; 0: not said. What is
    /// read in the end is no older than that, however long ago the last client left.
    #[serde(default)]
    pub read_at: u64,
    /// Births that changed hands, and what was lost with that.
    #[serde(default)]
    pub loss: Loss,
    /// What the servers say of themselves (CheckInvariants).
    pub reports: Vec<Report>,
    /// The providers' journals, merged; keys as in the orders' payments.
    pub journal: Journal,
    /// What could not be read, and why.
    pub unread: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Listed {
    pub region: String,
    pub order: String,
    /// The caller's reference of the order.
    pub reference: String,
}

/// The copy of one order in a region that is not its home.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CopySeen {
    pub region: String,
    pub order: String,
    /// `None`: the region knows no such order.
    pub seen: Option<OrderSeen>,
}

impl CopySeen {
    /// Whether the copy is not yet at its home's version.
    #[must_use]
    pub fn behind(&self, state: &FinalState) -> bool {
        let home = state.orders.get(&self.order).and_then(Option::as_ref);
        home.is_some_and(|home| self.seen.as_ref().map(|seen| seen.version) != Some(home.version))
    }
}

/// One Raft group as its replicas see it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupSeen {
    pub region: String,
    pub group: String,
    pub replicas: Vec<ReplicaSeen>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplicaSeen {
    pub node: u64,
    pub applied: u64,
    /// As of `applied`; empty: not said.
    pub state_hash: String,
    /// The audit chain's head as of `applied`; empty: not said.
    pub chain_head: String,
    /// Heads or hashes that the replica remembers of earlier indexes, by index.
    pub earlier: BTreeMap<u64, Remembered>,
    /// What the replica alarms about itself; empty: serves.
    pub trouble: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Remembered {
    pub state_hash: String,
    pub chain_head: String,
}

/// One invariant of domain.md §7 as a server reports it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    pub region: String,
    pub number: u32,
    pub name: String,
    pub held: Held,
    pub detail: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Held {
    Held,
    Violated,
    Unknown,
}

/// What the provider did: the sandbox remembers charges that it kept quiet about, and voids.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Journal {
    /// By the payment's key: the minor units charged.
    pub charged: BTreeMap<String, i64>,
    pub voided: BTreeSet<String>,
}

impl Journal {
    /// The sandbox's journal as it lies on disk: lines `charge <key> <visible ms> <reference>`, the
    /// amount being the third part of the reference, and `void <key>`. Torn lines say nothing.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut journal = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["charge", key, _, reference] => {
                    let amount = reference.split('-').nth(2).and_then(|n| n.parse().ok());
                    journal.charged.extend(amount.map(|amount| (key.to_owned(), amount)));
                }
                ["void", key] => {
                    journal.voided.insert(key.to_owned());
                }
                _ => {}
            }
        }
        journal
    }
}

/// The payment's key at the provider, of an order's name.
#[must_use]
pub fn payment_key(order: &str) -> String {
    format!("pay-{}", order.rsplit('/').next().unwrap_or(order))
}
