//! Customers who are forgotten, or live elsewhere: drawn with dice of their own, as `more` is.

use super::ms;
use crate::dice::Dice;
use crate::plan::{Act, Fault, Plan, Wish};

const CUSTOMERS: u64 = 18;
/// One run in so many.
const SHARE: u64 = 5;
/// Customers of each client.
pub const EACH: u64 = 8;

pub fn add(plan: &mut Plan) {
    let mut dice = Dice::of(plan.seed, CUSTOMERS);
    if dice.one_in(SHARE) {
        for _ in 0..dice.within(1, 3) {
            let (client, customer) = whom(plan, &mut dice);
            push(plan, &mut dice, Wish::Erase { client, customer });
        }
    }
    if plan.shape.heir && dice.one_in(2) {
        for _ in 0..dice.within(1, 2) {
            let (client, customer) = whom(plan, &mut dice);
            let back = dice.one_in(3);
            push(plan, &mut dice, Wish::Move { client, customer, back });
        }
    }
}

fn whom(plan: &Plan, dice: &mut Dice) -> (usize, u64) {
    (dice.below(plan.shape.workers as u64) as usize, dice.below(EACH))
}

fn push(plan: &mut Plan, dice: &mut Dice, wish: Wish) {
    let end = plan.storm.as_millis() as u64;
    // Later rather than earlier: he is to have ordered something.
    let at = ms(dice.within(end / 4, end - 500));
    plan.acts.push(Act { at, fault: Fault::Customer { wish } });
}
