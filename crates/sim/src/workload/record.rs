//! The history under construction, shared by all clients.

use std::cell::RefCell;

use hansa_api::status::{Failure, Reason};
use hansa_checker::seen::{self, OrderState};
use hansa_checker::{Answer, Call, History, Outcome, Recorder, Ticket};

use crate::clock;

#[derive(Default)]
pub struct Record(RefCell<Recorder>);

impl Record {
    /// Nanoseconds of true time since the simulation began.
    #[must_use]
    pub fn now(&self) -> u64 {
        clock::truth().unwrap_or_default().as_nanos() as u64
    }

    pub fn invoke(&self, client: u32, call: Call) -> Ticket {
        self.0.borrow_mut().invoke(client, call, self.now())
    }

    pub fn finish(&self, ticket: Ticket, outcome: Outcome) {
        self.0.borrow_mut().finish(ticket, outcome, self.now());
    }

    #[must_use]
    pub fn history(&self) -> History {
        self.0.borrow().history().clone()
    }

    /// Orders of a region that were asked for after `from` and confirmed since.
    #[must_use]
    pub fn confirmed_since(&self, from: u64, region: &str) -> usize {
        let recorder = self.0.borrow();
        let later = recorder.history().ops.iter().rev().take_while(|op| op.invoked >= from);
        let confirmed = later.filter(|op| match (&op.call, &op.outcome) {
            (Call::Place(_), Outcome::Known(Answer::Order { seen, .. })) => {
                seen.name.starts_with(&format!("regions/{region}/"))
                    && matches!(seen.state, OrderState::Confirmed | OrderState::Completed)
            }
            _ => false,
        });
        confirmed.count()
    }
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
        // Said by who took over, perhaps after who is lost had carried it out.
        (_, Reason::RequestInDoubt) => Outcome::Unknown { why: failure.to_string() },
        _ if seen::sure(reason.as_str()) => Outcome::Refused { reason: reason.to_string() },
        _ => Outcome::Unknown { why: failure.to_string() },
    }
}
