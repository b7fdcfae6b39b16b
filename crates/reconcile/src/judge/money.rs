//! Money in the books: each payment is an order's, and holds and took what that order says.

use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::{DifferenceClass as Class, FoundDifference, FundsPhase};

use super::stock::class;
use super::{Found, Source, hex};

pub fn compare(found: &Found<'_>, differences: &mut Vec<FoundDifference>) {
    for (source, books) in &found.case.money {
        match found.order().filter(|order| order.payment == books.payment) {
            Some(order) => known(found, *source, order, books, differences),
            None => unknown(found, *source, books, "knows of no such payment", differences),
        }
    }
    let Some(order) = found.order().filter(|order| !order.payment.is_empty()) else { return };
    let has_books = found.case.money.iter().any(|(_, books)| books.payment == order.payment);
    let net = order.captured_minor - order.refunded_minor;
    let (missing, amount) = match order.funds() {
        FundsPhase::Held => (Class::MissingHold, order.total_minor),
        FundsPhase::Captured if net != 0 => (Class::AmountDiffers, net),
        _ => return,
    };
    if !has_books {
        let left = found.by_order(by_order(order));
        let right = pb::FactSide {
            source: super::group_name(payments_group(order.payment_group)),
            group: payments_group(order.payment_group),
            says: "no such payment".to_owned(),
            ..pb::FactSide::default()
        };
        let class = class(found, missing);
        let difference = found.difference(class, hex(&order.payment), left, Some(right));
        differences.push(priced(difference, amount, &order.currency));
    }
}

/// A payment that no order stands for.
fn unknown(
    found: &Found<'_>,
    source: Source,
    books: &pb::MoneyFacts,
    says: &str,
    differences: &mut Vec<FoundDifference>,
) {
    let side = || found.side(Some(source), by_books(books));
    for hold in &books.holds {
        let left = found.by_order(says.to_owned());
        let subject = format!("{}/{}", hex(&books.payment), hex(&hold.hold));
        let difference = found.difference(Class::OrphanHoldMoney, subject, left, side());
        differences.push(priced(difference, hold.amount_minor, &books.currency));
    }
    let net = books.captured_minor - books.refunded_minor;
    if net > 0 {
        let left = found.by_order(says.to_owned());
        let subject = hex(&books.payment);
        let difference = found.difference(Class::OrphanCapture, subject, left, side());
        differences.push(priced(difference, net, &books.currency));
    }
}

fn known(
    found: &Found<'_>,
    source: Source,
    order: &pb::OrderFacts,
    books: &pb::MoneyFacts,
    differences: &mut Vec<FoundDifference>,
) {
    let (class_of, amount) = match order.funds() {
        FundsPhase::None => {
            return unknown(found, source, books, "has taken no money", differences);
        }
        FundsPhase::Moving | FundsPhase::Unspecified => return,
        FundsPhase::Held => match (books.held_minor, books.captured_minor) {
            (0, 0) => (Class::MissingHold, order.total_minor),
            (0, captured) => (Class::StateDiffers, captured),
            (held, 0) if held == order.total_minor => return,
            (held, _) => (Class::AmountDiffers, held - order.total_minor),
        },
        FundsPhase::Captured => {
            let over = found.over();
            extra_holds(found, source, books, differences);
            let said = order.captured_minor - order.refunded_minor;
            let net = books.captured_minor - books.refunded_minor;
            let same = (books.captured_minor, books.refunded_minor)
                == (order.captured_minor, order.refunded_minor);
            match () {
                // What came and went for an order that is over is its net alone.
                () if same || (over && net == said) => return,
                () if over && net > said => (Class::OrphanCapture, net - said),
                () if books.captured_minor == 0 && books.held_minor > 0 => {
                    (Class::StateDiffers, said)
                }
                () => (Class::AmountDiffers, net - said),
            }
        }
    };
    let left = found.by_order(by_order(order));
    let right = found.side(Some(source), by_books(books));
    let class = match class_of {
        Class::OrphanCapture => class_of,
        other => class(found, other),
    };
    let difference = found.difference(class, hex(&books.payment), left, right);
    differences.push(priced(difference, amount, &books.currency));
}

/// Holds beside what was captured: the order's own hold was resolved by its capture.
fn extra_holds(
    found: &Found<'_>,
    source: Source,
    books: &pb::MoneyFacts,
    differences: &mut Vec<FoundDifference>,
) {
    if books.captured_minor == 0 {
        return;
    }
    for hold in &books.holds {
        let left = found.by_order("has taken its money already".to_owned());
        let right = found.side(Some(source), by_books(books));
        let subject = format!("{}/{}", hex(&books.payment), hex(&hold.hold));
        let difference = found.difference(Class::OrphanHoldMoney, subject, left, right);
        differences.push(priced(difference, hold.amount_minor, &books.currency));
    }
}

pub fn priced(difference: FoundDifference, amount_minor: i64, currency: &str) -> FoundDifference {
    FoundDifference { amount_minor, currency: currency.to_owned(), ..difference }
}

fn by_order(order: &pb::OrderFacts) -> String {
    let (captured, refunded) = (order.captured_minor, order.refunded_minor);
    match order.funds() {
        FundsPhase::Held => format!("held {}", order.total_minor),
        FundsPhase::Captured => format!("captured {captured}, refunded {refunded}"),
        _ => "no money".to_owned(),
    }
}

fn by_books(books: &pb::MoneyFacts) -> String {
    let pb::MoneyFacts { held_minor, captured_minor, refunded_minor, .. } = books;
    format!("held {held_minor}, captured {captured_minor}, refunded {refunded_minor}")
}

fn payments_group(index: u32) -> u32 {
    use hansa_types::id::{GroupId, GroupKind};
    let index = u16::try_from(index).unwrap_or(u16::MAX);
    GroupId::new(GroupKind::Payments, index).number()
}
