//! GetOrder: the home's truth, or a copy that says how stale it is.

use std::sync::Arc;

use hansa_api::classes::Lawful as _;
use hansa_api::convert::order::GetOrder;
use hansa_api::convert::time::from_ms;
use hansa_api::pb::order as wire;
use hansa_api::pb::replication::OrderView;
use hansa_api::principal::Principal;
use hansa_api::status::{Failure, Reason};
use hansa_types::id::OrderId;
use prost::Message;
use tonic::Request;

use crate::core::contents::Contents;
use crate::shell::{Hosted, Shell, deadline, personal};
use crate::wire as show;

pub async fn run(
    shell: &Shell,
    request: Request<wire::GetOrderRequest>,
) -> Result<wire::GetOrderResponse, Failure> {
    let due = deadline(&request);
    let details = personal::sees_details(Principal::of(&request)?);
    let get = GetOrder::try_from(request.into_inner())?;
    let id = shell.map.check_name(&get.order)?;
    if get.local_copy && !shell.keeps(id) {
        return local(shell, id, details).await;
    }
    let hosted = shell.home_of(id)?;
    shell.adopt_first(hosted, id, due).await?;
    let look = |order: &crate::core::order::Order, contents: &Contents| {
        show::order(shell, id, order, contents)
    };
    let mut order = hosted.read(id, due, look).await?;
    personal::reveal(shell, hosted, id, &mut order, details).await?;
    Ok(wire::GetOrderResponse { order: Some(order), staleness: None })
}

/// What there is here of another region's order; with who ordered, if he lives here by now.
async fn local(
    shell: &Shell,
    id: OrderId,
    details: bool,
) -> Result<wire::GetOrderResponse, Failure> {
    let mut answer = found(shell, id)?;
    let keeps = |hosted: &&Arc<Hosted>| {
        hosted.group.serves() && hosted.group.peek(|machine| machine.state.shows_who(id))
    };
    if let (Some(order), Some(hosted)) = (&mut answer.order, shell.groups.values().find(keeps)) {
        personal::reveal(shell, hosted, id, order, details).await?;
        retain_lawful(shell, order);
    }
    Ok(answer)
}

/// The copy that this region has of an order.
///
/// # Errors
/// `ORDER_NOT_FOUND`
pub(super) fn copy(shell: &Shell, id: OrderId) -> Result<wire::Order, Failure> {
    found(shell, id)?.order.ok_or_else(|| Failure::of(Reason::OrderNotFound))
}

fn found(shell: &Shell, id: OrderId) -> Result<wire::GetOrderResponse, Failure> {
    let mut serving = shell.groups.values().filter(|hosted| hosted.group.serves());
    let found = serving.find_map(|hosted| {
        hosted.group.peek(|machine| {
            let remote = &machine.state.remote;
            let copy = remote.copies.get(&id)?;
            let cursor = remote.cursors.get(&copy.origin).copied().unwrap_or_default();
            Some((copy.view.clone(), copy.origin, copy.epoch(), cursor))
        })
    });
    let (view, origin, epoch, cursor) = found.ok_or_else(|| Failure::of(Reason::OrderNotFound))?;
    let view = OrderView::decode(view).map_err(|error| {
        tracing::error!(%error, order = %id, "stored view does not decode");
        Failure::of(Reason::Internal)
    })?;
    // Heard on the stream and not in the log: a bookmark costs no write.
    let heard = shell.freshness.current_as_of_ms(origin, cursor.applied);
    let as_of = cursor.current_as_of_ms.max(heard);
    let staleness = wire::Staleness {
        region: shell.region.to_string(),
        applied_sequence: cursor.applied,
        current_as_of: Some(from_ms(as_of)),
        lag_ms: shell.env.clock.wall().ms().saturating_sub(as_of),
    };
    let mut order = view.order;
    if let Some(order) = &mut order {
        order.epoch = epoch;
        retain_lawful(shell, order);
    }
    Ok(wire::GetOrderResponse { order, staleness: Some(staleness) })
}

/// The law of today also binds what was stored under that of yesterday.
fn retain_lawful(shell: &Shell, order: &mut wire::Order) {
    let residence = order.residence_country.parse().ok();
    let allowed = residence.map(|country| shell.map.allowed(country, &shell.region).0);
    order.retain(allowed.unwrap_or_default());
}
