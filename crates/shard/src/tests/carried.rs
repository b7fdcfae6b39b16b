//! Two carriers, one command: what near books do is, to the byte, what a lane would have sent.

use hansa_ledger::core::outcome::{Outcome, OutcomeCode};
use hansa_ledger::machine::Batch;
use hansa_ledger::wire;
use hansa_orders::carried;
use hansa_orders::core::effect::{Amount, Booking, Books, Open, StockCall, StockLine, StockVerb};
use hansa_types::id::{GroupKind, OrderId, TransferId};
use hansa_types::money::Currency;
use hansa_types::region::Slot;
use hansa_types::time::LogTime;

use crate::book::{money, result, stock};

const AT: LogTime = LogTime(1_700_000_000_000);

fn id(n: u8) -> TransferId {
    TransferId::derive(AT, &[&[n]])
}

fn order() -> OrderId {
    OrderId::new(AT, 1.try_into().unwrap(), Slot::of(&[7]), 7)
}

/// Lines out of order, as copies of another region may have them.
fn lines() -> Vec<StockLine> {
    let line = |line, sku: &str, quantity| StockLine { line, sku: sku.parse().unwrap(), quantity };
    vec![line(3, "LANTERN", 2), line(1, "22423", 1)]
}

/// Each shape, with ends of its ranges.
fn bookings() -> Vec<Booking> {
    let stock = |verb| Booking::Stock(StockCall { group: 0, id: id(1), verb });
    let books = Books { group: 0, payment: id(2) };
    let of = |minor| Amount { minor, currency: Currency::GBP };
    let restock = |elsewhere, ended| {
        stock(StockVerb::Restock { hold: id(3), lines: lines(), elsewhere, ended })
    };
    let open = |captured_minor, refunded_minor| {
        let (id, authorized_minor) = (id(4), 900);
        let (ended, currency) = (3, Currency::GBP);
        let open =
            Open { books, id, ended, currency, authorized_minor, captured_minor, refunded_minor };
        Booking::Open(open)
    };
    let hold =
        |minor, timeout_ms| Booking::HoldFunds { books, id: id(5), money: of(minor), timeout_ms };
    vec![
        stock(StockVerb::Reserve { lines: lines(), ttl_ms: 60_000 }),
        stock(StockVerb::Reserve { lines: Vec::new(), ttl_ms: u64::MAX }),
        stock(StockVerb::Extend { hold: id(3), ttl_ms: 60_000 }),
        stock(StockVerb::Release { hold: id(3) }),
        stock(StockVerb::Commit { hold: id(3) }),
        stock(StockVerb::Uncommit { hold: id(3) }),
        stock(StockVerb::Ship { hold: id(3), lines: lines() }),
        restock(Vec::new(), 0),
        restock(lines(), 4),
        restock(lines().split_off(1), 4),
        hold(1, 0),
        hold(i64::MAX, u64::MAX),
        Booking::VoidFunds { books, id: id(5), hold: id(6) },
        Booking::Capture { books, id: id(5), hold: id(6), money: of(900) },
        Booking::Refund { books, id: id(5), money: of(0) },
        open(900, 0),
        open(0, 0),
    ]
}

#[test]
fn both_write_the_same_bytes() {
    for booking in bookings() {
        let (kind, _) = booking.group();
        let sent = wire::encode(&[carried::booking(order(), &booking)], kind).unwrap();
        let mut near = Batch::default();
        match (&booking, kind) {
            (Booking::Stock(call), GroupKind::Inventory) => near.push(&stock(order(), call)),
            (_, GroupKind::Payments) => near.push(&money(order(), &booking).unwrap()),
            other => panic!("{other:?}"),
        }
        assert_eq!(near.finish(), sent, "{booking:?}");
    }
}

#[test]
fn what_is_no_amount_is_malformed_for_both() {
    let books = Books { group: 0, payment: id(2) };
    let money_of = Amount { minor: -1, currency: Currency::GBP };
    let refund = Booking::Refund { books, id: id(5), money: money_of };
    assert!(wire::encode(&[carried::booking(order(), &refund)], GroupKind::Payments).is_err());
    assert_eq!(money(order(), &refund), None);
}

#[test]
fn both_take_every_outcome_alike() {
    use OutcomeCode::*;
    let codes = [
        Applied,
        Exists,
        ExistsWithDifferent,
        IdTooOld,
        IdTooNew,
        LinkedFailed,
        AmountInvalid,
        AccountsSame,
        UnitMismatch,
        AccountNotFound,
        UnknownSku,
        HoldNotFound,
        NotAHold,
        AlreadyPosted,
        AlreadyVoided,
        Expired,
        ExceedsHold,
        ExceedsAvailable,
        Overflow,
        CountDiffers,
        BelowHeld,
        ExtendCapReached,
        ExceedsCommitted,
        ExceedsShipped,
        ExceedsCaptured,
        PaymentNotFound,
        Malformed,
    ];
    for booking in bookings() {
        let sent = carried::booking(order(), &booking);
        for (n, code) in codes.into_iter().enumerate() {
            let line = [0, 1, 3, 9][n % 4];
            let outcome = Outcome { line, available: n as i64 - 3, ..code.into() };
            let near = result(&outcome, &booking);
            assert_eq!(near, carried::result(&wire::outcome(&outcome, &sent)), "{booking:?}");
        }
    }
}
