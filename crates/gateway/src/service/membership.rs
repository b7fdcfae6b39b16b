//! Which nodes keep this region's groups: what is wanted goes into the directory, what is comes
//! from the groups' leaders. One verb per file.

mod add_member;
mod drain_node;
mod guard;
mod list_members;
mod promote_member;
mod remove_member;
mod replace_member;
mod reseed_node;
mod retire_node;
mod transfer_leader;

use std::sync::Arc;

use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::membership_service_server::MembershipService;
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_region_router::book::Book;
use hansa_region_router::change::Changed;
use hansa_region_router::core::directory::{Command, MemberChange, Node, NodeRole, Snapshot};
use hansa_region_router::forward::Upstreams;
use hansa_types::id::GroupId;
use tonic::{Request, Response, Status};

use super::{Own, change_directory, due, with_log};

/// One call's way to the directory and the nodes.
struct Desk<'a, U> {
    upstreams: &'a U,
    book: &'a Book,
    now: Arc<Snapshot>,
    due: Deadline,
}

impl<U: Upstreams> Desk<'_, U> {
    /// A node by its name or id.
    fn node(&self, text: &str) -> Result<&Node, Failure> {
        let unknown = || {
            let text = format!("the region has no node {text}");
            Failure::new(Reason::NotFound, text)
        };
        if text.is_empty() {
            return Err(Failure::field(Reason::FieldEmpty, "node", "a node's name or id"));
        }
        self.now.own_node(text).ok_or_else(unknown)
    }

    /// The groups that were asked for, or all that `fits`.
    fn groups(
        &self,
        asked: &[u32],
        fits: impl Fn(GroupId) -> bool,
    ) -> Result<Vec<GroupId>, Failure> {
        if asked.is_empty() {
            let logs = self.now.logs().map(|(group, _)| *group);
            return Ok(logs.filter(|group| fits(*group)).collect());
        }
        asked.iter().map(|number| with_log(&self.now, *number)).collect()
    }

    async fn change(&self, command: &Command) -> Result<Changed, Failure> {
        change_directory(self.upstreams, self.book, &self.now, command, self.due).await
    }

    /// The same change in each of these groups; the directory's version then, and where it changed
    /// something. A repeat goes on where a call broke off.
    async fn change_members(
        &self,
        groups: &[GroupId],
        change: impl Fn(GroupId) -> MemberChange,
    ) -> Result<(u64, Vec<u32>), Failure> {
        let (mut version, mut changed) = (self.now.version, Vec::new());
        for group in groups {
            let command = Command::ChangeMembers { group: *group, change: change(*group) };
            let done = self.change(&command).await?;
            version = version.max(done.version);
            if done.changed {
                changed.push(group.number());
            }
        }
        Ok((version, changed))
    }

    /// Refuses groups of a kind that the node's process does not host.
    fn check_roles(&self, node: &Node, groups: &[GroupId]) -> Result<(), Failure> {
        match groups.iter().find(|group| !node.roles.contains(&NodeRole::hosting(group.kind()))) {
            None => Ok(()),
            Some(group) => {
                let role = NodeRole::hosting(group.kind()).as_str();
                let why = format!("{} hosts no {group}: it lacks the role {role}", node.name);
                Err(Failure::new(Reason::MembershipRefused, why))
            }
        }
    }
}

impl<U: Upstreams> Own<U> {
    fn desk<T>(&self, request: &Request<T>) -> Result<Desk<'_, U>, Failure> {
        let (upstreams, book) = (&self.upstreams, &self.book);
        Ok(Desk { upstreams, book, now: self.directory()?, due: due(request) })
    }
}

#[tonic::async_trait]
impl<U: Upstreams> MembershipService for Own<U>
where
    U::Peer: Sync,
{
    async fn list_members(
        &self,
        request: Request<pb::ListMembersRequest>,
    ) -> Result<Response<pb::ListMembersResponse>, Status> {
        Ok(Response::new(self.desk(&request)?.list_members().await))
    }

    async fn add_member(
        &self,
        request: Request<pb::AddMemberRequest>,
    ) -> Result<Response<pb::AddMemberResponse>, Status> {
        Ok(Response::new(self.desk(&request)?.add_member(request.get_ref()).await?))
    }

    async fn promote_member(
        &self,
        request: Request<pb::PromoteMemberRequest>,
    ) -> Result<Response<pb::PromoteMemberResponse>, Status> {
        Ok(Response::new(self.desk(&request)?.promote_member(request.get_ref()).await?))
    }

    async fn remove_member(
        &self,
        request: Request<pb::RemoveMemberRequest>,
    ) -> Result<Response<pb::RemoveMemberResponse>, Status> {
        Ok(Response::new(self.desk(&request)?.remove_member(request.get_ref()).await?))
    }

    async fn replace_member(
        &self,
        request: Request<pb::ReplaceMemberRequest>,
    ) -> Result<Response<pb::ReplaceMemberResponse>, Status> {
        Ok(Response::new(self.desk(&request)?.replace_member(request.get_ref()).await?))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        Ok(Response::new(self.desk(&request)?.transfer_leader(request.get_ref()).await?))
    }

    async fn drain_node(
        &self,
        request: Request<pb::DrainNodeRequest>,
    ) -> Result<Response<pb::DrainNodeResponse>, Status> {
        Ok(Response::new(self.desk(&request)?.drain_node(request.get_ref()).await?))
    }

    async fn reseed_node(
        &self,
        request: Request<pb::ReseedNodeRequest>,
    ) -> Result<Response<pb::ReseedNodeResponse>, Status> {
        Ok(Response::new(self.desk(&request)?.reseed_node(request.get_ref()).await?))
    }

    async fn retire_node(
        &self,
        request: Request<pb::RetireNodeRequest>,
    ) -> Result<Response<pb::RetireNodeResponse>, Status> {
        Ok(Response::new(self.desk(&request)?.retire_node(request.get_ref()).await?))
    }
}
