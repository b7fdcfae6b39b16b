//! What regions tell each other of who owns what: whoever says an older epoch is answered with the
//! newer record.

mod ask;
mod exchange;
mod heir;
#[cfg(test)]
mod tests;

pub use ask::{fence, read, renew};
pub use exchange::{learn, start};
pub use heir::ask as ask_heir;

use std::time::Duration;

use hansa_api::pb::directory as pb;
use hansa_api::pb::directory::ownership_service_server::{
    OwnershipService, OwnershipServiceServer,
};
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_node::tls::PeerIdentity;
use hansa_types::id::{GroupId, GroupKind, NodeId};
use hansa_types::identity::Role;
use hansa_types::region::RegionName;
use tonic::{Request, Response, Status};

use crate::book::Book;
use crate::change::change;
use crate::core::directory::{Command, Fence, REGIONS_MAX, Snapshot};
use crate::core::standing::Standing;
use crate::forward::Upstreams;
use crate::vouch::Vouch;
use crate::wire::loss::{known_of, known_pb, record_of, record_pb};

/// Time for an answer whose caller named none.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The service for the internal port of any node of the region.
pub fn service<U: Upstreams>(
    book: Book,
    upstreams: U,
    vouch: Vouch,
) -> OwnershipServiceServer<Serve<U>>
where
    U::Peer: Sync,
{
    OwnershipServiceServer::new(Serve { book, upstreams, vouch })
}

/// See [`service`].
pub struct Serve<U> {
    book: Book,
    upstreams: U,
    vouch: Vouch,
}

/// The nodes that keep the directory.
fn keepers(now: &Snapshot) -> &[NodeId] {
    now.members(GroupId::new(GroupKind::Directory, 0))
}

impl<U: Upstreams> Serve<U> {
    fn directory(&self) -> Result<std::sync::Arc<Snapshot>, Failure> {
        let starting = || Failure::new(Reason::Unavailable, "the directory is not known yet");
        self.book.now().ok_or_else(starting)
    }
}

/// Who asks speaks for his own region.
fn speaks_for<T>(request: &Request<T>, region: &str) -> Result<RegionName, Failure> {
    let caller = request.extensions().get::<PeerIdentity>().ok_or(Reason::Unauthenticated)?;
    match caller.0.role() {
        Some(Role::Node { region: of, .. }) if of.as_str() == region => Ok(of),
        _ => Err(Reason::PermissionDenied.into()),
    }
}

/// The records of `standing` that `theirs` is too old for.
fn news(
    standing: &Standing,
    theirs: &[pb::KnownEpoch],
    now: &Snapshot,
) -> Vec<pb::OwnershipRecord> {
    let theirs = known_of(theirs, now);
    standing.news(&theirs).map(|record| record_pb(record, now)).collect()
}

#[tonic::async_trait]
impl<U: Upstreams> OwnershipService for Serve<U>
where
    U::Peer: Sync,
{
    async fn exchange_ownership(
        &self,
        request: Request<pb::ExchangeOwnershipRequest>,
    ) -> Result<Response<pb::ExchangeOwnershipResponse>, Status> {
        let due = Deadline::of(request.extensions(), ANSWER_MAX);
        let now = self.directory()?;
        let region = speaks_for(&request, &request.get_ref().region)?;
        let told = request.into_inner();
        let told = pb::ExchangeOwnershipResponse {
            region: told.region,
            known: told.known,
            records: told.records,
        };
        exchange::take_in(&self.upstreams, &self.book, &region, &told, due).await?;
        let now = self.book.now().unwrap_or(now);
        let standing = Standing::of(&now);
        Ok(Response::new(pb::ExchangeOwnershipResponse {
            region: now.own_region().map(|own| own.name.to_string()).unwrap_or_default(),
            known: known_pb(&standing.owners, &now),
            records: news(&standing, &told.known, &now),
        }))
    }

    async fn renew_epochs(
        &self,
        request: Request<pb::RenewEpochsRequest>,
    ) -> Result<Response<pb::RenewEpochsResponse>, Status> {
        let due = Deadline::of(request.extensions(), ANSWER_MAX);
        let now = self.directory()?;
        speaks_for(&request, &request.get_ref().region)?;
        let asked = request.into_inner().epochs;
        if asked.len() > REGIONS_MAX {
            return Err(Reason::MessageMalformed.into());
        }
        let standing = ask::read(&self.upstreams, &now, due).await?;
        let granted = asked.iter().map(|epoch| {
            let one = known_of(std::slice::from_ref(epoch), &now);
            one.into_iter().all(|(birth, of)| standing.renews(birth, of))
                && now.number_of(&epoch.birth_region).is_some()
        });
        let granted = granted.collect();
        let mut records = news(&standing, &asked, &now);
        // Of what was not asked for nothing is said.
        records.retain(|record| asked.iter().any(|of| of.birth_region == record.birth_region));
        Ok(Response::new(pb::RenewEpochsResponse { granted, records }))
    }

    async fn read_heir(
        &self,
        request: Request<pb::ReadHeirRequest>,
    ) -> Result<Response<pb::ReadHeirResponse>, Status> {
        let due = Deadline::of(request.extensions(), ANSWER_MAX);
        let now = self.directory()?;
        speaks_for(&request, &request.get_ref().region)?;
        let birth = &request.get_ref().birth_region;
        Ok(Response::new(heir::read(&self.upstreams, &now, birth, due).await))
    }

    async fn fence_epoch(
        &self,
        request: Request<pb::FenceEpochRequest>,
    ) -> Result<Response<pb::FenceEpochResponse>, Status> {
        let due = Deadline::of(request.extensions(), ANSWER_MAX);
        let now = self.directory()?;
        let pb::FenceEpochRequest { record, wait_ms } = request.into_inner();
        let signed = record.ok_or(Reason::MessageMalformed)?;
        let unsigned = |why: hansa_api::signature::BadSignature| {
            Failure::new(Reason::OwnershipRefused, format!("the record is not signed: {why}"))
        };
        self.vouch.check(&signed).map_err(unsigned)?;
        let record = record_of(&signed, &now).map_err(|_| Reason::UnknownRegion)?;
        let fence =
            Fence { epoch: record.epoch, to: record.owner, wait_ms, since: Default::default() };
        let command = Command::Fence { birth: record.birth, fence };
        let fenced = change(&self.upstreams, keepers(&now), &command, due).await;
        let now = self.book.now().unwrap_or(now);
        let mut answer = pb::FenceEpochResponse::default();
        match fenced {
            Ok(_) => {}
            Err(failure) if failure.reason() == Reason::EpochEnded => {
                let held = now.records.get(&record.birth).map(|held| record_pb(held, &now));
                answer.records = held.into_iter().collect();
                answer.refusal = failure.to_string();
                answer.refusal_reason = failure.reason().as_str().to_owned();
            }
            Err(failure) => return Err(failure.into()),
        }
        let owner = now.owners.get(&record.birth).map(|of| now.isolation(of.owner));
        answer.lease_ms = owner.and_then(|isolation| isolation.lease_ms()).unwrap_or(0);
        Ok(Response::new(answer))
    }
}
