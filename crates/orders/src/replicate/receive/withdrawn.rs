//! Orders with which nobody goes on: what was told of them goes again.

use hansa_api::convert::id::order_from_bytes;
use hansa_api::pb::replication::Envelope;
use hansa_api::status::Failure;

use super::Inbound;
use crate::core::command::Command;
use crate::core::remote::{Held, Origin, Reduced, RemoteStep};
use crate::core::state::State;

/// Envelopes that withdraw an order, which have no view, and the others.
pub fn apart(envelopes: &[Envelope]) -> (Vec<Envelope>, Vec<Envelope>) {
    envelopes.iter().cloned().partition(|envelope| envelope.view.is_empty())
}

impl Inbound {
    /// Drops the copies of withdrawn orders.
    pub(super) async fn withdraw(&self, gone: &[Envelope]) -> Result<(), Failure> {
        let origin = self.origin;
        let dropped: Vec<Reduced> = self.hosted.group.peek(|machine| {
            let drop = |envelope| dropped(&machine.state, origin, envelope);
            gone.iter().filter_map(drop).collect()
        });
        if dropped.is_empty() {
            return Ok(());
        }
        tracing::info!(?origin, orders = dropped.len(), "copies of orders that ended dropped");
        self.commit(Command::Remote(RemoteStep::Purge(dropped))).await.map(drop)
    }
}

/// The copy that goes: of who withdraws it, written before he owned its births again, and of births
/// that nobody else is known to own since.
fn dropped(state: &State, origin: Origin, envelope: &Envelope) -> Option<Reduced> {
    let order = order_from_bytes(&envelope.order_id).ok()?;
    let copy = state.remote.copies.get(&order)?;
    let his = copy.origin.place() == origin.place() && order.region() == origin.region;
    let since = envelope.ownership_epoch;
    let over = copy.epoch() < since && !state.births.is_over(order.region(), since);
    let (version, terms) = (copy.version, copy.shown.terms);
    let nothing = Held::default();
    let gone = Reduced { order, version, from: terms, terms, allowed: nothing, view: None };
    (his && over).then_some(gone)
}
