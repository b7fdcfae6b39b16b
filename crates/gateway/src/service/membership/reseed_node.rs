use hansa_api::pb::admin::{ReseedNodeRequest, ReseedNodeResponse};
use hansa_api::status::{Failure, Reason};
use hansa_region_router::core::directory::{Command, Node};
use hansa_region_router::forward::Upstreams;
use hansa_types::id::GroupId;

use super::Desk;
use super::guard::{self, Goes};
use super::list_members::{Told, led};

impl<U: Upstreams> Desk<'_, U> {
    pub async fn reseed_node(
        &self,
        request: &ReseedNodeRequest,
    ) -> Result<ReseedNodeResponse, Failure> {
        let old = self.node(&request.node)?.clone();
        let groups: Vec<_> =
            self.now.groups.keys().copied().filter(|group| self.votes(old.id, *group)).collect();
        let told = self.ask_members().await;
        let numbers = groups.iter().copied().map(GroupId::number).collect();
        if !request.force && self.is_under_way(&old, &groups, &told) {
            let (version, node) = (self.now.version, old.id.0);
            return Ok(ReseedNodeResponse { version, former_node: 0, node, groups: numbers });
        }
        if !request.force {
            guard::check(&told, &groups, old.id, Goes::Lost)?;
        }
        let changed = self.change(&Command::ReplaceNode { node: old.id }).await?;
        let now = self.book.now().filter(|now| now.version >= changed.version);
        let new = now.and_then(|now| Some(now.own_node(&old.name)?.id));
        let unseen = || Failure::new(Reason::Unavailable, "reseeded, and not seen here yet");
        Ok(ReseedNodeResponse {
            version: changed.version,
            former_node: old.id.0,
            node: new.ok_or_else(unseen)?.0,
            groups: numbers,
        })
    }

    /// Whether the node's id was given by a reseed that has not ended: another one would only give
    /// it another id.
    fn is_under_way(&self, node: &Node, groups: &[GroupId], told: &Told) -> bool {
        let mut records = self.now.registry.values();
        let was_reseeded = records.any(|known| known.retired && known.name == node.name);
        let missing = |group: &&GroupId| {
            led(told, **group).is_none_or(|(_, held)| !held.voters.contains(&node.id.0))
        };
        was_reseeded && groups.iter().any(|group| missing(&group))
    }
}
