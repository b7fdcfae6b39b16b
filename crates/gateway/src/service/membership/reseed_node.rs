use hansa_api::convert::Checks;
use hansa_api::pb::admin::{ReseedNodeRequest, ReseedNodeResponse};
use hansa_api::status::{Failure, Reason};
use hansa_region_router::core::directory::{Command, Node, Refusal, Snapshot, given_by};
use hansa_region_router::forward::Upstreams;
use hansa_region_router::registry::request_id_reused;
use hansa_types::id::{GroupId, NodeId, RequestId};

use super::Desk;
use super::guard::{self, Goes};
use super::list_members::{Told, led};

impl<U: Upstreams> Desk<'_, U> {
    pub async fn reseed_node(
        &self,
        request: &ReseedNodeRequest,
    ) -> Result<ReseedNodeResponse, Failure> {
        let mut checks = Checks::default();
        let id = checks.request_id(&request.request_id);
        let id = checks.done(id)?;
        // The same request again goes on with the id that it gave, whatever has failed since.
        if let Some(node) = given(&self.now, name_of(&self.now, &request.node), &id)? {
            return Ok(self.goes_on(node));
        }
        let old = self.node(&request.node)?.clone();
        let groups = self.voting(old.id);
        let told = self.ask_members().await;
        let numbers = groups.iter().copied().map(GroupId::number).collect();
        if !request.force && self.is_under_way(&old, &groups, &told) {
            return Ok(self.goes_on(old.id));
        }
        if !request.force {
            guard::check(&told, &self.now.groups, &groups, old.id, Goes::Lost)?;
        }
        let replace = Command::ReplaceNode { node: old.id, request: id.as_str().to_owned() };
        let changed = self.change(&replace).await?;
        let unseen = || Failure::new(Reason::Unavailable, "reseeded, and not seen here yet");
        let seen = self.book.now().filter(|now| now.version >= changed.version);
        let now = seen.ok_or_else(unseen)?;
        let new = given(&now, &old.name, &id)?.ok_or_else(unseen)?;
        if !changed.changed {
            // It was made before, and this gateway had not seen it.
            return Ok(Self { now, ..*self }.goes_on(new));
        }
        Ok(ReseedNodeResponse {
            version: changed.version,
            former_node: old.id.0,
            node: new.0,
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

/// The name of a node that was asked for by name or id, be it one of a former life.
fn name_of<'a>(now: &'a Snapshot, text: &'a str) -> &'a str {
    let id = text.parse().ok().map(NodeId);
    let record = id.and_then(|id| now.registry.get(&id));
    match now.own_node(text) {
        Some(node) => &node.name,
        None => record.map_or(text, |record| &record.name),
    }
}

/// The id that this request gave the node before.
fn given(now: &Snapshot, name: &str, request: &RequestId) -> Result<Option<NodeId>, Failure> {
    given_by(&now.registry, name, request.as_str()).map_err(|refusal| match refusal {
        Refusal::RequestIdReused => request_id_reused(&refusal),
        _ => Failure::new(Reason::MembershipRefused, refusal.to_string()),
    })
}

#[cfg(test)]
mod tests;
