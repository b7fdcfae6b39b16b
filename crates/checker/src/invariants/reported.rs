//! What the servers find wrong with themselves (CheckInvariants: 1, 2, 3, 4, 6 and whatever is
//! added).

use crate::final_state::{FinalState, Held};
use crate::verdict::Reason;

use super::Settled;

pub fn check(settled: Settled<'_>) -> Vec<Reason> {
    let violated = settled.state.reports.iter().filter(|report| report.held == Held::Violated);
    violated
        .map(|report| {
            let subject = format!("{} {} {}", report.region, report.number, report.name);
            Reason::new("reported", subject, &report.detail)
        })
        .collect()
}

/// Reports that decide nothing.
pub fn unknown(state: &FinalState) -> Vec<String> {
    let unknown = state.reports.iter().filter(|report| report.held == Held::Unknown);
    unknown
        .map(|report| {
            let (region, number, name) = (&report.region, report.number, &report.name);
            format!("{region}: invariant {number} {name}: {}", report.detail)
        })
        .collect()
}
