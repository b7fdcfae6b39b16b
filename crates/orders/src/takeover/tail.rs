//! Carries out what two people decided on the unshipped tail: beside the keeper, so that a provider
//! that hangs keeps no births from being followed.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use hansa_api::convert::id::transfer_to_bytes;
use hansa_api::pb::ledger as wire;
use hansa_api::pb::ledger::OutcomeCode as Code;
use hansa_api::pb::ledger::command::Command as Verb;
use hansa_api::status::Failure;
use hansa_types::id::{GroupId, GroupKind, OrderId, TransferId};
use hansa_types::time::LogTime;
use tokio::time::{Instant, timeout};

use super::give_back::{SAME_MS, book};
use super::keeper::commit;
use crate::core::effect::Reference;
use crate::core::order::{Done, Provider as Charged, provider_key};
use crate::core::takeover::{End, Step, refund_id};
use crate::provider::{Answer, Charge, Provider, Reply};
use crate::shell::{Hosted, Shell, ledger};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);
const CALL_MAX: Duration = Duration::from_secs(10);
/// Decisions looked at in one round, and at once.
const ROUND_MAX: usize = 256;
const AT_ONCE: usize = 16;

pub struct Compensator {
    pub shell: Arc<Shell>,
    pub hosted: Arc<Hosted>,
    pub provider: Arc<dyn Provider>,
}

/// What there is to give back of an order that only this region knows.
struct Owed {
    order: OrderId,
    /// Before this "not found" proves nothing of a charge.
    settled: LogTime,
    /// Why nothing is given back after all.
    known: Option<&'static str>,
    charge: Charge,
    reference: Reference,
    /// Captured, and not known to have been given back.
    left_minor: i64,
    /// Refunds of which no answer was heard.
    under_way: Vec<(TransferId, i64)>,
    charged: Charged,
    books: Option<(u16, TransferId)>,
}

impl Compensator {
    /// Runs until the node stops.
    pub async fn run(self) {
        let stop = self.shell.env.tasks.stop_token();
        let mut leadership = self.hosted.group.leadership();
        loop {
            let mine = leadership.borrow_and_update().mine;
            if mine && stop.run_until_cancelled(self.round()).await.is_none() {
                return;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = leadership.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(PAUSE), if mine => {}
            }
        }
    }

    /// What cannot be done now waits for the next round.
    async fn round(&self) {
        let open = |machine: &crate::machine::OrdersMachine| {
            machine.state.tail_open().take(ROUND_MAX).collect::<Vec<_>>()
        };
        let open = self.hosted.group.peek(open);
        let done = open.into_iter().map(|(order, since)| self.one(order, since));
        stream::iter(done).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    async fn one(&self, order: OrderId, since: LogTime) {
        let Some(end) = self.compensate(order).await else { return };
        if let Err(failure) = commit(&self.hosted, Step::Decided { order, since, end }).await {
            tracing::debug!(reason = %failure.reason(), "a decision's end not committed yet");
        }
    }

    /// `None` when it cannot be said yet: the same goes out again, under the same keys.
    async fn compensate(&self, order: OrderId) -> Option<End> {
        let Some(owed) = owed(&self.hosted, order) else {
            return Some(End::Refused("the order is gone".to_owned()));
        };
        if let Some(why) = owed.known {
            return Some(End::Refused(why.to_owned()));
        }
        if owed.charged.clear() {
            return Some(End::Done);
        }
        let given = match owed.charged {
            Charged::Captured => self.refund(&owed).await?,
            _ => self.cancel(&owed).await?,
        };
        match given {
            // The buyer has it: the books follow, and never make it undone.
            Ok(()) => self.book(&owed).await.map(|()| End::Done),
            Err(why) => Some(End::Refused(why)),
        }
    }

    /// One word of the provider; `None` while there is none.
    async fn ask(&self, reply: Reply<'_>) -> Option<Answer> {
        timeout(CALL_MAX, reply).await.ok()?.ok()
    }

    async fn cancel(&self, owed: &Owed) -> Option<Result<(), String>> {
        let cancel = self.provider.cancel(&owed.charge.key, &owed.reference.0);
        match self.ask(cancel).await? {
            // It may still appear.
            Answer::NotFound if self.shell.env.clock.wall().ms() < owed.settled.ms() => None,
            Answer::Done | Answer::NotFound | Answer::Declined { .. } => Some(Ok(())),
            Answer::Refused { why } => Some(Err(why)),
            Answer::Authorized { .. } => Some(Err("the provider will not cancel".to_owned())),
        }
    }

    /// First what was on its way, under the keys that it had: it may have been paid.
    async fn refund(&self, owed: &Owed) -> Option<Result<(), String>> {
        let mut left = owed.left_minor;
        for (id, amount_minor) in &owed.under_way {
            if let Ok(()) = self.refund_one(owed, *id, *amount_minor).await? {
                left -= amount_minor;
            }
        }
        match left {
            1.. => self.refund_one(owed, refund_id(owed.order), left).await,
            _ => Some(Ok(())),
        }
    }

    async fn refund_one(
        &self,
        owed: &Owed,
        id: TransferId,
        amount_minor: i64,
    ) -> Option<Result<(), String>> {
        let (key, charge) = (format!("ref-{id}"), Charge { amount_minor, ..owed.charge.clone() });
        let refund = self.provider.refund(&charge, &owed.reference.0, &key);
        match self.ask(refund).await? {
            Answer::Done => Some(Ok(())),
            Answer::Refused { why } | Answer::Declined { why } => Some(Err(why)),
            _ => Some(Err("an odd answer".to_owned())),
        }
    }

    /// What the books have as captured and not given back is given back there too: they may know of
    /// steps of which no answer was heard.
    async fn book(&self, owed: &Owed) -> Option<()> {
        let Some((index, payment)) = owed.books else { return Some(()) };
        let group = GroupId::new(GroupKind::Payments, index);
        let left = match self.left_in(group, payment).await {
            Ok(left) if left > 0 => left,
            Ok(_) => return Some(()),
            Err(_) => return None,
        };
        let wall = self.shell.env.clock.wall().ms();
        // Of the time when it goes out, or the books would call a late one too old.
        let at = LogTime(wall - wall % SAME_MS);
        let id = TransferId::derive(at, &[b"tail", &owed.order.to_bytes(), &left.to_le_bytes()]);
        let verb = Verb::Refund(wire::Refund {
            id: transfer_to_bytes(id),
            payment: transfer_to_bytes(payment),
            amount_minor: left,
        });
        match book(&self.shell, group, verb).await {
            Ok(Code::Applied | Code::Exists) => Some(()),
            // Somebody else's was faster, or clocks differ: looked at again.
            Ok(Code::ExceedsCaptured | Code::IdTooOld | Code::IdTooNew) | Err(_) => None,
            Ok(code) => {
                let code = code.as_str_name();
                tracing::error!(order = %owed.order, code, "given back to the buyer, not booked");
                Some(())
            }
        }
    }

    /// Captured and not refunded, by the books.
    async fn left_in(&self, group: GroupId, payment: TransferId) -> Result<i64, Failure> {
        let payments = vec![transfer_to_bytes(payment)];
        let question = wire::GetPaymentAccountsRequest { group: group.number(), payments };
        let get =
            |mut client: ledger::Client, ask| async move { client.get_payment_accounts(ask).await };
        let due = Instant::now() + CALL_MAX;
        let found: wire::GetPaymentAccountsResponse =
            ledger::ask(&self.shell, group, question, due, get).await?;
        Ok(found.accounts.first().map_or(0, |of| of.captured_minor - of.refunded_minor))
    }
}

fn owed(hosted: &Hosted, id: OrderId) -> Option<Owed> {
    hosted.group.peek(|machine| {
        let state = &machine.state;
        let (order, contents) = (state.orders.get(&id)?, state.contents.get(&id)?);
        let row = state.births.tail.get(&id)?;
        let under_way = order.refunds.iter().filter(|refund| refund.state == Done::Outstanding);
        Some(Owed {
            order: id,
            settled: row.at.plus_ms(state.meta.settings.settle_ms),
            known: match state.remote.copies.contains(&id) {
                true => Some("its owner stands for this charge: reconcile it there"),
                false => state.blocked(id).then_some("events of it wait here for an operator"),
            },
            charge: Charge {
                key: provider_key(id),
                amount_minor: contents.total_minor,
                currency: contents.currency,
            },
            reference: order.money.reference.clone(),
            left_minor: order.money.captured_minor - order.money.refunded_minor,
            under_way: under_way.map(|refund| (refund.id, refund.amount_minor)).collect(),
            charged: order.provider.clone(),
            books: order.money.payment.map(|payment| (contents.payment_group, payment)),
        })
    })
}
