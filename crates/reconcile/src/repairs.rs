//! Which differences have a safe repair, and which. A repair is a compensating entry; what has
//! none needs a person, and says why.

use bytes::Bytes;
use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::repair::Action;
use hansa_api::pb::admin::{DifferenceClass as Class, FoundDifference, Repair};
use hansa_types::id::{GroupId, GroupKind};

/// What is known beside a difference when its repair is chosen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    pub order: Option<&'a pb::OrderFacts>,
    pub stock: Option<&'a pb::StockFacts>,
    pub money: Option<&'a pb::MoneyFacts>,
    /// The provider's name for the charge.
    pub reference: &'a str,
    /// What the stock group says that customers have of the SKU.
    pub shipped: i64,
    /// Another region that has the copy.
    pub peer: &'a str,
}

/// The repair of a difference, or why a person must look; each with its reason.
pub fn propose(found: &FoundDifference, beside: &Beside<'_>) -> (Option<Repair>, String) {
    let person = |why: &str| (None, why.to_owned());
    let repair = |action, why: &str| (Some(Repair { action: Some(action) }), why.to_owned());
    match found.class() {
        Class::OrphanHoldStock => match (beside.stock, group_of(found, GroupKind::Inventory)) {
            (Some(hold), Some(group)) => {
                let (hold, committed) = (hold.hold.clone(), hold.committed);
                let release = pb::ReleaseStock { group, hold, committed };
                repair(Action::ReleaseStock(release), "no order relies on this hold")
            }
            _ => person("the hold is not known any more"),
        },
        Class::OrphanHoldMoney => match (beside.money, group_of(found, GroupKind::Payments)) {
            (Some(books), Some(group)) => match hold_of(found) {
                Some(hold) => {
                    let payment = books.payment.clone();
                    let void = pb::VoidMoney { group, payment, hold };
                    repair(Action::VoidMoney(void), "no order relies on this hold")
                }
                None => person("the hold has no name"),
            },
            _ => person("the payment is not known any more"),
        },
        Class::OrphanCapture => match (beside.money, group_of(found, GroupKind::Payments)) {
            (Some(books), Some(group)) => {
                let refund = pb::RefundCapture {
                    group,
                    payment: books.payment.clone(),
                    captured_minor: books.captured_minor,
                    refunded_minor: books.refunded_minor,
                    amount_minor: found.amount_minor,
                    currency: books.currency.clone(),
                };
                repair(Action::RefundCapture(refund), "no order stands for this money")
            }
            _ => person("the payment is not known any more"),
        },
        Class::StateDiffers if beside.order.is_some_and(|order| order.parked) => {
            repair(Action::ResumeOrder(pb::ResumeOrder {}), "the parked order tries again")
        }
        Class::StateDiffers => {
            person("the order does not wait for anything: its history must be read")
        }
        Class::MissingHold => person("an order relies on it: reserve again or cancel the order"),
        Class::AmountDiffers => person("which side is right does not follow from the facts"),
        Class::StockDrift => drift(found, beside),
        Class::ProviderMissingHere | Class::ProviderStateDiffers => charge(found, beside),
        Class::ProviderMissingThere => person("ask the provider: it must show the charge"),
        Class::ProviderAmountDiffers => person("ask the provider: which amount was taken"),
        Class::CopyMissing | Class::CopyStale => {
            let peer = beside.peer.to_owned();
            repair(Action::ReshipCopy(pb::ReshipCopy { peer }), "the home ships it again")
        }
        Class::CopyExtra => person("the peer knows an order that its home does not"),
        Class::CopyConflicting => person("one version with two contents: compare both histories"),
        Class::UnshippedTail => person("it is decided on by a plan of its own: `region tail plan`"),
        Class::Unspecified => person("a class that this release does not know"),
    }
}

fn drift(found: &FoundDifference, beside: &Beside<'_>) -> (Option<Repair>, String) {
    let says = found.left.as_ref().map_or("", |side| side.says.as_str());
    let group = group_of(found, GroupKind::Inventory);
    let (Some(group), true) = (group, says.starts_with("customers have")) else {
        return (None, "a bucket disagrees with its own holds: the books need a person".to_owned());
    };
    let rebook = pb::RebookStock {
        group,
        sku: found.subject.clone(),
        delta: found.units,
        expected_shipped: beside.shipped,
    };
    let why = match found.units {
        0.. => "left by no order: back to available, once a count has shown them",
        _ => "orders shipped more than left by the books: out of available",
    };
    (Some(Repair { action: Some(Action::RebookStock(rebook)) }), why.to_owned())
}

/// A charge that no order stands for is given up; any other is a person's matter.
fn charge(found: &FoundDifference, beside: &Beside<'_>) -> (Option<Repair>, String) {
    let stands = beside.order.is_some_and(|order| !order.provider_clear);
    let taken_here = beside
        .money
        .is_some_and(|books| books.captured_minor != books.refunded_minor || books.held_minor > 0);
    if stands || taken_here {
        return (None, "an order or the books stand for this charge".to_owned());
    }
    let (key, reference) = (found.subject.clone(), beside.reference.to_owned());
    if found.order_id.is_empty() {
        return (None, "a key of no order: ask the provider whose it is".to_owned());
    }
    let cancel = pb::CancelCharge { key, reference };
    let why = "no order stands for this charge: it is given back".to_owned();
    (Some(Repair { action: Some(Action::CancelCharge(cancel)) }), why)
}

/// The group of the side that has the books.
fn group_of(found: &FoundDifference, kind: GroupKind) -> Option<u32> {
    [&found.right, &found.left].into_iter().flatten().find_map(|side| {
        let group = GroupId::from_number(side.group)?;
        (group.kind() == kind).then(|| group.number())
    })
}

/// The hold in `payment/hold`.
fn hold_of(found: &FoundDifference) -> Option<Bytes> {
    let (_, hold) = found.subject.split_once('/')?;
    let bytes: Option<Vec<u8>> = (0..hold.len())
        .step_by(2)
        .map(|n| u8::from_str_radix(hold.get(n..n + 2)?, 16).ok())
        .collect();
    bytes.filter(|bytes| bytes.len() == 16).map(Bytes::from)
}
