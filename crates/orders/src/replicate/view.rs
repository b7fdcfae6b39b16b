//! The one typed door out of a region: an order reduced to what a peer may store.

use bytes::Bytes;
use hansa_api::classes::{Allowed, DataClass, Lawful as _};
use hansa_api::convert::id::order_to_bytes;
use hansa_api::pb::replication as wire;
use hansa_api::pb::replication::{Envelope, OrderView};
use hansa_types::id::{OrderId, TransferId};
use prost::Message;

use crate::core::contents::Contents;
use crate::core::order::{Done, Fork, Heard, Movement, Order, Refund, RefundCause};
use crate::core::subjects::KeyOf;
use crate::shell::Shell;
use crate::wire as show;

/// The order's envelope for a peer that may hold `allowed`, under its last event.
///
/// The same order and version give the same bytes, whichever node builds them: all that a view
/// shows changes with the version only. `epoch`: in which its births are owned, 0 for the stream's.
/// A lesser view is a wider one with fields cleared, so that
/// a peer that must give something up comes to the same bytes by itself.
pub fn envelope(
    shell: &Shell,
    id: OrderId,
    order: &Order,
    contents: &Contents,
    epoch: u64,
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
        ownership_epoch: epoch,
        forks: order.forks.iter().map(fork).collect(),
    }
}

fn fork(fork: &Fork) -> wire::Fork {
    let Fork { epoch, owner, version, restored: _ } = *fork;
    wire::Fork { epoch, region: u32::from(owner.get()), version }
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

/// What a region needs beside the rest to take the order over.
///
/// All of it belongs to the version: every request that is granted makes a new one, and so does
/// every step that comes to its end. How far a step under way is, is asked of the provider, and of
/// nobody else, by who takes over.
///
/// FINANCIAL, so for the failover set alone; what tells whose order it is, for that of PERSONAL.
/// What it takes to answer a repeat there: `requests` hold what was asked, in which body, and what
/// came of it; a body can be compared by who has the customer's data key, which comes in the same
/// stream. The scope of a PlaceOrder names the customer by the home's pseudonym, which no other
/// vault can make: there it is found by `caller` and `request_id`, which stand beside it in the
/// clear, and `subject`, which says whose it is, guests included.
fn succession(order: &Order, contents: &Contents) -> wire::Succession {
    wire::Succession {
        payment_token: contents.token.0.clone(),
        caller: contents.caller.clone(),
        request_id: contents.request.to_string(),
        payment_group: u32::from(contents.payment_group),
        refunds: order.refunds.iter().map(|of| refund(of, order.version)).collect(),
        shipments: order.shipments.iter().map(|of| movement(of, order.version)).collect(),
        returns: order.returns.iter().map(|of| movement(of, order.version)).collect(),
        cancel_asked: order.cancel_asked(),
        settled: order.settled,
        requests: order.requests.iter().map(|of| request(of, contents)).collect(),
        subject: Some(subject(contents)),
    }
}

fn subject(contents: &Contents) -> wire::SucceededSubject {
    let KeyOf { subject, generation } = contents.sealed_with;
    wire::SucceededSubject {
        home: u32::from(subject.home.get()),
        hash: Bytes::copy_from_slice(&subject.hash.to_be_bytes()),
        generation,
        guest: contents.guest,
    }
}

fn request(heard: &Heard, contents: &Contents) -> wire::SucceededRequest {
    let under = heard.under.unwrap_or(contents.sealed_with);
    let foreign = under.subject != contents.sealed_with.subject;
    let hash = Bytes::copy_from_slice(&under.subject.hash.to_be_bytes());
    wire::SucceededRequest {
        scope: Bytes::copy_from_slice(&heard.scope.0.to_be_bytes()),
        body: Bytes::copy_from_slice(&heard.body.to_be_bytes()),
        generation: under.generation,
        home: if foreign { u32::from(under.subject.home.get()) } else { 0 },
        key_subject: if foreign { hash } else { Bytes::new() },
        time_ms: heard.at.ms(),
        first: u32::from(heard.first),
        count: u32::from(heard.count),
    }
}

fn state(done: &Done, shown_in: u64, version: u64) -> i32 {
    let state = match done {
        Done::Done if (1..=version).contains(&shown_in) => wire::SucceededState::Done,
        Done::Done | Done::Outstanding => wire::SucceededState::UnderWay,
        Done::Refused(_) => wire::SucceededState::Refused,
    };
    state.into()
}

fn refund(refund: &Refund, version: u64) -> wire::SucceededRefund {
    let cause = match refund.cause {
        RefundCause::Cancel => wire::SucceededCause::Cancel,
        RefundCause::Return => wire::SucceededCause::Return,
        RefundCause::Asked => wire::SucceededCause::Asked,
    };
    wire::SucceededRefund {
        id: id_bytes(refund.id),
        amount_minor: refund.amount_minor,
        with: refund.with.map_or_else(Bytes::new, id_bytes),
        state: state(&refund.state, refund.version, version),
        cause: cause.into(),
    }
}

fn movement(movement: &Movement, version: u64) -> wire::SucceededMovement {
    let line = |(place, units): &(u16, u32)| wire::MovedLine {
        line: u32::from(*place) + 1,
        quantity: *units,
        elsewhere_quantity: units.saturating_sub(movement.own_units(*place)),
    };
    let note = &movement.note;
    wire::SucceededMovement {
        id: id_bytes(movement.id),
        lines: movement.lines.iter().map(line).collect(),
        warehouse: note.warehouse.as_ref().map_or_else(String::new, ToString::to_string),
        carrier: note.carrier.clone(),
        tracking_code: note.tracking_code.clone(),
        state: state(&movement.state, movement.version, version),
        booked_region: movement.booked.map_or(0, |region| u32::from(region.get())),
    }
}

fn id_bytes(id: TransferId) -> Bytes {
    Bytes::copy_from_slice(&id.to_bytes())
}
