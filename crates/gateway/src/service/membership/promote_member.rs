use hansa_api::pb::admin::{PromoteMemberRequest, PromoteMemberResponse};
use hansa_api::status::Failure;
use hansa_region_router::core::directory::MemberChange;
use hansa_region_router::forward::Upstreams;

use super::Desk;

impl<U: Upstreams> Desk<'_, U> {
    pub async fn promote_member(
        &self,
        request: &PromoteMemberRequest,
    ) -> Result<PromoteMemberResponse, Failure> {
        let node = self.node(&request.node)?.id;
        let plan = |group| self.now.plans.get(&group);
        let held = |group| plan(group).is_some_and(|plan| plan.learners.contains(&node));
        let groups = self.groups(&request.groups, held)?;
        let change = MemberChange::Promote { node };
        let (version, changed_groups) = self.change_members(&groups, |_| change).await?;
        Ok(PromoteMemberResponse { version, changed_groups })
    }
}
