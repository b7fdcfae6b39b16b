//! Looks until what differs has stood still.
//!
//! An order's record is hashed whole, and every step of a saga changes it. So an order that has the
//! same hash before its books were read and after, with no step under way, has not changed in
//! between: what its books said then is a difference and no passing state.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hansa_api::convert::id::order_to_bytes;
use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::DifferenceClass as Class;
use hansa_reconcile::drift::{self, Moved};
use hansa_reconcile::judge::{Case, Judge, Judged, hex};
use hansa_reconcile::merge::{self, Along, Facts};
use hansa_reconcile::repairs::{self, Beside};
use hansa_types::id::{GroupId, GroupKind, OrderId};

use super::patience::Patience;
use super::progress::Progress;
use super::read::{self, Asked, Groups, ONLY_MAX};
use super::{Look, copies, statement};
use crate::connect::Session;
use crate::error::Problem;

/// Orders that may look wrong at once: more is no reconciliation but a disaster.
const SUSPECTS_MAX: usize = 200_000;

/// A difference, and what may be done about it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub difference: pb::FoundDifference,
    pub repair: Option<pb::Repair>,
    pub why: String,
}

#[derive(Debug, Default)]
pub struct Outcome {
    pub report: pb::ReconcileReport,
    pub entries: Vec<Entry>,
}

impl Outcome {
    pub fn complete(&self) -> bool {
        self.report.not_read.is_empty() && self.report.unsettled.is_empty()
    }
}

/// What looked wrong of one order, with the hash of its record then.
struct Suspect {
    hash: String,
    entries: Vec<Entry>,
}

type Suspects = BTreeMap<OrderId, Suspect>;

struct Scan<'a> {
    session: &'a Session,
    progress: Progress,
    groups: Groups,
    number: Option<u16>,
    outcome: Outcome,
    settle: Duration,
    read_max: Duration,
}

/// Compares a region.
///
/// # Errors
/// The command line's; a region that is not read is part of the outcome.
pub async fn run(session: &Session, look: &Look) -> Result<Outcome, Problem> {
    let began = Instant::now();
    let progress = Progress::new();
    let mut along = match statement::open(look, &progress)? {
        Ok(along) => along,
        Err(why) => return Ok(unread(session, vec![why])),
    };
    let groups = match read::groups(session).await {
        Ok(groups) if !groups.orders.is_empty() => groups,
        Ok(_) => return Ok(unread(session, vec!["the region has no orders group".to_owned()])),
        Err(problem) => return Ok(unread(session, vec![problem.text()])),
    };
    let outcome = unread(session, Vec::new());
    let (number, settle, read_max) = (None, look.settle, look.read_max);
    let mut scan = Scan { session, progress, groups, number, outcome, settle, read_max };
    if let Err(why) = scan.all(along.as_mut()).await {
        scan.outcome.report.not_read.extend(why);
    }
    if let (Some(along), Some(figures)) = (along, scan.outcome.report.figures.as_mut()) {
        figures.statement_keys = along.keys;
        figures.not_covered = along.not_covered;
    }
    if !look.no_copies {
        scan.progress.stage("asking for differences of copies");
        copies::collect(session, &scan.groups.orders, &mut scan.outcome).await;
    }
    let mut outcome = scan.outcome;
    if let Some(figures) = outcome.report.figures.as_mut() {
        figures.elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    }
    finish(&mut outcome);
    Ok(outcome)
}

fn unread(session: &Session, not_read: Vec<String>) -> Outcome {
    let figures = Some(pb::ReconcileFigures::default());
    let region = session.region();
    let report = pb::ReconcileReport { region, not_read, figures, ..Default::default() };
    Outcome { report, entries: Vec::new() }
}

/// One order for what was found, and sums of it.
fn finish(outcome: &mut Outcome) {
    outcome.entries.sort_by(|a, b| {
        let key = |e: &Entry| (e.difference.class, e.difference.order_id.clone());
        (key(a), &a.difference.subject).cmp(&(key(b), &b.difference.subject))
    });
    let mut totals: BTreeMap<(i32, String), pb::ClassTotal> = BTreeMap::new();
    for Entry { difference, .. } in &outcome.entries {
        let key = (difference.class, difference.currency.clone());
        let total = totals.entry(key).or_insert_with(|| pb::ClassTotal {
            class: difference.class,
            currency: difference.currency.clone(),
            ..Default::default()
        });
        total.count += 1;
        total.amount_minor = total.amount_minor.saturating_add(difference.amount_minor.abs());
        total.units = total.units.saturating_add(difference.units.abs());
    }
    outcome.report.totals = totals.into_values().collect();
    outcome.report.differences = outcome.entries.iter().map(|e| e.difference.clone()).collect();
}

impl Scan<'_> {
    async fn all(&mut self, along: Option<&mut Along>) -> Result<(), Vec<String>> {
        self.progress.stage("reading every group of the region");
        let mut facts = self.read(&self.asked(Vec::new())).await?;
        self.outcome.report.reads = facts.iter().map(|facts| facts.head.clone()).collect();
        self.number = self.region_number(&facts);
        self.figures(&facts);
        self.progress.stage("comparing");
        let drifted = self.drifted(&facts);
        let covering = along.as_ref().map(|along| along.coverage);
        let (mut suspects, mut moving, charges) = self.walk(&mut facts, along)?;
        drop(facts);
        let mut patience = Patience::new(self.settle);
        loop {
            self.confirm(suspects, &mut moving).await?;
            if moving.is_empty() || !patience.again().await {
                break;
            }
            self.progress.stage(&format!("looking again at {} orders", moving.len()));
            suspects = self.again(&mut moving, &charges, covering).await?;
        }
        let unsettled = moving.iter().map(|id| format!("order {id} did not stand still"));
        self.outcome.report.unsettled.extend(unsettled);
        self.drift(drifted).await
    }

    /// Everything, or these orders.
    fn asked(&self, only: Vec<Bytes>) -> Asked {
        Asked { only, totals_only: false, within: self.read_max }
    }

    async fn read(&mut self, asked: &Asked) -> Result<Vec<Facts>, Vec<String>> {
        let facts = read::facts(self.session, &self.groups, asked, &self.progress).await?;
        if let Some(figures) = self.outcome.report.figures.as_mut() {
            figures.bytes += facts.iter().map(|facts| facts.bytes).sum::<u64>();
        }
        Ok(facts)
    }

    /// The region's own number, by which its orders are named.
    fn region_number(&self, facts: &[Facts]) -> Option<u16> {
        facts.iter().filter(|facts| is_orders(facts)).find_map(|facts| facts.first_region)
    }

    fn figures(&mut self, facts: &[Facts]) {
        let Some(figures) = self.outcome.report.figures.as_mut() else { return };
        for facts in facts {
            let sum = match GroupId::from_number(facts.head.group).map(GroupId::kind) {
                Some(GroupKind::Orders) => &mut figures.orders,
                Some(GroupKind::Inventory) => &mut figures.holds,
                _ => &mut figures.payments,
            };
            *sum += facts.records;
        }
    }

    /// What looks wrong, and which orders have a step under way. Charges of orders are kept for the
    /// second look.
    #[allow(clippy::type_complexity)]
    fn walk(
        &mut self,
        facts: &mut [Facts],
        along: Option<&mut Along>,
    ) -> Result<(Suspects, BTreeSet<OrderId>, BTreeMap<OrderId, Case>), Vec<String>> {
        let heads: Vec<pb::FactsHead> = facts.iter().map(|facts| facts.head.clone()).collect();
        let region = self.outcome.report.region.clone();
        let judge = Judge { heads: &heads, region: &region, number: self.number };
        let (mut suspects, mut moving) = (Suspects::new(), BTreeSet::new());
        let (mut charges, mut foreign) = (BTreeMap::new(), Vec::new());
        let walked = merge::walk(facts, along, |id, case| match (id, judge.judge(id, &case)) {
            (_, Judged::Agrees) => {}
            (Some(id), judged) => {
                let charge =
                    Case { charge: case.charge.clone(), covered: case.covered, ..Case::default() };
                charges.insert(id, charge);
                match judged {
                    Judged::Differs(found) => {
                        let hash = found.first().map(|f| f.order_hash.clone()).unwrap_or_default();
                        let entries = found.iter().map(|found| entry(found, &case)).collect();
                        suspects.insert(id, Suspect { hash, entries });
                    }
                    Judged::Agrees | Judged::Moving => {
                        moving.insert(id);
                    }
                }
            }
            (None, Judged::Differs(found)) => foreign.extend(found.iter().map(|f| entry(f, &case))),
            (None, Judged::Moving) => {}
        });
        walked.map_err(|error| vec![error.to_string()])?;
        if suspects.len() + moving.len() > SUSPECTS_MAX {
            return Err(vec![format!("more than {SUSPECTS_MAX} orders differ or are under way")]);
        }
        self.outcome.entries.extend(foreign);
        Ok((suspects, moving, charges))
    }

    /// Reads the suspects' orders once more: what has the same hash is a difference, what has not
    /// is looked at again.
    async fn confirm(
        &mut self,
        suspects: Suspects,
        moving: &mut BTreeSet<OrderId>,
    ) -> Result<(), Vec<String>> {
        let ids: Vec<OrderId> = suspects.keys().copied().collect();
        let mut now: BTreeMap<OrderId, String> = BTreeMap::new();
        let orders = Groups { orders: self.groups.orders.clone(), books: Vec::new() };
        for chunk in ids.chunks(ONLY_MAX) {
            let only = chunk.iter().map(|id| order_to_bytes(*id)).collect();
            let asked = self.asked(only);
            let mut facts = read::facts(self.session, &orders, &asked, &self.progress).await?;
            let walked = merge::walk(&mut facts, None, |id, case| {
                now.extend(id.zip(case.order.map(|(_, order)| order.hash)));
            });
            walked.map_err(|error| vec![error.to_string()])?;
        }
        for (id, suspect) in suspects {
            let hash = now.remove(&id).unwrap_or_default();
            match hash == suspect.hash {
                true => self.outcome.entries.extend(suspect.entries),
                false => {
                    moving.insert(id);
                }
            }
        }
        Ok(())
    }

    /// The same comparison for what was under way.
    async fn again(
        &mut self,
        moving: &mut BTreeSet<OrderId>,
        charges: &BTreeMap<OrderId, Case>,
        covering: Option<merge::Coverage>,
    ) -> Result<Suspects, Vec<String>> {
        let (mut suspects, mut still) = (Suspects::new(), BTreeSet::new());
        let ids: Vec<OrderId> = std::mem::take(moving).into_iter().collect();
        if let Some(figures) = self.outcome.report.figures.as_mut() {
            figures.looked_again += ids.len() as u64;
        }
        for chunk in ids.chunks(ONLY_MAX) {
            let only: Vec<Bytes> = chunk.iter().map(|id| order_to_bytes(*id)).collect();
            let mut facts = self.read(&self.asked(only)).await?;
            let heads: Vec<pb::FactsHead> = facts.iter().map(|f| f.head.clone()).collect();
            let region = self.outcome.report.region.clone();
            let judge = Judge { heads: &heads, region: &region, number: self.number };
            let walked = merge::walk(&mut facts, None, |id, mut case| {
                let Some(id) = id else { return };
                if let (Some(known), Some(covering)) = (charges.get(&id), covering) {
                    // Changed since: what the statement must have by now is not known.
                    case.charge.clone_from(&known.charge);
                    case.covered = Some(known.covered == Some(true) && covering.covers(id, &case));
                }
                match judge.judge(Some(id), &case) {
                    Judged::Agrees => {}
                    Judged::Moving => {
                        still.insert(id);
                    }
                    Judged::Differs(found) => {
                        let hash = found.first().map(|f| f.order_hash.clone()).unwrap_or_default();
                        let entries = found.iter().map(|found| entry(found, &case)).collect();
                        suspects.insert(id, Suspect { hash, entries });
                    }
                }
            });
            walked.map_err(|error| vec![error.to_string()])?;
        }
        moving.extend(still);
        Ok(suspects)
    }

    /// SKUs whose units differ, with what orders had moved then and the stock groups' totals.
    fn drifted(&self, facts: &[Facts]) -> Drifted {
        let mut drifted = Drifted::default();
        for facts in facts {
            match is_orders(facts) {
                true => drifted.moved.add(&facts.skus),
                false if !facts.skus.is_empty() => {
                    drifted.books.push((facts.head.clone(), facts.skus.clone()));
                }
                false => {}
            }
        }
        drifted.found = drift::compare(&drifted.moved, &drifted.books);
        drifted
    }

    /// Confirms drift as differences of orders are: sums that are the same before the books were
    /// read and after.
    async fn drift(&mut self, mut drifted: Drifted) -> Result<(), Vec<String>> {
        let totals = Asked { totals_only: true, ..self.asked(Vec::new()) };
        // Its own: looking at the orders may have taken all of theirs.
        let mut patience = Patience::new(self.settle);
        let orders = Groups { orders: self.groups.orders.clone(), books: Vec::new() };
        while !drifted.found.is_empty() {
            let facts = read::facts(self.session, &orders, &totals, &self.progress).await?;
            let mut later = Moved::default();
            facts.iter().for_each(|facts| later.add(&facts.skus));
            let found = std::mem::take(&mut drifted.found);
            let (still, moving): (Vec<_>, Vec<_>) = found
                .into_iter()
                .partition(|found| drifted.moved.stood_still(&later, &found.subject));
            self.outcome.entries.extend(still.iter().map(|found| drifted.entry(found)));
            if moving.is_empty() {
                return Ok(());
            }
            if !patience.again().await {
                let words = moving.iter().map(|f| format!("SKU {} did not stand still", f.subject));
                self.outcome.report.unsettled.extend(words);
                return Ok(());
            }
            let skus: BTreeSet<String> = moving.into_iter().map(|found| found.subject).collect();
            drifted = self.drifted(&self.read_totals(&totals).await?);
            drifted.found.retain(|found| skus.contains(&found.subject));
        }
        Ok(())
    }

    async fn read_totals(&self, totals: &Asked) -> Result<Vec<Facts>, Vec<String>> {
        read::facts(self.session, &self.groups, totals, &self.progress).await
    }
}

#[derive(Default)]
struct Drifted {
    moved: Moved,
    books: Vec<(pb::FactsHead, Vec<pb::SkuFacts>)>,
    found: Vec<pb::FoundDifference>,
}

impl Drifted {
    fn entry(&self, found: &pb::FoundDifference) -> Entry {
        let all = self.books.iter().flat_map(|(_, skus)| skus);
        let shipped = all.filter(|facts| facts.sku == found.subject).map(|facts| facts.shipped);
        let beside = Beside { shipped: shipped.sum(), ..Beside::default() };
        let (repair, why) = repairs::propose(found, &beside);
        Entry { difference: found.clone(), repair, why }
    }
}

fn is_orders(facts: &Facts) -> bool {
    GroupId::from_number(facts.head.group).map(GroupId::kind) == Some(GroupKind::Orders)
}

fn entry(found: &pb::FoundDifference, case: &Case) -> Entry {
    let stock = case.stock.iter().find(|(_, hold)| hex(&hold.hold) == found.subject);
    let money = case.money.iter().find(|(_, of)| found.subject.starts_with(&hex(&of.payment)));
    let provider = matches!(
        found.class(),
        Class::ProviderMissingHere
            | Class::ProviderMissingThere
            | Class::ProviderAmountDiffers
            | Class::ProviderStateDiffers
    );
    let money = money.or_else(|| case.money.first().filter(|_| provider));
    let beside = Beside {
        order: case.order.as_ref().map(|(_, order)| order),
        stock: stock.map(|(_, hold)| hold),
        money: money.map(|(_, books)| books),
        reference: case.charge.as_ref().map_or("", |charge| charge.reference.as_str()),
        ..Beside::default()
    };
    let (repair, why) = repairs::propose(found, &beside);
    Entry { difference: found.clone(), repair, why }
}
