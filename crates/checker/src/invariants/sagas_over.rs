//! Progress: once the faults have healed, every order comes to an end, or is parked for an
//! operator.

use crate::seen::OrderState;
use crate::verdict::Reason;

use super::Settled;

pub fn check(settled: Settled<'_>) -> Vec<Reason> {
    let pending = settled.orders().filter(|(_, seen, _)| seen.state == OrderState::Pending);
    pending
        .map(|(order, seen, _)| {
            let what = format!("still pending at version {}: {:?}", seen.version, seen.fulfillment);
            Reason::new("sagas over", order, what)
        })
        .collect()
}
