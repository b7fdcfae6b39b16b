//! Who is forgotten is shown nowhere, and nobody else is.

use std::cell::RefCell;
use std::collections::BTreeMap;

use hansa_api::pb::order::{GetOrderRequest, Order, PersonalState, ReadMode};
use hansa_checker::loss::Loss;

use super::{CALL_MAX, Reader, at_once};
use crate::trace;
use crate::workload::Board;

/// What each order's owner shows of who placed it: what became of that, and his id.
#[derive(Default)]
pub struct Shown(RefCell<BTreeMap<String, (PersonalState, String)>>);

/// Orders that a region does not show with who placed them, though he has moved there and is not
/// forgotten. What a lost region's tail may take with it need not have come along.
pub async fn unseen(reader: &Reader<'_>, board: &Board, loss: &Loss) -> Vec<String> {
    let here = reader.region.name.as_str();
    let people = board.people.borrow().clone();
    let placed = board.placed.borrow().clone();
    let come = placed.into_iter().filter(|(order, (customer, at))| {
        let person = people.get(customer).filter(|person| person.erased.is_empty());
        let moved = person.and_then(|person| person.moved.as_ref());
        moved.is_some_and(|moved| moved.done && moved.to == here && *at < moved.began)
            && !loss.may_be_gone(order)
    });
    let read = come.map(|(order, (customer, _))| async move {
        let request = GetOrderRequest { order: order.clone(), read: ReadMode::LocalCopy.into() };
        let asked = reader.operator.call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.orders.get_order(request).await }
        });
        trace::count("order of a customer who moved read", 1);
        match asked.await.map(|got| got.order.unwrap_or_default().customer_id) {
            Ok(shown) if shown == customer => None,
            told => Some(format!("{order} of {customer} in {here}: {told:?}")),
        }
    });
    at_once(read).await.into_iter().flatten().collect()
}

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
            let forgotten = person.erased.iter().any(|one| one.done.is_some() && *at < one.began);
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
