//! Reading the stock books.

use hansa_types::id::{OrderId, TransferId};
use hansa_types::time::LogTime;

use super::{Bucket, Inventory, ReservationState, SkuNo, WarehouseNo};

/// What one warehouse holds of one SKU.
///
/// # Units
/// Pieces. `available` counts what is reserved too; `sellable` does not.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stock {
    pub sku: String,
    pub warehouse: String,
    pub available: i64,
    pub reserved: i64,
    pub committed: i64,
    pub picked: i64,
    pub quarantine: i64,
    pub damaged: i64,
    pub incoming: i64,
    pub sellable: i64,
}

impl Stock {
    /// The sum of the physical buckets.
    pub fn on_hand(&self) -> i64 {
        self.available + self.committed + self.picked + self.quarantine + self.damaged
    }
}

/// A reservation as others see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    pub id: TransferId,
    pub order: OrderId,
    /// `None` once it is committed.
    pub expires: Option<LogTime>,
    pub lines: Vec<HeldLine>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeldLine {
    pub line: u32,
    pub sku: String,
    pub warehouse: String,
    /// Not yet shipped.
    pub open: u32,
}

impl Inventory {
    /// Whether the shard ever had this SKU.
    pub fn knows(&self, sku: &str) -> bool {
        self.skus.number(sku).is_some()
    }

    /// The warehouse of stock that names none.
    pub fn default_warehouse(&self) -> &str {
        &self.settings.default_warehouse
    }

    /// The stock of one SKU, one entry for each warehouse that ever had it.
    pub fn stock(&self, sku: &str, warehouse: Option<&str>) -> Vec<Stock> {
        let Some(sku) = self.skus.number(sku).map(SkuNo) else { return Vec::new() };
        self.warehouses_of(sku)
            .map(|warehouse| self.stock_of(sku, warehouse))
            .filter(|stock| warehouse.is_none_or(|name| name == stock.warehouse))
            .collect()
    }

    /// Stock in order of (SKU, warehouse), after the SKU named; whole SKUs, at least one, and as
    /// many as fit in `max` entries.
    pub fn list_stock(
        &self,
        after: Option<&str>,
        warehouse: Option<&str>,
        max: usize,
    ) -> Vec<Stock> {
        let mut page: Vec<Stock> = Vec::new();
        for (sku, _) in self.skus.after(after) {
            let entries = self.stock(sku, warehouse);
            if !page.is_empty() && page.len() + entries.len() > max {
                break;
            }
            page.extend(entries);
        }
        page
    }

    /// Open reservations after the id named, in order of id; and whether there are more.
    pub fn list_held(&self, after: Option<TransferId>, max: usize) -> (Vec<Held>, bool) {
        let ids = self.reservations.iter().map(|(id, _)| *id);
        let mut ids: Vec<_> = ids.filter(|id| after.is_none_or(|after| *id > after)).collect();
        let more = ids.len() > max;
        if more && max > 0 {
            ids.select_nth_unstable(max - 1);
        }
        ids.truncate(max);
        ids.sort_unstable();
        (ids.iter().filter_map(|id| self.held_by(id)).collect(), more)
    }

    /// One open reservation.
    pub fn held_by(&self, id: &TransferId) -> Option<Held> {
        let reservation = self.reservations.get(id)?;
        let line = |line: &super::Line| HeldLine {
            line: line.line,
            sku: self.sku_name(line.sku).unwrap_or_default().to_owned(),
            warehouse: self.warehouse_name(line.warehouse).unwrap_or_default().to_owned(),
            open: line.open(),
        };
        Some(Held {
            id: *id,
            order: reservation.order,
            expires: match reservation.state {
                ReservationState::Held { expires } => Some(expires),
                ReservationState::Committed => None,
            },
            lines: reservation.lines.iter().map(line).collect(),
        })
    }

    fn warehouses_of(&self, sku: SkuNo) -> impl Iterator<Item = WarehouseNo> {
        let all = 0..u16::try_from(self.warehouses.len()).unwrap_or(u16::MAX);
        all.map(WarehouseNo).filter(move |warehouse| {
            Bucket::PHYSICAL
                .iter()
                .any(|bucket| self.books.account(&bucket.account(sku, *warehouse)).is_some())
        })
    }

    pub(super) fn stock_of(&self, sku: SkuNo, warehouse: WarehouseNo) -> Stock {
        let account = |bucket: Bucket| self.books.account(&bucket.account(sku, warehouse));
        let balance = |bucket| narrow(account(bucket).map_or(0, |account| account.balance()));
        let available = account(Bucket::Available);
        Stock {
            sku: self.sku_name(sku).unwrap_or_default().to_owned(),
            warehouse: self.warehouse_name(warehouse).unwrap_or_default().to_owned(),
            available: balance(Bucket::Available),
            reserved: narrow(available.map_or(0, |account| i128::from(account.debits_pending))),
            committed: balance(Bucket::Committed),
            picked: balance(Bucket::Picked),
            quarantine: balance(Bucket::Quarantine),
            damaged: balance(Bucket::Damaged),
            incoming: balance(Bucket::Incoming),
            sellable: narrow(available.and_then(|account| account.debitable()).unwrap_or(0)),
        }
    }
}

fn narrow(n: i128) -> i64 {
    i64::try_from(n).unwrap_or(if n < 0 { i64::MIN } else { i64::MAX })
}
