//! Gives back what former orders hold in this region's books: their new owner has its own.

use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use hansa_api::convert::id::{order_to_bytes, transfer_to_bytes};
use hansa_api::pb::ledger as wire;
use hansa_api::pb::ledger::OutcomeCode as Code;
use hansa_api::pb::ledger::command::Command as Verb;
use hansa_api::status::{Failure, Reason};
use hansa_types::id::{GroupId, GroupKind, OrderId, TransferId};
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;
use tokio::time::Instant;

use super::keeper::commit;
use crate::core::takeover::{Leftover, ORDERS_MAX, Phase, Step};
use crate::shell::{Hosted, Shell, ledger};

const CALL_MAX: Duration = Duration::from_secs(5);
const AT_ONCE: usize = 32;
/// Ids are of the time when they go out, or the books would call a late one too old; a repeat
/// within this is the same command. A later one finds that there is nothing left: no verb here does
/// twice what is done.
pub(super) const SAME_MS: u64 = 60_000;

/// One part of it; whether there is more at once.
///
/// # Errors
/// A ledger that does not answer, or a command that was not committed.
pub async fn round(shell: &Shell, hosted: &Hosted, birth: RegionNumber) -> Result<bool, Failure> {
    let look = |machine: &crate::machine::OrdersMachine| {
        let (state, row) = (&machine.state, machine.state.births.get(birth)?);
        let (found, waits) = match row.phase {
            Phase::Elsewhere { given_back: false, .. } => state.leftovers(birth, ORDERS_MAX),
            // Orders that can be adopted are, before all of them are looked through for others.
            Phase::Adopting if !state.ready(birth, 1).is_empty() => (Vec::new(), true),
            Phase::Adopting => (state.leftovers(birth, ORDERS_MAX).0, true),
            // What was decided on only after the births had moved on.
            _ => (state.late_leftovers(birth, ORDERS_MAX), true),
        };
        Some((row.epoch, found, waits))
    };
    let Some((epoch, found, waits)) = hosted.group.peek(look) else { return Ok(false) };
    let last = found.is_empty() && !waits;
    if found.is_empty() && !last {
        return Ok(false);
    }
    let wall = shell.env.clock.wall().ms();
    let at = LogTime(wall - wall % SAME_MS);
    let given: Vec<_> = found.iter().map(|left| give_back(shell, at, left)).collect();
    let given = stream::iter(given).buffer_unordered(AT_ONCE);
    let given: Vec<Result<OrderId, Failure>> = given.collect().await;
    let (orders, failed): (Vec<_>, Vec<_>) = given.into_iter().partition(Result::is_ok);
    let orders: Vec<OrderId> = orders.into_iter().flatten().collect();
    if last || !orders.is_empty() {
        commit(hosted, Step::GivenBack { birth, epoch, orders, last }).await?;
    }
    match failed.into_iter().find_map(Result::err) {
        Some(failure) => Err(failure),
        None => Ok(!last),
    }
}

async fn give_back(shell: &Shell, at: LogTime, left: &Leftover) -> Result<OrderId, Failure> {
    let id = |step, hold| transfer_to_bytes(step_id(at, left.order, step, hold));
    let order = order_to_bytes(left.order);
    for (index, held) in &left.stock {
        let group = GroupId::new(GroupKind::Inventory, *index);
        let hold = transfer_to_bytes(*held);
        let release =
            wire::Release { id: id("release", *held), hold: hold.clone(), order: order.clone() };
        // What was committed is not held any more: then it is given back as that.
        let code = book(shell, group, Verb::Release(release)).await?;
        if code == Code::AlreadyPosted {
            let uncommit = wire::Uncommit { id: id("uncommit", *held), hold, order: order.clone() };
            nothing_left(book(shell, group, Verb::Uncommit(uncommit)).await?)?;
        } else {
            nothing_left(code)?;
        }
    }
    if let Some((index, payment, held)) = left.funds {
        let (payment, hold) = (transfer_to_bytes(payment), transfer_to_bytes(held));
        let void = wire::Void { id: id("void", held), hold, payment };
        let code = book(shell, GroupId::new(GroupKind::Payments, index), Verb::Void(void)).await?;
        if code != Code::PaymentNotFound {
            nothing_left(code)?;
        }
    }
    Ok(left.order)
}

/// Of the hold that it ends: an order that came and went twice in one bucket of time holds
/// something else the second time.
fn step_id(at: LogTime, order: OrderId, step: &str, hold: TransferId) -> TransferId {
    let parts: [&[u8]; 4] = [b"given-back", &order.to_bytes(), step.as_bytes(), &hold.to_bytes()];
    TransferId::derive(at, &parts)
}

/// Whether this answer says that the books hold nothing more of what was given back.
fn nothing_left(code: Code) -> Result<(), Failure> {
    match code {
        Code::Applied
        | Code::Exists
        | Code::HoldNotFound
        | Code::AlreadyVoided
        | Code::Expired
        // All of it was shipped, or captured.
        | Code::AlreadyPosted => Ok(()),
        other => {
            let why = format!("the books still hold it: {}", other.as_str_name());
            Err(Failure::new(Reason::Unavailable, why))
        }
    }
}

/// One ledger command, and what the books said of it.
pub async fn book(shell: &Shell, group: GroupId, verb: Verb) -> Result<Code, Failure> {
    let request = wire::SubmitRequest {
        seq: 1,
        group: group.number(),
        commands: vec![wire::Command { command: Some(verb) }],
        timeout_ms: CALL_MAX.as_millis() as u32,
    };
    let due = Instant::now() + CALL_MAX;
    Ok(ledger::ask(shell, group, request, due, ledger::once).await?.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_goes_by_the_hold_that_it_ends() {
        use hansa_types::region::Slot;
        let order = OrderId::new(LogTime(1), 1_u16.try_into().unwrap(), Slot::of(b"x"), 5);
        let hold = |n: &[u8]| TransferId::derive(LogTime(1), &[n]);
        let id = |hold| step_id(LogTime(60_000), order, "release", hold);
        assert_eq!(id(hold(b"1")), id(hold(b"1")), "a repeat is the same command");
        assert_ne!(id(hold(b"1")), id(hold(b"2")), "it came back and went again within a minute");
    }

    #[test]
    fn only_an_answer_that_nothing_is_held_any_more_is_taken_for_done() {
        for done in [Code::Applied, Code::Exists, Code::AlreadyVoided, Code::Expired] {
            assert!(nothing_left(done).is_ok(), "{done:?}");
        }
        for held in [Code::IdTooOld, Code::IdTooNew, Code::ExceedsCommitted, Code::Malformed] {
            assert!(nothing_left(held).is_err(), "{held:?}");
        }
    }
}
