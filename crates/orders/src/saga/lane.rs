//! The way to one ledger group: commands in batches on one long-lived stream to its leader.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hansa_api::pb::ledger as wire;
use hansa_api::pb::ledger::RefusedReason;
use hansa_api::pb::ledger::ledger_command_service_client::LedgerCommandServiceClient;
use hansa_api::pb::ledger::submit_response::Result as Answer;
use hansa_node::env::Env;
use hansa_node::peers::Peers;
use hansa_types::id::{GroupId, NodeId};
use hansa_types::limits::PEER_MESSAGE_BYTES_MAX;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::config::Saga;
use crate::map::Map;
use crate::metrics;

/// Bytes of one batch: far below what an entry may hold.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// How long the ledger may work on a batch, and how much longer we wait before we give the
/// stream up.
const TIMEOUT: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(8);
const OPEN_MAX: Duration = Duration::from_secs(4);
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(1_000);
/// Between two guesses at who leads, and as much again by lot: after a fail-over every order waits
/// for the right one.
const GUESS_MAX: Duration = Duration::from_millis(100);

/// Which step an answer belongs to: its number, its part, and the runner's term in office.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag {
    pub term: u64,
    pub no: u64,
    pub part: u16,
}

pub struct Item {
    pub tag: Tag,
    pub command: wire::Command,
}

/// Answers of all lanes of one runner. Bounded by the steps that the runner has under way.
#[derive(Default)]
pub struct Answers {
    pub list: Mutex<Vec<(Tag, wire::Outcome)>>,
    pub bell: Notify,
}

/// The runner's end of a lane. Bounded likewise.
pub struct Lane {
    pub queue: Mutex<VecDeque<Item>>,
    pub bell: Notify,
}

impl Lane {
    pub fn push(&self, item: Item) {
        self.queue.lock().push_back(item);
        self.bell.notify_one();
    }

    /// Forgets what is queued: its runner is no longer in office.
    pub fn clear(&self) {
        self.queue.lock().clear();
    }

    fn is_empty(&self) -> bool {
        self.queue.lock().is_empty()
    }
}

/// The lane's loop.
pub struct Driver {
    pub group: GroupId,
    pub lane: Arc<Lane>,
    pub answers: Arc<Answers>,
    pub cfg: Saga,
    pub env: Env,
    pub peers: Peers,
    pub map: Map,
}

/// Why a stream ended, and where to go next.
struct Ended {
    leader: Option<NodeId>,
    wait: Duration,
}

/// What becomes of a refused batch: answered, sent again on this stream, or on another.
enum Next {
    Done,
    Again,
    End(Ended),
}

/// How much one stream takes.
struct Pace {
    /// Commands of one batch.
    size_max: usize,
    /// Batches under way: one until the first is answered, as most guesses at who leads are wrong
    /// while nobody does.
    window: usize,
    /// Until when the ledger asked to be left alone.
    pause: Option<Instant>,
    /// Refused batches that go out again on this stream, by their first sequence: several that are
    /// refused together keep their order. What was sent after them may be applied before them.
    refused: BTreeMap<u64, Vec<Item>>,
}

impl Pace {
    fn paused(&mut self) -> bool {
        self.pause = self.pause.filter(|until| *until > Instant::now());
        self.pause.is_some()
    }
}

type Sender = mpsc::Sender<wire::SubmitRequest>;

/// Batches sent and not answered, by sequence.
type Pending = BTreeMap<u64, (Vec<Item>, Instant)>;

impl Driver {
    pub async fn run(self) {
        let stop = self.env.tasks.stop_token();
        let (mut turn, mut backoff, mut leader) = (0_usize, BACKOFF_FIRST, None);
        loop {
            while self.lane.is_empty() {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = self.lane.bell.notified() => {}
                }
            }
            let node = leader.take().or_else(|| self.guess(&mut turn));
            let started = Instant::now();
            let ended = match node {
                Some(node) => tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    ended = self.session(node) => ended,
                },
                None => Ended { leader: None, wait: BACKOFF_MAX },
            };
            if started.elapsed() > BACKOFF_MAX {
                backoff = BACKOFF_FIRST;
            }
            let jitter = self.env.entropy.jitter(backoff);
            let wait = match ended.leader {
                Some(_) => ended.wait,
                None => ended.wait.max(backoff + jitter),
            };
            leader = ended.leader.filter(|leader| Some(*leader) != node);
            backoff = (backoff * 2).min(GUESS_MAX);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Ourselves first, then the other members in turn.
    fn guess(&self, turn: &mut usize) -> Option<NodeId> {
        let mut members = self.map.members(self.group);
        let me = self.peers.me();
        members.sort_by_key(|member| *member != me);
        let node = members.get(*turn % members.len().max(1)).copied();
        *turn = turn.wrapping_add(1);
        node
    }

    async fn session(&self, node: NodeId) -> Ended {
        let mut pending = Pending::new();
        let size_max = self.cfg.batch_max;
        let mut pace = Pace { size_max, window: 1, pause: None, refused: BTreeMap::new() };
        let ended = self.talk(node, &mut pending, &mut pace).await;
        pending.extend(pace.refused.into_iter().map(|(seq, items)| (seq, (items, Instant::now()))));
        // Not answered is not refused: the same ids go out again.
        for (_, (items, _)) in pending.into_iter().rev() {
            self.requeue(items);
        }
        ended
    }

    /// Puts a batch in front of all that was queued since.
    fn requeue(&self, items: Vec<Item>) {
        let mut queue = self.lane.queue.lock();
        for item in items.into_iter().rev() {
            queue.push_front(item);
        }
    }

    async fn talk(&self, node: NodeId, pending: &mut Pending, pace: &mut Pace) -> Ended {
        let (tx, rx) = mpsc::channel(self.cfg.batches_max);
        let mut client = LedgerCommandServiceClient::new(self.peers.to(node))
            .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX);
        let opened = client.submit(ReceiverStream::new(rx));
        let lost = Ended { leader: None, wait: Duration::ZERO };
        let mut inbound = match tokio::time::timeout(OPEN_MAX, opened).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => {
                tracing::debug!(group = %self.group, %node, %status, "ledger stream not opened");
                return lost;
            }
            Err(_) => return lost,
        };
        let mut seq = 0;
        loop {
            let paused = pace.paused();
            if !paused {
                std::mem::take(&mut pace.refused).into_values().rev().for_each(|i| self.requeue(i));
            }
            while !paused && pending.len() < pace.window && !self.lane.is_empty() {
                seq += 1;
                if self.send(seq, pace.size_max, &tx, pending).await.is_none() {
                    return lost;
                }
            }
            let ended = self.listen(&mut inbound, pending, pace).await;
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    /// Waits for an answer, for work when there is room for it, or for patience to run out.
    async fn listen(
        &self,
        inbound: &mut Streaming<wire::SubmitResponse>,
        pending: &mut Pending,
        pace: &mut Pace,
    ) -> Option<Ended> {
        let lost = Ended { leader: None, wait: Duration::ZERO };
        let oldest = pending.values().map(|(_, sent)| *sent).min();
        let room = pending.len() < pace.window && pace.pause.is_none();
        tokio::select! {
            biased;
            message = inbound.message() => match message {
                Ok(Some(response)) => self.take(response, pending, pace),
                Ok(None) => Some(lost),
                Err(status) => {
                    tracing::debug!(group = %self.group, %status, "ledger stream broke");
                    Some(lost)
                }
            },
            () = self.lane.bell.notified(), if room => None,
            () = sleep_until(pace.pause) => None,
            () = sleep_until(oldest.map(|sent| sent + PATIENCE)) => Some(lost),
        }
    }

    async fn send(
        &self,
        seq: u64,
        size_max: usize,
        tx: &Sender,
        pending: &mut Pending,
    ) -> Option<()> {
        let items = self.batch(size_max);
        if items.is_empty() {
            return Some(());
        }
        metrics::batch(self.group, items.len());
        let request = wire::SubmitRequest {
            seq,
            group: self.group.number(),
            commands: items.iter().map(|item| item.command.clone()).collect(),
            timeout_ms: TIMEOUT.as_millis() as u32,
        };
        pending.insert(seq, (items, Instant::now()));
        tx.send(request).await.ok()
    }

    fn batch(&self, size_max: usize) -> Vec<Item> {
        let mut queue = self.lane.queue.lock();
        let (mut items, mut bytes) = (Vec::new(), 0);
        while items.len() < size_max {
            let Some(next) = queue.front() else { break };
            bytes += next.command.encoded_len();
            if bytes > BATCH_BYTES_MAX && !items.is_empty() {
                break;
            }
            items.extend(queue.pop_front());
        }
        items
    }

    fn take(
        &self,
        response: wire::SubmitResponse,
        pending: &mut Pending,
        pace: &mut Pace,
    ) -> Option<Ended> {
        let (items, sent) = pending.remove(&response.seq)?;
        match response.result {
            Some(Answer::Outcomes(outcomes)) if outcomes.outcomes.len() == items.len() => {
                metrics::ledger_latency(self.group, sent.elapsed());
                pace.size_max = (pace.size_max * 2).min(self.cfg.batch_max);
                pace.window = self.cfg.batches_max;
                self.answer(items.into_iter().map(|item| item.tag).zip(outcomes.outcomes));
                None
            }
            Some(Answer::Refused(refused)) => {
                match self.refused(&refused, &items, pace) {
                    Next::Done => None,
                    Next::Again => {
                        pace.refused.insert(response.seq, items);
                        None
                    }
                    Next::End(ended) => {
                        // Back into the queue with the rest of what is pending.
                        pending.insert(response.seq, (items, sent));
                        Some(ended)
                    }
                }
            }
            // Not one outcome per command: the stream cannot be trusted.
            Some(Answer::Outcomes(_)) | None => {
                pending.insert(response.seq, (items, sent));
                Some(Ended { leader: None, wait: BACKOFF_MAX })
            }
        }
    }

    fn refused(&self, refused: &wire::Refused, items: &[Item], pace: &mut Pace) -> Next {
        let hint = (refused.leader_node != 0).then_some(NodeId(refused.leader_node));
        let retry = Duration::from_millis(u64::from(refused.retry_after_ms));
        let wait = |wait| Next::End(Ended { leader: hint, wait });
        match refused.reason() {
            RefusedReason::NotLeader => wait(Duration::ZERO),
            RefusedReason::Overloaded => {
                pace.pause = Some(Instant::now() + retry.clamp(BACKOFF_FIRST, BACKOFF_MAX));
                Next::Again
            }
            RefusedReason::TooLarge if items.len() > 1 => {
                pace.size_max = (items.len() / 2).max(1);
                Next::Again
            }
            // Alone and still too large, or unreadable: it will never be done.
            RefusedReason::TooLarge | RefusedReason::Malformed => {
                let code = wire::OutcomeCode::Malformed.into();
                let outcome = wire::Outcome { code, ..Default::default() };
                self.answer(items.iter().map(|item| (item.tag, outcome.clone())));
                Next::Done
            }
            // Perhaps applied, or by nobody here any more: all that is pending goes elsewhere.
            RefusedReason::Unknown
            | RefusedReason::Stopped
            | RefusedReason::UnknownGroup
            | RefusedReason::Unspecified => wait(BACKOFF_FIRST),
        }
    }

    fn answer(&self, answers: impl Iterator<Item = (Tag, wire::Outcome)>) {
        self.answers.list.lock().extend(answers);
        self.answers.bell.notify_one();
    }
}

/// Never, without a time.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
