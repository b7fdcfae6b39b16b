//! What this node knows of replication, for operators: the groups that it leads.

mod parked;

use std::sync::Arc;

use hansa_api::convert::time::from_ms;
use hansa_api::pb::admin;
use hansa_api::pb::node as pb;
use hansa_api::pb::node::node_replication_service_server::NodeReplicationService;
use hansa_api::pb::replication::DifferenceKind;
use hansa_types::id::{GroupId, GroupKind};
use tonic::{Request, Response, Status};

use super::law::Law;
use super::{Lag, Lags, Stream};
use crate::core::remote::{Cursor, Origin};
use crate::shell::{Hosted, Shell};

/// Listed at most in one answer, whatever was asked for.
const LISTED_MAX: usize = 10_000;

/// The internal NodeReplicationService.
#[derive(Clone)]
pub struct NodeReplication {
    pub(crate) shell: Arc<Shell>,
    pub(crate) lags: Lags,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl NodeReplicationService for NodeReplication {
    async fn get_node_replication(
        &self,
        _request: Request<pb::GetNodeReplicationRequest>,
    ) -> Answer<pb::GetNodeReplicationResponse> {
        let outgoing = self.lags.streams().iter().map(|of| self.outgoing(of)).collect();
        let led = self.led();
        let incoming = led.iter().flat_map(|hosted| self.incoming(hosted)).collect();
        Ok(Response::new(pb::GetNodeReplicationResponse { outgoing, incoming }))
    }

    async fn list_node_parked(
        &self,
        request: Request<pb::ListNodeParkedRequest>,
    ) -> Answer<pb::ListNodeParkedResponse> {
        Ok(Response::new(self.list_parked(&request.into_inner())?))
    }

    async fn retry_node_parked(
        &self,
        request: Request<pb::RetryNodeParkedRequest>,
    ) -> Answer<pb::RetryNodeParkedResponse> {
        let due = crate::shell::deadline(&request);
        Ok(Response::new(self.retry(&request.into_inner(), due).await?))
    }

    async fn resolve_node_parked(
        &self,
        request: Request<pb::ResolveNodeParkedRequest>,
    ) -> Answer<pb::ResolveNodeParkedResponse> {
        let due = crate::shell::deadline(&request);
        Ok(Response::new(self.resolve(request.into_inner(), due).await?))
    }

    async fn list_node_replica_differences(
        &self,
        request: Request<pb::ListNodeReplicaDifferencesRequest>,
    ) -> Answer<pb::ListNodeReplicaDifferencesResponse> {
        let asked = request.into_inner();
        let max = LISTED_MAX.min(asked.max as usize);
        let mut answer = pb::ListNodeReplicaDifferencesResponse::default();
        for of in self.lags.streams() {
            let (peer, group, _, stream) = &of;
            if !asked.peer.is_empty() && asked.peer != peer.as_str() {
                continue;
            }
            if !self.compared(stream) {
                answer.not_compared.push(self.outgoing(&of));
            }
            answer.truncated |= stream.truncated;
            for (order, found) in &stream.found {
                if answer.differences.len() >= max {
                    answer.truncated = true;
                    break;
                }
                answer.differences.push(admin::ReplicaDifference {
                    order: self.shell.map.name_of(*order),
                    peer: peer.to_string(),
                    kind: kind(found.kind).into(),
                    home_version: found.home_version,
                    copy_version: found.copy_version,
                    parked: found.parked,
                    found_time: Some(from_ms(found.found_ms)),
                    group: GroupId::new(GroupKind::Orders, *group).number(),
                });
            }
        }
        Ok(Response::new(answer))
    }
}

impl NodeReplication {
    fn led(&self) -> Vec<Arc<Hosted>> {
        let led = self.shell.groups.values().filter(|h| h.group.leadership().borrow().mine);
        led.cloned().collect()
    }

    fn compared(&self, stream: &Stream) -> bool {
        let wall = self.shell.env.clock.wall().ms();
        stream.compared(wall, self.shell.cfg.replicate.compare_ms)
    }

    fn outgoing(
        &self,
        (peer, group, lag, stream): &(hansa_types::region::RegionName, u16, Lag, Stream),
    ) -> admin::OutgoingStream {
        let last = self.shell.groups.get(group);
        let epoch = last.map_or(0, |hosted| hosted.stream_epoch());
        let last = last.map_or(0, |hosted| hosted.group.peek(|machine| machine.state.meta.seq));
        let (swept, end) = stream.sweep.unwrap_or_default();
        // What was so long ago is not known to be so.
        let compared = self.compared(stream);
        admin::OutgoingStream {
            group: GroupId::new(GroupKind::Orders, *group).number(),
            peer: peer.to_string(),
            connected: lag.connected,
            epoch,
            last_sequence: last,
            acknowledged_sequence: if lag.heard { lag.acknowledged } else { 0 },
            heard: lag.heard,
            // Counted anew: a stream that is broken does not count along.
            lag_events: last.saturating_sub(lag.acknowledged),
            lag_ms: lag.ms,
            view_version: stream.view_version,
            purge_pending: stream.purge_pending,
            swept_sequence: swept,
            sweep_end_sequence: end,
            parked_at_peer: stream.parked,
            last_error: stream.last_error.clone(),
            compared_time: compared.then(|| from_ms(stream.compared_ms)),
            differences: if compared { stream.differences } else { 0 },
            differences_truncated: stream.truncated,
            compared_bytes: stream.compared_bytes,
            compared_ms: stream.compared_took_ms,
            node_name: String::new(),
        }
    }

    fn incoming(&self, hosted: &Arc<Hosted>) -> Vec<admin::IncomingStream> {
        let wall = self.shell.env.clock.wall().ms();
        let own = self.shell.map.now().map(|now| Law::of(&now, &self.shell.region));
        let own = own.unwrap_or_default();
        let (group, office) = (hosted.group.id().number(), hosted.office());
        hosted.group.peek(|machine| {
            let remote = &machine.state.remote;
            let stream = |(origin, cursor): (&Origin, &Cursor)| {
                let place = origin.place();
                let heard = self.shell.freshness.current_as_of_ms(*origin, cursor.applied);
                let as_of = cursor.current_as_of_ms.max(heard);
                let told = self.shell.heard.terms(office, place);
                let waits = |events: &[crate::core::remote::ParkedEvent]| {
                    events.iter().any(|parked| parked.origin == *origin)
                };
                let parked = remote.parked.iter().filter(|(_, events)| waits(events)).count();
                let name = self.shell.map.region_name(origin.region);
                admin::IncomingStream {
                    origin: name.map_or_else(String::new, |name| name.to_string()),
                    origin_group: u32::from(origin.group),
                    epoch: origin.epoch,
                    applied_sequence: cursor.applied,
                    current_as_of: (as_of > 0).then(|| from_ms(as_of)),
                    lag_ms: if as_of > 0 { wall.saturating_sub(as_of) } else { 0 },
                    parked_orders: parked as u64,
                    copies: remote.copies_of(place),
                    to_purge: remote.excess(place, |residence| {
                        let own = own.terms.of(residence);
                        told.as_ref().map_or(own, |told| own.within(told, residence))
                    }),
                    view_version: remote.views.get(origin).map_or(0, |views| views.held.version),
                    group,
                }
            };
            let mut streams: Vec<_> = remote.cursors.iter().map(stream).collect();
            streams.sort_by(|a, b| {
                (&a.origin, a.origin_group, a.epoch).cmp(&(&b.origin, b.origin_group, b.epoch))
            });
            streams
        })
    }
}

fn kind(kind: DifferenceKind) -> admin::ReplicaDifferenceKind {
    match kind {
        DifferenceKind::Unspecified => admin::ReplicaDifferenceKind::Unspecified,
        DifferenceKind::Missing => admin::ReplicaDifferenceKind::Missing,
        DifferenceKind::Extra => admin::ReplicaDifferenceKind::Extra,
        DifferenceKind::Stale => admin::ReplicaDifferenceKind::Stale,
        DifferenceKind::Conflicting => admin::ReplicaDifferenceKind::Conflicting,
    }
}
