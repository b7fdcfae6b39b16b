//! A ledger and a provider that remember, answer repeats alike, and can fail in every known way.

use std::collections::BTreeMap;

use hansa_types::id::{OrderId, Sku, TransferId};
use hansa_types::time::LogTime;

use crate::core::effect::{
    Booking, Reference, Refusal, RefusalCode, Repayment, Settle, SettleResult, StepResult,
    StockCall, StockVerb, Todo,
};
use crate::core::near::NearBooks;

/// A small generator: one seed, one story.
#[derive(Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hold {
    Live { until: LogTime },
    Committed,
    Released,
    Uncommitted,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Charge {
    Declined,
    Authorized { visible: LogTime },
    Captured,
    Void,
}

#[derive(Clone, Default)]
pub struct World {
    pub holds: BTreeMap<TransferId, Hold>,
    answers: BTreeMap<TransferId, StepResult>,
    pub charges: BTreeMap<OrderId, Charge>,
    pub captured: BTreeMap<OrderId, i64>,
    /// By order, then refund id: a repeat pays once.
    pub refunds: BTreeMap<OrderId, BTreeMap<TransferId, i64>>,
    pub funds: BTreeMap<TransferId, &'static str>,
    /// What the books know to be given back.
    pub repaid: BTreeMap<OrderId, i64>,
    /// Captured sums that books here began with.
    pub opened: BTreeMap<OrderId, i64>,
    /// A region was lost: who goes on may capture what that one cancelled and never told of.
    pub lost: bool,
    /// Units of each SKU that customers have by the books of who went on, and that came back to it
    /// from elsewhere.
    pub customers: BTreeMap<Sku, i64>,
    pub elsewhere: i64,
}

/// Its books in the orders' own log.
pub struct Books<'a> {
    pub world: &'a mut World,
    pub rng: &'a mut Rng,
}

impl NearBooks for Books<'_> {
    fn book(&mut self, at: LogTime, order: OrderId, booking: &Booking) -> StepResult {
        self.world.book(at, order, booking, self.rng)
    }

    fn has_payment(&self, _: TransferId) -> bool {
        true
    }
}

fn refused(code: RefusalCode) -> StepResult {
    StepResult::Refused(Refusal::new(code, ""))
}

impl World {
    /// Does a step for good and says what came of it; a repeat changes nothing.
    pub fn perform(
        &mut self,
        at: LogTime,
        order: OrderId,
        todo: &Todo,
        settle_ms: u64,
        rng: &mut Rng,
    ) -> StepResult {
        match todo {
            Todo::Book(booking) => self.book(at, order, booking, rng),
            Todo::Authorize { .. } => self.authorize(at, order, settle_ms, rng),
            Todo::CancelPayment { .. } => self.cancel(at, order),
            Todo::Lookup => match self.charges.get(&order) {
                Some(Charge::Authorized { visible }) if *visible <= at => {
                    StepResult::Authorized(Reference("ref".into()))
                }
                _ => StepResult::NotFound,
            },
            Todo::Settle(settle) => self.settle(at, order, settle, rng),
            Todo::Refund(repayment) => {
                let Repayment { key, money, near, .. } = repayment;
                let captured = self.captured.get(&order).copied().unwrap_or(0);
                let paid = self.refunds.entry(order).or_default();
                let others = paid.iter().filter(|(known, _)| *known != key);
                let others: i64 = others.map(|(_, minor)| minor).sum();
                // What the lost region gave back and never told of comes on top.
                if self.lost && others + money.minor > captured {
                    return refused(RefusalCode::Other);
                }
                paid.entry(*key).or_insert(money.minor);
                assert!(paid.values().sum::<i64>() <= captured, "refunded beyond the capture");
                match near {
                    true => StepResult::Done,
                    false => self.book(at, order, &repayment.booking(), rng),
                }
            }
        }
    }

    /// A step in the books.
    fn book(
        &mut self,
        at: LogTime,
        order: OrderId,
        booking: &Booking,
        rng: &mut Rng,
    ) -> StepResult {
        match booking {
            Booking::Stock(call) => self.stock(at, call, rng),
            Booking::HoldFunds { id, .. } => self.once(*id, |world| {
                world.funds.insert(*id, "held");
                StepResult::Done
            }),
            Booking::VoidFunds { id, hold, .. } => self.once(*id, |world| {
                assert_eq!(world.funds.get(hold), Some(&"held"), "void of what is not held");
                world.funds.insert(*hold, "void");
                StepResult::Done
            }),
            Booking::Capture { id, hold, .. } => self.once(*id, |world| {
                assert_eq!(world.funds.insert(*hold, "captured"), Some("held"));
                StepResult::Done
            }),
            Booking::Refund { id, money, .. } => self.once(*id, |world| {
                *world.repaid.entry(order).or_default() += money.minor;
                StepResult::Done
            }),
            Booking::Open(open) => self.once(open.id, |world| {
                let known = world.opened.insert(order, open.captured_minor);
                assert_eq!(known, None, "books are opened once");
                assert!(open.refunded_minor <= open.captured_minor);
                StepResult::Done
            }),
        }
    }

    fn once(&mut self, id: TransferId, how: impl FnOnce(&mut Self) -> StepResult) -> StepResult {
        if let Some(answer) = self.answers.get(&id) {
            return answer.clone();
        }
        let answer = how(self);
        self.answers.insert(id, answer.clone());
        answer
    }

    fn stock(&mut self, at: LogTime, call: &StockCall, rng: &mut Rng) -> StepResult {
        let out = rng.one_in(8);
        self.once(call.id, |world| match &call.verb {
            StockVerb::Reserve { .. } if out => refused(RefusalCode::OutOfStock),
            StockVerb::Reserve { ttl_ms, .. } => {
                world.holds.insert(call.id, Hold::Live { until: at.plus_ms(*ttl_ms) });
                StepResult::Done
            }
            StockVerb::Extend { hold, ttl_ms } => {
                world.live(at, *hold, |at| Hold::Live { until: at.plus_ms(*ttl_ms) })
            }
            StockVerb::Release { hold } => world.live(at, *hold, |_| Hold::Released),
            StockVerb::Commit { hold } => world.live(at, *hold, |_| Hold::Committed),
            StockVerb::Uncommit { hold } => {
                assert_eq!(world.holds.get(hold), Some(&Hold::Committed));
                world.holds.insert(*hold, Hold::Uncommitted);
                StepResult::Done
            }
            StockVerb::Ship { hold, lines } => {
                assert_eq!(world.holds.get(hold), Some(&Hold::Committed));
                for line in lines.iter().filter(|_| world.lost) {
                    *world.customers.entry(line.sku.clone()).or_default() +=
                        i64::from(line.quantity);
                }
                StepResult::Done
            }
            StockVerb::Restock { hold, lines, elsewhere, ended } => {
                assert!(world.lost || world.holds.get(hold) == Some(&Hold::Committed));
                assert!(world.lost || elsewhere.is_empty(), "nothing was taken over");
                for line in lines.iter().filter(|_| world.lost) {
                    let away = elsewhere.iter().find(|of| of.line == line.line);
                    let away = away.map_or(0, |of| i64::from(of.quantity));
                    assert!(away == 0 || *ended > 0, "the epoch is cited");
                    let left = world.customers.entry(line.sku.clone()).or_default();
                    *left -= i64::from(line.quantity) - away;
                    assert!(*left >= 0, "another order's units came back: {line:?}");
                    world.elsewhere += away;
                }
                StepResult::Done
            }
        })
    }

    fn live(
        &mut self,
        at: LogTime,
        hold: TransferId,
        next: impl FnOnce(LogTime) -> Hold,
    ) -> StepResult {
        match self.holds.get(&hold) {
            Some(Hold::Live { until }) if *until > at => {
                self.holds.insert(hold, next(at));
                StepResult::Done
            }
            Some(Hold::Live { .. }) => refused(RefusalCode::Expired),
            Some(_) => refused(RefusalCode::Resolved),
            None => refused(RefusalCode::Gone),
        }
    }

    fn authorize(
        &mut self,
        at: LogTime,
        order: OrderId,
        settle_ms: u64,
        rng: &mut Rng,
    ) -> StepResult {
        let late = rng.below(settle_ms);
        let fresh = match rng.below(8) {
            0 => Charge::Declined,
            1 => Charge::Authorized { visible: at.plus_ms(late) },
            _ => Charge::Authorized { visible: at },
        };
        match self.charges.entry(order).or_insert(fresh) {
            Charge::Declined | Charge::Void => StepResult::Declined("no".into()),
            Charge::Authorized { visible } if *visible > at => StepResult::InDoubt,
            Charge::Authorized { .. } => StepResult::Authorized(Reference("ref".into())),
            // A region that took the order over asks again by the same key.
            Charge::Captured => StepResult::Authorized(Reference("ref".into())),
        }
    }

    fn cancel(&mut self, at: LogTime, order: OrderId) -> StepResult {
        match self.charges.get(&order) {
            Some(Charge::Authorized { visible }) if *visible <= at => {
                self.charges.insert(order, Charge::Void);
                StepResult::Done
            }
            Some(Charge::Void | Charge::Declined) => StepResult::Done,
            // By who took the order over and never saw the capture.
            Some(Charge::Captured) => refused(RefusalCode::Other),
            _ => StepResult::NotFound,
        }
    }

    fn settle(
        &mut self,
        at: LogTime,
        order: OrderId,
        settle: &Settle,
        rng: &mut Rng,
    ) -> StepResult {
        let mut result =
            SettleResult { committed: 0, captured: false, booked: false, refusal: None };
        for (n, call) in settle.commits.iter().enumerate() {
            match self.stock(at, call, rng) {
                StepResult::Done => result.committed |= 1 << settle.parts[n],
                StepResult::Refused(why) => result.refusal = Some(why),
                other => panic!("{other:?}"),
            }
        }
        let Some(capture) = &settle.capture else {
            return StepResult::Settled(result);
        };
        if result.refusal.is_some() {
            return StepResult::Settled(result);
        }
        let charge = self.charges.get_mut(&order).unwrap();
        if self.lost && *charge == Charge::Void {
            result.refusal = Some(Refusal::new(RefusalCode::Other, "cancelled before"));
            return StepResult::Settled(result);
        }
        assert_ne!(*charge, Charge::Void, "capture after void");
        *charge = Charge::Captured;
        self.captured.insert(order, capture.money.minor);
        result.captured = true;
        if !capture.near {
            self.book(at, order, &capture.booking(), rng);
            result.booked = true;
        }
        StepResult::Settled(result)
    }
}
