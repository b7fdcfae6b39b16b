//! What a region knows of who owns what, against what another one says.

use std::collections::BTreeMap;

use hansa_types::region::RegionNumber;

use super::directory::{Fence, Ownership, OwnershipRecord, Snapshot, State};

/// Owners, promises and records, as of one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    pub owners: BTreeMap<RegionNumber, Ownership>,
    pub fences: BTreeMap<RegionNumber, Fence>,
    pub records: BTreeMap<RegionNumber, OwnershipRecord>,
}

impl Standing {
    pub fn of(snapshot: &Snapshot) -> Self {
        let Snapshot { owners, fences, records, .. } = snapshot;
        Self { owners: owners.clone(), fences: fences.clone(), records: records.clone() }
    }

    /// Whether the region may go on in the epoch in which it says that it owns: nothing newer is
    /// known here, and nothing newer is promised.
    ///
    /// An epoch beyond what is known is one after a restore, or one whose record is on its way.
    pub fn renews(&self, birth: RegionNumber, asked: Ownership) -> bool {
        let Some(known) = self.owners.get(&birth) else { return false };
        let held = known.epoch < asked.epoch || *known == asked;
        let promised = self.fences.get(&birth).is_some_and(|fence| fence.epoch > asked.epoch);
        held && !promised
    }

    /// The records of newer epochs than `theirs`.
    pub fn news<'a>(
        &'a self,
        theirs: &'a BTreeMap<RegionNumber, Ownership>,
    ) -> impl Iterator<Item = &'a OwnershipRecord> + 'a {
        let newer = |record: &&OwnershipRecord| {
            theirs.get(&record.birth).is_none_or(|known| known.epoch < record.epoch)
        };
        self.records.values().filter(newer)
    }

    /// What `region` says of its own births that is newer than what is known here: it came back
    /// from a backup, which no record tells of.
    pub fn restored(
        &self,
        region: RegionNumber,
        theirs: &BTreeMap<RegionNumber, Ownership>,
    ) -> Option<Ownership> {
        let (told, known) = (theirs.get(&region)?, self.owners.get(&region)?);
        let same = told.owner == region && known.owner == region;
        (same && told.epoch > known.epoch).then_some(*told)
    }
}

impl State {
    /// What is known of who owns what, without the rest of the directory.
    pub fn standing(&self) -> Standing {
        Standing {
            owners: self.owners_now(),
            fences: self.fences_now(),
            records: self.records_now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::directory::Command;
    use crate::testing::{number, record, snapshot};

    fn of(owner: u16, epoch: u64) -> Ownership {
        Ownership { owner: number(owner), epoch }
    }

    #[test]
    fn an_epoch_is_renewed_until_a_newer_one_is_known_or_promised() {
        let none = Standing::of(&snapshot(3, 1, &[]));
        assert!(none.renews(number(1), of(1, 1)));
        assert!(none.renews(number(1), of(1, 2)), "its own, after a restore");
        assert!(!none.renews(number(1), of(2, 1)), "another owner of the same epoch");
        assert!(!none.renews(number(9), of(9, 1)), "a region that nobody knows");
        let fence = Fence { epoch: 2, to: number(2), wait_ms: 0, since: Default::default() };
        let fence = Command::Fence { birth: number(1), fence };
        let fenced = Standing::of(&snapshot(3, 1, std::slice::from_ref(&fence)));
        assert!(!fenced.renews(number(1), of(1, 1)));
        assert!(fenced.renews(number(1), of(2, 2)), "the one that it was promised to");
        assert!(fenced.renews(number(2), of(2, 1)), "another birth");
        let take = Command::TakeRecord(Box::new(record(1, 2, 2)));
        let told = Standing::of(&snapshot(3, 1, &[fence, take]));
        assert!(!told.renews(number(1), of(1, 1)) && told.renews(number(1), of(2, 2)));
        assert!(told.fences.is_empty(), "the record stands for it");
    }

    #[test]
    fn whoever_says_an_older_epoch_is_told_the_newer_record() {
        let take = Command::TakeRecord(Box::new(record(1, 2, 4)));
        let knows = Standing::of(&snapshot(3, 1, &[take]));
        let told = |epoch| {
            let theirs = BTreeMap::from([(number(1), of(1, epoch))]);
            knows.news(&theirs).map(|record| record.epoch).collect::<Vec<_>>()
        };
        assert_eq!((told(1), told(3), told(4), told(5)), (vec![4], vec![4], vec![], vec![]));
        assert_eq!(knows.news(&BTreeMap::new()).count(), 1, "who says nothing knows nothing");
    }

    #[test]
    fn a_restored_region_is_believed_about_itself_only() {
        let knows = Standing::of(&snapshot(3, 1, &[]));
        let says = |birth, owner, epoch| BTreeMap::from([(number(birth), of(owner, epoch))]);
        assert_eq!(knows.restored(number(1), &says(1, 1, 2)), Some(of(1, 2)));
        assert_eq!(knows.restored(number(1), &says(1, 1, 1)), None);
        assert_eq!(knows.restored(number(1), &says(2, 1, 5)), None, "of another birth");
        let take = Command::TakeRecord(Box::new(record(1, 2, 2)));
        let lost = Standing::of(&snapshot(3, 1, &[take]));
        assert_eq!(lost.restored(number(1), &says(1, 1, 9)), None, "it owns no longer");
    }
}
