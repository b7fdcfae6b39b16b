//! Which group a call is for, and what its errors are to a caller.

use std::time::Duration;

use hansa_api::status::{Failure, Reason};
use hansa_consensus::{Group, ReadError, SubmitError};
use hansa_types::id::{GroupId, GroupKind};
use hansa_types::region::Slot;

use super::Shell;
use crate::core::inventory::Inventory;
use crate::core::payments::Payments;
use crate::entries::Entries;

/// A group of either kind.
pub enum Found<'a> {
    Inventory(&'a Group<Inventory>),
    Payments(&'a Group<Payments>, &'a Entries),
}

impl Shell {
    /// The group with this number, `None` when this node does not keep it.
    pub fn group(&self, number: u32) -> Option<Found<'_>> {
        let id = GroupId::from_number(number)?;
        let index = usize::from(id.index());
        match id.kind() {
            GroupKind::Inventory => self.inventory.get(index).map(Found::Inventory),
            GroupKind::Payments => {
                let (group, entries) = (self.payments.get(index)?, self.entries.get(index)?);
                Some(Found::Payments(group, entries))
            }
            GroupKind::Directory | GroupKind::Orders => None,
        }
    }

    /// The group that keeps a SKU.
    ///
    /// # Errors
    /// `UNAVAILABLE` on a node that keeps no stock.
    pub fn of_sku(&self, sku: &str) -> Result<&Group<Inventory>, Failure> {
        let slot = usize::from(Slot::of(sku.as_bytes()).get());
        let index = slot.checked_rem(self.inventory.len());
        index.and_then(|index| self.inventory.get(index)).ok_or(Reason::Unavailable.into())
    }
}

/// A submit that came to nothing, to a caller who repeats with the same request id.
pub fn not_submitted(error: SubmitError) -> Failure {
    match error {
        SubmitError::NotLeader { leader } => Failure::not_leader(leader),
        SubmitError::Overloaded { retry_after } => overloaded(retry_after),
        SubmitError::DiskFull { retry_after } => {
            Failure::of(Reason::DiskFull).retry_after(retry_after)
        }
        SubmitError::Unknown => Failure::of(Reason::DeadlineExceeded),
        SubmitError::TooLarge => Failure::of(Reason::MessageTooLarge),
        SubmitError::Stopped => Failure::of(Reason::Unavailable),
    }
}

pub fn not_read(error: ReadError) -> Failure {
    match error {
        ReadError::NotLeader { leader } => Failure::not_leader(leader),
        ReadError::Deadline => Failure::of(Reason::DeadlineExceeded),
        ReadError::Overloaded { retry_after } => overloaded(retry_after),
        ReadError::Stopped => Failure::of(Reason::Unavailable),
    }
}

fn overloaded(retry_after: Duration) -> Failure {
    Failure::of(Reason::Overloaded).retry_after(retry_after)
}
