//! Invariants that lie between orders and the ledger: what the books hold must belong to an order
//! here, and the money facts of an order must be those of its books.
//!
//! Groups have no common moment, so what looks wrong is looked at again: only what is wrong both
//! times is reported.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::convert::id::{order_from_bytes, transfer_from_bytes, transfer_to_bytes};
use hansa_api::pb::ledger as books;
use hansa_api::status::Failure;
use hansa_types::id::{GroupId, GroupKind, OrderId, TransferId};
use tokio::time::Instant;

use crate::core::order::Goal;
use crate::core::state::State;
use crate::shell::{Hosted, Shell, ledger};

/// Between the two looks.
const PAUSE: Duration = Duration::from_millis(300);
/// Payments asked about at once.
const PAYMENTS_MAX: usize = 500;
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
type Suspect = (OrderId, String);

/// Checks the groups that this node leads.
pub async fn run(shell: &Shell, due: Instant) -> Vec<Finding> {
    let mut findings = Vec::new();
    for hosted in shell.groups.values() {
        if !hosted.group.leadership().borrow().mine {
            continue;
        }
        for rule in Rule::ALL {
            let verdict = twice(shell, hosted, rule, due).await;
            findings.push(Finding { group: hosted.group.id(), rule, verdict });
        }
    }
    findings
}

async fn twice(shell: &Shell, hosted: &Arc<Hosted>, rule: Rule, due: Instant) -> Verdict {
    let first = match look(shell, hosted, rule, due).await {
        Ok(none) if none.is_empty() => return Verdict::Held,
        Ok(first) => first,
        Err(failure) => return Verdict::Unknown(failure.to_string()),
    };
    tokio::time::sleep(PAUSE).await;
    match look(shell, hosted, rule, due).await {
        Ok(second) => {
            let both = first.intersection(&second).take(FINDINGS_MAX);
            let both: Vec<String> = both.map(|(order, what)| format!("{order}: {what}")).collect();
            if both.is_empty() { Verdict::Held } else { Verdict::Violated(both) }
        }
        Err(failure) => Verdict::Unknown(failure.to_string()),
    }
}

async fn look(
    shell: &Shell,
    hosted: &Arc<Hosted>,
    rule: Rule,
    due: Instant,
) -> Result<BTreeSet<Suspect>, Failure> {
    match rule {
        Rule::HoldsBelong => holds(shell, hosted, due).await,
        Rule::MoneyAgrees => money(shell, hosted, due).await,
    }
}

async fn holds(
    shell: &Shell,
    hosted: &Arc<Hosted>,
    due: Instant,
) -> Result<BTreeSet<Suspect>, Failure> {
    let now = shell.map.now()?;
    let mine = |id: OrderId| {
        let owned = hosted.group.peek(|machine| machine.state.owned(id.region()).is_some());
        owned && now.group(GroupKind::Orders, id.slot()) == hosted.group.id()
    };
    let kinds = [GroupKind::Inventory, GroupKind::Payments];
    let mut suspects = BTreeSet::new();
    for group in now.groups.keys().filter(|group| kinds.contains(&group.kind())) {
        let mut after_id = bytes::Bytes::new();
        loop {
            let question =
                books::ListHoldsRequest { group: group.number(), after_id, page_size: 1_000 };
            let list =
                |mut client: ledger::Client, ask| async move { client.list_holds(ask).await };
            let page: books::ListHoldsResponse =
                ledger::ask(shell, *group, question, due, list).await?;
            for hold in &page.holds {
                let (Ok(order), Ok(id)) =
                    (order_from_bytes(&hold.order), transfer_from_bytes(&hold.id))
                else {
                    continue;
                };
                if mine(order) {
                    // A stock hold has an expiry until it is committed.
                    let committed = hold.kind() == books::HoldKind::Stock && hold.expires_ms == 0;
                    let wrong = hosted
                        .group
                        .peek(|machine| wrong_hold(&machine.state, order, id, committed));
                    suspects.extend(wrong.map(|what| (order, format!("{what} in {group}"))));
                }
            }
            match page.holds.last() {
                Some(last) if page.more => after_id = last.id.clone(),
                _ => break,
            }
        }
    }
    Ok(suspects)
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

async fn money(
    shell: &Shell,
    hosted: &Arc<Hosted>,
    due: Instant,
) -> Result<BTreeSet<Suspect>, Failure> {
    let mut suspects = BTreeSet::new();
    let mut by_group = std::collections::BTreeMap::<u16, Vec<Money>>::new();
    hosted.group.peek(|machine| {
        let state = &machine.state;
        for (id, order) in state.orders.iter() {
            let own = state.is_own(*id, order);
            let idle = own && order.work.is_empty() && order.parked.is_none();
            let (Some(payment), true) = (order.money.payment, idle) else { continue };
            let Some(contents) = state.contents.get(id) else { continue };
            let facts = (*id, payment, order.money.captured_minor, order.money.refunded_minor);
            by_group.entry(contents.payment_group).or_default().push(facts);
        }
    });
    for (index, facts) in by_group {
        let group = GroupId::new(GroupKind::Payments, index);
        for chunk in facts.chunks(PAYMENTS_MAX) {
            let payments = chunk.iter().map(|(_, id, ..)| transfer_to_bytes(*id)).collect();
            let question = books::GetPaymentAccountsRequest { group: group.number(), payments };
            let get = |mut client: ledger::Client, ask| async move {
                client.get_payment_accounts(ask).await
            };
            let answer: books::GetPaymentAccountsResponse =
                ledger::ask(shell, group, question, due, get).await?;
            suspects.extend(chunk.iter().filter_map(|facts| differs(facts, &answer.accounts)));
        }
    }
    Ok(suspects)
}

fn differs(facts: &Money, accounts: &[books::PaymentAccounts]) -> Option<Suspect> {
    let (order, payment, captured, refunded) = *facts;
    let bytes = transfer_to_bytes(payment);
    let found = accounts.iter().find(|account| account.payment == bytes);
    let (in_books, paid_back) =
        found.map_or((0, 0), |account| (account.captured_minor, account.refunded_minor));
    let agrees = (in_books, paid_back) == (captured, refunded);
    (!agrees).then(|| {
        let what = format!(
            "captured {captured}, refunded {refunded}; the books say {in_books} and {paid_back}"
        );
        (order, what)
    })
}
