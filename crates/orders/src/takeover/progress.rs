//! What this node's groups hold of each region's births, for whoever orders a change of owner.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use hansa_api::convert::time::{from_log, from_ms};
use hansa_api::pb::node as pb;
use hansa_api::pb::node::node_takeover_service_server::NodeTakeoverService;
use hansa_api::status::{Failure, Reason};
use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::heir;
use crate::core::order::{Order, Provider};
use crate::core::remote::Origin;
use crate::core::state::State;
use crate::core::takeover::{Birth, Decision, End, NotAdopted, Phase, TailAction, TailRow, Taken};
use crate::shell::{Hosted, Shell};

/// Listed at most in one answer.
const LISTED_MAX: usize = 10_000;
/// And no more than this, well below what a message may have.
const LISTED_BYTES_MAX: usize = 4 << 20;
/// Orders named for whose end an erasure waits.
const OWED_MAX: usize = 16;
/// Events told of one order of the tail.
const EVENTS_MAX: usize = 64;

/// The internal NodeTakeoverService.
#[derive(Clone)]
pub struct NodeTakeover {
    pub shell: Arc<Shell>,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl NodeTakeoverService for NodeTakeover {
    async fn get_node_takeover(
        &self,
        _request: Request<pb::GetNodeTakeoverRequest>,
    ) -> Answer<pb::GetNodeTakeoverResponse> {
        let groups = self.led().iter().map(|hosted| self.group(hosted)).collect();
        Ok(Response::new(pb::GetNodeTakeoverResponse { groups, leases: self.leases() }))
    }

    async fn list_node_not_adopted(
        &self,
        request: Request<pb::ListNodeNotAdoptedRequest>,
    ) -> Answer<pb::ListNodeNotAdoptedResponse> {
        let asked = request.into_inner();
        let birth = self.birth(&asked.birth)?;
        let max = LISTED_MAX.min(asked.max as usize);
        let mut found = Vec::new();
        for hosted in self.led() {
            hosted.group.peek(|machine| {
                let state = &machine.state;
                let failed = state.births.failed.iter().filter(|(id, _)| id.region() == birth);
                found.extend(failed.map(|(id, why)| {
                    let copy = state.remote.copies.get(id);
                    (*id, copy.map_or(0, |copy| copy.version), *why)
                }));
            });
        }
        found.sort_unstable();
        let truncated = found.len() > max;
        let told = found.into_iter().take(max).map(|(id, version, why)| pb::NotAdopted {
            order: self.shell.map.name_of(id),
            version,
            reason: word(why).to_owned(),
        });
        Ok(Response::new(pb::ListNodeNotAdoptedResponse { orders: told.collect(), truncated }))
    }

    async fn list_node_tail(
        &self,
        request: Request<pb::ListNodeTailRequest>,
    ) -> Answer<pb::ListNodeTailResponse> {
        let asked = request.into_inner();
        let birth = self.birth(&asked.birth)?;
        let max = LISTED_MAX.min(asked.max as usize);
        let mut answer = pb::ListNodeTailResponse::default();
        let mut bytes = 0;
        for hosted in self.led() {
            if !self.shell.tail_is_final(&hosted, birth) {
                answer.not_final.push(hosted.group.id().number());
            }
            let told = hosted.group.peek(|machine| {
                let state = &machine.state;
                let tail = state.tail(birth, max + 1);
                let told = tail.into_iter().filter_map(|of| self.tail_order(state, of));
                let fits = |of: &pb::TailOrder| {
                    bytes += of.encoded_len();
                    answer.truncated |= bytes > LISTED_BYTES_MAX;
                    bytes <= LISTED_BYTES_MAX
                };
                told.take_while(fits).collect::<Vec<_>>()
            });
            answer.orders.extend(told);
        }
        answer.truncated |= answer.orders.len() > max;
        answer.orders.truncate(max);
        Ok(Response::new(answer))
    }

    async fn get_node_heir(
        &self,
        request: Request<pb::GetNodeHeirRequest>,
    ) -> Answer<pb::GetNodeHeirResponse> {
        let birth = self.birth(&request.get_ref().birth)?;
        let mut groups = Vec::new();
        for hosted in self.led() {
            let (unopened, unopened_orders) = heir::unopened(&self.shell, &hosted, birth).await;
            let standing = heir::standing(&self.shell, &hosted, birth);
            groups.push(pb::HeirGroup { unopened, unopened_orders, ..standing });
        }
        Ok(Response::new(pb::GetNodeHeirResponse { groups }))
    }
}

impl NodeTakeover {
    fn leases(&self) -> Vec<pb::EpochLease> {
        let named = |number| self.shell.map.region_name(number).map(|name| name.to_string());
        let Some(hosted) = self.shell.groups.values().next() else { return Vec::new() };
        let lease = |held: crate::shell::lease::Held| pb::EpochLease {
            node_name: String::new(),
            birth: named(held.birth).unwrap_or_default(),
            epoch: held.epoch,
            left_ms: u64::try_from(held.left.as_millis()).unwrap_or(u64::MAX),
            renewed_by: held.by.into_iter().filter_map(named).collect(),
        };
        hosted.lease.held().into_iter().map(lease).collect()
    }

    /// The groups that this node leads, in order.
    fn led(&self) -> Vec<Arc<Hosted>> {
        let led = |hosted: &&Arc<Hosted>| hosted.group.leadership().borrow().mine;
        self.shell.groups.values().filter(led).cloned().collect()
    }

    fn birth(&self, name: &str) -> Result<RegionNumber, Failure> {
        let region = name.parse().ok().and_then(|name| self.shell.map.region_number(&name));
        region.ok_or_else(|| Failure::of(Reason::UnknownRegion))
    }

    fn name(&self, region: RegionNumber) -> String {
        let name = self.shell.map.region_name(region);
        name.map_or_else(|| format!("r{region}"), |name| name.to_string())
    }

    fn group(&self, hosted: &Hosted) -> pb::GroupTakeover {
        let marks: BTreeMap<Origin, u64> = self.shell.freshness.all_marks();
        let (births, cursors, owed, settings, seq) = hosted.group.peek(|machine| {
            let state = &machine.state;
            let own = state.meta.settings.region;
            let rows = state.births.iter().map(|(birth, row)| self.row(state, birth, row));
            let mut births: Vec<_> = rows.collect();
            if state.births.get(own).is_none() {
                births.push(pb::BirthState {
                    birth: self.name(own),
                    phase: pb::BirthPhase::Owned.into(),
                    epoch: state.meta.settings.epoch,
                    owner: self.name(own),
                    ..Default::default()
                });
            }
            let cursors: Vec<_> = state.remote.cursors.iter().map(|(of, at)| (*of, *at)).collect();
            let owed = state.owed_for(OWED_MAX);
            (births, cursors, owed, state.meta.settings.clone(), state.meta.seq)
        });
        let mut births = births;
        for of in &mut births {
            of.tail_final =
                self.birth(&of.birth).is_ok_and(|birth| self.shell.tail_is_final(hosted, birth));
        }
        let mut cursors = cursors;
        cursors.sort_unstable_by_key(|(origin, _)| *origin);
        let cursor = |(origin, at): (Origin, crate::core::remote::Cursor)| pb::CopyCursor {
            origin: self.name(origin.region),
            group: u32::from(origin.group),
            epoch: origin.epoch,
            applied: at.applied,
            heard: marks.get(&origin).copied().unwrap_or(0).max(at.applied),
            current_as_of: Some(from_ms(
                self.shell.freshness.current_as_of_ms(origin, at.applied).max(at.current_as_of_ms),
            )),
        };
        pb::GroupTakeover {
            group: hosted.group.id().number(),
            name: hosted.group.id().to_string(),
            index: u32::from(settings.index),
            births,
            cursors: cursors.into_iter().map(cursor).collect(),
            stream_epoch: settings.epoch,
            last_sequence: seq,
            owed_orders: owed.into_iter().map(|id| self.shell.map.name_of(id)).collect(),
        }
    }

    fn row(&self, state: &State, birth: RegionNumber, row: &Birth) -> pb::BirthState {
        let (to, last, drain) = match row.phase {
            Phase::Draining { to, drain, .. } => (Some(to), 0, drain),
            Phase::Drained { to, last, drain } => (Some(to), last, drain),
            Phase::Owned | Phase::Adopting | Phase::Elsewhere { .. } => (None, 0, 0),
        };
        let to_give_back = match row.phase {
            Phase::Elsewhere { given_back: false, .. } | Phase::Adopting => {
                state.leftovers(birth, usize::MAX).0.len()
            }
            _ => 0,
        };
        pb::BirthState {
            birth: self.name(birth),
            phase: self::phase(row).into(),
            epoch: row.epoch,
            owner: self.name(row.owner),
            draining_to: to.map_or_else(String::new, |to| self.name(to)),
            running_steps: state.running(birth) as u64,
            last_sequence: last,
            takeover: row.taken.as_ref().map(|taken| self.taken(state, birth, taken)),
            tail: undecided(state, birth),
            tail_final: false,
            to_give_back: to_give_back as u64,
            drain_version: drain,
        }
    }

    fn taken(&self, state: &State, birth: RegionNumber, taken: &Taken) -> pb::TakeoverState {
        let mut failed: BTreeMap<NotAdopted, u64> = BTreeMap::new();
        for (_, why) in state.births.failed.iter().filter(|(id, _)| id.region() == birth) {
            *failed.entry(*why).or_default() += 1;
        }
        let lost = taken.lost.iter().map(|lost| pb::LostSequences {
            origin: self.name(lost.origin.region),
            group: u32::from(lost.origin.group),
            epoch: lost.origin.epoch,
            after: lost.after,
            upto: lost.upto,
        });
        let doubt = state.doubted(birth).map(|doubt| from_log(doubt.until));
        pb::TakeoverState {
            epoch: taken.take.epoch,
            record: Bytes::copy_from_slice(&taken.take.record.to_be_bytes()),
            from: self.name(taken.take.from),
            total: taken.total,
            done: taken.done,
            failed: failed.values().sum(),
            failed_by_reason: failed
                .into_iter()
                .map(|(why, orders)| pb::FailedCount { reason: word(why).to_owned(), orders })
                .collect(),
            settled: taken.settled.is_some(),
            begin_time: Some(from_log(taken.since)),
            settle_time: taken.settled.map(from_log),
            lost: lost.collect(),
            doubt_until_time: doubt,
        }
    }

    fn tail_order(&self, state: &State, (id, adopted): (OrderId, u64)) -> Option<pb::TailOrder> {
        let (order, contents) = (state.orders.get(&id)?, state.contents.get(&id)?);
        let known_to_owner = adopted == 0 && self.shell.owner_was_told(state, id);
        let (proposed, why) = match state.blocked(id) {
            true => (pb::TailAction::Unspecified, "events of it wait here: see to those first"),
            false => propose(order, adopted, known_to_owner),
        };
        let decision = state.births.tail.get(&id);
        let events = order.history.iter().filter(|change| change.version > adopted);
        let event = |change: &crate::core::order::Change| pb::TailEvent {
            version: change.version,
            sequence: change.seq,
            time: Some(from_log(change.at)),
            state: crate::wire::order_state(change.face.order).as_str_name().to_owned(),
            payment_state: format!("{:?}", change.face.payment),
            fulfillment_state: format!("{:?}", change.face.fulfillment),
        };
        Some(pb::TailOrder {
            order: self.shell.map.name_of(id),
            version: order.version,
            adopted_version: adopted,
            events: events.take(EVENTS_MAX).map(event).collect(),
            currency: contents.currency.to_string(),
            captured_minor: order.money.captured_minor,
            refunded_minor: order.money.refunded_minor,
            proposed: proposed.into(),
            why: why.to_owned(),
            decision: decision.map(decided),
            hash: state.hash_of(id).map(|hash| format!("{:032x}", hash.0)).unwrap_or_default(),
            known_to_owner,
        })
    }
}

pub(super) fn phase(row: &Birth) -> pb::BirthPhase {
    match row.phase {
        Phase::Owned => pb::BirthPhase::Owned,
        Phase::Draining { .. } => pb::BirthPhase::Draining,
        Phase::Drained { .. } => pb::BirthPhase::Drained,
        Phase::Adopting => pb::BirthPhase::Adopting,
        Phase::Elsewhere { .. } => pb::BirthPhase::Elsewhere,
    }
}

/// Orders of the tail on which nobody has decided. While copies are adopted, what is not yet would
/// be counted.
pub(super) fn undecided(state: &State, birth: RegionNumber) -> u64 {
    let phase = state.births.get(birth).map(|row| row.phase);
    match phase {
        Some(Phase::Elsewhere { .. } | Phase::Owned) => {
            let tail = state.tail(birth, usize::MAX);
            tail.iter().take_while(|(id, _)| state.undecided(*id)).count() as u64
        }
        _ => 0,
    }
}

/// What the machine would do, and why; `Unspecified`: a person has to say.
fn propose(order: &Order, adopted: u64, was_there: bool) -> (pb::TailAction, &'static str) {
    let (moved, repaid) = (order.goods_since(adopted), order.repaid_since(adopted));
    match (&order.provider, adopted) {
        (_, 1..) if moved || repaid => (
            pb::TailAction::Unspecified,
            "goods or money moved here that its owner does not know of: look at both, and say",
        ),
        (_, 0) if was_there => (
            pb::TailAction::Adopt,
            "its owner was told of it and may not, or cannot, go on with it",
        ),
        (_, 1..) => {
            (pb::TailAction::Discard, "its owner went on from an older version, by the same charge")
        }
        // A refund on its way may never have been paid.
        (Provider::Captured, _) if order.money.refunded_minor == order.money.captured_minor => {
            (pb::TailAction::Discard, "all of it was given back, and nobody else knows the order")
        }
        _ if moved => {
            (pb::TailAction::Adopt, "goods were shipped here, and nobody else knows the order")
        }
        (provider, _) if provider.clear() => {
            (pb::TailAction::Discard, "nobody was charged, and nobody else knows the order")
        }
        _ => (pb::TailAction::Compensate, "charged here, and nobody else knows the order"),
    }
}

/// `None` for a word that decides nothing.
pub fn tail_action(said: pb::TailAction) -> Option<TailAction> {
    match said {
        pb::TailAction::Compensate => Some(TailAction::Compensate),
        pb::TailAction::Discard => Some(TailAction::Discard),
        pb::TailAction::Adopt => Some(TailAction::Adopt),
        pb::TailAction::Unspecified => None,
    }
}

fn decided(row: &TailRow) -> pb::TailDecision {
    let Decision { action, reason, by, approved_by, ticket, entry, .. } = row.decision.clone();
    let Decision { plan_reason, applied_by, .. } = row.decision.clone();
    let plan = Bytes::copy_from_slice(&entry.0.0);
    let action = match action {
        TailAction::Compensate => pb::TailAction::Compensate,
        TailAction::Discard => pb::TailAction::Discard,
        TailAction::Adopt => pb::TailAction::Adopt,
    };
    let outcome = match &row.end {
        None => "OPEN".to_owned(),
        Some(End::Done) => "DONE".to_owned(),
        Some(End::Refused(why)) => why.clone(),
    };
    let (action, time) = (action.into(), Some(from_log(row.at)));
    pb::TailDecision {
        action,
        reason,
        by,
        approved_by,
        ticket,
        time,
        outcome,
        plan,
        plan_reason,
        applied_by,
    }
}

fn word(why: NotAdopted) -> &'static str {
    match why {
        NotAdopted::NotInFailoverSet => "NOT_IN_FAILOVER_SET",
        NotAdopted::Unreadable => "UNREADABLE",
        NotAdopted::OtherGroup => "OTHER_GROUP",
        NotAdopted::KeyMissing => "KEY_MISSING",
        NotAdopted::Parked => "PARKED",
        NotAdopted::Untold => "UNTOLD",
    }
}
