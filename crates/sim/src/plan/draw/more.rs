//! Pauses, the provider's moods and changes of members: drawn with dice of their own, so that what
//! a seed breaks besides is what it broke before there were these.

use super::{NODES, ms};
use crate::dice::Dice;
use crate::plan::{Act, Change, DiskOp, Errand, Fault, Mood, Plan, Who};

const MORE: u64 = 4;
const ERRANDS: u64 = 5;
const LAWS: u64 = 6;
const READS: u64 = 7;
/// The newest policy that is loaded; the league begins with the first.
const LAW_MAX: u64 = 4;
/// A run with a long pause has time for it, and slower clients: histories stay small.
const SLOWER: u32 = 3;

pub fn add(plan: &mut Plan) {
    let mut dice = Dice::of(plan.seed, MORE);
    plan.shape.spare = dice.one_in(5);
    for _ in 0..dice.below(3) {
        let fault = match dice.below(10) {
            0..6 => Fault::Pause { who: who(&mut dice, plan), span: ms(dice.pick(&PAUSES)) },
            _ => provider(&mut dice, plan),
        };
        push(plan, &mut dice, fault);
    }
    if plan.shape.spare {
        for _ in 0..dice.within(1, 3) {
            let node = dice.below(NODES) as usize;
            let change = match dice.below(6) {
                0 => Change::Add,
                1 => Change::AddHeld,
                2..4 => Change::Remove { node },
                _ => Change::Replace { node },
            };
            push(plan, &mut dice, Fault::Members { change });
        }
    }
    if dice.one_in(25) {
        long(plan, &mut dice);
    }
    errands(plan, &mut Dice::of(plan.seed, ERRANDS));
    laws(plan, &mut Dice::of(plan.seed, LAWS));
    reads(plan, &mut Dice::of(plan.seed, READS));
}

/// Disks that do not read.
fn reads(plan: &mut Plan, dice: &mut Dice) {
    if dice.one_in(8) {
        let (who, op) = (who(dice, plan), DiskOp::Read);
        let (after, times) = (dice.pick(&[0, 1, 3, 10]), dice.pick(&[1, u64::MAX]));
        let span = ms(dice.pick(&[1_000, 3_000, 8_000]));
        push(plan, dice, Fault::DiskError { who, op, after, times, span });
    }
}

/// Keys that rotate, and policies that take and give, each loaded by every region in its own time.
fn laws(plan: &mut Plan, dice: &mut Dice) {
    let regions = plan.shape.regions;
    if dice.one_in(6) {
        let region = dice.below(regions as u64) as usize;
        push(plan, dice, Fault::Errand { region, errand: Errand::Rotate });
    }
    if regions == 1 || dice.one_in(3) {
        return;
    }
    let share = plan.storm / (LAW_MAX as u32);
    for (part, version) in (2..=dice.within(2, LAW_MAX)).enumerate() {
        for region in 0..regions {
            let at = share * part as u32 + ms(dice.below(share.as_millis() as u64));
            let errand = Errand::Law { version };
            plan.acts.push(Act { at, fault: Fault::Errand { region, errand } });
        }
    }
}

fn errands(plan: &mut Plan, dice: &mut Dice) {
    let region = dice.below(plan.shape.regions as u64) as usize;
    let node = dice.below(NODES) as usize;
    if dice.one_in(5) {
        push(plan, dice, Fault::Errand { region, errand: Errand::Drain { node } });
    }
    if dice.one_in(6) {
        push(plan, dice, Fault::Errand { region, errand: Errand::Raise });
    }
    if plan.shape.spare && dice.one_in(2) {
        push(plan, dice, Fault::Members { change: Change::ReplaceLost { node } });
    }
}

const PAUSES: [u64; 6] = [1_000, 1_000, 2_000, 3_000, 5_000, 9_000];

fn push(plan: &mut Plan, dice: &mut Dice, fault: Fault) {
    let end = plan.storm.as_millis() as u64;
    plan.acts.push(Act { at: ms(dice.within(200, end - 500)), fault });
}

fn who(dice: &mut Dice, plan: &Plan) -> Who {
    let region = dice.below(plan.shape.regions as u64) as usize;
    match dice.one_in(3) {
        true => Who::Node { region, node: dice.below(NODES) as usize },
        false => Who::Leader { region, group: dice.below(4) as usize },
    }
}

fn provider(dice: &mut Dice, plan: &Plan) -> Fault {
    let region = dice.below(plan.shape.regions as u64) as usize;
    let mood = match dice.below(3) {
        0 => Mood::Away,
        1 => Mood::Slow(ms(dice.pick(&[200, 450, 900]))),
        _ => Mood::Mute,
    };
    Fault::Provider { region, mood, span: ms(dice.pick(&[500, 1_500, 4_000, 8_000])) }
}

/// A process stands still for up to a minute, the longest that is promised to be harmless.
fn long(plan: &mut Plan, dice: &mut Dice) {
    let span = ms(dice.pick(&[20_000, 30_000, 60_000]));
    let at = ms(dice.within(500, 6_000));
    let who = who(dice, plan);
    plan.acts.push(Act { at, fault: Fault::Pause { who, span } });
    plan.storm = plan.storm.max(at + span + ms(3_000));
    plan.shape.pause *= SLOWER;
}
