use hansa_types::money::{Currency, Money};

use super::*;
use crate::pb;

const ORDER: &str = "regions/eu-west/orders/0193482e-b400-8001-8000-000000000001";

fn money(units: i64, nanos: i32, code: &str) -> Option<pb::Money> {
    Some(pb::Money { currency_code: code.into(), units, nanos })
}

fn line(sku: &str, quantity: i32, price: Option<pb::Money>) -> pb::order::PlaceOrderLine {
    let kind = pb::order::LineKind::Stock.into();
    pb::order::PlaceOrderLine {
        kind,
        sku: sku.into(),
        quantity,
        unit_price: price,
        ..Default::default()
    }
}

fn good() -> pb::order::PlaceOrderRequest {
    pb::order::PlaceOrderRequest {
        residence_country: "GB".into(),
        customer_id: "17850".into(),
        request_id: "536365-place".into(),
        lines: vec![
            line("85123a", 6, money(2, 550_000_000, "GBP")),
            line("85123A", 1, money(0, 10_000_000, "GBP")),
        ],
        payment_token: "tok_approve".into(),
        ..Default::default()
    }
}

/// What is refused first, and where, when `edit` has spoilt a good request.
fn check(edit: impl FnOnce(&mut pb::order::PlaceOrderRequest), field: &str, reason: Reason) {
    let mut request = good();
    edit(&mut request);
    let failure = PlaceOrder::try_from(request).unwrap_err();
    assert_eq!((failure.violations()[0].field.as_ref(), failure.reason()), (field, reason));
}

#[test]
fn a_good_order_adds_up_and_keeps_repeated_lines() {
    let order = PlaceOrder::try_from(good()).unwrap();
    assert_eq!(order.total, Money::new(1531, Currency::GBP));
    assert_eq!(order.lines.len(), 2);
    assert_eq!(order.lines[0].sku, order.lines[1].sku);
    assert!(!format!("{order:?}").contains("tok_approve"));
}

#[test]
fn quantities_lie_between_one_and_the_limit() {
    for quantity in [0, -1, i32::MIN, 1_000_001] {
        check(|r| r.lines[1].quantity = quantity, "lines[1].quantity", Reason::QuantityInvalid);
    }
}

#[test]
fn an_order_has_one_to_a_thousand_lines() {
    check(|r| r.lines.clear(), "lines", Reason::LineCountInvalid);
    check(|r| r.lines = vec![r.lines[0].clone(); 1_001], "lines", Reason::LineCountInvalid);
    let mut request = good();
    request.lines = vec![request.lines[0].clone(); 1_000];
    assert_eq!(PlaceOrder::try_from(request).unwrap().lines.len(), 1_000);
}

#[test]
fn money_is_checked_line_by_line_and_in_sum() {
    let price = "lines[1].unit_price";
    let bad = Reason::MoneyInvalid;
    check(|r| r.lines[1].unit_price = money(1, 5_000_000, "GBP"), price, bad); // Sub-minor.
    check(|r| r.lines[1].unit_price = money(1, -10_000_000, "GBP"), price, bad);
    check(|r| r.lines[1].unit_price = money(-1, 0, "GBP"), price, bad);
    check(|r| r.lines[1].unit_price = money(1, 0, "EUR"), price, Reason::CurrencyMixed);
    check(|r| r.lines[1].unit_price = money(1, 0, "gbp"), price, Reason::CurrencyUnknown);
    check(|r| r.lines[1].unit_price = None, price, Reason::FieldEmpty);
    check(|r| r.lines[1].unit_price = money(i64::MAX / 100, 0, "GBP"), "lines", bad);
    let discount = |r: &mut pb::order::PlaceOrderRequest| {
        r.lines[0].kind = pb::order::LineKind::Discount.into();
        r.lines[0].unit_price = money(-3, 0, "GBP");
    };
    check(discount, "lines", bad); // Less than nothing in sum.
}

#[test]
fn ids_countries_and_texts_have_their_forms() {
    check(|r| r.residence_country = "UK".into(), "residence_country", Reason::CountryUnknown);
    check(|r| r.residence_country.clear(), "residence_country", Reason::CountryUnknown);
    check(|r| r.request_id.clear(), "request_id", Reason::RequestIdMissing);
    check(|r| r.request_id = "x".repeat(65), "request_id", Reason::FieldTooLong);
    check(|r| r.lines[0].sku.clear(), "lines[0].sku", Reason::FieldEmpty);
    check(|r| r.lines[0].sku = "a\nb".into(), "lines[0].sku", Reason::FieldInvalid);
    let long = "x".repeat(257);
    check(|r| r.lines[1].description = long, "lines[1].description", Reason::FieldTooLong);
    check(|r| r.lines[0].kind = 99, "lines[0].kind", Reason::LineInvalid);
    check(|r| r.payment_token.clear(), "payment_token", Reason::FieldEmpty);
    check(|r| r.client_reference = "a\u{7}".into(), "client_reference", Reason::FieldInvalid);
    let before_time = prost_types::Timestamp { seconds: -1, nanos: 0 };
    check(|r| r.placed_time = Some(before_time), "placed_time", Reason::FieldInvalid);
}

#[test]
fn a_free_order_needs_no_token_and_a_fee_no_sku() {
    let mut request = good();
    request.payment_token.clear();
    request.lines = vec![line("22423", 1, money(0, 0, "GBP"))];
    assert_eq!(PlaceOrder::try_from(request).unwrap().total.minor, 0);
    let mut request = good();
    request.lines[0].kind = pb::order::LineKind::Fee.into();
    request.lines[0].sku.clear();
    assert_eq!(PlaceOrder::try_from(request).unwrap().lines[0].sku, None);
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let mut request = good();
    request.residence_country = "XX".into();
    request.request_id.clear();
    request.lines[0].quantity = 0;
    let failure = PlaceOrder::try_from(request).unwrap_err();
    let fields: Vec<&str> = failure.violations().iter().map(|v| v.field.as_ref()).collect();
    assert_eq!(fields, ["residence_country", "request_id", "lines[0].quantity"]);
}

#[test]
fn reads_default_to_the_truth() {
    let get = |read| GetOrder::try_from(pb::order::GetOrderRequest { order: ORDER.into(), read });
    assert!(!get(0).unwrap().local_copy);
    assert!(!get(1).unwrap().local_copy);
    assert!(get(2).unwrap().local_copy);
    assert_eq!(get(3).unwrap_err().reason(), Reason::FieldInvalid);
}

#[test]
fn a_return_names_each_line_once() {
    let line = |line, quantity| pb::order::ReturnLine { line, quantity };
    let returned = |lines| {
        ReturnItems::try_from(pb::order::ReturnItemsRequest {
            order: ORDER.into(),
            request_id: "r1".into(),
            lines,
            reason: String::new(),
        })
        .map(|r| r.lines.len())
        .map_err(|f| f.reason())
    };
    assert_eq!(returned(vec![line(1, 2), line(2, 1)]), Ok(2));
    assert_eq!(returned(vec![line(1, 2), line(1, 1)]), Err(Reason::LineInvalid));
    assert_eq!(returned(vec![line(0, 2)]), Err(Reason::LineInvalid));
    assert_eq!(returned(vec![line(1, 0)]), Err(Reason::QuantityInvalid));
    assert_eq!(returned(vec![]), Err(Reason::LineCountInvalid));
}

#[test]
fn cursors_resume_after_their_event() {
    let watch = |cursor: &str| {
        let request = pb::order::WatchOrderRequest { order: ORDER.into(), cursor: cursor.into() };
        WatchOrder::try_from(request).map(|w| w.after).map_err(|f| f.reason())
    };
    assert_eq!(watch(""), Ok(None));
    let cursor = Cursor { sequence: 17, epoch: 2, restored: 5 };
    assert_eq!(watch(&cursor.to_string()), Ok(Some(cursor)));
    for bad in
        ["17", "s", "s-1", "s-1e1r0", "s+1e1r0", "sxe1r0", "s1e1", "s99999999999999999999e1r0"]
    {
        assert_eq!(watch(bad), Err(Reason::CursorInvalid), "{bad}");
    }
}

#[test]
fn a_listing_may_be_of_a_customer_or_a_region() {
    let mut request = pb::order::ListOrdersRequest {
        residence_country: "GB".into(),
        customer_id: "17850".into(),
        ..Default::default()
    };
    let list = ListOrders::try_from(request.clone()).unwrap();
    assert_eq!((list.state, list.page.size), (None, 50));
    request.state = 77;
    assert_eq!(ListOrders::try_from(request).unwrap_err().reason(), Reason::FieldInvalid);
}
