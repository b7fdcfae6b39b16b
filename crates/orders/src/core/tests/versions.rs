//! One version is one content: whatever a copy shows of an order changes with its version only.

use std::collections::BTreeMap;

use hansa_types::id::OrderId;

use crate::core::command::Command;
use crate::core::effect::{Effect, Refusal, RefusalCode, StepResult};
use crate::core::order::{Done, Movement, Order, ParkedWhy};
use crate::core::saga;
use crate::core::state::State;
use crate::core::status::OrderStatus;

use super::*;

/// What each version of each order said when it was first seen.
#[derive(Default)]
pub struct Said(BTreeMap<(OrderId, u64), String>);

impl Said {
    pub fn check(&mut self, state: &State) {
        for (id, order) in state.orders.iter() {
            let said = said(order);
            let first = self.0.entry((*id, order.version)).or_insert_with(|| said.clone());
            assert_eq!(*first, said, "{id} at {}", order.version);
        }
    }
}

/// As `replicate/view.rs` and `wire.rs` show it.
fn said(order: &Order) -> String {
    let face = &order.history.last().unwrap().face;
    let state = |done: &Done, version: u64| match done {
        Done::Done if version > 0 => "done",
        Done::Done | Done::Outstanding => "under way",
        Done::Refused(_) => "refused",
    };
    let moved = |list: &[Movement]| {
        let one =
            |m: &Movement| (m.id, m.lines.clone(), m.note.clone(), state(&m.state, m.version));
        list.iter().map(one).collect::<Vec<_>>()
    };
    let refunds = order.refunds.iter();
    let refunds =
        refunds.map(|r| (r.id, r.amount_minor, r.with, r.cause, state(&r.state, r.version)));
    let asked = face.cancel_asked.then_some(&order.cancel_reason);
    let why = (face.order == OrderStatus::Rejected).then_some(&order.goal);
    let parked = order.parked.as_ref().map(|parked| (parked.why, &parked.detail));
    let reference = (face.authorized_minor > 0).then_some(&order.money.reference);
    format!(
        "{face:?} {:?} {:?} {:?} {:?} {} {asked:?} {why:?} {parked:?} {reference:?}",
        moved(&order.shipments),
        moved(&order.returns),
        refunds.collect::<Vec<_>>(),
        order.requests,
        order.settled,
    )
}

fn version(state: &State, id: OrderId) -> u64 {
    state.orders.get(&id).unwrap().version
}

#[test]
fn what_an_order_is_parked_for_is_another_version() {
    let (mut state, id) = placed(contents());
    let mut order = state.orders.get(&id).unwrap().clone();
    let contents = state.contents.get(&id).unwrap().clone();
    let mut park = |why, detail: &str| {
        saga::park(&mut order, why, detail.into(), START);
        order.face(&contents)
    };
    let stuck = park(ParkedWhy::Stuck, "");
    let refused = park(ParkedWhy::CompensationRefused, "out of reach");
    assert_ne!(stuck, refused);
    assert_ne!(refused, park(ParkedWhy::CompensationRefused, "gone"), "other words");
    assert_eq!(park(ParkedWhy::Stuck, "x"), park(ParkedWhy::Stuck, "x"));
    // In the machine: the second refusal of an order that is parked already is published.
    let call = |state: &State, effect: Effect| {
        let work = &state.orders.get(&id).unwrap().work;
        let no = work.iter().find(|work| work.effect == effect).unwrap().no;
        state.due(no - 1, 1).remove(0)
    };
    for effect in [Effect::HoldFunds, Effect::Reserve(0), Effect::Reserve(1)] {
        let call = call(&state, effect);
        answer(&mut state, START, &call, StepResult::Done);
    }
    let cancel = Command::Cancel { order: id, key: key(9), reason: String::new() };
    assert!(matches!(state.apply(START, cancel), Outcome::Done(_)));
    let refuse = |state: &mut State, n: u8, detail: &str| {
        let call = call(state, Effect::Release(n));
        let why = Refusal { detail: detail.into(), ..Refusal::new(RefusalCode::Other, "") };
        answer(state, START, &call, StepResult::Refused(why));
        assert_eq!(status(state, id), OrderStatus::Parked);
    };
    refuse(&mut state, 0, "the first");
    let before = version(&state, id);
    refuse(&mut state, 1, "the second");
    assert_eq!(version(&state, id), before + 1);
}

#[test]
fn a_request_that_was_granted_is_a_version_before_anything_is_done() {
    let (state, id) = placed(contents());
    let order = state.orders.get(&id).unwrap();
    assert_eq!(order.requests.len(), 1, "that which placed it");
    assert_eq!((order.requests[0].scope, order.requests[0].body), (Scope(1), 1));
}

#[test]
fn an_order_remembers_its_first_request_and_the_newest() {
    let (state, id) = placed(contents());
    let mut order = state.orders.get(&id).unwrap().clone();
    for n in 2..200 {
        order.heard(crate::core::order::Heard { scope: Scope(n), ..order.requests[0] });
    }
    let scopes: Vec<u128> = order.requests.iter().map(|heard| heard.scope.0).collect();
    assert_eq!((scopes.len(), scopes[0], scopes[1], scopes[63]), (64, 1, 137, 199));
}
