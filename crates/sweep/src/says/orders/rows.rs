//! The tables of an orders group's state.

use hansa_api::classes::DataClass;
use hansa_consensus::ThawError;
use hansa_orders::core::order::{Order, Provider};
use hansa_orders::core::shelf::Shelved;
use hansa_orders::core::subjects::KeyOf;
use hansa_orders::machine::OrdersMachine;
use hansa_types::country::Country;
use hansa_types::id::OrderId;

use super::{action_of, contents, kept, key, view};
use crate::fact::{Fact, Whose, only};
use crate::says::{Hearing, whole};

/// What the state says; answers how many records it has.
///
/// # Errors
/// A copy that is none.
pub fn facts(machine: &OrdersMachine, to: &mut Hearing<'_>) -> Result<u64, ThawError> {
    let state = &machine.state;
    let damaged = ThawError::Damaged;
    let mut records = 0;
    // First: they say until when a sealed block can be opened.
    for (subject, row) in state.subjects.table.iter() {
        for (generation, wrapped) in row.living() {
            let of = KeyOf { subject: *subject, generation };
            key(of, wrapped, None, None, to);
        }
        records += 1;
    }
    for (id, row) in state.contents.iter() {
        contents(*id, row, None, to);
        records += 1;
    }
    for (id, row) in state.orders.iter() {
        money(*id, row, to);
        if let Some(contents) = state.contents.get(id) {
            former(row, contents.residence, to);
        }
        records += 1;
    }
    for (id, copy) in state.remote.copies.iter() {
        let terms = (copy.shown.terms > 0).then_some(copy.shown.terms);
        view(*id, &copy.view, terms, to).map_err(damaged)?;
        records += 1;
    }
    for (id, events) in state.remote.parked.iter() {
        for waiting in events {
            let terms = (waiting.event.shown.terms > 0).then_some(waiting.event.shown.terms);
            view(*id, &waiting.event.view, terms, to).map_err(damaged)?;
            records += 1;
        }
    }
    for (id, row) in state.moves.kept.iter() {
        kept(*id, row.of, row.residence, to);
        records += 1;
    }
    for (_, row) in state.repairs.rows.iter() {
        if let Some(order) = row.order {
            action_of(order, &row.action, to);
        }
        records += 1;
    }
    if let Some(restored) = &state.restored {
        for stray in restored.strays.values() {
            let financial = only(DataClass::Financial);
            to.fact(Fact::new(Whose::Order(stray.order), financial, "a provider's reference"));
            records += 1;
        }
    }
    // Keys of requests, cursors, terms, plans, births, moves, who is on his way, who is owed to be
    // forgotten, and what hashes and sums there are of orders that left name nobody.
    Ok(records)
}

/// An order as it left hot state.
///
/// # Errors
/// Bytes that are none.
pub fn shelved(id: OrderId, record: &[u8], to: &mut Hearing<'_>) -> Result<(), String> {
    let read = Shelved::decode(record);
    let same = read.as_ref().is_some_and(|shelved| shelved.encode() == record);
    let left = whole(read, same, "an order that left")?;
    contents(id, &left.contents, None, to);
    money(id, &left.order, to);
    former(&left.order, left.contents.residence, to);
    Ok(())
}

/// A former owner knew the customer by another name, and by its key his requests are told apart.
fn former(order: &Order, residence: Country, to: &mut Hearing<'_>) {
    let adopted = order.adopted.iter().map(|adoption| adoption.sealed);
    let heard = order.requests.iter().filter_map(|heard| heard.under);
    for of in adopted.chain(heard) {
        to.findings.lives(of.subject, residence);
    }
}

fn money(id: OrderId, order: &Order, to: &mut Hearing<'_>) {
    let facts = &order.money;
    let said = !facts.reference.0.is_empty()
        || facts.authorized_minor != 0
        || matches!(order.provider, Provider::Declined(_))
        || order.parked.is_some();
    if said {
        let financial = only(DataClass::Financial);
        to.fact(Fact::new(Whose::Order(id), financial, "what a provider knows of an order"));
    }
}
