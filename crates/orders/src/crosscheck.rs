//! Invariants that lie between orders and the ledger: what the books hold must belong to an order
//! here, and the money facts of an order must be those of its books.
//!
//! Groups have no common moment, so what looks wrong is looked at again: only what is wrong both
//! times is reported.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hansa_api::convert::id::{order_from_bytes, transfer_from_bytes, transfer_to_bytes};
use hansa_api::facts::BREATH;
use hansa_api::pb::ledger as books;
use hansa_api::status::Failure;
use hansa_region_router::core::directory::Snapshot;
use hansa_types::id::{GroupId, GroupKind, OrderId, TransferId};
use tokio::time::Instant;

use crate::core::order::{Goal, Order};
use crate::core::state::State;
use crate::shell::{Hosted, Shell, ledger};

/// Between the two looks.
const PAUSE: Duration = Duration::from_millis(300);
/// Payments, or holds, asked about at once.
const PAGE_MAX: usize = 1_000;
/// What is looked at a second time.
const SUSPECTS_MAX: usize = 10_000;
const FINDINGS_MAX: usize = 10;

/// A check across groups.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rule {
    /// 6: each live hold names an order that is not closed.
    HoldsBelong,
    /// 5: what is captured and refunded in the books is what the order says.
    MoneyAgrees,
}

impl Rule {
    pub const ALL: [Self; 2] = [Self::HoldsBelong, Self::MoneyAgrees];

    /// The number in domain.md §7.
    pub fn number(self) -> u32 {
        match self {
            Self::HoldsBelong => 6,
            Self::MoneyAgrees => 5,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::HoldsBelong => "ledger-holds-belong-to-open-orders",
            Self::MoneyAgrees => "ledger-money-agrees-with-orders",
        }
    }
}

/// What came of a rule in one orders group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub group: GroupId,
    pub rule: Rule,
    pub verdict: Verdict,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Held,
    /// What is wrong, and where.
    Violated(Vec<String>),
    /// The ledger could not be asked.
    Unknown(String),
}

/// One thing that looks wrong; equal both times when it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Suspect {
    order: OrderId,
    what: String,
    /// Of the books.
    group: GroupId,
    /// `None` for an order's money.
    hold: Option<TransferId>,
}

/// What a look over everything came to.
#[derive(Default)]
struct Suspects {
    found: BTreeSet<Suspect>,
    /// More look wrong than are looked at again.
    more: bool,
}

impl Suspects {
    fn add(&mut self, suspects: impl IntoIterator<Item = Suspect>) {
        for suspect in suspects {
            match self.found.len() < SUSPECTS_MAX {
                true => drop(self.found.insert(suspect)),
                false => self.more = true,
            }
        }
    }
}

/// Checks the groups that this node leads.
pub async fn run(shell: &Shell, due: Instant) -> Vec<Finding> {
    let mut findings = Vec::new();
    for hosted in shell.groups.values() {
        if !hosted.group.leadership().borrow().mine {
            continue;
        }
        for rule in Rule::ALL {
            let look = Look { shell, hosted, due };
            let verdict =
                look.twice(rule).await.unwrap_or_else(|why| Verdict::Unknown(why.to_string()));
            findings.push(Finding { group: hosted.group.id(), rule, verdict });
        }
    }
    findings
}

/// Looks at one orders group and the books.
struct Look<'a> {
    shell: &'a Shell,
    hosted: &'a Arc<Hosted>,
    due: Instant,
}

impl Look<'_> {
    /// Everything once, and what looks wrong a second time, by its key.
    async fn twice(&self, rule: Rule) -> Result<Verdict, Failure> {
        let first = match rule {
            Rule::HoldsBelong => self.holds().await?,
            Rule::MoneyAgrees => self.money().await?,
        };
        if first.found.is_empty() {
            return Ok(Verdict::Held);
        }
        tokio::time::sleep(PAUSE).await;
        let second = match rule {
            Rule::HoldsBelong => self.holds_again(&first.found).await?,
            Rule::MoneyAgrees => self.money_again(&first.found).await?,
        };
        let both = first.found.intersection(&second).take(FINDINGS_MAX);
        let both: Vec<String> =
            both.map(|Suspect { order, what, .. }| format!("{order}: {what}")).collect();
        Ok(match (both.is_empty(), first.more) {
            (false, _) => Verdict::Violated(both),
            (true, false) => Verdict::Held,
            (true, true) => {
                Verdict::Unknown(format!("more than {SUSPECTS_MAX} looked wrong at once"))
            }
        })
    }

    async fn holds(&self) -> Result<Suspects, Failure> {
        let now = self.shell.map.now()?;
        let kinds = [GroupKind::Inventory, GroupKind::Payments];
        let mut suspects = Suspects::default();
        for group in now.groups.keys().filter(|group| kinds.contains(&group.kind())) {
            let mut after_id = bytes::Bytes::new();
            loop {
                let page_size = PAGE_MAX as u32;
                let page = self.list(*group, after_id, page_size, Vec::new()).await?;
                suspects.add(self.wrong(&now, *group, &page.holds));
                match page.holds.last() {
                    Some(last) if page.more => after_id = last.id.clone(),
                    _ => break,
                }
            }
        }
        Ok(suspects)
    }

    async fn holds_again(&self, first: &BTreeSet<Suspect>) -> Result<BTreeSet<Suspect>, Failure> {
        let now = self.shell.map.now()?;
        let mut by_group = BTreeMap::<GroupId, Vec<bytes::Bytes>>::new();
        for suspect in first {
            let ids = by_group.entry(suspect.group).or_default();
            ids.extend(suspect.hold.map(transfer_to_bytes));
        }
        let mut found = BTreeSet::new();
        for (group, ids) in by_group {
            for ids in ids.chunks(PAGE_MAX) {
                let page = self.list(group, bytes::Bytes::new(), 0, ids.to_vec()).await?;
                found.extend(self.wrong(&now, group, &page.holds));
            }
        }
        Ok(found)
    }

    async fn list(
        &self,
        group: GroupId,
        after_id: bytes::Bytes,
        page_size: u32,
        ids: Vec<bytes::Bytes>,
    ) -> Result<books::ListHoldsResponse, Failure> {
        let question = books::ListHoldsRequest { group: group.number(), after_id, page_size, ids };
        let list = |mut client: ledger::Client, ask| async move { client.list_holds(ask).await };
        ledger::ask(self.shell, group, question, self.due, list).await
    }

    /// What is wrong with these holds, as far as they are of this group's orders, wherever those
    /// were born.
    fn wrong(&self, now: &Snapshot, group: GroupId, holds: &[books::Hold]) -> Vec<Suspect> {
        let mine = |id: OrderId| now.group(GroupKind::Orders, id.slot()) == self.hosted.group.id();
        let named = holds.iter().filter_map(|hold| {
            let order = order_from_bytes(&hold.order).ok().filter(|order| mine(*order))?;
            let id = transfer_from_bytes(&hold.id).ok()?;
            // A stock hold has an expiry until it is committed.
            let committed = hold.kind() == books::HoldKind::Stock && hold.expires_ms == 0;
            Some((order, id, committed))
        });
        let named: Vec<_> = named.collect();
        self.hosted.group.peek(|machine| {
            let suspect = |(order, id, committed)| {
                let what = wrong_hold(&machine.state, order, id, committed)?;
                let what = format!("{what} in {group}");
                Some(Suspect { order, what, group, hold: Some(id) })
            };
            named.into_iter().filter_map(suspect).collect()
        })
    }

    /// Frozen, and walked through without the group's lock.
    async fn money(&self) -> Result<Suspects, Failure> {
        let orders = self.hosted.group.peek(|machine| machine.state.orders.freeze());
        let (mut suspects, mut some) = (Suspects::default(), Vec::new());
        for slot in 0..orders.slots() {
            some.extend(orders.at(slot).filter(|(_, order)| settled(order)).map(|(id, _)| *id));
            if slot % BREATH == BREATH - 1 {
                tokio::task::yield_now().await;
            }
            if some.len() == PAGE_MAX {
                suspects.add(self.differing(&std::mem::take(&mut some)).await?);
            }
        }
        suspects.add(self.differing(&some).await?);
        Ok(suspects)
    }

    async fn money_again(&self, first: &BTreeSet<Suspect>) -> Result<BTreeSet<Suspect>, Failure> {
        let (ids, mut found): (Vec<_>, _) =
            (first.iter().map(|suspect| suspect.order).collect(), BTreeSet::new());
        for ids in ids.chunks(PAGE_MAX) {
            found.extend(self.differing(ids).await?);
        }
        Ok(found)
    }

    /// Those of these orders whose money is not what the books say.
    async fn differing(&self, ids: &[OrderId]) -> Result<Vec<Suspect>, Failure> {
        let mut by_group = BTreeMap::<u16, Vec<Money>>::new();
        self.hosted.group.peek(|machine| {
            let state = &machine.state;
            for id in ids {
                let order = state.orders.get(id).filter(|order| settled(order));
                let Some((order, contents)) = order.zip(state.contents.get(id)) else { continue };
                let Some(payment) = order.money.payment else { continue };
                let facts = (*id, payment, order.money.captured_minor, order.money.refunded_minor);
                by_group.entry(contents.payment_group).or_default().push(facts);
            }
        });
        let mut found = Vec::new();
        for (index, facts) in by_group {
            let group = GroupId::new(GroupKind::Payments, index);
            let payments = facts.iter().map(|(_, id, ..)| transfer_to_bytes(*id)).collect();
            let question = books::GetPaymentAccountsRequest { group: group.number(), payments };
            let get = |mut client: ledger::Client, ask| async move {
                client.get_payment_accounts(ask).await
            };
            let answer: books::GetPaymentAccountsResponse =
                ledger::ask(self.shell, group, question, self.due, get).await?;
            let by_id: BTreeMap<_, _> =
                answer.accounts.iter().map(|account| (&account.payment, account)).collect();
            found.extend(facts.iter().filter_map(|facts| {
                differs(group, facts, by_id.get(&transfer_to_bytes(facts.1)).copied())
            }));
        }
        Ok(found)
    }
}

/// Has money in the books, and nothing on its way.
fn settled(order: &Order) -> bool {
    order.work.is_empty() && order.parked.is_none() && order.money.payment.is_some()
}

/// What is wrong with a live hold of this id, or with committed goods, if anything.
fn wrong_hold(state: &State, id: OrderId, hold: TransferId, committed: bool) -> Option<String> {
    let Some(order) = state.orders.get(&id) else {
        // Its copy waits to be adopted.
        if state.waits(id) {
            return None;
        }
        return Some(format!("hold {hold} of an order that does not exist"));
    };
    // Committed goods of a confirmed order wait for their shipment.
    if committed && matches!(order.goal, Goal::Confirm) {
        return None;
    }
    // Lines of a stock hold have ids of their own, derived from the hold's: the order decides.
    (order.closed() && order.parked.is_none()).then(|| format!("hold {hold} of a closed order"))
}

/// An order's money as it stands when nothing is on its way.
type Money = (OrderId, TransferId, i64, i64);

fn differs(
    group: GroupId,
    facts: &Money,
    found: Option<&books::PaymentAccounts>,
) -> Option<Suspect> {
    let (order, _, captured, refunded) = *facts;
    let (in_books, paid_back) =
        found.map_or((0, 0), |account| (account.captured_minor, account.refunded_minor));
    let agrees = (in_books, paid_back) == (captured, refunded);
    (!agrees).then(|| {
        let what = format!(
            "captured {captured}, refunded {refunded}; the books say {in_books} and {paid_back}"
        );
        Suspect { order, what, group, hold: None }
    })
}
