//! Request keys: one request id in its scope, one effect.

use std::collections::BTreeSet;

use hansa_pages::Table;
use hansa_types::id::OrderId;
use hansa_types::seeded::{self, Bug};
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::command::Target;
use super::subjects::KeyOf;

/// The hash of a request's scope: caller, method, home region, slot, customer, request id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Scope(pub u128);

/// A key as a command carries it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Key {
    pub scope: Scope,
    /// HMAC of the request under a vault key, so that the log tells nothing about the body.
    pub body: u128,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct KeyRow {
    pub body: u128,
    pub at: LogTime,
    pub target: Target,
    /// What its body was fingerprinted with, where that is not the key that seals the order now.
    pub under: Option<KeyOf>,
    /// Granted here alone before another owner went on with its order: nobody can say what counts.
    pub alone: bool,
}

/// Keys dropped in one step, so that an entry after a long silence stays short.
const DROP_MAX: usize = 4_096;

pub struct Keys {
    pub table: Table<Scope, KeyRow>,
    /// By time, then scope: one order on every replica, however it came by the table, because
    /// [`DROP_MAX`] may cut between keys of one time.
    order: BTreeSet<(LogTime, Scope)>,
}

/// What is known of a key.
pub enum Seen {
    Never,
    Same(Target),
    Other,
    /// Granted by an owner that was lost, and unknown to who went on.
    Lost,
}

impl Keys {
    pub fn new() -> Self {
        Self { table: Table::new("keys"), order: BTreeSet::new() }
    }

    pub fn rebuild(table: Table<Scope, KeyRow>) -> Self {
        let order = table.iter().map(|(scope, row)| (row.at, *scope)).collect();
        Self { table, order }
    }

    pub fn seen(&self, key: Key) -> Seen {
        if seeded::on(Bug::SkipDedup) {
            return Seen::Never;
        }
        match self.table.get(&key.scope) {
            None => Seen::Never,
            Some(row) if row.alone => Seen::Lost,
            Some(row) if row.body == key.body => Seen::Same(row.target),
            Some(_) => Seen::Other,
        }
    }

    pub fn remember(&mut self, key: Key, at: LogTime, target: Target) {
        self.remember_under(key, at, target, None);
    }

    /// The same of a request that another region heard, and fingerprinted with its own key.
    pub fn remember_under(&mut self, key: Key, at: LogTime, target: Target, under: Option<KeyOf>) {
        let row = KeyRow { body: key.body, at, target, under, alone: false };
        if let Some(old) = self.table.insert(key.scope, row) {
            self.order.remove(&(old.at, key.scope));
        }
        self.order.insert((at, key.scope));
    }

    /// Says of a request on `order` what it was fingerprinted with: the order is sealed anew.
    pub fn pin(&mut self, scope: Scope, order: OrderId, under: KeyOf) {
        let own = |row: &&KeyRow| row.target.order == order && row.under.is_none();
        if let Some(row) = self.table.get(&scope).filter(own).cloned() {
            self.table.insert(scope, KeyRow { under: Some(under), ..row });
        }
    }

    /// Says of a request on `order` that its present owner never heard of it.
    pub fn lose(&mut self, scope: Scope, order: OrderId) {
        let of = |row: &&KeyRow| row.target.order == order && !row.alone;
        if let Some(row) = self.table.get(&scope).filter(of).cloned() {
            self.table.insert(scope, KeyRow { alone: true, ..row });
        }
    }

    /// Drops what is older than `ttl_ms`, oldest first.
    pub fn expire(&mut self, now: LogTime, ttl_ms: u64) {
        for _ in 0..DROP_MAX {
            match self.order.first().copied() {
                Some((at, scope)) if at.plus_ms(ttl_ms) < now => {
                    self.table.remove(&scope);
                    self.order.pop_first();
                }
                _ => return,
            }
        }
    }

    /// Whether the ordered index and the table name the same keys.
    pub fn consistent(&self) -> bool {
        self.order.len() == self.table.len()
            && self.order.iter().all(|(_, scope)| self.table.contains(scope))
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self::new()
    }
}
