//! Regions whose orders groups keep their books: what they came to in the end.

use hansa_orders::core::order::Order;
use hansa_orders::core::state::State;
use hansa_orders::core::status::{FulfillmentStatus, OrderStatus};

use crate::trace;
use crate::world::Region;

/// What orders and books disagree about on any seat.
pub fn wrong(region: &Region) -> Vec<String> {
    let of = |seat: &std::sync::Arc<crate::host::Seat>| {
        let name = seat.name().to_owned();
        seat.disagreements().into_iter().map(move |what| format!("{name} in the end: {what}"))
    };
    region.seats.iter().flat_map(of).collect()
}

/// Counts how far orders came in their first entry, on one seat that knows.
pub fn count(region: &Region) {
    let seen = region.seats.iter().find_map(|seat| seat.joint_orders(entries).into_iter().next());
    let Some([booked, refused, beside]) = seen else { return };
    trace::count("order booked in its first entry", booked);
    trace::count("order refused in its first entry", refused);
    trace::count("order with a part near and one that is not", beside);
}

fn entries(state: &State) -> [u64; 3] {
    let index = state.meta.settings.index;
    let mut seen = [0; 3];
    for (_, order) in state.orders.iter() {
        let first = order.history.first().filter(|first| first.version == order.base() + 1);
        if let Some(face) = first.map(|first| &first.face) {
            seen[0] += u64::from(face.fulfillment == FulfillmentStatus::Allocated);
            seen[1] += u64::from(face.order == OrderStatus::Rejected);
        }
        seen[2] += u64::from(mixed(order, index));
    }
    seen
}

fn mixed(order: &Order, index: u16) -> bool {
    let near = |near: bool| order.parts.iter().any(|part| (part.group == index) == near);
    near(true) && near(false)
}
