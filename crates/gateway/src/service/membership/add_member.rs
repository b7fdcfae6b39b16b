use hansa_api::pb::admin::{AddMemberRequest, AddMemberResponse};
use hansa_api::status::Failure;
use hansa_region_router::core::directory::{MemberChange, NodeRole};
use hansa_region_router::forward::Upstreams;

use super::Desk;

impl<U: Upstreams> Desk<'_, U> {
    pub async fn add_member(
        &self,
        request: &AddMemberRequest,
    ) -> Result<AddMemberResponse, Failure> {
        let node = self.node(&request.node)?;
        let fits =
            |group: hansa_types::id::GroupId| node.roles.contains(&NodeRole::hosting(group.kind()));
        let groups = self.groups(&request.groups, fits)?;
        self.check_roles(node, &groups)?;
        let change = MemberChange::Add { node: node.id, hold: request.hold_as_learner };
        let (version, changed_groups) = self.change_members(&groups, |_| change).await?;
        Ok(AddMemberResponse { version, changed_groups })
    }
}
