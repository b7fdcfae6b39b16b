//! Planned: drain, ship to the last sequence, hand over.

use hansa_api::pb::admin as pb;
use hansa_api::pb::node::{BirthPhase, GroupTakeover};
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_region_router::core::directory::{Command, Drain, Kind, OwnershipRecord, Snapshot};
use hansa_region_router::forward::Upstreams;

use super::super::replication::{Acknowledged, outgoing_streams};
use super::{Held, Own, change_directory, check_laws, heir, held, record, refused, spread};

/// # Errors
/// `OWNERSHIP_REFUSED` with what is missing, `NO_LAWFUL_REGION`, `EPOCH_ENDED`; those of the
/// directory.
pub(super) async fn run<U: Upstreams>(
    own: &Own<U>,
    request: pb::SwitchoverRequest,
    due: Deadline,
) -> Result<pb::SwitchoverResponse, Failure> {
    let now = own.directory()?;
    let record = record(request.record, &now)?;
    if now.records.get(&record.birth) == Some(&record) {
        return Ok(recorded(own, &record, due).await);
    }
    if record.kind == Kind::Failover {
        let why = "a failover is asked of the region that takes over";
        return Err(Failure::field(Reason::FieldInvalid, "record", why));
    }
    check_laws(&now, &record, request.accept_refused_laws)?;
    let heir =
        async |now: &Snapshot| heir::waits(own, now, &record, request.accept_unopened, due).await;
    // Nobody is kept waiting by a drain for what can be waited for before it.
    if drain_of(&now, &record).is_none() {
        let waits = heir(&now).await?;
        if !waits.is_empty() {
            return Ok(waiting(&record, &waits));
        }
    }
    let drain = begin(own, &now, &record, due).await?;
    let now = own.directory()?;
    let mut standing = standing(own, &now, (&record, drain), due).await?;
    if standing.step() == pb::SwitchoverStep::Recorded {
        standing.heir = match heir(&now).await {
            Ok(waits) => waits,
            Err(why) => return Err(given_up(own, &now, &record, why, due).await),
        };
    }
    if standing.step() != pb::SwitchoverStep::Recorded {
        return Ok(standing.answer(&record));
    }
    let drained = Some(drain.since);
    let command = Command::MakeRecord { record: Box::new(record.clone()), drained };
    change_directory(&own.upstreams, &own.book, &now, &command, due).await?;
    Ok(recorded(own, &record, due).await)
}

/// # Errors
/// `UNKNOWN_REGION`; those of the directory.
pub(super) async fn cancel<U: Upstreams>(
    own: &Own<U>,
    request: &pb::CancelSwitchoverRequest,
    due: Deadline,
) -> Result<pb::CancelSwitchoverResponse, Failure> {
    let now = own.directory()?;
    let birth = now.number_of(&request.birth_region).ok_or(Reason::UnknownRegion)?;
    let epoch = now.owners.get(&birth).map_or(0, |of| of.epoch);
    let command = Command::Undrain { birth, epoch };
    let changed = change_directory(&own.upstreams, &own.book, &now, &command, due).await?;
    Ok(pb::CancelSwitchoverResponse { cancelled: changed.changed, epoch })
}

/// The drain for this record, begun if it was not.
async fn begin<U: Upstreams>(
    own: &Own<U>,
    now: &Snapshot,
    record: &OwnershipRecord,
    due: Deadline,
) -> Result<Drain, Failure> {
    let OwnershipRecord { birth, owner: to, ends: epoch, .. } = *record;
    let command = Command::Drain { birth, to, epoch };
    change_directory(&own.upstreams, &own.book, now, &command, due).await?;
    let behind = || Failure::new(Reason::Unavailable, "this gateway has not seen the drain yet");
    drain_of(&*own.directory()?, record).ok_or_else(behind)
}

/// Why it is refused, once the drain is given up for it: two people decide first, and nobody is
/// kept waiting for them.
async fn given_up<U: Upstreams>(
    own: &Own<U>,
    now: &Snapshot,
    record: &OwnershipRecord,
    why: Failure,
    due: Deadline,
) -> Failure {
    let OwnershipRecord { birth, ends: epoch, .. } = *record;
    let command = Command::Undrain { birth, epoch };
    match change_directory(&own.upstreams, &own.book, now, &command, due).await {
        Ok(_) => why,
        Err(failure) => refused(format!(
            "{why}; and the drain stands ({failure}): give it up with `region switchover --cancel`"
        )),
    }
}

fn drain_of(now: &Snapshot, record: &OwnershipRecord) -> Option<Drain> {
    let fits = |drain: &&Drain| drain.to == record.owner && drain.epoch == record.ends;
    now.draining.get(&record.birth).filter(fits).copied()
}

/// Nothing has begun.
fn waiting(record: &OwnershipRecord, waits: &[String]) -> pb::SwitchoverResponse {
    pb::SwitchoverResponse {
        step: pb::SwitchoverStep::Waiting.into(),
        detail: waits.join("; "),
        epoch: record.epoch,
        ..pb::SwitchoverResponse::default()
    }
}

async fn recorded<U: Upstreams>(
    own: &Own<U>,
    record: &OwnershipRecord,
    due: Deadline,
) -> pb::SwitchoverResponse {
    let spread = spread::run(own, due).await;
    pb::SwitchoverResponse {
        step: pb::SwitchoverStep::Recorded.into(),
        epoch: record.epoch,
        told_regions: spread.told,
        untold_regions: spread.untold,
        ..pb::SwitchoverResponse::default()
    }
}

/// How far the hand-over is.
#[derive(Default)]
struct Standing {
    groups: u32,
    drained: u32,
    shipped: u32,
    running: u64,
    to_ship: u64,
    waits: Vec<String>,
    /// What is waited for at the new owner.
    heir: Vec<String>,
}

async fn standing<U: Upstreams>(
    own: &Own<U>,
    now: &Snapshot,
    (record, drain): (&OwnershipRecord, Drain),
    due: Deadline,
) -> Result<Standing, Failure> {
    let Held { groups: told, silent, .. } = held(own, now, due).await;
    let peer = now.region(record.owner).map(|r| r.name.to_string()).unwrap_or_default();
    let birth = now.region(record.birth).map(|r| r.name.to_string()).unwrap_or_default();
    let acknowledged = outgoing_streams(own, now, due).await;
    let all = now.groups.keys().filter(|g| g.kind() == hansa_types::id::GroupKind::Orders);
    let mut standing = Standing::default();
    for group in all {
        standing.groups += 1;
        let Some(of) = told.iter().find(|told| told.group == group.number()) else {
            let who = if silent.is_empty() { "no leader".to_owned() } else { silent.join(", ") };
            standing.waits.push(format!("{group}: nobody answers for it ({who})"));
            continue;
        };
        let acknowledged = acknowledged.iter().find(|at| {
            at.group == group.number() && at.peer == peer && at.epoch == of.stream_epoch
        });
        standing.add(of, (&birth, drain.since), acknowledged);
    }
    match standing.groups {
        0 => Err(refused("the region has no orders groups")),
        _ => Ok(standing),
    }
}

impl Standing {
    /// `since`: which of several drains; who tells may have seen only an earlier one.
    fn add(
        &mut self,
        group: &GroupTakeover,
        (birth, since): (&str, u64),
        acknowledged: Option<&Acknowledged>,
    ) {
        let name = &group.name;
        let Some(of) = group.births.iter().find(|of| of.birth == birth) else {
            self.waits.push(format!("{name}: knows nothing of {birth} yet"));
            return;
        };
        self.running += of.running_steps;
        let this = of.drain_version == since;
        if of.phase() != BirthPhase::Drained || !this {
            let why = match of.phase() {
                BirthPhase::Draining if this => format!("{} steps run", of.running_steps),
                _ => "has not begun to drain".to_owned(),
            };
            self.waits.push(format!("{name}: {why}"));
            return;
        }
        self.drained += 1;
        let (sequence, parked) = acknowledged.map_or((0, 0), |at| (at.sequence, at.parked));
        let left = of.last_sequence.saturating_sub(sequence);
        self.to_ship += left;
        match (left, parked) {
            (0, 0) => self.shipped += 1,
            // Acknowledged, and not taken: an operator there decides first.
            (0, parked) => {
                let why = format!("{name}: something of {parked} orders is parked there");
                self.waits.push(why);
            }
            (left, _) => self.waits.push(format!("{name}: {left} events to ship")),
        }
    }

    fn step(&self) -> pb::SwitchoverStep {
        if self.shipped == self.groups && self.heir.is_empty() {
            pb::SwitchoverStep::Recorded
        } else if self.drained == self.groups {
            pb::SwitchoverStep::Shipping
        } else {
            pb::SwitchoverStep::Draining
        }
    }

    fn answer(&self, record: &OwnershipRecord) -> pb::SwitchoverResponse {
        let step = self.step();
        let shipping = step == pb::SwitchoverStep::Shipping;
        pb::SwitchoverResponse {
            step: step.into(),
            groups: self.groups,
            groups_done: if shipping { self.shipped } else { self.drained },
            running_steps: self.running,
            events_to_ship: self.to_ship,
            detail: [&self.waits[..], &self.heir].concat().join("; "),
            epoch: record.epoch,
            ..pb::SwitchoverResponse::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use hansa_api::pb::directory as wire;
    use hansa_api::pb::directory::registry_service_server::{
        RegistryService, RegistryServiceServer,
    };
    use hansa_api::pb::node::BirthState;
    use hansa_node::env::test::seeded;
    use hansa_region_router::book::Book;
    use hansa_region_router::forward::Forward;
    use tonic::service::Routes;
    use tonic::{Request, Response, Status};

    use super::*;
    use crate::testing::{Does, Fake, directory, number};

    /// Keeps a directory that can be told to undrain, and nothing else.
    struct Keeper;

    #[tonic::async_trait]
    impl RegistryService for Keeper {
        async fn read_ownership(
            &self,
            _: Request<wire::ReadOwnershipRequest>,
        ) -> Result<Response<wire::ReadOwnershipResponse>, Status> {
            Err(Status::unimplemented("not asked"))
        }

        async fn resolve_node(
            &self,
            _: Request<wire::ResolveNodeRequest>,
        ) -> Result<Response<wire::ResolveNodeResponse>, Status> {
            Err(Status::unimplemented("not asked"))
        }

        async fn change_directory(
            &self,
            request: Request<wire::ChangeDirectoryRequest>,
        ) -> Result<Response<wire::ChangeDirectoryResponse>, Status> {
            let command = Command::decode(&request.get_ref().command).expect("a command");
            assert_eq!(command, Command::Undrain { birth: number(1), epoch: 1 });
            Ok(Response::new(wire::ChangeDirectoryResponse::default()))
        }
    }

    /// What is said of a hand-over of eu-west's births that the new owner refused once it was
    /// drained, and how often anybody was asked.
    async fn refused_when_drained(keeper: impl Fn() -> Does) -> (Failure, usize) {
        let (env, _) = seeded("switchover", 1, hansa_types::time::WallTime(0));
        let now = directory(1, &[]);
        let nodes = ["node 1", "node 2", "node 3"];
        let fake = nodes.iter().fold(Fake::default(), |fake, node| fake.with(node, keeper()));
        let book = Book::of(now.clone());
        let forward = Forward::new(fake.clone(), book.clone(), env.entropy.clone());
        let (clock, entropy) = (Arc::clone(&env.clock), env.entropy.clone());
        let own = Own { book, upstreams: fake.clone(), forward, clock, entropy };
        let record = OwnershipRecord {
            birth: number(1),
            owner: number(2),
            epoch: 2,
            ends: 1,
            kind: Kind::Switchover,
            confirmed_stopped: false,
            reason: "x".into(),
            ticket: "x".into(),
            time_ms: 1,
            by: "x".into(),
            proof: Default::default(),
        };
        let due = Deadline::after(Duration::from_secs(2));
        let why = given_up(&own, &now, &record, refused("a tail"), due).await;
        (why, fake.count())
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_once_drained_is_left_undrained_or_told_how_to() {
        let keeps = || Does::Serves(Routes::new(RegistryServiceServer::new(Keeper)));
        let (why, asked) = refused_when_drained(keeps).await;
        assert_eq!((why, asked), (refused("a tail"), 1));
        let (why, _) = refused_when_drained(|| Does::Unreachable).await;
        assert_eq!(why.reason(), hansa_api::status::Reason::OwnershipRefused);
        assert!(
            why.to_string().contains("a tail") && why.to_string().contains("--cancel"),
            "{why}"
        );
    }

    fn group(phase: BirthPhase, last_sequence: u64) -> GroupTakeover {
        let birth = "eu-west".to_owned();
        let phase = phase.into();
        let drain_version = 3;
        let state =
            BirthState { birth, phase, last_sequence, drain_version, ..BirthState::default() };
        GroupTakeover { births: vec![state], name: "orders-0".into(), ..Default::default() }
    }

    fn heard(sequence: u64, parked: u64) -> Acknowledged {
        Acknowledged { group: 0, peer: String::new(), epoch: 1, sequence, parked }
    }

    fn nothing() -> Standing {
        Standing { groups: 1, ..Standing::default() }
    }

    /// The step after these groups, each with what the new owner has acknowledged.
    fn step(groups: &[(GroupTakeover, u64)]) -> pb::SwitchoverStep {
        let count = u32::try_from(groups.len()).unwrap();
        let mut standing = Standing { groups: count, ..nothing() };
        for (group, acknowledged) in groups {
            standing.add(group, ("eu-west", 3), Some(&heard(*acknowledged, 0)));
        }
        assert_eq!(standing.waits.is_empty(), standing.shipped == count, "{:?}", standing.waits);
        standing.step()
    }

    #[test]
    fn it_is_recorded_when_every_group_is_drained_and_shipped_to_its_last_sequence() {
        use BirthPhase::{Drained, Draining, Owned};
        use pb::SwitchoverStep as Step;
        assert_eq!(step(&[(group(Owned, 0), 9)]), Step::Draining, "it has not begun");
        assert_eq!(step(&[(group(Drained, 7), 7), (group(Draining, 0), 9)]), Step::Draining);
        assert_eq!(step(&[(group(Drained, 7), 7), (group(Drained, 7), 6)]), Step::Shipping);
        assert_eq!(step(&[(group(Drained, 7), 7), (group(Drained, 0), 0)]), Step::Recorded);
        let knows_nothing = GroupTakeover::default();
        assert_eq!(step(&[(group(Drained, 7), 7), (knows_nothing, 9)]), Step::Draining);
    }

    #[test]
    fn what_drained_for_an_earlier_drain_has_not_drained_for_this_one() {
        let mut standing = nothing();
        let drained = group(BirthPhase::Drained, 7);
        standing.add(&drained, ("eu-west", 4), Some(&heard(7, 0)));
        assert_eq!(standing.step(), pb::SwitchoverStep::Draining, "{:?}", standing.waits);
    }

    #[test]
    fn what_the_new_owner_cannot_take_yet_is_not_recorded() {
        let mut standing = nothing();
        standing.add(&group(BirthPhase::Drained, 7), ("eu-west", 3), Some(&heard(7, 0)));
        assert_eq!(standing.step(), pb::SwitchoverStep::Recorded);
        standing.heir = vec!["a key is missing".to_owned()];
        assert_eq!(standing.step(), pb::SwitchoverStep::Shipping);
    }

    #[test]
    fn what_is_parked_at_the_new_owner_is_not_shipped() {
        let mut standing = nothing();
        let drained = group(BirthPhase::Drained, 7);
        standing.add(&drained, ("eu-west", 3), Some(&heard(7, 1)));
        assert_eq!(standing.step(), pb::SwitchoverStep::Shipping);
        assert_eq!(standing.waits, ["orders-0: something of 1 orders is parked there"]);
    }
}
