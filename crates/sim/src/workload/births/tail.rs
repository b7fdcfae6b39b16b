//! What becomes of the unshipped tail: two people decide, on a plan as `hansactl region tail` makes
//! it.

use bytes::Bytes;
use hansa_api::convert::id::order_to_bytes;
use hansa_api::pb::admin::repair::Action;
use hansa_api::pb::admin::{
    ApplyRepairRequest, ApprovePlanRequest, DecideTail, DifferenceClass, FactSide, FoundDifference,
    ListTailRequest, ListTailResponse, PlanEntry, PlanHeader, ProposePlanRequest, ReconcilePlan,
    Repair, RepairState,
};
use hansa_api::pb::node::{TailAction, TailOrder};
use hansa_checker::loss::Tail;
use hansa_reconcile::tree::{FORMAT, Tree};
use hansa_types::id::OrderName;

use super::{BETWEEN, CALL_MAX, Overseer, Why, now, said, spiffe};
use crate::clock;
use crate::trace;

/// Looks at one decision until it is carried out.
const LOOKS: usize = 60;

impl Overseer<'_> {
    /// The whole tail, once no more of it can be heard of.
    async fn tail(&self) -> Result<ListTailResponse, Why> {
        let first = self.name(0);
        let request = ListTailRequest { region: first.clone(), birth_region: first, max: 10_000 };
        let asked = self.doors[0].call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.region_loss.list_tail(request).await }
        });
        let told = asked.await.map_err(said)?;
        let silent = !told.silent_nodes.is_empty() && !self.short(0);
        if silent || !told.groups_not_final.is_empty() || told.truncated {
            let (nodes, groups) = (&told.silent_nodes, &told.groups_not_final);
            return Err(format!("the tail is not whole: silent {nodes:?}, not final {groups:?}"));
        }
        Ok(told)
    }

    /// Notes what is listed, for the judge.
    pub(super) async fn list_tail(&mut self) {
        let until = self.patience();
        loop {
            match self.whole_tail().await {
                Ok(told) => return self.note(&told),
                Err(why) if until < now() => {
                    let what = format!("the tail is never whole: {why}");
                    return self.board.wrong.borrow_mut().push(what);
                }
                Err(_) => tokio::time::sleep(BETWEEN).await,
            }
        }
    }

    async fn whole_tail(&self) -> Result<ListTailResponse, Why> {
        if let Some(told) = self.away().await? {
            self.settled(&told)?;
        }
        self.tail().await
    }

    fn note(&self, told: &ListTailResponse) {
        let mut tail = self.board.tail.borrow_mut();
        for of in &told.orders {
            let (version, adopted) = (of.version, of.adopted_version);
            let adopt = of.decision.as_ref().map(|decision| decision.action());
            let goes_on = adopt == Some(TailAction::Adopt);
            let known = tail.entry(of.order.clone());
            let known = known.or_insert(Tail { version, adopted, goes_on: false });
            known.goes_on |= goes_on;
        }
    }

    /// Plans, approves and carries out what nobody has decided on; how many orders that were.
    pub(super) async fn decide_tail(&mut self) -> Result<usize, Why> {
        let told = self.tail().await?;
        self.note(&told);
        let open: Vec<&TailOrder> = told.orders.iter().filter(|of| open(of)).collect();
        if open.is_empty() {
            return Ok(0);
        }
        let mut entries = Vec::new();
        for (number, of) in (1..).zip(open) {
            let action = self.say(of);
            trace::note(format_args!("{}: {action:?} ({})", of.order, of.why));
            entries.push(entry(number, of, action)?);
        }
        let plan = self.plan(entries);
        let tree = Tree::of(&plan).ok_or("no plan")?;
        let hash = Bytes::copy_from_slice(&tree.hash());
        self.approved(&plan, &tree, &hash).await?;
        for entry in &plan.entries {
            self.apply(&plan, entry, &tree, &hash).await?;
            trace::count("tail order decided", 1);
        }
        Ok(plan.entries.len())
    }

    /// What is proposed; of an order that nobody else knows also that it goes on.
    fn say(&mut self, of: &TailOrder) -> TailAction {
        let adopts = of.adopted_version == 0 && self.dice.one_in(2);
        match of.proposed() {
            TailAction::Compensate if adopts => TailAction::Adopt,
            TailAction::Unspecified => TailAction::Discard,
            proposed => proposed,
        }
    }

    fn plan(&mut self, entries: Vec<PlanEntry>) -> ReconcilePlan {
        let header = PlanHeader {
            format: FORMAT,
            region: self.name(0),
            created_ms: clock::EPOCH_MS + now().as_millis() as u64,
            planned_by: spiffe("operator"),
            reason: "sim".to_owned(),
            entries: entries.len() as u32,
            nonce: self.id(),
            ..PlanHeader::default()
        };
        ReconcilePlan { header: Some(header), entries, hash: String::new() }
    }

    async fn approved(
        &mut self,
        plan: &ReconcilePlan,
        tree: &Tree,
        hash: &Bytes,
    ) -> Result<(), Why> {
        let request = ProposePlanRequest {
            request_id: self.id(),
            region: self.name(0),
            plan: hash.clone(),
            header: plan.header.clone(),
            proof: tree.proof(0),
        };
        let asked = self.doors[0].call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.reconcile.propose_plan(request).await }
        });
        asked.await.map_err(said)?;
        let request = ApprovePlanRequest {
            request_id: self.id(),
            region: self.name(0),
            plan: hash.clone(),
            ticket: "SIM-2".to_owned(),
        };
        let asked = self.approvers[0].call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.reconcile.approve_plan(request).await }
        });
        asked.await.map(drop).map_err(said)
    }

    async fn apply(
        &mut self,
        plan: &ReconcilePlan,
        entry: &PlanEntry,
        tree: &Tree,
        hash: &Bytes,
    ) -> Result<(), Why> {
        let request = ApplyRepairRequest {
            request_id: self.id(),
            region: self.name(0),
            plan: hash.clone(),
            entries: plan.entries.len() as u32,
            entry: Some(entry.clone()),
            proof: tree.proof(entry.number),
        };
        let mut last = String::new();
        for _ in 0..LOOKS {
            let asked = self.doors[0].call(CALL_MAX, |mut services, call| {
                let request = call.request(request.clone());
                async move { services.reconcile.apply_repair(request).await }
            });
            let repair = asked.await.map(|answer| answer.repair.unwrap_or_default());
            match repair.as_ref().map(|repair| repair.state()) {
                Ok(RepairState::Done) => return Ok(()),
                Ok(RepairState::Running | RepairState::Busy) | Err(_) => {}
                // Changed since it was listed: planned anew.
                Ok(_) => return Err(format!("{repair:?}")),
            }
            last = format!("{repair:?}");
            tokio::time::sleep(BETWEEN).await;
        }
        Err(last)
    }
}

/// What was decided and cannot be done is to be decided anew.
fn open(of: &TailOrder) -> bool {
    let outcome = of.decision.as_ref().map_or("", |decision| decision.outcome.as_str());
    !matches!(outcome, "OPEN" | "DONE")
}

fn entry(number: u32, of: &TailOrder, action: TailAction) -> Result<PlanEntry, Why> {
    let name: OrderName = of.order.parse().map_err(|_| of.order.clone())?;
    let side = |source: &str| {
        let (source, says) = (source.to_owned(), format!("version {}", of.version));
        Some(FactSide { source, says, ..FactSide::default() })
    };
    let difference = FoundDifference {
        class: DifferenceClass::UnshippedTail.into(),
        order: of.order.clone(),
        order_id: order_to_bytes(name.id),
        subject: format!("version {}", of.version),
        order_hash: of.hash.clone(),
        order_version: of.version,
        left: side("region that is back"),
        right: side("new owner"),
        amount_minor: of.captured_minor - of.refunded_minor,
        currency: of.currency.clone(),
        units: 0,
    };
    let decide = DecideTail { action: action.into() };
    let repair = Some(Repair { action: Some(Action::DecideTail(decide)) });
    Ok(PlanEntry { number, difference: Some(difference), repair, why: of.why.clone() })
}
