//! What this crate measures: name, unit, labels on one screen.

use metrics::{counter, gauge, histogram};
use std::time::Duration;

use hansa_types::time::WallTime;

/// `hansa_connections_refused_total{listener}`: sockets closed before their first call.
pub fn connection_refused(listener: &'static str) {
    counter!("hansa_connections_refused_total", "listener" => listener).increment(1);
}

/// `hansa_calls_shed_total{listener}`: calls refused because too many were in flight.
pub fn call_shed(listener: &'static str) {
    counter!("hansa_calls_shed_total", "listener" => listener).increment(1);
}

/// `rpc_server_call_duration_seconds{listener, code}`: from the first byte to the last.
pub fn call_ended(listener: &'static str, code: &'static str, took: Duration) {
    histogram!("rpc_server_call_duration_seconds", "listener" => listener, "code" => code)
        .record(took);
}

/// `hansa_peer_connects_total{outcome}`: dialled connections, by how that went.
pub fn peer_connect(outcome: &'static str) {
    counter!("hansa_peer_connects_total", "outcome" => outcome).increment(1);
}

/// `hansa_identity_not_after_seconds{id}`: when our certificate ends, as a Unix time; alarm weeks
/// before.
pub fn identity_ends(id: &str, not_after: WallTime) {
    let seconds = (not_after.ms() / 1000) as f64;
    gauge!("hansa_identity_not_after_seconds", "id" => id.to_owned()).set(seconds);
}

/// `hansa_identity_renewed_total{id}`: certificates or authorities that replaced others.
pub fn identity_renewed(id: &str) {
    counter!("hansa_identity_renewed_total", "id" => id.to_owned()).increment(1);
}
