//! What orders and their books disagree about is told, whichever of them is wrong.

use hansa_consensus::{Holds, Machine, Records};
use hansa_ledger::core::inventory::{self, Inventory, Reserve, Ship, StockLine};
use hansa_ledger::core::payments::{self, Authorize, PaymentKey, Refund};
use hansa_ledger::machine::Batch;
use hansa_orders::core::command::Command;
use hansa_orders::core::order::Order;
use hansa_types::id::{GroupKind, OrderId, TransferId};
use hansa_types::money::Currency;
use hansa_types::time::LogTime;

use super::story::Story;
use super::two_ways::{Together, Way as _, accept, carry, order_id, receive};
use super::{joint, tagged};
use crate::invariants::{ALL, Place};
use crate::machine::{MONEY, STOCK};

const AT: LogTime = LogTime(1_700_000_100_000);

fn id(what: &str) -> TransferId {
    TransferId::derive(AT, &[what.as_bytes()])
}

/// Order 1 is confirmed, and order 2 waits for the provider; each of two units of A.
fn two_orders() -> Together {
    let mut together = Together { shard: joint(), entries: 0 };
    together.advance(AT);
    together.books(AT, GroupKind::Inventory, &receive(id("r"), "A", 9));
    let mut draws = Story::new(1);
    for n in 1..=2 {
        let Command::Accept(mut accept) = accept(&mut draws, n) else { panic!() };
        accept.contents.reference = String::new();
        accept.contents.lines.truncate(1);
        let line = &mut accept.contents.lines[0];
        (line.sku, line.quantity, line.price_minor) = (Some("A".parse().unwrap()), 2, 100);
        accept.contents.total_minor = 200;
        together.command(AT, &Command::Accept(accept).encode());
        carry(&mut together, AT, n == 1);
    }
    assert!(order(&together, 1).settled && !order(&together, 2).settled);
    together
}

fn order(together: &Together, n: u64) -> Order {
    together.shard.orders().state.orders.get(&order_id(n)).unwrap().clone()
}

fn hold(together: &Together, n: u64) -> TransferId {
    order(together, n).parts[0].hold
}

fn payment(together: &Together, n: u64) -> PaymentKey {
    PaymentKey(u128::from_be_bytes(order(together, n).money.payment.unwrap().to_bytes()))
}

/// Behind the orders' back.
fn stock(together: &mut Together, command: &inventory::Command<'_>) {
    let mut batch = Batch::default();
    batch.push(command);
    together.shard.apply(AT, &tagged(STOCK, &batch.finish()), &mut Records::new());
}

fn money(together: &mut Together, command: &payments::Command) {
    let mut batch = Batch::default();
    batch.push(command);
    together.shard.apply(AT, &tagged(MONEY, &batch.finish()), &mut Records::new());
}

fn reserve(id: TransferId, order: OrderId) -> inventory::Command<'static> {
    let lines = vec![StockLine { line: 1, sku: "A", warehouse: None, quantity: 1 }];
    inventory::Command::Reserve(Reserve { id, order, ttl_ms: 60_000, lines })
}

/// Whose and what is told after `wrong`, by number; the same in pages of one record.
fn told(wrong: impl FnOnce(&mut Together)) -> Vec<(u32, OrderId)> {
    let mut together = two_orders();
    assert_eq!(together.shard.agrees(9), []);
    wrong(&mut together);
    let all = together.shard.agrees(9);
    assert!(all.iter().all(|broken| ALL.contains(&(broken.number, broken.name))), "{all:?}");
    let again: Vec<_> = places(&together)
        .into_iter()
        .flat_map(|place| together.shard.agrees_at(&[place]))
        .collect();
    assert_eq!(all, again);
    all.into_iter().map(|broken| (broken.number, broken.order)).collect()
}

fn places(together: &Together) -> Vec<Place> {
    let state = &together.shard.orders().state;
    let stock: &Inventory = together.shard.part().unwrap();
    let money: &payments::Payments = together.shard.part().unwrap();
    let orders = state.orders.iter().map(|(id, _)| Place::Order(*id));
    let reservations = stock.reservations().map(|(id, _)| Place::Reservation(*id));
    let payments = money.payments().map(|(key, _)| Place::Payment(*key));
    let funds = money.kernel().books().holds().map(|(id, _)| Place::Funds(*id));
    orders.chain(reservations).chain(payments).chain(funds).collect()
}

#[test]
fn goods_that_one_side_alone_moved_are_told() {
    let (one, two) = (order_id(1), order_id(2));
    let committed = told(|books| {
        let hold = hold(books, 2);
        stock(books, &inventory::Command::Commit { id: id("c"), hold });
    });
    assert_eq!(committed, [(6, two)]);
    let given_back = told(|books| {
        let hold = hold(books, 1);
        stock(books, &inventory::Command::Uncommit { id: id("u"), hold });
    });
    assert_eq!(given_back, [(6, one)]);
    let shipped = told(|books| {
        let hold = hold(books, 1);
        let lines = vec![StockLine { line: 1, sku: "A", warehouse: None, quantity: 1 }];
        stock(books, &inventory::Command::Ship(Ship { id: id("s"), hold, lines }));
    });
    assert_eq!(shipped, [(6, one)]);
    // Its time is up, or somebody counted and had to: that is no lie of either.
    let released = told(|books| {
        let hold = hold(books, 2);
        stock(books, &inventory::Command::Release { id: id("v"), hold });
    });
    assert_eq!(released, []);
}

#[test]
fn a_reservation_of_nobody_is_told() {
    assert_eq!(told(|books| stock(books, &reserve(id("x"), order_id(1)))), [(6, order_id(1))]);
    assert_eq!(told(|books| stock(books, &reserve(id("x"), order_id(7)))), [(6, order_id(7))]);
}

#[test]
fn money_that_one_side_alone_moved_is_told() {
    let (one, two) = (order_id(1), order_id(2));
    let refunded = told(|books| {
        let payment = payment(books, 1);
        money(books, &payments::Command::Refund(Refund { id: id("r"), payment, amount: 7 }));
    });
    assert_eq!(refunded, [(5, one)]);
    let voided = told(|books| {
        let (hold, payment) = (order(books, 2).money.hold.unwrap(), payment(books, 2));
        let void = payments::Void { id: id("v"), hold, payment };
        money(books, &payments::Command::Void(void));
    });
    assert_eq!(voided, [(5, two)]);
    let captured = told(|books| {
        let (hold, payment) = (order(books, 2).money.hold.unwrap(), payment(books, 2));
        let (amount, remainder) = (None, None);
        let capture = payments::Capture { id: id("c"), hold, payment, amount, remainder };
        money(books, &payments::Command::Capture(capture));
    });
    assert_eq!(captured, [(5, two)]);
}

#[test]
fn a_payment_of_nobody_is_told_and_so_is_its_hold() {
    let authorize = |n: u64, payment| Authorize {
        id: id("a"),
        payment,
        order: order_id(n),
        amount: 5,
        currency: Currency::GBP,
        timeout_ms: 60_000,
    };
    for n in [1, 7] {
        let other = PaymentKey(u128::from_be_bytes(id("p").to_bytes()));
        let told = told(|books| money(books, &payments::Command::Authorize(authorize(n, other))));
        assert_eq!(told, [(5, order_id(n)); 2]);
    }
    // A second hold on the payment that it has.
    let again = told(|books| {
        let payment = payment(books, 2);
        money(books, &payments::Command::Authorize(authorize(2, payment)));
    });
    assert_eq!(again, [(5, order_id(2))]);
}

#[cfg(feature = "seeded-bugs")]
mod seeded {
    use hansa_types::seeded::{Bug, plant};

    use super::*;

    /// What is told of an order of two units, with so many there.
    fn of_an_order(units: u64) -> Vec<u32> {
        let mut shard = joint();
        let mut none = Records::new();
        shard.advance(AT, &mut none);
        shard.apply(AT, &tagged(STOCK, &receive(id("r"), "A", units)), &mut none);
        let Command::Accept(mut accept) = accept(&mut Story::new(1), 1) else { panic!() };
        accept.contents.lines.truncate(1);
        let line = &mut accept.contents.lines[0];
        (line.sku, line.quantity) = (Some("A".parse().unwrap()), 2);
        shard.apply(AT, &Command::Accept(accept).encode(), &mut none);
        shard.agrees(9).into_iter().map(|broken| broken.number).collect()
    }

    #[test]
    fn near_books_again_reserves_for_nobody() {
        assert!(of_an_order(9).is_empty());
        let _bug = plant(Bug::NearBooksAgain);
        assert_eq!(of_an_order(9), [6]);
    }

    #[test]
    fn near_refusal_ignored_believes_what_was_refused() {
        assert!(of_an_order(1).is_empty());
        let _bug = plant(Bug::NearRefusalIgnored);
        assert_eq!(of_an_order(1), [6]);
    }
}
