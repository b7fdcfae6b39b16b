//! While this node leads: leads the group's members to what is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hansa_types::id::NodeId;
use tokio::time::{Instant, sleep};

use super::plan::{self, Step};
use super::{ChangeError, Wanted};
use crate::raft::wire;
use crate::running::Running;

/// One step takes two commits at most; a group that cannot commit gets a new leader meanwhile.
const STEP_MAX: Duration = Duration::from_secs(10);
/// Between two looks while something is left to do, and when nothing is.
const BUSY_LOOK: Duration = Duration::from_millis(100);
const IDLE_LOOK: Duration = Duration::from_secs(1);
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// How long one that leaves listens on: some longest elections, so about what a call may take.
const GRACE_ELECTIONS: u32 = 4;

/// Learners that are to leave, and since when this node, leading, knows.
type Leaving = BTreeMap<NodeId, Instant>;

/// Runs until the group stops.
pub(crate) async fn run(running: Arc<Running>) {
    let mut leaving = Leaving::new();
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
                    look = converge(&running, &want, &mut leaving) => Some(look),
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
async fn converge(running: &Running, want: &Wanted, leaving: &mut Leaving) -> Duration {
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
        Step::AddLearner(node) => match running.may_add(*node).await {
            Ok(()) => running.add_learner(*node, due).await,
            Err(why) => {
                note(running, &Step::Wait(why));
                return IDLE_LOOK;
            }
        },
        Step::SetVoters(voters) if !answer(running, voters).await => {
            let why = "too few of the voters that would remain answer now";
            note(running, &Step::Wait(why.to_owned()));
            return BUSY_LOOK;
        }
        Step::SetVoters(voters) => running.set_voters(voters, due).await,
        Step::RemoveLearner(node) if !may_go(running, *node, of(*node).alive, leaving) => {
            return BUSY_LOOK;
        }
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

/// Whether a majority of these voters answers at this moment. What was heard lately is not enough:
/// a change to voters of which too few live can neither be committed nor taken back.
async fn answer(running: &Running, voters: &BTreeSet<NodeId>) -> bool {
    let others = voters.iter().filter(|voter| **voter != running.node);
    let asked = others.map(|voter| async move {
        running.ask_digest(*voter, wire::Digest::default(), ANSWER_MAX).await.is_ok()
    });
    let answers = futures::future::join_all(asked).await;
    let me = usize::from(voters.contains(&running.node));
    answers.into_iter().filter(|answered| *answered).count() + me > voters.len() / 2
}

/// Whether a learner that is to leave may go. A living one listens on for a while: it may have led,
/// and calls that it accepted wait there for what comes of them.
fn may_go(running: &Running, node: NodeId, alive: bool, leaving: &mut Leaving) -> bool {
    let since = *leaving.entry(node).or_insert_with(Instant::now);
    let may = !alive || since.elapsed() >= GRACE_ELECTIONS * running.timing.election_max();
    if may {
        leaving.remove(&node);
    }
    may
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
        Step::RemoveLearner(node) => format!("lets node {node} go when its calls have ended"),
        Step::HandOver => "hands leadership over: this node is to leave".to_owned(),
    };
    *running.members_next.lock() = text;
}
