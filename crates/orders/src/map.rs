//! Where things are, as the region's directory says: groups of slots, members of groups, regions.

use std::sync::Arc;

use hansa_api::classes::ClassSet;
use hansa_api::status::{Failure, Reason};
use hansa_region_router::book::Book;
use hansa_region_router::core::directory::Snapshot;
use hansa_types::country::Country;
use hansa_types::id::{GroupId, GroupKind, NodeId, OrderId, OrderName, Sku};
use hansa_types::region::{RegionName, RegionNumber, Slot};

/// Questions of the orders role to the directory.
#[derive(Clone)]
pub struct Map {
    book: Book,
}

impl Map {
    pub fn new(book: Book) -> Self {
        Self { book }
    }

    /// # Errors
    /// `UNAVAILABLE` until the directory is known.
    pub fn now(&self) -> Result<Arc<Snapshot>, Failure> {
        self.book.now().ok_or_else(|| Failure::of(Reason::Unavailable))
    }

    pub fn orders_group(&self, slot: Slot) -> Result<GroupId, Failure> {
        Ok(self.now()?.group(GroupKind::Orders, slot))
    }

    /// The one whose leader acts for the region.
    pub fn first_orders_group(&self) -> Result<GroupId, Failure> {
        let now = self.now()?;
        let first = now.groups.keys().find(|group| group.kind() == GroupKind::Orders);
        first.copied().ok_or_else(|| Failure::of(Reason::Unavailable))
    }

    pub fn payments_group(&self, slot: Slot) -> Result<u16, Failure> {
        Ok(self.now()?.group(GroupKind::Payments, slot).index())
    }

    pub fn members(&self, group: GroupId) -> Vec<NodeId> {
        self.book.now().map_or_else(Vec::new, |now| now.members(group).to_vec())
    }

    /// # Errors
    /// `ORDER_NAME_INVALID` when name and id disagree, `UNKNOWN_REGION`.
    pub fn check_name(&self, name: &OrderName) -> Result<OrderId, Failure> {
        match self.now()?.number(&name.region) {
            None => Err(Failure::of(Reason::UnknownRegion)),
            Some(number) if number == name.id.region() => Ok(name.id),
            Some(_) => {
                let why = "the order's name and id name different regions";
                Err(Failure::field(Reason::OrderNameInvalid, "order", why))
            }
        }
    }

    /// The public name of an order.
    pub fn name_of(&self, id: OrderId) -> String {
        let region = self.region_name(id.region());
        match region {
            Some(region) => OrderName { region, id }.to_string(),
            // A region that the directory no longer lists.
            None => format!("regions/r{}/orders/{id}", id.region()),
        }
    }

    pub fn region_name(&self, number: RegionNumber) -> Option<RegionName> {
        Some(self.book.now()?.region(number)?.name.clone())
    }

    pub fn region_number(&self, name: &RegionName) -> Option<RegionNumber> {
        self.book.now()?.number(name)
    }

    /// The other regions, in order of number.
    pub fn others(&self) -> Vec<RegionName> {
        let Some(now) = self.book.now() else { return Vec::new() };
        let others = now.regions.iter().filter(|(number, _)| **number != now.here);
        others.map(|(_, region)| region.name.clone()).collect()
    }

    /// What the law of a country lets a peer region store, and the policy's version.
    pub fn allowed(&self, residence: Country, peer: &RegionName) -> (ClassSet, u64) {
        let Some(now) = self.book.now() else { return (ClassSet::NONE, 0) };
        let law = now.policy.of_country(residence);
        let allowed = law.map_or(ClassSet::NONE, |law| now.policy.allowed_classes(&law.name, peer));
        (allowed, now.policy.version())
    }
}

/// The inventory group that keeps a SKU.
pub fn stock_group(now: &Snapshot, sku: &Sku) -> u16 {
    now.group(GroupKind::Inventory, Slot::of(sku.as_str().as_bytes())).index()
}
