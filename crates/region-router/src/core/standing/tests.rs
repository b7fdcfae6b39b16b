use super::*;
use crate::core::directory::Command;
use crate::testing::{number, record, snapshot};

fn of(owner: u16, epoch: u64) -> Ownership {
    Ownership { owner: number(owner), epoch }
}

fn take(birth: u16, owner: u16, epoch: u64) -> Command {
    Command::TakeRecord(Box::new(record(birth, owner, epoch)))
}

fn fence(epoch: u64, to: u16) -> Command {
    let fence = Fence { epoch, to: number(to), wait_ms: 0, since: Default::default() };
    Command::Fence { birth: number(1), fence }
}

fn says(birth: u16, owner: u16, epoch: u64) -> BTreeMap<RegionNumber, Ownership> {
    BTreeMap::from([(number(birth), of(owner, epoch))])
}

#[test]
fn an_epoch_is_renewed_until_a_newer_one_is_known_or_promised() {
    let none = Standing::of(&snapshot(3, 1, &[]));
    assert!(none.renews(number(1), of(1, 1)));
    assert!(none.renews(number(1), of(1, 2)), "its own, after a restore");
    assert!(!none.renews(number(1), of(2, 1)), "another owner of the same epoch");
    assert!(!none.renews(number(9), of(9, 1)), "a region that nobody knows");
    let fenced = Standing::of(&snapshot(3, 1, &[fence(2, 2)]));
    assert!(!fenced.renews(number(1), of(1, 1)));
    assert!(fenced.renews(number(1), of(2, 2)), "the one that it was promised to");
    assert!(!fenced.renews(number(1), of(2, 3)), "that was promised to nobody");
    assert!(fenced.renews(number(2), of(2, 1)), "another birth");
    let told = Standing::of(&snapshot(3, 1, &[fence(2, 2), take(1, 2, 2)]));
    assert!(!told.renews(number(1), of(1, 1)) && told.renews(number(1), of(2, 2)));
    assert!(told.fences.is_empty(), "the record stands for it");
}

#[test]
fn a_region_that_was_taken_over_is_not_renewed_whatever_epoch_it_came_back_in() {
    let taken = Standing::of(&snapshot(3, 1, &[take(1, 2, 2)]));
    assert!(!taken.renews(number(1), of(1, 3)));
    let promised = Standing::of(&snapshot(3, 1, &[fence(2, 2)]));
    assert!(!promised.renews(number(1), of(1, 3)), "it is promised to another one");
    assert!(promised.goes_on(&says(1, 1, 3)).is_empty());
}

#[test]
fn whoever_says_an_older_epoch_or_another_owner_is_told_the_record() {
    let knows = Standing::of(&snapshot(3, 1, &[take(1, 2, 4)]));
    let told = |owner, epoch| {
        knows.news(&says(1, owner, epoch)).map(|record| record.epoch).collect::<Vec<_>>()
    };
    assert_eq!(
        (told(2, 1), told(2, 3), told(2, 4), told(2, 5)),
        (vec![4], vec![4], vec![], vec![])
    );
    assert_eq!((told(1, 4), told(1, 5)), (vec![4], vec![4]), "it owns no longer");
    assert_eq!(knows.news(&BTreeMap::new()).count(), 1, "who says nothing knows nothing");
}

#[test]
fn who_owns_is_believed_to_go_on_and_nobody_to_own_what_is_anothers() {
    let knows = Standing::of(&snapshot(3, 1, &[]));
    assert_eq!(knows.goes_on(&says(1, 1, 2)), [(number(1), of(1, 2))]);
    assert!(knows.goes_on(&says(1, 1, 1)).is_empty());
    assert!(knows.goes_on(&says(2, 1, 5)).is_empty(), "of another birth");
    let lost = Standing::of(&snapshot(3, 1, &[take(1, 2, 2)]));
    assert!(lost.goes_on(&says(1, 1, 9)).is_empty(), "it owns no longer");
    assert_eq!(lost.goes_on(&says(1, 2, 3)), [(number(1), of(2, 3))], "a survivor came back");
}

#[test]
fn a_record_of_another_owner_beats_an_epoch_that_no_record_tells_of() {
    let told = record(1, 2, 2);
    let heeds = |now, held: Option<&OwnershipRecord>| heed(now, held, None, &told);
    assert_eq!(heeds(of(1, 1), None), Heed::Take(of(2, 2)));
    assert_eq!(heeds(of(1, 3), None), Heed::Take(of(2, 4)), "in an epoch that nobody wrote in");
    assert_eq!(heeds(of(2, 4), None), Heed::Take(of(2, 4)), "why the owner owns");
    assert_eq!(heeds(of(2, 4), Some(&told)), Heed::Old);
    assert_eq!(heeds(of(1, 3), Some(&record(1, 1, 3))), Heed::Old, "it was given back");
    assert_eq!(heeds(of(3, 9), Some(&record(1, 3, 9))), Heed::Old);
}

#[test]
fn of_two_records_of_one_epoch_one_wins_everywhere() {
    let planned = OwnershipRecord { kind: Kind::Switchover, ..record(1, 3, 2) };
    let forced = OwnershipRecord { time_ms: 9, ..record(1, 2, 2) };
    let later = OwnershipRecord { time_ms: 10, ..record(1, 3, 2) };
    for (winner, loser) in [(&forced, &planned), (&forced, &later)] {
        let held = |record: &OwnershipRecord| of(record.owner.get(), record.epoch);
        assert_eq!(heed(held(loser), Some(loser), None, winner), Heed::Take(of(2, 3)));
        assert_eq!(heed(held(winner), Some(winner), None, loser), Heed::Old);
        // Who has settled it is heard by who had the winner all along.
        let knows = Command::TakeRecord(Box::new(winner.clone()));
        let knows = Standing::of(&snapshot(3, 1, &[knows]));
        assert_eq!(knows.goes_on(&says(1, 2, 3)), [(number(1), of(2, 3))]);
    }
}

#[test]
fn a_record_of_an_epoch_that_is_promised_to_another_region_is_not_taken() {
    let promised = Standing::of(&snapshot(3, 1, &[fence(2, 2)]));
    assert!(matches!(promised.heeds(&record(1, 3, 2)), Heed::Fenced(_)));
    assert_eq!(promised.heeds(&record(1, 2, 2)), Heed::Take(of(2, 2)));
    assert_eq!(promised.heeds(&record(1, 3, 3)), Heed::Take(of(3, 3)), "a newer one goes before");
}
