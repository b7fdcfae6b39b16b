//! Books that lie in the order's own log: what a change decides in them is done in the same entry.
//!
//! Each step is done by one carrier. Near books do what this very change decided; what an earlier
//! entry left, what time alone decides and what a provider has to be asked for first is the
//! runner's. So an entry that may not begin steps simply leaves them to be begun later.

use hansa_types::id::{OrderId, TransferId};
use hansa_types::seeded::{self, Bug};
use hansa_types::time::LogTime;

use super::contents::Contents;
use super::effect::{Booking, Effect, Refusal, RefusalCode, SettleResult, StepResult, Work};
use super::order::{Order, Stock};
use super::saga::{self, Now};
use super::state::calls;

/// Stock and money books with the index of the orders group that they lie in.
///
/// Pure. A step is known by its id: done again it changes nothing, and says what it said.
pub trait NearBooks {
    fn book(&mut self, at: LogTime, order: OrderId, booking: &Booking) -> StepResult;

    /// Whether a payment is here: one that left these books is brought back before its order is.
    fn has_payment(&self, payment: TransferId) -> bool;
}

/// The near books for as long as one command is applied; a group may have none.
pub struct Near<'a>(Option<&'a mut dyn NearBooks>);

impl<'a> Near<'a> {
    pub fn none() -> Self {
        Self(None)
    }

    pub fn new(books: &'a mut dyn NearBooks) -> Self {
        Self(Some(books))
    }

    /// Whether nothing more can be asked of a payment here, because it is away.
    pub(in crate::core) fn lacks(&self, payment: TransferId) -> bool {
        self.0.as_ref().is_some_and(|books| !books.has_payment(payment))
    }

    /// The same, for a while.
    pub fn lend(&mut self) -> Near<'_> {
        match &mut self.0 {
            Some(books) => Near(Some(&mut **books)),
            None => Near(None),
        }
    }
}

/// More steps than a change decides at once; what would be left is the runner's.
const STEPS_MAX: usize = 1_024;

impl Now<'_> {
    /// What came of a step that near books do; `None` if they are not the ones.
    fn book(&mut self, booking: &Booking) -> Option<StepResult> {
        let (_, index) = booking.group();
        let books = self.near.0.as_mut().filter(|_| index == self.settings.index)?;
        let result = books.book(self.at, self.id, booking);
        match result {
            StepResult::Refused(_) if seeded::on(Bug::NearRefusalIgnored) => Some(StepResult::Done),
            result => Some(result),
        }
    }
}

/// Does those steps from number `first` on that near books can do, and all that follows from them.
pub fn settle(order: &mut Order, contents: &Contents, first: u64, now: &mut Now<'_>) {
    if now.near.0.is_none() {
        return;
    }
    for _ in 0..STEPS_MAX {
        let Some((no, result)) = next(order, contents, first, now) else { return };
        saga::on(order, contents, no, result, now);
    }
}

/// The first of them that is done, and what came of it.
fn next(
    order: &mut Order,
    contents: &Contents,
    first: u64,
    now: &mut Now<'_>,
) -> Option<(u64, StepResult)> {
    (0..order.work.len()).find_map(|n| {
        let Work { no, effect } = order.work[n];
        let result = match effect {
            _ if no < first => None,
            Effect::Settle => commit(order, contents, now),
            effect => {
                let booking = calls::booking(order, contents, effect, now.settings);
                booking.and_then(|booking| now.book(&booking))
            }
        };
        Some((no, result?))
    })
}

/// The parts of the last leg whose stock is near. It is over if nothing else is left of it, or if
/// one of them was refused: then no money has moved yet.
fn commit(order: &mut Order, contents: &Contents, now: &mut Now<'_>) -> Option<StepResult> {
    let over = |refusal| {
        let (committed, captured, booked) = (0, false, false);
        Some(StepResult::Settled(SettleResult { committed, captured, booked, refusal }))
    };
    for n in 0..order.parts.len() {
        if order.parts[n].stock == Stock::Committed {
            continue;
        }
        match now.book(&Booking::Stock(calls::commit(&order.parts[n]))) {
            None => {}
            Some(StepResult::Refused(why)) => return over(Some(why)),
            Some(_) => order.parts[n].stock = Stock::Committed,
        }
    }
    let left = calls::settle(order, contents, None);
    if left.commits.is_empty() && left.capture.is_none() { over(None) } else { None }
}

/// What a provider did, booked where the books are near: the runner has left that to this entry.
pub fn finish(
    order: &Order,
    contents: &Contents,
    no: u64,
    result: StepResult,
    now: &mut Now<'_>,
) -> StepResult {
    let step = order.work.iter().find(|work| work.no == no);
    match (step.map(|work| work.effect), result) {
        (Some(Effect::Settle), StepResult::Settled(mut came))
            if came.captured && !came.booked && came.refusal.is_none() =>
        {
            if let Some(capture) = calls::settle(order, contents, None).capture {
                match now.book(&capture.booking()) {
                    None => {
                        let why = "captured, and left to books that are not near";
                        came.refusal = Some(Refusal::new(RefusalCode::Other, why));
                    }
                    Some(StepResult::Refused(why)) => came.refusal = Some(why),
                    Some(_) => came.booked = true,
                }
            }
            StepResult::Settled(came)
        }
        (Some(Effect::Refund(n)), StepResult::Done) => {
            let repayment = calls::repayment(order, contents, n, None);
            match repayment.and_then(|repayment| now.book(&repayment.booking())) {
                Some(StepResult::Refused(why)) => StepResult::Unbooked(why),
                _ => StepResult::Done,
            }
        }
        (_, result) => result,
    }
}
