use hansa_api::pb::admin::{RemoveMemberRequest, RemoveMemberResponse};
use hansa_api::status::Failure;
use hansa_region_router::core::directory::MemberChange;
use hansa_region_router::forward::Upstreams;
use hansa_types::id::{GroupId, NodeId};

use super::Desk;
use super::guard::{self, Goes};

impl<U: Upstreams> Desk<'_, U> {
    pub async fn remove_member(
        &self,
        request: &RemoveMemberRequest,
    ) -> Result<RemoveMemberResponse, Failure> {
        let (node, force) = (self.node(&request.node)?.id, request.force);
        let groups = self.groups(&request.groups, |group| self.is_in(node, group))?;
        if !force {
            let votes: Vec<_> = groups.iter().copied().filter(|g| self.votes(node, *g)).collect();
            let told = self.ask_members().await;
            guard::check(&told, &self.now.groups, &votes, node, Goes::Away)?;
        }
        let change = MemberChange::Remove { node, force };
        let (version, changed_groups) = self.change_members(&groups, |_| change).await?;
        Ok(RemoveMemberResponse { version, changed_groups })
    }

    /// Whether a node is wanted as a voter of a group.
    pub(super) fn votes(&self, node: NodeId, group: GroupId) -> bool {
        self.now.groups.get(&group).is_some_and(|voters| voters.contains(&node))
    }

    /// Whether a node is wanted in a group.
    pub(super) fn is_in(&self, node: NodeId, group: GroupId) -> bool {
        let plan = self.now.plans.get(&group);
        self.votes(node, group) || plan.is_some_and(|plan| plan.learners.contains(&node))
    }
}
