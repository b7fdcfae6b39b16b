//! What the orders role counts and measures.
//!
//! | name | unit | labels | says |
//! |---|---|---|---|
//! | `hansa_orders_placed_total` | orders | replayed | PlaceOrder calls accepted |
//! | `hansa_orders_intake_limit` | orders | group | new orders that may be under way at once |
//! | `hansa_orders_intake_refused_total` | orders | group | new orders refused above that |
//! | `hansa_orders_erased_total` | customers | replayed | EraseCustomer calls answered |
//! | `hansa_orders_vault_seconds` | s | call, outcome | requests to HashiCorp Vault |
//! | `hansa_orders_rewrapped_total` | keys | | data keys put under a newer region key |
//! | `hansa_orders_step_seconds` | s | step | a saga step from pull to result |
//! | `hansa_orders_reports_total` | results | | results submitted |
//! | `hansa_orders_ledger_batch_commands` | commands | kind | commands in one batch |
//! | `hansa_orders_ledger_seconds` | s | kind | batch sent to answered |
//! | `hansa_orders_waiting` | calls | group | calls that wait for an order |
//! | `hansa_orders_outstanding` | steps | group | steps decided and not done |
//! | `hansa_orders_parked` | orders | group | orders that need an operator |
//! | `hansa_orders_invariant_violations` | | group | what the online check found last |
//! | `hansa_orders_replication_lag_events` | events | peer, group | not acknowledged by a peer |
//! | `hansa_orders_replication_lag_seconds` | s | peer, group | age of the oldest of these |
//! | `hansa_orders_replication_differences` | orders | peer, group | not at the peer as at home |
//! | `hansa_orders_replication_parked_total` | events | | of other regions, not applied |
//! | `hansa_orders_replication_to_purge` | orders | group | copies that hold more than they may |
//! | `hansa_orders_replication_keys_unshared_total` | keys | | not sent: the vault did not open |

use std::time::Duration;

use hansa_types::id::GroupId;
use hansa_types::region::RegionName;
use metrics::{counter, gauge, histogram};

use crate::core::effect::{Booking, Todo};

pub fn placed(replayed: bool) {
    let replayed = if replayed { "true" } else { "false" };
    counter!("hansa_orders_placed_total", "replayed" => replayed).increment(1);
}

pub fn intake_limit(group: GroupId, orders: usize) {
    gauge!("hansa_orders_intake_limit", "group" => group.to_string()).set(orders as f64);
}

pub fn intake_refused(group: GroupId) {
    let group = group.to_string();
    counter!("hansa_orders_intake_refused_total", "group" => group).increment(1);
}

pub fn rewrapped(keys: usize) {
    counter!("hansa_orders_rewrapped_total").increment(keys as u64);
}

pub fn vault_asked(call: &'static str, answered: bool, took: Duration) {
    let outcome = if answered { "answered" } else { "failed" };
    histogram!("hansa_orders_vault_seconds", "call" => call, "outcome" => outcome).record(took);
}

pub fn erased(replayed: bool) {
    let replayed = if replayed { "true" } else { "false" };
    counter!("hansa_orders_erased_total", "replayed" => replayed).increment(1);
}

pub fn step(todo: &Todo, took: Duration) {
    let step = match todo {
        Todo::Book(Booking::Stock(call)) => call.verb.name(),
        Todo::Book(Booking::HoldFunds { .. }) => "hold_funds",
        Todo::Book(Booking::VoidFunds { .. }) => "void_funds",
        Todo::Book(Booking::Capture { .. }) => "capture",
        Todo::Book(Booking::Refund { .. }) | Todo::Refund(_) => "refund",
        Todo::Book(Booking::Open(_)) => "open",
        Todo::Authorize { .. } => "authorize",
        Todo::CancelPayment { .. } => "cancel_payment",
        Todo::Lookup => "lookup",
        Todo::Settle(_) => "settle",
    };
    histogram!("hansa_orders_step_seconds", "step" => step).record(took);
}

pub fn reported(results: usize) {
    counter!("hansa_orders_reports_total").increment(results as u64);
}

pub fn batch(group: GroupId, commands: usize) {
    let kind = group.kind().as_str();
    histogram!("hansa_orders_ledger_batch_commands", "kind" => kind).record(commands as f64);
}

pub fn ledger_latency(group: GroupId, took: Duration) {
    histogram!("hansa_orders_ledger_seconds", "kind" => group.kind().as_str()).record(took);
}

/// The level of one group, taken now and then.
pub struct Level {
    pub waiting: usize,
    pub outstanding: usize,
    pub parked: usize,
    pub violations: usize,
}

pub fn level(group: GroupId, level: &Level) {
    let label = || group.to_string();
    gauge!("hansa_orders_waiting", "group" => label()).set(level.waiting as f64);
    gauge!("hansa_orders_outstanding", "group" => label()).set(level.outstanding as f64);
    gauge!("hansa_orders_parked", "group" => label()).set(level.parked as f64);
    gauge!("hansa_orders_invariant_violations", "group" => label()).set(level.violations as f64);
}

/// `None` where this node does not lead any more: no number says so.
pub fn lag(peer: &RegionName, group: GroupId, lag: Option<(u64, Duration)>) {
    let labels = || [("peer", peer.to_string()), ("group", group.to_string())];
    let (events, age) = lag.map_or((f64::NAN, f64::NAN), |(n, age)| (n as f64, age.as_secs_f64()));
    gauge!("hansa_orders_replication_lag_events", &labels()).set(events);
    gauge!("hansa_orders_replication_lag_seconds", &labels()).set(age);
}

/// `None` where it is not known: no number says so.
pub fn differences(peer: &RegionName, group: GroupId, orders: Option<u64>) {
    let labels = [("peer", peer.to_string()), ("group", group.to_string())];
    gauge!("hansa_orders_replication_differences", &labels)
        .set(orders.map_or(f64::NAN, |n| n as f64));
}

pub fn parked_events(events: u32) {
    counter!("hansa_orders_replication_parked_total").increment(u64::from(events));
}

pub fn to_purge(group: GroupId, orders: u64) {
    gauge!("hansa_orders_replication_to_purge", "group" => group.to_string()).set(orders as f64);
}

pub fn key_not_shared() {
    counter!("hansa_orders_replication_keys_unshared_total").increment(1);
}
