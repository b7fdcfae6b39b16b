//! The serving end of a stream of questions, each answered when it is ready.
//!
//! So many are under way at a time, beyond them the stream is not read; what is ready at once
//! leaves in one message. When its connection is about to close, a stream ends in order: what is
//! under way is answered, and nothing more is begun.

#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures::stream::{self, FuturesUnordered};
use futures::{FutureExt as _, Stream, StreamExt as _};
use hansa_api::status::{Failure, Reason};
use tokio::time::{Instant, sleep_until};
use tonic::{Status, Streaming};

use crate::listen::{LEAVE_MAX, Leaving};

/// Answers of one message, and bytes after which it takes no more.
const ANSWERS_MAX: usize = 256;
const ANSWERS_BYTES: usize = 32 * 1024;
/// When to ask again for what a stream that ended did not answer: another connection serves now.
const AFRESH: Duration = Duration::from_millis(100);

/// A question that is being answered.
pub type Doing<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Who answers one stream.
pub trait Desk: Send + 'static {
    /// A message of questions.
    type Request: Send + 'static;
    type Answer: Send + 'static;

    /// Takes the next message; all of the last one has begun.
    fn read(&mut self, message: Self::Request);

    /// Begins the next question that was read, if there is one.
    ///
    /// # Errors
    /// What was read is no message: the stream ends with this.
    fn begin(&mut self) -> Result<Option<Doing<Self::Answer>>, Failure>;

    /// Bytes of an answer, about.
    fn size(answer: &Self::Answer) -> usize;
}

/// Answers `inbound`, `under_way_max` questions at a time.
pub fn answers<D: Desk>(
    desk: D,
    inbound: Streaming<D::Request>,
    under_way_max: usize,
    leaving: Leaving,
) -> impl Stream<Item = Result<Vec<D::Answer>, Status>> + Send {
    let under_way = FuturesUnordered::new();
    let (over, until, ended) = (None, None, false);
    let many = Many { desk, inbound, under_way, under_way_max, over, until, leaving, ended };
    stream::unfold(many, |mut many| async move {
        let next = many.next().await?;
        Some((next, many))
    })
}

struct Many<D: Desk> {
    desk: D,
    inbound: Streaming<D::Request>,
    under_way: FuturesUnordered<Doing<D::Answer>>,
    under_way_max: usize,
    /// Once nothing more is read: how the stream ends when all is answered.
    over: Option<Result<(), Failure>>,
    /// What is not answered by then is not answered.
    until: Option<Instant>,
    leaving: Leaving,
    ended: bool,
}

impl<D: Desk> Many<D> {
    async fn next(&mut self) -> Option<Result<Vec<D::Answer>, Status>> {
        if self.ended {
            return None;
        }
        loop {
            self.begin();
            if self.over.is_some() && self.under_way.is_empty() {
                break;
            }
            let room = self.over.is_none() && self.under_way.len() < self.under_way_max;
            let until = self.until.filter(|_| !self.under_way.is_empty());
            tokio::select! {
                biased;
                () = self.leaving.0.cancelled(), if !self.stops() => self.leave(),
                Some(answer) = self.under_way.next() => return Some(Ok(self.batch(answer))),
                read = self.inbound.message(), if room => self.read(read),
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    self.under_way.clear();
                }
            }
        }
        // Says how it ended, and then nothing.
        self.ended = true;
        self.over.take()?.err().map(|failure| Err(failure.into()))
    }

    /// Nothing more is begun.
    fn stops(&self) -> bool {
        matches!(self.over, Some(Err(_)))
    }

    fn read(&mut self, read: Result<Option<D::Request>, Status>) {
        match read {
            Ok(Some(message)) => self.desk.read(message),
            Ok(None) => self.over = Some(Ok(())),
            Err(status) => self.over = Some(Err(status.into())),
        }
    }

    fn leave(&mut self) {
        self.until = Some(Instant::now() + LEAVE_MAX);
        let why = "this connection is about to close: what is not answered is for another";
        self.over = Some(Err(Failure::new(Reason::Unavailable, why).retry_after(AFRESH)));
    }

    /// Begins what was read, as far as there is room.
    fn begin(&mut self) {
        while !self.stops() && self.under_way.len() < self.under_way_max {
            match self.desk.begin() {
                Ok(Some(doing)) => self.under_way.push(doing),
                Ok(None) => return,
                Err(failure) => self.over = Some(Err(failure)),
            }
        }
    }

    /// What is ready leaves together.
    fn batch(&mut self, first: D::Answer) -> Vec<D::Answer> {
        let mut left = ANSWERS_BYTES.saturating_sub(D::size(&first));
        let mut answers = vec![first];
        while left > 0 && answers.len() < ANSWERS_MAX {
            let Some(Some(answer)) = self.under_way.next().now_or_never() else { break };
            left = left.saturating_sub(D::size(&answer));
            answers.push(answer);
        }
        answers
    }
}
