//! Births that change hands: by plan and home again, or because their region is lost. Drawn with
//! dice of their own, as `more` is, and only where there would be one region.

use std::time::Duration;

use super::ms;
use crate::dice::Dice;
use crate::plan::{Act, Births, Fault, Lost, Plan, Who};

const HEIRS: u64 = 11;
/// One league in so many of one region gets an heir.
const SHARE: u64 = 4;
const LEASE_MS: u64 = 2_000;
/// What a take-over under leases waits for: lease, longest submit, an eighth (ADR 0016).
const WAIT: Duration = Duration::from_secs(15);

pub fn add(plan: &mut Plan) {
    let mut dice = Dice::of(plan.seed, HEIRS);
    if !dice.one_in(SHARE) || plan.shape.regions > 1 {
        return;
    }
    (plan.shape.heir, plan.shape.regions) = (true, 2);
    match dice.below(8) {
        0..4 => planned(plan, &mut dice),
        4..7 => lost(plan, &mut dice),
        _ => leased(plan, &mut dice),
    }
    for _ in 0..dice.below(4) {
        let fault = of_the_heir(&mut dice);
        let at = within(plan, &mut dice, 0, 9);
        plan.acts.push(Act { at, fault });
    }
}

/// A time between two tenths of the storm.
fn within(plan: &Plan, dice: &mut Dice, from: u64, to: u64) -> Duration {
    let tenth = plan.storm.as_millis() as u64 / 10;
    ms(dice.within(from * tenth + 200, to * tenth))
}

fn push(plan: &mut Plan, at: Duration, step: Births) {
    plan.acts.push(Act { at, fault: Fault::Births { step } });
}

fn planned(plan: &mut Plan, dice: &mut Dice) {
    let give_up = dice.one_in(3);
    // Some who give up never meant it: a drain takes longer than that.
    let patience = give_up.then(|| ms(dice.pick(&[0, 500, 2_000])));
    let at = within(plan, dice, 0, 4);
    push(plan, at, Births::HandOver { patience });
    if dice.one_in(4) {
        // Abroad they stay.
        return;
    }
    let home = within(plan, dice, 5, 8);
    push(plan, home, Births::GoHome);
    if dice.one_in(4) {
        let again = within(plan, dice, 8, 9);
        push(plan, again, Births::HandOver { patience: None });
    }
}

fn lost(plan: &mut Plan, dice: &mut Dice) {
    let at = within(plan, dice, 1, 6);
    lose(plan, dice, at, Lost::Power);
}

/// Three regions: without a majority of the others nobody is fenced.
fn leased(plan: &mut Plan, dice: &mut Dice) {
    plan.shape.regions = 3;
    push(plan, ms(100), Births::Lease { ms: LEASE_MS });
    let at = within(plan, dice, 2, 6);
    plan.storm = plan.storm.max(at + WAIT + ms(3_000));
    lose(plan, dice, at, Lost::CutOff);
}

fn lose(plan: &mut Plan, dice: &mut Dice, at: Duration, how: Lost) {
    let after = ms(dice.pick(&[0, 500, 2_000, 6_000]));
    plan.acts.push(Act { at, fault: Fault::Lose { how, after } });
    let taken = at + ms(dice.within(300, 2_000));
    push(plan, taken.min(plan.storm - ms(1)), Births::TakeOver);
    if !dice.one_in(5) {
        push(plan, taken.min(plan.storm - ms(1)), Births::GoHome);
    }
}

/// What breaks where they go to.
fn of_the_heir(dice: &mut Dice) -> Fault {
    let region = 1;
    let who = Who::Leader { region, group: dice.below(4) as usize };
    let span = ms(dice.pick(&[300, 1_000, 2_500, 5_000]));
    match dice.below(6) {
        0 | 1 => Fault::Kill { who, down: span },
        2 => Fault::PowerCut { who, ops: dice.pick(&[0, 1, 3]), down: span },
        3 => Fault::Isolate { who, span },
        4 => Fault::Split { region, span },
        _ => Fault::Hold { who, span },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_leagues_has_an_heir_and_births_change_hands_in_each() {
        let plans: Vec<Plan> = (1..=400).map(|seed| Plan::draw(seed, None)).collect();
        let heirs: Vec<&Plan> = plans.iter().filter(|plan| plan.shape.heir).collect();
        assert!((60..110).contains(&heirs.len()), "{}", heirs.len());
        for plan in &heirs {
            let steps = plan.acts.iter().filter(|act| matches!(act.fault, Fault::Births { .. }));
            assert!(steps.count() > 0, "{plan}");
        }
        let given_up = |act: &Act| {
            matches!(
                act.fault,
                Fault::Births { step: Births::HandOver { patience: Some(patience) } }
                    if patience < ms(1_000)
            )
        };
        let soon = heirs.iter().filter(|plan| plan.acts.iter().any(given_up)).count();
        assert!(soon > 5, "{soon}: none would be given up");
        let forced = heirs.iter().filter(|plan| plan.forced()).count();
        assert!(forced > 15 && forced < heirs.len(), "{forced}");
    }
}
