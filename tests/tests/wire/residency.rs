//! A forwarded EU order leaves no personal data in any file of another region.

use hansa_api::pb::order::{GetOrderRequest, OrderState, PersonalDetails, ReadMode};
use hansa_tests::{folder, local, request};

const NAME: &str = "Zenobia Quintessenz";
const EMAIL: &str = "zenobia.quintessenz@example.org";
const STREET: &str = "Sperlingsgasse 1849";
const CUSTOMER: &str = "zq-residency-77";
const REFERENCE: &str = "marker-of-the-copy-1849";

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_eu_order_leaves_no_personal_byte_elsewhere() {
    let league = local::league("wire");
    league.stock("eu-west", "RESIDENT", 5).await;

    let mut wish = request::order(CUSTOMER, vec![request::line("RESIDENT", 1)]);
    wish.client_reference = REFERENCE.to_owned();
    wish.personal = Some(PersonalDetails {
        name: NAME.to_owned(),
        email: EMAIL.to_owned(),
        address_lines: vec![STREET.to_owned()],
        ..Default::default()
    });
    let mut away = league.as_client("storefront", "us-east").await.orders;
    let placed = away.place_order(wish).await.expect("an answer").into_inner();
    let order = placed.order.expect("an order");
    assert_eq!(order.state(), OrderState::Confirmed);
    assert_eq!(order.home_region, "eu-west");

    let copy = copy_of(&mut away, &order.name).await;
    assert!(copy.personal.is_none() && copy.customer_id.is_empty(), "{copy:?}");

    // The search can find: the copy itself lies in the other region's files.
    let found = folder::files_with(&league.data.join("us-east"), REFERENCE.as_bytes());
    assert!(!found.is_empty(), "the copy is nowhere: the search below would prove nothing");
    for secret in [NAME, EMAIL, STREET, CUSTOMER] {
        for region in ["us-east", "ap-south"] {
            let found = folder::files_with(&league.data.join(region), secret.as_bytes());
            assert!(found.is_empty(), "{secret} in {found:?}");
        }
        // Sealed at home too: the log holds ciphertext. A customer id is a key there.
        if secret != CUSTOMER {
            let found = folder::files_with(&league.data.join("eu-west"), secret.as_bytes());
            assert!(found.is_empty(), "{secret} in the open at home, in {found:?}");
        }
    }
}

/// The copy that us-east holds, once it has arrived there.
async fn copy_of(
    orders: &mut hansa_api::pb::order::order_service_client::OrderServiceClient<
        tonic::transport::Channel,
    >,
    name: &str,
) -> hansa_api::pb::order::Order {
    let deadline = tokio::time::Instant::now() + local::PATIENCE;
    loop {
        let request = GetOrderRequest { order: name.to_owned(), read: ReadMode::LocalCopy.into() };
        match orders.get_order(request).await.map(tonic::Response::into_inner) {
            Ok(response) if confirmed(&response) => {
                assert!(response.staleness.is_some(), "a copy says how stale it is");
                return response.order.expect("an order");
            }
            other => assert!(tokio::time::Instant::now() < deadline, "no copy: {other:?}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn confirmed(response: &hansa_api::pb::order::GetOrderResponse) -> bool {
    response.order.as_ref().is_some_and(|order| order.state() == OrderState::Confirmed)
}
