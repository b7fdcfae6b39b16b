//! One stream's life.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hansa_api::convert::id::order_from_bytes;
use hansa_api::pb::replication as wire;
use hansa_api::pb::replication::replication_service_client::ReplicationServiceClient;
use hansa_types::country::Country;
use hansa_types::id::OrderId;
use hansa_types::limits::PEER_MESSAGE_BYTES_MAX;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::Sender;
use crate::core::remote::Terms;
use crate::core::subjects::KeyOf;
use crate::replicate::law::{Law, terms_from_wire, terms_to_wire};
use crate::vault::VaultError;

const OPEN_MAX: Duration = Duration::from_secs(5);
/// Keys that a stream remembers to have sent; it sends some twice beyond that.
const SHARED_MAX: usize = 100_000;
/// Orders that a peer asked for and that are not shipped yet.
const WANTS_MAX: usize = 4_096;

pub(super) struct Session {
    pub tx: mpsc::Sender<wire::ReplicateRequest>,
    pub inbound: Streaming<wire::ReplicateResponse>,
    /// The last sequence sent, and acknowledged.
    pub sent: u64,
    pub acked: u64,
    /// Messages that are not acknowledged.
    pub open: VecDeque<Kind>,
    pub heard: Instant,
    /// What the peer may know, as it was told last.
    pub law: Arc<Law>,
    /// Whether the law was told to the peer on this stream and answered.
    view_known: bool,
    pub view: wire::ViewState,
    pub sweep: Option<Sweeping>,
    pub wants: VecDeque<OrderId>,
    /// Live batches sent since orders were last shipped again.
    pub live_run: u32,
    pub shared: BTreeSet<KeyOf>,
    /// Events of ours that wait for an operator at the peer.
    pub parked: u64,
}

/// What a message carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Events up to this one.
    Live(u64),
    Refill,
    Probe,
    Other,
}

/// Orders of these countries are shipped again, in the order of their last events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sweeping {
    pub of: BTreeSet<Country>,
    pub swept: u64,
    pub end: u64,
    /// What the peer had when this was planned; what it loses later is not in it.
    pub lowered: u64,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("not opened in time")]
    Slow,
    #[error("the peer does not acknowledge")]
    Silent,
    #[error("the peer closed the stream")]
    Closed,
    #[error("the directory is not known")]
    NoDirectory,
    #[error("a data key cannot be shared: {0}")]
    Vault(VaultError),
    #[error("the peer refused: {0}")]
    Refused(#[from] tonic::Status),
}

impl Sender {
    /// Opens a stream and asks how far the peer is.
    pub(super) async fn open(&self) -> Result<Session, Broken> {
        let now = self.shell.map.now().map_err(|_| Broken::NoDirectory)?;
        let law = Law::of(&now, &self.peer);
        let (tx, rx) = mpsc::channel(self.shell.cfg.replicate.window + 1);
        let mut client = ReplicationServiceClient::new(self.shell.peers.gateway(&self.peer))
            .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX);
        // The question travels first: some servers answer with headers only once they heard one.
        let seq = self.hosted.group.peek(|machine| machine.state.meta.seq);
        let mut first = self.frame(law.terms.version, Vec::new(), seq, None);
        first.terms = Some(terms_to_wire(&law.terms));
        tx.send(first).await.map_err(|_| Broken::Closed)?;
        let opening = async {
            let mut inbound = client.replicate(ReceiverStream::new(rx)).await?.into_inner();
            let first = inbound.message().await?.ok_or(Broken::Closed)?;
            Ok::<_, Broken>((inbound, first))
        };
        let opened = tokio::time::timeout(OPEN_MAX, opening).await;
        let (inbound, mut first) = opened.map_err(|_| Broken::Slow)??;
        let applied = first.applied_sequence;
        let mut session = Session {
            tx,
            inbound,
            sent: applied,
            acked: applied,
            open: VecDeque::new(),
            heard: Instant::now(),
            law,
            view_known: false,
            view: wire::ViewState::default(),
            sweep: None,
            wants: VecDeque::new(),
            live_run: 0,
            shared: BTreeSet::new(),
            parked: first.parked,
        };
        session.note_view(first.view.take());
        session.note_wants(&first.wants);
        Ok(session)
    }
}

impl Session {
    pub async fn send(
        &mut self,
        message: wire::ReplicateRequest,
        kind: Kind,
    ) -> Result<(), Broken> {
        if self.open.is_empty() {
            self.heard = Instant::now();
        }
        self.open.push_back(kind);
        if let Kind::Live(upto) = kind {
            self.sent = upto;
        }
        self.tx.send(message).await.map_err(|_| Broken::Closed)
    }

    /// Takes an answer in; what it says to a probe.
    pub fn heard(
        &mut self,
        answer: wire::ReplicateResponse,
    ) -> Result<Option<wire::ProbeAnswer>, Broken> {
        self.heard = Instant::now();
        // One answer per message, in order.
        self.open.pop_front();
        self.acked = self.acked.max(answer.applied_sequence);
        if answer.rewind {
            self.sent = answer.applied_sequence;
            self.acked = answer.applied_sequence;
        }
        if self.parked != answer.parked || !answer.wants.is_empty() {
            // A key comes with what it opens, and is not kept without.
            self.shared.clear();
        }
        self.parked = answer.parked;
        self.note_view(answer.view);
        self.note_wants(&answer.wants);
        Ok(answer.probe)
    }

    fn note_wants(&mut self, wants: &[bytes::Bytes]) {
        let room = WANTS_MAX.saturating_sub(self.wants.len());
        self.wants.extend(wants.iter().filter_map(|id| order_from_bytes(id).ok()).take(room));
    }

    /// The peer did not ask for these: what it has of them is to go.
    pub fn withdraw(&mut self, orders: &[OrderId]) {
        let room = WANTS_MAX.saturating_sub(self.wants.len());
        self.wants.extend(orders.iter().take(room));
    }

    /// Takes in under which terms the peer holds what it has, and begins or resumes a sweep.
    fn note_view(&mut self, view: Option<wire::ViewState>) {
        let Some(view) = view else { return };
        if self.sweep.as_ref().is_some_and(|sweep| sweep.lowered != view.lowered) {
            self.sweep = None;
        }
        if self.view.lowered != view.lowered {
            // It gave keys back as well.
            self.shared.clear();
        }
        self.view = view;
        self.view_known = true;
        self.plan_sweep();
    }

    /// From now on the peer is told, and shown, another law.
    pub fn renew(&mut self, law: Arc<Law>) {
        self.law = law;
        // A peer that had to give keys back may get them again.
        self.shared.clear();
        self.sweep = None;
        self.view.purged_version = 0;
        self.plan_sweep();
    }

    fn held(&self) -> Terms {
        self.view.held.as_ref().and_then(terms_from_wire).unwrap_or_default()
    }

    fn plan_sweep(&mut self) {
        let terms = &self.law.terms;
        let of = terms.wider_than(&self.held());
        if of.is_empty() || self.sent == 0 {
            self.sweep = None;
        } else if self.sweep.is_none() {
            // What is sent after this is made by the new law.
            let (swept, end) = match self.view.sweep_version == terms.version {
                true => (self.view.swept_sequence, self.view.sweep_end_sequence),
                false => (0, self.sent),
            };
            let lowered = self.view.lowered;
            self.sweep = Some(Sweeping { of, swept, end, lowered });
        }
    }

    /// Whether orders wait to be shipped again and none is on its way.
    pub fn refills_due(&self) -> bool {
        (self.sweeps() || !self.wants.is_empty()) && !self.open.contains(&Kind::Refill)
    }

    /// Whether a sweep goes on. What the peer still has to take away would end it.
    pub fn sweeps(&self) -> bool {
        let purged = self.view.purged_version == self.law.terms.version;
        purged && self.sweep.as_ref().is_some_and(|sweep| sweep.swept < sweep.end)
    }

    /// Whether the peer can be compared: it holds what the law says, no less and no more.
    pub fn compares(&self) -> bool {
        let version = self.law.terms.version;
        self.view_known
            && self.sweep.is_none()
            && self.held().version == version
            && self.view.purged_version == version
            && !self.open.contains(&Kind::Probe)
    }

    /// Whether a key is to be sent; once on each stream.
    pub fn shares(&mut self, of: KeyOf) -> bool {
        if self.shared.len() >= SHARED_MAX {
            self.shared.clear();
        }
        self.shared.insert(of)
    }
}
