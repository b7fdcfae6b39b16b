//! Nothing is missing and nothing is there twice: orders in the regions' own lists, money in what
//! the provider says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use hansa_api::pb::order::{ListOrdersRequest, Order, OrderState};
use hansa_tests::processes::Processes;
use tonic::Request;

const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Every order by name, as its home lists it.
pub async fn orders(league: &Processes) -> BTreeMap<String, Order> {
    let mut all = BTreeMap::new();
    for home in league.profile.regions.keys() {
        let mut page_token = String::new();
        loop {
            let mut door = league.doors.pick(home, 0, 0).expect("a gateway");
            let mut ask = Request::new(ListOrdersRequest {
                region: home.to_string(),
                page_size: 200,
                page_token,
                ..ListOrdersRequest::default()
            });
            ask.set_timeout(CALL_TIMEOUT);
            let page = door.operator.orders.list_orders(ask).await.expect("a page").into_inner();
            let born_here = format!("regions/{home}/");
            let own = page.orders.into_iter().filter(|order| order.name.starts_with(&born_here));
            all.extend(own.map(|order| (order.name.clone(), order)));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
    }
    all
}

/// Each order that a client knows is there, and no client's reference is there twice; `given_up`
/// are those of a tail that no client heard of, and that were decided against.
pub fn each_once(
    orders: &BTreeMap<String, Order>,
    known: &BTreeMap<String, String>,
    given_up: &BTreeSet<String>,
) {
    let missing: Vec<_> = known.values().filter(|name| !orders.contains_key(*name)).collect();
    assert!(missing.is_empty(), "acknowledged, and nowhere: {missing:?}");
    let mut by_reference: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let living = orders.values().filter(|order| !given_up.contains(&order.name));
    for order in living.filter(|order| !order.client_reference.is_empty()) {
        by_reference.entry(&order.client_reference).or_default().push(&order.name);
    }
    for (reference, names) in by_reference {
        assert_eq!(names.len(), 1, "{reference} was placed more than once: {names:?}");
        if let Some(heard) = known.get(reference) {
            assert_eq!(heard, names[0], "{reference} is not the order that its client heard of");
        }
    }
}

/// How many orders of each state no client was told to be confirmed: those that were rejected, and
/// at most one that lives for each of the `unanswered` requests.
pub fn others(
    orders: &BTreeMap<String, Order>,
    known: &BTreeMap<String, String>,
    given_up: &BTreeSet<String>,
    unanswered: usize,
) -> BTreeMap<&'static str, usize> {
    let told: BTreeSet<&String> = known.values().collect();
    let untold = |order: &&Order| !told.contains(&order.name) && !given_up.contains(&order.name);
    let mut others: BTreeMap<&'static str, usize> = BTreeMap::new();
    for order in orders.values().filter(untold) {
        *others.entry(order.state().as_str_name()).or_default() += 1;
    }
    let rejected = OrderState::Rejected.as_str_name();
    let living: usize = others.iter().filter(|(state, _)| **state != rejected).map(|of| of.1).sum();
    assert!(living <= unanswered, "nobody asked for them, or was told: {others:?}");
    others
}

/// What the provider did under one key, each thing once however often it was said.
#[derive(Debug, Default)]
struct Charge {
    captures: BTreeMap<String, i64>,
    refunds: BTreeMap<String, i64>,
    voids: BTreeSet<String>,
}

/// No charge was captured twice, or captured and let go, or given back beyond what it took; how
/// many were captured.
pub fn provider(statement: &Path) -> usize {
    let text = std::fs::read_to_string(statement).expect("the provider's statement");
    let mut charges: BTreeMap<&str, Charge> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let words: Vec<&str> = line.split(',').collect();
        let [key, kind, amount, _currency, _time, reference] = words[..] else {
            panic!("no line of a statement: {line}");
        };
        let (amount, reference) = (amount.parse().expect("an amount"), reference.to_owned());
        let charge = charges.entry(key).or_default();
        match kind {
            "capture" => drop(charge.captures.insert(reference, amount)),
            "refund" => drop(charge.refunds.insert(reference, amount)),
            "void" => drop(charge.voids.insert(reference)),
            _ => {}
        }
    }
    for (key, charge) in &charges {
        let taken: i64 = charge.captures.values().sum();
        let given: i64 = charge.refunds.values().sum();
        let once = charge.captures.len() <= 1 && charge.voids.len() <= 1;
        let not_both = charge.captures.is_empty() || charge.voids.is_empty();
        assert!(once && not_both && given <= taken, "{key}: {charge:?}");
    }
    charges.values().filter(|charge| !charge.captures.is_empty()).count()
}
