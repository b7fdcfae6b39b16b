use proptest::prelude::*;

use super::*;
use crate::judge::judge;
use crate::verdict::Verdict;

/// Enough for an honest history; what is wrong may cost more, and is then unknown.
const BUDGET: u64 = 500_000;

fn run(seed: u64, fault: Option<Fault>) -> Verdict {
    let mut house = House::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), 4, fault);
    house.live(600);
    judge(house.history(), &[], Some(&house.final_state()), BUDGET).verdict
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn an_honest_house_is_never_accused(seed in any::<u64>()) {
        let verdict = run(seed, None);
        prop_assert!(!matches!(verdict, Verdict::Fail(_)), "{}", verdict);
    }
}

/// The search is exponential at worst: now and then an honest history costs more than the budget.
#[test]
fn an_honest_house_is_nearly_always_cleared() {
    let cleared = (1..=100).filter(|seed| run(*seed, None).passed()).count();
    assert!(cleared == 100, "{cleared} of 100");
}

/// Within how many seeds a fault must be seen, and by which check.
#[track_caller]
fn caught(fault: Fault, within: u64, check: &str) {
    let found = (1..=within).any(|seed| match run(seed, Some(fault)) {
        Verdict::Fail(reasons) => reasons.iter().any(|reason| reason.check == check),
        Verdict::Pass | Verdict::Unknown(_) => false,
    });
    assert!(found, "{fault:?} is not seen by {check} within {within} seeds");
}

#[test]
fn each_fault_is_caught_by_the_check_that_is_meant_for_it() {
    caught(Fault::LostUpdate, 20, "stock");
    caught(Fault::StaleStock, 20, "stock");
    caught(Fault::StaleOrder, 20, "order");
    caught(Fault::NoDedup, 20, "request");
    caught(Fault::NoDedup, 40, "8 one effect");
    caught(Fault::DoubleRelease, 40, "stock");
    caught(Fault::LeakedHold, 40, "stock");
    caught(Fault::LeakedHold, 40, "6 no leaked hold");
    caught(Fault::Resurrected, 40, "order");
    caught(Fault::DoubleRefund, 40, "payment");
    caught(Fault::Oversell, 40, "stock");
    caught(Fault::LostOrder, 40, "order");
    caught(Fault::LostOrder, 40, "7 acknowledged found");
}

#[test]
fn a_counter_example_names_the_operation_and_the_states() {
    let fails = (1..40).filter_map(|seed| match run(seed, Some(Fault::LostUpdate)) {
        Verdict::Fail(reasons) => reasons.into_iter().find(|reason| reason.check == "stock"),
        _ => None,
    });
    let reason = fails.into_iter().next().map(|reason| reason.to_string()).unwrap_or_default();
    assert!(reason.contains("cannot be explained"), "{reason}");
    assert!(reason.contains("client"), "{reason}");
}
