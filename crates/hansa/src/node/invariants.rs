//! The invariants that this node can check: those of the groups that it leads. One replica of each
//! group is enough; that replicas agree is the gateway's part (invariant 9).

use std::collections::BTreeSet;
use std::time::Duration;

use hansa_api::pb::admin::{InvariantReport, Verdict};
use hansa_consensus::{Group, GroupStatus, Role};
use hansa_ledger::Ledger;
use hansa_orders::Orders;
use hansa_orders::crosscheck::{Finding, Verdict as Crossed};
use hansa_shard::invariants;
use hansa_shard::machine::Shard;
use hansa_types::id::GroupId;
use tokio::time::Instant;

use super::agrees;

/// Findings of one group that are worth reading.
const FINDINGS_MAX: usize = 8;
/// Time for asking the ledger's leaders: less than a gateway waits for this node.
const ACROSS_MAX: Duration = Duration::from_secs(4);

pub async fn check(
    statuses: &[GroupStatus],
    ledger: &Ledger,
    orders: Option<&Orders>,
    shards: &[Group<Shard>],
) -> Vec<InvariantReport> {
    let led = statuses.iter().filter(|status| status.role == Role::Leader);
    let led: BTreeSet<GroupId> = led.map(|status| status.group).collect();
    let mut reports = of_ledger(ledger, &led);
    if let Some(orders) = orders {
        reports.extend(of_orders(orders, &led));
        let due = Instant::now() + ACROSS_MAX;
        reports.extend(orders.cross_check(due).await.into_iter().map(across));
    }
    for shard in shards.iter().filter(|shard| led.contains(&shard.id())) {
        reports.extend(of_shard(shard).await);
    }
    reports
}

/// What lies between orders and the books in their own log.
async fn of_shard(shard: &Group<Shard>) -> Vec<InvariantReport> {
    let broken = agrees::look(shard, FINDINGS_MAX).await;
    let wrong = |name: &str| -> Vec<String> {
        let of_this = broken.iter().filter(|broken| broken.name == name);
        of_this.map(|broken| format!("{}: {}", broken.order, broken.what)).collect()
    };
    let all = invariants::ALL.into_iter();
    all.map(|(number, name)| report(shard.id(), number, name, &wrong(name))).collect()
}

fn of_ledger(ledger: &Ledger, led: &BTreeSet<GroupId>) -> Vec<InvariantReport> {
    let checks = ledger.check_invariants(|log| led.contains(&log)).into_iter();
    let report = |check: hansa_ledger::Check| {
        let wrong = match check.verdict {
            hansa_ledger::Verdict::Held => Vec::new(),
            hansa_ledger::Verdict::Violated(found) => found,
        };
        report(check.group, u32::from(check.number), check.name, &wrong)
    };
    checks.map(report).collect()
}

fn of_orders(orders: &Orders, led: &BTreeSet<GroupId>) -> Vec<InvariantReport> {
    let mut reports = Vec::new();
    for (group, violations) in orders.invariants(FINDINGS_MAX) {
        if !led.contains(&group) {
            continue;
        }
        for (number, name) in Orders::invariant_names() {
            let of_this = violations.iter().filter(|violation| violation.name == name);
            let wrong: Vec<String> = of_this
                .map(|violation| match violation.order {
                    Some(order) => format!("{order}: {}", violation.detail),
                    None => violation.detail.clone(),
                })
                .collect();
            reports.push(report(group, number, name, &wrong));
        }
    }
    reports
}

fn across(finding: Finding) -> InvariantReport {
    let (group, number, name) = (finding.group, finding.rule.number(), finding.rule.name());
    match finding.verdict {
        Crossed::Held => report(group, number, name, &[]),
        Crossed::Violated(wrong) => report(group, number, name, &wrong),
        Crossed::Unknown(why) => InvariantReport {
            verdict: Verdict::Unknown.into(),
            detail: why,
            ..report(group, number, name, &[])
        },
    }
}

fn report(group: GroupId, number: u32, name: &str, wrong: &[String]) -> InvariantReport {
    let verdict = if wrong.is_empty() { Verdict::Held } else { Verdict::Violated };
    InvariantReport {
        number,
        name: name.to_owned(),
        verdict: verdict.into(),
        detail: wrong.join("; "),
        group: group.number(),
    }
}
