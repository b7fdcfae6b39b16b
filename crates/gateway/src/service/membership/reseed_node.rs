use hansa_api::pb::admin::{ReseedNodeRequest, ReseedNodeResponse};
use hansa_api::status::{Failure, Reason};
use hansa_region_router::core::directory::{Command, Node};
use hansa_region_router::forward::Upstreams;
use hansa_types::id::{GroupId, NodeId};

use super::Desk;
use super::guard::{self, Goes};
use super::list_members::{Told, led};

impl<U: Upstreams> Desk<'_, U> {
    pub async fn reseed_node(
        &self,
        request: &ReseedNodeRequest,
    ) -> Result<ReseedNodeResponse, Failure> {
        // The same request again goes on with the id that it gave, whatever has failed since.
        let given = self.now.registry.iter().find(|(_, of)| of.request == request.request_id);
        if let Some((node, _)) = given {
            return Ok(self.goes_on(*node));
        }
        let old = self.node(&request.node)?.clone();
        let groups = self.voting(old.id);
        let told = self.ask_members().await;
        let numbers = groups.iter().copied().map(GroupId::number).collect();
        if !request.force && self.is_under_way(&old, &groups, &told) {
            return Ok(self.goes_on(old.id));
        }
        if !request.force {
            guard::check(&told, &groups, old.id, Goes::Lost)?;
        }
        let replace = Command::ReplaceNode { node: old.id, request: request.request_id.clone() };
        let changed = self.change(&replace).await?;
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

    /// An earlier reseed under way, or done: `node` is the id that it gave.
    fn goes_on(&self, node: NodeId) -> ReseedNodeResponse {
        let groups = self.voting(node).into_iter().map(GroupId::number).collect();
        ReseedNodeResponse { version: self.now.version, former_node: 0, node: node.0, groups }
    }

    fn voting(&self, node: NodeId) -> Vec<GroupId> {
        self.now.groups.keys().copied().filter(|group| self.votes(node, *group)).collect()
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
