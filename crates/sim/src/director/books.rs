//! Looks at regions whose orders groups keep their books: whether the two agree, and how far orders
//! were when their leader was lost.

use std::collections::BTreeSet;
use std::time::Duration;

use hansa_orders::core::effect::{Booking, Todo};
use hansa_orders::core::state::State as Orders;

use super::State;
use crate::trace;

/// Between two comparisons of everything.
const EVERY: Duration = Duration::from_millis(500);
/// Steps that are looked at of a group.
const STEPS_MAX: usize = 64;

/// What was seen of them.
#[derive(Default)]
pub(super) struct Books {
    next: Duration,
    /// Of each seat at the last look.
    seats: Vec<Under>,
    /// Bookings that near books left to lanes: region and step.
    left: BTreeSet<(usize, u64)>,
    /// One finding is enough: the state stays as it is.
    told: bool,
    pub wrong: Vec<String>,
}

/// What orders of a seat wait for that the provider is asked.
#[derive(Clone, Copy, Default)]
struct Under {
    /// Their first entry is behind them, and the one of the provider's first answer is not.
    charge: bool,
    /// The same of the second and the third.
    capture: bool,
}

impl Books {
    pub fn new(seats: usize) -> Self {
        Self { seats: vec![Under::default(); seats], ..Self::default() }
    }

    /// At each look at the groups.
    pub fn look(&mut self, now: Duration, seats: &[State]) {
        let compare = now >= self.next && !self.told;
        if compare {
            self.next = now + EVERY;
        }
        for (number, state) in seats.iter().enumerate() {
            if !state.seat.config.groups.joint {
                continue;
            }
            self.steps(number, state);
            if compare {
                let name = state.seat.name();
                let found = state.seat.disagreements();
                self.told |= !found.is_empty();
                self.wrong.extend(found.into_iter().map(|what| format!("{name}: {what}")));
            }
        }
    }

    /// A seat leads the orders of its region in a new term: what it had not heard of before.
    pub fn elected(&self, number: usize) {
        let Under { charge, capture } = self.seats[number];
        trace::count("leader changed between an order's first entry and its second", charge.into());
        trace::count(
            "leader changed between an order's second entry and its third",
            capture.into(),
        );
    }

    fn steps(&mut self, number: usize, state: &State) {
        let look = |orders: &Orders| {
            let index = orders.meta.settings.index;
            let (mut under, mut left) = (Under::default(), Vec::new());
            for call in orders.due(0, STEPS_MAX) {
                match &call.todo {
                    Todo::Authorize { .. } => under.charge = true,
                    Todo::Settle(_) => under.capture = true,
                    Todo::Book(booking) if is_near(booking, index) => left.push(call.no),
                    _ => {}
                }
            }
            (under, left)
        };
        self.seats[number] = Under::default();
        for (under, left) in state.seat.joint_orders(look) {
            self.seats[number] = under;
            let new = left.into_iter().filter(|no| self.left.insert((state.region, *no)));
            trace::count("booking left to a lane in a joint region", new.count() as u64);
        }
    }
}

fn is_near(booking: &Booking, index: u16) -> bool {
    booking.group().1 == index
}
