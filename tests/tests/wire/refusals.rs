//! Bad input: each with a clear typed status, and nothing changed.
//!
//! A deadline that is past never leaves tonic's own client: crates/node tests it at the listener.

use hansa_api::pb::Money;
use hansa_api::pb::order::{
    GetOrderRequest, LineKind, ListOrdersRequest, OrderState, PlaceOrderRequest,
};
use hansa_api::status::{Failure, Reason};
use hansa_tests::{local, request};

const SKU: &str = "REFUSE-1";
const CUSTOMER: &str = "refused-1";

pub type Spoil = fn(&mut PlaceOrderRequest);

/// Orders that are wrong, each in one way.
pub fn spoiled() -> Vec<(&'static str, Reason, Spoil)> {
    vec![
        ("quantity 0", Reason::QuantityInvalid, |r| r.lines[0].quantity = 0),
        ("quantity -1", Reason::QuantityInvalid, |r| r.lines[0].quantity = -1),
        ("quantity over the limit", Reason::QuantityInvalid, |r| r.lines[0].quantity = 1_000_001),
        ("1,001 lines", Reason::LineCountInvalid, |r| {
            r.lines = vec![request::line(SKU, 1); 1_001];
        }),
        ("no lines", Reason::LineCountInvalid, |r| r.lines.clear()),
        ("mixed currencies", Reason::CurrencyMixed, |r| {
            let mut line = request::line(SKU, 1);
            line.unit_price = Some(Money { currency_code: "USD".to_owned(), units: 1, nanos: 0 });
            r.lines.push(line);
        }),
        ("unknown currency", Reason::CurrencyUnknown, |r| price(r, "XXX", 1, 0)),
        ("sub-minor money", Reason::MoneyInvalid, |r| price(r, "EUR", 1, 5_000_000)),
        ("half a yen", Reason::MoneyInvalid, |r| price(r, "JPY", 1, 500_000_000)),
        ("signs that disagree", Reason::MoneyInvalid, |r| price(r, "EUR", 1, -10_000_000)),
        ("money that overflows", Reason::MoneyInvalid, |r| price(r, "EUR", i64::MAX, 0)),
        ("empty sku", Reason::FieldEmpty, |r| r.lines[0].sku.clear()),
        ("oversized sku", Reason::FieldTooLong, |r| r.lines[0].sku = "X".repeat(65)),
        ("oversized name", Reason::FieldTooLong, |r| personal(r).name = "x".repeat(257)),
        ("unknown country", Reason::CountryUnknown, |r| r.residence_country = "ZZ".to_owned()),
        ("no country", Reason::FieldEmpty, |r| r.residence_country.clear()),
        ("no request_id", Reason::RequestIdMissing, |r| r.request_id.clear()),
        ("card number in the name", Reason::PanRefused, |r| {
            personal(r).name = "4111 1111 1111 1111".to_owned();
        }),
        ("card number in a description", Reason::PanRefused, |r| {
            r.lines[0].description = "card 5555-5555-5555-4444".to_owned();
        }),
        ("card number as the token", Reason::PanRefused, |r| {
            r.payment_token = "4111111111111111".to_owned();
        }),
        ("card number as the reference", Reason::PanRefused, |r| {
            r.client_reference = "378282246310005".to_owned();
        }),
    ]
}

fn price(request: &mut PlaceOrderRequest, currency: &str, units: i64, nanos: i32) {
    let money = Money { currency_code: currency.to_owned(), units, nanos };
    request.lines[0].unit_price = Some(money);
}

fn personal(request: &mut PlaceOrderRequest) -> &mut hansa_api::pb::order::PersonalDetails {
    request.personal.get_or_insert_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_order_is_refused_with_its_reason_and_changes_nothing() {
    let league = local::league("wire");
    league.stock("eu-west", SKU, 7).await;
    let mut wrong = Vec::new();
    // At home and forwarded: the answer is the same.
    for entry in ["eu-west", "ap-south"] {
        let mut orders = league.as_client("storefront", entry).await.orders;
        for (what, expect, spoil) in spoiled() {
            let mut request = request::order(CUSTOMER, vec![request::line(SKU, 1)]);
            spoil(&mut request);
            let card = request.payment_token.clone();
            match orders.place_order(request).await {
                Ok(answer) => wrong.push(format!("{what}: taken: {answer:?}")),
                Err(status) => {
                    let text = format!("{status:?}");
                    let failure = Failure::from(status);
                    if failure.reason() != expect {
                        wrong.push(format!("{what} at {entry}: {failure:?}, not {expect:?}"));
                    }
                    if text.contains("4111") || expect == Reason::PanRefused && text.contains(&card)
                    {
                        wrong.push(format!("{what}: echoes the card: {text}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    assert_eq!(league.available("eu-west", SKU).await, 7);
    let mut orders = league.as_client("storefront", "eu-west").await.orders;
    let list = ListOrdersRequest {
        residence_country: "DE".to_owned(),
        customer_id: CUSTOMER.to_owned(),
        ..Default::default()
    };
    let list = orders.list_orders(list).await.expect("a list").into_inner();
    assert!(list.orders.is_empty(), "{list:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_has_one_effect_and_another_body_is_refused() {
    let league = local::league("wire");
    league.stock("eu-west", "REUSE-1", 5).await;
    let mut orders = league.as_client("storefront", "eu-west").await.orders;
    let wish = request::order("reuse-1", vec![request::line("REUSE-1", 1)]);
    let (first, tries) = request::placed_in(&orders, &wish).await;
    let again = request::placed(&orders, &wish).await;
    let (first_order, again_order) = (first.order.expect("one"), again.order.expect("one"));
    // On a busy machine the first may have had to be asked again itself.
    assert!((!first.replayed || tries > 1) && again.replayed, "{tries} tries");
    assert_eq!(first_order.name, again_order.name);
    assert_eq!(first_order.state(), OrderState::Confirmed);

    let mut other = wish;
    other.lines[0].quantity = 2;
    let refused = orders.place_order(other).await.expect_err("another body");
    assert_eq!(Failure::from(refused).reason(), Reason::RequestIdReused);
    assert_eq!(league.available("eu-west", "REUSE-1").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_calls_have_their_own_answers() {
    let league = local::league("wire");
    let mut orders = league.as_client("storefront", "eu-west").await.orders;

    let unknown = "regions/mars-north/orders/0199b2a0-0000-8001-8000-000000000001";
    let get = |order: &str| GetOrderRequest { order: order.to_owned(), ..Default::default() };
    let refused = orders.get_order(get(unknown)).await.expect_err("no such region");
    assert_eq!(Failure::from(refused).reason(), Reason::UnknownRegion);
    // A region's name and the number in the id that disagree.
    let crossed = "regions/eu-west/orders/0199b2a0-0000-8002-8000-000000000001";
    let refused = orders.get_order(get(crossed)).await.expect_err("name and id disagree");
    assert_eq!(Failure::from(refused).reason(), Reason::OrderNameInvalid);

    let mut large = request::order("large-1", vec![request::line("X", 1)]);
    large.client_reference = "x".repeat(2 << 20);
    let refused = orders.place_order(large).await.expect_err("two megabytes");
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    assert_eq!(Failure::from(refused).reason(), Reason::MessageTooLarge);

    let mut fee = request::order("fee-1", vec![request::line("POST", 1)]);
    fee.lines[0].kind = LineKind::Fee.into();
    let placed = request::placed(&orders, &fee).await;
    assert_eq!(placed.order.expect("an order").state(), OrderState::Confirmed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_serves_only_its_own_query() {
    let league = local::league("wire");
    league.stock("eu-west", "PAGED-1", 9).await;
    let mut orders = league.as_client("storefront", "eu-west").await.orders;
    let mut names = Vec::new();
    for _ in 0..3 {
        let wish = request::order("paged-1", vec![request::line("PAGED-1", 1)]);
        let placed = request::placed(&orders, &wish).await;
        names.push(placed.order.expect("an order").name);
    }
    let query = |customer: &str, token: &str| ListOrdersRequest {
        residence_country: "DE".to_owned(),
        customer_id: customer.to_owned(),
        page_size: 2,
        page_token: token.to_owned(),
        ..Default::default()
    };
    let first = orders.list_orders(query("paged-1", "")).await.expect("a page").into_inner();
    assert_eq!(first.orders.len(), 2);
    let token = first.next_page_token.clone();
    let rest = orders.list_orders(query("paged-1", &token)).await.expect("a page").into_inner();
    let mut listed: Vec<_> =
        first.orders.iter().chain(&rest.orders).map(|order| order.name.clone()).collect();
    listed.sort();
    names.sort();
    assert_eq!(listed, names);
    assert!(rest.next_page_token.is_empty());

    for token in [token.as_str(), "garbage"] {
        let refused = orders.list_orders(query("other-1", token)).await.expect_err("not its token");
        assert_eq!(Failure::from(refused).reason(), Reason::PageTokenInvalid);
    }
}
