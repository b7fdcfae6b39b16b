//! Progress: once the faults have healed, every order comes to an end, or is parked for an
//! operator.

use crate::seen::OrderState;
use crate::verdict::Reason;

use super::Settled;

pub fn check(settled: Settled<'_>) -> Vec<Reason> {
    // What nobody goes on with is left as it was.
    let left = |name: &str| settled.state.loss.may_be_gone(name);
    let pending =
        settled.orders().filter(|(name, seen, _)| seen.state == OrderState::Pending && !left(name));
    pending
        .map(|(order, seen, _)| {
            let what = format!("still pending at version {}: {:?}", seen.version, seen.fulfillment);
            Reason::new("sagas over", order, what)
        })
        .collect()
}
