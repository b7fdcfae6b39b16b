//! Many questions over one stream to one server: what is asked at the same time leaves in one
//! message, and answers come when they are ready.
//!
//! A stream is opened by the first question, and by the first after it takes no more. It is left
//! for a new one after a while, so that no proof of who is at its ends is believed for ever.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{self, FuturesUnordered};
use futures::{Stream, StreamExt as _};
use hansa_types::limits::CALL_DEADLINE_MS_MAX;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::{Code, Status, Streaming};

use crate::status::{Failure, Reason, key};

/// After a stream's life: the time of a question that it took last, and its answer's way.
const ANSWERED_MAX: Duration = Duration::from_millis(CALL_DEADLINE_MS_MAX + 1_000);
/// When to ask again for what was lost with a stream.
const LOST_RETRY: Duration = Duration::from_millis(100);

/// Messages on their way out.
pub struct Requests<T>(Pin<Box<dyn Stream<Item = T> + Send>>);

impl<T> Stream for Requests<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.as_mut().poll_next(cx)
    }
}

/// What a message of the server says.
pub struct Heard<A> {
    /// Answers, each with its question's number.
    pub answers: Vec<(u64, Result<A, Status>)>,
    /// The server takes no more than so many questions of this stream.
    pub taken: Option<u64>,
}

/// What questions and answers are, and how a stream of them is opened.
#[tonic::async_trait]
pub trait Exchange: Send + Sync + 'static {
    type Ask: Send + 'static;
    type Answer: Send + 'static;
    type Request: Send + 'static;
    type Response: Send + 'static;

    /// Bytes of a question in a message, and no fewer.
    fn size(ask: &Self::Ask) -> usize;

    /// Whether its time is up: then it is not sent.
    fn is_late(ask: &Self::Ask) -> bool;

    /// One message with these questions, each under its number: from 1 on in each stream.
    fn request(asks: Vec<(u64, Self::Ask)>) -> Self::Request;

    fn heard(response: Self::Response) -> Heard<Self::Answer>;

    async fn open(
        &self,
        requests: Requests<Self::Request>,
    ) -> Result<Streaming<Self::Response>, Status>;
}

/// Why there is no answer.
#[derive(Debug, Clone)]
pub enum Error {
    /// This is the answer.
    Refused(Status),
    /// The server has not begun with it and never will; why.
    Unsent(Status),
    /// The stream ended first: nobody knows whether the server has begun with it. `UNAVAILABLE`,
    /// with `RetryInfo`, whatever ended it.
    Lost(Status),
}

/// How much a lane takes at once, and how long it keeps to one stream.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Questions of one message, and bytes of it if they are more than one.
    pub batch_max: usize,
    pub batch_bytes: usize,
    pub life: Duration,
}

struct Item<E: Exchange> {
    ask: E::Ask,
    answer: Answered<E>,
}

type Answered<E> = oneshot::Sender<Result<<E as Exchange>::Answer, Error>>;

/// Questions that were not sent yet, in the order in which they came.
struct Queue<E: Exchange> {
    next: u64,
    items: BTreeMap<u64, Item<E>>,
    /// The loop is gone: nobody would send them.
    over: bool,
}

/// What the handle and the loop share. The queue is bounded by who asks: each waits for his answer,
/// and takes his question back when he gives up.
struct Shared<E: Exchange> {
    exchange: E,
    settings: Settings,
    queue: Mutex<Queue<E>>,
    /// Rings at each change that a loop waits for. All hear it: a stream whose peer has stopped
    /// reading must not keep it from the next one.
    bell: watch::Sender<()>,
    /// Nobody asks any more.
    closed: AtomicBool,
}

/// The asking end; the loop that goes with it ends when this is dropped and all is answered.
pub struct Lane<E: Exchange>(Arc<Shared<E>>);

impl<E: Exchange> Drop for Lane<E> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.ring();
    }
}

impl<E: Exchange> Lane<E> {
    /// The lane, and the loop that whoever makes it must run.
    pub fn new(exchange: E, settings: Settings) -> (Self, impl Future<Output = ()> + Send) {
        let shared = Arc::new(Shared {
            exchange,
            settings,
            queue: Mutex::new(Queue { next: 0, items: BTreeMap::new(), over: false }),
            bell: watch::Sender::new(()),
            closed: AtomicBool::new(false),
        });
        let serves = Serves(shared.clone());
        (Self(shared), async move { serves.run().await })
    }

    /// Asks, and waits for the answer as long as the stream lives.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn ask(&self, ask: E::Ask) -> Result<E::Answer, Error> {
        let (answer, answered) = oneshot::channel();
        let Some(ticket) = self.0.put(Item { ask, answer }) else {
            return Err(Error::Unsent(unsent("nobody serves this lane")));
        };
        let _place = Place { shared: &self.0, ticket };
        let broke = |_| Error::Lost(lost("the lane broke"));
        answered.await.map_err(broke)?
    }

    /// Nobody serves it any more: its loop has ended.
    pub fn is_over(&self) -> bool {
        self.0.queue.lock().over
    }
}

/// A question's place in the queue, as long as it has one.
struct Place<'a, E: Exchange> {
    shared: &'a Shared<E>,
    ticket: u64,
}

impl<E: Exchange> Drop for Place<'_, E> {
    fn drop(&mut self) {
        let _ = self.shared.queue.lock().items.remove(&self.ticket);
    }
}

impl<E: Exchange> Shared<E> {
    fn put(&self, item: Item<E>) -> Option<u64> {
        let mut queue = self.queue.lock();
        if queue.over {
            return None;
        }
        let ticket = queue.next;
        queue.next += 1;
        queue.items.insert(ticket, item);
        drop(queue);
        self.ring();
        Some(ticket)
    }

    /// The questions of the next message; those whose time is up are told so.
    fn take(&self) -> Vec<Item<E>> {
        let mut queue = self.queue.lock();
        let (mut items, mut bytes) = (Vec::new(), 0);
        while items.len() < self.settings.batch_max {
            let Some(next) = queue.items.first_entry() else { break };
            bytes += E::size(&next.get().ask);
            if bytes > self.settings.batch_bytes && !items.is_empty() {
                break;
            }
            let item = next.remove();
            if E::is_late(&item.ask) {
                let late = Error::Unsent(Reason::DeadlineExceeded.into());
                let _gone = item.answer.send(Err(late));
            } else {
                items.push(item);
            }
        }
        items
    }

    /// Tells all that wait in the queue that they are to go elsewhere.
    fn refuse(&self, why: &Status) {
        let queued = std::mem::take(&mut self.queue.lock().items);
        for item in queued.into_values() {
            let _gone = item.answer.send(Err(Error::Unsent(why.clone())));
        }
    }

    fn waits(&self) -> bool {
        !self.queue.lock().items.is_empty()
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn ring(&self) {
        self.bell.send_replace(());
    }
}

/// The loop of a lane; its end, whatever the reason, lets nobody wait for it.
struct Serves<E: Exchange>(Arc<Shared<E>>);

impl<E: Exchange> Drop for Serves<E> {
    fn drop(&mut self) {
        self.0.queue.lock().over = true;
        self.0.refuse(&unsent("nobody serves this lane"));
    }
}

impl<E: Exchange> Serves<E> {
    async fn run(self) {
        let shared = &self.0;
        let mut bell = shared.bell.subscribe();
        let mut sessions = FuturesUnordered::new();
        loop {
            while !shared.waits() {
                if shared.is_closed() {
                    while sessions.next().await.is_some() {}
                    return;
                }
                tokio::select! {
                    biased;
                    Some(()) = sessions.next() => {}
                    _ = bell.changed() => {}
                }
            }
            let (takes, mut full) = oneshot::channel();
            sessions.push(session(shared.clone(), takes));
            // Until it takes no more; what it has asked goes on beside the next one.
            loop {
                tokio::select! {
                    biased;
                    _ = &mut full => break,
                    Some(()) = sessions.next() => {}
                }
            }
        }
    }
}

/// One stream, as both of its halves know it.
struct Half<E: Exchange> {
    /// Questions sent on it.
    sent: u64,
    /// Sent and not answered, by number.
    asked: BTreeMap<u64, Answered<E>>,
    /// Dropped when it takes no more: another stream takes what comes.
    takes: Option<oneshot::Sender<()>>,
}

impl<E: Exchange> Half<E> {
    /// The server takes no more than the first `taken`: whatever is above goes elsewhere.
    fn leaves(&mut self, taken: u64, shared: &Shared<E>) {
        self.takes = None;
        let why = unsent("the server is about to leave and has not taken it");
        for answer in self.asked.split_off(&taken.saturating_add(1)).into_values() {
            let _gone = answer.send(Err(Error::Unsent(why.clone())));
        }
        if self.sent == 0 {
            // It would be left by the next stream as well; who asks knows where else to ask.
            shared.refuse(&why);
        }
    }
}

type Halves<E> = Arc<Mutex<Half<E>>>;

/// One stream, from its first question to its last answer.
async fn session<E: Exchange>(shared: Arc<Shared<E>>, takes: oneshot::Sender<()>) {
    let half = Half { sent: 0, asked: BTreeMap::new(), takes: Some(takes) };
    let half: Halves<E> = Arc::new(Mutex::new(half));
    let ended = live(&shared, &half).await;
    let (left, took) = {
        let mut half = half.lock();
        (std::mem::take(&mut half.asked), half.takes.take().is_some())
    };
    for answer in left.into_values() {
        let _gone = answer.send(Err(ended.clone()));
    }
    if took {
        // What waits was not sent, whatever became of the rest; who asks knows where else to ask.
        shared.refuse(&match ended {
            Error::Unsent(status) => status,
            Error::Refused(_) | Error::Lost(_) => unsent("the stream ended before it was sent"),
        });
    }
    shared.ring();
}

/// Serves a stream for as long as it may take; what becomes of what it did not answer.
async fn live<E: Exchange>(shared: &Arc<Shared<E>>, half: &Halves<E>) -> Error {
    let until = Instant::now() + shared.settings.life;
    let mut served = pin!(serve(shared, half));
    tokio::select! {
        biased;
        ended = &mut served => return ended,
        () = sleep_until(until) => {}
    }
    // Also where its peer does not read, or does not open it: another stream takes what comes.
    half.lock().takes = None;
    shared.ring();
    let ended = timeout_at(until + ANSWERED_MAX, served).await;
    ended.unwrap_or_else(|_| Error::Lost(lost("its time was up")))
}

/// Opens a stream and takes its answers.
async fn serve<E: Exchange>(shared: &Arc<Shared<E>>, half: &Halves<E>) -> Error {
    let bell = shared.bell.subscribe();
    let out = Out { shared: shared.clone(), half: half.clone(), bell };
    let requests = stream::unfold(out, |mut out| async move {
        let request = out.next().await?;
        Some((request, out))
    });
    match shared.exchange.open(Requests(Box::pin(requests))).await {
        Ok(answers) => Error::Lost(listen(shared, answers, half).await),
        Err(status) if unread(&status) => Error::Unsent(status),
        Err(status) => Error::Lost(lost(status.message())),
    }
}

/// Takes answers until there are no more; why.
async fn listen<E: Exchange>(
    shared: &Shared<E>,
    mut inbound: Streaming<E::Response>,
    half: &Mutex<Half<E>>,
) -> Status {
    loop {
        let response = match inbound.message().await {
            Ok(Some(response)) => response,
            Ok(None) => return lost("it has ended"),
            Err(status) => return lost(status.message()),
        };
        let Heard { answers, taken } = E::heard(response);
        let mut half = half.lock();
        for (number, answer) in answers {
            if let Some(asker) = half.asked.remove(&number) {
                let _gone = asker.send(answer.map_err(Error::Refused));
            }
        }
        if let Some(taken) = taken {
            half.leaves(taken, shared);
            drop(half);
            shared.ring();
        }
    }
}

/// Whether who refused a stream has read nothing of it: he says so, or refused whoever asks.
fn unread(status: &Status) -> bool {
    let refusals = [
        Code::Unimplemented,
        Code::ResourceExhausted,
        Code::PermissionDenied,
        Code::Unauthenticated,
    ];
    // What has a source was made on this side, of a connection's error.
    let said = std::error::Error::source(status).is_none() && refusals.contains(&status.code());
    said || Failure::from(status).metadata(key::NOT_SENT).is_some()
}

fn unsent(why: &'static str) -> Status {
    let failure = Failure::new(Reason::Unavailable, why).with(key::NOT_SENT, "true");
    failure.retry_after(Duration::ZERO).into()
}

fn lost(why: &str) -> Status {
    let why = format!("the stream ended before the answer: {why}");
    Failure::new(Reason::Unavailable, why).retry_after(LOST_RETRY).into()
}

/// The outgoing half of one stream.
struct Out<E: Exchange> {
    shared: Arc<Shared<E>>,
    half: Halves<E>,
    bell: watch::Receiver<()>,
}

/// What leaves next.
enum Next<T> {
    Now(T),
    /// When the bell has rung.
    Later,
    Never,
}

impl<E: Exchange> Out<E> {
    async fn next(&mut self) -> Option<E::Request> {
        loop {
            match self.look() {
                Next::Now(request) => return Some(request),
                Next::Never => return None,
                Next::Later => {}
            }
            // Fails only with who would ring it, whom this holds.
            let _ = self.bell.changed().await;
        }
    }

    fn look(&mut self) -> Next<E::Request> {
        let mut half = self.half.lock();
        if half.takes.is_none() {
            return Next::Never;
        }
        let items = self.shared.take();
        if items.is_empty() {
            if self.shared.is_closed() {
                half.takes = None;
                return Next::Never;
            }
            return Next::Later;
        }
        let number = |Item { ask, answer }: Item<E>| {
            half.sent += 1;
            let number = half.sent;
            half.asked.insert(number, answer);
            (number, ask)
        };
        Next::Now(E::request(items.into_iter().map(number).collect()))
    }
}

#[cfg(test)]
mod tests;
