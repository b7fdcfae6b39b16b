//! The history under construction, shared by all workers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hansa_api::status::{Failure, Reason};
use hansa_checker::seen::{self, OrderState};
use hansa_checker::{Answer, Call, History, Outcome, Recorder, Ticket};
use tokio::time::Instant;

/// Cheap to clone; one clock for all.
#[derive(Clone, Debug)]
pub struct Record {
    recorder: Arc<Mutex<Recorder>>,
    began: Instant,
}

impl Default for Record {
    fn default() -> Self {
        Self { recorder: Arc::default(), began: Instant::now() }
    }
}

impl Record {
    /// Nanoseconds since the record began.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub fn invoke(&self, client: u32, call: Call) -> Ticket {
        let mut recorder = self.lock();
        // The clock is read inside the lock: instants follow the order of the record.
        recorder.invoke(client, call, self.now())
    }

    pub fn finish(&self, ticket: Ticket, outcome: Outcome) {
        let mut recorder = self.lock();
        recorder.finish(ticket, outcome, self.now());
    }

    #[must_use]
    pub fn history(&self) -> History {
        self.lock().history().clone()
    }

    /// Orders that were asked for after `from` and confirmed since.
    #[must_use]
    pub fn confirmed_since(&self, from: u64) -> usize {
        let recorder = self.lock();
        let later = recorder.history().ops.iter().rev().take_while(|op| op.invoked >= from);
        later.filter(|op| matches!(op.call, Call::Place(_)) && confirmed(&op.outcome)).count()
    }

    fn lock(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn confirmed(outcome: &Outcome) -> bool {
    let Outcome::Known(Answer::Order { seen, .. }) = outcome else { return false };
    matches!(seen.state, OrderState::Confirmed | OrderState::Completed)
}

/// What a failure tells the caller of an attempt.
#[must_use]
pub fn refused(call: &Call, failure: &Failure) -> Outcome {
    let reason = failure.reason();
    match (call, reason) {
        (Call::ReadOrder { .. } | Call::ReadCopy { .. }, Reason::OrderNotFound) => {
            Outcome::Known(Answer::OrderRead { seen: None })
        }
        (Call::ReadPayment { .. }, Reason::PaymentNotFound) => {
            Outcome::Known(Answer::PaymentRead { seen: None })
        }
        (Call::ReadStock { .. }, Reason::UnknownSku) => {
            Outcome::Known(Answer::StockRead { seen: None })
        }
        _ if seen::sure(reason.as_str()) => Outcome::Refused { reason: reason.to_string() },
        _ => Outcome::Unknown { why: failure.to_string() },
    }
}
