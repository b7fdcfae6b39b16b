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
    /// Takes so many of what it reads, says so, and ends after a while without having answered, as
    /// a node that drains.
    Leaves(u64),
    /// Says at once that it takes nothing.
    Away,
    /// Reads, and breaks.
    Breaks,
    Refuses,
    /// Reads nothing, and says nothing.
    Sticks,
    /// Reads, and says nothing.
    Silent,
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

    fn size(ask: &u64) -> usize {
        (*ask as usize).max(10)
    }

    fn is_late(ask: &u64) -> bool {
        *ask == LATE
    }

    fn request(asks: Vec<(u64, u64)>) -> PlaceOrdersRequest {
        // The question goes where a time would.
        let order = |(tag, ask)| OrderToPlace { tag, first_sent_ms: ask, ..Default::default() };
        PlaceOrdersRequest { orders: asks.into_iter().map(order).collect() }
    }

    fn heard(response: PlaceOrdersResponse) -> Heard<u64> {
        let said = |tag: u64| match tag % 2 {
            0 => Ok(tag),
            _ => Err(Reason::MessageMalformed.into()),
        };
        let answers = response.answers.into_iter().map(|of| (of.tag, said(of.tag))).collect();
        Heard { answers, taken: response.taken }
    }

    async fn open(
        &self,
        requests: Requests<PlaceOrdersRequest>,
    ) -> Result<Streaming<PlaceOrdersResponse>, Status> {
        let turn = self.opened.fetch_add(1, Ordering::Relaxed);
        let does = *self.does.get(turn).or(self.does.last()).unwrap();
        match does {
            Does::Refuses => return Err(Failure::of(Reason::Unimplemented).into()),
            Does::Sticks => std::future::pending().await,
            Does::Answers | Does::Leaves(_) | Does::Away | Does::Breaks | Does::Silent => {}
        }
        let seen = self.seen.clone();
        let answered = stream::unfold((requests, false), move |(mut requests, left)| {
            let seen = seen.clone();
            async move {
                let broke = Err(Status::from(Reason::MessageMalformed));
                if left {
                    tokio::time::sleep(LEAVES).await;
                    return Some((broke, (requests, true)));
                }
                if let Does::Away = does {
                    let said = PlaceOrdersResponse { answers: Vec::new(), taken: Some(0) };
                    return Some((Ok(said), (requests, true)));
                }
                let request = requests.next().await?;
                seen.lock().push(request.orders.iter().map(|of| of.first_sent_ms).collect());
                let answers = request.orders.iter().map(|of| answer(of.tag)).collect();
                match does {
                    Does::Silent => std::future::pending().await,
                    Does::Breaks => Some((broke, (requests, true))),
                    Does::Leaves(taken) => {
                        let (answers, taken) = (Vec::new(), Some(taken));
                        Some((Ok(PlaceOrdersResponse { answers, taken }), (requests, true)))
                    }
                    _ => {
                        Some((Ok(PlaceOrdersResponse { answers, taken: None }), (requests, false)))
                    }
                }
            }
        });
        let mut codec = Codec::<PlaceOrdersResponse, PlaceOrdersResponse>::default();
        let (encoder, decoder) = (codec.encoder(), codec.decoder());
        let body =
            EncodeBody::new_server(encoder, Box::pin(answered), None, Default::default(), None);
        Ok(Streaming::new_response(decoder, body, http::StatusCode::OK, None, None))
    }
}

const SETTINGS: Settings =
    Settings { batch_max: 8, batch_bytes: 1_000, life: Duration::from_secs(60) };

type Seen = Arc<Mutex<Vec<Vec<u64>>>>;

#[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
fn lane(does: &[Does]) -> (Lane<Server>, Seen, Arc<AtomicUsize>) {
    let (seen, opened) = (Seen::default(), Arc::<AtomicUsize>::default());
    let server = Server { does: does.to_vec(), opened: opened.clone(), seen: seen.clone() };
    let (lane, run) = Lane::new(server, SETTINGS);
    drop(tokio::task::spawn(run));
    (lane, seen, opened)
}

const LATE: u64 = 13;
const LEAVES: Duration = Duration::from_secs(8);

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Became {
    Answered,
    Unsent(Code),
    Lost,
}

fn became(result: &Result<u64, Error>) -> Became {
    match result {
        Ok(_) | Err(Error::Refused(_)) => Became::Answered,
        Err(Error::Unsent(status)) => Became::Unsent(status.code()),
        Err(Error::Lost(status)) => {
            let wait = Failure::from(status).wait();
            assert_eq!((status.code(), wait), (Code::Unavailable, Some(LOST_RETRY)), "{status:?}");
            Became::Lost
        }
    }
}

const UNSENT: Became = Became::Unsent(Code::Unavailable);

/// What became of these, asked at one moment, and how long each took.
async fn asked(
    lane: &Lane<Server>,
    asks: impl IntoIterator<Item = u64>,
) -> Vec<(Became, Duration)> {
    let began = Instant::now();
    let ask = |ask| async move {
        let answer = lane.ask(ask).await;
        (became(&answer), began.elapsed())
    };
    futures::future::join_all(asks.into_iter().map(ask)).await
}

#[tokio::test(start_paused = true)]
async fn questions_of_one_moment_leave_together_and_each_has_its_answer() {
    let (lane, seen, opened) = lane(&[Does::Answers]);
    let asked = futures::future::join_all((14..34).map(|n| lane.ask(n))).await;
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
async fn no_message_is_beyond_its_bound_unless_it_has_one_question() {
    let (lane, seen, _) = lane(&[Does::Answers]);
    let became = asked(&lane, [900, 101, 899, 2_000, 5]).await;
    assert!(became.iter().all(|(became, _)| *became == Became::Answered), "{became:?}");
    assert_eq!(*seen.lock(), [vec![900], vec![101, 899], vec![2_000], vec![5]]);
}

#[tokio::test(start_paused = true)]
async fn what_a_leaving_server_did_not_take_is_told_at_once_and_another_stream_serves() {
    let (lane, seen, opened) = lane(&[Does::Leaves(3), Does::Answers]);
    // Eight are sent, four wait.
    let became = asked(&lane, 14..26).await;
    let lost = (Became::Lost, LEAVES);
    let (unsent, served) = ((UNSENT, Duration::ZERO), (Became::Answered, Duration::ZERO));
    let expect: Vec<_> = [[lost; 3].to_vec(), vec![unsent; 5], vec![served; 4]].concat();
    assert_eq!(became, expect);
    assert_eq!((seen.lock().len(), opened.load(Ordering::Relaxed)), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_server_that_takes_nothing() {
    let (lane, seen, opened) = lane(&[Does::Away]);
    assert_eq!(asked(&lane, 14..26).await, [(UNSENT, Duration::ZERO); 12]);
    assert_eq!((seen.lock().len(), opened.load(Ordering::Relaxed)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn what_a_broken_stream_did_not_answer_is_lost_and_what_waited_for_it_is_not() {
    let (lane, seen, _) = lane(&[Does::Breaks, Does::Answers]);
    let became: Vec<_> = asked(&lane, 14..26).await.into_iter().map(|(became, _)| became).collect();
    assert_eq!(became, [[Became::Lost; 8].to_vec(), vec![UNSENT; 4]].concat());
    assert_eq!(seen.lock().len(), 1);
    assert_eq!(asked(&lane, [1]).await[0].0, Became::Answered);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_stream_that_is_not_opened() {
    let (lane, seen, _) = lane(&[Does::Refuses]);
    let refused = (Became::Unsent(Code::Unimplemented), Duration::ZERO);
    assert_eq!(asked(&lane, 14..44).await, vec![refused; 30]);
    assert!(seen.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_takes_his_question_back() {
    let (lane, ..) = lane(&[Does::Sticks]);
    let second = Duration::from_secs(1);
    assert!(tokio::time::timeout(second, lane.ask(1)).await.is_err());
    assert!(!lane.0.waits(), "the queue grows while nobody takes from it");
}

#[tokio::test(start_paused = true)]
async fn what_is_too_late_is_not_sent() {
    let (lane, seen, _) = lane(&[Does::Answers]);
    let became: Vec<_> = asked(&lane, [1, LATE, 2]).await.into_iter().map(|(b, _)| b).collect();
    let late = Became::Unsent(Code::DeadlineExceeded);
    assert_eq!(became, [Became::Answered, late, Became::Answered]);
    assert_eq!(*seen.lock(), [[1, 2]]);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_lane_that_nobody_serves() {
    let server = Server { does: vec![Does::Answers], opened: Arc::default(), seen: Arc::default() };
    let (lane, run) = Lane::new(server, SETTINGS);
    let ask = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(run);
    };
    let (became, ()) = futures::future::join(asked(&lane, [1]), ask).await;
    assert_eq!(became, [(UNSENT, Duration::from_secs(1))]);
    assert!(lane.is_over());
    assert_eq!(asked(&lane, [1]).await, [(UNSENT, Duration::ZERO)]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_left_for_a_new_one_after_its_life() {
    let (lane, _, opened) = lane(&[Does::Answers]);
    for _ in 0..4 {
        assert_eq!(asked(&lane, [1]).await[0].0, Became::Answered);
        tokio::time::sleep(Duration::from_secs(29)).await;
    }
    assert_eq!(opened.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_opened_is_left_after_its_life() {
    let (lane, seen, opened) = lane(&[Does::Sticks, Does::Answers]);
    assert_eq!(asked(&lane, [1]).await, [(Became::Answered, SETTINGS.life)]);
    assert_eq!((seen.lock().len(), opened.load(Ordering::Relaxed)), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_answers_nothing_has_an_end() {
    let (lane, _, opened) = lane(&[Does::Silent]);
    let expect = [(Became::Lost, SETTINGS.life + ANSWERED_MAX)];
    assert_eq!((asked(&lane, [1]).await, opened.load(Ordering::Relaxed)), (expect.to_vec(), 1));
}

#[tokio::test(start_paused = true)]
async fn the_loop_ends_with_its_last_handle() {
    let server = Server { does: vec![Does::Answers], opened: Arc::default(), seen: Arc::default() };
    let (lane, run) = Lane::new(server, SETTINGS);
    let asks = async move {
        assert_eq!(asked(&lane, [1]).await[0].0, Became::Answered);
    };
    tokio::time::timeout(Duration::from_secs(1), futures::future::join(run, asks)).await.unwrap();
}
