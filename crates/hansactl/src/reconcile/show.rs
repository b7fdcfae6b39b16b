//! Differences as a table.

use std::process::ExitCode;

use hansa_api::pb::admin as pb;
use hansa_types::money::{Currency, Money};

use super::scan::Outcome;
use crate::args::Format;
use crate::connect::Session;
use crate::error::{NO_ANSWER, Problem, WRONG};
use crate::output::{self, Rows};
use crate::values::{amount, dash, short};

pub fn class(found: &pb::FoundDifference) -> String {
    let name = short(found.class().as_str_name(), "DIFFERENCE_CLASS_");
    name.to_lowercase().replace('_', " ")
}

pub fn priced(minor: i64, currency: &str) -> String {
    match currency.parse::<Currency>() {
        Ok(code) => amount(Some(&Money::new(minor, code).into())),
        Err(_) => "-".to_owned(),
    }
}

pub fn rows(report: &pb::ReconcileReport) -> Rows {
    let header = ["class", "order", "subject", "amount", "units", "says", "but"];
    let mut rows = Rows::new(&header, "");
    for found in &report.differences {
        let side = |side: &Option<pb::FactSide>| {
            side.as_ref().map_or_else(
                || "-".to_owned(),
                |side| {
                    let at =
                        if side.index > 0 { format!("@{}", side.index) } else { String::new() };
                    format!("{}{at}: {}", side.source, side.says)
                },
            )
        };
        rows.add([
            class(found),
            dash(&found.order),
            found.subject.clone(),
            priced(found.amount_minor, &found.currency),
            found.units.to_string(),
            side(&found.left),
            side(&found.right),
        ]);
    }
    rows
}

/// Prints what was found, its sums on stderr, and says how it ended.
pub fn outcome(session: &Session, outcome: &Outcome) -> Result<ExitCode, Problem> {
    let report = &outcome.report;
    output::print(session.format, "hansa.admin.v1.ReconcileReport", report, rows)?;
    if session.format != Format::Json {
        summary(report);
    }
    Ok(ExitCode::from(code(outcome)))
}

/// What could not be read is never clean, and what was found then is not all.
pub fn code(outcome: &Outcome) -> u8 {
    match (outcome.complete(), outcome.entries.is_empty()) {
        (false, _) => NO_ANSWER,
        (true, false) => WRONG,
        (true, true) => 0,
    }
}

fn summary(report: &pb::ReconcileReport) {
    for total in &report.totals {
        let class = short(total.class().as_str_name(), "DIFFERENCE_CLASS_").to_lowercase();
        let class = class.replace('_', " ");
        let amount = match total.currency.is_empty() {
            true => format!("{} units", total.units),
            false => priced(total.amount_minor, &total.currency),
        };
        eprintln!("{} x {class}: {amount}", total.count);
    }
    for why in &report.not_read {
        eprintln!("not read: {why}");
    }
    for what in &report.unsettled {
        eprintln!("not settled: {what}");
    }
    let figures = report.figures.unwrap_or_default();
    eprintln!(
        "{} orders, {} stock holds, {} payments, {} keys of the provider; {} bytes in {} ms",
        figures.orders,
        figures.holds,
        figures.payments,
        figures.statement_keys,
        figures.bytes,
        figures.elapsed_ms
    );
    if figures.not_covered > 0 {
        eprintln!("{} keys lie outside of what the statement covers", figures.not_covered);
    }
    if report.not_read.is_empty() && report.unsettled.is_empty() && report.differences.is_empty() {
        eprintln!("clean");
    }
}
