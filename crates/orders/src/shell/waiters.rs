//! Calls that wait for an order: one register per group, woken from what was applied.

use std::collections::HashMap;
use std::sync::Arc;

use hansa_types::id::OrderId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Who waits for which order. No task and no polling per order: one loop per group wakes.
#[derive(Clone, Default)]
pub struct Waiters {
    by_order: Arc<Mutex<HashMap<OrderId, Seat>>>,
}

struct Seat {
    bell: Arc<Notify>,
    taken: usize,
}

/// A place in the register; left when dropped.
pub struct Waiting {
    waiters: Waiters,
    order: OrderId,
    bell: Arc<Notify>,
}

impl Waiters {
    pub fn join(&self, order: OrderId) -> Waiting {
        let mut by_order = self.by_order.lock();
        let seat = by_order
            .entry(order)
            .or_insert_with(|| Seat { bell: Arc::new(Notify::new()), taken: 0 });
        seat.taken += 1;
        Waiting { waiters: self.clone(), order, bell: seat.bell.clone() }
    }

    /// Wakes all who wait for any of `orders`.
    pub fn wake(&self, orders: impl Iterator<Item = OrderId>) {
        let by_order = self.by_order.lock();
        for order in orders {
            if let Some(seat) = by_order.get(&order) {
                seat.bell.notify_waiters();
            }
        }
    }

    pub fn len(&self) -> usize {
        self.by_order.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_order.lock().is_empty()
    }
}

impl Waiting {
    /// Completes at the next wake after this call, whether polled by then or not.
    pub fn changed(&self) -> OwnedNotified {
        self.bell.clone().notified_owned()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut by_order = self.waiters.by_order.lock();
        if let Some(seat) = by_order.get_mut(&self.order) {
            seat.taken -= 1;
            if seat.taken == 0 {
                by_order.remove(&self.order);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hansa_types::region::{RegionNumber, Slot};
    use hansa_types::time::LogTime;

    use super::*;

    #[tokio::test]
    async fn a_wake_between_looking_and_waiting_is_not_lost() {
        let waiters = Waiters::default();
        let region = RegionNumber::try_from(1).unwrap();
        let order = OrderId::new(LogTime(1), region, Slot::of(b"x"), 1);
        let waiting = waiters.join(order);
        let woken = waiting.changed();
        waiters.wake([order].into_iter());
        woken.await;
        drop(waiting);
        assert!(waiters.is_empty());
    }
}
