//! Reading a settled house through its public and operator calls.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use hansa::replay::doors::Door;
use hansa_api::pb::admin::{CheckInvariantsRequest, Group, Verdict};
use hansa_api::pb::inventory::ListStockRequest;
use hansa_api::pb::order::{GetOrderRequest, ListOrdersRequest};
use hansa_api::pb::payment::GetPaymentRequest;
use hansa_api::status::{Failure, Reason};
use hansa_checker::final_state::{GroupSeen, Listed, ReplicaSeen};
use hansa_checker::seen::{OrderSeen, PaymentSeen, StockKey};
use hansa_checker::{FinalState, History, wire};
use tonic::{Request, Status};

use crate::processes::Processes;
use crate::request::asked;

const CALL_TIMEOUT: Duration = Duration::from_secs(20);
const AT_ONCE: usize = 16;

/// What every replica of every group says of itself.
pub async fn groups(league: &Processes) -> Vec<GroupSeen> {
    let mut all = Vec::new();
    for region in league.profile.regions.keys() {
        let found = league.groups(region.as_str()).await;
        all.extend(found.iter().map(|group| seen(region.as_str(), group)));
    }
    all
}

fn seen(region: &str, group: &Group) -> GroupSeen {
    let replicas = group.replicas.iter().map(|replica| ReplicaSeen {
        node: replica.node,
        applied: replica.applied_index,
        state_hash: replica.state_hash.clone(),
        chain_head: String::new(),
        earlier: Default::default(),
        trouble: if replica.reachable { String::new() } else { "unreachable".to_owned() },
    });
    let name = format!("{}/{}", group.kind().as_str_name(), group.group);
    GroupSeen { region: region.to_owned(), group: name, replicas: replicas.collect() }
}

/// Why hashes cannot be compared yet: replicas that are not at one index.
pub fn unequal(groups: &[GroupSeen]) -> Option<String> {
    if groups.is_empty() {
        return Some("no groups are listed".to_owned());
    }
    let one = |group: &&GroupSeen| {
        let mut applied = group.replicas.iter().map(|replica| replica.applied);
        let first = applied.next();
        first.is_none_or(|first| first == 0 || applied.any(|at| at != first))
    };
    groups.iter().find(one).map(|group| format!("not at one index: {group:?}"))
}

/// Everything that the checker wants to know.
pub async fn all(league: &Processes, history: &History, groups: Vec<GroupSeen>) -> FinalState {
    let hold_ms = league.names().first().map(|name| league.config(name).orders.saga.hold_ttl_ms);
    let hold_ms = hold_ms.unwrap_or_default();
    let mut house = FinalState { groups, hold_ms, ..FinalState::default() };
    for region in league.profile.regions.keys() {
        let door = league.doors.pick(region, 0, 0).expect("a gateway");
        reports(&door, region.as_str(), &mut house).await;
        stock(&door, region.as_str(), &mut house).await;
        listing(&door, region.as_str(), &mut house).await;
    }
    let mut names: BTreeSet<String> =
        house.listed.iter().map(|listed| listed.order.clone()).collect();
    names.extend(history.ops.iter().filter_map(|op| Some(op.order_seen()?.0.name.clone())));
    let one = |name: String| async move {
        let home = name.split('/').nth(1).and_then(|region| region.parse().ok());
        let door = home.and_then(|home| league.doors.pick(&home, 0, 0)).expect("a home");
        let (order, payment) = tokio::join!(order(door.clone(), &name), payment(door, &name));
        (name, order, payment)
    };
    let mut reading = futures::stream::iter(names).map(one).buffer_unordered(AT_ONCE);
    while let Some((name, order, payment)) = reading.next().await {
        match order {
            Ok(order) => drop(house.orders.insert(name.clone(), order)),
            Err(why) => house.unread.push(format!("{name}: {why}")),
        }
        match payment {
            Ok(payment) => drop(house.payments.insert(name.clone(), payment)),
            Err(why) => house.unread.push(format!("payment of {name}: {why}")),
        }
    }
    house
}

fn request<M>(message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

async fn order(door: Door, name: &str) -> Result<Option<OrderSeen>, Failure> {
    let ask = || {
        let mut orders = door.operator.orders.clone();
        let ask = GetOrderRequest { order: name.to_owned(), ..Default::default() };
        async move { orders.get_order(request(ask)).await }
    };
    match asked(ask).await {
        Ok(answer) => Ok(answer.order.as_ref().map(wire::order)),
        Err(status) => none(status, Reason::OrderNotFound),
    }
}

async fn payment(door: Door, name: &str) -> Result<Option<PaymentSeen>, Failure> {
    let ask = || {
        let mut payments = door.operator.payments.clone();
        let ask = GetPaymentRequest { order: name.to_owned() };
        async move { payments.get_payment(request(ask)).await }
    };
    match asked(ask).await {
        Ok(answer) => Ok(answer.payment.as_ref().map(wire::payment)),
        Err(status) => none(status, Reason::PaymentNotFound),
    }
}

fn none<T>(status: Status, absent: Reason) -> Result<Option<T>, Failure> {
    let failure = Failure::from(status);
    if failure.reason() == absent { Ok(None) } else { Err(failure) }
}

async fn reports(door: &Door, region: &str, house: &mut FinalState) {
    let ask = || {
        let mut admin = door.operator.admin.clone();
        let ask = CheckInvariantsRequest { region: region.to_owned() };
        async move {
            let answer = admin.check_invariants(request(ask)).await?;
            let unknown = answer.get_ref().reports.iter().any(|r| r.verdict() == Verdict::Unknown);
            if unknown { Err(Status::unavailable("not all is known")) } else { Ok(answer) }
        }
    };
    match asked(ask).await {
        Ok(answer) => {
            let reports = answer.reports.iter().map(|report| wire::report(region, report));
            house.reports.extend(reports);
        }
        Err(status) => house.unread.push(format!("invariants of {region}: {status}")),
    }
}

async fn stock(door: &Door, region: &str, house: &mut FinalState) {
    let mut page_token = String::new();
    loop {
        let ask = ListStockRequest {
            region: region.to_owned(),
            page_size: 500,
            page_token,
            ..Default::default()
        };
        let page = asked(|| {
            let (mut inventory, ask) = (door.warehouse.inventory.clone(), ask.clone());
            async move { inventory.list_stock(request(ask)).await }
        });
        let page = match page.await {
            Ok(page) => page,
            Err(status) => return house.unread.push(format!("stock of {region}: {status}")),
        };
        house.stock.extend(page.stocks.iter().map(|stock| {
            let (sku, warehouse) = (stock.sku.clone(), stock.warehouse.clone());
            (StockKey { region: region.to_owned(), sku, warehouse }, wire::stock(stock))
        }));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return;
        }
    }
}

async fn listing(door: &Door, region: &str, house: &mut FinalState) {
    let mut page_token = String::new();
    loop {
        let ask = ListOrdersRequest {
            region: region.to_owned(),
            page_size: 200,
            page_token,
            ..Default::default()
        };
        let page = asked(|| {
            let (mut orders, ask) = (door.operator.orders.clone(), ask.clone());
            async move { orders.list_orders(request(ask)).await }
        });
        let page = match page.await {
            Ok(page) => page,
            Err(status) => return house.unread.push(format!("listing of {region}: {status}")),
        };
        house.listed.extend(page.orders.iter().map(|order| Listed {
            region: region.to_owned(),
            order: order.name.clone(),
            reference: order.client_reference.clone(),
        }));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return;
        }
    }
}
