//! Two carriers, one command: what near books do is, to the byte, what a lane would have sent.

use hansa_ledger::core::outcome::{Outcome, OutcomeCode};
use hansa_ledger::machine::Batch;
use hansa_ledger::wire;
use hansa_orders::carried;
use hansa_orders::core::effect::{
    Amount, Booking, Books, Open, RefusalCode, StepResult, StockCall, StockLine, StockVerb,
};
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

/// What each outcome means, in words: of near books that is part of applying a command, so that
/// another meaning or name needs another version of behaviour.
fn meanings() -> Vec<(OutcomeCode, Option<RefusalCode>, &'static str)> {
    use OutcomeCode::*;
    use RefusalCode as To;
    let other = |code, name| (code, Some(To::Other), name);
    vec![
        (Applied, None, ""),
        (Exists, None, ""),
        (UnknownSku, Some(To::UnknownSku), "OUTCOME_CODE_UNKNOWN_SKU"),
        (ExceedsAvailable, Some(To::OutOfStock), "OUTCOME_CODE_EXCEEDS_AVAILABLE"),
        (Expired, Some(To::Expired), "OUTCOME_CODE_EXPIRED"),
        (HoldNotFound, Some(To::Gone), "OUTCOME_CODE_HOLD_NOT_FOUND"),
        (AlreadyVoided, Some(To::Gone), "OUTCOME_CODE_ALREADY_VOIDED"),
        (AlreadyPosted, Some(To::Resolved), "OUTCOME_CODE_ALREADY_POSTED"),
        other(ExistsWithDifferent, "OUTCOME_CODE_EXISTS_WITH_DIFFERENT"),
        other(IdTooOld, "OUTCOME_CODE_ID_TOO_OLD"),
        other(IdTooNew, "OUTCOME_CODE_ID_TOO_NEW"),
        other(LinkedFailed, "OUTCOME_CODE_LINKED_FAILED"),
        other(AmountInvalid, "OUTCOME_CODE_AMOUNT_INVALID"),
        other(AccountsSame, "OUTCOME_CODE_ACCOUNTS_SAME"),
        other(UnitMismatch, "OUTCOME_CODE_UNIT_MISMATCH"),
        other(AccountNotFound, "OUTCOME_CODE_ACCOUNT_NOT_FOUND"),
        other(NotAHold, "OUTCOME_CODE_NOT_A_HOLD"),
        other(ExceedsHold, "OUTCOME_CODE_EXCEEDS_HOLD"),
        other(Overflow, "OUTCOME_CODE_OVERFLOW"),
        other(CountDiffers, "OUTCOME_CODE_COUNT_DIFFERS"),
        other(BelowHeld, "OUTCOME_CODE_BELOW_HELD"),
        other(ExtendCapReached, "OUTCOME_CODE_EXTEND_CAP_REACHED"),
        other(ExceedsCommitted, "OUTCOME_CODE_EXCEEDS_COMMITTED"),
        other(ExceedsShipped, "OUTCOME_CODE_EXCEEDS_SHIPPED"),
        other(ExceedsCaptured, "OUTCOME_CODE_EXCEEDS_CAPTURED"),
        other(PaymentNotFound, "OUTCOME_CODE_PAYMENT_NOT_FOUND"),
        other(Malformed, "OUTCOME_CODE_MALFORMED"),
    ]
}

#[test]
fn both_take_every_outcome_alike() {
    for booking in bookings() {
        let sent = carried::booking(order(), &booking);
        for (n, (code, meaning, detail)) in meanings().into_iter().enumerate() {
            let line = [0, 1, 3, 9][n % 4];
            let outcome = Outcome { line, available: n as i64 - 3, ..code.into() };
            let near = result(&outcome, &booking);
            assert_eq!(near, carried::result(&wire::outcome(&outcome, &sent)), "{booking:?}");
            match (near, meaning) {
                (StepResult::Done, None) => {}
                (StepResult::Refused(why), Some(meaning)) => {
                    assert_eq!((why.code, why.detail.as_str()), (meaning, detail));
                    assert_eq!((why.line, why.available), (line, n as i64 - 3));
                }
                other => panic!("{code:?}: {other:?}"),
            }
        }
    }
}
