use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn breaker() -> Breaker {
    Breaker::new(BreakerPolicy { failures_max: 3, open_for: 5 * SECOND, probes_max: 3 })
}

fn opened(at: Duration) -> Breaker {
    let mut breaker = breaker();
    for change in [Change::None, Change::None, Change::Opened] {
        assert_eq!(breaker.admit(at, true), Ok(()));
        assert_eq!(breaker.record(at, false), change);
    }
    breaker
}

#[test]
fn failures_in_a_row_open_and_a_success_between_them_does_not() {
    let mut breaker = breaker();
    for success in [false, false, true, false, false] {
        assert_eq!(breaker.record(SECOND, success), Change::None);
    }
    assert!(breaker.is_closed());
    assert_eq!(breaker.record(SECOND, false), Change::Opened);
}

#[test]
fn an_open_breaker_says_how_long_it_stays_so() {
    let mut breaker = opened(10 * SECOND);
    assert_eq!(breaker.admit(12 * SECOND, true), Err(3 * SECOND));
}

#[test]
fn a_round_has_a_few_probes_and_the_first_success_closes() {
    let mut breaker = opened(SECOND);
    for _ in 0..3 {
        assert_eq!(breaker.admit(6 * SECOND, true), Ok(()));
    }
    assert_eq!(breaker.admit(6 * SECOND, true), Err(5 * SECOND), "a fourth probe");
    assert_eq!(breaker.record(7 * SECOND, false), Change::None);
    assert_eq!(breaker.admit(8 * SECOND, true), Err(3 * SECOND), "failed, and still the fourth");
    assert_eq!(breaker.admit(11 * SECOND, true), Ok(()), "the next round");
    assert_eq!(breaker.record(12 * SECOND, true), Change::Closed);
    assert_eq!(breaker.admit(12 * SECOND, false), Ok(()));
}

#[test]
fn a_call_that_is_repeated_for_ever_keeps_nobody_else_out() {
    let mut breaker = opened(SECOND);
    for round in 0..5 {
        let now = (6 + 5 * round) * SECOND;
        assert_eq!(breaker.admit(now, false), Ok(()));
        assert_eq!(breaker.admit(now, false), Err(5 * SECOND), "another repeat");
        assert_eq!(breaker.record(now, false), Change::None);
    }
    assert_eq!(breaker.admit(27 * SECOND, true), Ok(()), "a first try need not wait for a round");
    assert_eq!(breaker.record(27 * SECOND, true), Change::Closed);
}

#[test]
fn probes_that_are_never_heard_of_do_not_block_for_ever() {
    let mut breaker = opened(SECOND);
    for now in [6, 6, 6, 11] {
        assert_eq!(breaker.admit(now * SECOND, true), Ok(()));
    }
}

#[test]
fn a_late_success_from_before_does_not_close() {
    let mut breaker = opened(SECOND);
    assert_eq!(breaker.record(2 * SECOND, true), Change::None);
    assert!(breaker.admit(2 * SECOND, true).is_err());
}

#[test]
fn a_full_bulkhead_refuses_until_someone_leaves() {
    let mut bulkhead = Bulkhead::new(1);
    assert!(bulkhead.enter());
    assert!(!bulkhead.enter());
    bulkhead.leave();
    assert_eq!(bulkhead.free(), 1);
    assert!(bulkhead.enter());
}
