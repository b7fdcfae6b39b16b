//! Turns records back into the index, in the order in which they were written.

use std::path::Path;

use bytes::Bytes;
use hansa_types::id::GroupId;

use super::damaged;
use crate::error::{Fault, OpenError};
use crate::index::{Index, Place, Slot};
use crate::record::{Kind, Raw};

/// What the records read so far amount to.
pub struct Replay {
    pub index: Index,
    /// The oldest segment that must be there.
    pub floor: u32,
}

impl Default for Replay {
    fn default() -> Self {
        Self { index: Index::default(), floor: 1 }
    }
}

impl Replay {
    /// Takes in one valid record.
    ///
    /// # Errors
    /// It is of a kind or group that this version does not know, or cannot belong where it says.
    pub fn record(&mut self, place: Place, raw: &Raw<'_>) -> Result<(), Fault> {
        let kind = Kind::from_number(raw.kind).ok_or(Fault::Unknown)?;
        match kind {
            Kind::Batch | Kind::Seal => return Ok(()),
            Kind::Floor => {
                self.floor = u32::try_from(raw.index).map_err(|_| Fault::Unknown)?;
                return Ok(());
            }
            _ => {}
        }
        let group = GroupId::from_number(raw.group).ok_or(Fault::Unknown)?;
        let slot = Slot::at(place);
        let value = || Bytes::copy_from_slice(raw.body);
        match kind {
            Kind::Entry | Kind::Copy => self
                .index
                .restore(group, raw.index, slot)
                .map_err(|_| Fault::Hole { group, index: raw.index })?,
            Kind::Vote => self.index.vote(group, value(), slot),
            Kind::Committed => self.index.committed(group, value(), slot),
            Kind::Purge => self.index.purge(group, raw.index, value(), slot),
            Kind::Truncate => self.index.truncate(group, raw.index),
            Kind::Forget => self.index.remove(group),
            Kind::Batch | Kind::Seal | Kind::Floor => {}
        }
        Ok(())
    }

    /// Every group's entries must join once all records are read: copies fill what came later.
    pub fn check_joined(&self, file: &Path, end: u64) -> Result<(), OpenError> {
        for (group, entries) in self.index.groups() {
            if let Some(index) = entries.first_hole() {
                return Err(damaged(file, end, Fault::Hole { group, index }));
            }
        }
        Ok(())
    }
}
