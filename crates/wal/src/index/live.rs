//! How much of each segment lives, and whose it is.

use std::collections::BTreeMap;

use hansa_types::id::GroupId;

use super::slot::Place;

/// Live bytes and records per segment and group; a segment without any may go.
#[derive(Default)]
pub struct Live {
    segments: BTreeMap<u32, BTreeMap<GroupId, Share>>,
    bytes: u64,
}

/// What one group has in one segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Share {
    pub records: u32,
    pub bytes: u64,
}

impl Live {
    pub fn add(&mut self, group: GroupId, place: Place) {
        let share = self.segments.entry(place.segment).or_default().entry(group).or_default();
        share.records += 1;
        share.bytes += u64::from(place.len);
        self.bytes += u64::from(place.len);
    }

    pub fn remove(&mut self, group: GroupId, place: Place) {
        let Some(shares) = self.segments.get_mut(&place.segment) else {
            panic!("segment {} had nothing live", place.segment);
        };
        let Some(share) = shares.get_mut(&group) else {
            panic!("segment {} had nothing live of group {group}", place.segment);
        };
        share.records -= 1;
        share.bytes -= u64::from(place.len);
        self.bytes -= u64::from(place.len);
        if share.records == 0 {
            assert!(share.bytes == 0, "bytes without records");
            shares.remove(&group);
            if shares.is_empty() {
                self.segments.remove(&place.segment);
            }
        }
    }

    /// The oldest segment with a live record.
    pub fn first(&self) -> Option<u32> {
        self.segments.keys().next().copied()
    }

    /// Whose records live in `segment`.
    pub fn shares(&self, segment: u32) -> impl Iterator<Item = (GroupId, Share)> {
        self.segments.get(&segment).into_iter().flatten().map(|(id, share)| (*id, *share))
    }

    /// Live bytes in all.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Live bytes of each group, for who asks which one holds the disk.
    pub fn by_group(&self) -> BTreeMap<GroupId, u64> {
        let mut sums = BTreeMap::new();
        for (id, share) in self.segments.values().flatten() {
            *sums.entry(*id).or_default() += share.bytes;
        }
        sums
    }
}
