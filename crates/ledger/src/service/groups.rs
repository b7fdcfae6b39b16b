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
    /// Damage keeps it from serving on this node.
    Stopped,
}

/// What is found at a place.
///
/// # Errors
/// `UNAVAILABLE` before it has started, `GROUP_STOPPED` where damage keeps it from serving.
pub fn serving<T>(place: &Place<T>) -> Result<&T, Failure> {
    let started = place.get().ok_or(Reason::Unavailable)?;
    started.as_ref().ok_or_else(|| Failure::of(Reason::GroupStopped))
}

impl Shell {
    /// The group with this number, `None` when this node does not keep it, or not yet.
    pub fn group(&self, number: u32) -> Option<Found<'_>> {
        let id = GroupId::from_number(number)?;
        let index = usize::from(id.index());
        match id.kind() {
            GroupKind::Inventory => {
                let group = self.inventory.get(index)?.get()?;
                Some(group.as_ref().map_or(Found::Stopped, Found::Inventory))
            }
            GroupKind::Payments => match self.payments.get(index)?.get()? {
                Some((group, entries)) => Some(Found::Payments(group, entries)),
                None => Some(Found::Stopped),
            },
            GroupKind::Directory | GroupKind::Orders => None,
        }
    }

    /// Why this node cannot answer for a group.
    pub fn absent(&self, number: u32) -> Failure {
        match self.group(number) {
            Some(Found::Stopped) => Failure::of(Reason::GroupStopped),
            _ => Failure::of(Reason::Unavailable),
        }
    }

    /// The group that keeps a SKU.
    ///
    /// # Errors
    /// `UNAVAILABLE` on a node that keeps no stock, or none yet; `GROUP_STOPPED` where damage does.
    pub fn of_sku(&self, sku: &str) -> Result<&Group<Inventory>, Failure> {
        let slot = usize::from(Slot::of(sku.as_bytes()).get());
        let index = slot.checked_rem(self.inventory.len());
        let place = index.and_then(|index| self.inventory.get(index)).ok_or(Reason::Unavailable)?;
        serving(place)
    }
}
