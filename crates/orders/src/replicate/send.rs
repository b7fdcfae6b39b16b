//! The sender: one stream per led group and peer, resumed at what the peer says it has.

use std::sync::Arc;
use std::time::Duration;

use hansa_api::convert::time::from_log;
use hansa_api::pb::replication as wire;
use hansa_api::pb::replication::replication_service_client::ReplicationServiceClient;
use hansa_consensus::Mark;
use hansa_types::id::GroupId;
use hansa_types::limits::PEER_MESSAGE_BYTES_MAX;
use hansa_types::region::RegionName;
use hansa_types::seeded::{self, Bug};
use hansa_types::time::LogTime;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::view::envelope;
use super::{Lag, Lags};
use crate::machine::OrdersMachine;
use crate::metrics;
use crate::shell::{Hosted, Shell};

const OPEN_MAX: Duration = Duration::from_secs(5);
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Silence of a peer that owes us an acknowledgement.
const ACK_MAX: Duration = Duration::from_secs(10);
/// How long a bookmark waits for a quorum to say that we still lead.
const CONFIRM_MAX: Duration = Duration::from_millis(500);
/// Between two messages that carry the heads of all groups.
const HEADS_EVERY: Duration = Duration::from_secs(5);
/// Bytes of one batch, unless one order alone is larger.
const BATCH_BYTES_MAX: usize = 1 << 20;
const _: () = assert!(BATCH_BYTES_MAX < hansa_types::limits::COMMAND_BYTES_MAX);

/// Ships one group's events to one peer for as long as this node leads the group.
pub struct Sender {
    pub shell: Arc<Shell>,
    pub hosted: Arc<Hosted>,
    pub peer: RegionName,
    pub lags: Lags,
    /// When the heads of all groups were last sent.
    pub told: Mutex<Option<Instant>>,
}

/// One stream's life.
struct Session {
    tx: mpsc::Sender<wire::ReplicateRequest>,
    inbound: Streaming<wire::ReplicateResponse>,
    /// The last sequence sent, and acknowledged.
    sent: u64,
    acked: u64,
    /// Last sequences of the batches that are not acknowledged.
    open: std::collections::VecDeque<u64>,
    heard: Instant,
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("not opened in time")]
    Slow,
    #[error("the peer does not acknowledge")]
    Silent,
    #[error("the peer closed the stream")]
    Closed,
    #[error("the peer refused: {0}")]
    Refused(#[from] tonic::Status),
}

impl Sender {
    pub async fn run(self) {
        let stop = self.shell.env.tasks.stop_token();
        let mut leadership = self.hosted.group.leadership();
        let mut backoff = BACKOFF_FIRST;
        loop {
            if !leadership.borrow_and_update().mine {
                self.lags.forget(&self.peer, self.hosted.group.id().index());
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    changed = leadership.changed() => if changed.is_err() { return },
                }
                continue;
            }
            let started = Instant::now();
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // Another leader ships from now on.
                changed = leadership.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                ended = self.session() => ended,
            };
            if started.elapsed() > BACKOFF_MAX {
                backoff = BACKOFF_FIRST;
            }
            let (peer, group) = (&self.peer, self.hosted.group.id());
            if let Err(why) = ended {
                tracing::debug!(%peer, %group, %why, "replication stream ended");
            }
            self.level(0, false);
            let wait = backoff + self.shell.env.entropy.jitter(backoff);
            backoff = (backoff * 2).min(BACKOFF_MAX);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep(wait) => {}
            }
        }
    }

    async fn session(&self) -> Result<(), Broken> {
        let mut session = self.open().await?;
        let mut applied = self.hosted.group.applied();
        let cfg = self.shell.cfg.replicate;
        let bookmark_every = Duration::from_millis(cfg.bookmark_ms);
        let mut bookmark = Instant::now();
        loop {
            applied.borrow_and_update();
            while session.open.len() < cfg.window {
                let Some(batch) = self.batch(session.sent, cfg.batch_max) else { break };
                session.send(batch).await?;
                bookmark = Instant::now() + bookmark_every;
            }
            self.level(session.acked, true);
            let patience = session.heard + ACK_MAX;
            tokio::select! {
                biased;
                answer = session.inbound.message() => session.heard(answer?)?,
                () = tokio::time::sleep_until(patience) => return Err(Broken::Silent),
                () = tokio::time::sleep_until(bookmark) => {
                    // Every batch and bookmark is acknowledged, so silence is told from idleness.
                    if session.open.len() < cfg.window {
                        session.send(self.bookmark().await).await?;
                    }
                    bookmark = Instant::now() + bookmark_every;
                }
                // Last: under load it is always ready.
                changed = applied.changed(), if session.open.len() < cfg.window => {
                    if changed.is_err() { return Ok(()) }
                }
            }
        }
    }

    /// Opens a stream and asks how far the peer is.
    async fn open(&self) -> Result<Session, Broken> {
        let (tx, rx) = mpsc::channel(self.shell.cfg.replicate.window + 1);
        let mut client = ReplicationServiceClient::new(self.shell.peers.gateway(&self.peer))
            .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX);
        // The question travels first: some servers answer with headers only once they heard one.
        let seq = self.hosted.group.peek(|machine| machine.state.meta.seq);
        tx.send(self.frame(Vec::new(), seq, None)).await.map_err(|_| Broken::Closed)?;
        let opening = async {
            let mut inbound = client.replicate(ReceiverStream::new(rx)).await?.into_inner();
            let first = inbound.message().await?.ok_or(Broken::Closed)?;
            Ok::<_, Broken>((inbound, first.applied_sequence))
        };
        let opened = tokio::time::timeout(OPEN_MAX, opening).await;
        let (inbound, applied) = opened.map_err(|_| Broken::Slow)??;
        let open = std::collections::VecDeque::new();
        let heard = Instant::now();
        Ok(Session { tx, inbound, sent: applied, acked: applied, open, heard })
    }

    /// The next events after `sent`, `None` when there are none.
    pub(crate) fn batch(&self, sent: u64, max: usize) -> Option<wire::ReplicateRequest> {
        let (envelopes, seq, now) = self.hosted.group.peek(|machine| {
            let state = &machine.state;
            let mut bytes = 0;
            let mut envelopes = Vec::new();
            for (_, id) in state.changed_after(sent).take(max) {
                let (Some(order), Some(contents)) =
                    (state.orders.get(&id), state.contents.get(&id))
                else {
                    continue;
                };
                let shown = envelope(&self.shell, &self.peer, id, order, contents);
                // No key, no event: a group with events has a vault, and its sender waits for it.
                let Ok(envelope) = shown else { break };
                bytes += envelope.encoded_len();
                // One order may be large; the batch must fit the receiver's command all the same.
                if bytes > BATCH_BYTES_MAX && !envelopes.is_empty() {
                    break;
                }
                envelopes.push(envelope);
            }
            if seeded::on(Bug::ReorderedOutbox) && envelopes.len() > 1 {
                // It leaves after the others, when the peer has passed it already.
                envelopes.remove(0);
            }
            (envelopes, state.meta.seq, state.meta.now)
        });
        (!envelopes.is_empty()).then(|| self.frame(envelopes, seq, Some(now)))
    }

    /// Says up to when the peer has all there is. An idle group's LogTime stands still, so a quorum
    /// confirms that nobody else has led it on: a leader that was cut off does not know of its
    /// successor, and its own clock would call an old copy fresh.
    async fn bookmark(&self) -> wire::ReplicateRequest {
        // Taken before the round, which then covers all that was acknowledged until here.
        let wall = LogTime(self.shell.env.clock.wall().ms());
        let look = |machine: &OrdersMachine| (machine.state.meta.seq, machine.state.meta.now);
        let group = &self.hosted.group;
        match group.read(Instant::now() + CONFIRM_MAX, look).await {
            Ok((seq, now)) => self.frame(Vec::new(), seq, Some(now.max(wall))),
            Err(_) => self.frame(Vec::new(), group.peek(look).0, None),
        }
    }

    /// `as_of`: when there was nothing beyond `seq`, if that is known.
    fn frame(
        &self,
        envelopes: Vec<wire::Envelope>,
        seq: u64,
        as_of: Option<LogTime>,
    ) -> wire::ReplicateRequest {
        let status = self.hosted.group.status();
        wire::ReplicateRequest {
            origin_region: self.shell.region.to_string(),
            group: self.hosted.group.id().number(),
            epoch: self.shell.epoch,
            view_version: self.shell.map.now().map_or(0, |now| now.policy.version()),
            envelopes,
            origin_last_sequence: seq,
            origin_time: as_of.map(from_log),
            chain_head: bytes::Bytes::copy_from_slice(&status.chain_head),
            chain_index: status.applied,
            heads: self.heads(),
        }
    }

    /// The heads of this node's groups, when it is time to tell them again.
    fn heads(&self) -> Vec<wire::GroupHead> {
        let mut told = self.told.lock();
        if told.is_some_and(|at| at.elapsed() < HEADS_EVERY) {
            return Vec::new();
        }
        *told = Some(Instant::now());
        let head = |(group, mark): (GroupId, Mark)| wire::GroupHead {
            group: group.number(),
            index: mark.index,
            head: bytes::Bytes::copy_from_slice(&mark.head),
        };
        self.shell.host.heads().into_iter().map(head).collect()
    }

    fn level(&self, acked: u64, connected: bool) {
        let group = self.hosted.group.id();
        let (seq, oldest) = self.hosted.group.peek(|machine| {
            let state = &machine.state;
            let first = state.changed_after(acked).next();
            let oldest = first.and_then(|(_, id)| state.orders.get(&id));
            (state.meta.seq, oldest.map(|order| order.updated.ms()))
        });
        if !connected {
            // What it acknowledged is not known any more; what was known stays on show.
            let known = self.lags.inner.lock().get(&(self.peer.clone(), group.index())).copied();
            let lag = Lag { connected: false, ..known.unwrap_or_default() };
            self.lags.set(&self.peer, group.index(), lag);
            return;
        }
        let now = self.shell.env.clock.wall().ms();
        let ms = oldest.map_or(0, |oldest| now.saturating_sub(oldest));
        let lag = Lag { events: seq.saturating_sub(acked), ms, connected, acknowledged: acked };
        metrics::lag(&self.peer, group, lag.events, Duration::from_millis(ms));
        self.lags.set(&self.peer, group.index(), lag);
    }
}

impl Session {
    async fn send(&mut self, batch: wire::ReplicateRequest) -> Result<(), Broken> {
        let upto = batch.envelopes.last().map_or(self.sent, |envelope| envelope.sequence);
        if self.open.is_empty() {
            self.heard = Instant::now();
        }
        self.open.push_back(upto);
        self.sent = upto;
        self.tx.send(batch).await.map_err(|_| Broken::Closed)
    }

    fn heard(&mut self, answer: Option<wire::ReplicateResponse>) -> Result<(), Broken> {
        let answer = answer.ok_or(Broken::Closed)?;
        self.heard = Instant::now();
        // One answer per message, in order.
        self.open.pop_front();
        self.acked = self.acked.max(answer.applied_sequence);
        if answer.rewind {
            self.sent = answer.applied_sequence;
            self.acked = answer.applied_sequence;
        }
        Ok(())
    }
}
