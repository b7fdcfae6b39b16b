//! Orders that came on a client's stream: to the leader of a group on one stream for all of them,
//! to another region each as a call.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use hansa_api::client::lane::{Error, Exchange, Heard, Lane, Requests, Settings};
use hansa_api::first_sent;
use hansa_api::pb::node::node_intake_service_client::NodeIntakeServiceClient;
use hansa_api::pb::node::taken_order::Result as Said;
use hansa_api::pb::node::{OrderToTake, TakeOrdersRequest, TakeOrdersResponse};
use hansa_api::principal::Principal;
use hansa_api::status::{Failure, Reason, status};
use hansa_node::layers::{Deadline, trace};
use hansa_node::tasks::{OnError, Tasks};
use hansa_types::id::NodeId;
use hansa_types::limits::{MESSAGE_BYTES_MAX, PEER_MESSAGE_BYTES_MAX};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Response, Uri};
use http_body_util::{BodyExt as _, Limited};
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status, Streaming};

use super::{Attempt, ByCall, Call, Forward, LOST_RETRY, To, Tried, Upstreams, missed_by};

const PATH: &str = "/hansa.order.v1.OrderService/PlaceOrder";
/// Bytes before a message: whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;
/// Orders of one message, and bytes of it if they are more than one.
const BATCH_MAX: usize = 256;
const BATCH_BYTES: usize = 64 * 1024;
/// What a message has around an order but for who wants it and the trace: roles, a region, numbers.
const AROUND_BYTES: usize = 256;
const _: () = assert!(2 * MESSAGE_BYTES_MAX <= PEER_MESSAGE_BYTES_MAX);
const _: () = assert!(BATCH_BYTES <= PEER_MESSAGE_BYTES_MAX);
/// How long a stream takes orders: both ends prove themselves anew with the next one, so that no
/// order goes for longer to a node whom nobody trusts any more.
const LIFE: Duration = Duration::from_secs(10);
/// Bytes of the answer to an order: what another region says is not believed to be short. Below
/// the 4 MiB at which a client who was not told otherwise breaks his whole stream off.
const ANSWER_BYTES_MAX: usize = 3 * MESSAGE_BYTES_MAX;
/// A node that takes no streams is of an older version; when to look whether it still is.
const OLDER: Duration = Duration::from_secs(10);

/// An order to pass on.
#[derive(Clone)]
pub struct Order {
    pub to: To,
    /// A `PlaceOrderRequest`, opaque.
    pub order: Bytes,
    pub principal: Principal,
    /// When its caller first sent it, Unix ms; 0 when he does not say.
    pub first_sent_ms: u64,
    pub deadline: Deadline,
}

impl Order {
    /// The call that it would have been.
    fn call(&self) -> Call {
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if self.first_sent_ms != 0 {
            headers.insert(first_sent::HEADER, HeaderValue::from(self.first_sent_ms));
        }
        let mut frame = BytesMut::with_capacity(HEAD_BYTES + self.order.len());
        frame.put_u8(0);
        // An order is a part of a message of bounded length.
        frame.put_u32(self.order.len() as u32);
        frame.extend_from_slice(&self.order);
        Call {
            to: self.to,
            uri: Uri::from_static(PATH),
            headers,
            frame: frame.freeze(),
            principal: self.principal.clone(),
            deadline: self.deadline,
            streams: false,
        }
    }
}

type Opened = Pin<Box<dyn Future<Output = Result<Streaming<TakeOrdersResponse>, Status>> + Send>>;
type Open = dyn Fn(NodeId, Requests<TakeOrdersRequest>) -> Opened + Send + Sync;

/// The streams to nodes of this region.
pub(super) struct Lanes {
    open: Arc<Open>,
    tasks: Tasks,
    lanes: Mutex<BTreeMap<NodeId, Arc<Lane<ToNode>>>>,
    /// Nodes that take none, and until when that is believed.
    older: Mutex<BTreeMap<NodeId, Instant>>,
}

impl Lanes {
    pub fn new<U: Upstreams>(upstreams: U, tasks: Tasks) -> Self {
        let open = move |node, requests| -> Opened {
            let client = NodeIntakeServiceClient::new(upstreams.node(node));
            let mut client = client.max_decoding_message_size(PEER_MESSAGE_BYTES_MAX);
            Box::pin(async move { Ok(client.take_orders(requests).await?.into_inner()) })
        };
        let (lanes, older) = (Mutex::default(), Mutex::default());
        Self { open: Arc::new(open), tasks, lanes, older }
    }

    /// The stream to a node, unless it takes none.
    fn to(&self, node: NodeId) -> Option<Arc<Lane<ToNode>>> {
        let mut older = self.older.lock();
        match older.get(&node) {
            Some(until) if Instant::now() < *until => return None,
            Some(_) => older.remove(&node),
            None => None,
        };
        drop(older);
        let mut lanes = self.lanes.lock();
        match lanes.get(&node).filter(|lane| !lane.is_over()) {
            Some(lane) => Some(lane.clone()),
            None => {
                let lane = self.make(node);
                lanes.insert(node, lane.clone());
                Some(lane)
            }
        }
    }

    fn make(&self, node: NodeId) -> Arc<Lane<ToNode>> {
        let exchange = ToNode { open: self.open.clone(), node };
        let settings = Settings { batch_max: BATCH_MAX, batch_bytes: BATCH_BYTES, life: LIFE };
        let (lane, run) = Lane::new(exchange, settings);
        let stop = self.tasks.stop_token();
        self.tasks.spawn("gateway-intake", OnError::Log, async move {
            // It would go on for as long as this gateway is there to ask.
            stop.run_until_cancelled(run).await;
        });
        Arc::new(lane)
    }

    fn is_older(&self, node: NodeId) {
        self.older.lock().insert(node, Instant::now() + OLDER);
    }
}

struct ToNode {
    open: Arc<Open>,
    node: NodeId,
}

/// An order as a lane carries it.
struct Carried {
    order: Order,
    traceparent: String,
}

#[tonic::async_trait]
impl Exchange for ToNode {
    type Ask = Carried;
    type Answer = Bytes;
    type Request = TakeOrdersRequest;
    type Response = TakeOrdersResponse;

    fn size(ask: &Carried) -> usize {
        let who = ask.order.principal.id.as_str().len();
        ask.order.order.len() + who + ask.traceparent.len() + AROUND_BYTES
    }

    fn is_late(ask: &Carried) -> bool {
        left_ms(ask.order.deadline) == 0
    }

    fn request(asks: Vec<(u64, Carried)>) -> TakeOrdersRequest {
        let order = |(tag, Carried { order, traceparent }): (u64, Carried)| OrderToTake {
            tag,
            order: order.order,
            principal: order.principal.id.to_string(),
            roles: order.principal.roles.to_string(),
            entry: order.principal.region.to_string(),
            timeout_ms: left_ms(order.deadline),
            first_sent_ms: order.first_sent_ms,
            traceparent,
        };
        TakeOrdersRequest { orders: asks.into_iter().map(order).collect() }
    }

    fn heard(response: TakeOrdersResponse) -> Heard<Bytes> {
        let answer = |result: Option<Said>| match result {
            Some(Said::Placed(placed)) => Ok(placed),
            Some(Said::Refused(refused)) => Err(status(refused)),
            None => Err(Reason::Internal.into()),
        };
        let answers = response.orders.into_iter().map(|of| (of.tag, answer(of.result)));
        Heard { answers: answers.collect(), taken: response.taken }
    }

    async fn open(
        &self,
        requests: Requests<TakeOrdersRequest>,
    ) -> Result<Streaming<TakeOrdersResponse>, Status> {
        (self.open)(self.node, requests).await
    }
}

/// An order, tried at one node after the other.
pub(super) struct OnLane<'a, U> {
    pub forward: &'a Forward<U>,
    pub lanes: Option<&'a Lanes>,
    pub order: &'a Order,
}

impl<U: Upstreams> Attempt for OnLane<'_, U> {
    /// What home answers: a response, or its refusal as it says it.
    type Answer = Result<Bytes, Status>;

    async fn at(&self, node: NodeId) -> Tried<Self::Answer> {
        let Some((lanes, lane)) = self.lanes.and_then(|lanes| Some((lanes, lanes.to(node)?)))
        else {
            return self.as_call(node).await;
        };
        let carried = Carried { order: self.order.clone(), traceparent: trace::parent() };
        match lane.ask(carried).await {
            Ok(placed) => Tried::Answered(Ok(placed)),
            Err(Error::Refused(status)) => match missed_by(&status) {
                Some(miss) => Tried::Missed(miss),
                None => Tried::Answered(Err(status)),
            },
            Err(Error::Unsent(status)) => match status.code() {
                Code::Unimplemented => {
                    lanes.is_older(node);
                    self.as_call(node).await
                }
                Code::Unavailable => Tried::Unreached,
                // It takes nothing from anybody now, as it would say of a call; or it is too late.
                _ => Tried::Answered(Err(status)),
            },
            Err(Error::Lost(status)) => Tried::Lost(status.into()),
        }
    }
}

impl<U: Upstreams> OnLane<'_, U> {
    async fn as_call(&self, node: NodeId) -> Tried<Result<Bytes, Status>> {
        let call = self.order.call();
        match (ByCall { forward: self.forward, call: &call }).at(node).await {
            Tried::Answered(answer) => {
                message(answer).await.map_or_else(Tried::Lost, Tried::Answered)
            }
            Tried::Missed(miss) => Tried::Missed(miss),
            Tried::Unreached => Tried::Unreached,
            Tried::Lost(failure) => Tried::Lost(failure),
        }
    }
}

impl<U: Upstreams> Forward<U> {
    /// Orders of streams go to nodes of this region on streams, whose loops are tasks of these.
    #[must_use]
    pub fn with_lanes(self, tasks: Tasks) -> Self {
        let lanes = Some(Arc::new(Lanes::new(self.upstreams.clone(), tasks)));
        Self { lanes, ..self }
    }

    /// Passes an order on that came on a stream; answers what home does, as it says it.
    ///
    /// # Errors
    /// As a call that is passed on.
    pub async fn order(&self, order: &Order) -> Result<Result<Bytes, Status>, Failure> {
        match order.to {
            To::Group(group) => {
                let lanes = self.lanes.as_deref();
                let attempt = OnLane { forward: self, lanes, order };
                self.to_group(group, order.deadline, &attempt).await
            }
            To::Region(region) => message(self.to_region(region, &order.call()).await?).await,
        }
    }
}

/// The one message of a call's answer, or its refusal.
///
/// # Errors
/// It broke off, or is no answer: nobody knows what was done.
async fn message(answer: Response<Body>) -> Result<Result<Bytes, Status>, Failure> {
    if let Some(status) = refused(answer.headers()) {
        return Ok(Err(status));
    }
    let answer = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let broke = Failure::new(Reason::Unavailable, "its answer broke off");
    let answer = answer.map_err(|_| broke.retry_after(LOST_RETRY))?;
    if let Some(status) = answer.trailers().and_then(refused) {
        return Ok(Err(status));
    }
    let mut frame = answer.to_bytes();
    let head = frame.split_to(HEAD_BYTES.min(frame.len()));
    match head[..] {
        [0, a, b, c, d] if u32::from_be_bytes([a, b, c, d]) as usize == frame.len() => {
            Ok(Ok(frame))
        }
        _ => Err(Failure::new(Reason::Internal, "an answer that is no message")),
    }
}

fn refused(headers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(headers).filter(|status| status.code() != Code::Ok)
}

fn left_ms(deadline: Deadline) -> u32 {
    let left = deadline.remaining().unwrap_or_default().as_millis();
    u32::try_from(left).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
