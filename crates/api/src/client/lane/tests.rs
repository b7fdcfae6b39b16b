use std::sync::atomic::AtomicUsize;

use tonic::Code;
use tonic::codec::{Codec as _, EncodeBody};

use super::*;
use crate::codec::Codec;
use crate::pb::order::{OrderAnswer, OrderToPlace, PlaceOrdersRequest, PlaceOrdersResponse};

/// How a server treats one stream after the other.
#[derive(Clone, Copy)]
enum Does {
    /// Answers all; says of odd tags that they are malformed.
    Answers,
    /// Answers so many, and ends in order without reading on.
    Ends(usize),
    /// Reads, and breaks.
    Breaks,
    Refuses,
}

struct Server {
    does: Vec<Does>,
    opened: Arc<AtomicUsize>,
    /// Orders in each message, as it came.
    seen: Arc<Mutex<Vec<Vec<u64>>>>,
}

fn answer(tag: u64) -> OrderAnswer {
    OrderAnswer { tag, result: None }
}

#[tonic::async_trait]
impl Exchange for Server {
    type Ask = u64;
    type Answer = u64;
    type Request = PlaceOrdersRequest;
    type Response = PlaceOrdersResponse;

    fn size(_: &u64) -> usize {
        10
    }

    fn request(asks: Vec<(u64, u64)>) -> PlaceOrdersRequest {
        // The question goes where a time would.
        let order = |(tag, ask)| OrderToPlace { tag, first_sent_ms: ask, ..Default::default() };
        PlaceOrdersRequest { orders: asks.into_iter().map(order).collect() }
    }

    fn answers(response: PlaceOrdersResponse) -> Vec<(u64, Result<u64, Status>)> {
        let said = |tag: u64| match tag % 2 {
            0 => Ok(tag),
            _ => Err(Reason::MessageMalformed.into()),
        };
        response.answers.into_iter().map(|of| (of.tag, said(of.tag))).collect()
    }

    async fn open(
        &self,
        requests: Requests<PlaceOrdersRequest>,
    ) -> Result<Streaming<PlaceOrdersResponse>, Status> {
        let turn = self.opened.fetch_add(1, Ordering::Relaxed);
        let does = *self.does.get(turn).or(self.does.last()).unwrap();
        if matches!(does, Does::Refuses) {
            return Err(Failure::of(Reason::Unimplemented).into());
        }
        let seen = self.seen.clone();
        let answered = stream::unfold((requests, 0), move |(mut requests, said)| {
            let seen = seen.clone();
            async move {
                match does {
                    Does::Ends(n) if said >= n => return None,
                    _ => {}
                }
                let request = requests.next().await?;
                if let Does::Breaks = does {
                    return Some((Err(Status::from(Reason::Unavailable)), (requests, 0)));
                }
                seen.lock().push(request.orders.iter().map(|of| of.first_sent_ms).collect());
                let answers: Vec<_> = request.orders.iter().map(|of| answer(of.tag)).collect();
                let said = said + answers.len();
                Some((Ok(PlaceOrdersResponse { answers }), (requests, said)))
            }
        });
        let mut codec = Codec::<PlaceOrdersResponse, PlaceOrdersResponse>::default();
        let (encoder, decoder) = (codec.encoder(), codec.decoder());
        let body =
            EncodeBody::new_server(encoder, Box::pin(answered), None, Default::default(), None);
        Ok(Streaming::new_response(decoder, body, http::StatusCode::OK, None, None))
    }
}

type Seen = Arc<Mutex<Vec<Vec<u64>>>>;

#[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
fn lane(does: &[Does]) -> (Lane<Server>, Seen, Arc<AtomicUsize>) {
    let (seen, opened) = (Seen::default(), Arc::<AtomicUsize>::default());
    let server = Server { does: does.to_vec(), opened: opened.clone(), seen: seen.clone() };
    let settings = Settings { batch_max: 8, batch_bytes: 1_000, life: Duration::from_secs(60) };
    let (lane, run) = Lane::new(server, settings);
    drop(tokio::task::spawn(run));
    (lane, seen, opened)
}

fn ended(result: Result<u64, Error>) -> Option<Code> {
    match result {
        Err(Error::Ended(status)) => Some(status.code()),
        Ok(_) | Err(Error::Refused(_)) => None,
    }
}

#[tokio::test(start_paused = true)]
async fn questions_of_one_moment_leave_together_and_each_has_its_answer() {
    let (lane, seen, opened) = lane(&[Does::Answers]);
    let asked = futures::future::join_all((0..20).map(|n| lane.ask(n))).await;
    for (n, result) in asked.into_iter().enumerate() {
        // Numbers begin with 1: the second question has an even one.
        match n % 2 {
            0 => assert!(matches!(result, Err(Error::Refused(_))), "{n}"),
            _ => assert_eq!(result.unwrap(), n as u64 + 1),
        }
    }
    let sizes: Vec<_> = seen.lock().iter().map(Vec::len).collect();
    assert_eq!((sizes, opened.load(Ordering::Relaxed)), (vec![8, 8, 4], 1));
}

#[tokio::test(start_paused = true)]
async fn what_a_stream_that_ends_in_order_did_not_read_is_told_so() {
    let (lane, _, opened) = lane(&[Does::Ends(8), Does::Answers]);
    let asked = futures::future::join_all((0..8).map(|n| lane.ask(n))).await;
    assert!(asked.into_iter().all(|result| ended(result).is_none()));
    assert!(ended(lane.ask(1).await).is_none(), "another stream serves");
    assert_eq!(opened.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn what_a_broken_stream_did_not_answer_is_lost() {
    let (lane, ..) = lane(&[Does::Breaks, Does::Answers]);
    assert_eq!(ended(lane.ask(1).await), Some(Code::Unavailable));
    assert!(ended(lane.ask(1).await).is_none());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_stream_that_is_not_opened() {
    let (lane, seen, _) = lane(&[Does::Refuses]);
    let began = Instant::now();
    for result in futures::future::join_all((0..30).map(|n| lane.ask(n))).await {
        assert_eq!(ended(result), Some(Code::Unimplemented));
    }
    assert!(began.elapsed() < PAUSE, "{:?}", began.elapsed());
    assert!(seen.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_left_for_a_new_one_after_its_life() {
    let (lane, _, opened) = lane(&[Does::Answers]);
    for _ in 0..4 {
        assert!(ended(lane.ask(1).await).is_none());
        tokio::time::sleep(Duration::from_secs(29)).await;
    }
    assert_eq!(opened.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn the_loop_ends_with_its_last_handle() {
    let server = Server { does: vec![Does::Answers], opened: Arc::default(), seen: Arc::default() };
    let settings = Settings { batch_max: 8, batch_bytes: 1_000, life: Duration::from_secs(60) };
    let (lane, run) = Lane::new(server, settings);
    let asks = async move {
        assert!(ended(lane.ask(1).await).is_none());
    };
    tokio::time::timeout(Duration::from_secs(1), futures::future::join(run, asks)).await.unwrap();
}
