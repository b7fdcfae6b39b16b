//! What is read when all is calm again: the state that the judge compares the history with.

mod audit;
mod books;
mod copies;
mod owners;
mod people;
mod swept;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use hansa_api::client::League as Door;
use hansa_api::pb::admin::CheckInvariantsRequest;
use hansa_api::pb::inventory::GetStockRequest;
use hansa_api::pb::order::{GetOrderRequest, ListOrdersRequest};
use hansa_api::pb::payment::GetPaymentRequest;
use hansa_api::status::{Failure, Reason};
use hansa_checker::final_state::{CopySeen, GroupSeen, Held, Journal, Listed, ReplicaSeen};
use hansa_checker::loss::Loss;
use hansa_checker::seen::{OrderSeen, OrderState, PaymentSeen, RejectReason};
use hansa_checker::watch::Stream;
use hansa_checker::{Call, FinalState, History, wire};
use hansa_consensus::{GroupStatus, Role};
use hansa_types::id::{GroupId, GroupKind, NodeId};

use crate::clock;
use crate::plan::Plan;
use crate::trace;
use crate::workload::{Board, HEIR, door, watcher};
use crate::world::{HOLD_MS, League, Region, SEATS};

/// Invariants across groups hold, and every saga is over, this long after the heal (domain.md §7).
const SETTLE_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Calls that the judge has open at a time.
const AT_ONCE: usize = 16;
const CALL_MAX: Duration = Duration::from_secs(10);
/// Orders watched in the end, of each region.
const STREAMS_MAX: usize = 12;
/// The number of the client that reads in the end.
const JUDGE: u32 = 90;

struct Reader<'a> {
    region: &'a Region,
    storefront: Door,
    operator: Door,
    /// What orders showed of who placed them.
    people: people::Shown,
}

/// Waits until the house has settled, at most [`SETTLE_MAX`], and reads all of it.
pub async fn read(plan: &Plan, league: &League, board: &Board) -> FinalState {
    let mut readers = Vec::new();
    for region in &league.regions {
        readers.push(Reader {
            region,
            storefront: door(plan, region, "storefront", JUDGE).await,
            operator: door(plan, region, "operator", JUDGE).await,
            people: people::Shown::default(),
        });
    }
    let end = clock::truth().unwrap_or_default() + SETTLE_MAX;
    let mut state = loop {
        let late = clock::truth().unwrap_or_default() >= end;
        let clock_permille = u64::from(plan.fastest());
        let mut state = FinalState { hold_ms: HOLD_MS, clock_permille, ..FinalState::default() };
        state.loss = loss(plan, league, board);
        look(plan, &readers, board, late, &mut state).await;
        // An order that was watched further than it was read goes on: what is given back goes out
        // while it is parked, too.
        if late || unsettled(&state).is_none() {
            for reader in &readers {
                reader.streams(board, &mut state).await;
            }
        }
        match unsettled(&state) {
            None => break state,
            Some(why) if late => {
                trace::note(format_args!("not settled: {why}"));
                break state;
            }
            Some(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    };
    for (reader, joint) in readers.iter().zip(plan.shape.joint) {
        board.wrong.borrow_mut().extend(short(reader.region));
        board.wrong.borrow_mut().extend(misplaced(reader.region, joint));
        board.wrong.borrow_mut().extend(books::wrong(reader.region));
        books::count(reader.region);
        board.wrong.borrow_mut().extend(reader.people.wrong(board));
        let unseen = people::unseen(reader, board, &state.loss).await;
        board.wrong.borrow_mut().extend(unseen);
        let seen = standing(reader.region);
        state.reports.extend(audit::reports(&reader.operator, reader.region, seen).await);
        if swept::wanted(plan) {
            state.reports.extend(swept::reports(&reader.operator, reader.region).await);
        }
    }
    state.read_at = board.record.now();
    state
}

/// Reads what everybody says, as long as it is settled: the rest would be read again at once.
async fn look(
    plan: &Plan,
    readers: &[Reader<'_>],
    board: &Board,
    late: bool,
    state: &mut FinalState,
) {
    for reader in readers {
        reader.reports(state).await;
    }
    if late || unsettled(state).is_none() {
        // An order may be listed by one region and be born in another.
        for reader in readers {
            reader.listing(state).await;
        }
        let history = board.record.history();
        for reader in readers {
            reader.read(&history, state).await;
        }
    }
    if late || unsettled(state).is_none() {
        for reader in readers.iter().filter(|_| readers.len() > 1) {
            reader.copies(state).await;
            reader.shipped(plan.brings_home(), state).await;
        }
        owners::check(readers, state).await;
    }
}

/// What births that changed hands leave behind.
fn loss(plan: &Plan, league: &League, board: &Board) -> Loss {
    let heirs = league.regions.iter().take(if plan.shape.heir { HEIR + 1 } else { 0 });
    Loss {
        heirs: heirs.map(|region| region.name.to_string()).collect(),
        forced: plan.forced(),
        tail: board.tail.borrow().clone(),
    }
}

/// What is not yet as it must be in the end.
fn unsettled(state: &FinalState) -> Option<String> {
    if let Some(unread) = state.unread.first() {
        return Some(unread.clone());
    }
    if let Some(report) = state.reports.iter().find(|report| report.held != Held::Held) {
        return Some(format!("{report:?}"));
    }
    for (name, order) in &state.orders {
        let left = state.loss.may_be_gone(name);
        if !left && order.as_ref().is_some_and(|order| order.state == OrderState::Pending) {
            return Some(format!("{name} is pending"));
        }
    }
    let behind = |copy: &&CopySeen| copy.behind(state) && !state.loss.may_be_gone(&copy.order);
    if let Some(copy) = state.copies.iter().find(behind) {
        return Some(format!("the copy of {} in {} is behind", copy.order, copy.region));
    }
    let uneven = state.groups.iter().find(|group| {
        let mut serving = group.replicas.iter().filter(|replica| replica.trouble.is_empty());
        let first = serving.next().map(|replica| replica.applied);
        serving.any(|replica| Some(replica.applied) != first)
    });
    uneven.map(|group| format!("{} {}: not all at one index", group.region, group.group))
}

impl Reader<'_> {
    async fn read(&self, history: &History, state: &mut FinalState) {
        self.orders(history, state).await;
        self.stock(history, state).await;
        state.groups.extend(groups(self.region));
        let journal = Journal::parse(&self.region.provider.journal());
        state.journal.charged.extend(journal.charged);
        state.journal.voided.extend(journal.voided);
    }

    async fn reports(&self, state: &mut FinalState) {
        let region = self.region.name.to_string();
        let request = CheckInvariantsRequest { region: region.clone() };
        let asked = self.operator.call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.admin.check_invariants(request).await }
        });
        match asked.await {
            Ok(answer) => {
                let reports = answer.reports.iter().map(|report| wire::report(&region, report));
                // A node that refuses its damaged disk is out of reach, as it must be.
                let short = self.region.seats.iter().any(|seat| seat.damaged());
                let settled = reports.filter(|report| !(short && report.held == Held::Unknown));
                state.reports.extend(settled);
            }
            Err(failure) => state.unread.push(format!("invariants of {region}: {failure}")),
        }
    }

    async fn listing(&self, state: &mut FinalState) {
        let region = self.region.name.to_string();
        let mut request =
            ListOrdersRequest { region: region.clone(), page_size: 200, ..Default::default() };
        loop {
            let asked = self.operator.call(CALL_MAX, |mut services, call| {
                let request = call.request(request.clone());
                async move { services.orders.list_orders(request).await }
            });
            let page = match asked.await {
                Ok(page) => page,
                Err(failure) => {
                    return state.unread.push(format!("listing of {region}: {failure}"));
                }
            };
            for order in page.orders {
                let reference = order.client_reference.clone();
                state.listed.push(Listed { region: region.clone(), order: order.name, reference });
            }
            if page.next_page_token.is_empty() {
                return;
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn orders(&self, history: &History, state: &mut FinalState) {
        let home = format!("regions/{}/", self.region.name);
        let seen = history.ops.iter().filter_map(|op| op.order_seen().map(|(seen, _)| &seen.name));
        let listed = state.listed.iter().map(|listed| &listed.order);
        let names: BTreeSet<String> =
            seen.chain(listed).filter(|name| name.starts_with(&home)).cloned().collect();
        let loss = &state.loss;
        let read = names.into_iter().map(|name| async move {
            let order = self.order(&name, loss).await;
            let payment = self.payment(&name, loss).await;
            (name, order, payment)
        });
        for (name, order, payment) in at_once(read).await {
            match order {
                Ok(order) => drop(state.orders.insert(name.clone(), order)),
                Err(why) => state.unread.push(why),
            }
            match payment {
                Ok(Some(payment)) => drop(state.payments.insert(name, payment)),
                Ok(None) => {}
                Err(why) => state.unread.push(why),
            }
        }
    }

    async fn order(&self, name: &str, loss: &Loss) -> Result<Option<OrderSeen>, String> {
        let request = GetOrderRequest { order: name.to_owned(), ..Default::default() };
        let asked = self.storefront.call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.orders.get_order(request).await }
        });
        match asked.await {
            Ok(got) => {
                self.people.note(name, got.order.as_ref());
                Ok(got.order.as_ref().map(wire::order))
            }
            Err(failure) if failure.reason() == Reason::OrderNotFound => Ok(None),
            // Nobody goes on with it, and it is listed as that.
            Err(failure) if gone(&failure) && loss.may_be_gone(name) => Ok(None),
            Err(failure) => Err(format!("{name}: {failure}")),
        }
    }

    /// What the ledger says of an order's payment; nothing where nobody goes on with the order.
    async fn payment(
        &self,
        name: &str,
        loss: &Loss,
    ) -> Result<Option<Option<PaymentSeen>>, String> {
        let request = GetPaymentRequest { order: name.to_owned() };
        let asked = self.storefront.call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.payments.get_payment(request).await }
        });
        match asked.await {
            Ok(got) => Ok(Some(got.payment.as_ref().map(wire::payment))),
            Err(failure) if failure.reason() == Reason::PaymentNotFound => Ok(Some(None)),
            Err(failure) if gone(&failure) && loss.may_be_gone(name) => Ok(None),
            Err(failure) => Err(format!("payment of {name}: {failure}")),
        }
    }

    /// Orders that clients watched, watched once more from the beginning to what they are now.
    async fn streams(&self, board: &Board, state: &mut FinalState) {
        let home = format!("regions/{}/", self.region.name);
        let watched: BTreeSet<String> =
            board.streams.borrow().iter().map(|stream| stream.order.clone()).collect();
        let here = watched.into_iter().filter(|order| order.starts_with(&home));
        let seen = here.take(STREAMS_MAX).filter_map(|order| {
            let version = state.orders.get(&order)?.as_ref()?.version;
            Some((order, version))
        });
        let read = seen.collect::<Vec<_>>().into_iter().map(|(order, version)| async move {
            let patience = |stream: &Stream| match watcher::sequence(stream) {
                Some(at) if at >= version => Duration::ZERO,
                _ => CALL_MAX,
            };
            let watched =
                watcher::watch(&self.storefront, JUDGE, &order, 0, String::new(), patience).await;
            (order, version, watched.0)
        });
        for (order, version, stream) in at_once(read).await {
            let last = watcher::sequence(&stream);
            if last != Some(version) {
                state.unread.push(format!("{order}: watched to {last:?}, is at {version}"));
            }
            board.streams.borrow_mut().push(stream);
        }
    }

    async fn stock(&self, history: &History, state: &mut FinalState) {
        let keys = history.stock_keys().into_iter();
        let here = keys.filter(|key| key.region == self.region.name.as_str());
        let read = here.map(|key| async move {
            let request = GetStockRequest {
                region: key.region.clone(),
                sku: key.sku.clone(),
                warehouse: key.warehouse.clone(),
            };
            let asked = self.storefront.call(CALL_MAX, |mut services, call| {
                let request = call.request(request.clone());
                async move { services.inventory.get_stock(request).await }
            });
            (key, asked.await)
        });
        for (key, got) in at_once(read).await {
            match got {
                Ok(got) => {
                    let seen = got.stocks.iter().map(|stock| (key.clone(), wire::stock(stock)));
                    state.stock.extend(seen);
                }
                // A key that was only ever asked for, and never filled, is known to nobody.
                Err(failure) if failure.reason() == Reason::UnknownSku => {}
                Err(failure) => state.unread.push(format!("stock of {key}: {failure}")),
            }
        }
    }
}

/// Answers in the order in which they were asked for, some at once: what is read one by one takes
/// most of a seed's time.
async fn at_once<F: Future>(asked: impl Iterator<Item = F>) -> Vec<F::Output> {
    futures::stream::iter(asked).buffered(AT_ONCE).collect().await
}

/// What is said of an order with which nobody goes on.
fn gone(failure: &Failure) -> bool {
    [Reason::NoLawfulRegion, Reason::OrderNotFound].contains(&failure.reason())
}

/// Every group of a region as its voters are: looked at directly, which no client could.
fn groups(region: &Region) -> Vec<GroupSeen> {
    let mut found: BTreeMap<String, Vec<ReplicaSeen>> = BTreeMap::new();
    for status in standing(region) {
        found.entry(status.group.to_string()).or_default().push(replica(&status));
    }
    let region = region.name.to_string();
    let seen = |(group, replicas)| GroupSeen { region: region.clone(), group, replicas };
    found.into_iter().map(seen).collect()
}

/// The voters of each group that is led, as its leader has them.
fn voters(region: &Region) -> BTreeMap<GroupId, Vec<NodeId>> {
    let all = region.seats.iter().flat_map(|seat| seat.groups());
    let mut led: Vec<GroupStatus> = all.filter(|status| status.role == Role::Leader).collect();
    led.sort_by_key(|status| status.term);
    led.into_iter().map(|status| (status.group, status.voters)).collect()
}

/// Groups that do not have all their members in the end; none where a replica refuses its damaged
/// disk, for which the spare rightly stays.
fn short(region: &Region) -> Vec<String> {
    if region.seats.iter().any(|seat| seat.refuses()) {
        return Vec::new();
    }
    let short = voters(region).into_iter().filter(|(_, voters)| voters.len() != SEATS);
    let name = &region.name;
    short
        .map(|(group, voters)| format!("{name} {group}: in the end its voters are {voters:?}"))
        .collect()
}

/// Logs of books that lie in the orders group: a run without the setting would pass for a joint
/// one. The reverse of a region that is none.
fn misplaced(region: &Region, joint: bool) -> Vec<String> {
    let logs: BTreeSet<GroupId> = standing(region).iter().map(|status| status.group).collect();
    let books = [GroupKind::Inventory, GroupKind::Payments].map(|kind| GroupId::new(kind, 0));
    let wrong = books.into_iter().filter(|group| logs.contains(group) == joint);
    let name = &region.name;
    wrong.map(|group| format!("{name} {group}: joint is {joint}, its logs are {logs:?}")).collect()
}

/// The replicas that are to be whole: the voters, but for those that refuse their damaged disk. One
/// that has left keeps what it had when it did.
fn standing(region: &Region) -> Vec<GroupStatus> {
    let voters = voters(region);
    let mut found = Vec::new();
    for seat in &region.seats {
        found.extend(seat.groups().into_iter().filter(|status| {
            let damaged = seat.damaged() && status.stopped.is_some();
            let left = voters.get(&status.group).is_some_and(|all| !all.contains(&status.node));
            !damaged && !left
        }));
    }
    found
}

fn replica(status: &GroupStatus) -> ReplicaSeen {
    ReplicaSeen {
        node: status.node.0,
        applied: status.applied,
        state_hash: status.state_hash.to_string(),
        chain_head: status.chain_head.iter().map(|byte| format!("{byte:02x}")).collect(),
        earlier: BTreeMap::new(),
        trouble: status.stopped.clone().unwrap_or_default(),
    }
}

/// What the history shows of orders, counted.
pub fn count(history: &History, elections: &[u64]) {
    use hansa_checker::{Answer, Outcome};
    let (mut ends, mut asked) = (BTreeMap::<&str, (u64, OrderState)>::new(), BTreeMap::new());
    let mut ran_out = BTreeSet::new();
    for op in &history.ops {
        if let Call::Place(place) = &op.call {
            asked.entry(place.reference.as_str()).or_insert(op.invoked);
        }
        if op.is_unknown() && op.call.request().is_some() {
            trace::count("unknown outcome", 1);
        }
        let Some((answer, at)) = op.answer() else { continue };
        match (answer, &op.outcome) {
            (Answer::Shipped { .. }, _) => trace::count("order shipped", 1),
            (Answer::Payment { .. }, _) => trace::count("payment refunded", 1),
            (Answer::Stock { .. }, _) if matches!(op.call, Call::Adjust { .. }) => {
                trace::count("stock adjusted", 1);
            }
            (Answer::Order { .. }, _) if matches!(op.call, Call::Return { .. }) => {
                trace::count("items returned", 1);
            }
            (_, Outcome::Known(Answer::Order { replayed: true, .. })) => {
                trace::count("request replayed", 1);
            }
            _ => {}
        }
        if let Some((seen, _)) = op.order_seen()
            && seen.state != OrderState::Pending
        {
            ends.entry(seen.reference.as_str()).or_insert((at, seen.state)).1 = seen.state;
            let why = seen.rejected.as_ref().map(|why| why.reason);
            if why == Some(RejectReason::HoldExpired) {
                ran_out.insert(seen.reference.as_str());
            }
        }
    }
    trace::count("stock hold ran out", ran_out.len() as u64);
    for (reference, (at, state)) in ends {
        let what = match state {
            OrderState::Confirmed | OrderState::Completed => "order confirmed",
            OrderState::Rejected => "order rejected",
            OrderState::Cancelled => "order cancelled",
            OrderState::Parked => "order parked",
            OrderState::Pending => continue,
        };
        trace::count(what, 1);
        let begun = asked.get(reference).copied().unwrap_or(at);
        if elections.iter().any(|election| begun < *election && *election < at) {
            trace::count("saga resumed by a new leader", 1);
        }
    }
}
