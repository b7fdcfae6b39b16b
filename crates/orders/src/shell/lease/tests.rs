use hansa_types::time::WallTime;
use tokio::time::Instant;

use super::*;

/// tokio's own, which a test may stop.
struct Paused(Instant);

impl Clock for Paused {
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall(&self) -> WallTime {
        WallTime(0)
    }
}

fn region(n: u16) -> RegionNumber {
    n.try_into().unwrap()
}

fn lease() -> Lease {
    Lease::new(Arc::new(Paused(Instant::now())))
}

fn rule() -> Gate {
    Gate::Lease(Rule { regions: 3, lease: Duration::from_secs(10), here: region(1) })
}

fn owned(epoch: u64) -> BTreeMap<RegionNumber, u64> {
    BTreeMap::from([(region(1), epoch)])
}

fn granted(lease: &Lease, by: u16, epoch: u64) {
    let asked = lease.0.clock.monotonic();
    lease.answered(region(by), asked, std::iter::once((region(1), epoch, true)), None);
}

#[tokio::test(start_paused = true)]
async fn a_region_that_serves_needs_no_lease() {
    let lease = lease();
    lease.follow(Gate::Serve, &owned(1));
    assert!(lease.open());
    assert_eq!(lease.during(region(1), async { Ok(7) }).await, Ok(7));
    assert!(lease.held().is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_let_in_before_a_majority_has_renewed() {
    let lease = lease();
    lease.follow(rule(), &owned(1));
    let refused = lease.during(region(1), async { Ok(()) }).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::LeaseLost);
    assert!(refused.wait().is_some(), "a caller is told when to come back");
    granted(&lease, 1, 1);
    assert!(lease.check(region(1)).is_err(), "one of three");
    granted(&lease, 2, 1);
    assert_eq!(lease.during(region(1), async { Ok(7) }).await, Ok(7));
    assert!(lease.check(region(2)).is_err(), "another birth");
    let held = lease.held();
    assert_eq!((held[0].by.len(), held[0].left), (2, Duration::from_millis(9_900)));
}

#[tokio::test(start_paused = true)]
async fn what_waits_when_the_lease_ends_fails_and_not_before() {
    let lease = lease();
    lease.follow(rule(), &owned(1));
    granted(&lease, 1, 1);
    granted(&lease, 2, 1);
    let begun = Instant::now();
    let waits = lease.during(region(1), std::future::pending::<Result<(), Failure>>());
    let renewed = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        granted(&lease, 1, 1);
        granted(&lease, 3, 1);
    };
    let (failed, ()) = tokio::join!(waits, renewed);
    assert_eq!(failed.unwrap_err().reason(), Reason::LeaseLost);
    let lasted = begun.elapsed().as_millis();
    assert!((14_900..14_950).contains(&lasted), "renewed at 5 s: {lasted} ms");
}

#[tokio::test(start_paused = true)]
async fn grants_of_an_epoch_that_ended_count_for_nothing() {
    let lease = lease();
    lease.follow(rule(), &owned(1));
    granted(&lease, 1, 1);
    granted(&lease, 2, 1);
    lease.follow(rule(), &owned(2));
    assert!(lease.check(region(1)).is_err());
    granted(&lease, 3, 1);
    assert!(!lease.open(), "answers of the old epoch are late");
    granted(&lease, 1, 2);
    granted(&lease, 2, 2);
    assert!(lease.open());
    lease.follow(rule(), &BTreeMap::new());
    assert!(lease.check(region(1)).is_err(), "another region owns it");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_lease_is_woken_when_it_is_held_again() {
    let lease = lease();
    lease.follow(rule(), &owned(1));
    let begun = Instant::now();
    let grants = async {
        granted(&lease, 1, 1);
        granted(&lease, 2, 1);
    };
    // Every group waits for the one gate.
    tokio::join!(lease.back(), lease.back(), grants);
    assert!(begun.elapsed() < RETRY, "they were rung");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_let_in_before_anybody_has_looked() {
    let lease = lease();
    let refused = lease.during(region(1), async { Ok(()) }).await.unwrap_err();
    assert_eq!((refused.reason(), lease.open()), (Reason::LeaseLost, false));
}

#[tokio::test(start_paused = true)]
async fn what_ends_when_the_lease_has_ended_is_not_acknowledged() {
    let lease = lease();
    lease.follow(rule(), &owned(1));
    granted(&lease, 1, 1);
    granted(&lease, 2, 1);
    // Ready at once, but nobody looked before the lease was over.
    let late = async {
        lease.follow(rule(), &BTreeMap::new());
        Ok(7)
    };
    assert_eq!(lease.during(region(1), late).await.unwrap_err().reason(), Reason::LeaseLost);
}

#[tokio::test(start_paused = true)]
async fn no_lease_is_held_without_a_read_of_our_own_and_by_its_rule() {
    let lease = lease();
    lease.follow(rule(), &owned(1));
    granted(&lease, 2, 1);
    granted(&lease, 3, 1);
    assert!(!lease.open(), "two of three, but our own directory said nothing");
    let Gate::Lease(book) = rule() else { panic!() };
    let read = Rule { regions: 5, ..book };
    let own = std::iter::once((region(1), 1, true));
    lease.answered(region(1), lease.0.clock.monotonic(), own, Some(read));
    assert!(lease.open(), "three of five");
    let read = Rule { regions: 7, ..book };
    let own = std::iter::once((region(1), 1, true));
    lease.answered(region(1), lease.0.clock.monotonic(), own, Some(read));
    assert!(!lease.open(), "regions joined that this node has not heard of");
}

/// How long the others are asked.
const WITHIN: Duration = Duration::from_secs(3);

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_waits_until_the_others_were_asked_and_no_longer_than_a_moment() {
    let lease = lease();
    lease.follow(Gate::Serve, &owned(1));
    lease.ask_first(WITHIN);
    let begun = Instant::now();
    assert_eq!(lease.check(region(1)).unwrap_err().reason(), Reason::HomeMoving);
    assert!(!lease.open(), "nor do steps begin");
    // Nobody answers.
    assert_eq!(lease.during(region(1), async { Ok(7) }).await, Ok(7));
    assert_eq!((begun.elapsed(), lease.open()), (WITHIN, true));
    // Somebody does: all that wait go on.
    lease.ask_first(WITHIN);
    let begun = Instant::now();
    let answer = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        lease.asked();
    };
    let (one, other, ()) = tokio::join!(
        lease.during(region(1), async { Ok(1) }),
        lease.during(region(1), async { Ok(2) }),
        answer
    );
    assert_eq!((one, other, begun.elapsed().as_millis()), (Ok(1), Ok(2), 200));
}

#[tokio::test(start_paused = true)]
async fn steps_that_wait_hear_what_is_rung_between_their_look_and_their_wait() {
    let lease = lease();
    lease.follow(Gate::Serve, &owned(1));
    lease.ask_first(WITHIN);
    let back = lease.back();
    assert!(!lease.open());
    lease.asked();
    let begun = Instant::now();
    back.await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    // By time alone, between the two.
    lease.ask_first(WITHIN);
    assert!(!lease.open());
    tokio::time::advance(WITHIN).await;
    lease.back().await;
    assert!(lease.open());
}

#[tokio::test(start_paused = true)]
async fn births_that_are_another_s_by_now_wait_for_the_record_that_says_so() {
    let lease = lease();
    let both = BTreeMap::from([(region(1), 1), (region(2), 4)]);
    lease.follow(Gate::Serve, &both);
    lease.ask_first(WITHIN);
    lease.told(&BTreeMap::from([(region(1), 3)]));
    lease.asked();
    let refused = lease.during(region(1), async { Ok(()) }).await.unwrap_err();
    assert_eq!((refused.reason(), refused.wait()), (Reason::HomeMoving, Some(SOON)));
    assert_eq!(lease.during(region(2), async { Ok(7) }).await, Ok(7));
    assert!(!lease.open());
    // The directory catches up with what it said before it went down.
    lease.follow(Gate::Serve, &BTreeMap::from([(region(1), 2), (region(2), 4)]));
    assert!(lease.check(region(1)).is_err() && !lease.open());
    // It is taken in: whoever asks is refused by the group.
    lease.follow(Gate::Serve, &BTreeMap::from([(region(2), 4)]));
    assert!(lease.open() && lease.check(region(1)).is_ok());
    // They are here again, in a newer epoch than was told of.
    lease.follow(Gate::Serve, &BTreeMap::from([(region(1), 4), (region(2), 4)]));
    assert!(lease.open() && lease.check(region(1)).is_ok());
    lease.told(&BTreeMap::from([(region(1), 4)]));
    assert!(lease.open(), "known before it was told");
    // It was nobody's.
    lease.told(&BTreeMap::from([(region(1), 5)]));
    tokio::time::advance(Duration::from_secs(9)).await;
    assert!(lease.check(region(1)).is_err());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(lease.check(region(1)).is_ok() && lease.open());
}
