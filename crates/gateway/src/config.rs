//! What a gateway may be told.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hansa_node::config::{Checked, Problems};
use hansa_types::limits::MESSAGE_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// A gateway's own settings.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The authorization policy (`deploy/policy/authz.toml`); without a file, the shipped one.
    pub authz_file: Option<PathBuf>,
    /// How often the file is looked at.
    pub authz_reload_ms: u64,
    /// What a client may do that `clients` does not name.
    pub rate: Rate,
    /// Rates of single clients, by the last part of their SPIFFE ids.
    pub clients: BTreeMap<String, Rate>,
    /// Streams open at a time: of `WatchOrder`, `PlaceOrders` and others.
    pub streams_max: usize,
    /// Of these, open for one client at a time, but for those of `PlaceOrders`.
    pub streams_per_client_max: usize,
    /// `PlaceOrders` streams open for one client at a time.
    pub order_streams_per_client_max: usize,
    /// Orders under way on one `PlaceOrders` stream; beyond them it is not read.
    pub orders_per_stream_max: usize,
    /// Orders under way on all streams of one client; beyond them an order is refused.
    pub orders_per_client_max: usize,
    /// Orders under way on all of these streams; beyond them an order is refused.
    pub stream_orders_max: usize,
    /// Bytes of one request message.
    pub message_bytes_max: usize,
    /// Whether reflection is served.
    pub reflection: bool,
}

/// A client's rate at one gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Calls per second, for ever.
    pub per_second: u32,
    /// Calls at once, after a silence.
    pub burst: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            authz_file: None,
            authz_reload_ms: 2_000,
            rate: Rate { per_second: 20_000, burst: 40_000 },
            clients: BTreeMap::new(),
            streams_max: 4_096,
            streams_per_client_max: 1_024,
            order_streams_per_client_max: 16,
            orders_per_stream_max: 1_024,
            orders_per_client_max: 2_048,
            stream_orders_max: 4_096,
            message_bytes_max: MESSAGE_BYTES_MAX,
            reflection: true,
        }
    }
}

impl Checked for Rate {
    fn check(&self, problems: &mut Problems) {
        problems.range("per_second", self.per_second, 1..=10_000_000);
        problems.range("burst", self.burst, 1..=10_000_000);
    }
}

impl Checked for Config {
    fn check(&self, problems: &mut Problems) {
        problems.range("authz_reload_ms", self.authz_reload_ms, 100..=3_600_000);
        problems.within("rate", &self.rate);
        for (client, rate) in &self.clients {
            problems.within(format!("clients.{client}"), rate);
        }
        // A connection between nodes holds them all, and the calls beside them.
        problems.range("streams_max", self.streams_max, 1..=100_000);
        problems.range("streams_per_client_max", self.streams_per_client_max, 1..=1_000_000);
        let order_streams = self.order_streams_per_client_max;
        problems.range("order_streams_per_client_max", order_streams, 1..=65_536);
        problems.range("orders_per_stream_max", self.orders_per_stream_max, 1..=65_536);
        problems.range("orders_per_client_max", self.orders_per_client_max, 1..=1_000_000);
        problems.range("stream_orders_max", self.stream_orders_max, 1..=1_000_000);
        problems.range("message_bytes_max", self.message_bytes_max, 1_024..=MESSAGE_BYTES_MAX);
    }
}
