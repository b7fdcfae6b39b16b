//! While this node leads: leads the group's members to what is wanted.

use std::sync::Arc;
use std::time::Duration;

use hansa_types::id::NodeId;
use tokio::time::{Instant, sleep};

use super::plan::{self, Step};
use super::{ChangeError, Wanted};
use crate::running::Running;

/// One step takes two commits at most; a group that cannot commit gets a new leader meanwhile.
const STEP_MAX: Duration = Duration::from_secs(10);
/// Between two looks while something is left to do, and when nothing is.
const BUSY_LOOK: Duration = Duration::from_millis(100);
const IDLE_LOOK: Duration = Duration::from_secs(1);

/// Runs until the group stops.
pub(crate) async fn run(running: Arc<Running>) {
    let mut wanted = running.wanted.subscribe();
    let mut leadership = running.leadership.subscribe();
    loop {
        let want = wanted.borrow_and_update().clone();
        let mine = leadership.borrow_and_update().mine;
        let look = match want {
            Some(want) if mine && !want.voters.is_empty() => {
                tokio::select! {
                    biased;
                    () = running.stop.cancelled() => return,
                    look = converge(&running, &want) => Some(look),
                }
            }
            _ => None,
        };
        tokio::select! {
            biased;
            () = running.stop.cancelled() => return,
            changed = wanted.changed() => if changed.is_err() { return },
            changed = leadership.changed() => if changed.is_err() { return },
            () = sleep(look.unwrap_or(IDLE_LOOK)), if look.is_some() => {}
        }
    }
}

/// Makes the next step, if there is one; how long until the next look.
async fn converge(running: &Running, want: &Wanted) -> Duration {
    let (have, _) = running.have();
    let health = running.health();
    let of = |node: NodeId| health.get(&node).copied().unwrap_or_default();
    let step = plan::next(&have, want, of);
    note(running, &step);
    let due = Instant::now() + STEP_MAX;
    let done = match &step {
        Step::Settled => return IDLE_LOOK,
        Step::Wait(_) => return BUSY_LOOK,
        Step::Finish => running.finish(due).await,
        Step::AddLearner(node) => running.add_learner(*node, due).await,
        Step::SetVoters(voters) => running.set_voters(voters, due).await,
        Step::RemoveLearner(node) => running.remove(*node, due).await,
        Step::HandOver => {
            running.hand_over_to(Some(&want.voters)).await;
            Ok(())
        }
    };
    match done {
        Ok(()) => tracing::info!(group = %running.id, ?step, "members changed"),
        Err(ChangeError::NotLeader { .. } | ChangeError::Stopped) => {}
        Err(error) => tracing::info!(group = %running.id, ?step, %error, "members not changed"),
    }
    BUSY_LOOK
}

/// Says what comes next, for whoever watches.
fn note(running: &Running, step: &Step) {
    let text = match step {
        Step::Settled => String::new(),
        Step::Wait(why) => why.clone(),
        Step::Finish => "finishes the change of a leader before".to_owned(),
        Step::AddLearner(node) => format!("adds node {node} as a learner"),
        Step::SetVoters(voters) => {
            let voters: Vec<_> = voters.iter().map(NodeId::to_string).collect();
            format!("changes the voters to {}", voters.join(", "))
        }
        Step::RemoveLearner(node) => format!("removes node {node}"),
        Step::HandOver => "hands leadership over: this node is to leave".to_owned(),
    };
    *running.members_next.lock() = text;
}
