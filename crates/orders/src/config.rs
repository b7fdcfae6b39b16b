//! How the orders role of a node is set up.

mod vault;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::vault::{Auth, Hashicorp, Vault};

/// `[orders]` of a node's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long a node that starts waits for other regions to say whether its births are theirs.
    pub ask_first_ms: u64,
    pub vault: Vault,
    pub intake: Intake,
    pub saga: Saga,
    pub provider: Sandbox,
    pub replicate: Replicate,
    pub keys: Keys,
}

/// New orders that a group's leader takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Intake {
    /// While the log needs longer than this for a new order, fewer are taken.
    pub commit_within_ms: u64,
    /// So many are taken whatever it needs, and never more than so many.
    pub orders_min: usize,
    pub orders_max: usize,
}

/// The keys of the region's vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// For how long a key that was replaced still opens older logs and backups.
    pub window_ms: u64,
    /// Erasures within this time of a key's making share its replacement.
    pub erase_gap_ms: u64,
    /// How often it is looked at what is to be done.
    pub check_ms: u64,
}

/// The rules that a group decides by, up to `history_max`: those of its first leader's config go
/// into its log when it is made. No config changes them later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Saga {
    pub hold_ttl_ms: u64,
    pub hold_cap_ms: u64,
    pub funds_ttl_ms: u64,
    pub park_after_ms: u64,
    pub key_ttl_ms: u64,
    pub history_max: u16,
    /// Steps that one group's runner has under way at most.
    pub in_flight_max: usize,
    /// Commands in one batch to a ledger group.
    pub batch_max: usize,
    /// Batches under way to one ledger group.
    pub batches_max: usize,
}

/// The sandbox provider and what shields us from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sandbox {
    /// What it remembers of unusual tokens, shared by the region's nodes.
    pub journal: PathBuf,
    /// The time after which "not found" is believed.
    pub settle_ms: u64,
    /// After how long a call without an answer is in doubt.
    pub timeout_ms: u64,
    /// How late `tok_late` answers.
    pub late_ms: u64,
    /// Whether plain charges go into the journal too, so that it can list them after a restore, as
    /// providers do. Costs a line for each order.
    pub remember_all: bool,
    /// The settlement file, if one is to be written: a line for each thing it did.
    pub settlement: Option<PathBuf>,
    pub in_flight_max: usize,
    pub breaker_failures_max: u32,
    pub breaker_open_ms: u64,
}

/// How events are shipped to other regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replicate {
    pub batch_max: usize,
    /// Batches sent and not acknowledged.
    pub window: usize,
    pub bookmark_ms: u64,
    /// Between two comparisons of all that a peer has with all that it should have.
    pub compare_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        let (vault, intake, saga, provider, replicate, keys) = Default::default();
        Self { ask_first_ms: 1_000, vault, intake, saga, provider, replicate, keys }
    }
}

impl Default for Intake {
    fn default() -> Self {
        Self { commit_within_ms: 12, orders_min: 256, orders_max: 8_192 }
    }
}

impl Default for Saga {
    fn default() -> Self {
        Self {
            hold_ttl_ms: 120_000,
            hold_cap_ms: 600_000,
            funds_ttl_ms: 7 * 24 * 3_600_000,
            park_after_ms: 3_600_000,
            key_ttl_ms: hansa_types::limits::DEDUP_WINDOW_MS,
            history_max: 64,
            in_flight_max: 8_192,
            batch_max: 512,
            batches_max: 4,
        }
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self {
            journal: "sandbox.journal".into(),
            settle_ms: 10_000,
            timeout_ms: 2_000,
            late_ms: 4_000,
            remember_all: false,
            settlement: None,
            in_flight_max: 256,
            breaker_failures_max: 20,
            breaker_open_ms: 1_000,
        }
    }
}

impl Default for Replicate {
    fn default() -> Self {
        Self { batch_max: 256, window: 4, bookmark_ms: 1_000, compare_ms: 5_000 }
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self { window_ms: 7 * 24 * 3_600_000, erase_gap_ms: 3_600_000, check_ms: 5_000 }
    }
}

/// A value that cannot work, with its key and range.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("orders.{key} = {value}: must be {range}")]
pub struct BadConfig {
    pub key: &'static str,
    pub value: String,
    pub range: String,
}

impl Config {
    /// # Errors
    /// The first value that is out of range.
    pub fn check(&self) -> Result<(), BadConfig> {
        self.vault.check()?;
        let (intake, saga, provider) = (&self.intake, &self.saga, &self.provider);
        let rows = [
            ("intake.commit_within_ms", intake.commit_within_ms, 1, 60_000),
            ("intake.orders_min", intake.orders_min as u64, 1, intake.orders_max as u64),
            ("intake.orders_max", intake.orders_max as u64, 1, 1 << 20),
            ("ask_first_ms", self.ask_first_ms, 0, 60_000),
            ("saga.hold_ttl_ms", saga.hold_ttl_ms, 1_000, saga.hold_cap_ms),
            ("saga.hold_cap_ms", saga.hold_cap_ms, 1_000, saga.park_after_ms),
            // Keys must outlive every retry that a client may make.
            ("saga.key_ttl_ms", saga.key_ttl_ms, 60_000, u64::from(u32::MAX)),
            ("saga.funds_ttl_ms", saga.funds_ttl_ms, saga.hold_cap_ms, u64::from(u32::MAX)),
            ("saga.history_max", u64::from(saga.history_max), 4, 1_000),
            ("saga.in_flight_max", saga.in_flight_max as u64, 1, 1 << 20),
            ("saga.batch_max", saga.batch_max as u64, 1, 8_192),
            ("saga.batches_max", saga.batches_max as u64, 1, 64),
            ("provider.settle_ms", provider.settle_ms, provider.late_ms, 86_400_000),
            ("provider.timeout_ms", provider.timeout_ms, 1, 60_000),
            ("provider.in_flight_max", provider.in_flight_max as u64, 1, 65_536),
            ("replicate.batch_max", self.replicate.batch_max as u64, 1, 4_096),
            ("replicate.window", self.replicate.window as u64, 1, 64),
            ("replicate.bookmark_ms", self.replicate.bookmark_ms, 50, 60_000),
            ("replicate.compare_ms", self.replicate.compare_ms, 50, 3_600_000),
        ];
        let keys = &self.keys;
        let rows = rows.into_iter().chain([
            ("keys.window_ms", keys.window_ms, 0, 366 * 86_400_000),
            ("keys.erase_gap_ms", keys.erase_gap_ms, 0, 30 * 86_400_000),
            ("keys.check_ms", keys.check_ms, 10, 60_000),
        ]);
        for (key, value, min, max) in rows {
            if !(min..=max).contains(&value) {
                let range = format!("{min} to {max}");
                return Err(BadConfig { key, value: value.to_string(), range });
            }
        }
        Ok(())
    }
}
