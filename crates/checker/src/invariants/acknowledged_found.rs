//! Invariant 7: An acknowledged order is found, with the acknowledged content, no older than it was
//! seen, and in its region's listing.

use std::collections::BTreeSet;

use crate::life::Life;
use crate::seen::OrderSeen;
use crate::trace::line;
use crate::verdict::Reason;

use super::Settled;

const NAME: &str = "7 acknowledged found";

pub fn check(settled: Settled<'_>) -> Vec<Reason> {
    let listed: BTreeSet<&str> =
        settled.state.listed.iter().map(|listed| listed.order.as_str()).collect();
    let mut wrong = Vec::new();
    for life in settled.lives {
        let (Some(name), Some(newest)) =
            (life.name, life.views.iter().max_by_key(|view| view.seen.version))
        else {
            continue;
        };
        let loss = &settled.state.loss;
        let gone = matches!(settled.state.orders.get(name), None | Some(None));
        if loss.listed(name) && (!gone || loss.may_be_gone(name)) {
            continue;
        }
        let what = match settled.state.orders.get(name) {
            Some(None) => Some("is gone".to_owned()),
            // The harness says in `unread` what it could not ask, or forgot to ask.
            None => settled.state.unread.is_empty().then(|| "was not read at the end".to_owned()),
            Some(Some(found)) => older(found, newest.seen).or_else(|| differs(life, found)),
        };
        let unlisted = !settled.state.listed.is_empty() && !listed.contains(name);
        let what = what.or_else(|| unlisted.then(|| "is in no listing".to_owned()));
        if let Some(what) = what {
            wrong.push(Reason::new(NAME, name, what).with(vec![line(newest.op)]));
        }
    }
    wrong
}

fn older(found: &OrderSeen, seen: &OrderSeen) -> Option<String> {
    (found.version < seen.version)
        .then(|| format!("is at version {}, was seen at {}", found.version, seen.version))
}

fn differs(life: &Life<'_>, found: &OrderSeen) -> Option<String> {
    let first = life.views.first()?.seen;
    let content = |seen: &OrderSeen| {
        let lines = seen.lines.iter().map(|l| (l.line, l.sku.clone(), l.quantity, l.price_minor));
        (seen.reference.clone(), seen.total_minor, lines.collect::<Vec<_>>())
    };
    (content(found) != content(first)).then(|| "has other content than was acknowledged".to_owned())
}
