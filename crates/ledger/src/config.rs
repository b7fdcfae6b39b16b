//! What a node's ledger is started with.

use std::path::PathBuf;

use hansa_types::id::NodeId;
use hansa_types::limits::DEDUP_WINDOW_MS;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::core::{inventory, payments};

/// The groups of one kind that this region has, all of which this node keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Groups {
    /// How many; a slot belongs to group `slot % count` until the directory says otherwise.
    pub count: u16,
    /// The nodes that keep them, this one among them.
    pub members: Vec<NodeId>,
}

/// Where read views are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Views {
    /// Gone with the process, built again at its next start.
    Memory,
    /// In folders below this one.
    Folder(PathBuf),
}

/// The ledger of one node. Everything but `views` must be the same on all members of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `None`: the node has no `inventory` role.
    pub inventory: Option<Groups>,
    /// `None`: the node has no `payments` role.
    pub payments: Option<Groups>,
    /// Groups of each kind, from index 0 on, that lie in orders groups: they are not started here
    /// but attached once those have started ([`crate::Ledger::attach`]).
    #[serde(default)]
    pub parts: u16,
    pub views: Views,
    /// Memory that each view may use for pages; sled may use several times as much.
    #[serde(default = "cache_bytes")]
    pub view_cache_bytes: u64,
    /// How long transfer ids and request ids are remembered. Takes effect for new groups only.
    #[serde(default = "id_window_ms")]
    pub id_window_ms: u64,
    /// The longest that a stock hold may live, however often it is extended. New groups only.
    #[serde(default = "hold_ms_max")]
    pub hold_ms_max: u64,
    /// The warehouse of stock that names none. New groups only.
    #[serde(default = "default_warehouse")]
    pub default_warehouse: String,
    /// Batches that one caller's stream may have under way; the next one waits in the stream.
    #[serde(default = "batches_in_flight_max")]
    pub batches_in_flight_max: usize,
}

/// Why a config is refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{key} is {value}, must be {range}")]
pub struct BadConfig {
    pub key: &'static str,
    pub value: String,
    pub range: &'static str,
}

impl Config {
    /// A config with the defaults and no groups.
    pub fn new(views: Views) -> Self {
        Self {
            inventory: None,
            payments: None,
            parts: 0,
            views,
            view_cache_bytes: cache_bytes(),
            id_window_ms: id_window_ms(),
            hold_ms_max: hold_ms_max(),
            default_warehouse: default_warehouse(),
            batches_in_flight_max: batches_in_flight_max(),
        }
    }

    /// # Errors
    /// The first value that lies outside its range.
    pub fn check(&self) -> Result<(), BadConfig> {
        let refuse = |key, value: String, range| Err(BadConfig { key, value, range });
        let groups = [("inventory.count", &self.inventory), ("payments.count", &self.payments)];
        for (key, groups) in groups {
            if let Some(groups) = groups
                && !(1..=GROUPS_MAX).contains(&groups.count)
            {
                return refuse(key, groups.count.to_string(), "1 to 256");
            }
            if groups.as_ref().is_some_and(|groups| self.parts > groups.count) {
                return refuse("parts", self.parts.to_string(), "at most the groups of each kind");
            }
        }
        if !(ID_WINDOW_MS_MIN..=ID_WINDOW_MS_MAX).contains(&self.id_window_ms) {
            let range = "a minute to 30 days, in ms";
            return refuse("id_window_ms", self.id_window_ms.to_string(), range);
        }
        if self.hold_ms_max == 0 || self.hold_ms_max > ID_WINDOW_MS_MAX {
            return refuse("hold_ms_max", self.hold_ms_max.to_string(), "1 ms to 30 days, in ms");
        }
        if self.default_warehouse.parse::<hansa_types::id::WarehouseId>().is_err() {
            let range = "letters, digits and -_.: up to 64";
            return refuse("default_warehouse", self.default_warehouse.clone(), range);
        }
        if !(1..=1_024).contains(&self.batches_in_flight_max) {
            let value = self.batches_in_flight_max.to_string();
            return refuse("batches_in_flight_max", value, "1 to 1,024");
        }
        Ok(())
    }

    pub(crate) fn inventory_settings(&self) -> inventory::Settings {
        inventory::Settings {
            id_window_ms: self.id_window_ms,
            hold_ms_max: self.hold_ms_max,
            default_warehouse: self.default_warehouse.clone(),
        }
    }

    pub(crate) fn payments_settings(&self) -> payments::Settings {
        // Until the service reads the archive, a payment that had left could not be found again.
        payments::Settings { id_window_ms: self.id_window_ms, evict_after_ms: 0 }
    }
}

const GROUPS_MAX: u16 = 256;
/// Far wider than the clock skew that a leader may have (10 s).
const ID_WINDOW_MS_MIN: u64 = 60 * 1_000;
const ID_WINDOW_MS_MAX: u64 = 30 * 24 * 60 * 60 * 1_000;
const _: () = assert!(DEDUP_WINDOW_MS >= ID_WINDOW_MS_MIN && DEDUP_WINDOW_MS <= ID_WINDOW_MS_MAX);

fn cache_bytes() -> u64 {
    hansa_views::sled_view::CACHE_BYTES_DEFAULT
}

fn id_window_ms() -> u64 {
    DEDUP_WINDOW_MS
}

fn hold_ms_max() -> u64 {
    24 * 60 * 60 * 1_000
}

fn default_warehouse() -> String {
    "main".to_owned()
}

fn batches_in_flight_max() -> usize {
    64
}
