//! What was taken over and finds no stock here.

use super::*;

#[test]
fn a_confirmed_order_for_which_there_is_no_stock_waits_for_an_operator_and_can_be_cancelled() {
    let (a, mut b, id) = pair(fine, true);
    survive(&a, &mut b, 2);
    let out = |todo: &Todo| match todo {
        Todo::Book(Booking::Stock(call))
            if matches!(call.verb, crate::core::effect::StockVerb::Reserve { .. }) =>
        {
            StepResult::Refused(crate::core::effect::Refusal::new(
                crate::core::effect::RefusalCode::OutOfStock,
                "",
            ))
        }
        other => fine(other),
    };
    run(&mut b, out);
    assert_eq!(of(&b, id).parked.as_ref().unwrap().why, ParkedWhy::Unallocated);
    holds(&b);
    let parcel = Command::Ship { order: id, key: key(70), lines: vec![], note: Note::default() };
    let parcel = Command::Dated { first_sent_ms: u64::MAX, command: Box::new(parcel) };
    assert_eq!(apply(&mut b, parcel), Outcome::Refused(Refused::NotConfirmed), "not soon");
    // There is some now.
    assert_eq!(apply(&mut b, Command::Resume { order: id }), Outcome::Noted);
    run(&mut b, out);
    assert_eq!(status(&b, id), OrderStatus::Parked);
    let cancel = Command::Cancel { order: id, key: key(60), reason: "why wait".into() };
    let dated =
        |command| Command::Dated { first_sent_ms: START.ms() + 5_000, command: Box::new(command) };
    assert!(matches!(apply(&mut b, dated(cancel)), Outcome::Done(_)));
    run(&mut b, fine);
    assert_eq!(status(&b, id), OrderStatus::Cancelled);
    assert_eq!(of(&b, id).money.refunded_minor, contents().total_minor);
    holds(&b);
}
