//! What is due: outstanding steps with all that the shell needs to do them.

use hansa_types::id::{OrderId, TransferId};

use crate::core::contents::{Contents, Line};
use crate::core::effect::{
    Amount, Books, Call, Capture, Effect, Open, Settle, StockCall, StockLine, StockVerb, Todo, Work,
};
use crate::core::order::{Funds, Movement, Order, Part, Stock};
use crate::core::takeover::Phase;

use super::State;

impl State {
    /// The outstanding steps after number `after`, in the order they were decided.
    pub fn due(&self, after: u64, max: usize) -> Vec<Call> {
        let work = self.work.range(after + 1..).filter(|(no, id)| self.begins(**no, **id));
        work.take(max).filter_map(|(no, id)| self.call(*id, *no)).collect()
    }

    /// While births are drained, what was decided since waits.
    fn begins(&self, no: u64, id: OrderId) -> bool {
        match self.births.get(id.region()).map(|row| row.phase) {
            Some(Phase::Draining { work_upto, .. }) => no <= work_upto,
            _ => true,
        }
    }

    fn call(&self, id: OrderId, no: u64) -> Option<Call> {
        let (order, contents) = (self.orders.get(&id)?, self.contents.get(&id)?);
        let work = order.work.iter().find(|work| work.no == no)?;
        let funds_ttl_ms = self.meta.settings.funds_ttl_ms;
        let ttl_ms = self.meta.settings.hold_ttl_ms;
        let todo = todo(order, contents, *work, ttl_ms, funds_ttl_ms)?;
        Some(Call { order: id, no, todo })
    }
}

fn todo(o: &Order, c: &Contents, work: Work, ttl_ms: u64, funds_ttl_ms: u64) -> Option<Todo> {
    let all = Amount { minor: c.total_minor, currency: c.currency };
    let part = |n: u8| o.parts.get(usize::from(n));
    let books = || Some(Books { group: c.payment_group, payment: o.money.payment? });
    Some(match work.effect {
        Effect::Reserve(n) => {
            let part = part(n)?;
            let verb = StockVerb::Reserve { lines: stock_lines(o, c, part.group), ttl_ms };
            stock(part, part.hold, verb)
        }
        Effect::Extend(n) => {
            let part = part(n)?;
            stock(part, part.step, StockVerb::Extend { hold: part.hold, ttl_ms })
        }
        Effect::Release(n) => {
            let part = part(n)?;
            stock(part, part.step, StockVerb::Release { hold: part.hold })
        }
        Effect::Uncommit(n) => {
            let part = part(n)?;
            stock(part, part.step, StockVerb::Uncommit { hold: part.hold })
        }
        Effect::HoldFunds => Todo::HoldFunds {
            books: books()?,
            id: o.money.hold?,
            money: all,
            timeout_ms: funds_ttl_ms,
        },
        Effect::VoidFunds => {
            Todo::VoidFunds { books: books()?, id: o.money.step?, hold: o.money.hold? }
        }
        Effect::Authorize => Todo::Authorize { token: c.token.clone(), money: all },
        Effect::CancelPayment => Todo::CancelPayment { reference: o.money.reference.clone() },
        Effect::Lookup => Todo::Lookup,
        Effect::Settle => Todo::Settle(settle(o, c, all)),
        Effect::Refund(n) => {
            let refund = o.refunds.get(usize::from(n))?;
            let money = Amount { minor: refund.amount_minor, currency: c.currency };
            let reference = o.money.reference.clone();
            let (id, key) = (refund.id, refund.key());
            Todo::Refund { books: books()?, id, key, money, reference }
        }
        Effect::Open => Todo::Open(open(o, c, books()?)?),
        Effect::Ship(n) => {
            let (hold, movement) = movement(o, &o.shipments, n)?;
            let verb = StockVerb::Ship { hold, lines: moved_lines(c, &movement.lines) };
            Todo::Stock(StockCall { group: movement.group, id: movement.id, verb })
        }
        Effect::Restock(n) => {
            let (hold, movement) = movement(o, &o.returns, n)?;
            let lines = moved_lines(c, &movement.lines);
            let elsewhere = moved_lines(c, &movement.elsewhere);
            let ended = o.adopted.map_or(0, |adoption| adoption.ended);
            let verb = StockVerb::Restock { hold, lines, elsewhere, ended };
            Todo::Stock(StockCall { group: movement.group, id: movement.id, verb })
        }
    })
}

/// What books begin with that another region kept before.
fn open(o: &Order, c: &Contents, books: Books) -> Option<Open> {
    Some(Open {
        books,
        id: o.money.step?,
        ended: o.adopted?.ended,
        currency: c.currency,
        authorized_minor: o.money.authorized_minor,
        captured_minor: o.money.captured_minor,
        refunded_minor: opened_refunds(o),
    })
}

fn stock(part: &Part, id: TransferId, verb: StockVerb) -> Todo {
    Todo::Stock(StockCall { group: part.group, id, verb })
}

/// What is still to leave the house: all of it, unless another region shipped some.
fn stock_lines(order: &Order, contents: &Contents, group: u16) -> Vec<StockLine> {
    let line = |(place, line): (u16, &Line)| {
        let (line_no, sku) = (u32::from(place) + 1, line.sku.clone()?);
        let quantity = line.quantity.saturating_sub(Order::moved(&order.shipments, place));
        (quantity > 0).then_some(StockLine { line: line_no, sku, quantity })
    };
    contents.of_group(group).filter_map(line).collect()
}

fn movement<'a>(order: &Order, list: &'a [Movement], n: u16) -> Option<(TransferId, &'a Movement)> {
    let movement = list.get(usize::from(n))?;
    let part = order.parts.iter().find(|part| part.group == movement.group)?;
    Some((part.hold, movement))
}

fn moved_lines(contents: &Contents, moved: &[(u16, u32)]) -> Vec<StockLine> {
    let line = |(place, quantity): &(u16, u32)| {
        let sku = contents.lines.get(usize::from(*place))?.sku.clone()?;
        Some(StockLine { line: u32::from(*place) + 1, sku, quantity: *quantity })
    };
    moved.iter().filter_map(line).collect()
}

fn settle(order: &Order, contents: &Contents, money: Amount) -> Settle {
    let commit = |part: &Part| StockCall {
        group: part.group,
        id: part.step,
        verb: StockVerb::Commit { hold: part.hold },
    };
    let capture = || {
        let books = Books { group: contents.payment_group, payment: order.money.payment? };
        let reference = order.money.reference.clone();
        Some(Capture { reference, books, id: order.money.step?, hold: order.money.hold?, money })
    };
    // What is known to be committed is not asked again: its ids may have left the dedup window.
    let open = |(_, part): &(u8, &Part)| part.stock != Stock::Committed;
    let (parts, commits) =
        (0_u8..).zip(&order.parts).filter(open).map(|(n, part)| (n, commit(part))).unzip();
    // Of an order that was taken over, another region may have captured.
    let capture = if order.funds == Funds::Captured { None } else { capture() };
    Settle { commits, parts, capture }
}

/// What was given back before these books were opened: what follows is booked by itself.
fn opened_refunds(order: &Order) -> i64 {
    let base = order.base();
    let known = order.refunds.iter().filter(|refund| (1..=base).contains(&refund.version));
    known.map(|refund| refund.amount_minor).sum()
}
