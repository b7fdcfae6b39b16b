//! Three nodes with a ledger each: two stock groups, one payments group. Those of index 0 may be
//! attached, as they are where they lie in an orders group.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::stream;
use hansa_api::convert::id::{order_to_bytes, transfer_to_bytes};
use hansa_api::facts::Asked;
use hansa_api::pb::inventory as stock;
use hansa_api::pb::inventory::inventory_service_client::InventoryServiceClient;
use hansa_api::pb::ledger as pb;
use hansa_api::pb::ledger::command::Command as Verb;
use hansa_api::pb::ledger::ledger_command_service_client::LedgerCommandServiceClient;
use hansa_api::pb::ledger::submit_response::Result as Answer;
use hansa_api::principal::{Principal, Role};
use hansa_api::status::{Failure, Reason};
use hansa_consensus::testing::{Cluster, Settings, eventually, soon};
use hansa_consensus::{GroupSpec, Profile, Timing};
use hansa_ledger::config::{Config, Groups, Views};
use hansa_ledger::core::inventory::Inventory;
use hansa_ledger::core::payments::{self, Payments};
use hansa_ledger::{Ledger, Verdict};
use hansa_types::id::{GroupId, GroupKind, NodeId, OrderId, TransferId};
use hansa_types::identity::SpiffeId;
use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;
use tokio::time::Instant;
use tonic::service::Routes;
use tonic::{Request, Status};

const STOCK_GROUPS: u16 = 2;

pub struct House {
    cluster: Cluster<Payments>,
    ledgers: BTreeMap<NodeId, Ledger>,
    /// Groups of each kind that are attached.
    parts: u16,
}

/// The house's time, so that ids can be made without it: taken before its groups begin.
static BORN: std::sync::OnceLock<LogTime> = std::sync::OnceLock::new();

fn born() -> LogTime {
    *BORN.get_or_init(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        LogTime(now.expect("after 1970").as_millis() as u64)
    })
}

fn transfer(n: u64) -> TransferId {
    TransferId::derive(born(), &[&n.to_le_bytes()])
}

pub fn id(n: u64) -> Bytes {
    transfer_to_bytes(transfer(n))
}

pub fn order(n: u64) -> OrderId {
    OrderId::new(LogTime(1), RegionNumber::try_from(1).expect("one"), Slot::of(b"x"), n)
}

/// The name by which a payment's account is asked for, here its number behind a sign.
pub fn payment(n: u64) -> String {
    format!("#{n}")
}

fn command(verb: Verb) -> pb::Command {
    pb::Command { command: Some(verb) }
}

pub fn reserve(n: u64, of: u64, lines: &[(&str, u32)]) -> pb::Command {
    let line = |(line, (sku, quantity)): (u32, &(&str, u32))| pb::StockLine {
        line,
        sku: (*sku).to_owned(),
        quantity: *quantity,
        warehouse: String::new(),
    };
    let lines = (1..).zip(lines).map(line).collect();
    let order = order_to_bytes(order(of));
    command(Verb::Reserve(pb::Reserve { id: id(n), order, lines, ttl_ms: 600_000 }))
}

pub fn commit(n: u64, hold: u64) -> pb::Command {
    let order = order_to_bytes(order(1));
    command(Verb::Commit(pb::Commit { id: id(n), hold: id(hold), order }))
}

pub fn ship(n: u64, hold: u64) -> pb::Command {
    let (order, lines) = (order_to_bytes(order(1)), Vec::new());
    command(Verb::Ship(pb::Ship { id: id(n), hold: id(hold), order, lines }))
}

pub fn authorize(n: u64, payment: u64, amount_minor: i64) -> pb::Command {
    command(Verb::Authorize(pb::Authorize {
        id: id(n),
        payment: id(1_000 + payment),
        order: order_to_bytes(order(payment)),
        amount_minor,
        currency: "GBP".to_owned(),
        timeout_ms: 0,
    }))
}

pub fn capture(n: u64, hold: u64, payment: u64, amount_minor: i64) -> pb::Command {
    let (id, hold, payment) = (id(n), id(hold), id(1_000 + payment));
    command(Verb::Capture(pb::Capture { id, hold, amount_minor, payment }))
}

pub fn refund(n: u64, payment: u64, amount_minor: i64) -> pb::Command {
    let (id, payment) = (id(n), id(1_000 + payment));
    command(Verb::Refund(pb::Refund { id, payment, amount_minor }))
}

/// A call as the internal port gives it to a service.
fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let id = SpiffeId::client("hansa", "warehouse-1").expect("a name");
    let roles = [Role::Warehouse].into_iter().collect();
    let region = "eu-west".parse().expect("a region");
    request.extensions_mut().insert(Principal { id, roles, region });
    request
}

impl House {
    pub async fn start() -> Self {
        Self::with_parts(0).await
    }

    pub async fn with_parts(parts: u16) -> Self {
        born();
        // No election because of a stall: what is unknown then would have to be asked again.
        let timing = Timing { profile: Profile::NoisyDisk, ..Timing::default() };
        let settings = Settings { groups: Vec::new(), timing, ..Settings::default() };
        let rules = payments::Settings { id_window_ms: 60_000, evict_after_ms: 0 };
        let cluster = Cluster::with(settings, move || Payments::new(rules.clone())).await;
        let mut house = Self { cluster, ledgers: BTreeMap::new(), parts };
        house.open().await;
        house
    }

    async fn open(&mut self) {
        for node in self.cluster.up() {
            let members = self.cluster.ids();
            let groups = |count| Some(Groups { count, members: members.clone() });
            let config = Config {
                inventory: groups(STOCK_GROUPS),
                payments: groups(1),
                parts: self.parts,
                ..Config::new(Views::Folder(self.cluster.dir(node).join("views")))
            };
            let on = self.cluster.node(node);
            let ledger = Ledger::start(&on.host, &on.env, config).await.expect("it starts");
            if self.parts > 0 {
                self.attach(node, &ledger).await;
            }
            self.ledgers.insert(node, ledger);
        }
        eventually("a leader of each group", || {
            let mut groups: Vec<_> =
                (0..STOCK_GROUPS).map(|n| GroupId::new(GroupKind::Inventory, n)).collect();
            groups.push(GroupId::new(GroupKind::Payments, 0));
            groups.into_iter().all(|group| self.leader(group).is_some())
        })
        .await;
    }

    /// Starts the books of index 0 beside the ledger, which has none of them until then.
    async fn attach(&self, node: NodeId, ledger: &Ledger) {
        let mut client = InventoryServiceClient::new(ledger.routes());
        let early = client.list_stock(call(stock::ListStockRequest::default())).await;
        let early = Failure::from(&early.expect_err("rows are missing")).reason();
        assert_eq!((early, ledger.payments().len()), (Reason::NotLeader, 0));
        let to = tokio::sync::mpsc::channel(1).0;
        let asked = Asked { only: BTreeSet::new(), totals_only: true, to };
        let early = ledger.tell_facts(GroupId::new(GroupKind::Payments, 0), asked, soon()).await;
        assert_eq!(early.err().map(|failure| failure.reason()), Some(Reason::NotLeader));
        let (host, env) = (&self.cluster.node(node).host, &self.cluster.node(node).env);
        let spec = |kind| GroupSpec { id: GroupId::new(kind, 0), members: self.cluster.ids() };
        let (stock, money) = ledger.rules();
        let stock = host.start_group(spec(GroupKind::Inventory), || Inventory::new(stock)).await;
        let money = host.start_group(spec(GroupKind::Payments), || Payments::new(money)).await;
        ledger.attach(env, stock.expect("stock"), money.expect("money")).expect("a view");
    }

    pub async fn stop(mut self) {
        self.ledgers.clear();
        self.cluster.kill_all().await;
    }

    /// All nodes down and up again, without their views if `lose_views`.
    pub async fn restart(&mut self, lose_views: bool) {
        self.ledgers.clear();
        self.cluster.kill_all().await;
        for node in self.cluster.ids() {
            if lose_views {
                std::fs::remove_dir_all(self.cluster.dir(node).join("views")).expect("views");
            }
            self.cluster.boot(node).await;
        }
        self.open().await;
    }

    fn leader(&self, group: GroupId) -> Option<NodeId> {
        let index = usize::from(group.index());
        let leads = |ledger: &Ledger| match group.kind() {
            GroupKind::Inventory => ledger.inventory()[index].leadership().borrow().mine,
            _ => ledger.payments()[index].leadership().borrow().mine,
        };
        self.ledgers.iter().find(|(_, ledger)| leads(ledger)).map(|(node, _)| *node)
    }

    async fn some_leader(&self, group: GroupId) -> NodeId {
        let mut found = None;
        eventually("a leader", || {
            found = self.leader(group);
            found.is_some()
        })
        .await;
        found.expect("just found")
    }

    fn stock_group(sku: &str) -> GroupId {
        let sku = sku.to_uppercase();
        GroupId::new(GroupKind::Inventory, Slot::of(sku.as_bytes()).get() % STOCK_GROUPS)
    }

    pub async fn kill_leader_of_stock(&mut self, sku: &str) {
        let leader = self.some_leader(Self::stock_group(sku)).await;
        self.ledgers.remove(&leader);
        self.cluster.kill(leader).await;
    }

    fn routes(&self, node: NodeId) -> Routes {
        self.ledgers[&node].routes()
    }

    /// What a gateway does: asks whoever leads, and again while nobody does.
    async fn at_leader<T, F>(
        &self,
        group: GroupId,
        mut ask: impl FnMut(Routes) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let end = soon();
        loop {
            assert!(Instant::now() < end, "nobody leads {group}");
            let Some(leader) = self.leader(group) else {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                continue;
            };
            match ask(self.routes(leader)).await {
                Err(status) => match Failure::from(&status).reason() {
                    Reason::NotLeader | Reason::Unavailable => {}
                    _ => return Err(status),
                },
                answer => return answer,
            }
        }
    }

    pub async fn receive(
        &self,
        request_id: &str,
        sku: &str,
        quantity: i64,
    ) -> Result<stock::ReceiveStockResponse, Status> {
        let request = stock::ReceiveStockRequest {
            request_id: request_id.to_owned(),
            sku: sku.to_owned(),
            quantity,
            document: "note 1".to_owned(),
            ..stock::ReceiveStockRequest::default()
        };
        self.at_leader(Self::stock_group(sku), |routes| {
            let request = call(request.clone());
            async move {
                let answer = InventoryServiceClient::new(routes).receive_stock(request).await;
                answer.map(tonic::Response::into_inner)
            }
        })
        .await
    }

    pub async fn adjust(
        &self,
        request_id: &str,
        sku: &str,
        delta: i64,
        expected_on_hand: Option<i64>,
    ) -> Result<stock::AdjustStockResponse, Status> {
        let request = stock::AdjustStockRequest {
            request_id: request_id.to_owned(),
            sku: sku.to_owned(),
            delta,
            reason: "counted".to_owned(),
            expected_on_hand,
            ..stock::AdjustStockRequest::default()
        };
        self.at_leader(Self::stock_group(sku), |routes| {
            let request = call(request.clone());
            async move {
                let answer = InventoryServiceClient::new(routes).adjust_stock(request).await;
                answer.map(tonic::Response::into_inner)
            }
        })
        .await
    }

    pub async fn stock(&self, sku: &str) -> Result<stock::GetStockResponse, Status> {
        let request =
            stock::GetStockRequest { sku: sku.to_owned(), ..stock::GetStockRequest::default() };
        self.at_leader(Self::stock_group(sku), |routes| {
            let request = call(request.clone());
            async move {
                let answer = InventoryServiceClient::new(routes).get_stock(request).await;
                answer.map(tonic::Response::into_inner)
            }
        })
        .await
    }

    pub async fn list_stock(
        &self,
        page_size: i32,
        token: &str,
    ) -> Result<stock::ListStockResponse, Status> {
        let page_token = token.to_owned();
        let defaults = stock::ListStockRequest::default();
        self.list(stock::ListStockRequest { page_size, page_token, ..defaults }).await
    }

    /// Asks the leader of the first group, as a gateway would; the other may be led elsewhere, so
    /// its replica there must first have what was acknowledged.
    pub async fn list(
        &self,
        request: stock::ListStockRequest,
    ) -> Result<stock::ListStockResponse, Status> {
        let hash = |ledger: &Ledger| {
            let groups = ledger.inventory().into_iter();
            groups.map(|group| group.status().state_hash).collect::<Vec<_>>()
        };
        eventually("all replicas at one state", || {
            let all: Vec<_> = self.ledgers.values().map(hash).collect();
            all.windows(2).all(|pair| pair[0] == pair[1])
        })
        .await;
        self.at_leader(GroupId::new(GroupKind::Inventory, 0), |routes| {
            let request = call(request.clone());
            async move {
                let answer = InventoryServiceClient::new(routes).list_stock(request).await;
                answer.map(tonic::Response::into_inner)
            }
        })
        .await
    }

    async fn submit(
        routes: Routes,
        group: GroupId,
        commands: Vec<pb::Command>,
    ) -> Result<pb::SubmitResponse, Status> {
        let group = group.number();
        let batch = pb::SubmitRequest { seq: 7, group, commands, timeout_ms: 5_000 };
        let mut client = LedgerCommandServiceClient::new(routes);
        let mut answers = client.submit(stream::iter([batch])).await?.into_inner();
        let answer = answers.message().await?.expect("an answer");
        assert_eq!(answer.seq, 7);
        assert!(answers.message().await?.is_none(), "the stream ends with its caller's half");
        Ok(answer)
    }

    async fn batch(&self, group: GroupId, commands: Vec<pb::Command>) -> Vec<pb::Outcome> {
        let answer = self.at_leader(group, |routes| {
            let commands = commands.clone();
            async move {
                let answer = Self::submit(routes, group, commands).await?;
                match answer.result {
                    Some(Answer::Outcomes(outcomes)) => Ok(outcomes.outcomes),
                    Some(Answer::Refused(_)) => Err(Reason::NotLeader.into()),
                    None => panic!("an answer without a result"),
                }
            }
        });
        answer.await.expect("outcomes")
    }

    pub async fn stock_batch(&self, commands: Vec<pb::Command>) -> Vec<pb::Outcome> {
        self.batch(Self::stock_group("A"), commands).await
    }

    pub async fn money_batch(&self, commands: Vec<pb::Command>) -> Vec<pb::Outcome> {
        self.batch(GroupId::new(GroupKind::Payments, 0), commands).await
    }

    /// The refusal of a batch by whoever leads.
    pub async fn refused(&self, commands: Vec<pb::Command>) -> pb::Refused {
        let group = GroupId::new(GroupKind::Payments, 0);
        let answer = self.at_leader(group, |routes| {
            let commands = commands.clone();
            async move {
                match Self::submit(routes, group, commands).await?.result {
                    Some(Answer::Refused(refused))
                        if refused.reason() == pb::RefusedReason::NotLeader =>
                    {
                        Err(Reason::NotLeader.into())
                    }
                    Some(Answer::Refused(refused)) => Ok(refused),
                    other => panic!("it was applied: {other:?}"),
                }
            }
        });
        answer.await.expect("a refusal")
    }

    /// What a follower answers, and who leads before and after.
    pub async fn at_a_follower(&self, commands: Vec<pb::Command>) -> (pb::SubmitResponse, NodeId) {
        let group = GroupId::new(GroupKind::Payments, 0);
        let end = soon();
        loop {
            assert!(Instant::now() < end, "nobody leads for long enough");
            let leader = self.some_leader(group).await;
            let follower = self.ledgers.keys().copied().find(|node| *node != leader);
            let follower = follower.expect("a follower");
            let known = *self.ledgers[&follower].payments()[0].leadership().borrow();
            let answer = Self::submit(self.routes(follower), group, commands.clone()).await;
            if known.leader == Some(leader) && self.leader(group) == Some(leader) {
                return (answer.expect("an answer"), leader);
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    pub async fn payment_accounts(&self, n: u64) -> Option<pb::PaymentAccounts> {
        let group = GroupId::new(GroupKind::Payments, 0);
        let payments = vec![id(1_000 + n)];
        let request = pb::GetPaymentAccountsRequest { group: group.number(), payments };
        let answer =
            self.at_leader(group, |routes| {
                let request = call(request.clone());
                async move {
                    LedgerCommandServiceClient::new(routes).get_payment_accounts(request).await
                }
            });
        answer.await.expect("an answer").into_inner().accounts.pop()
    }

    /// `account`: `#n` for payment n, else an account of the house in GBP. Pages of 7.
    pub async fn entries(&self, account: String) -> Result<Vec<pb::Entry>, Status> {
        let group = GroupId::new(GroupKind::Payments, 0);
        let account = match account.strip_prefix('#') {
            Some(n) => {
                let n: u64 = n.parse().expect("a number");
                pb::list_entries_request::Account::Payment(id(1_000 + n))
            }
            None => pb::list_entries_request::Account::Name(account),
        };
        let (mut entries, mut after): (Vec<pb::Entry>, _) = (Vec::new(), 0);
        loop {
            let request = pb::ListEntriesRequest {
                group: group.number(),
                account: Some(account.clone()),
                currency: "GBP".to_owned(),
                after,
                page_size: 7,
            };
            let answer = self.at_leader(group, |routes| {
                let request = call(request.clone());
                async move { LedgerCommandServiceClient::new(routes).list_entries(request).await }
            });
            let page = answer.await?.into_inner();
            after = page.entries.last().map_or(0, |entry| entry.number);
            entries.extend(page.entries);
            if !page.more {
                return Ok(entries);
            }
        }
    }

    pub async fn holds_of_money(&self) -> Vec<pb::Hold> {
        let group = GroupId::new(GroupKind::Payments, 0);
        let request = pb::ListHoldsRequest { group: group.number(), ..Default::default() };
        let answer = self.at_leader(group, |routes| {
            let request = call(request.clone());
            async move { LedgerCommandServiceClient::new(routes).list_holds(request).await }
        });
        answer.await.expect("an answer").into_inner().holds
    }

    /// Every invariant, on every replica.
    pub fn check(&self) {
        for ledger in self.ledgers.values() {
            let checks = ledger.check_invariants(|_| true);
            assert!(!checks.is_empty());
            assert!(checks.iter().all(|check| check.verdict == Verdict::Held), "{checks:?}");
        }
    }
}
