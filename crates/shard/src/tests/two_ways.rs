//! Two ways, one ledger: the same callers' story through a shard that does what is near at once,
//! and through three machines that a runner carries every step between. The books are the same in
//! the end, and so is what each order came to.

use std::collections::BTreeMap;

use hansa_consensus::{Holds, Machine, Records, inspect};
use hansa_ledger::core::inventory::{self, CommandId, Inventory, Receive};
use hansa_ledger::core::payments::Payments;
use hansa_ledger::machine::{Batch, Outcomes, POSTINGS};
use hansa_ledger::wire;
use hansa_orders::carried;
use hansa_orders::core::command::{Accept, Command};
use hansa_orders::core::contents::{Contents, Line, LineKind, Token};
use hansa_orders::core::effect::{
    Booking, Call, Effect, Reference, Refusal, RefusalCode, Report, Settle, SettleResult,
    StepResult, StockVerb, Todo,
};
use hansa_orders::core::keys::{Key, Scope};
use hansa_orders::core::order::{Note, Order};
use hansa_orders::core::state::{State, booking};
use hansa_orders::core::status::OrderStatus;
use hansa_orders::core::subjects::{KeyOf, RegionKey, SubjectId, Wrapped};
use hansa_orders::machine::OrdersMachine;
use hansa_types::id::{GroupKind, OrderId, TransferId};
use hansa_types::money::Currency;
use hansa_types::region::Slot;
use hansa_types::time::LogTime;

use super::story::{Story, money_rules, rules, stock_rules};
use super::{joint, tagged, written};
use crate::machine::{MONEY, Outcome, STOCK, Shard};

/// Orders and their books, however they lie.
pub(super) trait Way {
    fn advance(&mut self, at: LogTime);
    fn command(&mut self, at: LogTime, command: &[u8]);
    fn books(&mut self, at: LogTime, kind: GroupKind, batch: &[u8]) -> Outcomes;
    fn state(&self) -> &State;
}

struct Apart {
    orders: OrdersMachine,
    stock: Inventory,
    money: Payments,
}

impl Way for Apart {
    fn advance(&mut self, at: LogTime) {
        let mut none = Records::new();
        Machine::advance(&mut self.stock, at, &mut none);
        Machine::advance(&mut self.money, at, &mut none);
        self.orders.advance(at, &mut none);
    }

    fn command(&mut self, at: LogTime, command: &[u8]) {
        self.orders.apply(at, command, &mut Records::new());
    }

    fn books(&mut self, at: LogTime, kind: GroupKind, batch: &[u8]) -> Outcomes {
        let mut out = Records::new();
        match kind {
            GroupKind::Inventory => Machine::apply(&mut self.stock, at, batch, &mut out),
            _ => Machine::apply(&mut self.money, at, batch, &mut out),
        }
    }

    fn state(&self) -> &State {
        &self.orders.state
    }
}

/// A shard, of which orders and books agree whenever anything was applied to it, and how many
/// commands that were.
pub(super) struct Together {
    pub shard: Shard,
    pub entries: usize,
}

impl Together {
    fn agree(&self) {
        assert_eq!(self.shard.agrees(3), []);
    }
}

impl Way for Together {
    fn advance(&mut self, at: LogTime) {
        self.shard.advance(at, &mut Records::new());
        self.agree();
    }

    fn command(&mut self, at: LogTime, command: &[u8]) {
        let mut out = Records::new();
        self.shard.apply(at, command, &mut out);
        self.entries += 1;
        self.agree();
        let tables = [<Shard as Holds<Inventory>>::TABLES, <Shard as Holds<Payments>>::TABLES];
        for table in tables {
            let postings = out.iter().filter(|record| record.table == table + POSTINGS);
            assert!(postings.count() <= 1, "one record for a book and command");
        }
    }

    fn books(&mut self, at: LogTime, kind: GroupKind, batch: &[u8]) -> Outcomes {
        let tag = if kind == GroupKind::Inventory { STOCK } else { MONEY };
        self.entries += 1;
        let outcome = self.shard.apply(at, &tagged(tag, batch), &mut Records::new());
        self.agree();
        match outcome {
            Outcome::Stock(outcomes) | Outcome::Money(outcomes) => outcomes,
            Outcome::Orders(outcome) => panic!("{outcome:?}"),
        }
    }

    fn state(&self) -> &State {
        &self.shard.orders().state
    }
}

/// Carries what is due, all at one time: what books do first, as near books are; then, if the
/// provider speaks, one of its answers after the other.
pub(super) fn carry(way: &mut dyn Way, at: LogTime, speaks: bool) {
    for _ in 0..2_000 {
        let due = way.state().due(0, 1_000);
        let booked = due.iter().find_map(|call| Some((call, answer(way, at, call, false)?)));
        let done = match booked {
            None if speaks => {
                due.iter().find_map(|call| Some((call, answer(way, at, call, true)?)))
            }
            booked => booked,
        };
        let Some((&Call { order, no, .. }, result)) = done else { return };
        way.command(at, &Command::Report(vec![Report { order, no, result }]).encode());
    }
    panic!("never ends: {:?}", way.state().due(0, 3));
}

fn book(way: &mut dyn Way, at: LogTime, order: OrderId, booking: &Booking) -> StepResult {
    let (kind, _) = booking.group();
    let command = carried::booking(order, booking);
    let batch = wire::encode(std::slice::from_ref(&command), kind).unwrap();
    let outcomes = way.books(at, kind, &batch);
    carried::result(&wire::outcome(&outcomes.outcomes[0], &command))
}

/// What the runner would report, of a provider that declines some orders; `None` while it waits
/// for the provider.
fn answer(way: &mut dyn Way, at: LogTime, call: &Call, speaks: bool) -> Option<StepResult> {
    let order = call.order;
    let declined = way.state().contents.get(&order).unwrap().reference == "declined";
    Some(match &call.todo {
        Todo::Book(booking) => book(way, at, order, booking),
        Todo::Settle(settle) => return settled(way, at, order, settle, speaks),
        _ if !speaks => return None,
        Todo::Authorize { .. } if declined => StepResult::Declined("no".to_owned()),
        Todo::Authorize { .. } => StepResult::Authorized(Reference("ch_1".to_owned())),
        Todo::CancelPayment { .. } => StepResult::Done,
        Todo::Lookup => StepResult::NotFound,
        Todo::Refund(refund) if refund.near => StepResult::Done,
        Todo::Refund(refund) => match book(way, at, order, &refund.booking()) {
            StepResult::Refused(why) => StepResult::Unbooked(why),
            result => result,
        },
    })
}

fn settled(
    way: &mut dyn Way,
    at: LogTime,
    order: OrderId,
    settle: &Settle,
    speaks: bool,
) -> Option<StepResult> {
    let mut came = SettleResult { committed: 0, captured: false, booked: false, refusal: None };
    for (part, call) in settle.parts.iter().zip(&settle.commits) {
        match book(way, at, order, &Booking::Stock(call.clone())) {
            StepResult::Refused(why) => came.refusal = Some(why),
            _ => came.committed |= 1 << part,
        }
    }
    if let (Some(capture), None) = (&settle.capture, &came.refusal) {
        if !speaks {
            return None;
        }
        came.captured = true;
        if !capture.near {
            match book(way, at, order, &capture.booking()) {
                StepResult::Refused(why) => came.refusal = Some(why),
                _ => came.booked = true,
            }
        }
    }
    Some(StepResult::Settled(came))
}

pub(super) fn order_id(n: u64) -> OrderId {
    let born = LogTime(1_700_000_000_000 + n);
    OrderId::new(born, 1.try_into().unwrap(), Slot::of(&n.to_le_bytes()), n)
}

pub(super) fn accept(draws: &mut Story, n: u64) -> Command {
    let line = |sku: &str, quantity, price_minor| Line {
        kind: LineKind::Stock,
        sku: Some(sku.parse().unwrap()),
        description: String::new(),
        quantity,
        price_minor,
        stock_group: Some(0),
    };
    let free = draws.draw(6) == 0;
    let price = if free { 0 } else { 100 };
    let lines = match draws.draw(3) {
        0 => vec![line("A", 1 + draws.draw(3) as u32, price)],
        1 => vec![line("A", 1, price), line("B", 2, price)],
        _ => vec![line("B", 1, price), line("C", 1, price)],
    };
    let worth = |line: &Line| line.price_minor * i64::from(line.quantity);
    let subject = SubjectId { home: 1.try_into().unwrap(), hash: u128::from(n) };
    let contents = Contents {
        caller: "storefront".to_owned(),
        sealed_with: KeyOf { subject, generation: 1 },
        guest: false,
        residence: "GB".parse().unwrap(),
        request: format!("request-{n}").parse().unwrap(),
        currency: Currency::GBP,
        total_minor: lines.iter().map(worth).sum(),
        lines,
        token: Token("tok_approve".to_owned()),
        personal: None,
        payment_group: 0,
        reference: if draws.draw(7) == 0 { "declined" } else { "" }.to_owned(),
        placed_ms: None,
    };
    let mint = Some(Wrapped { by: RegionKey(1), nonce: [3; 12], ciphertext: vec![4; 80].into() });
    let key = Key { scope: Scope(u128::from(n)), body: u128::from(n) };
    Command::Accept(Box::new(Accept { order: order_id(n), key, epoch: 1, contents, mint }))
}

/// What a caller asks for next.
pub(super) fn ask(draws: &mut Story, placed: &mut u64, asked: &mut u128) -> Command {
    if *placed == 0 || draws.draw(3) == 0 {
        *placed += 1;
        return accept(draws, *placed);
    }
    *asked += 1;
    let key = Key { scope: Scope(*asked << 64), body: *asked };
    let order = order_id(1 + draws.draw(*placed));
    let note = Note::default();
    match draws.draw(5) {
        0 => Command::Cancel { order, key, reason: "late".to_owned() },
        1 => Command::Ship { order, key, lines: vec![(0, 1)], note },
        2 => Command::Ship { order, key, lines: Vec::new(), note },
        3 => Command::Return { order, key, lines: vec![(0, 1)], note },
        _ => Command::Refund { order, key, amount_minor: 1 + draws.draw(90) as i64, note },
    }
}

pub(super) fn receive(id: TransferId, sku: &str, quantity: u64) -> Vec<u8> {
    let mut batch = Batch::default();
    let (id, warehouse, document) = (CommandId::Given(id), None, "d");
    batch.push(&inventory::Command::Receive(Receive { id, sku, warehouse, quantity, document }));
    batch.finish()
}

/// All of an order but when it was told, and by which numbers its steps went.
fn came_to(order: &Order) -> Order {
    let mut order = order.clone();
    (order.version, order.last_seq) = (0, 0);
    order.history.clear();
    order.updated = LogTime::ZERO;
    order.wake = None;
    let moved = order.shipments.iter_mut().chain(&mut order.returns);
    moved.for_each(|movement| movement.version = 0);
    order.refunds.iter_mut().for_each(|refund| refund.version = 0);
    order
}

fn books_agree(apart: &Apart, together: &Together) {
    let stock: &Inventory = together.shard.part().unwrap();
    let money: &Payments = together.shard.part().unwrap();
    assert_eq!(Machine::digest(stock), Machine::digest(&apart.stock));
    assert_eq!(Machine::digest(money), Machine::digest(&apart.money));
}

fn orders_agree(apart: &Apart, together: &Together) {
    for (id, order) in apart.state().orders.iter() {
        let near = together.state().orders.get(id).unwrap();
        assert_eq!(came_to(near), came_to(order), "{id}");
        assert!(near.version <= order.version);
    }
    assert_eq!(apart.state().orders.len(), together.state().orders.len());
}

/// How often what happened that a story has to have.
#[derive(Default)]
struct Seen {
    ends: BTreeMap<OrderStatus, usize>,
    extended: usize,
    waited: usize,
}

fn story(seed: u64, seen: &mut Seen) {
    let (stock, money) = (Inventory::new(stock_rules()), Payments::new(money_rules()));
    let mut apart = Apart { orders: OrdersMachine::new(rules()), stock, money };
    let mut together = Together { shard: joint(), entries: 0 };
    let (mut draws, mut placed, mut asked) = (Story::new(seed), 0, 0);
    for step in 0..240_u32 {
        let (at, speaks) = (draws.pass(), step == 239 || draws.draw(4) == 0);
        let sku = ["A", "B", "C"][draws.draw(3) as usize];
        let batch = receive(TransferId::derive(at, &[&step.to_le_bytes()]), sku, draws.draw(4));
        let command = match draws.draw(5) {
            0 => None,
            _ => Some(ask(&mut draws, &mut placed, &mut asked)),
        };
        for way in [&mut apart as &mut dyn Way, &mut together] {
            way.advance(at);
            let extend = |call: &Call| match &call.todo {
                Todo::Book(Booking::Stock(call)) => matches!(call.verb, StockVerb::Extend { .. }),
                _ => false,
            };
            seen.extended += way.state().due(0, 1_000).iter().filter(|call| extend(call)).count();
            // What time decided, before what callers ask for.
            carry(way, at, false);
            match &command {
                Some(command) => way.command(at, &command.encode()),
                None => drop(way.books(at, GroupKind::Inventory, &batch)),
            }
            carry(way, at, speaks);
            seen.waited += usize::from(!way.state().due(0, 1).is_empty());
        }
        books_agree(&apart, &together);
        if !speaks {
            continue;
        }
        orders_agree(&apart, &together);
        together.shard = inspect::machine(&mut &written(&together.shard)[..]).unwrap();
    }
    for (id, order) in together.state().orders.iter() {
        let contents = together.state().contents.get(id).unwrap();
        *seen.ends.entry(order.order_status(contents)).or_default() += 1;
    }
}

#[test]
fn the_same_story_leaves_the_same_books() {
    let mut seen = Seen::default();
    for seed in 1..=24 {
        story(seed, &mut seen);
    }
    use OrderStatus::*;
    for want in [Confirmed, Completed, Rejected, Cancelled] {
        assert!(seen.ends.get(&want).is_some_and(|n| *n > 20), "{:?}", seen.ends);
    }
    assert!(seen.extended > 20 && seen.waited > 100, "{} {}", seen.extended, seen.waited);
}

/// Of an order that goes well: three commands, where a runner with lanes takes seven.
#[test]
fn an_order_takes_three_entries() {
    let mut together = Together { shard: joint(), entries: 0 };
    let at = LogTime(1_700_000_100_000);
    together.advance(at);
    let stock = receive(TransferId::derive(at, &[b"r"]), "A", 9);
    together.books(at, GroupKind::Inventory, &stock);
    together.entries = 0;
    let mut draws = Story::new(1);
    let Command::Accept(mut accept) = accept(&mut draws, 1) else { panic!() };
    accept.contents.reference = String::new();
    accept.contents.lines.truncate(1);
    accept.contents.lines[0].sku = Some("A".parse().unwrap());
    accept.contents.lines[0].price_minor = 100;
    accept.contents.total_minor = 100 * i64::from(accept.contents.lines[0].quantity);
    together.command(at, &Command::Accept(accept).encode());
    carry(&mut together, at, true);
    let (_, order) = together.state().orders.iter().next().unwrap();
    assert!(order.settled && order.closed());
    assert_eq!(together.entries, 3);
}

#[test]
fn a_lanes_repeat_of_what_was_done_near_is_none() {
    let mut together = Together { shard: joint(), entries: 0 };
    let at = LogTime(1_700_000_100_000);
    together.advance(at);
    let stock = receive(TransferId::derive(at, &[b"r"]), "A", 9);
    together.books(at, GroupKind::Inventory, &stock);
    let mut draws = Story::new(2);
    let mut seen = 0;
    for n in 1..=20 {
        together.command(at, &accept(&mut draws, n).encode());
        let order = together.state().orders.get(&order_id(n)).unwrap().clone();
        let contents = together.state().contents.get(&order_id(n)).unwrap().clone();
        let settings = together.state().meta.settings.clone();
        // What the runner would send, had it been first to see the step.
        let effects = [Effect::Reserve(0), Effect::HoldFunds];
        let before = together.shard.digest();
        for effect in effects {
            let Some(booking) = booking(&order, &contents, effect, &settings) else {
                continue;
            };
            let again = book(&mut together, at, order_id(n), &booking);
            let refused = matches!(
                &again,
                StepResult::Refused(Refusal {
                    code: RefusalCode::OutOfStock | RefusalCode::UnknownSku,
                    ..
                })
            );
            assert!(again == StepResult::Done || refused, "{again:?}");
            seen += 1;
        }
        assert_eq!(together.shard.digest(), before, "a repeat changes nothing");
    }
    assert!(seen > 20);
}
