use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hansa_api::codec::Codec as Ours;
use hansa_api::pb::order::{OrderToPlace, PlaceOrdersRequest};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::codec::{Codec as _, EncodeBody};

use super::*;

mod drain;

type Requests = mpsc::Sender<Result<PlaceOrdersRequest, Status>>;

/// Answers each tag once a permit lets it; 13 is no question, 99 panics, 7 has no time left.
#[derive(Clone, Default)]
struct Echo {
    unread: Vec<u64>,
    lets: Arc<Lets>,
    begun: Arc<parking_lot::Mutex<Vec<u64>>>,
    /// Places taken now.
    places: Arc<AtomicUsize>,
}

struct Lets(Semaphore);

impl Default for Lets {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

struct Place(Arc<AtomicUsize>);

impl Place {
    fn of(places: &Arc<AtomicUsize>) -> Self {
        places.fetch_add(1, Ordering::Relaxed);
        Self(places.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Echo {
    fn question(&self, tag: u64) -> Question {
        let Self { lets, begun, places, .. } = self.clone();
        let doing = Box::pin(async move {
            begun.lock().push(tag);
            let _place = Place::of(&places);
            assert_ne!(tag, 99, "a question that panics");
            lets.0.acquire().await.unwrap().forget();
            Ok(Bytes::new())
        });
        let time = if tag == 7 { Duration::ZERO } else { Duration::from_secs(60) };
        let within = trace::Within::begin("test", "/hansa.order.v1.OrderService/PlaceOrder");
        Question { tag, due: Deadline::after(time), within, doing }
    }
}

impl Desk for Echo {
    type Request = PlaceOrdersRequest;

    fn read(&mut self, message: PlaceOrdersRequest) {
        assert!(self.unread.is_empty(), "read before all of the last message had begun");
        self.unread = message.orders.into_iter().rev().map(|order| order.tag).collect();
    }

    fn begin(&mut self) -> Result<Option<Question>, Failure> {
        let Some(tag) = self.unread.pop() else { return Ok(None) };
        if tag == 13 {
            return Err(Failure::of(Reason::MessageMalformed));
        }
        Ok(Some(self.question(tag)))
    }
}

struct Rig {
    asks: Option<Requests>,
    echo: Echo,
    leaving: Leaving,
    tasks: Tasks,
    answers: Pin<Box<dyn Stream<Item = Result<Answers, Status>> + Send>>,
}

#[derive(Debug, Default, PartialEq)]
struct Heard {
    tags: Vec<u64>,
    refused: Vec<u64>,
    taken: Option<u64>,
    end: Option<Result<(), Reason>>,
}

fn tags(tags: impl IntoIterator<Item = u64>) -> Heard {
    Heard { tags: tags.into_iter().collect(), ..Heard::default() }
}

const WITHIN: Duration = Duration::from_secs(8);

impl Rig {
    fn new(under_way_max: usize) -> Self {
        let (asks, requests) = mpsc::channel(64);
        let mut codec = Ours::<PlaceOrdersRequest, PlaceOrdersRequest>::default();
        let (encode, decode) = (codec.encoder(), codec.decoder());
        let requests =
            stream::unfold(requests, |mut from| async move { Some((from.recv().await?, from)) });
        let body = EncodeBody::new_client(encode, Box::pin(requests), None, None);
        let inbound = Streaming::new_request(decode, body, None, None);
        let leaving = Leaving { now: CancellationToken::new(), within: WITHIN };
        let (tasks, echo) = (Tasks::new("many-test"), Echo::default());
        let (name, serves) = ("many", leaving.clone());
        let serve = Serve { name, tasks: tasks.clone(), under_way_max, leaving: serves };
        let answers = Box::pin(serve.answers(echo.clone(), inbound));
        Self { asks: Some(asks), echo, leaving, tasks, answers }
    }

    async fn ask(&self, tags: &[u64]) {
        let order = |&tag| OrderToPlace { tag, ..Default::default() };
        let orders = tags.iter().map(order).collect();
        self.asks.as_ref().unwrap().send(Ok(PlaceOrdersRequest { orders })).await.unwrap();
    }

    fn lets(&self, questions: usize) {
        self.echo.lets.0.add_permits(questions);
    }

    /// All that comes within a second, in order of tags, and how the stream ended, if it did.
    async fn hear(&mut self) -> Heard {
        let mut heard = Heard::default();
        while let Ok(next) = tokio::time::timeout(Duration::from_secs(1), self.answers.next()).await
        {
            match next {
                Some(Ok(said)) => {
                    let (placed, refused): (Vec<_>, Vec<_>) =
                        said.answers.into_iter().partition(|answer| answer.placed.is_some());
                    heard.tags.extend(placed.iter().map(|answer| answer.tag));
                    heard.refused.extend(refused.iter().map(|answer| answer.tag));
                    assert!(said.taken.is_none() || heard.taken.is_none(), "said twice");
                    heard.taken = heard.taken.or(said.taken);
                }
                Some(Err(status)) => {
                    assert!(self.answers.next().await.is_none(), "ended twice");
                    let failure = Failure::from(status);
                    let reason = failure.reason();
                    assert!(reason != Reason::Unavailable || failure.wait().is_some(), "{reason}");
                    heard.end = Some(Err(reason));
                    break;
                }
                None => {
                    heard.end = Some(Ok(()));
                    break;
                }
            }
        }
        heard.tags.sort_unstable();
        heard
    }

    async fn settles(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    fn begun(&self) -> Vec<u64> {
        self.echo.begun.lock().clone()
    }

    fn places(&self) -> usize {
        self.echo.places.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_not_read_beyond_its_room() {
    let mut rig = Rig::new(3);
    rig.ask(&[1, 2]).await;
    rig.ask(&[3, 4, 5]).await;
    rig.ask(&[6]).await;
    assert_eq!(rig.hear().await, Heard::default());
    assert_eq!(rig.begun(), [1, 2, 3]);
    rig.lets(2);
    assert_eq!(rig.hear().await.tags.len(), 2);
    assert_eq!(rig.begun(), [1, 2, 3, 4, 5]);
    // All that was said is answered when its sender says no more.
    rig.asks = None;
    rig.lets(9);
    let heard = rig.hear().await;
    assert_eq!((heard.tags.len(), heard.end, heard.taken), (4, Some(Ok(())), None));
}

#[tokio::test(start_paused = true)]
async fn what_is_ready_at_once_leaves_in_one_message() {
    let mut rig = Rig::new(1_000);
    rig.ask(&(100..600).collect::<Vec<_>>()).await;
    assert_eq!(rig.hear().await, Heard::default());
    rig.lets(500);
    let mut messages = Vec::new();
    while messages.iter().sum::<usize>() < 500 {
        messages.push(rig.answers.next().await.unwrap().unwrap().answers.len());
    }
    // The scheduler lets no task go on for ever, either.
    assert!(messages.len() < 8, "{messages:?}");
    assert!(messages.iter().all(|answers| *answers <= ANSWERS_MAX), "{messages:?}");
}

#[tokio::test(start_paused = true)]
async fn who_takes_no_answers_keeps_no_places() {
    let rig = Rig::new(600);
    rig.ask(&(100..2_100).collect::<Vec<_>>()).await;
    rig.settles().await;
    assert_eq!(rig.places(), 600);
    rig.lets(500);
    rig.settles().await;
    // Nobody has looked at an answer.
    assert_eq!(rig.begun().len() - rig.places(), 500, "decided orders keep no places");
    assert!(rig.begun().len() > 600, "and others are begun in theirs");
    rig.lets(1_500);
    rig.settles().await;
    assert_eq!(rig.places(), 0);
    let kept = 600 + MESSAGES_MAX * ANSWERS_MAX;
    assert!(rig.begun().len() <= kept, "answers that wait fill the stream");
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_answers_are_not_taken_ends_with_what_is_under_way() {
    let mut rig = Rig::new(2_000);
    rig.ask(&(100..1_600).collect::<Vec<_>>()).await;
    rig.lets(1_400);
    rig.settles().await;
    tokio::time::sleep(TAKE_MAX - Duration::from_secs(1)).await;
    assert_eq!((rig.places(), rig.tasks.running().len()), (100, 1));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((rig.places(), rig.tasks.running().len()), (0, 0));
    // To who looks at last it is told.
    let heard = rig.hear().await;
    assert_eq!(heard.end, Some(Err(Reason::Unavailable)));
    assert!(heard.tags.len() < 1_400, "and not all was kept for him");
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_takes_his_questions_along() {
    let rig = Rig::new(8);
    rig.ask(&[1, 2]).await;
    rig.settles().await;
    let Rig { answers, tasks, echo, .. } = rig;
    drop(answers);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((echo.places.load(Ordering::Relaxed), tasks.running().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_leaving_connection_says_at_once_what_it_took_and_answers_that() {
    let mut rig = Rig::new(2);
    rig.ask(&[1, 2, 3]).await;
    assert_eq!(rig.hear().await, Heard::default());
    rig.leaving.now.cancel();
    assert_eq!(rig.hear().await, Heard { taken: Some(2), ..Heard::default() });
    rig.ask(&[4]).await;
    rig.lets(9);
    let end = Some(Err(Reason::Unavailable));
    assert_eq!(rig.hear().await, Heard { end, ..tags([1, 2]) });
    assert_eq!(rig.begun(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_leaves_before_its_connection_is_cut() {
    let mut rig = Rig::new(2);
    rig.ask(&[1]).await;
    assert_eq!(rig.hear().await, Heard::default());
    rig.leaving.now.cancel();
    let began = Instant::now();
    while rig.hear().await.end.is_none() {}
    assert!(began.elapsed() <= WITHIN + Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_question_ends_the_stream_when_the_others_are_answered() {
    let mut rig = Rig::new(8);
    rig.ask(&[1, 2, 13, 3]).await;
    rig.ask(&[4]).await;
    rig.lets(9);
    let (taken, end) = (Some(2), Some(Err(Reason::MessageMalformed)));
    assert_eq!(rig.hear().await, Heard { taken, end, ..tags([1, 2]) });
    assert_eq!(rig.begun(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_for_another_reason_leaves_in_time_as_well() {
    let mut rig = Rig::new(8);
    rig.ask(&[1, 13]).await;
    assert_eq!(rig.hear().await, Heard { taken: Some(1), ..Heard::default() });
    rig.leaving.now.cancel();
    let (left, mut end) = (Instant::now(), None);
    while end.is_none() {
        end = rig.hear().await.end;
    }
    assert_eq!(end, Some(Err(Reason::MessageMalformed)));
    assert!(left.elapsed() <= WITHIN + Duration::from_secs(1), "{:?}", left.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_ends_with_what_broke_it() {
    let mut rig = Rig::new(8);
    rig.ask(&[1]).await;
    let broken = Status::from(Failure::of(Reason::MessageTooLarge));
    rig.asks.as_ref().unwrap().send(Err(broken)).await.unwrap();
    rig.lets(1);
    assert_eq!(rig.hear().await.tags, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_panics_or_has_no_time_left_is_answered_alone() {
    let mut rig = Rig::new(8);
    rig.ask(&[1, 99, 7, 2]).await;
    rig.lets(9);
    assert_eq!(rig.hear().await, Heard { refused: vec![99, 7], ..tags([1, 2]) });
    assert_eq!((rig.begun(), rig.places()), (vec![1, 99, 2], 0), "it was too late for 7");
}

#[tokio::test(start_paused = true)]
async fn streams_end_with_their_node() {
    let mut rig = Rig::new(8);
    rig.ask(&[1]).await;
    rig.settles().await;
    assert_eq!(rig.tasks.drain(Duration::from_secs(10)).await, Vec::<String>::new());
    assert_eq!(rig.hear().await.end, Some(Err(Reason::Unavailable)));
}
