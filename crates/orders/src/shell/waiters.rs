//! Calls that wait for an order: one register per group, woken from what was applied.

use std::collections::BTreeMap;
use std::sync::Arc;

use hansa_types::id::OrderId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Who waits for which order. No task and no polling per order: one loop per group wakes.
#[derive(Clone, Default)]
pub struct Waiters {
    by_order: Arc<Mutex<BTreeMap<OrderId, Seat>>>,
}

/// What a call waits for. Most wait for a decision, and are not woken by the steps before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    Change,
    Decision,
}

#[derive(Default)]
struct Seat {
    changed: Arc<Notify>,
    decided: Arc<Notify>,
    taken: usize,
}

/// A place in the register; left when dropped.
pub struct Waiting {
    waiters: Waiters,
    order: OrderId,
    bell: Arc<Notify>,
}

impl Waiters {
    pub fn join(&self, order: OrderId, want: Want) -> Waiting {
        let mut by_order = self.by_order.lock();
        let seat = by_order.entry(order).or_default();
        seat.taken += 1;
        let bell = match want {
            Want::Change => seat.changed.clone(),
            Want::Decision => seat.decided.clone(),
        };
        Waiting { waiters: self.clone(), order, bell }
    }

    /// Wakes those who wait for any of `orders`; with each comes whether it is decided.
    pub fn wake(&self, orders: impl Iterator<Item = (OrderId, bool)>) {
        let by_order = self.by_order.lock();
        for (order, decided) in orders {
            let Some(seat) = by_order.get(&order) else { continue };
            seat.changed.notify_waiters();
            if decided {
                seat.decided.notify_waiters();
            }
        }
    }

    /// Wakes everybody: orders may have left without a word about each.
    pub fn wake_all(&self) {
        for seat in self.by_order.lock().values() {
            seat.changed.notify_waiters();
            seat.decided.notify_waiters();
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

    #[tokio::test(start_paused = true)]
    async fn a_wake_between_looking_and_waiting_is_not_lost() {
        let waiters = Waiters::default();
        let region = RegionNumber::try_from(1).unwrap();
        let order = OrderId::new(LogTime(1), region, Slot::of(b"x"), 1);
        let waiting = waiters.join(order, Want::Change);
        let deciding = waiters.join(order, Want::Decision);
        let (woken, decided) = (waiting.changed(), deciding.changed());
        waiters.wake([(order, false)].into_iter());
        woken.await;
        let short = std::time::Duration::from_millis(10);
        assert!(tokio::time::timeout(short, decided).await.is_err());
        let decided = deciding.changed();
        waiters.wake([(order, true)].into_iter());
        decided.await;
        drop((waiting, deciding));
        assert!(waiters.is_empty());
    }
}
