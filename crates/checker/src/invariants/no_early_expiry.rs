//! No hold runs out before its time: a group's time is at most a tenth faster than the monotonic
//! clocks of its leaders (domain.md §1), so an order rejected over its stock hold is at least that
//! old, whatever wall clocks do.

use crate::judge::JUDGE;
use crate::seen::RejectReason;
use crate::trace::line;
use crate::verdict::Reason;

use super::Settled;

/// A leader slews by a tenth at most; between two leaders time stands still. Monotonic clocks are
/// right, unless the harness says that it made one run fast.
const SLEW_PERMILLE: u64 = 1_100;
/// Log time is whole milliseconds, at the beginning and at the end.
const ROUNDING_NS: u64 = 2_000_000;

pub fn check(settled: Settled<'_>) -> Vec<Reason> {
    let fastest = settled.state.clock_permille.max(1_000) * SLEW_PERMILLE;
    let least =
        (settled.state.hold_ms * 1_000_000 * 1_000 / fastest * 1_000).saturating_sub(ROUNDING_NS);
    let mut wrong = Vec::new();
    for life in settled.lives.iter().filter(|life| life.place.is_some()) {
        let expired = life.views.iter().find(|view| {
            // The first to see it; when the judge read is known only if it says so.
            if view.op.client == JUDGE && settled.state.read_at == 0 {
                return false;
            }
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
