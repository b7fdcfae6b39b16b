//! A forwarded EU order leaves no personal and no financial data in any file of another region.

use std::path::PathBuf;

use hansa_api::pb::order::order_service_client::OrderServiceClient;
use hansa_api::pb::order::{
    GetOrderRequest, Order, OrderState, PersonalDetails, PlaceOrderRequest, ReadMode,
};
use hansa_tests::local::Local;
use hansa_tests::{folder, local, request};
use tonic::transport::Channel;

const NAME: &str = "Zenobia Quintessenz";
const EMAIL: &str = "zenobia.quintessenz@example.org";
const STREET: &str = "Sperlingsgasse 1849";
const CUSTOMER: &str = "zq-residency-77";
const REFERENCE: &str = "marker-of-the-copy-1849";
/// The sandbox knows no such token and declines it; the shipped policy holds it in the EU.
const TOKEN: &str = "tok_zq_1849_declined";
const DECLINED: &str = "marker-of-the-declined-1849";

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_eu_order_leaves_no_personal_byte_elsewhere() {
    let league = local::league("wire");
    league.stock("eu-west", "RESIDENT", 5).await;

    let mut away = league.as_client("storefront", "us-east").await.orders;
    let order = placed(&away, wish(REFERENCE), OrderState::Confirmed).await;
    let copy = copy_of(&mut away, &order.name, OrderState::Confirmed).await;
    assert_operational(&copy);

    // The search can find: the copy itself lies in the other region's files.
    assert_found(league, "us-east", REFERENCE);
    for secret in [NAME, EMAIL, STREET] {
        assert_only_home_may_hold(league, secret);
        // Sealed at home too: the log holds ciphertext. A customer id is a key there.
        let found = files_with(league, "eu-west", secret);
        assert!(found.is_empty(), "{secret} in the open at home, in {found:?}");
    }
    assert_only_home_may_hold(league, CUSTOMER);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_eu_order_leaves_no_financial_byte_elsewhere() {
    let league = local::league("wire");
    league.stock("eu-west", "RESIDENT-PAID", 5).await;
    let lines = || vec![request::line("RESIDENT-PAID", 1)];

    let mut away = league.as_client("storefront", "us-east").await.orders;
    let paid = PlaceOrderRequest { lines: lines(), ..wish("paid-1849") };
    let paid = placed(&away, paid, OrderState::Confirmed).await;
    let facts = paid.payment.expect("the home's answer passes through and is whole");
    assert!(facts.provider_reference.len() > 16, "{facts:?}");

    let token = TOKEN.to_owned();
    let declined = PlaceOrderRequest { payment_token: token, lines: lines(), ..wish(DECLINED) };
    let declined = placed(&away, declined, OrderState::Rejected).await;
    assert!(!declined.payment.expect("facts").decline_reason.is_empty());

    assert_operational(&copy_of(&mut away, &paid.name, OrderState::Confirmed).await);
    assert_operational(&copy_of(&mut away, &declined.name, OrderState::Rejected).await);
    assert_found(league, "us-east", DECLINED);
    for secret in [facts.provider_reference.as_str(), TOKEN] {
        // The search can find: the home keeps both, to capture, refund and ask again.
        assert_found(league, "eu-west", secret);
        assert_only_home_may_hold(league, secret);
    }
    assert_only_home_may_hold(league, &facts.payment);
}

fn wish(reference: &str) -> PlaceOrderRequest {
    PlaceOrderRequest {
        client_reference: reference.to_owned(),
        personal: Some(PersonalDetails {
            name: NAME.to_owned(),
            email: EMAIL.to_owned(),
            address_lines: vec![STREET.to_owned()],
            ..Default::default()
        }),
        ..request::order(CUSTOMER, vec![request::line("RESIDENT", 1)])
    }
}

/// Places an order away from its home.
async fn placed(
    away: &OrderServiceClient<Channel>,
    wish: PlaceOrderRequest,
    expect: OrderState,
) -> Order {
    let placed = request::placed(away, &wish).await;
    let order = placed.order.expect("an order");
    assert_eq!(order.state(), expect);
    assert_eq!(order.home_region, "eu-west");
    order
}

fn assert_operational(copy: &Order) {
    assert!(copy.personal.is_none() && copy.customer_id.is_empty(), "{copy:?}");
    assert!(copy.payment.is_none() && copy.parked_detail.is_empty(), "{copy:?}");
}

fn assert_found(league: &Local, region: &str, marker: &str) {
    let found = files_with(league, region, marker);
    assert!(!found.is_empty(), "{marker} is not in {region}: the search would prove nothing");
}

fn assert_only_home_may_hold(league: &Local, secret: &str) {
    for region in ["us-east", "ap-south"] {
        let found = files_with(league, region, secret);
        assert!(found.is_empty(), "{secret} in {found:?}");
    }
}

fn files_with(league: &Local, region: &str, text: &str) -> Vec<PathBuf> {
    folder::files_with(&league.data.join(region), text.as_bytes())
}

/// The copy that us-east holds, once it has arrived there.
async fn copy_of(orders: &mut OrderServiceClient<Channel>, name: &str, state: OrderState) -> Order {
    let deadline = tokio::time::Instant::now() + local::PATIENCE;
    loop {
        let request = GetOrderRequest { order: name.to_owned(), read: ReadMode::LocalCopy.into() };
        match orders.get_order(request).await.map(tonic::Response::into_inner) {
            Ok(response) if response.order.as_ref().is_some_and(|it| it.state() == state) => {
                assert!(response.staleness.is_some(), "a copy says how stale it is");
                return response.order.expect("an order");
            }
            other => assert!(tokio::time::Instant::now() < deadline, "no copy: {other:?}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
