use hansa_api::pb::admin::{ReplaceMemberRequest, ReplaceMemberResponse};
use hansa_api::status::{Failure, Reason};
use hansa_region_router::core::directory::MemberChange;
use hansa_region_router::forward::Upstreams;

use super::Desk;
use super::guard::{self, Goes};

impl<U: Upstreams> Desk<'_, U> {
    pub async fn replace_member(
        &self,
        request: &ReplaceMemberRequest,
    ) -> Result<ReplaceMemberResponse, Failure> {
        let (old, force) = (self.node(&request.node)?.id, request.force);
        let new = self.node(&request.replacement)?;
        if new.id == old {
            let why = "a node does not replace itself; `node reseed` rebuilds it";
            return Err(Failure::field(Reason::FieldInvalid, "replacement", why));
        }
        let leaving = |group| {
            let plan = self.now.plans.get(&group);
            plan.is_some_and(|plan| plan.leaving.contains(&old)) && self.votes(new.id, group)
        };
        let groups =
            self.groups(&request.groups, |group| self.votes(old, group) || leaving(group))?;
        self.check_roles(new, &groups)?;
        if !force {
            let told = self.ask_members().await;
            guard::check(&told, &self.now.groups, &groups, old, Goes::Replaced)?;
        }
        let change = MemberChange::Replace { old, new: new.id, force };
        let (version, changed_groups) = self.change_members(&groups, |_| change).await?;
        Ok(ReplaceMemberResponse { version, changed_groups })
    }
}
