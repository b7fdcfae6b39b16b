//! Carries out what two people decided on the unshipped tail.

use std::sync::Arc;
use std::time::Duration;

use hansa_api::convert::id::transfer_to_bytes;
use hansa_api::pb::ledger as wire;
use hansa_api::pb::ledger::OutcomeCode as Code;
use hansa_api::pb::ledger::command::Command as Verb;
use hansa_types::id::{GroupId, GroupKind, OrderId, TransferId};
use hansa_types::time::LogTime;
use tokio::time::timeout;

use super::give_back::book;
use super::keeper::commit;
use crate::core::effect::Reference;
use crate::core::order::{Provider as Charged, provider_key};
use crate::core::takeover::{Decision, End, Step, refund_id};
use crate::provider::{Answer, Charge, Provider};
use crate::shell::{Hosted, Shell};

const CALL_MAX: Duration = Duration::from_secs(10);

/// What there is to give back of an order that only this region knows.
struct Owed {
    at: LogTime,
    known_elsewhere: bool,
    charge: Charge,
    reference: Reference,
    left_minor: i64,
    charged: Charged,
    books: Option<(u16, TransferId)>,
}

/// Everything that is decided and not done; what cannot be done now waits for the next round.
pub async fn carry_out(shell: &Shell, hosted: &Hosted, provider: &Arc<dyn Provider>) {
    let open = hosted.group.peek(|machine| machine.state.tail_open());
    for decision in open {
        let Some(end) = compensate(shell, hosted, provider, &decision).await else { continue };
        let step = Step::Decided { order: decision.order, end };
        if let Err(failure) = commit(hosted, step).await {
            tracing::debug!(reason = %failure.reason(), "a decision's end not committed yet");
        }
    }
}

/// `None` when it cannot be said yet: the same goes out again, under the same keys.
async fn compensate(
    shell: &Shell,
    hosted: &Hosted,
    provider: &Arc<dyn Provider>,
    decision: &Decision,
) -> Option<End> {
    let id = decision.order;
    let Some(owed) = owed(hosted, id) else {
        return Some(End::Refused("the order is gone".to_owned()));
    };
    if owed.known_elsewhere {
        let why = "its owner stands for this charge: reconcile it there";
        return Some(End::Refused(why.to_owned()));
    }
    if owed.charged.clear() {
        return Some(End::Done);
    }
    if owed.charged != Charged::Captured {
        let cancel = provider.cancel(&owed.charge.key, &owed.reference.0);
        return match timeout(CALL_MAX, cancel).await {
            Ok(Ok(Answer::Done | Answer::NotFound | Answer::Declined { .. })) => Some(End::Done),
            Ok(Ok(Answer::Refused { why })) => Some(End::Refused(why)),
            Ok(Ok(Answer::Authorized { .. })) => {
                Some(End::Refused("the provider will not cancel".to_owned()))
            }
            Ok(Err(_)) | Err(_) => None,
        };
    }
    if owed.left_minor <= 0 {
        return Some(End::Done);
    }
    let refund = refund_id(owed.at, id);
    let (key, charge) =
        (format!("ref-{refund}"), Charge { amount_minor: owed.left_minor, ..owed.charge });
    match timeout(CALL_MAX, provider.refund(&charge, &owed.reference.0, &key)).await {
        Ok(Ok(Answer::Done)) => {}
        Ok(Ok(Answer::Refused { why } | Answer::Declined { why })) => {
            return Some(End::Refused(why));
        }
        Ok(Ok(_)) => return Some(End::Refused("an odd answer".to_owned())),
        Ok(Err(_)) | Err(_) => return None,
    }
    let (group, payment) = owed.books?;
    let verb = Verb::Refund(wire::Refund {
        id: transfer_to_bytes(refund),
        payment: transfer_to_bytes(payment),
        amount_minor: owed.left_minor,
    });
    match book(shell, GroupId::new(GroupKind::Payments, group), verb).await {
        Ok(Code::Applied | Code::Exists) => Some(End::Done),
        Ok(code) => Some(End::Refused(code.as_str_name().to_owned())),
        Err(_) => None,
    }
}

fn owed(hosted: &Hosted, id: OrderId) -> Option<Owed> {
    hosted.group.peek(|machine| {
        let state = &machine.state;
        let (order, contents) = (state.orders.get(&id)?, state.contents.get(&id)?);
        let row = state.births.tail.get(&id)?;
        Some(Owed {
            at: row.at,
            known_elsewhere: state.remote.copies.contains(&id),
            charge: Charge {
                key: provider_key(id),
                amount_minor: contents.total_minor,
                currency: contents.currency,
            },
            reference: order.money.reference.clone(),
            left_minor: order.money.captured_minor - order.money.refunded_minor,
            charged: order.provider.clone(),
            books: order.money.payment.map(|payment| (contents.payment_group, payment)),
        })
    })
}
