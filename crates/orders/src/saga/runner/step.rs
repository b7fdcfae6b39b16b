//! One step under way: what comes next after each answer. No waiting here, so it can be tested.

use hansa_api::pb::ledger as wire;
use hansa_types::id::{GroupKind, OrderId};
use tokio::time::Instant;

use super::Commands;
use crate::core::effect::{
    Booking, Call, Reference, Refusal, RefusalCode, Repayment, Settle, SettleResult, StepResult,
    StockCall, Todo,
};
use crate::provider::{Answer, Fault};
use crate::saga::command;
use crate::saga::provide::{Question, charge};

/// Bytes of a reason that a provider gives; it goes into the log.
const REASON_BYTES_MAX: usize = 128;

pub struct Step {
    pub call: Call,
    pub tries: u32,
    pub started: Instant,
    doubted: bool,
    settle: SettleResult,
    /// Commits not yet answered.
    left: usize,
}

/// What to do for a step now.
pub enum Next {
    Wait,
    Ledger(Commands),
    Provider,
    /// Ask the provider again later, and tell the machine something meanwhile.
    Again {
        report: Option<StepResult>,
    },
    Finish(StepResult),
}

impl Step {
    pub fn new(call: Call) -> Self {
        let settle = SettleResult { committed: 0, captured: false, booked: false, refusal: None };
        Self { call, tries: 0, started: Instant::now(), doubted: false, settle, left: 0 }
    }

    pub fn begin(&mut self) -> Next {
        let order = self.call.order;
        match &self.call.todo {
            Todo::Book(booking) => Next::Ledger(vec![sent(order, booking)]),
            Todo::Settle(settle) if settle.commits.is_empty() => self.committed(),
            Todo::Settle(settle) => {
                self.left = settle.commits.len();
                let commit = |call: &StockCall| sent(order, &Booking::Stock(call.clone()));
                Next::Ledger(settle.commits.iter().map(commit).collect())
            }
            Todo::Authorize { .. }
            | Todo::CancelPayment { .. }
            | Todo::Lookup
            | Todo::Refund(_) => Next::Provider,
        }
    }

    pub fn on_ledger(&mut self, part: u16, outcome: &wire::Outcome) -> Next {
        let result = command::result(outcome);
        match &self.call.todo {
            Todo::Settle(settle) if self.left > 0 => {
                let part = settle.parts.get(usize::from(part)).copied().unwrap_or_default();
                self.left -= 1;
                match result {
                    StepResult::Refused(why) => self.settle.refusal = Some(why),
                    _ => self.settle.committed |= 1 << part,
                }
                if self.left == 0 { self.committed() } else { Next::Wait }
            }
            Todo::Settle(_) => {
                match result {
                    StepResult::Refused(why) => self.settle.refusal = Some(why),
                    _ => self.settle.booked = true,
                }
                self.settled()
            }
            // The provider has paid: a refusal of the books must not look like no refund.
            Todo::Refund(_) => Next::Finish(match result {
                StepResult::Refused(why) => StepResult::Unbooked(why),
                result => result,
            }),
            _ => Next::Finish(result),
        }
    }

    pub fn on_provider(&mut self, answer: Result<Answer, Fault>) -> Next {
        let answer = match answer {
            Ok(answer) => answer,
            // Nothing left the house: not in doubt, only late.
            Err(Fault::Unreachable) if self.tries < 3 => return Next::Again { report: None },
            Err(_) => return Next::Again { report: self.doubt(true) },
        };
        match (&self.call.todo, answer) {
            (Todo::Settle(settle), Answer::Done) => {
                self.settle.captured = true;
                self.book(&settle.clone())
            }
            (Todo::Settle(_), answer) => {
                self.settle.refusal = Some(refusal(answer));
                self.settled()
            }
            (Todo::Refund(repayment), Answer::Done) if !repayment.near => {
                Next::Ledger(vec![sent(self.call.order, &repayment.booking())])
            }
            (Todo::Refund(_), Answer::Done) => Next::Finish(StepResult::Done),
            (Todo::Refund(_), answer) => Next::Finish(StepResult::Refused(refusal(answer))),
            (_, Answer::Authorized { reference }) => {
                Next::Finish(StepResult::Authorized(Reference(reference)))
            }
            (_, Answer::Declined { why }) => Next::Finish(StepResult::Declined(short(why))),
            (_, Answer::Done) => Next::Finish(StepResult::Done),
            (_, Answer::NotFound) => Next::Finish(StepResult::NotFound),
            (_, answer) => Next::Finish(StepResult::Refused(refusal(answer))),
        }
    }

    /// What the provider is to be asked, if this step asks it anything now.
    pub fn question(&self) -> Option<Question> {
        let order = self.call.order;
        let key = crate::core::order::provider_key(order);
        Some(match &self.call.todo {
            Todo::Authorize { token, money } => {
                Question::Authorize { charge: charge(order, *money), token: token.clone() }
            }
            Todo::CancelPayment { reference } => {
                Question::Cancel { key, reference: reference.0.clone() }
            }
            Todo::Lookup => Question::Lookup { key },
            Todo::Settle(Settle { capture: Some(capture), .. }) => Question::Capture {
                charge: charge(order, capture.money),
                reference: capture.reference.0.clone(),
            },
            Todo::Refund(Repayment { key, money, reference, .. }) => Question::Refund {
                charge: charge(order, *money),
                reference: reference.0.clone(),
                refund: format!("ref-{key}"),
            },
            Todo::Book(_) | Todo::Settle(Settle { capture: None, .. }) => return None,
        })
    }

    /// The news that a charge is in doubt, once.
    pub fn doubt(&mut self, late: bool) -> Option<StepResult> {
        let asks = matches!(self.call.todo, Todo::Authorize { .. });
        if !late || !asks || self.doubted {
            return None;
        }
        self.doubted = true;
        Some(StepResult::InDoubt)
    }

    /// All commits are answered: on to the capture, or back.
    fn committed(&mut self) -> Next {
        let pays = matches!(&self.call.todo, Todo::Settle(Settle { capture: Some(_), .. }));
        if self.settle.refusal.is_some() || !pays { self.settled() } else { Next::Provider }
    }

    fn book(&self, settle: &Settle) -> Next {
        match &settle.capture {
            Some(capture) if !capture.near => {
                Next::Ledger(vec![sent(self.call.order, &capture.booking())])
            }
            _ => self.settled(),
        }
    }

    fn settled(&self) -> Next {
        Next::Finish(StepResult::Settled(self.settle.clone()))
    }
}

/// A step for its books, wherever they are.
fn sent(order: OrderId, booking: &Booking) -> (GroupKind, u16, wire::Command) {
    let (kind, index) = booking.group();
    (kind, index, command::booking(order, booking))
}

fn refusal(answer: Answer) -> Refusal {
    let (code, why) = match answer {
        Answer::Declined { why } | Answer::Refused { why } => (RefusalCode::Declined, why),
        Answer::NotFound => (RefusalCode::Gone, "not found".to_owned()),
        Answer::Done | Answer::Authorized { .. } => (RefusalCode::Other, "odd answer".to_owned()),
    };
    Refusal::new(code, &short(why))
}

fn short(mut why: String) -> String {
    let end = (0..=REASON_BYTES_MAX.min(why.len())).rev().find(|end| why.is_char_boundary(*end));
    why.truncate(end.unwrap_or(0));
    why
}
