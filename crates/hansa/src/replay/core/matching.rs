//! Which earlier purchase a return belongs to. The file does not say, so the rule does: the
//! buyer's own confirmed and shipped orders, newest first, and a row is matched whole or not at
//! all, because half a match would invent a purchase.

use std::collections::BTreeMap;

use super::action::{Buyer, Order, Return};

/// Units of one line of one order that can still come back.
#[derive(Clone, Debug)]
struct Open<K> {
    order: K,
    /// 0-based line of the order.
    line: usize,
    quantity: u32,
}

/// Purchases by buyer and code; `K` is how the caller names an order.
#[derive(Debug)]
pub struct Purchases<K> {
    open: BTreeMap<(Buyer, String), Vec<Open<K>>>,
}

/// What came of a return.
#[derive(Debug, PartialEq, Eq)]
pub struct Matched<K: Ord> {
    /// Units by order and line.
    pub parts: BTreeMap<K, BTreeMap<usize, u32>>,
    pub rows_matched: u64,
    pub rows_unmatched: u64,
}

impl<K> Default for Purchases<K> {
    fn default() -> Self {
        Self { open: BTreeMap::new() }
    }
}

impl<K: Clone + Ord> Purchases<K> {
    /// Notes a confirmed and shipped order. A guest is nobody to match later.
    pub fn shipped(&mut self, key: K, order: &Order) {
        if order.buyer.customer.is_none() {
            return;
        }
        for (line, sold) in order.lines.iter().enumerate() {
            // A discount is nothing that can be given back.
            if sold.unit_price_minor < 0 {
                continue;
            }
            let at = (order.buyer.clone(), sold.code.text().to_owned());
            let open = Open { order: key.clone(), line, quantity: sold.quantity };
            self.open.entry(at).or_default().push(open);
        }
    }

    /// Takes back what the return names, from the newest purchase on.
    pub fn take(&mut self, back: &Return) -> Matched<K> {
        let mut matched = Matched { parts: BTreeMap::new(), rows_matched: 0, rows_unmatched: 0 };
        for row in &back.rows {
            let at = (back.buyer.clone(), row.code.text().to_owned());
            let open = self.open.get_mut(&at).filter(|open| {
                back.buyer.customer.is_some()
                    && open.iter().map(|open| u64::from(open.quantity)).sum::<u64>()
                        >= u64::from(row.quantity)
            });
            let Some(open) = open else {
                matched.rows_unmatched += 1;
                continue;
            };
            matched.rows_matched += 1;
            let mut wanted = row.quantity;
            while wanted > 0 {
                let Some(newest) = open.last_mut() else { break };
                let taken = wanted.min(newest.quantity);
                let lines = matched.parts.entry(newest.order.clone()).or_default();
                *lines.entry(newest.line).or_default() += taken;
                newest.quantity -= taken;
                wanted -= taken;
                if newest.quantity == 0 {
                    open.pop();
                }
            }
        }
        matched
    }
}

#[cfg(test)]
mod tests {
    use super::super::action::{Line, ReturnRow};
    use super::super::code;
    use super::*;

    fn buyer(country: &'static str) -> Buyer {
        Buyer { customer: Some("12370".into()), country }
    }

    fn order(country: &'static str, lines: &[(&str, u32)]) -> Order {
        let lines = lines.iter().map(|(text, quantity)| Line {
            code: code::read(text),
            description: String::new(),
            quantity: *quantity,
            unit_price_minor: 100,
        });
        Order {
            invoice: "1".into(),
            buyer: buyer(country),
            currency: "GBP",
            date: "2010-12-01 08:26".into(),
            lines: lines.collect(),
        }
    }

    fn back(country: &'static str, rows: &[(&str, u32)]) -> Return {
        let rows = rows
            .iter()
            .map(|(text, quantity)| ReturnRow { code: code::read(text), quantity: *quantity });
        Return { invoice: "C2".into(), buyer: buyer(country), rows: rows.collect() }
    }

    #[test]
    fn the_newest_purchase_takes_the_return_and_the_rest_goes_to_older_ones() {
        let mut purchases = Purchases::default();
        purchases.shipped(1, &order("CY", &[("22633", 5)]));
        purchases.shipped(2, &order("CY", &[("22634", 1), ("22633", 3)]));
        let matched = purchases.take(&back("CY", &[("22633", 4)]));
        let expected =
            BTreeMap::from([(2, BTreeMap::from([(1, 3)])), (1, BTreeMap::from([(0, 1)]))]);
        assert_eq!(matched.parts, expected);
        let rest = purchases.take(&back("CY", &[("22633", 5)]));
        assert_eq!((rest.rows_matched, rest.rows_unmatched), (0, 1), "only 4 are left");
    }

    #[test]
    fn a_purchase_under_another_country_is_another_home() {
        let mut purchases = Purchases::default();
        purchases.shipped(1, &order("AT", &[("22633", 5)]));
        assert_eq!(purchases.take(&back("CY", &[("22633", 1)])).rows_unmatched, 1);
        assert_eq!(purchases.take(&back("AT", &[("22633", 1)])).rows_matched, 1);
    }

    #[test]
    fn repeated_lines_of_a_sku_are_each_returnable() {
        let mut purchases = Purchases::default();
        purchases.shipped(1, &order("AT", &[("22633", 2), ("22633", 2)]));
        let matched = purchases.take(&back("AT", &[("22633", 3)]));
        assert_eq!(matched.parts, BTreeMap::from([(1, BTreeMap::from([(0, 1), (1, 2)]))]));
    }

    #[test]
    fn a_guest_has_no_earlier_purchase() {
        let mut purchases = Purchases::default();
        let mut guest = order("GB", &[("22633", 2)]);
        guest.buyer.customer = None;
        purchases.shipped(1, &guest);
        let mut back = back("GB", &[("22633", 1)]);
        back.buyer.customer = None;
        assert_eq!(purchases.take(&back).rows_unmatched, 1);
    }
}
