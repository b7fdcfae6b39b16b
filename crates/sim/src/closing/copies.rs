//! What regions hold of one another's orders, and what a region says of what it ships.

use hansa_api::pb::admin::{
    GetReplicationStatusRequest, ListReplicaDifferencesRequest, OutgoingStream,
    ReplicaDifference as Found,
};
use hansa_api::pb::order::{GetOrderRequest, ReadMode};
use hansa_api::status::{Failure, Reason};
use hansa_checker::final_state::CopySeen;
use hansa_checker::{FinalState, wire};

use super::{CALL_MAX, Reader, at_once};

impl Reader<'_> {
    /// What this region holds of the orders of the others.
    pub(super) async fn copies(&self, state: &mut FinalState) {
        let region = self.region.name.to_string();
        let home = format!("regions/{region}/");
        // Where births change hands they may be another region's now.
        let here = |name: &str| name.starts_with(&home) && state.loss.heirs.is_empty();
        let abroad = |(name, seen): &(&String, &Option<_>)| seen.is_some() && !here(name);
        let names = state.orders.iter().filter(abroad).map(|(name, _)| name.clone());
        let read = names.collect::<Vec<String>>().into_iter().map(|order| async move {
            let read = ReadMode::LocalCopy.into();
            let request = GetOrderRequest { order: order.clone(), read };
            let asked = self.storefront.call(CALL_MAX, |mut services, call| {
                let request = call.request(request.clone());
                async move { services.orders.get_order(request).await }
            });
            (order, asked.await)
        });
        for (order, got) in at_once(read).await {
            let seen = match got {
                Ok(got) => got.order.as_ref().map(wire::order),
                Err(failure) if failure.reason() == Reason::OrderNotFound => None,
                Err(failure) => {
                    state.unread.push(format!("copy of {order} in {region}: {failure}"));
                    continue;
                }
            };
            state.copies.push(CopySeen { region: region.clone(), order, seen });
        }
    }

    /// What this region ships: all of it has arrived, under one law, and was compared. `home`:
    /// births that were taken over by force are where they were.
    pub(super) async fn shipped(&self, home: bool, state: &mut FinalState) {
        let region = self.region.name.to_string();
        let request = GetReplicationStatusRequest { region: region.clone() };
        let asked = self.operator.call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.replication.get_replication_status(request).await }
        });
        let unread = match asked.await {
            Ok(status) => {
                let mut open = None;
                for stream in status.outgoing {
                    open = open.or(self.open(home, stream, state).await);
                }
                open
            }
            Err(failure) => Some(failure.to_string()),
        };
        state.unread.extend(unread.map(|why| format!("streams of {region}: {why}")));
    }

    /// What is not over about a stream.
    async fn open(&self, home: bool, of: OutgoingStream, state: &FinalState) -> Option<String> {
        let pending = of.purge_pending || of.parked_at_peer > 0;
        if of.lag_events > 0 || pending || of.compared_time.is_none() {
            return Some(format!("{of:?}"));
        }
        if of.differences == 0 {
            return None;
        }
        // Until they are home nobody knows that an order of the tail is over.
        let left = |found: &Found| !home && state.loss.may_be_gone(&found.order);
        let found = self.differences(&of.peer).await;
        let told: Vec<String> = found.iter().filter(|found| !left(found)).map(told).collect();
        (!told.is_empty()).then(|| format!("{} in {of:?}", told.join("; ")))
    }

    /// Copies that are not what this region says they should be, as `hansactl` lists them.
    async fn differences(&self, peer: &str) -> Vec<Found> {
        let (region, peer) = (self.region.name.to_string(), peer.to_owned());
        let request = ListReplicaDifferencesRequest { region, peer };
        let asked = self.operator.call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.replication.list_replica_differences(request).await }
        });
        let unread =
            |failure: Failure| vec![Found { order: failure.to_string(), ..Found::default() }];
        asked.await.map_or_else(unread, |answer| answer.differences)
    }
}

fn told(found: &Found) -> String {
    let (kind, parked) = (found.kind(), if found.parked { ", parked" } else { "" });
    let (home, copy) = (found.home_version, found.copy_version);
    format!("{} at {}: {kind:?}, home {home}, copy {copy}{parked}", found.order, found.peer)
}
