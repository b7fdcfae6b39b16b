//! Many questions over one stream to one server: what is asked at the same time leaves in one
//! message, and answers come when they are ready.
//!
//! A stream is opened by the first question, and by the first after it ended. It is left for a new
//! one after a while, so that no proof of who is at its ends is believed for ever.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{self, FuturesUnordered};
use futures::{Stream, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use tonic::{Status, Streaming};

use crate::status::{Failure, Reason};

/// Between a stream that was not opened and the next try.
const PAUSE: Duration = Duration::from_millis(50);

/// Messages on their way out.
pub struct Requests<T>(Pin<Box<dyn Stream<Item = T> + Send>>);

impl<T> Stream for Requests<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.as_mut().poll_next(cx)
    }
}

/// What questions and answers are, and how a stream of them is opened.
#[tonic::async_trait]
pub trait Exchange: Send + Sync + 'static {
    type Ask: Send + 'static;
    type Answer: Send + 'static;
    type Request: Send + 'static;
    type Response: Send + 'static;

    /// Bytes of a question, about.
    fn size(ask: &Self::Ask) -> usize;

    /// One message with these questions, each under its number.
    fn request(asks: Vec<(u64, Self::Ask)>) -> Self::Request;

    /// The answers in a message, each with its question's number.
    fn answers(response: Self::Response) -> Vec<(u64, Result<Self::Answer, Status>)>;

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
    /// The stream ended first, or was not opened. `OK`: in order, and the question was not read;
    /// else nobody knows whether it was.
    Ended(Status),
}

/// How much a lane takes at once, and how long it keeps to one stream.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Questions of one message, and bytes after which it takes no more.
    pub batch_max: usize,
    pub batch_bytes: usize,
    pub life: Duration,
}

struct Item<E: Exchange> {
    ask: E::Ask,
    answer: Answered<E>,
}

type Answered<E> = oneshot::Sender<Result<<E as Exchange>::Answer, Error>>;

/// What the handle and the loop share. The queue is bounded by who asks: each waits for his answer.
struct Shared<E: Exchange> {
    exchange: E,
    settings: Settings,
    queue: Mutex<VecDeque<Item<E>>>,
    bell: Notify,
    /// Nobody asks any more.
    closed: AtomicBool,
}

/// The asking end; the loop that goes with it ends when this is dropped and all is answered.
pub struct Lane<E: Exchange>(Arc<Shared<E>>);

impl<E: Exchange> Drop for Lane<E> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.bell.notify_one();
    }
}

impl<E: Exchange> Lane<E> {
    /// The lane, and the loop that whoever makes it must run.
    pub fn new(exchange: E, settings: Settings) -> (Self, impl Future<Output = ()> + Send) {
        let shared = Arc::new(Shared {
            exchange,
            settings,
            queue: Mutex::default(),
            bell: Notify::new(),
            closed: AtomicBool::new(false),
        });
        (Self(shared.clone()), run(shared))
    }

    /// Asks, and waits for the answer as long as the stream lives.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn ask(&self, ask: E::Ask) -> Result<E::Answer, Error> {
        let (answer, answered) = oneshot::channel();
        self.0.queue.lock().push_back(Item { ask, answer });
        self.0.bell.notify_one();
        let over =
            |_| Error::Ended(Status::from(Failure::new(Reason::Unavailable, "the lane is over")));
        answered.await.map_err(over)?
    }
}

impl<E: Exchange> Shared<E> {
    /// The next questions; those whose asker has gone are dropped.
    fn take(&self) -> Vec<Item<E>> {
        let mut queue = self.queue.lock();
        let (mut items, mut bytes) = (Vec::new(), 0);
        while items.len() < self.settings.batch_max && bytes < self.settings.batch_bytes {
            let Some(item) = queue.pop_front() else { break };
            if !item.answer.is_closed() {
                bytes += E::size(&item.ask);
                items.push(item);
            }
        }
        items
    }

    fn give_back(&self, items: Vec<Item<E>>) {
        let mut queue = self.queue.lock();
        items.into_iter().rev().for_each(|item| queue.push_front(item));
        drop(queue);
        self.bell.notify_one();
    }

    /// Answers all that wait for the stream that has just ended.
    fn refuse(&self, why: &Status) {
        let queued = std::mem::take(&mut *self.queue.lock());
        for item in queued {
            let _gone = item.answer.send(Err(Error::Ended(why.clone())));
        }
    }

    fn waits(&self) -> bool {
        !self.queue.lock().is_empty()
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

async fn run<E: Exchange>(shared: Arc<Shared<E>>) {
    let mut sessions = FuturesUnordered::new();
    for newest in 0_u64.. {
        while !shared.waits() {
            if shared.is_closed() {
                while sessions.next().await.is_some() {}
                return;
            }
            tokio::select! {
                biased;
                () = shared.bell.notified() => {}
                Some(_) = sessions.next() => {}
            }
        }
        let (takes, mut took) = oneshot::channel();
        let session = session(shared.clone(), takes);
        sessions.push(async move { (newest, session.await) });
        // Until it takes no more; what it has asked goes on beside the next one.
        loop {
            tokio::select! {
                biased;
                Some((which, ended)) = sessions.next() => if which == newest {
                    // What waits was not sent; who asks knows where else to ask.
                    shared.refuse(&ended.status);
                    if !ended.opened {
                        sleep(PAUSE).await;
                    }
                    break;
                },
                _ = &mut took => break,
            }
        }
    }
}

/// Questions of one stream that wait, by number; `None` once it is over.
type Waiting<E> = Arc<Mutex<Option<BTreeMap<u64, Answered<E>>>>>;

/// How a stream ended, and whether there was one.
struct Ended {
    opened: bool,
    status: Status,
}

/// One stream, from its first question to its last answer.
async fn session<E: Exchange>(shared: Arc<Shared<E>>, takes: oneshot::Sender<()>) -> Ended {
    let waiting: Waiting<E> = Arc::new(Mutex::new(Some(BTreeMap::new())));
    let (over, stop) = oneshot::channel::<()>();
    let out = Out {
        until: Instant::now() + shared.settings.life,
        shared: shared.clone(),
        waiting: waiting.clone(),
        next: 0,
        stop,
        _takes: takes,
    };
    let requests = stream::unfold(out, |mut out| async move {
        let request = out.next().await?;
        Some((request, out))
    });
    let (opened, status) = match shared.exchange.open(Requests(Box::pin(requests))).await {
        Ok(answers) => (true, listen::<E>(answers, &waiting).await),
        Err(status) => (false, status),
    };
    drop(over);
    let left = waiting.lock().take().unwrap_or_default();
    for answer in left.into_values() {
        // Who has gone does not care.
        let _gone = answer.send(Err(Error::Ended(status.clone())));
    }
    Ended { opened, status }
}

async fn listen<E: Exchange>(mut inbound: Streaming<E::Response>, waiting: &Waiting<E>) -> Status {
    loop {
        let response = match inbound.message().await {
            Ok(Some(response)) => response,
            Ok(None) => return Status::ok(""),
            Err(status) => return status,
        };
        let answers = E::answers(response);
        let mut waiting = waiting.lock();
        let Some(waiting) = waiting.as_mut() else { continue };
        for (number, answer) in answers {
            if let Some(asker) = waiting.remove(&number) {
                let _gone = asker.send(answer.map_err(Error::Refused));
            }
        }
    }
}

/// The outgoing half of one stream.
struct Out<E: Exchange> {
    shared: Arc<Shared<E>>,
    waiting: Waiting<E>,
    next: u64,
    until: Instant,
    /// Resolves when the other half is over.
    stop: oneshot::Receiver<()>,
    /// Dropped with this: another stream takes what comes.
    _takes: oneshot::Sender<()>,
}

impl<E: Exchange> Out<E> {
    async fn next(&mut self) -> Option<E::Request> {
        loop {
            if Instant::now() >= self.until {
                return None;
            }
            let items = self.shared.take();
            if !items.is_empty() {
                return self.note(items);
            }
            if self.shared.is_closed() {
                return None;
            }
            tokio::select! {
                biased;
                _ = &mut self.stop => return None,
                () = self.shared.bell.notified() => {}
                () = sleep_until(self.until) => return None,
            }
        }
    }

    fn note(&mut self, items: Vec<Item<E>>) -> Option<E::Request> {
        let mut waiting = self.waiting.lock();
        let Some(waiting) = waiting.as_mut() else {
            drop(waiting);
            self.shared.give_back(items);
            return None;
        };
        let number = |item: Item<E>| {
            self.next += 1;
            waiting.insert(self.next, item.answer);
            (self.next, item.ask)
        };
        Some(E::request(items.into_iter().map(number).collect()))
    }
}

#[cfg(test)]
mod tests;
