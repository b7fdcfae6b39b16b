//! What the league answered, and whether that is what the plan says.

use hansa_api::pb::order::{OrderState, RejectReason, Rejection};

use crate::replay::core::plan::{Expect, Outcome};

/// What came of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    Shipped,
    Cancelled,
    Rejected(Rejection),
    /// Neither of these, in the end: parked, or still pending.
    Stuck(OrderState),
    Returned {
        matched: u64,
        unmatched: u64,
    },
    Adjusted,
    /// The call was refused, by reason.
    Refused(String),
}

/// Compares; `Err` says both sides in words.
pub fn check(expected: &Outcome, found: &Found) -> Result<(), (String, String)> {
    let fine = match (expected, found) {
        (Outcome::Order(Expect::Shipped), Found::Shipped)
        | (Outcome::Order(Expect::Cancelled), Found::Cancelled)
        | (Outcome::Adjust { taken: true }, Found::Adjusted) => true,
        (Outcome::Adjust { taken: false }, Found::Refused(reason)) => reason == "STOCK_TOO_LOW",
        (Outcome::Order(Expect::Declined), Found::Rejected(rejection)) => {
            rejection.reason() == RejectReason::PaymentDeclined
        }
        (Outcome::Order(Expect::OutOfStock(short)), Found::Rejected(rejection)) => {
            rejection.reason() == RejectReason::OutOfStock
                && short.get(&rejection.sku) == Some(&rejection.available_quantity)
        }
        (
            Outcome::Return { matched, unmatched },
            Found::Returned { matched: found_matched, unmatched: found_unmatched },
        ) => (matched, unmatched) == (found_matched, found_unmatched),
        _ => false,
    };
    if fine { Ok(()) } else { Err((expected_text(expected), found_text(found))) }
}

fn expected_text(expected: &Outcome) -> String {
    match expected {
        Outcome::Order(Expect::Shipped) => "confirmed and shipped".to_owned(),
        Outcome::Order(Expect::Cancelled) => "confirmed, then cancelled".to_owned(),
        Outcome::Order(Expect::Declined) => "PAYMENT_DECLINED".to_owned(),
        Outcome::Order(Expect::OutOfStock(short)) => {
            let short: Vec<_> =
                short.iter().map(|(sku, left)| format!("{sku} has {left}")).collect();
            format!("OUT_OF_STOCK ({})", short.join(", "))
        }
        Outcome::Return { matched, unmatched } => {
            format!("{matched} rows returned, {unmatched} without a purchase")
        }
        Outcome::Adjust { taken: true } => "stock corrected".to_owned(),
        Outcome::Adjust { taken: false } => "STOCK_TOO_LOW".to_owned(),
    }
}

fn found_text(found: &Found) -> String {
    match found {
        Found::Shipped => "confirmed and shipped".to_owned(),
        Found::Cancelled => "cancelled".to_owned(),
        Found::Rejected(rejection) => {
            let (sku, left) = (&rejection.sku, rejection.available_quantity);
            format!("{} ({sku} has {left})", reject_reason(rejection))
        }
        Found::Stuck(state) => state.as_str_name().to_owned(),
        Found::Returned { matched, unmatched } => {
            format!("{matched} rows returned, {unmatched} without a purchase")
        }
        Found::Adjusted => "stock corrected".to_owned(),
        Found::Refused(reason) => format!("refused: {reason}"),
    }
}

/// `REJECT_REASON_OUT_OF_STOCK` as `OUT_OF_STOCK`.
pub fn reject_reason(rejection: &Rejection) -> &'static str {
    let name = rejection.reason().as_str_name();
    name.strip_prefix("REJECT_REASON_").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_refusal_must_name_the_short_sku_and_what_is_left() {
        let short = BTreeMap::from([("22633".to_owned(), 3)]);
        let expected = Outcome::Order(Expect::OutOfStock(short));
        let rejected = |reason: RejectReason, sku: &str, left| {
            Found::Rejected(Rejection {
                reason: reason.into(),
                sku: sku.into(),
                available_quantity: left,
                ..Default::default()
            })
        };
        assert!(check(&expected, &rejected(RejectReason::OutOfStock, "22633", 3)).is_ok());
        for wrong in [
            rejected(RejectReason::OutOfStock, "22633", 2),
            rejected(RejectReason::OutOfStock, "22634", 3),
            rejected(RejectReason::UnknownSku, "22633", 3),
            Found::Shipped,
        ] {
            assert!(check(&expected, &wrong).is_err(), "{wrong:?}");
        }
    }
}
