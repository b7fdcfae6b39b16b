//! No hold runs out before its time: a group's time is at most a tenth faster than the world's
//! (domain.md §1), so an order rejected over its stock hold is at least that old.

use crate::seen::RejectReason;
use crate::trace::line;
use crate::verdict::Reason;

use super::Settled;

/// Of the hold's time: monotonic clocks are tried at one and a half times their speed, and slewed
/// by a tenth beyond that.
const SHARE_PERCENT: u64 = 50;

pub fn check(settled: Settled<'_>) -> Vec<Reason> {
    let least = settled.state.hold_ms * 1_000_000 / 100 * SHARE_PERCENT;
    let mut wrong = Vec::new();
    for life in settled.lives.iter().filter(|life| life.place.is_some()) {
        let expired = life.views.iter().find(|view| {
            let why = view.seen.rejected.as_ref().map(|why| why.reason);
            why == Some(RejectReason::HoldExpired)
        });
        let Some(view) = expired.filter(|view| view.at.saturating_sub(life.from) < least) else {
            continue;
        };
        let name = life.name.unwrap_or_default();
        let what = "its stock hold ran out before its time";
        wrong.push(Reason::new("no early expiry", name, what).with(vec![line(view.op)]));
    }
    wrong
}
