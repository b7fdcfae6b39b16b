//! Who is forgotten is shown nowhere, and nobody else is.

use std::cell::RefCell;
use std::collections::BTreeMap;

use hansa_api::pb::order::{Order, PersonalState};

use crate::trace;
use crate::workload::Board;

/// What each order's owner shows of who placed it: what became of that, and his id.
#[derive(Default)]
pub struct Shown(RefCell<BTreeMap<String, (PersonalState, String)>>);

impl Shown {
    pub fn note(&self, name: &str, order: Option<&Order>) {
        let shown = order.map(|order| (order.personal_state(), order.customer_id.clone()));
        self.0.borrow_mut().extend(shown.map(|shown| (name.to_owned(), shown)));
    }

    /// Orders that show somebody who is forgotten, or hide somebody who is not.
    pub fn wrong(&self, board: &Board) -> Vec<String> {
        let (people, placed) = (board.people.borrow(), board.placed.borrow());
        let mut wrong = Vec::new();
        for (name, (state, shows)) in self.0.borrow().iter() {
            let Some((customer, at)) = placed.get(name) else { continue };
            let Some(person) = people.get(customer) else {
                if *state != PersonalState::Unspecified || shows != customer {
                    wrong.push(format!("{name} of {customer} shows {state:?} {shows:?}"));
                }
                continue;
            };
            let forgotten =
                person.erased.iter().any(|one| one.done.is_some() && *at < one.began);
            if !forgotten {
                continue;
            }
            trace::count("order of an erased customer read", 1);
            if *state == PersonalState::Unspecified || !shows.is_empty() {
                wrong.push(format!("{name} of {customer}, erased, shows {state:?} {shows:?}"));
            }
        }
        wrong
    }
}
