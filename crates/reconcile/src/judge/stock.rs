//! Holds of stock: each belongs to one part of one order, and says what that part says.

use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::{DifferenceClass as Class, FactLine, FoundDifference, PartPhase};

use super::{Found, Source, hex};

pub fn compare(found: &Found<'_>, differences: &mut Vec<FoundDifference>) {
    for (source, hold) in &found.case.stock {
        let part = found.order().and_then(|order| order.parts.iter().find(|p| p.hold == hold.hold));
        differences.extend(held(found, *source, hold, part));
    }
    let Some(order) = found.order() else { return };
    for part in order.parts.iter().filter(|part| relies(part) && !part.lines.is_empty()) {
        if !found.case.stock.iter().any(|(_, hold)| hold.hold == part.hold) {
            let says = format!("{} of {}", word(part), lines(&part.lines));
            let left = found.by_order(says);
            let right = pb::FactSide {
                source: super::group_name(stock_group(part.group)),
                group: stock_group(part.group),
                says: "no such hold".to_owned(),
                ..pb::FactSide::default()
            };
            let right = Some(read_at(found, right));
            let class = class(found, Class::MissingHold);
            let units = units(&part.lines);
            let found = found.difference(class, hex(&part.hold), left, right);
            differences.push(FoundDifference { units, ..found });
        }
    }
}

fn held(
    found: &Found<'_>,
    source: Source,
    hold: &pb::StockFacts,
    part: Option<&pb::PartFacts>,
) -> Option<FoundDifference> {
    let (class, says) = match part {
        None => (Class::OrphanHoldStock, "knows of no such hold".to_owned()),
        Some(part) if !relies(part) => {
            (class(found, Class::OrphanHoldStock), "has given this hold back".to_owned())
        }
        Some(part) if (part.phase() == PartPhase::Committed) != hold.committed => {
            (class(found, Class::StateDiffers), word(part).to_owned())
        }
        Some(part) if sorted(&part.lines) != sorted(&hold.lines) => {
            (class(found, Class::AmountDiffers), lines(&part.lines))
        }
        Some(_) => return None,
    };
    let state = if hold.committed { "committed" } else { "held" };
    let right = found.side(Some(source), format!("{state}: {}", lines(&hold.lines)));
    let left = found.by_order(says);
    let units = match part.filter(|_| class == Class::AmountDiffers) {
        Some(part) => units(&hold.lines) - units(&part.lines),
        None => units(&hold.lines),
    };
    let found = found.difference(class, hex(&hold.hold), left, right);
    Some(FoundDifference { units, ..found })
}

/// What a parked order disagrees about may be what it is parked for: it tries again first.
pub fn class(found: &Found<'_>, class: Class) -> Class {
    if found.parked() { Class::StateDiffers } else { class }
}

fn relies(part: &pb::PartFacts) -> bool {
    matches!(part.phase(), PartPhase::Held | PartPhase::Committed)
}

fn word(part: &pb::PartFacts) -> &'static str {
    match part.phase() {
        PartPhase::Held => "held",
        PartPhase::Committed => "committed",
        PartPhase::None | PartPhase::Moving | PartPhase::Unspecified => "nothing",
    }
}

/// Lines that hold something, in one order.
fn sorted(lines: &[FactLine]) -> Vec<&FactLine> {
    let mut sorted: Vec<&FactLine> = lines.iter().filter(|line| line.quantity > 0).collect();
    sorted.sort_by(|a, b| (a.line, &a.sku).cmp(&(b.line, &b.sku)));
    sorted
}

fn lines(lines: &[FactLine]) -> String {
    let one = |line: &&FactLine| format!("{} x {}", line.quantity, line.sku);
    let shown: Vec<String> = sorted(lines).iter().take(8).map(one).collect();
    if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") }
}

fn units(lines: &[FactLine]) -> i64 {
    lines.iter().map(|line| i64::from(line.quantity)).sum()
}

/// Parts name a stock group by its index.
fn stock_group(index: u32) -> u32 {
    use hansa_types::id::{GroupId, GroupKind};
    let index = u16::try_from(index).unwrap_or(u16::MAX);
    GroupId::new(GroupKind::Inventory, index).number()
}

fn read_at(found: &Found<'_>, side: pb::FactSide) -> pb::FactSide {
    let named = |head: &&pb::FactsHead| super::group_name(head.group) == side.source;
    match found.judge.heads.iter().rev().find(named) {
        Some(head) => {
            pb::FactSide { index: head.index, state_hash: head.state_hash.clone(), ..side }
        }
        None => side,
    }
}
