//! One node's stream to one peer: frames out, answers in, reconnected with backoff.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hansa_api::pb::raft::{ExchangeRequest, ExchangeResponse, PeerRequest};
use hansa_types::id::NodeId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

use super::{Outgoing, Shared};
use crate::link::{self, LinkError};

const CONNECT_MAX: Duration = Duration::from_secs(3);
const RETRY_FIRST: Duration = Duration::from_millis(25);
/// Cheap: the connection below has its own pauses between dials.
const RETRY_MAX: Duration = Duration::from_millis(100);
/// Requests whose answers are awaited; beyond them nothing is sent until some arrive.
const UNANSWERED_MAX: usize = 1_024;
/// Requests in one message, and the bytes after which it takes no more.
const MESSAGE_REQUESTS_MAX: usize = 64;
const MESSAGE_BYTES: usize = 2 << 20;
/// Messages that wait for the connection.
const MESSAGES_MAX: usize = 4;

type Reply = oneshot::Sender<Result<Bytes, LinkError>>;

/// Keeps the stream to one peer.
pub(super) struct Line {
    shared: Arc<Shared>,
    to: NodeId,
    rx: mpsc::Receiver<Outgoing>,
    next_id: u64,
}

/// An open stream.
struct Open {
    out: mpsc::Sender<ExchangeRequest>,
    answers: Streaming<ExchangeResponse>,
}

impl Line {
    pub fn new(shared: Arc<Shared>, to: NodeId, rx: mpsc::Receiver<Outgoing>) -> Self {
        Self { shared, to, rx, next_id: 1 }
    }

    /// Runs until the node stops. The stream is opened when there is something to send.
    pub async fn run(mut self) {
        let stop = self.shared.env.tasks.stop_token();
        let mut wait = RETRY_FIRST;
        loop {
            let first = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                first = self.rx.recv() => first,
            };
            let Some(first) = first else { return };
            let opened = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                opened = self.open() => opened,
            };
            match opened {
                Ok(open) => {
                    wait = RETRY_FIRST;
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return,
                        () = self.converse(first, open) => {}
                    }
                }
                Err(error) => {
                    tracing::debug!(to = %self.to, %error, "no stream to peer");
                    let _ = first.reply.send(Err(error.clone()));
                    self.refuse_for(wait, &error).await;
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
    }

    async fn open(&self) -> Result<Open, LinkError> {
        let (out, messages) = mpsc::channel(MESSAGES_MAX);
        let mut request = Request::new(ReceiverStream::new(messages));
        self.shared.introduce(self.to, request.metadata_mut());
        let mut client = self.shared.client(self.to);
        let opened = timeout(CONNECT_MAX, client.exchange(request)).await;
        let opened = opened.map_err(|_| LinkError::Timeout(CONNECT_MAX))?;
        let response = opened.map_err(|status| self.shared.refused(self.to, &status))?;
        self.shared.meet(self.to, response.metadata())?;
        tracing::debug!(to = %self.to, "stream to peer open");
        Ok(Open { out, answers: response.into_inner() })
    }

    /// Refuses what comes while the peer is left alone.
    async fn refuse_for(&mut self, wait: Duration, why: &LinkError) {
        let until = tokio::time::sleep(wait);
        tokio::pin!(until);
        loop {
            tokio::select! {
                biased;
                () = &mut until => return,
                next = self.rx.recv() => match next {
                    Some(next) => drop(next.reply.send(Err(why.clone()))),
                    None => return,
                },
            }
        }
    }

    /// Sends and receives until the stream breaks; dropping what is unanswered tells those who
    /// wait.
    ///
    /// Never waits to send without also receiving: two full ends would wait for each other.
    async fn converse(&mut self, first: Outgoing, open: Open) {
        let Open { out, mut answers } = open;
        let mut unanswered: BTreeMap<u64, Reply> = BTreeMap::new();
        let mut waiting = vec![first];
        loop {
            if unanswered.len() >= UNANSWERED_MAX {
                unanswered.retain(|_, reply| !reply.is_closed());
            }
            let may_take = waiting.is_empty() && unanswered.len() < UNANSWERED_MAX;
            tokio::select! {
                biased;
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => settle(&mut unanswered, answer),
                    Ok(None) => return,
                    Err(status) => {
                        tracing::debug!(to = %self.to, %status, "stream to peer broke");
                        return;
                    }
                },
                room = out.reserve(), if !waiting.is_empty() => {
                    let Ok(room) = room else { return };
                    room.send(self.message(&mut waiting, &mut unanswered));
                }
                taken = self.rx.recv_many(&mut waiting, MESSAGE_REQUESTS_MAX), if may_take => {
                    if taken == 0 {
                        return;
                    }
                }
            }
        }
    }

    /// One message of what waits, within its size; the rest stays for the next.
    fn message(
        &mut self,
        waiting: &mut Vec<Outgoing>,
        unanswered: &mut BTreeMap<u64, Reply>,
    ) -> ExchangeRequest {
        let (mut requests, mut bytes, mut taken) = (Vec::new(), 0, 0);
        for next in waiting.iter() {
            let size = request_bytes(next);
            if taken > 0 && bytes + size > MESSAGE_BYTES {
                break;
            }
            (bytes, taken) = (bytes + size, taken + 1);
        }
        for Outgoing { ask, reply } in waiting.drain(..taken) {
            // Who gave up waiting needs no answer; an append that is not sent is sent again anyhow.
            if reply.is_closed() {
                continue;
            }
            let id = self.next_id;
            self.next_id += 1;
            unanswered.insert(id, reply);
            let request: PeerRequest = link::frame(id, ask);
            requests.push(request);
        }
        let (from_node, to_node) = (self.shared.identity.node.0, self.to.0);
        ExchangeRequest { from_node, to_node, requests }
    }
}

fn request_bytes(outgoing: &Outgoing) -> usize {
    let Outgoing { ask, .. } = outgoing;
    ask.body.len() + ask.entries.iter().map(|entry| entry.len() + 8).sum::<usize>()
}

fn settle(unanswered: &mut BTreeMap<u64, Reply>, answer: ExchangeResponse) {
    for response in answer.responses {
        if let Some(reply) = unanswered.remove(&response.id) {
            let _ = reply.send(link::answer(response));
        }
    }
}
