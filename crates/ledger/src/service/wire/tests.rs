use hansa_api::convert::id::{order_to_bytes, transfer_to_bytes};
use hansa_types::id::OrderId;
use hansa_types::region::{RegionNumber, Slot};

use super::*;

fn id(n: u8) -> Bytes {
    transfer_to_bytes(TransferId::derive(LogTime(1_000), &[&[n]]))
}

fn order() -> Bytes {
    let region = RegionNumber::try_from(1).unwrap();
    order_to_bytes(OrderId::new(LogTime(1), region, Slot::of(b"x"), 1))
}

fn command(verb: Verb) -> pb::Command {
    pb::Command { command: Some(verb) }
}

fn line(line: u32, sku: &str) -> pb::StockLine {
    pb::StockLine { line, sku: sku.to_owned(), quantity: 1, warehouse: String::new() }
}

fn reserve(lines: Vec<pb::StockLine>) -> pb::Command {
    command(Verb::Reserve(pb::Reserve { id: id(1), order: order(), lines, ttl_ms: 1_000 }))
}

#[test]
fn lines_are_put_in_order() {
    let Some(Verb::Reserve(wire)) = reserve(vec![line(2, "B"), line(1, "A")]).command else {
        panic!("a reserve");
    };
    let sorted: Vec<_> = lines(&wire.lines).iter().map(|line| (line.line, line.sku)).collect();
    assert_eq!(sorted, [(1, "A"), (2, "B")]);
}

#[test]
fn a_group_takes_its_own_verbs_only() {
    let void = command(Verb::Void(pb::Void { id: id(1), hold: id(2), payment: id(3) }));
    assert!(encode(std::slice::from_ref(&void), GroupKind::Payments).is_ok());
    assert_eq!(encode(&[void], GroupKind::Inventory), Err(Malformed));
    let reserve = reserve(vec![line(1, "A")]);
    assert!(encode(std::slice::from_ref(&reserve), GroupKind::Inventory).is_ok());
    assert_eq!(encode(&[reserve], GroupKind::Payments), Err(Malformed));
}

#[test]
fn what_does_not_read_is_malformed() {
    let short = Bytes::from_static(b"short");
    let bad = [
        pb::Command { command: None },
        command(Verb::Void(pb::Void { id: short, hold: id(2), payment: id(3) })),
        command(Verb::Refund(pb::Refund { id: id(1), payment: id(2), amount_minor: -1 })),
    ];
    for bad in bad {
        assert_eq!(encode(&[bad], GroupKind::Payments), Err(Malformed));
    }
}

#[test]
fn an_outcome_names_the_sku_of_its_line() {
    let refused = Outcome::of(OutcomeCode::ExceedsAvailable).at_line(2);
    let answered = outcome(&refused, &reserve(vec![line(1, "A"), line(2, "B")]));
    assert_eq!((answered.line, answered.sku.as_str()), (2, "B"));
}
