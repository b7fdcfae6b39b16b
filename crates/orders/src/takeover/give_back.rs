//! Gives back what former orders hold in this region's books: their new owner has its own.

use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use hansa_api::convert::id::{order_to_bytes, transfer_to_bytes};
use hansa_api::pb::ledger as wire;
use hansa_api::pb::ledger::OutcomeCode as Code;
use hansa_api::pb::ledger::command::Command as Verb;
use hansa_api::status::Failure;
use hansa_types::id::{GroupId, GroupKind, OrderId, TransferId};
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;
use tokio::time::Instant;

use super::keeper::commit;
use crate::core::takeover::{Leftover, ORDERS_MAX, Phase, Step};
use crate::shell::{Hosted, Shell, ledger};

const CALL_MAX: Duration = Duration::from_secs(5);
const AT_ONCE: usize = 32;

/// One part of it; whether there is more at once.
///
/// # Errors
/// A ledger that does not answer, or a command that was not committed.
pub async fn round(shell: &Shell, hosted: &Hosted, birth: RegionNumber) -> Result<bool, Failure> {
    let look = |machine: &crate::machine::OrdersMachine| {
        let row = machine.state.births.get(birth)?;
        let Phase::Elsewhere { since, given_back: false } = row.phase else { return None };
        let (found, undecided) = machine.state.leftovers(birth, ORDERS_MAX);
        Some((row.epoch, since, found, undecided))
    };
    let Some((epoch, since, found, undecided)) = hosted.group.peek(look) else { return Ok(false) };
    let last = found.is_empty() && !undecided;
    if found.is_empty() && !last {
        return Ok(false);
    }
    let given: Vec<_> = found.iter().map(|left| give_back(shell, since, left)).collect();
    let given = stream::iter(given).buffer_unordered(AT_ONCE);
    let given: Vec<Result<OrderId, Failure>> = given.collect().await;
    let orders: Vec<OrderId> = given.into_iter().collect::<Result<_, _>>()?;
    commit(hosted, Step::GivenBack { birth, epoch, orders, last }).await?;
    Ok(!last)
}

async fn give_back(shell: &Shell, since: LogTime, left: &Leftover) -> Result<OrderId, Failure> {
    let id = |step: &str, n: usize| {
        let parts: [&[u8]; 4] =
            [b"given-back", &left.order.to_bytes(), step.as_bytes(), &n.to_le_bytes()];
        transfer_to_bytes(TransferId::derive(since, &parts))
    };
    let order = order_to_bytes(left.order);
    for (n, (index, hold)) in left.stock.iter().enumerate() {
        let group = GroupId::new(GroupKind::Inventory, *index);
        let hold = transfer_to_bytes(*hold);
        let release = wire::Release { id: id("release", n), hold: hold.clone(), order: order.clone() };
        // What was committed is not held any more: then it is given back as that.
        if book(shell, group, Verb::Release(release)).await? == Code::AlreadyPosted {
            let uncommit = wire::Uncommit { id: id("uncommit", n), hold, order: order.clone() };
            book(shell, group, Verb::Uncommit(uncommit)).await?;
        }
    }
    if let Some((index, payment, hold)) = left.funds {
        let (payment, hold) = (transfer_to_bytes(payment), transfer_to_bytes(hold));
        let void = wire::Void { id: id("void", 0), hold, payment };
        book(shell, GroupId::new(GroupKind::Payments, index), Verb::Void(void)).await?;
    }
    Ok(left.order)
}

/// One ledger command. What the books refuse for good is nothing that they hold.
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
