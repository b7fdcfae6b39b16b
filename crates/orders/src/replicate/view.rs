//! The one typed door out of a region: an order reduced to what a peer may store.

use bytes::Bytes;
use hansa_api::classes::{Allowed, DataClass, Lawful as _};
use hansa_api::convert::id::order_to_bytes;
use hansa_api::pb::replication as wire;
use hansa_api::pb::replication::{Envelope, OrderView};
use hansa_types::id::{OrderId, TransferId};
use prost::Message;

use crate::core::contents::Contents;
use crate::core::order::{Movement, Order, Refund};
use crate::shell::Shell;
use crate::wire as show;

/// The order's envelope for a peer that may hold `allowed`, under its last event.
///
/// The same order and version give the same bytes, whichever node builds them: all that a view
/// shows changes with the version only. A lesser view is a wider one with fields cleared, so that
/// a peer that must give something up comes to the same bytes by itself.
pub fn envelope(
    shell: &Shell,
    id: OrderId,
    order: &Order,
    contents: &Contents,
    allowed: &Allowed,
) -> Envelope {
    let mut shown = show::order(shell, id, order, contents);
    if !contents.guest {
        shown.customer_pseudonym = format!("cp-{:032x}", contents.sealed_with.subject.hash);
    }
    // The envelope says it: one version is one content, in whichever epoch it is shipped.
    shown.epoch = 0;
    let mut view = OrderView {
        order: Some(shown),
        event_sequence: order.version,
        sealed: allowed.has(DataClass::Personal).then(|| sealed(contents)).flatten(),
        succession: allowed.has(DataClass::Financial).then(|| succession(order, contents)),
    };
    view.retain_by(allowed);
    Envelope {
        order_id: order_to_bytes(id),
        sequence: order.last_seq,
        version: order.version,
        view: Bytes::from(view.encode_to_vec()),
        ..Envelope::default()
    }
}

fn sealed(contents: &Contents) -> Option<wire::SealedBlock> {
    let block = contents.personal.as_ref()?;
    let of = contents.sealed_with;
    Some(wire::SealedBlock {
        nonce: Bytes::copy_from_slice(&block.nonce),
        ciphertext: block.ciphertext.clone(),
        home: u32::from(of.subject.home.get()),
        subject: Bytes::copy_from_slice(&of.subject.hash.to_be_bytes()),
        generation: of.generation,
    })
}

/// Only what the version shows: a step under way is asked of the provider by who takes over.
fn succession(order: &Order, contents: &Contents) -> wire::Succession {
    let shown = |version: u64| (1..=order.version).contains(&version);
    let moved = |list: &[Movement]| {
        list.iter().filter(|movement| shown(movement.version)).map(movement).collect()
    };
    let refunds = order.refunds.iter().filter(|refund| shown(refund.version));
    wire::Succession {
        payment_token: contents.token.0.clone(),
        caller: contents.caller.clone(),
        request_id: contents.request.to_string(),
        payment_group: u32::from(contents.payment_group),
        refunds: refunds.map(refund).collect(),
        shipments: moved(&order.shipments),
        returns: moved(&order.returns),
        cancel_asked: order.cancel_asked(),
        settled: order.settled,
    }
}

fn refund(refund: &Refund) -> wire::SucceededRefund {
    wire::SucceededRefund {
        id: id_bytes(refund.id),
        amount_minor: refund.amount_minor,
        with: refund.with.map_or_else(Bytes::new, id_bytes),
    }
}

fn movement(movement: &Movement) -> wire::SucceededMovement {
    let line = |(place, units): &(u16, u32)| wire::MovedLine {
        line: u32::from(*place) + 1,
        quantity: *units,
    };
    let note = &movement.note;
    wire::SucceededMovement {
        id: id_bytes(movement.id),
        lines: movement.lines.iter().map(line).collect(),
        warehouse: note.warehouse.as_ref().map_or_else(String::new, ToString::to_string),
        carrier: note.carrier.clone(),
        tracking_code: note.tracking_code.clone(),
    }
}

fn id_bytes(id: TransferId) -> Bytes {
    Bytes::copy_from_slice(&id.to_bytes())
}
