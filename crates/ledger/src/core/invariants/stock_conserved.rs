//! 2: per SKU, what lies in the buckets is what came in less what went out.

use std::collections::BTreeMap;

use super::Broken;
use crate::core::inventory::{Bucket, Inventory, SkuNo};

pub const NAME: &str = "stock-conserved";

pub fn check(machine: &Inventory) -> Vec<Broken> {
    let mut skus: BTreeMap<u32, [i128; 2]> = BTreeMap::new();
    for (_, account) in machine.books().accounts() {
        let [inside, came_in] = skus.entry(account.unit.0).or_default();
        match Bucket::from_code(account.code) {
            Some(bucket) if Bucket::PHYSICAL.contains(&bucket) => *inside += account.balance(),
            // External: what it was debited came in, what it was credited went out.
            Some(_) => *came_in -= account.balance(),
            None => *inside = i128::MAX,
        }
    }
    let lost = |(sku, [inside, came_in]): (u32, [i128; 2])| {
        let name = machine.sku_name(SkuNo(sku)).unwrap_or("?");
        (inside != came_in).then(|| Broken {
            invariant: 2,
            name: NAME,
            what: format!("{name}: {inside} in the buckets, {came_in} came in and stayed"),
        })
    };
    skus.into_iter().filter_map(lost).collect()
}
