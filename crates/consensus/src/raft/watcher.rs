//! Follows what openraft says about leadership, and acts when it stops.

use std::sync::Arc;
use std::time::Duration;

use hansa_types::id::NodeId;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver as _;

use crate::outcome::Leadership;
use crate::running::Running;

/// How often a leader looks whether anybody still follows.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Publishes leadership until the group stops. A group that stops over anything but damage of its
/// own ends the process: what openraft could not write or read, this node cannot vouch for.
pub(crate) async fn run(running: Arc<Running>) {
    let mut server = running.raft.server_metrics();
    let mut applied = running.replica.applied();
    loop {
        // Cloned at once: the guard of this watch would hold up the core.
        let seen = server.borrow_watched().clone();
        let (term, leads) = (seen.vote.leader_id.term, seen.state == ServerState::Leader);
        let voters = seen.membership_config.membership().voter_ids().count();
        let alone = leads && running.unheard_for() > running.timing.election_max();
        // In office only after its own first entry: then all that came before is applied.
        let mine = leads && !alone && running.replica.applied_term() == term;
        let leader = seen.current_leader.map(NodeId).filter(|_| !alone);
        let now = Leadership { term, leader, mine };
        publish(&running, now);
        tokio::select! {
            biased;
            () = running.stop.cancelled() => break,
            changed = server.changed() => if changed.is_err() { break },
            changed = applied.changed(), if leads && !mine => if changed.is_err() { break },
            () = tokio::time::sleep(LOOK_EVERY), if leads && voters > 1 => {}
        }
    }
    // A stop that nobody asked for. After a panic openraft leaves its running state as it was.
    if !running.stop.is_cancelled() {
        let state = running.raft.metrics().borrow_watched().running_state.clone();
        let what = state.err().map_or("openraft panicked".to_owned(), |fatal| fatal.to_string());
        running.trouble.note(what, false);
    }
    publish(&running, Leadership::default());
    act_on_trouble(&running).await;
    running.stop.cancel();
}

fn publish(running: &Running, now: Leadership) {
    let changed = running.leadership.send_if_modified(|before| {
        let changed = *before != now;
        *before = now;
        changed
    });
    if changed {
        let Leadership { term, leader, mine } = now;
        let leader = leader.map(|node| node.0);
        tracing::info!(group = %running.id, node = %running.node, term, leader, mine, "leadership");
    }
}

async fn act_on_trouble(running: &Running) {
    let Some(problem) = running.trouble.first() else { return };
    let (group, what) = (running.id, problem.what);
    if problem.group_only {
        tracing::error!(%group, what, "group stopped on this node");
        crate::metrics::stopped(group);
        if !problem.for_good {
            return;
        }
        let (checkpoints, why) = (running.checkpoints.clone(), what.clone());
        let noted = running.writer.run(move || checkpoints.stop_for_good(&why)).await;
        if let Err(error) = noted.and_then(|noted| noted) {
            running.env.exit.exit(&format!("group {group}: {what}; not noted: {error}"));
        }
    } else {
        running.env.exit.exit(&format!("group {group}: {what}"));
    }
}
