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
/// Time for what is looked through in pages, and for asking the ledger's leaders: less than a
/// gateway waits for this node.
const ACROSS_MAX: Duration = Duration::from_secs(4);

pub async fn check(
    statuses: &[GroupStatus],
    ledger: &Ledger,
    orders: Option<&Orders>,
    shards: &[Group<Shard>],
) -> Vec<InvariantReport> {
    let led = statuses.iter().filter(|status| status.role == Role::Leader);
    let led: BTreeSet<GroupId> = led.map(|status| status.group).collect();
    let due = Instant::now() + ACROSS_MAX;
    let mut reports = of_ledger(ledger, &led);
    for shard in shards.iter().filter(|shard| led.contains(&shard.id())) {
        reports.extend(of_shard(shard, due).await);
    }
    if let Some(orders) = orders {
        reports.extend(of_orders(orders, &led));
        reports.extend(orders.cross_check(due).await.into_iter().map(across));
    }
    reports
}

/// What lies between orders and the books in their own log.
async fn of_shard(shard: &Group<Shard>, due: Instant) -> Vec<InvariantReport> {
    let seen = agrees::look(shard, FINDINGS_MAX, due).await;
    let told = |(number, name): (u32, &str)| {
        let of_this = seen.broken.iter().filter(|broken| broken.name == name);
        let wrong = of_this.map(|broken| format!("{}: {}", broken.order, broken.what));
        let wrong: Vec<String> = wrong.collect();
        match seen.whole || !wrong.is_empty() {
            true => report(shard.id(), number, name, &wrong),
            false => unknown(shard.id(), number, name, "not all was looked at in time".to_owned()),
        }
    };
    invariants::ALL.into_iter().map(told).collect()
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
        Crossed::Unknown(why) => unknown(group, number, name, why),
    }
}

fn unknown(group: GroupId, number: u32, name: &str, detail: String) -> InvariantReport {
    let verdict = Verdict::Unknown.into();
    InvariantReport { verdict, detail, ..report(group, number, name, &[]) }
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
