//! Units in the books and units by movements. Orders know what left and came back; the books must
//! say the same of what customers have, and their buckets what their holds say.

use std::collections::BTreeMap;

use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::{DifferenceClass as Class, FactSide, FoundDifference};

/// What orders say moved, per SKU, over all their groups.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Moved {
    skus: BTreeMap<String, Sum>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Sum {
    shipped: i64,
    returned: i64,
    elsewhere: i64,
    moving: bool,
}

impl Moved {
    pub fn add(&mut self, skus: &[pb::SkuFacts]) {
        for facts in skus {
            let sum = self.skus.entry(facts.sku.clone()).or_default();
            sum.shipped += facts.shipped;
            sum.returned += facts.returned;
            sum.elsewhere += facts.elsewhere;
            sum.moving |= facts.moving;
        }
    }

    fn of(&self, sku: &str) -> Sum {
        self.skus.get(sku).copied().unwrap_or_default()
    }

    /// Whether nothing moved between two looks: sums only grow, so equal ones are the same ones.
    pub fn stood_still(&self, later: &Self, sku: &str) -> bool {
        let (then, now) = (self.of(sku), later.of(sku));
        then == now && !then.moving
    }
}

/// What differs, SKU by SKU; `books`: the stock groups' totals, each with its head.
pub fn compare(
    moved: &Moved,
    books: &[(pb::FactsHead, Vec<pb::SkuFacts>)],
) -> Vec<FoundDifference> {
    let mut differences = Vec::new();
    let mut kept = std::collections::BTreeSet::new();
    for (head, skus) in books {
        for facts in skus {
            kept.insert(facts.sku.as_str());
            let sum = moved.of(&facts.sku);
            let by_orders = sum.shipped - sum.returned;
            let pairs = [
                ("customers have", facts.shipped, "orders shipped, less returns", by_orders),
                ("reserved", facts.reserved, "its holds say", facts.reserved_by_holds),
                ("committed", facts.committed, "its holds say", facts.committed_by_holds),
                ("on hand", facts.on_hand, "came in and stayed", facts.came_in),
                ("from elsewhere", facts.elsewhere, "orders returned", sum.elsewhere),
            ];
            for (bucket, units, word, moved) in pairs {
                if units != moved {
                    differences.push(drift(head, &facts.sku, (bucket, units), (word, moved)));
                }
            }
        }
    }
    // What orders shipped and no group keeps.
    for (sku, sum) in &moved.skus {
        let net = sum.shipped - sum.returned;
        if net != 0 && !kept.contains(sku.as_str()) {
            let head = pb::FactsHead::default();
            let word = ("orders shipped, less returns", net);
            differences.push(drift(&head, sku, ("customers have", 0), word));
        }
    }
    differences
}

fn drift(
    head: &pb::FactsHead,
    sku: &str,
    (bucket, units): (&str, i64),
    (word, moved): (&str, i64),
) -> FoundDifference {
    let books = FactSide {
        source: super::judge::group_name(head.group),
        group: head.group,
        index: head.index,
        state_hash: head.state_hash.clone(),
        says: format!("{bucket} {units}"),
    };
    let movements = FactSide {
        source: "movements".to_owned(),
        says: format!("{word} {moved}"),
        ..books.clone()
    };
    FoundDifference {
        class: Class::StockDrift.into(),
        subject: sku.to_owned(),
        left: Some(books),
        right: Some(movements),
        units: units - moved,
        ..FoundDifference::default()
    }
}
