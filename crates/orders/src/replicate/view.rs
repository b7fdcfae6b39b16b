//! The one typed door out of a region: an order reduced to what a peer may store.

use bytes::Bytes;
use hansa_api::classes::{DataClass, Lawful as _};
use hansa_api::convert::id::order_to_bytes;
use hansa_api::pb::replication::{Envelope, OrderView};
use hansa_types::id::OrderId;
use hansa_types::region::RegionName;
use prost::Message;

use crate::core::contents::Contents;
use crate::core::order::Order;
use crate::shell::Shell;
use crate::vault::VaultError;
use crate::wire as show;

/// The order's envelope for `peer`, under its last event.
///
/// The same order and version give the same bytes, whichever node builds them: all that a view
/// shows changes with the version only.
///
/// # Errors
/// There is no key for the pseudonym.
pub fn envelope(
    shell: &Shell,
    peer: &RegionName,
    id: OrderId,
    order: &Order,
    contents: &Contents,
) -> Result<Envelope, VaultError> {
    let (allowed, _) = shell.map.allowed(contents.residence, peer);
    let mut shown = show::order(shell, id, order, contents);
    if let Some(customer) = contents.customer.as_ref().filter(|_| !allowed.has(DataClass::Personal))
    {
        let print = shell.vault.fingerprint("customer pseudonym", customer.as_str().as_bytes())?;
        shown.customer_pseudonym = format!("cp-{print:032x}");
    }
    // The envelope says it: one version is one content, in whichever epoch it is shipped.
    shown.epoch = 0;
    let mut view = OrderView { order: Some(shown), event_sequence: order.version };
    view.retain(allowed);
    Ok(Envelope {
        order_id: order_to_bytes(id),
        sequence: order.last_seq,
        version: order.version,
        view: Bytes::from(view.encode_to_vec()),
    })
}
