//! Questions over one long-lived stream, answered in any order.

use std::collections::HashMap;
use std::sync::Arc;

use hansa_node::tasks::{OnError, Tasks};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::load::CALL_MAX;
use crate::record::Refusal;

/// Questions on their way into the stream; the next one waits.
const QUEUE: usize = 1_024;

type Waiting<A> = Arc<Mutex<HashMap<u64, oneshot::Sender<A>>>>;

/// The asking end of a stream.
pub struct Pipe<Q, A> {
    questions: mpsc::Sender<Q>,
    waiting: Waiting<A>,
}

impl<Q: Send + 'static, A: Send + 'static> Pipe<Q, A> {
    /// A pipe, and what to open the stream with.
    pub fn new() -> (Self, ReceiverStream<Q>) {
        let (questions, stream) = mpsc::channel(QUEUE);
        (Self { questions, waiting: Waiting::default() }, ReceiverStream::new(stream))
    }

    /// Hands out the stream's answers by their numbers until it ends.
    pub fn listen(&self, tasks: &Tasks, mut answers: Streaming<A>, number: fn(&A) -> u64) {
        let waiting = self.waiting.clone();
        tasks.spawn("pipe", OnError::Log, async move {
            while let Ok(Some(answer)) = answers.message().await {
                let asked = waiting.lock().remove(&number(&answer));
                if let Some(asked) = asked {
                    // Whoever asked may have lost patience.
                    let _given_up = asked.send(answer);
                }
            }
            waiting.lock().clear();
        });
    }

    /// # Errors
    /// A stream that has ended, or no answer in [`CALL_MAX`].
    pub async fn ask(&self, number: u64, question: Q) -> Result<A, Refusal> {
        let (tell, told) = oneshot::channel();
        self.waiting.lock().insert(number, tell);
        let ended = || Refusal::named("STREAM_ENDED");
        let asked = async {
            self.questions.send(question).await.map_err(|_| ended())?;
            told.await.map_err(|_| ended())
        };
        let answer = timeout(CALL_MAX, asked).await;
        answer.unwrap_or_else(|_| {
            self.waiting.lock().remove(&number);
            Err(Refusal::named("DEADLINE_EXCEEDED"))
        })
    }
}
