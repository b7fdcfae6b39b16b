use std::process::ExitCode;

use hansa_api::pb::admin::{
    GetReplicationStatusRequest, GetReplicationStatusResponse, IncomingStream, OutgoingStream,
};

use super::{code, say_silent};
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::member::group_name;
use crate::output::{self, Rows};
use crate::values::time;

pub async fn run(session: &Session) -> Result<ExitCode, Problem> {
    let request = GetReplicationStatusRequest { region: session.region() };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.replication.get_replication_status(request).await
        })
        .await?;
    let name = "hansa.admin.v1.GetReplicationStatusResponse";
    output::print(session.format, name, &response, rows)?;
    say_silent(&response.silent_nodes);
    Ok(code(wrong(&response), !response.silent_nodes.is_empty()))
}

/// Lag is no fault; what waits for an operator, and what differs, is.
fn wrong(response: &GetReplicationStatusResponse) -> bool {
    let out = |s: &OutgoingStream| s.differences > 0 || s.parked_at_peer > 0;
    response.outgoing.iter().any(out) || response.incoming.iter().any(|s| s.parked_orders > 0)
}

fn rows(response: &GetReplicationStatusResponse) -> Rows {
    let header = [
        "stream", "group", "epoch", "last", "acked", "events", "lag s", "view", "parked", "differ",
        "compared", "notes",
    ];
    let mut rows = Rows::new(&header, "nothing is replicated");
    response.outgoing.iter().for_each(|stream| rows.add(outgoing(stream)));
    response.incoming.iter().for_each(|stream| rows.add(incoming(stream)));
    rows
}

fn outgoing(stream: &OutgoingStream) -> [String; 12] {
    let mut notes = Vec::new();
    if !stream.connected {
        let why = if stream.last_error.is_empty() { "" } else { ": " };
        notes.push(format!("not connected{why}{}", stream.last_error));
    }
    if stream.purge_pending {
        notes.push("purge pending".to_owned());
    }
    if stream.sweep_end_sequence > 0 {
        let (swept, end) = (stream.swept_sequence, stream.sweep_end_sequence);
        notes.push(format!("shipped again {swept} of {end}"));
    }
    if !stream.heard {
        notes.push("lag at least: the peer was not heard since this node leads".to_owned());
    }
    let more = if stream.differences_truncated { "+" } else { "" };
    let compared = stream.compared_time.as_ref();
    [
        format!("to {}", stream.peer),
        group_name(stream.group),
        stream.epoch.to_string(),
        stream.last_sequence.to_string(),
        if stream.heard { stream.acknowledged_sequence.to_string() } else { "?".to_owned() },
        stream.lag_events.to_string(),
        seconds(stream.lag_ms),
        stream.view_version.to_string(),
        stream.parked_at_peer.to_string(),
        compared.map_or_else(|| "-".to_owned(), |_| format!("{}{more}", stream.differences)),
        time(compared),
        if notes.is_empty() { "-".to_owned() } else { notes.join("; ") },
    ]
}

fn incoming(stream: &IncomingStream) -> [String; 12] {
    let mut notes = vec![format!("{} copies", stream.copies)];
    if stream.to_purge > 0 {
        notes.push(format!("{} to purge", stream.to_purge));
    }
    let known = stream.current_as_of.is_some();
    [
        format!("from {}", stream.origin),
        format!("orders-{}", stream.origin_group),
        stream.epoch.to_string(),
        "-".to_owned(),
        stream.applied_sequence.to_string(),
        "-".to_owned(),
        if known { seconds(stream.lag_ms) } else { "?".to_owned() },
        stream.view_version.to_string(),
        stream.parked_orders.to_string(),
        "-".to_owned(),
        "-".to_owned(),
        notes.join("; "),
    ]
}

fn seconds(ms: u64) -> String {
    format!("{}.{}", ms / 1_000, ms % 1_000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_alone_is_no_fault_and_a_difference_is() {
        let mut response = GetReplicationStatusResponse::default();
        response.outgoing.push(OutgoingStream { lag_events: 5, ..Default::default() });
        assert!(!wrong(&response));
        response.outgoing[0].differences = 1;
        assert!(wrong(&response));
    }

    #[test]
    fn a_stream_that_was_never_compared_does_not_say_zero() {
        assert_eq!(outgoing(&OutgoingStream::default())[9], "-");
        assert_eq!(seconds(1_250), "1.2");
    }
}
