//! A region goes to the next release and back under load, then there for good: real processes of
//! two releases side by side, the versions of its groups, and an operator with `hansactl`. Needs no
//! root.

use std::process::Output;
use std::time::Duration;

use hansa_api::client::League;
use hansa_api::pb::order::{CancelOrderRequest, GetOrderRequest, LineKind};
use hansa_checker::history::{Place, PlaceLine};
use hansa_tests::after;
use hansa_tests::load::{Caller, Load, Shape, client};
use hansa_tests::local::PATIENCE;
use hansa_tests::processes::{HOME, Processes, binary, next_release};
use hansa_tests::{request, suite};
use tokio::time::Instant;

/// Longest that a region may take to confirm orders again: the machine may be busy.
const BACK_WITHIN: Duration = Duration::from_secs(120);
const CALL_MAX: Duration = Duration::from_secs(20);

/// Which of the two programs.
#[derive(Clone, Copy, PartialEq)]
enum Release {
    Shipped,
    Next,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_is_upgraded_and_put_back_under_load_until_its_version_is_raised() {
    // Built before anything runs: two crates and a program.
    next_release();
    let mut league = Processes::start_region("upgrade").await;
    let load = Load::start(&league, Shape::default()).await;
    let storefront = Storefront::connect(&league, &load).await;
    load.progress(10, BACK_WITHIN).await;
    refused(&league, "no node").await;

    // There and back: until the raise the next release does as the shipped one does.
    for release in [Release::Next, Release::Shipped] {
        for name in league.names() {
            install(&mut league, &load, &name, release).await;
        }
        assert_eq!(storefront.cancelled("no need").await, "no need");
    }

    // There for good; the last old node holds the raise up.
    let names = league.names();
    for name in &names[..2] {
        install(&mut league, &load, name, Release::Next).await;
    }
    refused(&league, "eu-west-3 applies orders up to 1").await;
    assert_eq!(storefront.cancelled("no need").await, "no need");
    install(&mut league, &load, &names[2], Release::Next).await;
    raised(&league).await;
    assert_eq!(storefront.cancelled("no need").await, "NO NEED", "the new behaviour");
    load.progress(10, BACK_WITHIN).await;

    // The way back ends here: by name, and without damage.
    let last = &names[2];
    league.stop(last).await;
    league.set_binary(last, binary().to_owned());
    league.run(last);
    says(&league, last, "orders-0 is at version 2, this node's binary applies version 1").await;
    assert!(!league.exited(last, PATIENCE).await.success(), "it does not serve");
    league.set_binary(last, next_release().to_owned());
    league.run(last);
    league.ready().await;
    load.progress(10, BACK_WITHIN).await;

    let run = load.stop().await;
    println!("PlaceOrder: {}", run.tally.of("PlaceOrder"));
    after::check(&league, &run).await;
    assert!(run.tally.failures().is_empty(), "clients saw {:?}", run.tally.failures());
}

/// Stops a node, and starts it with another program on the same folder.
async fn install(league: &mut Processes, load: &Load, name: &str, release: Release) {
    league.stop(name).await;
    load.progress(3, BACK_WITHIN).await;
    let program = if release == Release::Next { next_release() } else { binary() };
    league.set_binary(name, program.to_owned());
    suite::fault("another release on a node's data");
    league.run(name);
    league.ready().await;
    load.progress(3, BACK_WITHIN).await;
    let deadline = Instant::now() + BACK_WITHIN;
    let (listed, line) = loop {
        let listed = text(&ctl(league, &["version", "list"]).await);
        let line = listed.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        if !line.is_empty() && !line.contains("did not answer") {
            let line = line.to_owned();
            break (listed, line);
        }
        assert!(Instant::now() < deadline, "{name} says no release: {listed}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    assert_eq!(line.contains("+version-2-test"), release == Release::Next, "{listed}");
}

/// The region's groups cannot be raised now, and the refusal says whose release stands in the way.
async fn refused(league: &Processes, why: &str) {
    let done = ctl(league, &["version", "raise", "--to", "2"]).await;
    let said = text(&done);
    assert_eq!(done.status.code(), Some(4), "refused: {said}");
    assert!(said.contains("VERSION_NOT_SUPPORTED") && said.contains(why), "{said}");
}

/// Raises all groups that have a second version, again while their leaders settle.
async fn raised(league: &Processes) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let done = ctl(league, &["version", "raise", "--group", "all", "--to", "2"]).await;
        let said = text(&done);
        if done.status.success() {
            assert!(said.contains("orders-0") && !said.contains("payments-0"), "{said}");
            return;
        }
        assert!(done.status.code() == Some(3) && Instant::now() < deadline, "not raised: {said}");
    }
}

async fn says(league: &Processes, name: &str, what: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !league.log(name).contains(what) {
        assert!(Instant::now() < deadline, "{name} does not say `{what}`");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A client whose calls are in the load's record, and one that reads what the record leaves out.
struct Storefront {
    recorded: Caller,
    reader: League,
}

impl Storefront {
    async fn connect(league: &Processes, load: &Load) -> Self {
        let shape = Shape::default();
        let number = shape.workers;
        let (record, tally) = (&load.record, &load.tally);
        let recorded = Caller::connect(league, HOME, number, &shape, record, tally).await;
        let reader = client(league, "storefront", HOME, number, shape.policy).await;
        Self { recorded, reader }
    }

    /// Places an order and cancels it; the reason that its history keeps.
    async fn cancelled(&self, reason: &str) -> String {
        let mut line = request::line("POST", 1);
        line.kind = LineKind::NonStock.into();
        let mut order = request::order("upgrade", vec![line]);
        order.client_reference = order.request_id.clone();
        let lines = vec![PlaceLine { stock: None, quantity: 1, price_minor: 255 }];
        let (request, reference) = (order.request_id.clone(), order.client_reference.clone());
        let place = Place { request, reference, lines, total_minor: 255 };
        let order = self.recorded.place(place, order).await.expect("an order").name;
        let (request_id, reason) = (request::id(), reason.to_owned());
        let cancel = CancelOrderRequest { order: order.clone(), request_id, reason };
        self.recorded.cancel(cancel).await.expect("a cancellation");
        let read = self.reader.call(CALL_MAX, |mut services, call| {
            let read = GetOrderRequest { order: order.clone(), ..Default::default() };
            let request = call.request(read);
            async move { services.orders.get_order(request).await }
        });
        read.await.expect("the order").order.unwrap_or_default().cancel_reason
    }
}

async fn ctl(league: &Processes, words: &[&str]) -> Output {
    let mut command = league.ctl(words);
    #[expect(clippy::disallowed_methods, reason = "a program that the test waits for")]
    let run = tokio::task::spawn_blocking(move || command.output());
    run.await.expect("it runs").expect("hansactl starts")
}

fn text(done: &Output) -> String {
    let both = [&done.stdout[..], &done.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}
