//! The serving end of a stream of questions, each answered when it is ready.
//!
//! A stream's questions are answered in a task beside its response: what a peer does not take
//! holds up its own stream and nothing else, and not for long. So many are under way at a time,
//! beyond them the stream is not read; what is ready at once leaves in one message. A stream that
//! we end says at once how many questions it took, answers those, and ends with its reason.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, FuturesUnordered};
use futures::{FutureExt as _, Stream, StreamExt as _};
use hansa_api::place_orders::{Answer, Answers};
use hansa_api::status::{Failure, Reason};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::{Code, Status, Streaming};
use tracing::{Instrument as _, Span};

use crate::layers::{Deadline, trace};
use crate::listen::Leaving;
use crate::tasks::{OnError, Tasks};

/// Answers of one message, and bytes of it if they are more than one.
const ANSWERS_MAX: usize = 256;
const ANSWERS_BYTES: usize = 32 * 1024;
/// Messages on their way to the peer, beyond which answers wait; and bytes of answers that wait,
/// beyond which the stream is not read.
const MESSAGES_MAX: usize = 2;
const WAITING_BYTES: usize = 256 * 1024;
/// A peer that takes no answer for so long is not there any more.
const TAKE_MAX: Duration = Duration::from_secs(10);
/// When to ask again for what a stream that ended did not answer: another connection serves now.
const AFRESH: Duration = Duration::from_millis(100);

/// A question that is being answered.
pub type Doing = Pin<Box<dyn Future<Output = Result<Bytes, Status>> + Send>>;

/// A question that was read.
pub struct Question {
    /// Comes back with the answer.
    pub tag: u64,
    pub due: Deadline,
    /// The call that it is.
    pub within: trace::Within,
    pub doing: Doing,
}

/// Who answers one stream.
pub trait Desk: Send + 'static {
    /// A message of questions.
    type Request: Send + 'static;

    /// Takes the next message; all of the last one has begun.
    fn read(&mut self, message: Self::Request);

    /// Begins the next question that was read, if there is one.
    ///
    /// # Errors
    /// What was read is no message: the stream ends with this.
    fn begin(&mut self) -> Result<Option<Question>, Failure>;
}

/// How a stream is served.
pub struct Serve {
    /// Its task's name.
    pub name: &'static str,
    pub tasks: Tasks,
    /// Questions under way at a time, with those whose answers were not taken yet.
    pub under_way_max: usize,
    pub leaving: Leaving,
}

impl Serve {
    /// Answers `inbound`.
    pub fn answers<D: Desk>(
        self,
        desk: D,
        inbound: Streaming<D::Request>,
    ) -> impl Stream<Item = Result<Answers, Status>> + Send + use<D> {
        let (say, said) = mpsc::channel(MESSAGES_MAX);
        let (end, ended) = oneshot::channel();
        let Self { name, tasks, under_way_max, leaving } = self;
        let many = Many {
            desk,
            inbound,
            under_way: FuturesUnordered::new(),
            under_way_max,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            begun: 0,
            over: None,
            taken: None,
            until: None,
            stuck: None,
            leaves: false,
            leaving,
            say,
        };
        let stop = tasks.stop_token();
        let served = async move {
            if let Some(how) = stop.run_until_cancelled(many.run()).await {
                let _gone = end.send(how);
            }
        };
        tasks.spawn(name, OnError::Log, served.instrument(Span::current()));
        stream::unfold((said, Some(ended)), |(mut said, ended)| async move {
            if let Some(message) = said.recv().await {
                return Some((Ok(message), (said, ended)));
            }
            // No word of how it ended: the task was aborted, or panicked.
            let cut = || Failure::of(Reason::Unavailable).retry_after(AFRESH);
            let how = ended?.await.unwrap_or_else(|_| Err(cut()));
            Some((Err(how.err()?.into()), (said, None)))
        })
    }
}

type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

struct Many<D: Desk> {
    desk: D,
    inbound: Streaming<D::Request>,
    under_way: FuturesUnordered<Answering>,
    under_way_max: usize,
    /// Answers that were not said yet, and their bytes.
    waiting: VecDeque<Answer>,
    waiting_bytes: usize,
    /// Questions of this stream so far.
    begun: u64,
    /// Once nothing more is read: how the stream ends when all is answered.
    over: Option<Result<(), Failure>>,
    /// Questions that are answered before the stream ends, until that was said.
    taken: Option<u64>,
    /// What is not answered by then is not answered.
    until: Option<Instant>,
    /// Since when the peer takes nothing.
    stuck: Option<Instant>,
    /// The connection is about to close.
    leaves: bool,
    leaving: Leaving,
    say: mpsc::Sender<Answers>,
}

impl<D: Desk> Many<D> {
    async fn run(mut self) -> Result<(), Failure> {
        loop {
            self.tell();
            self.begin();
            if self.over.is_some() && self.is_done() {
                return self.over.unwrap_or(Ok(()));
            }
            let (reads, tells) = (self.over.is_none() && self.has_room(), self.tells());
            let wake = self.wake();
            tokio::select! {
                biased;
                () = self.leaving.now.cancelled(), if !self.leaves => self.leave(),
                // Who asked is gone, and what he asked for with him, as a call's is.
                () = self.say.closed() => return Ok(()),
                Some(answer) = self.under_way.next() => self.gather(answer),
                () = free(&self.say), if tells => {}
                read = self.inbound.message(), if reads => self.read(read),
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                    self.expire()?;
                }
            }
        }
    }

    /// Nothing more is begun.
    fn stops(&self) -> bool {
        matches!(self.over, Some(Err(_)))
    }

    /// All that was read is answered, and said: where nothing is under way there was room to begin.
    fn is_done(&self) -> bool {
        self.under_way.is_empty() && !self.tells()
    }

    fn has_room(&self) -> bool {
        self.under_way.len() + self.waiting.len() < self.under_way_max
            && self.waiting_bytes < WAITING_BYTES
    }

    /// When something is to be done, though nothing happens.
    fn wake(&self) -> Option<Instant> {
        let stuck = self.stuck.map(|since| since + TAKE_MAX);
        [stuck, self.until].into_iter().flatten().min()
    }

    fn read(&mut self, read: Result<Option<D::Request>, Status>) {
        match read {
            Ok(Some(message)) => self.desk.read(message),
            Ok(None) => self.over = Some(Ok(())),
            Err(status) => self.end(status.into()),
        }
    }

    fn leave(&mut self) {
        self.leaves = true;
        self.until = Some(Instant::now() + self.leaving.within);
        if self.stops() {
            return;
        }
        let why = "this connection is about to close: what is not answered is for another";
        self.end(Failure::new(Reason::Unavailable, why).retry_after(AFRESH));
    }

    /// Takes no more, and says so.
    fn end(&mut self, why: Failure) {
        self.taken = Some(self.begun);
        self.over = Some(Err(why));
    }

    /// Begins what was read, as far as there is room.
    fn begin(&mut self) {
        while !self.stops() && self.has_room() {
            match self.desk.begin() {
                Ok(Some(question)) => {
                    self.begun += 1;
                    self.under_way.push(Box::pin(answer(question)));
                }
                Ok(None) => return,
                Err(failure) => self.end(failure),
            }
        }
    }

    /// Keeps an answer, with all others that are ready.
    fn gather(&mut self, first: Answer) {
        let mut next = Some(first);
        while let Some(answer) = next {
            self.waiting_bytes += answer.size();
            self.waiting.push_back(answer);
            let more = self.waiting.len() < ANSWERS_MAX;
            next = more.then(|| self.under_way.next().now_or_never()).flatten().flatten();
        }
    }

    /// There is something to say.
    fn tells(&self) -> bool {
        !self.waiting.is_empty() || self.taken.is_some()
    }

    /// Says what there is to say, as far as the peer takes it.
    fn tell(&mut self) {
        while self.tells() && self.say.capacity() > 0 {
            let message = self.message();
            // Its only sender: what has room takes it, unless the peer is gone.
            let _gone = self.say.try_send(message);
            self.stuck = None;
        }
        if self.tells() {
            self.stuck.get_or_insert_with(Instant::now);
        }
    }

    fn message(&mut self) -> Answers {
        let (mut answers, mut bytes) = (Vec::new(), 0);
        while let Some(answer) = self.waiting.front().filter(|_| answers.len() < ANSWERS_MAX) {
            bytes += answer.size();
            if bytes > ANSWERS_BYTES && !answers.is_empty() {
                break;
            }
            answers.extend(self.waiting.pop_front());
        }
        self.waiting_bytes -= answers.iter().map(Answer::size).sum::<usize>();
        Answers { answers, taken: self.taken.take() }
    }

    /// Gives up what has taken too long.
    ///
    /// # Errors
    /// The peer takes nothing.
    fn expire(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        if self.until.is_some_and(|until| until <= now) {
            self.under_way.clear();
            self.until = None;
        }
        if self.stuck.is_some_and(|since| since + TAKE_MAX <= now) {
            let failure = Failure::new(Reason::Unavailable, "its answers were not taken");
            return Err(failure.retry_after(AFRESH));
        }
        Ok(())
    }
}

/// Resolves when there is room for a message, or nobody to take it.
async fn free(say: &mpsc::Sender<Answers>) {
    drop(say.reserve().await);
}

/// The one way of a question: in its time, traced and counted as a call, and alone in its failure.
async fn answer(question: Question) -> Answer {
    let Question { tag, due, within, doing } = question;
    let doing = AssertUnwindSafe(doing.instrument(within.span())).catch_unwind();
    let result = match due.remaining() {
        Some(_) => timeout_at(due.0, doing).await,
        // What cannot be answered is not begun.
        None => Ok(Ok(Err(Reason::DeadlineExceeded.into()))),
    };
    let result = match result {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => {
            tracing::error!(parent: within.span(), tag, "a question's answer panicked");
            Err(Reason::Internal.into())
        }
        Err(_) => Err(Reason::DeadlineExceeded.into()),
    };
    within.end(result.as_ref().err().map_or(Code::Ok, Status::code));
    Answer::new(tag, result)
}
