//! Plans and repairs on the leader of an orders group: a person's word in, a record out.

use std::time::Duration;

use bytes::Bytes;
use hansa_api::convert::id::transfer_to_bytes;
use hansa_api::convert::id::{order_from_bytes, order_to_bytes, transfer_from_bytes};
use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::repair::Action as Wire;
use hansa_api::pb::ledger as books;
use hansa_api::status::{Failure, Reason};
use hansa_reconcile::tree;
use hansa_types::id::{GroupId, GroupKind, OrderId};
use hansa_types::limits::{ID_BYTES_MAX, TEXT_BYTES_MAX};
use hansa_types::pan::looks_like_card;
use tokio::time::{Instant, timeout_at};

use crate::core::command::{Command, Outcome};
use crate::core::effect::Reference;
use crate::core::order::MoneyFacts;
use crate::core::repair::{
    Action, Answer, Begin, End, EntryId, Money, PlanId, PlanRow, RepairRow, RepairStep, Why,
};
use crate::core::takeover::TailAction;
use crate::shell::{Hosted, ledger};
use crate::start::Orders;
use crate::takeover;

/// How long a caller waits for an entry to be done; a repeat finds out later.
const DONE_MAX: Duration = Duration::from_secs(4);

impl Orders {
    /// # Errors
    /// Not the leader; a header that is not the plan's; no place for another plan.
    pub async fn propose_plan(
        &self,
        group: GroupId,
        by: &str,
        asked: &pb::ProposePlanRequest,
        due: Instant,
    ) -> Result<pb::PlanRecord, Failure> {
        let plan = plan_of(&asked.plan)?;
        let header = asked.header.as_ref().ok_or_else(|| Failure::of(Reason::FieldEmpty))?;
        let proven =
            header.format == tree::FORMAT && tree::proves_header(&asked.plan, header, &asked.proof);
        if !proven {
            return Err(Failure::field(Reason::FieldInvalid, "proof", "of the plan's header"));
        }
        if header.planned_by != by {
            return Err(Failure::field(Reason::FieldInvalid, "header", "made by who proposes it"));
        }
        let hosted = self.shell().hosted(group)?.clone();
        if header.region != self.shell().region.as_str() {
            return Err(Failure::field(Reason::FieldInvalid, "header", "a plan of this region"));
        }
        let reason = text("reason", &header.reason, TEXT_BYTES_MAX)?;
        let (by, entries) = (by.to_owned(), header.entries);
        let step = RepairStep::Propose { plan, by, reason, entries };
        let row = planned(submit(&hosted, step, due).await?)?;
        Ok(plan_record(group, plan, &row))
    }

    /// # Errors
    /// Not the leader; no such plan; made by the same person; approved on another word.
    pub async fn approve_plan(
        &self,
        group: GroupId,
        by: &str,
        asked: &pb::ApprovePlanRequest,
        due: Instant,
    ) -> Result<pb::PlanRecord, Failure> {
        let plan = plan_of(&asked.plan)?;
        let ticket = text("ticket", &asked.ticket, ID_BYTES_MAX)?;
        let hosted = self.shell().hosted(group)?.clone();
        let step = RepairStep::Approve { plan, by: by.to_owned(), ticket };
        let row = planned(submit(&hosted, step, due).await?)?;
        Ok(plan_record(group, plan, &row))
    }

    /// Commits the intent of one entry and waits a while for its end.
    ///
    /// # Errors
    /// Not the leader; an entry that is not the plan's, or has no repair; a plan that is not
    /// approved. What the entry came to is no error.
    pub async fn apply_repair(
        &self,
        group: GroupId,
        by: &str,
        asked: &pb::ApplyRepairRequest,
        due: Instant,
    ) -> Result<pb::RepairRecord, Failure> {
        let plan = plan_of(&asked.plan)?;
        let entry = asked.entry.as_ref().ok_or_else(|| Failure::of(Reason::FieldEmpty))?;
        if !tree::proves_entry(&asked.plan, entry, asked.entries, &asked.proof) {
            return Err(Failure::field(Reason::FieldInvalid, "entry", "part of the plan"));
        }
        let hosted = self.shell().hosted(group)?.clone();
        let id: EntryId = (plan, entry.number);
        let known = hosted.group.read(due, |m| m.state.repairs.rows.contains(&id)).await;
        let action = action(entry)?;
        let rests_on = match action {
            // Shipping what the home says now rests on nothing.
            Action::Reship { .. } => None,
            _ => self.rests_on(group, entry, &action)?,
        };
        let of_none = matches!(action, Action::Rebook { .. } | Action::Reship { .. });
        if rests_on.is_none() && !of_none {
            return Err(Failure::field(Reason::FieldInvalid, "entry", "about an order"));
        }
        let known = known.map_err(crate::shell::not_read)?;
        if let (false, Action::DecideTail { .. }, Some((order, _))) = (known, &action, rests_on)
            && !self.shell().tail_is_final(&hosted, order.region())
        {
            let why = "the owner's stream was not heard to its end: it may know the order";
            return Err(Failure::new(Reason::Unavailable, why));
        }
        let held = |action: &Action| self.held_at_owner(&hosted, action, rests_on);
        if let Some(why) = Some(&action).filter(|_| !known).and_then(held) {
            return Ok(pb::RepairRecord {
                state: pb::RepairState::Refused.into(),
                detail: why.to_owned(),
                ..named(group, id)
            });
        }
        if !known && let Some(why) = self.books_changed(entry, due).await? {
            return Ok(pb::RepairRecord {
                state: pb::RepairState::Stale.into(),
                detail: why,
                ..named(group, id)
            });
        }
        let why = text("why", &entry.why, TEXT_BYTES_MAX)?;
        let (by, looked) = (by.to_owned(), false);
        let begin = Begin { entry: id, by, why, rests_on, looked, action };
        let row = match submit(&hosted, RepairStep::Begin(Box::new(begin)), due).await? {
            Answer::Repair(row) => row,
            Answer::Refused(Why::Busy) => {
                let state = pb::RepairState::Busy.into();
                return Ok(pb::RepairRecord { state, ..named(group, id) });
            }
            Answer::Refused(why) => return Err(refused(why)),
            Answer::Plan(_) => return Err(Failure::of(Reason::Internal)),
        };
        let row = match row.ended {
            Some(_) => row,
            None if row.action.waits() => row,
            None => ended(&hosted, id, due.min(Instant::now() + DONE_MAX)).await.unwrap_or(row),
        };
        Ok(record(group, id, &row))
    }

    /// Why an order of the tail is not given back: its owner may go on with it still.
    fn held_at_owner(
        &self,
        hosted: &Hosted,
        action: &Action,
        rests_on: Option<(OrderId, Option<u128>)>,
    ) -> Option<&'static str> {
        let gives_back = Action::DecideTail { action: TailAction::Compensate };
        let (order, _) = rests_on.filter(|_| *action == gives_back)?;
        let told = hosted.group.peek(|machine| self.shell().owner_was_told(&machine.state, order));
        told.then_some(
            "its owner was told of it and may bring it back: see to it there (`region \
             not-adopted`), or adopt it and cancel it then",
        )
    }

    /// Plans and entries of a group; of one plan, if one is named.
    ///
    /// # Errors
    /// Not the leader.
    pub async fn list_repairs(
        &self,
        group: GroupId,
        plan: &[u8],
        due: Instant,
    ) -> Result<(Vec<pb::PlanRecord>, Vec<pb::RepairRecord>), Failure> {
        let only = if plan.is_empty() { None } else { Some(plan_of(plan)?) };
        let hosted = self.shell().hosted(group)?.clone();
        let frozen = hosted.group.read(due, |machine| {
            let repairs = &machine.state.repairs;
            (repairs.plans.freeze(), repairs.rows.freeze())
        });
        let (plans, rows) = frozen.await.map_err(crate::shell::not_read)?;
        let wanted = |id: &PlanId| only.is_none_or(|only| only == *id);
        let plans = plans.iter().filter(|(id, _)| wanted(id));
        let mut plans: Vec<_> = plans.map(|(id, row)| plan_record(group, *id, row)).collect();
        plans.sort_by_key(|plan| plan.planned_ms);
        let rows = rows.iter().filter(|((plan, _), _)| wanted(plan));
        let mut rows: Vec<_> = rows.map(|(id, row)| record(group, *id, row)).collect();
        rows.sort_by_key(|row| (row.begun_ms, row.number));
        Ok((plans, rows))
    }

    /// The order that an entry is about and the hash it was read with.
    fn rests_on(
        &self,
        group: GroupId,
        entry: &pb::PlanEntry,
        action: &Action,
    ) -> Result<Option<(OrderId, Option<u128>)>, Failure> {
        let invalid = |what| Failure::field(Reason::FieldInvalid, "entry", what);
        let found = entry.difference.as_ref().ok_or_else(|| invalid("a difference"))?;
        if found.order_id.is_empty() {
            return Ok(None);
        }
        let order = order_from_bytes(&found.order_id).map_err(|_| invalid("an order's id"))?;
        let hash = match found.order_hash.as_str() {
            "" => None,
            text => Some(u128::from_str_radix(text, 16).map_err(|_| invalid("an order's hash"))?),
        };
        let now = self.shell().map.now()?;
        // A tail is of orders that another region owns.
        let ours = matches!(action, Action::DecideTail { .. })
            || now.owner(order.region(), order.slot()).is_some_and(|of| of.owner == now.here);
        // Another region's order is unknown here, and its charge is not ours to give back.
        if !ours || self.shell().map.orders_group(order.slot())? != group {
            return Err(invalid("of this group's orders"));
        }
        if matches!(action, Action::DecideTail { .. }) {
            self.says_what_is(group, found, (order, hash))?;
        }
        Ok(Some((order, hash)))
    }

    /// Two people decide by what the plan says: it names the order that its id is of, and as long
    /// as that has not changed, its version and amount.
    fn says_what_is(
        &self,
        group: GroupId,
        found: &pb::FoundDifference,
        (id, hash): (OrderId, Option<u128>),
    ) -> Result<(), Failure> {
        let said = (found.order_version, found.amount_minor);
        let other = self.shell().hosted(group)?.group.peek(|machine| {
            let same = machine.state.hash_of(id).map(|hash| hash.0) == hash;
            let order = machine.state.orders.get(&id).filter(|_| same);
            let left = |money: &MoneyFacts| money.captured_minor - money.refunded_minor;
            order.is_some_and(|order| (order.version, left(&order.money)) != said)
        });
        if other || found.order != self.shell().map.name_of(id) {
            let what = "says what its order is: name, version and amount";
            return Err(Failure::field(Reason::FieldInvalid, "entry", what));
        }
        Ok(())
    }

    /// What the money books say that the entry does not, before anything is intended.
    async fn books_changed(
        &self,
        entry: &pb::PlanEntry,
        due: Instant,
    ) -> Result<Option<String>, Failure> {
        let Some(Wire::RefundCapture(refund)) =
            entry.repair.as_ref().and_then(|r| r.action.as_ref())
        else {
            return Ok(None);
        };
        let group =
            GroupId::from_number(refund.group).ok_or_else(|| Failure::of(Reason::NotFound))?;
        let payments = vec![refund.payment.clone()];
        let question = books::GetPaymentAccountsRequest { group: refund.group, payments };
        let get =
            |mut client: ledger::Client, ask| async move { client.get_payment_accounts(ask).await };
        let answer: books::GetPaymentAccountsResponse =
            ledger::ask(&self.shell(), group, question, due, get).await?;
        let named = entry.difference.as_ref().map(|found| &found.order_id);
        let books = answer.accounts.first();
        if books.is_some_and(|books| Some(&books.order) != named) {
            return Ok(Some("the payment is another order's".to_owned()));
        }
        let now = books.map(|books| (books.captured_minor, books.refunded_minor));
        let same = now == Some((refund.captured_minor, refund.refunded_minor));
        Ok((!same).then(|| "the books say something else by now".to_owned()))
    }
}

async fn submit(hosted: &Hosted, step: RepairStep, due: Instant) -> Result<Answer, Failure> {
    match hosted.submit(&Command::Repair(step), due).await? {
        Outcome::Repair(answer) => Ok(*answer),
        _ => Err(Failure::of(Reason::Internal)),
    }
}

/// The entry's record once it has ended, `None` when that takes longer.
async fn ended(hosted: &Hosted, id: EntryId, until: Instant) -> Option<RepairRow> {
    let mut applied = hosted.group.applied();
    loop {
        applied.borrow_and_update();
        let row = hosted.group.peek(|machine| machine.state.repairs.rows.get(&id).cloned())?;
        if row.ended.is_some() {
            return Some(row);
        }
        timeout_at(until, applied.changed()).await.ok()?.ok()?;
    }
}

fn plan_of(bytes: &[u8]) -> Result<PlanId, Failure> {
    let hash = bytes.try_into().map(PlanId);
    hash.map_err(|_| Failure::field(Reason::FieldInvalid, "plan", "32 bytes"))
}

/// Words of people, which stay in the log for ever.
fn text(field: &'static str, text: &str, max: usize) -> Result<String, Failure> {
    if text.is_empty() {
        return Err(Failure::field(Reason::FieldEmpty, field, "required"));
    }
    if text.len() > max || text.chars().any(char::is_control) {
        return Err(Failure::field(Reason::FieldInvalid, field, "short and printable"));
    }
    match looks_like_card(text) {
        true => Err(Failure::of(Reason::PanRefused)),
        false => Ok(text.to_owned()),
    }
}

fn planned(answer: Answer) -> Result<PlanRow, Failure> {
    match answer {
        Answer::Plan(row) => Ok(row),
        Answer::Refused(why) => Err(refused(why)),
        Answer::Repair(_) => Err(Failure::of(Reason::Internal)),
    }
}

fn refused(why: Why) -> Failure {
    let (reason, what) = match why {
        Why::NoSuchPlan => (Reason::NotFound, "no such plan: `reconcile plan` proposes it"),
        Why::SamePerson => (Reason::PermissionDenied, "who made a plan cannot approve it"),
        Why::AlreadyApproved => (Reason::FailedPrecondition, "approved already, on another word"),
        Why::NotApproved => (Reason::FailedPrecondition, "the plan is not approved"),
        Why::NoSuchEntry => (Reason::NotFound, "the plan has no such entry"),
        Why::Busy => (Reason::Unavailable, "another repair of the order is under way"),
        Why::Full => (Reason::FailedPrecondition, "too many plans are under way"),
        Why::Shelved => (Reason::Unavailable, "the order has left hot state"),
    };
    Failure::new(reason, what)
}

fn action(entry: &pb::PlanEntry) -> Result<Action, Failure> {
    let invalid = |what| Failure::field(Reason::FieldInvalid, "repair", what);
    let wire = entry.repair.as_ref().and_then(|repair| repair.action.as_ref());
    let id = |bytes: &Bytes| transfer_from_bytes(bytes).map_err(|_| invalid("an id"));
    let index = |number: u32, kind: GroupKind| {
        let group = GroupId::from_number(number).filter(|group| group.kind() == kind);
        group.map(|group| group.index()).ok_or_else(|| invalid("a group of its kind"))
    };
    Ok(match wire.ok_or_else(|| invalid("this entry needs a person"))? {
        Wire::ReleaseStock(it) => Action::ReleaseStock {
            group: index(it.group, GroupKind::Inventory)?,
            hold: id(&it.hold)?,
            committed: it.committed,
        },
        Wire::VoidMoney(it) => {
            let (group, payment) = (index(it.group, GroupKind::Payments)?, id(&it.payment)?);
            Action::VoidMoney { books: Money { group, payment }, hold: id(&it.hold)? }
        }
        Wire::RefundCapture(it) => {
            let (group, payment) = (index(it.group, GroupKind::Payments)?, id(&it.payment)?);
            let left = it.captured_minor - it.refunded_minor;
            if !(1..=left).contains(&it.amount_minor) {
                return Err(invalid("an amount that is left"));
            }
            let currency = it.currency.parse().map_err(|_| invalid("a currency"))?;
            let books = Money { group, payment };
            Action::RefundCapture { books, amount_minor: it.amount_minor, currency }
        }
        Wire::CancelCharge(it) => {
            let order = entry.difference.as_ref().map(|found| found.order_id.clone());
            let named = order.and_then(|id| order_from_bytes(&id).ok());
            // The entry is checked against an order: a key of another one would not be.
            let key = named.map(crate::core::order::provider_key).filter(|key| *key == it.key);
            let key = key.ok_or_else(|| invalid("the key of the entry's order"))?;
            Action::CancelCharge { key, reference: Reference(it.reference.clone()) }
        }
        Wire::ResumeOrder(_) => Action::Resume,
        Wire::RebookStock(it) => Action::Rebook {
            group: index(it.group, GroupKind::Inventory)?,
            sku: it.sku.parse().map_err(|_| invalid("a SKU"))?,
            delta: it.delta,
            expected_shipped: it.expected_shipped,
        },
        Wire::ReshipCopy(it) => {
            Action::Reship { peer: it.peer.parse().map_err(|_| invalid("a region"))? }
        }
        Wire::DecideTail(it) => {
            let action = takeover::tail_action(it.action());
            Action::DecideTail { action: action.ok_or_else(|| invalid("what becomes of it"))? }
        }
    })
}

fn plan_record(group: GroupId, plan: PlanId, row: &PlanRow) -> pb::PlanRecord {
    let approved = row.approved.as_ref();
    pb::PlanRecord {
        group: group.number(),
        plan: Bytes::copy_from_slice(&plan.0),
        planned_by: row.by.clone(),
        reason: row.reason.clone(),
        planned_ms: row.at.ms(),
        entries: row.entries,
        approved_by: approved.map(|of| of.by.clone()).unwrap_or_default(),
        ticket: approved.map(|of| of.ticket.clone()).unwrap_or_default(),
        approved_ms: approved.map_or(0, |of| of.at.ms()),
    }
}

fn named(group: GroupId, (plan, number): EntryId) -> pb::RepairRecord {
    let plan = Bytes::copy_from_slice(&plan.0);
    pb::RepairRecord { group: group.number(), plan, number, ..pb::RepairRecord::default() }
}

fn record(group: GroupId, id: EntryId, row: &RepairRow) -> pb::RepairRecord {
    let (state, detail) = match row.ended.as_ref().map(|(_, end)| end) {
        None if row.action.waits() => {
            (pb::RepairState::Waiting, "until its births are here again".to_owned())
        }
        None => (pb::RepairState::Running, String::new()),
        Some(End::Done) => (pb::RepairState::Done, String::new()),
        Some(End::Stale(why)) => (pb::RepairState::Stale, why.clone()),
        Some(End::Refused(why)) => (pb::RepairState::Refused, why.clone()),
    };
    pb::RepairRecord {
        state: state.into(),
        detail,
        applied_by: row.by.clone(),
        begun_ms: row.begun.ms(),
        ended_ms: row.ended.as_ref().map_or(0, |(at, _)| at.ms()),
        order_id: row.order.map(order_to_bytes).unwrap_or_default(),
        what: what(row),
        ..named(group, id)
    }
}

fn what(row: &RepairRow) -> String {
    let what = match &row.action {
        Action::ReleaseStock { hold, .. } => format!("release stock hold {hold}"),
        Action::VoidMoney { hold, .. } => format!("void money hold {hold}"),
        Action::RefundCapture { books, amount_minor, currency } => {
            let payment = transfer_to_bytes(books.payment);
            let payment = hansa_reconcile::judge::hex(&payment);
            format!("refund {amount_minor} {currency} of payment {payment}")
        }
        Action::CancelCharge { key, .. } => format!("cancel charge {key}"),
        Action::Resume => "resume the order".to_owned(),
        Action::Rebook { sku, delta, .. } => format!("rebook {delta} of {sku}"),
        Action::Reship { peer } => format!("ship to {peer} again"),
        Action::DecideTail { action } => format!("{action:?} the order").to_lowercase(),
    };
    format!("{what}: {}", row.why)
}

#[cfg(test)]
mod tests;
