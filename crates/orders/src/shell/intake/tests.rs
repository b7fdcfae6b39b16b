use hansa_types::id::GroupKind;

use super::*;

const RULES: config::Intake =
    config::Intake { commit_within_ms: 25, orders_min: 10, orders_max: 1_000 };

fn limit(now: usize) -> Limit {
    Limit { rules: RULES, now, placing: 0, window: Window::since(Instant::now(), 0) }
}

/// A window in which so many came and the log took this long.
fn pass(limit: &mut Limit, come: usize, waited_ms: u64) -> usize {
    limit.placing = 0;
    limit.window.most = 0;
    for _ in 0..come {
        limit.enter();
    }
    let (at, waited) = (limit.window.began + WINDOW, Duration::from_millis(waited_ms));
    for _ in 0..SAMPLES_MIN {
        limit.logged(at, waited);
    }
    limit.now
}

#[test]
fn a_slow_log_lowers_it_where_it_is_reached() {
    let mut limit = limit(160);
    assert_eq!(pass(&mut limit, 200, 26), 140);
    assert_eq!(pass(&mut limit, 139, 26), 140, "fewer than may be are not too many");
    for _ in 0..50 {
        pass(&mut limit, 200, 26);
    }
    assert_eq!(limit.now, 10, "so many are always taken");
}

#[test]
fn a_quick_log_raises_it_where_it_is_reached() {
    let mut limit = limit(160);
    assert_eq!(pass(&mut limit, 159, 25), 160);
    assert_eq!(pass(&mut limit, 160, 25), 181);
    for _ in 0..50 {
        pass(&mut limit, 2_000, 25);
    }
    assert_eq!(limit.now, 1_000);
}

#[test]
fn a_few_samples_or_a_short_time_say_nothing() {
    let mut limit = limit(100);
    limit.placing = 100;
    limit.window.most = 100;
    let (began, long) = (limit.window.began, Duration::from_secs(1));
    for _ in 0..100 {
        assert_eq!(limit.logged(began + WINDOW / 2, long), None);
    }
    assert_eq!(limit.logged(began + WINDOW, long), Some(88));
    assert_eq!(limit.logged(began + 3 * WINDOW, long), None);
}

#[test]
fn who_comes_beyond_the_limit_is_refused_until_another_is_done() {
    let rules = config::Intake { orders_min: 2, ..RULES };
    let intake = Intake::new(GroupId::new(GroupKind::Orders, 0), rules);
    let (first, _second) = (intake.begin().unwrap(), intake.begin().unwrap());
    let refused = intake.begin().err().unwrap();
    assert_eq!(refused.reason(), Reason::Overloaded);
    assert_eq!(refused.wait(), Some(RETRY_AFTER));
    drop(first);
    assert!(intake.begin().is_ok());
}
