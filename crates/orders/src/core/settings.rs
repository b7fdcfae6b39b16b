//! The rules that a group decides by: part of its state, and of its log's beginning, so that every
//! replica has the same whatever its node's config says.

use hansa_types::region::RegionNumber;
use serde::{Deserialize, Serialize};

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Settings {
    pub region: RegionNumber,
    /// This group's index among the region's orders groups, and how many there are: with the
    /// default slot map a group owns the slots with `slot % groups == index`.
    pub index: u16,
    pub groups: u16,
    pub epoch: u64,
    /// How long a stock hold lives without renewal.
    pub hold_ttl_ms: u64,
    /// How long stock is held for an order at most before it is committed.
    pub hold_cap_ms: u64,
    /// How long the provider may take to know of a charge that it answered nothing about.
    pub settle_ms: u64,
    /// How long the books hold money before it is captured.
    pub funds_ttl_ms: u64,
    /// How long a saga may be on its way before an operator is told.
    pub park_after_ms: u64,
    /// How long a request id is remembered.
    pub key_ttl_ms: u64,
    /// Changes kept per order for watchers; older ones answer `COMPACTED`.
    pub history_max: u16,
    /// How long nothing has to have happened to an order that is over before it leaves hot state; 0
    /// for never.
    pub evict_after_ms: u64,
}
