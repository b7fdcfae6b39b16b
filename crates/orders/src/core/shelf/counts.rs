//! What stays known of orders that left: sums, which an order adds to when it leaves and takes
//! itself out of when it comes back.

use hansa_pages::Table;
use hansa_types::country::Country;
use hansa_types::hash::StateHash;
use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::OrderShelf;
use crate::core::contents::Contents;
use crate::core::moves::print_of;
use crate::core::order::{Done, Funds, Movement, Order};

/// Of one customer, under one generation of his key.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct LeftOf {
    pub generation: u32,
    pub orders: u32,
    /// Those with a personal block, and what these add up to.
    pub blocks: u32,
    pub prints: StateHash,
    /// When the newest was created, and the oldest that was born here. Those that came back count
    /// until none is left.
    pub newest: LogTime,
    pub oldest: Option<LogTime>,
    /// Where he lived, as [`Self::newest`].
    pub residences: Vec<Country>,
}

/// Units of one SKU.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
pub struct Sold {
    pub shipped: i64,
    pub returned: i64,
    /// Of what came back, units that other books had shipped.
    pub elsewhere: i64,
}

/// Minor units of one currency.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
pub struct Paid {
    pub captured: i64,
    pub refunded: i64,
}

impl LeftOf {
    pub(in crate::core) fn none(generation: u32) -> Self {
        Self {
            generation,
            orders: 0,
            blocks: 0,
            prints: StateHash::default(),
            newest: LogTime::ZERO,
            oldest: None,
            residences: Vec::new(),
        }
    }

    pub(super) fn add(
        &mut self,
        here: RegionNumber,
        id: OrderId,
        (order, contents): (&Order, &Contents),
    ) {
        self.orders = self.orders.saturating_add(1);
        if let Some(personal) = &contents.personal {
            self.blocks = self.blocks.saturating_add(1);
            self.prints.add(print_of(id, contents.residence, personal));
        }
        self.newest = self.newest.max(order.created);
        if id.region() == here {
            let oldest = self.oldest.map_or(order.created, |oldest| oldest.min(order.created));
            self.oldest = Some(oldest);
        }
        if let Err(place) = self.residences.binary_search(&contents.residence) {
            self.residences.insert(place, contents.residence);
        }
    }

    pub(super) fn remove(&mut self, id: OrderId, contents: &Contents) {
        self.orders = self.orders.saturating_sub(1);
        if let Some(personal) = &contents.personal {
            self.blocks = self.blocks.saturating_sub(1);
            self.prints.remove(print_of(id, contents.residence, personal));
        }
    }
}

impl OrderShelf {
    /// Counts an order in once (`times` 1), or out (-1).
    pub(super) fn count(
        &mut self,
        here: RegionNumber,
        order: &Order,
        contents: &Contents,
        times: i64,
    ) {
        let moved = order.shipments.iter().map(|of| (of, false));
        let moved = moved.chain(order.returns.iter().map(|of| (of, true)));
        for (of, back) in moved {
            if of.booked == Some(here) && of.state == Done::Done {
                self.count_moved(of, back, contents, times);
            }
        }
        if order.funds == Funds::Captured {
            let account = (contents.payment_group, contents.currency);
            let money = &order.money;
            change(&mut self.paid, account, |paid| {
                paid.captured += times * money.captured_minor;
                paid.refunded += times * money.refunded_minor;
            });
        }
    }

    fn count_moved(&mut self, of: &Movement, back: bool, contents: &Contents, times: i64) {
        for (place, quantity) in &of.lines {
            let line = contents.lines.get(usize::from(*place));
            let Some(sku) = line.and_then(|line| line.sku.clone()) else { continue };
            let own = of.own_units(*place).min(*quantity);
            change(&mut self.sold, sku, |sold| match back {
                false => sold.shipped += times * i64::from(*quantity),
                true => {
                    sold.returned += times * i64::from(own);
                    sold.elsewhere += times * i64::from(quantity - own);
                }
            });
        }
    }
}

/// Changes a sum; one of nothing has no row.
fn change<K, V>(table: &mut Table<K, V>, key: K, how: impl FnOnce(&mut V))
where
    K: hansa_pages::Key,
    V: hansa_pages::Record + Default + PartialEq,
{
    let mut sum = table.get(&key).cloned().unwrap_or_default();
    how(&mut sum);
    if sum == V::default() {
        table.remove(&key);
    } else {
        table.insert(key, sum);
    }
}
