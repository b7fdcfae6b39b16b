//! Linearizable reads: rounds of ReadIndex that many reads share.
//!
//! A read joins the round that starts after it arrived, never the one in flight: that round's
//! quorum may have answered before a command that the reader already knows of was acknowledged.

use std::time::Duration;

use hansa_types::id::NodeId;
use hansa_types::seeded::{self, Bug};
use openraft::ReadPolicy;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{LinearizableReadError, RaftError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::outcome::ReadError;
use crate::raft::{Types, term_of};
use crate::running::Running;

/// Reads that may wait for a round.
const WAITING_MAX: usize = 16_384;
/// How long a round may take before its reads are told to look elsewhere: their own time is not up.
const ROUND_MAX: Duration = Duration::from_secs(5);

type Reply = oneshot::Sender<Result<u64, ReadError>>;

/// Asks for read indexes.
#[derive(Clone)]
pub(crate) struct Reads {
    tx: mpsc::Sender<Reply>,
}

impl Reads {
    pub fn new() -> (Self, Rounds) {
        let (tx, rx) = mpsc::channel(WAITING_MAX);
        (Self { tx }, Rounds { rx })
    }

    /// An index that, once applied, shows everything acknowledged before this call.
    pub async fn index(&self, deadline: Instant) -> Result<u64, ReadError> {
        let (tx, rx) = oneshot::channel();
        match self.tx.try_send(tx) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return Err(ReadError::Overloaded { retry_after: Duration::from_millis(100) });
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(ReadError::Stopped),
        }
        match timeout_at(deadline, rx).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ReadError::Stopped),
            Err(_) => Err(ReadError::Deadline),
        }
    }
}

/// Runs the rounds of one group.
pub(crate) struct Rounds {
    rx: mpsc::Receiver<Reply>,
}

impl Rounds {
    /// One round after the other, each for all reads that had arrived when it began.
    pub async fn run(mut self, running: &Running) {
        let mut waiting = Vec::new();
        while self.rx.recv_many(&mut waiting, WAITING_MAX).await > 0 {
            let index = round(running).await;
            for reply in waiting.drain(..) {
                // A reader that gave up has its answer.
                let _ = reply.send(index.clone());
            }
        }
    }
}

/// Confirms with a quorum that this node leads; the index that a read must see.
async fn round(running: &Running) -> Result<u64, ReadError> {
    let server = running.raft.server_metrics();
    if seeded::on(Bug::StaleRead) && server.borrow_watched().state.is_leader() {
        return Ok(0);
    }
    let asked = timeout(ROUND_MAX, read_index(running)).await;
    asked.unwrap_or(Err(ReadError::NotLeader { leader: None }))
}

/// An index that shows everything acknowledged before this call, once a quorum has answered what
/// left after it. Waits for as long as that takes, or this node leads.
pub(crate) async fn read_index(running: &Running) -> Result<u64, ReadError> {
    let since = running.acks.number();
    let asked = match running.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
        Ok(asked) => asked,
        Err(RaftError::APIError(refusal)) => return Err(refused(refusal)),
        Err(RaftError::Fatal(_)) => return Err(ReadError::Stopped),
    };
    let index = asked.read_log_id();
    let (term, sets) = (term_of(index.log_id()), running.voters_of_all_sets());
    tokio::select! {
        biased;
        () = running.acks.majority(running.node, term, since, &sets) => Ok(index.index()),
        leader = office_over(running, term) => Err(ReadError::NotLeader { leader }),
    }
}

/// Waits until this node leads no more in `term`; who leads then, as far as it knows.
async fn office_over(running: &Running, term: u64) -> Option<NodeId> {
    let mut server = running.raft.server_metrics();
    loop {
        let seen = server.borrow_watched().clone();
        if !seen.state.is_leader() || seen.vote.leader_id.term != term {
            return seen.current_leader.map(NodeId).filter(|leader| *leader != running.node);
        }
        if server.changed().await.is_err() {
            return None;
        }
    }
}

fn refused(why: LinearizableReadError<Types>) -> ReadError {
    let leader = match why {
        LinearizableReadError::ForwardToLeader(forward) => forward.leader_id.map(NodeId),
        // A quorum did not answer: perhaps another node leads by now, and this one does not know.
        LinearizableReadError::QuorumNotEnough(_) => None,
    };
    ReadError::NotLeader { leader }
}
