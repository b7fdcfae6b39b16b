//! Which group a call is for, and what its errors are to a caller.

use hansa_api::status::{Failure, Reason};
use hansa_consensus::Group;
pub use hansa_consensus::failure::{not_read, not_submitted};
use hansa_types::id::{GroupId, GroupKind};
use hansa_types::region::Slot;

use super::{Place, Shell};
use crate::core::inventory::Inventory;
use crate::core::payments::Payments;
use crate::entries::Entries;

/// A group of either kind.
pub enum Found<'a> {
    Inventory(&'a Group<Inventory>),
    Payments(&'a Group<Payments>, &'a Entries),
}

/// What is found at a place.
///
/// # Errors
/// `NOT_LEADER` before it has started: another node may serve meanwhile, and whoever looks for the
/// leader looks on. `GROUP_STOPPED` where damage keeps it from serving.
pub fn serving<T>(place: &Place<T>) -> Result<&T, Failure> {
    let started = place.get().ok_or_else(|| Failure::not_leader(None))?;
    started.as_ref().ok_or_else(|| Failure::of(Reason::GroupStopped))
}

impl Shell {
    /// The group with this number.
    ///
    /// # Errors
    /// `UNAVAILABLE` when this node does not keep it; [`serving`]'s.
    pub fn group(&self, number: u32) -> Result<Found<'_>, Failure> {
        let absent = || Failure::of(Reason::Unavailable);
        let id = GroupId::from_number(number).ok_or_else(absent)?;
        let index = usize::from(id.index());
        match id.kind() {
            GroupKind::Inventory => {
                let place = self.inventory.get(index).ok_or_else(absent)?;
                serving(place).map(Found::Inventory)
            }
            GroupKind::Payments => {
                let place = self.payments.get(index).ok_or_else(absent)?;
                serving(place).map(|(group, entries)| Found::Payments(group, entries))
            }
            GroupKind::Directory | GroupKind::Orders => Err(absent()),
        }
    }

    /// The group that keeps a SKU.
    ///
    /// # Errors
    /// `UNAVAILABLE` on a node that keeps no stock; [`serving`]'s.
    pub fn of_sku(&self, sku: &str) -> Result<&Group<Inventory>, Failure> {
        let slot = usize::from(Slot::of(sku.as_bytes()).get());
        let index = slot.checked_rem(self.inventory.len());
        let place = index.and_then(|index| self.inventory.get(index)).ok_or(Reason::Unavailable)?;
        serving(place)
    }
}
