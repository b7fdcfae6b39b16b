//! All bytes that leave each region, before encryption: replication holds nothing foreign of a
//! person, forwarded calls pass only where the law lets them, and a leak would show.

use hansa_api::pb::admin::{ResidencyVerdict, VerifyResidencyRequest};
use hansa_api::pb::order::order_service_client::OrderServiceClient;
use hansa_api::pb::order::{GetOrderRequest, OrderState, PlaceOrderRequest, ReadMode};
use hansa_api::status::{Failure, Reason};
use hansa_api::sweep;
use hansa_tests::leak::{Person, files_with, left, passed, views_are_lawful};
use hansa_tests::local::{self, Local};
use hansa_tests::request;
use tonic::transport::Channel;

const ABROAD: [&str; 2] = ["us-east", "ap-south"];
const HOME: &str = "eu-west";

async fn confirmed(orders: &OrderServiceClient<Channel>, wish: PlaceOrderRequest) -> String {
    let placed = request::placed(orders, &wish).await;
    let order = placed.order.expect("an order");
    assert_eq!(order.state(), OrderState::Confirmed);
    order.name
}

/// Waits until every other region has a copy.
async fn shipped(league: &Local, order: &str) {
    let deadline = tokio::time::Instant::now() + local::PATIENCE;
    for region in ABROAD {
        let mut there = league.as_client("storefront", region).await.orders;
        loop {
            let read = ReadMode::LocalCopy.into();
            let copy = there.get_order(GetOrderRequest { order: order.to_owned(), read }).await;
            match copy.map(|answer| answer.into_inner().order) {
                Ok(Some(copy)) if copy.state() == OrderState::Confirmed => break,
                other => assert!(tokio::time::Instant::now() < deadline, "no copy: {other:?}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replication_ships_nothing_of_a_person_and_files_agree() {
    let league = local::league("wire");
    league.stock(HOME, "CANARY", 20).await;
    let person = Person::new("home");
    let mut home = league.as_client("storefront", HOME).await.orders;
    let reference = "canary-reference-41771";
    let order = confirmed(&home, person.wish("DE", reference)).await;
    let answer = home.get_order(GetOrderRequest { order: order.clone(), read: 0 }).await;
    let whole = answer.expect("the order").into_inner().order.expect("an order");
    let paid = whole.payment.expect("its payment").provider_reference;
    shipped(league, &order).await;

    for region in ABROAD {
        // The tap and the search can find: what anybody may know has passed, and lies there.
        assert!(left(league, HOME, region, reference), "the tap hears nothing to {region}");
        assert!(!files_with(league, region, &[reference]).is_empty(), "nothing found in {region}");
        for secret in person.words().into_iter().chain([paid.as_str()]) {
            assert!(!left(league, HOME, region, secret), "{secret} has left for {region}");
            assert_eq!(files_with(league, region, &[secret]), Vec::<std::path::PathBuf>::new());
        }
    }
    assert!(!files_with(league, HOME, &[&paid]).is_empty(), "home keeps it, to give it back");
    for secret in person.words() {
        assert_eq!(passed(league, secret), [], "{secret}");
    }
    for (number, region) in [(2, "us-east"), (3, "ap-south"), (1, HOME)] {
        views_are_lawful(league, region, number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_passes_where_the_law_lets_it_and_nowhere_else() {
    let league = local::league("wire");
    league.stock(HOME, "CANARY", 20).await;
    let mut away = league.as_client("storefront", "us-east").await.orders;

    let german = Person::new("passing");
    let order = confirmed(&away, german.wish("DE", "canary-passing")).await;
    shipped(league, &order).await;
    for secret in german.words() {
        let way = passed(league, secret);
        let only =
            [("us-east".to_owned(), HOME.to_owned()), (HOME.to_owned(), "us-east".to_owned())];
        assert!(way.contains(&only[0]), "{secret} went the way of its call");
        assert!(way.iter().all(|pair| only.contains(pair)), "{secret}: {way:?}");
        for region in ABROAD {
            assert_eq!(files_with(league, region, &[secret]), Vec::<std::path::PathBuf>::new());
        }
    }

    // The law of this league's Swiss forbids transit.
    let swiss = Person::new("strict");
    let refused = away.place_order(swiss.wish("CH", "canary-strict")).await.expect_err("closed");
    assert_eq!(Failure::from(&refused).reason(), Reason::WrongRegion);
    for secret in swiss.words() {
        assert_eq!(passed(league, secret), [], "{secret}");
        for region in ABROAD.into_iter().chain([HOME]) {
            assert_eq!(files_with(league, region, &[secret]), Vec::<std::path::PathBuf>::new());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_leak_is_heard_by_the_tap_and_found_in_files() {
    let league = local::league("wire");
    league.stock(HOME, "CANARY", 20).await;
    let careless = Person::new("planted");
    let home = league.as_client("storefront", HOME).await.orders;
    // A caller who writes a name where anybody may read it.
    let order = confirmed(&home, careless.wish("DE", &careless.name)).await;
    shipped(league, &order).await;
    for region in ABROAD {
        assert!(left(league, HOME, region, &careless.name), "the tap must turn red");
        assert!(!files_with(league, region, &[&careless.name]).is_empty(), "the search must too");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_swears_that_it_keeps_nothing_foreign() {
    let league = local::league("wire");
    league.stock(HOME, "CANARY", 20).await;
    let home = league.as_client("storefront", HOME).await.orders;
    let order = confirmed(&home, Person::new("sworn").wish("DE", "canary-sworn")).await;
    shipped(league, &order).await;
    let operator = &league.profile.clients["operator"];
    let authorities = league.identity(operator.cert.clone(), operator.key.clone()).authorities();
    for region in ABROAD.into_iter().chain([HOME]) {
        let mut services = league.as_client("operator", region).await;
        let request = VerifyResidencyRequest { region: region.to_owned() };
        let steps = services.residency.verify_residency(request).await.expect("a stream");
        let (mut steps, mut nodes, mut reports) = (steps.into_inner(), Vec::new(), Vec::new());
        while let Some(step) = steps.message().await.expect("whole messages") {
            nodes.extend(step.nodes);
            assert_eq!(step.failure, "", "{}", step.node_name);
            reports.extend(step.report);
        }
        assert_eq!((nodes.len(), reports.len()), (3, 3), "{region}");
        for signed in reports {
            let (told, signer) = sweep::believe(&signed, &authorities).expect("it is signed");
            assert!(signer.as_str().ends_with(&told.node_name), "{signer}");
            let foreign = told.findings.iter();
            let foreign = foreign.filter(|found| found.verdict() != ResidencyVerdict::Expiring);
            assert_eq!(foreign.collect::<Vec<_>>(), Vec::<&_>::new(), "{}", told.node_name);
            assert_eq!((told.unexplained, told.unread), (vec![], vec![]), "{}", told.node_name);
            let records: u64 = told.formats.iter().map(|format| format.records).sum();
            assert!(records > 10, "{}: {records} records", told.node_name);

            let mut forged = signed.clone();
            forged.report = [&signed.report[..], b"\x58\x01"].concat().into();
            assert!(sweep::believe(&forged, &authorities).is_err(), "another report");
        }
    }
}
