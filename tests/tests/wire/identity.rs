//! Who may not come in, and who may not do what.

use hansa_api::client::{Expect, Services, Timing, connect};
use hansa_api::pb::order::GetOrderRequest;
use hansa_api::pb::region::ListRegionsRequest;
use hansa_api::status::{Failure, Reason};
use hansa_node::devca::{DevCa, Leaf};
use hansa_tests::{local, request};

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_right_does_not_come_in() {
    let league = local::league("wire");
    let ca = DevCa::open(&league.data.join("pki"), "hansa").expect("the league's authority");
    let good = "spiffe://hansa/client/storefront";
    let leaves = [
        ("expired", Leaf::expired(good)),
        ("other-domain", Leaf::named("spiffe://elsewhere/client/storefront")),
        ("two-uris", Leaf::two_uris(good, "spiffe://hansa/client/operator")),
        ("no-uri", Leaf::no_uri()),
        ("authority", Leaf::authority(good)),
    ];
    for (name, leaf) in leaves {
        let files = ca.write("bad", name, &leaf).expect("a bad certificate");
        assert!(list_regions(league, files.cert, files.key).await.is_err(), "{name} came in");
    }
    let files = ca.write("bad", "good", &Leaf::named(good)).expect("a good certificate");
    let came_in = list_regions(league, files.cert, files.key).await;
    assert!(came_in.is_ok(), "the right one must come in, or this proves nothing: {came_in:?}");
}

/// One call with this certificate. TLS 1.3 lets a client see the refusal at its first read only.
async fn list_regions(
    league: &local::Local,
    cert: std::path::PathBuf,
    key: std::path::PathBuf,
) -> Result<(), String> {
    let read = hansa_api::client::Files { cert, key, ca: league.profile.ca.clone() };
    let identity = hansa_api::client::Identity::read(&read).map_err(|error| error.to_string())?;
    let expect = Expect::NodeOf("eu-west".parse().expect("a region name"));
    let endpoint = league.endpoint("eu-west");
    let channel = connect(&identity, &endpoint, &expect, Timing::default()).await;
    let channel = channel.map_err(|error| error.to_string())?;
    let answer = Services::new(channel).regions.list_regions(ListRegionsRequest {}).await;
    answer.map(drop).map_err(|status| status.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_tls_gets_no_answer() {
    let league = local::league("wire");
    let plain =
        tonic::transport::Endpoint::from_shared(format!("http://{}", league.endpoint("eu-west")));
    let plain = plain.expect("an address").timeout(local::PATIENCE).connect().await;
    let Ok(channel) = plain else { return };
    let answer = Services::new(channel).regions.list_regions(ListRegionsRequest {}).await;
    assert!(answer.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_may_do_what_its_policy_lists_and_no_more() {
    let league = local::league("wire");
    let mut storefront = league.as_client("storefront", "eu-west").await;
    let refused = storefront.inventory.receive_stock(request::receive("eu-west", "ROLE", 1)).await;
    let failure = Failure::from(refused.expect_err("a storefront receives no stock"));
    assert_eq!(failure.reason(), Reason::PermissionDenied);

    let mut warehouse = league.as_client("warehouse", "eu-west").await;
    let wish = request::order("role-1", vec![request::line("ROLE", 1)]);
    let refused = warehouse.orders.place_order(wish).await;
    let failure = Failure::from(refused.expect_err("a warehouse places no orders"));
    assert_eq!(failure.reason(), Reason::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimed_principal_counts_for_nothing() {
    let league = local::league("wire");
    let mut storefront = league.as_client("storefront", "eu-west").await;
    let mut call = tonic::Request::new(request::receive("eu-west", "CLAIM", 1));
    for (key, value) in [
        ("hansa-principal", "spiffe://hansa/client/operator"),
        ("hansa-roles", "operator,warehouse"),
        ("hansa-forwarded", "us-east"),
        ("hansa-entry", "us-east"),
    ] {
        call.metadata_mut().insert(key, value.parse().expect("ascii"));
    }
    let refused = storefront.inventory.receive_stock(call).await;
    let failure = Failure::from(refused.expect_err("headers give no role"));
    assert_eq!(failure.reason(), Reason::PermissionDenied);

    let mut call = tonic::Request::new(GetOrderRequest::default());
    call.metadata_mut().insert("hansa-forwarded", "us-east".parse().expect("ascii"));
    let refused = storefront.orders.get_order(call).await;
    let failure = Failure::from(refused.expect_err("an empty name"));
    assert_eq!(failure.reason(), Reason::FieldEmpty, "{failure:?}");
}
