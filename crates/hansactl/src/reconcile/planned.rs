//! A plan as a table: what whoever approves it says yes to.

use std::collections::BTreeMap;

use hansa_api::pb::admin::repair::Action;
use hansa_api::pb::admin::{PlanEntry, ReconcilePlan};
use hansa_api::pb::node::TailAction;

use super::show::{class, priced};
use crate::output::Rows;
use crate::values::short;

pub fn rows(plan: &ReconcilePlan) -> Rows {
    let header =
        ["entry", "class", "about", "here", "there", "amount", "what becomes of it", "why"];
    let mut rows = Rows::new(&header, "nothing");
    for entry in &plan.entries {
        let found = entry.difference.clone().unwrap_or_default();
        let says = |side: &Option<hansa_api::pb::admin::FactSide>| {
            side.as_ref().map_or_else(|| "-".to_owned(), |side| side.says.clone())
        };
        rows.add([
            entry.number.to_string(),
            class(&found),
            if found.order.is_empty() { found.subject.clone() } else { found.order.clone() },
            says(&found.left),
            says(&found.right),
            priced(found.amount_minor, &found.currency),
            what(entry),
            entry.why.clone(),
        ]);
    }
    rows
}

/// Counts and sums by what is done, and by currency.
pub fn sums(plan: &ReconcilePlan) -> Vec<String> {
    let mut sums: BTreeMap<(String, String), (u64, i64)> = BTreeMap::new();
    for entry in plan.entries.iter().filter(|entry| entry.repair.is_some()) {
        let found = entry.difference.clone().unwrap_or_default();
        let (count, sum) = sums.entry((verb(entry), found.currency)).or_default();
        (*count, *sum) = (*count + 1, sum.saturating_add(found.amount_minor));
    }
    let line = |((verb, currency), (count, sum)): ((String, String), (u64, i64))| {
        let amount = if currency.is_empty() { String::new() } else { priced(sum, &currency) };
        format!("{count} x {verb} {amount}").trim_end().to_owned()
    };
    sums.into_iter().map(line).collect()
}

pub fn decision(action: TailAction) -> String {
    match action {
        TailAction::Unspecified => "yours to say".to_owned(),
        _ => short(action.as_str_name(), "TAIL_ACTION_").to_lowercase(),
    }
}

fn verb(entry: &PlanEntry) -> String {
    let action = entry.repair.as_ref().and_then(|repair| repair.action.as_ref());
    let verb = match action {
        None => "nothing: for a person",
        Some(Action::ReleaseStock(_)) => "release a stock hold",
        Some(Action::VoidMoney(_)) => "void a money hold",
        Some(Action::RefundCapture(_)) => "refund",
        Some(Action::CancelCharge(_)) => "cancel a charge",
        Some(Action::ResumeOrder(_)) => "resume the order",
        Some(Action::RebookStock(_)) => "rebook stock",
        Some(Action::ReshipCopy(_)) => "ship the copy again",
        Some(Action::DecideTail(decide)) => return decision(decide.action()),
    };
    verb.to_owned()
}

/// The verb with what it is done to.
fn what(entry: &PlanEntry) -> String {
    let verb = verb(entry);
    match entry.repair.as_ref().and_then(|repair| repair.action.as_ref()) {
        Some(Action::RefundCapture(it)) => {
            format!("{verb} {}", priced(it.amount_minor, &it.currency))
        }
        Some(Action::RebookStock(it)) => format!("{verb}: {:+} of {}", it.delta, it.sku),
        Some(Action::ReshipCopy(it)) => format!("{verb} to {}", it.peer),
        _ => verb,
    }
}

#[cfg(test)]
mod tests {
    use hansa_api::pb::admin::{DecideTail, FoundDifference, Repair};

    use super::*;

    #[test]
    fn who_approves_sees_how_much_of_what_is_done() {
        let entry = |action: TailAction, amount_minor| PlanEntry {
            difference: Some(FoundDifference {
                amount_minor,
                currency: "EUR".into(),
                ..FoundDifference::default()
            }),
            repair: Some(Repair {
                action: Some(Action::DecideTail(DecideTail { action: action.into() })),
            }),
            ..PlanEntry::default()
        };
        let entries = vec![
            entry(TailAction::Compensate, 700),
            entry(TailAction::Discard, 0),
            entry(TailAction::Compensate, 50),
        ];
        let said = sums(&ReconcilePlan { entries, ..ReconcilePlan::default() });
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("2 x compensate") && said[0].contains("7.50"), "{said:?}");
    }
}
