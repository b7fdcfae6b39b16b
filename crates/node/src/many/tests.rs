use std::sync::Arc;

use hansa_api::codec::Codec as Ours;
use hansa_api::pb::order::PlaceOrdersRequest;
use tokio::sync::{Semaphore, mpsc};
use tonic::codec::{Codec as _, EncodeBody};

use super::*;

type Requests = mpsc::Sender<Result<PlaceOrdersRequest, Status>>;

/// Answers each tag once a permit lets it; the tag 13 is no question.
struct Echo {
    unread: Vec<u64>,
    lets: Arc<Semaphore>,
    begun: Arc<std::sync::Mutex<Vec<u64>>>,
}

impl Desk for Echo {
    type Request = PlaceOrdersRequest;
    type Answer = u64;

    fn read(&mut self, message: PlaceOrdersRequest) {
        assert!(self.unread.is_empty(), "read before all of the last message had begun");
        self.unread = message.orders.into_iter().rev().map(|order| order.tag).collect();
    }

    fn begin(&mut self) -> Result<Option<Doing<u64>>, Failure> {
        let Some(tag) = self.unread.pop() else { return Ok(None) };
        if tag == 13 {
            return Err(Failure::of(Reason::MessageMalformed));
        }
        self.begun.lock().unwrap().push(tag);
        let lets = self.lets.clone();
        Ok(Some(Box::pin(async move {
            lets.acquire().await.unwrap().forget();
            tag
        })))
    }

    fn size(_: &u64) -> usize {
        1
    }
}

struct Rig {
    asks: Option<Requests>,
    lets: Arc<Semaphore>,
    begun: Arc<std::sync::Mutex<Vec<u64>>>,
    leaving: Leaving,
    answers: Pin<Box<dyn Stream<Item = Result<Vec<u64>, Status>> + Send>>,
}

impl Rig {
    fn new(under_way_max: usize) -> Self {
        let (asks, requests) = mpsc::channel(64);
        let mut codec = Ours::<PlaceOrdersRequest, PlaceOrdersRequest>::default();
        let (encode, decode) = (codec.encoder(), codec.decoder());
        let requests =
            stream::unfold(requests, |mut from| async move { Some((from.recv().await?, from)) });
        let requests = Box::pin(requests);
        let body = EncodeBody::new_client(encode, requests, None, None);
        let inbound = Streaming::new_request(decode, body, None, None);
        let (lets, leaving) = (Arc::new(Semaphore::new(0)), Leaving(Arc::default()));
        let begun = Arc::default();
        let desk = Echo { unread: Vec::new(), lets: lets.clone(), begun: Arc::clone(&begun) };
        let answers = Box::pin(answers(desk, inbound, under_way_max, leaving.clone()));
        Self { asks: Some(asks), lets, begun, leaving, answers }
    }

    async fn ask(&self, tags: &[u64]) {
        let order = |&tag| hansa_api::pb::order::OrderToPlace { tag, ..Default::default() };
        let orders = tags.iter().map(order).collect();
        self.asks.as_ref().unwrap().send(Ok(PlaceOrdersRequest { orders })).await.unwrap();
    }

    /// All that comes within a second, in order of tags, and how the stream ended, if it did.
    async fn hear(&mut self) -> (Vec<u64>, Option<Result<(), Reason>>) {
        let mut heard = Vec::new();
        loop {
            let next = tokio::time::timeout(Duration::from_secs(1), self.answers.next()).await;
            match next {
                Ok(Some(Ok(answers))) => heard.extend(answers),
                Ok(Some(Err(status))) => {
                    assert!(self.answers.next().await.is_none(), "ended twice");
                    heard.sort_unstable();
                    return (heard, Some(Err(Failure::from(status).reason())));
                }
                Ok(None) => return (heard, Some(Ok(()))),
                Err(_silence) => {
                    heard.sort_unstable();
                    return (heard, None);
                }
            }
        }
    }

    fn begun(&self) -> Vec<u64> {
        self.begun.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_not_read_beyond_its_room() {
    let mut rig = Rig::new(3);
    rig.ask(&[1, 2]).await;
    rig.ask(&[3, 4, 5]).await;
    rig.ask(&[6]).await;
    assert_eq!(rig.hear().await, (vec![], None));
    assert_eq!(rig.begun(), [1, 2, 3]);
    rig.lets.add_permits(2);
    assert_eq!(rig.hear().await.0.len(), 2);
    assert_eq!(rig.begun(), [1, 2, 3, 4, 5]);
    // All that was said is answered when its sender says no more.
    rig.asks = None;
    rig.lets.add_permits(9);
    let (heard, end) = rig.hear().await;
    assert_eq!((heard.len(), end), (4, Some(Ok(()))));
}

#[tokio::test(start_paused = true)]
async fn what_is_ready_at_once_leaves_in_one_message() {
    let mut rig = Rig::new(1_000);
    rig.ask(&(20..520).collect::<Vec<_>>()).await;
    assert_eq!(rig.hear().await, (vec![], None));
    rig.lets.add_permits(500);
    let mut messages = Vec::new();
    while messages.iter().sum::<usize>() < 500 {
        messages.push(rig.answers.next().await.unwrap().unwrap().len());
    }
    // The scheduler lets no task go on for ever, either.
    assert!(messages.len() < 8, "{messages:?}");
    assert!(messages.iter().all(|answers| *answers <= ANSWERS_MAX), "{messages:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leaving_connection_is_answered_what_is_under_way_and_begins_nothing() {
    let mut rig = Rig::new(2);
    rig.ask(&[1, 2, 3]).await;
    assert_eq!(rig.hear().await, (vec![], None));
    rig.leaving.0.cancel();
    assert_eq!(rig.hear().await, (vec![], None));
    rig.ask(&[4]).await;
    rig.lets.add_permits(9);
    assert_eq!(rig.hear().await, (vec![1, 2], Some(Err(Reason::Unavailable))));
    assert_eq!(rig.begun(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_leaves_before_its_connection_is_cut() {
    let mut rig = Rig::new(2);
    rig.ask(&[1]).await;
    assert_eq!(rig.hear().await, (vec![], None));
    rig.leaving.0.cancel();
    let began = Instant::now();
    while rig.hear().await.1.is_none() {}
    assert!(began.elapsed() <= LEAVE_MAX + Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(LEAVE_MAX < crate::listen::Limits::default().drain_max);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_question_ends_the_stream_when_the_others_are_answered() {
    let mut rig = Rig::new(8);
    rig.ask(&[1, 2, 13, 3]).await;
    rig.ask(&[4]).await;
    rig.lets.add_permits(9);
    assert_eq!(rig.hear().await, (vec![1, 2], Some(Err(Reason::MessageMalformed))));
    assert_eq!(rig.begun(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_ends_with_what_broke_it() {
    let mut rig = Rig::new(8);
    rig.ask(&[1]).await;
    let broken = Status::from(Failure::of(Reason::MessageTooLarge));
    rig.asks.as_ref().unwrap().send(Err(broken)).await.unwrap();
    rig.lets.add_permits(1);
    assert_eq!(rig.hear().await.0, [1]);
}
