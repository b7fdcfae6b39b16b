//! What a node's two ports allow, and what their bounds must never stop.

use std::time::Duration;

use hansa_node::layers::{Exempt, Settings};
use hansa_types::limits::CALL_DEADLINE_MS_MAX;

/// Calls whose answer has not begun, at a listener.
const IN_FLIGHT_MAX: usize = 4_096;

/// Raft, and the stream on which orders drive the books. Refusing them does not shed load: it costs
/// the group its leader, or leaves sagas half done, and then every client retries.
fn vital(path: &str) -> bool {
    path.starts_with("/hansa.raft.") || path == "/hansa.ledger.v1.LedgerCommandService/Submit"
}

/// Answers only when all of a snapshot is there and durable; consensus bounds it by itself.
fn slow(path: &str) -> bool {
    path == "/hansa.raft.v1.RaftPeerService/InstallSnapshot"
}

pub fn internal() -> Settings {
    let exempt = Exempt { from_shedding: vital, from_timeout: slow };
    Settings { listener: "internal", exempt, ..public() }
}

pub fn public() -> Settings {
    Settings {
        listener: "public",
        in_flight_max: IN_FLIGHT_MAX,
        timeout_max: Duration::from_millis(CALL_DEADLINE_MS_MAX),
        exempt: Exempt::NOTHING,
    }
}

#[cfg(test)]
mod tests {
    use hansa_api::methods::METHODS;

    use super::*;

    fn chosen(exempt: fn(&str) -> bool) -> Vec<&'static str> {
        METHODS.iter().map(|method| method.path).filter(|path| exempt(path)).collect()
    }

    #[test]
    fn what_consensus_lives_on_is_exempt_inside_and_nothing_outside() {
        let Exempt { from_shedding, from_timeout } = internal().exempt;
        let vital = [
            "/hansa.ledger.v1.LedgerCommandService/Submit",
            "/hansa.raft.v1.RaftPeerService/Exchange",
            "/hansa.raft.v1.RaftPeerService/InstallSnapshot",
        ];
        assert_eq!(chosen(from_shedding), vital);
        assert_eq!(chosen(from_timeout), ["/hansa.raft.v1.RaftPeerService/InstallSnapshot"]);
        let Exempt { from_shedding, from_timeout } = public().exempt;
        assert!(chosen(from_shedding).is_empty() && chosen(from_timeout).is_empty());
    }
}
