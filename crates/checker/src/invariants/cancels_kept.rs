//! A cancel that was accepted is carried out: the order ends cancelled, or parked for an operator.

use crate::requests::Request;
use crate::seen::OrderState;
use crate::trace::line;
use crate::verdict::Reason;

use super::Settled;

pub fn check(settled: Settled<'_>) -> Vec<Reason> {
    let mut wrong = Vec::new();
    for (order, seen, life) in settled.followed() {
        let cancels = life.map_or(&[][..], |life| &life.cancels);
        let accepted = cancels.iter().find(|cancel| Request::by(cancel).is_some());
        let over =
            matches!(seen.state, OrderState::Cancelled | OrderState::Parked | OrderState::Pending);
        if let Some(cancel) = accepted.filter(|_| !over) {
            let what = format!("its cancel was accepted, and it is {:?}", seen.state);
            wrong.push(Reason::new("cancels kept", order, what).with(vec![line(cancel.first())]));
        }
    }
    wrong
}
