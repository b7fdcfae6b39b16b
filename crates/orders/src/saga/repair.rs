//! What a group's leader does for repairs that were committed: each entry's intent is in the state,
//! and every step of it has an id that follows from it, so a repeat and another leader do the same
//! thing once.

mod bound;

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use hansa_api::convert::id::{order_to_bytes, transfer_to_bytes};
use hansa_api::pb::ledger as wire;
use hansa_api::pb::ledger::OutcomeCode as Code;
use hansa_api::pb::ledger::command::Command as Verb;
use hansa_types::id::{GroupId, GroupKind, OrderId, TransferId};
use tokio::time::{Instant, timeout};

use self::bound::Bound;
use crate::core::command::Command;
use crate::core::effect::Reference;
use crate::core::order::provider_key;
use crate::core::repair::{Action, End, EntryId, RepairRow, RepairStep};
use crate::core::takeover::Phase;
use crate::machine::OrdersMachine;
use crate::provider::{Answer, Provider};
use crate::shell::{Hosted, Shell, ledger};

/// Between two looks while something is open, and after what could not be done now.
const PAUSE: Duration = Duration::from_millis(200);
const CALL_MAX: Duration = Duration::from_secs(10);
const SUBMIT_MAX: Duration = Duration::from_secs(5);
/// Entries looked at in one round, and at once: one that waits for a provider keeps no other.
const ROUND_MAX: usize = 1_024;
const AT_ONCE: usize = 32;

pub struct Repairer {
    pub shell: Arc<Shell>,
    pub hosted: Arc<Hosted>,
    pub provider: Arc<dyn Provider>,
}

impl Repairer {
    /// Runs until the node stops.
    pub async fn run(self) {
        let stop = self.shell.env.tasks.stop_token();
        let mut leadership = self.hosted.group.leadership();
        let mut applied = self.hosted.group.applied();
        loop {
            let mine = leadership.borrow_and_update().mine;
            applied.borrow_and_update();
            // Without its lease the region asks nobody for anything.
            let may = mine && self.hosted.lease.open();
            if may && stop.run_until_cancelled(self.round()).await.is_none() {
                return;
            }
            // Only what a plan brings is done here: that may wait a moment, and entries are many.
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = leadership.changed() => if changed.is_err() { return },
                changed = applied.changed(), if mine => if changed.is_err() { return },
                () = tokio::time::sleep(PAUSE), if mine && self.any() => {}
            }
        }
    }

    fn any(&self) -> bool {
        self.hosted.group.peek(|machine| machine.state.repairs.open().next().is_some())
    }

    async fn round(&self) {
        let open: Vec<(EntryId, RepairRow)> = self.hosted.group.peek(|machine| {
            let open = machine.state.repairs.open().take(ROUND_MAX);
            open.map(|(id, row)| (id, row.clone())).collect()
        });
        let done = open.into_iter().map(|(entry, row)| self.one(entry, row));
        stream::iter(done).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    async fn one(&self, entry: EntryId, row: RepairRow) {
        let Some(end) = self.carry_out(entry, &row).await else { return };
        let due = Instant::now() + SUBMIT_MAX;
        let step = RepairStep::Ended { entry, end };
        // Not committed: it is done again, and finds that it was done.
        if let Err(failure) = self.hosted.submit(&Command::Repair(step), due).await {
            tracing::debug!(reason = %failure.reason(), "a repair's end not committed yet");
        }
    }

    /// `None` when it cannot be said yet: the same goes out again.
    async fn carry_out(&self, entry: EntryId, row: &RepairRow) -> Option<End> {
        if let Some(owned) = row.order.and_then(|order| self.elsewhere(order)) {
            return owned;
        }
        let id = |step: &str| step_id(entry, row, step);
        let bound = Bound { shell: &self.shell, order: row.order, due: Instant::now() + CALL_MAX };
        let looked = bound.stale(&row.action, &id("refund")).await.inspect_err(|failure| {
            tracing::debug!(reason = %failure.reason(), "repair's grounds not looked at yet");
        });
        if let Some(stale) = looked.ok()? {
            return Some(stale);
        }
        match &row.action {
            Action::ReleaseStock { group, hold, committed } => {
                let order = row.order.map(order_to_bytes).unwrap_or_default();
                let (id, hold) = (id("stock"), transfer_to_bytes(*hold));
                let verb = match committed {
                    true => Verb::Uncommit(wire::Uncommit { id, hold, order }),
                    false => Verb::Release(wire::Release { id, hold, order }),
                };
                self.book(GroupId::new(GroupKind::Inventory, *group), verb).await
            }
            Action::VoidMoney { books, hold } => {
                // Money that was only ever held here need not be known there.
                if let Given::Refused(why) = self.give_back(row.order?, "").await? {
                    return Some(End::Refused(why));
                }
                let (id, hold) = (id("void"), transfer_to_bytes(*hold));
                let payment = transfer_to_bytes(books.payment);
                let verb = Verb::Void(wire::Void { id, hold, payment });
                self.book(GroupId::new(GroupKind::Payments, books.group), verb).await
            }
            Action::RefundCapture { books, amount_minor, .. } => {
                // What stands in the books alone is given back in the books alone.
                if let Given::Refused(why) = self.give_back(row.order?, "").await? {
                    return Some(End::Refused(why));
                }
                let (id, amount_minor) = (id("refund"), *amount_minor);
                let payment = transfer_to_bytes(books.payment);
                let verb = Verb::Refund(wire::Refund { id, payment, amount_minor });
                self.book(GroupId::new(GroupKind::Payments, books.group), verb).await
            }
            Action::CancelCharge { reference: at, .. } => self.cancel_charge(row.order?, at).await,
            Action::Rebook { group, sku, delta, expected_shipped } => {
                let rebook = wire::Rebook {
                    id: id("rebook"),
                    sku: sku.to_string(),
                    delta: *delta,
                    expected_shipped: *expected_shipped,
                    reason: row.why.clone(),
                    document: self.ticket(entry),
                };
                self.book(GroupId::new(GroupKind::Inventory, *group), Verb::Rebook(rebook)).await
            }
            // Done by the machine itself, or by who applies the plan.
            Action::Resume | Action::Reship { .. } => Some(End::Done),
            // By who follows the births.
            Action::DecideTail { .. } => None,
        }
    }

    async fn cancel_charge(&self, order: OrderId, at: &Reference) -> Option<End> {
        if self.stands(order) {
            return Some(End::Stale("the order stands for this charge".to_owned()));
        }
        Some(match self.give_back(order, &at.0).await? {
            Given::Back => End::Done,
            Given::Unknown => End::Refused("the provider knows no such charge".to_owned()),
            Given::Refused(why) => End::Refused(why),
        })
    }

    /// What becomes of a repair of an order that may not change here: another region's order is
    /// what that one makes of it.
    fn elsewhere(&self, order: OrderId) -> Option<Option<End>> {
        let birth = order.region();
        let phase = |m: &OrdersMachine| m.state.births.get(birth).map(|row| row.phase);
        let owner = self.shell.map.now().ok().and_then(|now| now.owners.get(&birth).copied());
        let mine = owner.is_some_and(|of| of.owner == self.shell.number);
        match self.hosted.group.peek(phase) {
            None | Some(Phase::Owned | Phase::Adopting) if mine => None,
            None if birth == self.shell.number => Some(None),
            None | Some(Phase::Elsewhere { .. }) => {
                Some(Some(End::Stale("another region owns the order".to_owned())))
            }
            // Who owns it is not settled yet.
            Some(_) => Some(None),
        }
    }

    fn ticket(&self, (plan, _): EntryId) -> String {
        let ticket = self.hosted.group.peek(|machine| {
            let approved = machine.state.repairs.plans.get(&plan)?.approved.as_ref();
            approved.map(|approved| approved.ticket.clone())
        });
        ticket.unwrap_or_default()
    }

    /// Whether the order's own saga may yet have to do with its charge.
    fn stands(&self, order: OrderId) -> bool {
        let order = |machine: &crate::machine::OrdersMachine| {
            machine.state.orders.get(&order).is_some_and(|order| !order.provider.clear())
        };
        self.hosted.group.peek(order)
    }

    /// Gives back at the provider whatever it has for an order that does not stand for it. What an
    /// order's own saga has asked for is not touched.
    async fn give_back(&self, order: OrderId, reference: &str) -> Option<Given> {
        if self.stands(order) {
            return Some(Given::Back);
        }
        let settle_ms = self.hosted.group.peek(|m| m.state.meta.settings.settle_ms);
        let now = self.hosted.group.peek(|m| m.state.meta.now);
        let key = provider_key(order);
        let mut reference = reference.to_owned();
        if reference.is_empty() {
            match timeout(CALL_MAX, self.provider.lookup(&key)).await {
                Ok(Ok(Answer::Authorized { reference: known })) => reference = known,
                // "Not found" proves nothing before the settle time.
                Ok(Ok(Answer::NotFound)) if order.born().plus_ms(settle_ms) > now => return None,
                // Given back before, maybe by us: cancelling it again tells that from "never".
                Ok(Ok(Answer::NotFound | Answer::Done)) => {}
                Ok(Ok(Answer::Declined { .. })) => return Some(Given::Unknown),
                Ok(Ok(Answer::Refused { why })) => return Some(Given::Refused(why)),
                Ok(Err(_)) | Err(_) => return None,
            }
        }
        match timeout(CALL_MAX, self.provider.cancel(&key, &reference)).await {
            Ok(Ok(Answer::Done)) => Some(Given::Back),
            Ok(Ok(Answer::NotFound)) => Some(Given::Unknown),
            Ok(Ok(Answer::Refused { why } | Answer::Declined { why })) => Some(Given::Refused(why)),
            Ok(Ok(Answer::Authorized { .. })) => {
                Some(Given::Refused("the provider will not cancel".to_owned()))
            }
            // In doubt: the same key goes out again.
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// One ledger command; `None` while it is not known what became of it.
    async fn book(&self, group: GroupId, verb: Verb) -> Option<End> {
        let request = wire::SubmitRequest {
            seq: 1,
            group: group.number(),
            commands: vec![wire::Command { command: Some(verb) }],
            timeout_ms: SUBMIT_MAX.as_millis() as u32,
        };
        let due = Instant::now() + SUBMIT_MAX;
        match ledger::ask(&self.shell, group, request, due, ledger::once).await {
            Ok(outcome) => Some(end(outcome.code())),
            Err(failure) => {
                tracing::debug!(%group, reason = %failure.reason(), "repair not booked yet");
                None
            }
        }
    }
}

/// What came of giving a charge back at the provider.
enum Given {
    /// It has nothing of it any more, or the order's own saga sees to it.
    Back,
    /// It has never held anything by this key.
    Unknown,
    Refused(String),
}

/// The id of one step of an entry: the same however often and wherever it is done.
fn step_id((plan, number): EntryId, row: &RepairRow, step: &str) -> bytes::Bytes {
    let parts: [&[u8]; 4] = [b"repair", &plan.0, &number.to_le_bytes(), step.as_bytes()];
    transfer_to_bytes(TransferId::derive(row.begun, &parts))
}

/// Every code is listed: a new one must be thought about.
fn end(code: Code) -> End {
    let word = || code.as_str_name().to_owned();
    match code {
        Code::Applied | Code::Exists => End::Done,
        Code::HoldNotFound
        | Code::AlreadyVoided
        | Code::AlreadyPosted
        | Code::Expired
        | Code::CountDiffers
        | Code::ExceedsCaptured
        | Code::ExceedsCommitted
        | Code::PaymentNotFound => End::Stale(word()),
        Code::Unspecified
        | Code::ExistsWithDifferent
        | Code::IdTooOld
        | Code::IdTooNew
        | Code::LinkedFailed
        | Code::AmountInvalid
        | Code::AccountsSame
        | Code::UnitMismatch
        | Code::AccountNotFound
        | Code::UnknownSku
        | Code::NotAHold
        | Code::ExceedsHold
        | Code::ExceedsAvailable
        | Code::Overflow
        | Code::BelowHeld
        | Code::ExtendCapReached
        | Code::ExceedsShipped
        | Code::Malformed => End::Refused(word()),
    }
}
