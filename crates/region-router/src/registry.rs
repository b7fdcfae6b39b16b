//! The registry of nodes, on the internal port of those that keep the directory.

use std::sync::Arc;
use std::time::Duration;

use hansa_api::pb::directory as pb;
use hansa_api::pb::directory::registry_service_server::{RegistryService, RegistryServiceServer};
use hansa_api::status::{Failure, Reason};
use hansa_consensus::SubmitError;
use hansa_consensus::failure::not_read;
use hansa_node::layers::Deadline;
use hansa_node::tls::PeerIdentity;
use hansa_types::id::{GroupId, GroupKind, NodeId};
use hansa_types::identity::{Role, SpiffeId};
use tonic::{Request, Response, Status};

use crate::core::directory::{Command, Node, Outcome, OwnershipRecord, Refusal, Snapshot};
use crate::directory::Directory;
use crate::wire::loss::standing_pb;

/// Time for a change whose caller named none.
const CHANGE_MAX: Duration = Duration::from_secs(5);
/// Time to find out whether what is known here has caught up, for who asks at its start.
const CONFIRM_MAX: Duration = Duration::from_millis(500);

/// Whether this node has met a node of that id.
pub type Met = Arc<dyn Fn(NodeId) -> bool + Send + Sync>;

/// The service for the internal port.
pub fn service(directory: Directory, met: Met) -> RegistryServiceServer<Serve> {
    RegistryServiceServer::new(Serve { directory, met })
}

/// See [`service`].
pub struct Serve {
    directory: Directory,
    met: Met,
}

#[tonic::async_trait]
impl RegistryService for Serve {
    async fn resolve_node(
        &self,
        request: Request<pb::ResolveNodeRequest>,
    ) -> Result<Response<pb::ResolveNodeResponse>, Status> {
        let caller = request.extensions().get::<PeerIdentity>();
        let caller = caller.ok_or_else(|| Failure::of(Reason::Unauthenticated))?;
        let starting = || Failure::new(Reason::Unavailable, "the directory is not bootstrapped");
        let due = Deadline::after(CONFIRM_MAX).0;
        let confirmed = self.directory.confirmed(due).await.ok().flatten();
        let (known, met) = (self.directory.book().now(), self.met.as_ref());
        let told = match (&confirmed, &known) {
            (Some(now), _) => resolve(now, &caller.0, met),
            (None, known) => resolve(known.as_ref().ok_or_else(starting)?, &caller.0, met),
        };
        Ok(Response::new(pb::ResolveNodeResponse { confirmed: confirmed.is_some(), ..told }))
    }

    async fn change_directory(
        &self,
        request: Request<pb::ChangeDirectoryRequest>,
    ) -> Result<Response<pb::ChangeDirectoryResponse>, Status> {
        let due = Deadline::of(request.extensions(), CHANGE_MAX).0;
        let command = Command::decode(&request.get_ref().command);
        let command = command.map_err(|_| Failure::of(Reason::MessageMalformed))?;
        let outcome = self.directory.submit(&command, due).await.map_err(refused)?;
        tracing::info!(command = shown(&command), ?outcome, "directory asked to change");
        if let Outcome::Refused(refusal @ Refusal::RequestIdReused) = outcome {
            return Err(request_id_reused(&refusal).into());
        }
        Ok(Response::new(answer(outcome, self.directory.book().now().map_or(0, |s| s.version))))
    }

    async fn read_ownership(
        &self,
        request: Request<pb::ReadOwnershipRequest>,
    ) -> Result<Response<pb::ReadOwnershipResponse>, Status> {
        let due = Deadline::of(request.extensions(), CHANGE_MAX).0;
        let standing = self.directory.standing(due).await.map_err(not_read)?;
        let starting = || Failure::new(Reason::Unavailable, "the directory is not bootstrapped");
        let now = self.directory.book().now().ok_or_else(starting)?;
        Ok(Response::new(standing_pb(&standing, &now)))
    }
}

/// Which id the caller's name has.
fn resolve(
    now: &Snapshot,
    caller: &SpiffeId,
    met: &(dyn Fn(NodeId) -> bool + Send + Sync),
) -> pb::ResolveNodeResponse {
    let name = match caller.role() {
        Some(Role::Node { region, name }) if now.number(&region) == Some(now.here) => name,
        _ => return pb::ResolveNodeResponse { version: now.version, ..Default::default() },
    };
    let mut nodes = now.own_region().into_iter().flat_map(|region| &region.nodes);
    let node = nodes.find(|node| node.name == name).map(|node| node.id);
    let former = now.registry.iter().filter(|(_, known)| known.retired && known.name == name);
    pb::ResolveNodeResponse {
        node: node.map_or(0, |node| node.0),
        met: node.is_some_and(met),
        version: now.version,
        former_nodes: former.map(|(id, _)| id.0).collect(),
        confirmed: false,
        parts: now.parts().map(GroupId::number).collect(),
        keepers: keepers(now),
    }
}

fn keepers(now: &Snapshot) -> Vec<pb::DirectoryKeeper> {
    let members = now.members(GroupId::new(GroupKind::Directory, 0));
    let nodes = now.own_region().into_iter().flat_map(|region| &region.nodes);
    let keepers = nodes.filter(|node| members.contains(&node.id));
    let told = |node: &Node| pb::DirectoryKeeper {
        node: node.id.0,
        name: node.name.clone(),
        internal: node.internal.clone(),
    };
    keepers.map(told).collect()
}

/// A reseed's request that another node's reseed had.
pub fn request_id_reused(refusal: &Refusal) -> Failure {
    Failure::field(Reason::RequestIdReused, "request_id", refusal.to_string())
}

fn answer(outcome: Outcome, known: u64) -> pb::ChangeDirectoryResponse {
    let done = pb::ChangeDirectoryResponse::default();
    match outcome {
        Outcome::Changed { version } => {
            pb::ChangeDirectoryResponse { version, changed: true, ..done }
        }
        Outcome::Unchanged { version } => pb::ChangeDirectoryResponse { version, ..done },
        Outcome::Refused(refusal) => pb::ChangeDirectoryResponse {
            version: known,
            changed: false,
            refusal: refusal.to_string(),
            refusal_reason: reason(&refusal).as_str().to_owned(),
        },
    }
}

/// A command for the log, which is no place for a whole file.
fn shown(command: &Command) -> String {
    match command {
        Command::LoadPolicy { text } => format!("LoadPolicy of {} bytes", text.len()),
        Command::MakeRecord { record, .. } | Command::TakeRecord(record) => {
            let OwnershipRecord { birth, owner, epoch, kind, .. } = &**record;
            format!("record: {kind} of {birth} to {owner} in epoch {epoch}")
        }
        other => format!("{other:?}"),
    }
}

/// Under which reason callers hear of a refusal.
fn reason(refusal: &Refusal) -> Reason {
    match refusal {
        Refusal::Policy(_) => Reason::PolicyRefused,
        Refusal::PolicyNotNewer { .. } => Reason::PolicyNotNewer,
        Refusal::RequestIdReused => Reason::RequestIdReused,
        Refusal::Malformed => Reason::MessageMalformed,
        Refusal::NotBootstrapped => Reason::Unavailable,
        Refusal::NoLawfulRegion { .. } => Reason::NoLawfulRegion,
        Refusal::EpochNotNewer { .. } => Reason::EpochEnded,
        Refusal::Unsigned(_)
        | Refusal::BadRecord(_)
        | Refusal::NotOwner { .. }
        | Refusal::Draining { .. }
        | Refusal::NotDraining
        | Refusal::Fenced { .. }
        | Refusal::NotConfirmed { .. }
        | Refusal::NotFenced
        | Refusal::FenceYoung { .. } => Reason::OwnershipRefused,
        Refusal::TooMany(_)
        | Refusal::UnknownRegion(_)
        | Refusal::NumberTaken { .. }
        | Refusal::NameTaken { .. }
        | Refusal::BadRun
        | Refusal::UnknownGroup(_)
        | Refusal::BadMembers
        | Refusal::UnknownNode(_)
        | Refusal::RequestSuperseded(_)
        | Refusal::NodeNameTaken { .. }
        | Refusal::NodeIdUsed(_)
        | Refusal::StillMember { .. }
        | Refusal::NotMember { .. }
        | Refusal::PartOf { .. } => Reason::MembershipRefused,
    }
}

fn refused(error: SubmitError) -> Failure {
    match error {
        SubmitError::NotLeader { leader } => Failure::not_leader(leader),
        SubmitError::Overloaded { retry_after } => {
            Failure::of(Reason::Overloaded).retry_after(retry_after)
        }
        SubmitError::DiskFull { retry_after } => {
            Failure::of(Reason::DiskFull).retry_after(retry_after)
        }
        SubmitError::Unknown => Failure::new(
            Reason::Unavailable,
            "the change may still be made; asked again it is made once",
        ),
        SubmitError::TooLarge => Failure::of(Reason::MessageMalformed),
        _ => Failure::of(Reason::Unavailable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::directory::{MemberChange, NodeRole};
    use crate::testing::snapshot;

    fn told(name: &str, commands: &[Command]) -> (u64, bool, Vec<u64>) {
        let caller = format!("spiffe://hansa/region/{name}").parse().unwrap();
        let told = resolve(&snapshot(1, 1, commands), &caller, &|node| node == NodeId(2));
        (told.node, told.met, told.former_nodes)
    }

    #[test]
    fn a_name_has_the_id_that_the_directory_says() {
        assert_eq!(told("eu-west/node/eu-west-2", &[]), (2, true, vec![]));
        assert_eq!(told("eu-west/node/eu-west-9", &[]), (0, false, vec![]));
        assert_eq!(told("us-east/node/us-east-2", &[]), (0, false, vec![]), "of another region");
        let reseed = Command::ReplaceNode { node: NodeId(2), request: "r-1".into() };
        assert_eq!(told("eu-west/node/eu-west-2", &[reseed]), (100_001, false, vec![2]));
    }

    #[test]
    fn who_asks_is_told_who_keeps_the_directory_now() {
        let caller = "spiffe://hansa/region/eu-west/node/eu-west-2".parse().unwrap();
        let node = Node {
            id: NodeId(100_001),
            name: "eu-west-4".into(),
            internal: "eu-west-4:7100".into(),
            roles: vec![NodeRole::Directory],
        };
        let group = GroupId::new(GroupKind::Directory, 0);
        let change = MemberChange::Add { node: node.id, hold: false };
        let joins = [Command::RegisterNode { node }, Command::ChangeMembers { group, change }];
        let told = resolve(&snapshot(1, 1, &joins), &caller, &|_| false).keepers;
        assert!(
            told.len() > 1 && told.iter().any(|of| of.internal == "eu-west-4:7100"),
            "{told:?}"
        );
    }
}
