//! How a new group begins: with its first members, once each of them was met.
//!
//! An empty folder may be one that was lost, and with it what was acknowledged. A member that
//! remembers says so as soon as it is met; one that is silent may remember, so two that know
//! nothing begin no other history without it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use hansa_node::tasks::OnError;
use hansa_types::id::NodeId;
use tokio::time::{Instant, sleep, timeout};

use super::{Host, StartError};
use crate::identity::Identity;
use crate::raft::wire;
use crate::running::Running;

/// How long a member may take to answer a greeting.
const GREET_MAX: Duration = Duration::from_secs(2);
/// Between two greetings.
const GREET_AGAIN: Duration = Duration::from_millis(100);
/// How often it is said who is waited for.
const SAY_EVERY: Duration = Duration::from_secs(30);
/// Members that start together are not worth a word.
const SAY_FIRST: Duration = Duration::from_secs(5);

impl Host {
    /// Begins a new group with its first members, in the background while some of them are
    /// strangers. All of them may do so: the first entry is the same.
    pub(super) async fn begin(
        &self,
        running: &Arc<Running>,
        members: Vec<NodeId>,
    ) -> Result<(), StartError> {
        let group = running.id;
        let failed = |what: String| StartError::Raft { group, what };
        let begun = running.raft.is_initialized().await.map_err(|e| failed(e.to_string()))?;
        // A node that joins later waits: a beginning of its own would be another history.
        if begun || members.is_empty() || self.inner.config.joins {
            return Ok(());
        }
        let identity = self.inner.inbound.identity.clone();
        if strangers(&identity, &members).is_empty() {
            return initialize(running, &members).await.map_err(failed);
        }
        let (running, tasks) = (running.clone(), &self.inner.env.tasks);
        tasks.spawn(format!("begin {group}"), OnError::StopNode, async move {
            let stop = running.stop.clone();
            stop.run_until_cancelled(meet_and_begin(&running, &identity, &members)).await;
        });
        Ok(())
    }
}

/// Members that this node has never met.
fn strangers(identity: &Identity, members: &[NodeId]) -> Vec<NodeId> {
    let others = members.iter().copied().filter(|member| *member != identity.node);
    others.filter(|member| identity.expects(*member).is_none()).collect()
}

/// Greets the strangers until there are none, or another member has begun.
async fn meet_and_begin(running: &Running, identity: &Identity, members: &[NodeId]) {
    let mut say = Instant::now() + SAY_FIRST;
    loop {
        match running.raft.is_initialized().await {
            Ok(false) => {}
            // Begun, or stopping: then the watcher says why.
            Ok(true) | Err(_) => return,
        }
        let strangers = strangers(identity, members);
        if strangers.is_empty() {
            match initialize(running, members).await {
                Ok(()) => return,
                Err(what) => tracing::warn!(group = %running.id, what, "not begun"),
            }
        }
        if Instant::now() >= say && !strangers.is_empty() {
            say = Instant::now() + SAY_EVERY;
            tracing::warn!(group = %running.id, ?strangers, "a new group waits for these nodes, \
                which this one has never met: start them. If the region is not new, this node has \
                lost its volume: see \"Most of a region has lost its volumes\" in docs/damage.md");
        }
        let hello = wire::Digest::default();
        let greeted = strangers.iter().map(|node| running.ask_digest(*node, hello, GREET_MAX));
        // Whether they host the group yet or not: to reach them is to meet them.
        let _met = timeout(GREET_MAX, join_all(greeted)).await;
        sleep(GREET_AGAIN).await;
    }
}

async fn initialize(running: &Running, members: &[NodeId]) -> Result<(), String> {
    let members: BTreeMap<u64, ()> = members.iter().map(|node| (node.0, ())).collect();
    match running.raft.initialize(members).await {
        Ok(()) => Ok(()),
        // A peer that began first has already sent us the first entry.
        Err(_) if running.raft.is_initialized().await.unwrap_or(false) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
