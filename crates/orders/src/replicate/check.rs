//! What the receiver finds in an envelope before it commits it: defence in depth.

use bytes::Bytes;
use hansa_api::classes::{Allowed, ClassSet, DataClass, Lawful as _};
use hansa_api::convert::id::order_from_bytes;
use hansa_api::pb::replication as wire;
use hansa_api::pb::replication::OrderView;
use hansa_types::country::Country;
use hansa_types::id::{OrderId, OrderName};
use prost::Message;

use super::law::{self, Law};
use crate::core::order::{FORKS_MAX, Fork};
use crate::core::remote::{Fault, RemoteEvent, Shown, Terms};

/// The envelope as an event, with what is wrong with it; `None` for one that names no order.
pub fn event(envelope: &wire::Envelope, told: &Terms, own: &Law) -> Option<RemoteEvent> {
    let order = order_from_bytes(&envelope.order_id).ok()?;
    let mut event = RemoteEvent {
        sequence: envelope.sequence,
        order,
        version: envelope.version,
        view: envelope.view.clone(),
        shown: Shown { terms: told.version, epoch: envelope.ownership_epoch, ..Shown::default() },
        forks: Vec::new(),
        fault: None,
    };
    look(&mut event, told, own);
    match forks(&envelope.forks) {
        Some(forks) => event.forks = forks,
        None => event.fault = Some(Fault::Undecodable),
    }
    if event.fault.is_some() {
        // Not even in the log: what may not be held is not written down first.
        event.view = Bytes::new();
    }
    Some(event)
}

/// From which versions its owners went on with the order; `None` for what no region tells.
fn forks(told: &[wire::Fork]) -> Option<Vec<Fork>> {
    let fork = |of: &wire::Fork| {
        let owner = u16::try_from(of.region).ok()?.try_into().ok()?;
        // Another's is one from here, whatever made it.
        Some(Fork { epoch: of.epoch, owner, version: of.version, restored: false })
    };
    if told.len() > FORKS_MAX {
        return None;
    }
    told.iter().map(fork).collect()
}

/// Looks at an event's view again, under the law of now.
pub fn look(event: &mut RemoteEvent, told: &Terms, own: &Law) {
    let found = view(event.order, event.version, &event.view, told, own);
    (event.shown.residence, event.fault) = match found {
        Ok(residence) => (Some(residence), None),
        Err((residence, fault)) => (residence, Some(fault)),
    };
    event.shown.classes = told.of(event.shown.residence).classes;
    event.shown.raised = own.terms.of(event.shown.residence).raised;
}

fn view(
    id: OrderId,
    version: u64,
    bytes: &Bytes,
    told: &Terms,
    own: &Law,
) -> Result<Country, (Option<Country>, Fault)> {
    let view = OrderView::decode(bytes.clone()).map_err(|_| (None, Fault::Undecodable))?;
    let order = view.order.as_ref().ok_or((None, Fault::Undecodable))?;
    let residence: Country =
        order.residence_country.parse().map_err(|_| (None, Fault::Undecodable))?;
    let named: Option<OrderName> = order.name.parse().ok();
    if named.is_none_or(|name| name.id != id) || order.version != version {
        return Err((Some(residence), Fault::WrongOrder));
    }
    // The wire format drops what it does not know: what comes out shorter held such a field.
    if view.encode_to_vec() != bytes.as_ref() {
        return Err((Some(residence), Fault::UnknownField));
    }
    let mut lesser = view.clone();
    lesser.retain_by(&allowed(residence, told, own));
    match lesser == view {
        true => Ok(residence),
        false => Err((Some(residence), Fault::ForbiddenClass)),
    }
}

/// What both ends' policies allow.
pub fn allowed(residence: Country, told: &Terms, own: &Law) -> Allowed {
    let Some(allowed) = own.allowed(residence) else { return Allowed::default() };
    let told = law::classes(told.of(Some(residence)).classes);
    let both = |class: &DataClass| told.has(*class) && allowed.has(*class);
    let both: ClassSet = DataClass::ALL.into_iter().filter(both).collect();
    allowed.only(both)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_that_no_region_tells_are_not_read() {
        let fork = |n: u64, region| wire::Fork { epoch: n, region, version: 3 * n };
        let told = |n: usize| (1..=n as u64).map(|n| fork(n, 2)).collect::<Vec<_>>();
        let read = forks(&told(FORKS_MAX)).unwrap();
        assert_eq!(read.len(), FORKS_MAX);
        assert!(read.iter().all(|of| of.version == 3 * of.epoch && !of.restored));
        assert!(forks(&told(FORKS_MAX + 1)).is_none(), "more than anybody keeps");
        for region in [0, 1 << 16] {
            assert!(
                forks(&[fork(1, 2), fork(2, region)]).is_none(),
                "no region has number {region}"
            );
        }
    }
}
