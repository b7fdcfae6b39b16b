//! The provider's statement against the books: what they took, less what they gave back.

use hansa_api::pb::admin::{DifferenceClass as Class, FoundDifference};

use super::money::priced;
use super::{Found, Source};
use crate::statement::Charge;

/// The books of all of an order's payments together: a provider knows one key for each order.
struct Books {
    source: Option<Source>,
    held: i64,
    net: i64,
    currency: String,
}

pub fn compare(found: &Found<'_>, differences: &mut Vec<FoundDifference>) {
    // Without a statement nothing is known; outside of what it covers neither.
    if found.case.covered != Some(true) {
        return;
    }
    let books = books(found);
    // A provider may serve several regions from one account.
    let elsewhere = |number| found.id.is_some_and(|id| id.region().get() != number);
    if found.order().is_none()
        && books.source.is_none()
        && found.judge.number.is_some_and(elsewhere)
    {
        return;
    }
    let Some((class, amount)) = class(found, &books, found.case.charge.as_ref()) else { return };
    let says = match books.source {
        Some(_) => format!("held {}, net {}", books.held, books.net),
        None => "no such payment".to_owned(),
    };
    let left = match books.source {
        Some(source) => found.side(Some(source), says),
        None => found.by_order(says),
    };
    let charge = found.case.charge.as_ref();
    let right = found.side(None, charge.map_or("not in the statement".to_owned(), Charge::says));
    let subject = match charge {
        Some(charge) => charge.subject(),
        None => found.id.map_or_else(String::new, |id| format!("pay-{id}")),
    };
    let currency = match charge.filter(|_| books.currency.is_empty()) {
        Some(charge) => charge.currency.clone(),
        None => books.currency.clone(),
    };
    differences.push(priced(found.difference(class, subject, left, right), amount, &currency));
}

fn books(found: &Found<'_>) -> Books {
    let mut sum = Books { source: None, held: 0, net: 0, currency: String::new() };
    for (source, books) in &found.case.money {
        sum.source = Some(*source);
        sum.held += books.held_minor;
        sum.net += books.captured_minor - books.refunded_minor;
        sum.currency.clone_from(&books.currency);
    }
    sum
}

fn class(found: &Found<'_>, books: &Books, charge: Option<&Charge>) -> Option<(Class, i64)> {
    let Some(charge) = charge else {
        return (books.net != 0).then_some((Class::ProviderMissingThere, books.net));
    };
    if charge.mixed || (!books.currency.is_empty() && charge.currency != books.currency) {
        return Some((Class::ProviderAmountDiffers, charge.net() - books.net));
    }
    let open = charge.open();
    let there = charge.net();
    if books.source.is_none() {
        let taken = if there != 0 { there } else { open };
        return (taken != 0).then_some((Class::ProviderMissingHere, taken));
    }
    match (books.net, there) {
        (here, there) if here == there => {
            // Held there, and here neither held nor taken, by an order that is over.
            let left_open = open > 0 && here == 0 && books.held == 0 && found.over();
            left_open.then_some((Class::ProviderStateDiffers, open))
        }
        (0, there) => Some((Class::ProviderStateDiffers, there)),
        (here, 0) => Some((Class::ProviderStateDiffers, here)),
        (here, there) => Some((Class::ProviderAmountDiffers, there - here)),
    }
}
