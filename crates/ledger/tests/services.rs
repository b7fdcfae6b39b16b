//! The services over three real replicas: what callers see, whoever leads and whoever dies.

#[path = "services/house.rs"]
mod house;

use hansa_api::pb::inventory as stock;
use hansa_api::pb::ledger as pb;
use hansa_api::pb::ledger::OutcomeCode as Code;
use hansa_api::pb::ledger::RefusedReason;
use hansa_api::status::{Failure, Reason};
use house::{House, authorize, capture, commit, id, payment, refund, reserve, ship};
use tonic::Status;

fn reason(answer: Result<impl std::fmt::Debug, Status>) -> Reason {
    let status = answer.expect_err("refused");
    Failure::from(&status).reason()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_has_one_effect_per_request_id() {
    let house = House::start().await;
    let first = house.receive("r-1", "widget", 10).await.expect("received");
    let (replayed, of) = (first.replayed, first.stock.expect("stock"));
    assert_eq!((replayed, of.sku.as_str(), of.sellable_quantity), (false, "WIDGET", 10));
    let again = house.receive("r-1", "widget", 10).await.expect("received");
    assert!(again.replayed);
    assert_eq!(again.stock.expect("stock").available_quantity, 10);
    assert_eq!(reason(house.receive("r-1", "widget", 11).await), Reason::RequestIdReused);
    assert_eq!(reason(house.receive("r-2", "widget", 0).await), Reason::QuantityInvalid);
    assert_eq!(reason(house.receive("", "widget", 1).await), Reason::RequestIdMissing);
    assert_eq!(reason(house.stock("gadget").await), Reason::UnknownSku);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_below_what_is_held_is_refused_with_the_orders_named() {
    let house = House::start().await;
    house.receive("r-1", "A", 10).await.expect("received");
    let held = house.stock_batch(vec![reserve(1, 1, &[("A", 7)])]).await;
    assert_eq!(held[0].code(), Code::Applied);
    assert!(held[0].expires_ms > 0);
    let status = house.adjust("a-1", "A", -5, None).await.expect_err("refused");
    let failure = Failure::from(&status);
    assert_eq!(failure.reason(), Reason::StockTooLow);
    assert_eq!(failure.metadata("held_by"), Some(house::order(1).to_string().as_str()));
    assert_eq!(reason(house.adjust("a-2", "A", -1, Some(9)).await), Reason::CountDiffers);
    let adjusted = house.adjust("a-3", "A", -3, Some(10)).await.expect("adjusted");
    assert_eq!(adjusted.stock.expect("stock").sellable_quantity, 0);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_is_listed_in_pages_across_groups() {
    let house = House::start().await;
    let skus: Vec<String> = (0..7).map(|n| format!("SKU-{n}")).collect();
    for sku in &skus {
        house.receive(&format!("r-{sku}"), sku, 1).await.expect("received");
    }
    let (mut listed, mut token) = (Vec::new(), String::new());
    loop {
        let page = house.list_stock(3, &token).await.expect("a page");
        assert!(page.stocks.len() <= 3);
        listed.extend(page.stocks.into_iter().map(|stock| stock.sku));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, skus);
    let other = stock::ListStockRequest {
        page_token: house.list_stock(3, "").await.expect("a page").next_page_token,
        warehouse: "main".to_owned(),
        ..stock::ListStockRequest::default()
    };
    assert_eq!(reason(house.list(other).await), Reason::PageTokenInvalid);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_moves_once_and_is_listed_by_account() {
    let house = House::start().await;
    let batch = vec![authorize(1, 1, 1_000), capture(2, 1, 1, 900), refund(3, 1, 1_000)];
    let outcomes = house.money_batch(batch.clone()).await;
    let codes: Vec<_> = outcomes.iter().map(|outcome| outcome.code()).collect();
    assert_eq!(codes, [Code::Applied, Code::Applied, Code::ExceedsCaptured]);
    assert_eq!(outcomes[2].available, 900);
    house.money_batch(vec![refund(4, 1, 300)]).await;
    let again: Vec<_> =
        house.money_batch(batch).await.iter().map(|outcome| outcome.code()).collect();
    assert_eq!(again, [Code::Exists, Code::Exists, Code::ExceedsCaptured]);
    let accounts = house.payment_accounts(1).await.expect("the payment");
    assert_eq!((accounts.authorized_minor, accounts.held_minor), (1_000, 0));
    assert_eq!((accounts.captured_minor, accounts.refunded_minor), (900, 300));
    let entries = house.entries(payment(1)).await.expect("entries");
    let moved: Vec<_> = entries.iter().map(|it| (it.code.as_str(), it.amount_minor)).collect();
    assert_eq!(moved, [("capture", 900), ("refund", 300)]);
    assert_eq!(house.entries("clearing".to_owned()).await.expect("entries").len(), 1);
    assert!(house.holds_of_money().await.is_empty());
    house.check();
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_repeated_at_the_next_leader_answers_exists() {
    let mut house = House::start().await;
    house.receive("r-1", "A", 10).await.expect("received");
    let batch = vec![reserve(1, 1, &[("A", 4)]), commit(2, 1), ship(3, 1)];
    let first = house.stock_batch(batch.clone()).await;
    assert!(first.iter().all(|outcome| outcome.code() == Code::Applied), "{first:?}");
    house.kill_leader_of_stock("A").await;
    let again = house.stock_batch(batch).await;
    assert!(again.iter().all(|outcome| outcome.code() == Code::Exists), "{again:?}");
    let stock = house.stock("A").await.expect("stock").stocks.remove(0);
    assert_eq!((stock.available_quantity, stock.committed_quantity), (6, 0));
    house.check();
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_says_who_leads() {
    let house = House::start().await;
    let (answer, leader) = house.at_a_follower(vec![authorize(1, 1, 10)]).await;
    let Some(pb::submit_response::Result::Refused(refused)) = answer.result else {
        panic!("a follower applied a batch");
    };
    assert_eq!(refused.reason(), RefusedReason::NotLeader);
    assert_eq!(refused.leader_node, leader.0);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_does_not_read_applies_nothing() {
    let house = House::start().await;
    let mut bad = refund(2, 1, 5);
    if let Some(pb::command::Command::Refund(refund)) = &mut bad.command {
        refund.id = id(2).slice(..3);
    }
    let refused = house.refused(vec![authorize(1, 1, 10), bad]).await;
    assert_eq!(refused.reason(), RefusedReason::Malformed);
    assert!(house.payment_accounts(1).await.is_none());
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_view_is_built_again_and_a_restart_keeps_the_books() {
    let mut house = House::start().await;
    for n in 0..20 {
        let (hold, take) = (10 + 2 * n, 11 + 2 * n);
        house.money_batch(vec![authorize(hold, 1, 100), capture(take, hold, 1, 50)]).await;
    }
    let before = house.entries(payment(1)).await.expect("entries");
    assert_eq!(before.len(), 20);
    house.restart(true).await;
    assert_eq!(house.entries(payment(1)).await.expect("entries"), before, "built from the archive");
    house.restart(false).await;
    assert_eq!(house.entries(payment(1)).await.expect("entries"), before, "kept");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_that_start_after_the_ledger_serve_once_they_are_attached() {
    let mut house = House::with_parts(1).await;
    let skus: Vec<String> = (0..5).map(|n| format!("SKU-{n}")).collect();
    for sku in &skus {
        house.receive(&format!("r-{sku}"), sku, 1).await.expect("received");
    }
    let listed = house.list_stock(10, "").await.expect("a page").stocks;
    assert!(listed.iter().map(|stock| &stock.sku).eq(&skus), "of both groups: {listed:?}");
    house.money_batch(vec![authorize(1, 1, 1_000), capture(2, 1, 1, 900)]).await;
    let before = house.entries(payment(1)).await.expect("entries");
    assert_eq!(before.len(), 1);
    house.check();
    house.restart(true).await;
    assert_eq!(house.entries(payment(1)).await.expect("entries"), before);
    house.stop().await;
}
