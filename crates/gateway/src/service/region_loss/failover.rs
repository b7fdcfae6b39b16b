//! Forced: fences in a majority of regions first, then the record.

use futures::future::join_all;
use hansa_api::pb::admin as pb;
use hansa_api::pb::directory::{FenceEpochRequest, OwnershipRecord as Signed};
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_region_router::core::directory::{
    Command, Fence, Isolation, Kind, OwnershipRecord, SUBMIT_MS_MAX, Snapshot,
};
use hansa_region_router::forward::Upstreams;
use hansa_region_router::ownership;
use hansa_types::region::RegionName;

use super::{Own, change_directory, check_laws, record, refused, spread};

/// What the other regions said.
#[derive(Default)]
struct Fenced {
    by: Vec<String>,
    not: Vec<String>,
    /// The longest lease that anybody knows of; `None` when somebody says that the owner serves.
    lease_ms: Option<u64>,
}

/// # Errors
/// `OWNERSHIP_REFUSED` with what is missing, `NO_LAWFUL_REGION`, `EPOCH_ENDED`; those of the
/// directory.
pub(super) async fn run<U: Upstreams>(
    own: &Own<U>,
    request: pb::FailoverRequest,
    due: Deadline,
) -> Result<pb::FailoverResponse, Failure> {
    let now = own.directory()?;
    let signed = request.record.clone().unwrap_or_default();
    let record = record(request.record, &now)?;
    if now.records.get(&record.birth) == Some(&record) {
        return Ok(recorded(own, &record, due).await);
    }
    check(&now, &record)?;
    let laws = check_laws(&now, &record, request.accept_refused_laws)?;
    // The owner itself, in a newer epoch: another failover is given up, and nobody is fenced.
    let goes_on = now.owners.get(&record.birth).is_some_and(|of| of.owner == record.owner);
    if !goes_on && let Some(waits) = fence(own, &now, &record, &signed, due).await? {
        return Ok(pb::FailoverResponse { refused_laws: laws, ..waits });
    }
    let command = Command::MakeRecord { record: Box::new(record.clone()), drained: None };
    match change_directory(&own.upstreams, &own.book, &now, &command, due).await {
        Ok(_) => {}
        // The directory waits by its own clock.
        Err(failure) if young(&failure) => {
            return Ok(pb::FailoverResponse {
                step: pb::FailoverStep::Waiting.into(),
                detail: failure.to_string(),
                epoch: record.epoch,
                refused_laws: laws,
                ..pb::FailoverResponse::default()
            });
        }
        Err(failure) => return Err(failure),
    }
    let done = recorded(own, &record, due).await;
    Ok(pb::FailoverResponse { refused_laws: laws, ..done })
}

fn young(failure: &Failure) -> bool {
    failure.reason() == Reason::OwnershipRefused
        && failure.to_string().contains("may still be held")
}

fn check(now: &Snapshot, record: &OwnershipRecord) -> Result<(), Failure> {
    if record.kind != Kind::Failover || record.owner != now.here {
        let why = "must be a failover to the region that is asked";
        return Err(Failure::field(Reason::FieldInvalid, "record", why));
    }
    let held = now.owners.get(&record.birth).map_or(0, |of| of.epoch);
    match record.epoch > held {
        true => Ok(()),
        false => Err(Failure::new(
            Reason::EpochEnded,
            format!("the record must be of a newer epoch than {held}; sign it anew"),
        )),
    }
}

const SERVES: &str = "the owner serves while it is cut off, so nothing but a person can say that \
                      it has stopped: confirm that its machines are off";

/// Fences the others, then this region; what is waited for if that is not enough.
async fn fence<U: Upstreams>(
    own: &Own<U>,
    now: &Snapshot,
    record: &OwnershipRecord,
    signed: &Signed,
    due: Deadline,
) -> Result<Option<pb::FailoverResponse>, Failure> {
    let owner = now.owners.get(&record.birth).map(|of| of.owner);
    let mine = owner.map_or(Isolation::Serve, |owner| now.isolation(owner)).lease_ms();
    // Before anybody promises: what is refused leaves nothing behind.
    if mine.is_none() && !record.confirmed_stopped {
        return Err(refused(SERVES));
    }
    let others = now.regions.iter().filter(|(number, _)| **number != now.here);
    let others: Vec<RegionName> = others.map(|(_, region)| region.name.clone()).collect();
    let told = ask(own, &others, signed, mine, due).await?;
    let lease = told.lease_ms.filter(|_| !record.confirmed_stopped);
    // Who is said to be off has no say: two majorities meet with or without it.
    let off = owner.filter(|_| record.confirmed_stopped);
    let off = off.and_then(|owner| now.region(owner)).map(|region| &region.name);
    let voters = others.iter().filter(|region| Some(*region) != off).count() + 1;
    let needed = voters / 2 + 1;
    let promised = told.by.iter().filter(|region| off.is_none_or(|off| off.as_str() != *region));
    let promised = promised.count() + 1;
    if lease.is_none() && !record.confirmed_stopped {
        return Err(refused(SERVES));
    }
    // This region's own promise counts too. Without a majority's, another operator may give the
    // same epoch to another region.
    if promised < needed {
        return Ok(Some(pb::FailoverResponse {
            step: pb::FailoverStep::Fencing.into(),
            detail: format!("{promised} of {needed} regions have promised"),
            fenced_regions: told.by,
            unfenced_regions: told.not,
            fences_needed: u32::try_from(needed).unwrap_or(u32::MAX),
            epoch: record.epoch,
            ..pb::FailoverResponse::default()
        }));
    }
    // Last: the record waits from here on, when all the promises were made.
    let wait_ms = lease.map_or(0, wait_ms);
    let fence = Fence { epoch: record.epoch, to: record.owner, wait_ms, since: Default::default() };
    let command = Command::Fence { birth: record.birth, fence };
    change_directory(&own.upstreams, &own.book, now, &command, due).await?;
    Ok(None)
}

/// How long the record waits after the promises: the longest lease and the longest submit, and a
/// little more than the directory's time may run ahead of a clock (domain.md §1: 10 %).
fn wait_ms(lease_ms: u64) -> u64 {
    let wait = lease_ms.saturating_add(SUBMIT_MS_MAX);
    wait.saturating_add(wait / 8)
}

async fn ask<U: Upstreams>(
    own: &Own<U>,
    others: &[RegionName],
    signed: &Signed,
    mine: Option<u64>,
    due: Deadline,
) -> Result<Fenced, Failure> {
    // Who is away must not use up the time of the rest.
    let each = Deadline::after(due.remaining().unwrap_or_default() / 2).min(due);
    let request = || FenceEpochRequest { record: Some(signed.clone()), wait_ms: 0 };
    let asked =
        others.iter().map(|region| ownership::fence(&own.upstreams, region, request(), each));
    let mut told = Fenced { lease_ms: mine, ..Fenced::default() };
    for (region, answer) in others.iter().zip(join_all(asked).await) {
        match answer {
            Ok(answer) if answer.refusal.is_empty() => {
                told.by.push(region.to_string());
                let heard = (answer.lease_ms > 0).then_some(answer.lease_ms);
                told.lease_ms = told.lease_ms.zip(heard).map(|(a, b)| a.max(b));
            }
            // Somebody knows of a newer epoch: this one is nobody's.
            Ok(answer) => {
                let why = format!("{region} says: {}", answer.refusal);
                return Err(Failure::new(Reason::EpochEnded, why));
            }
            Err(failure) if failure.reason() == Reason::OwnershipRefused => {
                return Err(refused(format!("{region} says: {failure}")));
            }
            Err(failure) => told.not.push(format!("{region} ({failure})")),
        }
    }
    Ok(told)
}

async fn recorded<U: Upstreams>(
    own: &Own<U>,
    record: &OwnershipRecord,
    due: Deadline,
) -> pb::FailoverResponse {
    let spread = spread::run(own, due).await;
    pb::FailoverResponse {
        step: pb::FailoverStep::Recorded.into(),
        epoch: record.epoch,
        told_regions: spread.told,
        untold_regions: spread.untold,
        ..pb::FailoverResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hansa_api::pb::directory::ownership_service_server::{
        OwnershipService, OwnershipServiceServer,
    };
    use hansa_api::pb::directory::{self as wire, FenceEpochResponse};
    use hansa_node::env::test::seeded;
    use hansa_region_router::book::Book;
    use hansa_region_router::core::directory::Snapshot;
    use hansa_region_router::forward::Forward;
    use tonic::service::Routes;
    use tonic::{Request, Response, Status};

    use super::*;
    use crate::testing::{Does, Fake, directory, number};

    /// A region that promises and knows of this lease.
    #[derive(Clone)]
    struct Promises {
        lease_ms: u64,
        refusal: &'static str,
    }

    #[tonic::async_trait]
    impl OwnershipService for Promises {
        async fn exchange_ownership(
            &self,
            _: Request<wire::ExchangeOwnershipRequest>,
        ) -> Result<Response<wire::ExchangeOwnershipResponse>, Status> {
            Err(Status::unimplemented("not asked"))
        }

        async fn renew_epochs(
            &self,
            _: Request<wire::RenewEpochsRequest>,
        ) -> Result<Response<wire::RenewEpochsResponse>, Status> {
            Err(Status::unimplemented("not asked"))
        }

        async fn read_heir(
            &self,
            _: Request<wire::ReadHeirRequest>,
        ) -> Result<Response<wire::ReadHeirResponse>, Status> {
            Err(Reason::Unimplemented.into())
        }

        async fn fence_epoch(
            &self,
            _: Request<FenceEpochRequest>,
        ) -> Result<Response<FenceEpochResponse>, Status> {
            let (lease_ms, refusal) = (self.lease_ms, self.refusal.to_owned());
            Ok(Response::new(FenceEpochResponse { lease_ms, refusal, ..Default::default() }))
        }
    }

    fn promises(lease_ms: u64, refusal: &'static str) -> Does {
        Does::Serves(Routes::new(OwnershipServiceServer::new(Promises { lease_ms, refusal })))
    }

    fn own(fake: &Fake, now: &Snapshot) -> Own<Fake> {
        let (env, _) = seeded("failover", 1, hansa_types::time::WallTime(0));
        let book = Book::of(now.clone());
        let forward = Forward::new(fake.clone(), book.clone(), env.entropy.clone());
        let (clock, entropy) = (env.clock.clone(), env.entropy.clone());
        Own { book, upstreams: fake.clone(), forward, clock: Arc::clone(&clock), entropy }
    }

    /// us-east's births go to eu-west, one of three regions.
    fn record(confirmed_stopped: bool) -> OwnershipRecord {
        OwnershipRecord {
            birth: number(2),
            owner: number(1),
            epoch: 2,
            ends: 1,
            kind: Kind::Failover,
            confirmed_stopped,
            reason: "x".into(),
            ticket: "x".into(),
            time_ms: 1,
            by: "x".into(),
            proof: Default::default(),
        }
    }

    fn lease(ms: u64) -> Command {
        Command::SetIsolation { region: number(2), isolation: Isolation::Lease { ms } }
    }

    async fn fenced(
        fake: &Fake,
        own_lease: Option<u64>,
        sure: bool,
    ) -> Result<Option<pb::FailoverResponse>, Failure> {
        let now = directory(1, own_lease.map(lease).as_slice());
        let due = Deadline::after(std::time::Duration::from_secs(2));
        fence(&own(fake, &now), &now, &record(sure), &Signed::default(), due).await
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_fenced_who_serves_unless_a_person_says_that_he_is_off() {
        let fake = Fake::default()
            .with("gateway us-east", Does::Unreachable)
            .with("gateway ap-south", promises(0, ""));
        for own_lease in [None, Some(10_000)] {
            let refused = fenced(&fake, own_lease, false).await.unwrap_err();
            assert_eq!(refused.reason(), Reason::OwnershipRefused, "somebody says that it serves");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn under_leases_a_majority_must_promise_first() {
        let alone = Fake::default()
            .with("gateway us-east", Does::Unreachable)
            .with("gateway ap-south", Does::Unreachable);
        let waits = fenced(&alone, Some(10_000), false).await.unwrap().expect("too few");
        assert_eq!(waits.step(), pb::FailoverStep::Fencing);
        assert_eq!((waits.fences_needed, waits.fenced_regions.len()), (2, 0));
        assert_eq!(waits.unfenced_regions.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_person_s_word_gives_nobody_an_epoch_that_a_majority_has_not_promised() {
        let alone = Fake::default()
            .with("gateway us-east", promises(0, ""))
            .with("gateway ap-south", Does::Unreachable);
        let waits = fenced(&alone, None, true).await.unwrap().expect("cut off from who is left");
        assert_eq!(waits.step(), pb::FailoverStep::Fencing);
        assert_eq!(waits.fences_needed, 2, "of two: who is said to be off has no say");
    }

    #[tokio::test(start_paused = true)]
    async fn who_knows_a_newer_epoch_ends_it() {
        let fake = Fake::default()
            .with("gateway us-east", Does::Unreachable)
            .with("gateway ap-south", promises(10_000, "the epoch must grow beyond 5"));
        let refused = fenced(&fake, Some(10_000), true).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::EpochEnded);
        assert!(refused.to_string().contains("beyond 5"), "{refused}");
    }

    #[test]
    fn the_wait_covers_the_lease_a_submit_and_a_directory_that_runs_fast() {
        assert_eq!(wait_ms(10_000), 22_500);
        assert!(wait_ms(10_000) * 10 >= (10_000 + SUBMIT_MS_MAX) * 11);
    }
}
