//! Invariant 5: Every captured cent belongs to an order past stock commit, or is given back; and
//! the provider agrees: it keeps no money of an order that came to nothing, and captured none that
//! it voided.

use crate::final_state::payment_key;
use crate::seen::{OrderSeen, OrderState, PaymentState};
use crate::verdict::Reason;

use super::Settled;

pub fn check(settled: Settled<'_>) -> Vec<Reason> {
    let mut wrong = Vec::new();
    for (order, seen, _) in settled.followed() {
        if let Some(what) = odd(settled, order, seen) {
            wrong.push(Reason::new("5 captured belongs", order, what));
        }
    }
    wrong
}

fn odd(settled: Settled<'_>, order: &str, seen: &OrderSeen) -> Option<String> {
    let money = seen.money?;
    let kept = money.captured - money.refunded;
    let (journal, key) = (&settled.state.journal, payment_key(order));
    let voided = journal.voided.contains(&key);
    let charged = journal.charged.get(&key).copied();
    if voided && kept > 0 {
        return Some(format!("{kept} kept of a payment that the provider voided"));
    }
    match seen.state {
        OrderState::Confirmed | OrderState::Completed => {
            if money.captured != seen.total_minor {
                let (captured, total) = (money.captured, seen.total_minor);
                return Some(format!("confirmed with {captured} of {total} captured"));
            }
            let other = charged.filter(|charged| *charged != money.captured)?;
            Some(format!("captured {}, the provider charged {other}", money.captured))
        }
        OrderState::Rejected | OrderState::Cancelled if kept > 0 => {
            Some(format!("{kept} kept of an order that came to nothing"))
        }
        OrderState::Rejected | OrderState::Cancelled => {
            // While in doubt the key is on watch, and the charge is given up when it shows.
            let over =
                !voided && money.captured == 0 && seen.payment_state != PaymentState::InDoubt;
            let charged = charged.filter(|_| over)?;
            Some(format!("came to nothing, and the provider still holds {charged}"))
        }
        OrderState::Pending | OrderState::Parked => None,
    }
}
