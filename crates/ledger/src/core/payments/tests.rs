use hansa_types::id::{OrderId, TransferId};
use hansa_types::money::Currency;
use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;
use proptest::prelude::*;

use super::*;
use crate::core::invariants;
use crate::core::outcome::OutcomeCode as C;

const START: u64 = 1_000_000;
const PAYMENT: PaymentKey = PaymentKey(1 << 100);

fn books() -> Payments {
    let mut books = Payments::new(Settings { id_window_ms: 5_000, evict_after_ms: 0 });
    books.advance(LogTime(START));
    books
}

fn id(n: u64) -> TransferId {
    TransferId::derive(LogTime(START), &[&n.to_le_bytes()])
}

fn order() -> OrderId {
    OrderId::new(LogTime(1), RegionNumber::try_from(1).unwrap(), Slot::of(b"x"), 1)
}

fn authorize(n: u64, amount: u64) -> Command {
    let (payment, order, currency) = (PAYMENT, order(), Currency::GBP);
    Command::Authorize(Authorize { id: id(n), payment, order, amount, currency, timeout_ms: 1_000 })
}

fn capture(n: u64, hold: u64, amount: Option<u64>, remainder: Option<u64>) -> Command {
    let remainder = remainder.map(id);
    Command::Capture(Capture { id: id(n), hold: id(hold), payment: PAYMENT, amount, remainder })
}

fn refund(n: u64, amount: u64) -> Command {
    Command::Refund(Refund { id: id(n), payment: PAYMENT, amount })
}

fn void(n: u64, hold: u64) -> Command {
    Command::Void(Void { id: id(n), hold: id(hold), payment: PAYMENT })
}

fn run(books: &mut Payments, command: Command) -> Outcome {
    books.apply(books.now(), &command)
}

#[test]
fn money_is_held_captured_and_given_back() {
    let mut b = books();
    let held = run(&mut b, authorize(1, 1_000));
    assert_eq!((held.code, held.expires), (C::Applied, Some(LogTime(START + 1_000))));
    let over = run(&mut b, capture(2, 1, Some(1_001), None));
    assert_eq!((over.code, over.available), (C::ExceedsHold, 1_000));
    assert_eq!(run(&mut b, capture(3, 1, Some(900), None)).code, C::Applied);
    assert_eq!(run(&mut b, capture(3, 1, Some(900), None)).code, C::Exists);
    assert_eq!(run(&mut b, refund(4, 600)).code, C::Applied);
    let over = run(&mut b, refund(5, 301));
    assert_eq!((over.code, over.available), (C::ExceedsCaptured, 300));
    assert_eq!(run(&mut b, refund(6, 300)).code, C::Applied);
    let books = b.payment(&PAYMENT).unwrap();
    assert_eq!((books.authorized, books.held), (1_000, 0));
    assert_eq!((books.captured, books.refunded), (900, 900));
}

#[test]
fn a_partial_capture_holds_the_remainder_under_a_new_id() {
    let mut b = books();
    run(&mut b, authorize(1, 1_000));
    for expected in [C::Applied, C::Exists] {
        assert_eq!(run(&mut b, capture(2, 1, Some(400), Some(3))).code, expected);
        assert_eq!(b.payment(&PAYMENT).unwrap().held, 600);
    }
    assert_eq!(b.kernel().books().hold(&id(3)).unwrap().expires, Some(LogTime(START + 1_000)));
    let over = run(&mut b, capture(4, 3, Some(601), Some(5)));
    assert_eq!((over.code, over.available), (C::ExceedsHold, 600));
    for expected in [C::Applied, C::Exists] {
        let all = run(&mut b, capture(6, 3, Some(600), Some(7)));
        assert_eq!(all.code, expected, "nothing is left to hold");
    }
    assert_eq!(b.payment(&PAYMENT).unwrap().captured, 1_000);
    assert_eq!(invariants::of_payments(&b), vec![]);
}

#[test]
fn an_unknown_payment_is_refused_for_ever() {
    let mut b = books();
    assert_eq!(run(&mut b, refund(1, 5)).code, C::PaymentNotFound);
    run(&mut b, authorize(2, 10));
    run(&mut b, capture(3, 2, None, None));
    assert_eq!(run(&mut b, refund(1, 5)).code, C::PaymentNotFound);
    assert_eq!(run(&mut b, refund(4, 5)).code, C::Applied);
}

#[test]
fn a_payment_has_one_currency() {
    let mut b = books();
    run(&mut b, authorize(1, 10));
    let Command::Authorize(first) = authorize(2, 10) else { unreachable!() };
    let other = Command::Authorize(Authorize { currency: Currency::EUR, ..first });
    assert_eq!(run(&mut b, other).code, C::UnitMismatch);
}

#[test]
fn voided_and_expired_money_is_not_captured() {
    let mut b = books();
    run(&mut b, authorize(1, 10));
    assert_eq!(run(&mut b, void(2, 1)).code, C::Applied);
    assert_eq!(run(&mut b, capture(3, 1, None, None)).code, C::AlreadyVoided);
    run(&mut b, authorize(4, 10));
    b.advance(LogTime(START + 1_000));
    assert_eq!(run(&mut b, capture(5, 4, None, None)).code, C::Expired);
    assert_eq!(b.payment(&PAYMENT).unwrap().held, 0);
}

#[test]
fn currencies_pack_and_unpack() {
    for code in ["GBP", "JPY", "KWD"] {
        let currency: Currency = code.parse().unwrap();
        assert_eq!(currency_of(unit_of(currency)), Some(currency));
        for house in House::ALL {
            let account = house.account(unit_of(currency));
            assert_eq!(House::of_account(account), Some((house, unit_of(currency))));
        }
    }
    assert_eq!(House::of_account(PAYMENT.account()), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_breaks_the_invariants(
        steps in prop::collection::vec((0u8..6, 0u64..12, 0u64..12, 0u64..50, 0u64..400), 1..60)
    ) {
        let mut b = books();
        for (kind, n, hold, amount, ms) in steps {
            let command = match kind {
                0 => authorize(n, amount),
                1 => capture(n, hold, None, None),
                2 => capture(n, hold, Some(amount), Some(n + 100)),
                3 => capture(n, hold, Some(amount), None),
                4 => refund(n, amount),
                _ => void(n, hold),
            };
            let first = run(&mut b, command.clone());
            let again = run(&mut b, command.clone());
            let expected = if first.code == C::Applied { C::Exists } else { first.code };
            prop_assert_eq!(again.code, expected, "{:?}", command);
            prop_assert_eq!(invariants::of_payments(&b), vec![]);
            prop_assert_eq!(b.digest(), b.recompute_digest());
            b.advance(b.now().plus_ms(ms / 40));
        }
        let mut bytes = Vec::new();
        b.freeze().write(&mut bytes).unwrap();
        prop_assert_eq!(Payments::read(&mut bytes.as_slice()).unwrap().digest(), b.digest());
    }
}

mod attack {
    use super::*;

    #[test]
    fn holds_beyond_any_counter_do_not_end_the_process() {
        let mut books = books();
        for n in 0..4 {
            run(&mut books, authorize(10 + n, u64::MAX / 2));
            run(&mut books, void(20 + n, 10 + n));
        }
        assert_eq!(invariants::of_payments(&books), []);
    }

    #[test]
    fn a_payment_that_was_never_held_is_not_kept() {
        let mut books = books();
        run(&mut books, authorize(10, 0));
        assert_eq!(books.payments().count(), 0);
    }

    #[test]
    fn a_payment_belongs_to_one_order() {
        let mut books = books();
        run(&mut books, authorize(10, 5));
        let Command::Authorize(mut other) = authorize(11, 5) else { unreachable!() };
        other.order =
            OrderId::new(LogTime(1), RegionNumber::try_from(1).unwrap(), Slot::of(b"x"), 2);
        assert!(!run(&mut books, Command::Authorize(other)).is_success());
    }

    #[test]
    fn a_hold_of_another_payment_is_not_captured_or_voided() {
        let mut books = books();
        run(&mut books, authorize(10, 5));
        let other = PaymentKey(2 << 100);
        let capture =
            Capture { id: id(11), hold: id(10), payment: other, amount: None, remainder: None };
        let outcome = run(&mut books, Command::Capture(capture));
        assert!(!outcome.is_success(), "{outcome:?}");
    }
}
