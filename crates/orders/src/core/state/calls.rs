//! What is due: outstanding steps with all that the shell needs to do them.

use hansa_types::id::{OrderId, TransferId};

use crate::core::contents::{Contents, Line};
use crate::core::effect::{
    Amount, Booking, Books, Call, Capture, Effect, Open, Repayment, Settle, StockCall, StockLine,
    StockVerb, Todo, Work,
};
use crate::core::order::{Funds, Movement, Order, Part, Stock};
use crate::core::settings::Settings;
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
        let settings = &self.meta.settings;
        let near = self.keeps_books.then_some(settings.index);
        Some(Call { order: id, no, todo: todo(order, contents, *work, settings, near)? })
    }

    /// Whether a step that is decided now would begin at once.
    pub(in crate::core) fn begins_now(&self, id: OrderId) -> bool {
        let no = self.meta.next_work + 1;
        self.begins(no, id) && no <= self.steps_upto()
    }
}

/// `near`: the index of the books that are in the order's own log.
fn todo(
    o: &Order,
    c: &Contents,
    work: Work,
    settings: &Settings,
    near: Option<u16>,
) -> Option<Todo> {
    Some(match work.effect {
        Effect::Authorize => Todo::Authorize { token: c.token.clone(), money: all(c) },
        Effect::CancelPayment => Todo::CancelPayment { reference: o.money.reference.clone() },
        Effect::Lookup => Todo::Lookup,
        Effect::Settle => Todo::Settle(settle(o, c, near)),
        Effect::Refund(n) => Todo::Refund(repayment(o, c, n, near)?),
        effect => Todo::Book(booking(o, c, effect, settings)?),
    })
}

/// A step that is done in books alone; `None` for one that a provider is asked for.
pub fn booking(o: &Order, c: &Contents, effect: Effect, settings: &Settings) -> Option<Booking> {
    let part = |n: u8| o.parts.get(usize::from(n));
    let ttl_ms = settings.hold_ttl_ms;
    Some(match effect {
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
        Effect::HoldFunds => {
            let (books, id) = (books(o, c)?, o.money.hold?);
            let timeout_ms = settings.funds_ttl_ms;
            Booking::HoldFunds { books, id, money: all(c), timeout_ms }
        }
        Effect::VoidFunds => {
            Booking::VoidFunds { books: books(o, c)?, id: o.money.step?, hold: o.money.hold? }
        }
        Effect::Open => Booking::Open(open(o, c, books(o, c)?)?),
        Effect::Ship(n) => {
            let (hold, movement) = movement(o, &o.shipments, n)?;
            let verb = StockVerb::Ship { hold, lines: moved_lines(c, &movement.lines) };
            Booking::Stock(StockCall { group: movement.group, id: movement.id, verb })
        }
        Effect::Restock(n) => {
            let (hold, movement) = movement(o, &o.returns, n)?;
            let lines = moved_lines(c, &movement.lines);
            let elsewhere = moved_lines(c, &movement.elsewhere);
            let ended = o.adopted.map_or(0, |adoption| adoption.ended);
            let verb = StockVerb::Restock { hold, lines, elsewhere, ended };
            Booking::Stock(StockCall { group: movement.group, id: movement.id, verb })
        }
        Effect::Authorize
        | Effect::CancelPayment
        | Effect::Lookup
        | Effect::Settle
        | Effect::Refund(_) => return None,
    })
}

fn all(contents: &Contents) -> Amount {
    Amount { minor: contents.total_minor, currency: contents.currency }
}

fn books(order: &Order, contents: &Contents) -> Option<Books> {
    Some(Books { group: contents.payment_group, payment: order.money.payment? })
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

fn stock(part: &Part, id: TransferId, verb: StockVerb) -> Booking {
    Booking::Stock(StockCall { group: part.group, id, verb })
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

/// A part's commit.
pub(in crate::core) fn commit(part: &Part) -> StockCall {
    StockCall { group: part.group, id: part.step, verb: StockVerb::Commit { hold: part.hold } }
}

/// What is left of the last leg.
pub(in crate::core) fn settle(order: &Order, contents: &Contents, near: Option<u16>) -> Settle {
    let capture = || {
        let books = books(order, contents)?;
        let (id, hold, money) = (order.money.step?, order.money.hold?, all(contents));
        let (reference, near) = (order.money.reference.clone(), near == Some(books.group));
        Some(Capture { reference, books, id, hold, money, near })
    };
    // What is known to be committed is not asked again: its ids may have left the dedup window.
    let open = |(_, part): &(u8, &Part)| part.stock != Stock::Committed;
    let (parts, commits) =
        (0_u8..).zip(&order.parts).filter(open).map(|(n, part)| (n, commit(part))).unzip();
    // Of an order that was taken over, another region may have captured.
    let capture = if order.funds == Funds::Captured { None } else { capture() };
    Settle { commits, parts, capture }
}

/// What is given back by the order's refund `n`.
pub(in crate::core) fn repayment(
    order: &Order,
    contents: &Contents,
    n: u16,
    near: Option<u16>,
) -> Option<Repayment> {
    let refund = order.refunds.get(usize::from(n))?;
    let (books, reference) = (books(order, contents)?, order.money.reference.clone());
    let money = Amount { minor: refund.amount_minor, currency: contents.currency };
    let (id, key, near) = (refund.id, refund.key(), near == Some(books.group));
    Some(Repayment { books, id, key, money, reference, near })
}

/// What was given back before these books were opened: what follows is booked by itself.
fn opened_refunds(order: &Order) -> i64 {
    let base = order.base();
    let known = order.refunds.iter().filter(|refund| (1..=base).contains(&refund.version));
    known.map(|refund| refund.amount_minor).sum()
}
