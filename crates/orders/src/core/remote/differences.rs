//! What a home that came back from a backup has lost, as its copies show it.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;

use super::{Copy, Cursor, Origin, Remote};

/// How a copy differs from its home.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Difference {
    pub kind: DifferenceKind,
    pub copy_version: u64,
    pub copy_epoch: u64,
    /// 0 when the home does not know the order.
    pub home_version: u64,
    pub home_epoch: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DifferenceKind {
    /// One version with two contents, or a writer that was replaced.
    Conflict,
    /// The copy knows a newer version than its home.
    Ahead,
    OnlyHere,
}

impl Remote {
    /// Copies that are not what their home says after it came back in a newer epoch: the first
    /// `max` by order, of those after `after`.
    ///
    /// An order that only this copy knows shows once the newer epoch's events were all here.
    pub fn differences(
        &self,
        of: Option<RegionNumber>,
        after: Option<OrderId>,
        max: usize,
    ) -> Vec<(OrderId, Difference)> {
        let wanted = |origin: &Origin| of.is_none_or(|of| of == origin.region);
        let mut newest: BTreeMap<(RegionNumber, u16), (u64, Cursor)> = BTreeMap::new();
        for (origin, cursor) in self.cursors.iter().filter(|(origin, _)| wanted(origin)) {
            let held = newest.entry((origin.region, origin.group)).or_default();
            if origin.epoch >= held.0 {
                *held = (origin.epoch, *cursor);
            }
        }
        let differs = |(order, copy): (&OrderId, &Copy)| {
            let Origin { region, group, epoch: copy_epoch } = copy.origin;
            let (epoch, cursor) = newest.get(&(region, group)).copied().unwrap_or_default();
            let waiting = self.parked.get(order).map_or(&[][..], Vec::as_slice);
            let (home_version, home_epoch) = match waiting.last() {
                Some(last) => (last.event.version, last.origin.epoch),
                None if copy_epoch < epoch && cursor.current_as_of_ms > 0 => (0, epoch),
                None => return None,
            };
            let first = waiting.first().map_or(0, |parked| parked.event.version);
            let kind = match first.cmp(&copy.version) {
                _ if first == 0 => DifferenceKind::OnlyHere,
                Ordering::Less => DifferenceKind::Ahead,
                Ordering::Equal | Ordering::Greater => DifferenceKind::Conflict,
            };
            let copy_version = copy.version;
            Some((*order, Difference { kind, copy_version, copy_epoch, home_version, home_epoch }))
        };
        let copies = self.copies.iter().filter(|(_, copy)| wanted(&copy.origin));
        let copies = copies.filter(|(order, _)| after.is_none_or(|after| **order > after));
        let mut found: Vec<_> = copies.filter_map(differs).collect();
        found.sort_unstable_by_key(|(order, _)| *order);
        found.truncate(max);
        found
    }
}
