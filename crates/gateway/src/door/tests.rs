mod bodies;
mod orders;
mod policies;

use hansa_api::pb::order::{GetOrderRequest, PlaceOrderRequest, WatchOrderRequest};
use hansa_api::pb::region::{ListRegionsRequest, ListRegionsResponse};
use hansa_api::status::Kind;
use hansa_region_router::core::directory::Command;
use hansa_region_router::core::route::METHODS;
use http_body_util::BodyExt as _;
use prost::Message as _;

use super::*;
use crate::Gateway;
use crate::config::{Config, Rate};
use crate::testing::*;

const SHOP: &str = "spiffe://hansa/client/storefront";
const GATE: &str = "spiffe://hansa/region/us-east/node/us-east-1";
const PLACE: &str = "hansa.order.v1.OrderService/PlaceOrder";
const GET: &str = "hansa.order.v1.OrderService/GetOrder";
const REGIONS: &str = "hansa.region.v1.RegionService/ListRegions";

fn place(country: &str) -> Bytes {
    frame(&PlaceOrderRequest {
        residence_country: country.into(),
        customer_id: "17850".into(),
        request_id: "r-1".into(),
        payment_token: "tok".into(),
        ..Default::default()
    })
}

fn get(region: &str, n: u16) -> Bytes {
    frame(&GetOrderRequest { order: order(region, n), ..Default::default() })
}

async fn ask(door: Door<Fake>, request: Request<Body>) -> Response<Body> {
    door.oneshot(request).await.unwrap()
}

async fn refused(door: Door<Fake>, request: Request<Body>) -> Reason {
    failure(&ask(door, request).await).expect("a refusal").reason()
}

/// Headers of a call that us-east's gateway passes on for the storefront.
fn passed_on() -> Vec<(&'static str, &'static str)> {
    vec![
        ("hansa-forwarded", "us-east"),
        ("hansa-principal", SHOP),
        ("hansa-roles", "storefront"),
        ("hansa-entry", "us-east"),
    ]
}

#[tokio::test]
async fn a_call_goes_home_as_it_came() {
    let fake = Fake::default();
    for (country, to) in [("DE", "node 1"), ("US", "gateway us-east"), ("JP", "gateway ap-south")] {
        let request = call(SHOP, PLACE, &[("x-own", "kept")], place(country));
        assert_eq!(text(ask(gateway(&fake).public(), request).await).await, to);
        let seen = fake.last();
        assert_eq!((seen.path, seen.body), (format!("/{PLACE}"), place(country)), "opaque bytes");
        assert_eq!(seen.headers["x-own"], "kept");
        assert_eq!(seen.headers["hansa-principal"], SHOP);
        assert_eq!(seen.headers["hansa-entry"], "eu-west");
        assert_eq!(seen.headers.contains_key("hansa-forwarded"), to != "node 1");
    }
}

#[tokio::test]
async fn what_a_client_says_of_itself_is_stripped() {
    let fake = Fake::default();
    let claims = [
        ("hansa-principal", "spiffe://hansa/client/operator"),
        ("hansa-roles", "operator"),
        ("hansa-entry", "us-east"),
        ("hansa-forwarded", "us-east"),
        ("hansa-anything", "x"),
    ];
    let request = call(SHOP, PLACE, &claims, place("US"));
    text(ask(gateway(&fake).public(), request).await).await;
    let headers = fake.last().headers;
    assert_eq!(headers.get_all("hansa-principal").iter().collect::<Vec<_>>(), [SHOP]);
    assert_eq!(
        (&headers["hansa-roles"], &headers["hansa-entry"]),
        (&"storefront".parse().unwrap(), &"eu-west".parse().unwrap())
    );
    assert_eq!(headers["hansa-forwarded"], "eu-west");
    assert!(!headers.contains_key("hansa-anything"));
}

#[tokio::test]
async fn the_policy_is_the_matrix_of_what_passes() {
    let fake = Fake::default();
    let gateway = gateway(&fake);
    let authz = Authz::parse(crate::AUTHZ).unwrap();
    for role in hansa_api::principal::Role::ALL {
        let client = format!("spiffe://hansa/client/{role}");
        for method in METHODS {
            // An empty message: refused for what is missing, but only after the door has let it in.
            let request = call(&client, method.name, &[], frame(&()));
            let answer = ask(gateway.public(), request).await;
            let denied = failure(&answer).is_some_and(|f| f.kind() == Kind::PermissionDenied);
            assert_eq!(
                denied,
                !authz.anywhere(role.as_str(), method.name),
                "{role} {}",
                method.name
            );
        }
    }
}

#[tokio::test]
async fn whoever_is_no_client_of_ours_gets_nowhere() {
    let fake = Fake::default();
    let public = || gateway(&fake).public();
    let from = |peer| call(peer, PLACE, &[], place("DE"));
    assert_eq!(
        refused(public(), from("spiffe://hansa/client/king")).await,
        Reason::PermissionDenied
    );
    assert_eq!(refused(public(), from(GATE)).await, Reason::PermissionDenied);
    assert_eq!(refused(public(), from("spiffe://hansa/odd/path")).await, Reason::PermissionDenied);
    let foreign = "spiffe://lubeck/client/storefront";
    assert_eq!(refused(public(), from(foreign)).await, Reason::Unauthenticated);
    let mut nobody = from(SHOP);
    nobody.extensions_mut().clear();
    assert_eq!(refused(public(), nobody).await, Reason::Unauthenticated);
    assert_eq!(fake.count(), 0);
}

#[tokio::test]
async fn roles_count_where_the_call_is_served() {
    let fake = Fake::default();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authz.toml");
    let only_here = crate::AUTHZ.replacen("regions = [\"*\"]", "regions = [\"eu-west\"]", 1);
    std::fs::write(&file, only_here).unwrap();
    let config = Config { authz_file: Some(file), ..Config::default() };
    let public = || gateway_with(&fake, config.clone()).public();
    text(ask(public(), call(SHOP, PLACE, &[], place("DE"))).await).await;
    let abroad = call(SHOP, PLACE, &[], place("US"));
    assert_eq!(refused(public(), abroad).await, Reason::PermissionDenied);
    assert_eq!(fake.count(), 1);
}

#[tokio::test]
async fn methods_that_are_not_public_are_not_there() {
    let fake = Fake::default();
    for method in [
        "hansa.raft.v1.RaftPeerService/Exchange",
        "hansa.ledger.v1.LedgerCommandService/Submit",
        "hansa.node.v1.NodeService/ListReplicas",
        "hansa.order.v1.OrderService/Steal",
        "",
    ] {
        let request = call(SHOP, method, &[], frame(&()));
        assert_eq!(
            refused(gateway(&fake).public(), request).await,
            Reason::Unimplemented,
            "{method}"
        );
    }
    assert_eq!(fake.count(), 0);
}

#[tokio::test]
async fn a_forwarded_call_is_served_for_the_client_it_names() {
    let fake = Fake::default();
    let request = call(GATE, PLACE, &passed_on(), place("DE"));
    assert_eq!(text(ask(gateway(&fake).forwarded(), request).await).await, "node 1");
    let headers = fake.last().headers;
    assert_eq!(headers["hansa-principal"], SHOP);
    assert_eq!(headers["hansa-entry"], "us-east", "where it entered");
    assert!(!headers.contains_key("hansa-forwarded"));
}

#[tokio::test]
async fn a_forwarded_call_is_never_forwarded_again() {
    let fake = Fake::default();
    for country in ["US", "JP"] {
        let request = call(GATE, PLACE, &passed_on(), place(country));
        let answer = ask(gateway(&fake).forwarded(), request).await;
        let failure = failure(&answer).unwrap();
        assert_eq!(
            (failure.reason(), failure.kind()),
            (Reason::WrongRegion, Kind::FailedPrecondition)
        );
        assert!(failure.metadata("endpoint").is_some());
    }
    assert_eq!(fake.count(), 0);
}

#[tokio::test]
async fn two_regions_that_hold_each_other_for_the_home_do_not_loop() {
    // eu-west believes that us-east owns its customers, us-east believes the opposite of its own.
    let moved = |birth, owner| Command::Own {
        birth: number(birth),
        slot: None,
        owner: number(owner),
        epoch: 2,
    };
    let us_fake = Fake::default();
    let us = Gateway::start_with(
        &env(),
        "hansa",
        Book::of(directory(2, &[])),
        us_fake.clone(),
        Config::default(),
    );
    let us = us.unwrap();
    let eu_fake = Fake::default();
    let book = Book::of(directory(1, &[moved(1, 2)]));
    let eu =
        Gateway::start_with(&env(), "hansa", book, eu_fake.clone(), Config::default()).unwrap();
    text(ask(eu.public(), call(SHOP, GET, &[], get("eu-west", 1))).await).await;
    let passed = eu_fake.last();
    assert_eq!(passed.who, "gateway us-east");
    let mut request = call("spiffe://hansa/region/eu-west/node/eu-west-1", GET, &[], passed.body);
    *request.headers_mut() = passed.headers;
    // A record is on its way from one to the other: the caller is to come again.
    let answer = ask(us.forwarded(), request).await;
    let moving = failure(&answer).unwrap();
    assert_eq!((moving.reason(), moving.wait().is_some()), (Reason::HomeMoving, true));
    assert_eq!(us_fake.count(), 0);
}

#[tokio::test]
async fn what_home_answers_is_the_answer_and_an_unreachable_home_is_unavailable() {
    let full = Fake::default().with("gateway us-east", Does::Fails(Reason::Overloaded));
    let abroad = || call(SHOP, PLACE, &[], place("US"));
    assert_eq!(refused(gateway(&full).public(), abroad()).await, Reason::Overloaded);
    let away = Fake::default().with("gateway us-east", Does::Unreachable);
    let gateway = gateway(&away);
    let answer = ask(gateway.public(), abroad()).await;
    let failure = failure(&answer).unwrap();
    assert_eq!((failure.reason(), failure.kind()), (Reason::HomeUnreachable, Kind::Unavailable));
    assert!(failure.wait().is_some());
    assert_eq!(away.count(), 1, "nobody else was asked");
}

#[tokio::test]
async fn only_the_entry_regions_own_nodes_may_forward() {
    let fake = Fake::default();
    let try_with = |peer: &str, change: fn(&mut Vec<(&'static str, &'static str)>)| {
        let mut headers = passed_on();
        change(&mut headers);
        refused(gateway(&fake).forwarded(), call(peer, PLACE, &headers, place("DE")))
    };
    let same: fn(&mut Vec<_>) = |_| {};
    let refused = Reason::ForwardRefused;
    assert_eq!(try_with(SHOP, same).await, refused, "a client");
    assert_eq!(try_with("spiffe://lubeck/region/us-east/node/us-east-1", same).await, refused);
    assert_eq!(try_with("spiffe://hansa/region/ap-south/node/ap-south-1", same).await, refused);
    assert_eq!(try_with(GATE, |h| h[0].1 = "ap-south").await, refused, "another region's name");
    assert_eq!(try_with(GATE, |h| h[3].1 = "ap-south").await, refused, "another entry");
    assert_eq!(
        try_with(GATE, |h| h.retain(|(name, _)| *name != "hansa-forwarded")).await,
        refused,
        "not forwarded"
    );
    assert_eq!(try_with(GATE, |h| h.push(("hansa-forwarded", "us-east"))).await, refused, "twice");
    assert_eq!(
        try_with(GATE, |h| h.retain(|(name, _)| *name != "hansa-principal")).await,
        refused,
        "nobody"
    );
    let ours = "spiffe://hansa/region/eu-west/node/eu-west-2";
    let own = |h: &mut Vec<(&'static str, &'static str)>| (h[0].1, h[3].1) = ("eu-west", "eu-west");
    assert_eq!(try_with(ours, own).await, refused, "from here to here");
    assert_eq!(
        try_with("spiffe://hansa/region/mars-1/node/m", |h| (h[0].1, h[3].1) =
            ("mars-1", "mars-1"))
        .await,
        refused
    );
    assert_eq!(fake.count(), 0);
}

#[tokio::test]
async fn home_decides_by_its_own_policy_not_by_the_roles_that_were_sent() {
    let fake = Fake::default();
    let mut headers = passed_on();
    headers[1].1 = "spiffe://hansa/client/finance";
    headers[2].1 = "storefront,operator";
    let request = call(GATE, PLACE, &headers, place("DE"));
    assert_eq!(refused(gateway(&fake).forwarded(), request).await, Reason::PermissionDenied);
}

#[tokio::test]
async fn the_gateway_answers_for_itself() {
    let fake = Fake::default();
    let request = call(SHOP, REGIONS, &[("te", "trailers")], frame(&ListRegionsRequest {}));
    let answer = ask(gateway(&fake).public(), request).await;
    assert_eq!(failure(&answer), None);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let regions = ListRegionsResponse::decode(&body[5..]).unwrap().regions;
    let here: Vec<_> = regions.iter().map(|r| (r.name.as_str(), r.here)).collect();
    assert_eq!(here, [("eu-west", true), ("us-east", false), ("ap-south", false)]);
    assert_eq!(fake.count(), 0);
}

#[tokio::test]
async fn health_is_open_to_every_client_and_to_no_stranger() {
    let fake = Fake::default();
    let gateway = gateway(&fake);
    gateway.set_serving(true).await;
    let check = |peer| call(peer, "grpc.health.v1.Health/Check", &[], frame(&()));
    let answer = ask(gateway.public(), check("spiffe://hansa/client/anybody")).await;
    assert_eq!(failure(&answer), None);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, b"\0\0\0\0\x02\x08\x01"[..], "SERVING");
    let foreign = check("spiffe://lubeck/client/anybody");
    assert_eq!(refused(gateway.public(), foreign).await, Reason::Unauthenticated);
}

#[tokio::test]
async fn reflection_is_served_only_when_the_config_says_so() {
    let fake = Fake::default();
    for version in ["v1", "v1alpha"] {
        let method = format!("grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        // list_services: field 7, empty.
        let ask_for = |g: Gateway<Fake>| {
            ask(g.public(), call(SHOP, &method, &[], Bytes::from_static(b"\0\0\0\0\x02\x3a\0")))
        };
        let on = gateway_with(&fake, Config { reflection: true, ..Config::default() });
        let answer = ask_for(on).await;
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let told = String::from_utf8_lossy(&body).into_owned();
        assert!(told.contains("hansa.order.v1.OrderService"), "{told}");
        assert!(!told.contains("RaftPeerService"), "{told}");
        let off = gateway_with(&fake, Config { reflection: false, ..Config::default() });
        let answer = ask_for(off).await;
        assert_eq!(failure(&answer).map(|f| f.kind()), Some(Kind::Unimplemented));
    }
}

#[tokio::test]
async fn before_the_directory_is_known_calls_are_told_to_come_back() {
    let fake = Fake::default();
    let gateway =
        Gateway::start_with(&env(), "hansa", Book::empty(), fake.clone(), Config::default())
            .unwrap();
    let answer = ask(gateway.public(), call(SHOP, PLACE, &[], place("DE"))).await;
    let failure = failure(&answer).unwrap();
    assert_eq!(failure.reason(), Reason::Unavailable);
    assert!(failure.wait().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_changed_policy_is_taken_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authz.toml");
    std::fs::write(&file, crate::AUTHZ).unwrap();
    let config = Config { authz_file: Some(file.clone()), ..Config::default() };
    let fake = Fake::default();
    let gateway = gateway_with(&fake, config);
    let asked = || refused(gateway.public(), call(SHOP, REGIONS, &[], Bytes::new()));
    assert_eq!(asked().await, Reason::MessageMalformed, "let in, then refused for its body");
    let after = |text: String| {
        std::fs::write(&file, text).unwrap();
        tokio::time::sleep(Duration::from_secs(30))
    };
    after("nonsense".into()).await;
    assert_eq!(asked().await, Reason::MessageMalformed);
    after(crate::AUTHZ.replace("client = \"storefront\"", "client = \"other\"")).await;
    assert_eq!(asked().await, Reason::PermissionDenied);
}

#[test]
fn every_public_rpc_of_the_descriptors_is_routed_and_authorized() {
    let pool = prost_reflect::DescriptorPool::decode(hansa_api::FILE_DESCRIPTOR_SET).unwrap();
    let internal = ["directory", "ledger", "node", "raft", "replication"]
        .map(|area| format!("hansa.{area}.v1"));
    let authz = Authz::parse(crate::AUTHZ).unwrap();
    let listed: Vec<_> = authz.methods().collect();
    let mut public = 0;
    for service in pool.services().filter(|s| !internal.contains(&s.package_name().to_owned())) {
        for method in service.methods() {
            let name = format!("{}/{}", service.full_name(), method.name());
            let known = METHODS
                .iter()
                .find(|m| m.name == name)
                .unwrap_or_else(|| panic!("{name} is not routed"));
            assert!(listed.contains(&name.as_str()), "{name} is not in authz.toml");
            assert_eq!(known.streams, method.is_server_streaming(), "{name}");
            let orders = name == placing::METHOD;
            assert_eq!(method.is_client_streaming(), orders, "{name}: the door takes one message");
            public += 1;
        }
    }
    assert_eq!(public, METHODS.len(), "the table has methods that no service has");
}
