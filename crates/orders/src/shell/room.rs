//! Room for orders that gateways bring on streams, of which no gateway has more than a share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::status::{Failure, Reason};
use hansa_types::identity::SpiffeId;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// As many as a listener has calls under way, and of one gateway.
const ALL_MAX: usize = 4_096;
const SHARE_MAX: usize = ALL_MAX / 2;
/// Beyond its share a stream is read all the same, and its orders refused: what nobody reads takes
/// the room of its connection, on which Raft speaks as well.
pub const STREAM_MAX: usize = 4 * ALL_MAX;
/// When to come back with an order for which there is no room, as from a full listener.
const RETRY: Duration = Duration::from_millis(200);

pub struct Room {
    all: Arc<Semaphore>,
    /// By gateway: only nodes of this region get here.
    shares: Mutex<BTreeMap<SpiffeId, Arc<Semaphore>>>,
}

impl Default for Room {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(ALL_MAX)), shares: Mutex::default() }
    }
}

impl Room {
    /// What one gateway may take of it.
    pub fn of(&self, gateway: &SpiffeId) -> Share {
        let fresh = || Arc::new(Semaphore::new(SHARE_MAX));
        let own = self.shares.lock().entry(gateway.clone()).or_insert_with(fresh).clone();
        Share { all: self.all.clone(), own }
    }
}

pub struct Share {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

/// An order that is under way; its end makes room.
pub struct Place(#[expect(dead_code, reason = "held for its drop")] [OwnedSemaphorePermit; 2]);

impl Share {
    /// # Errors
    /// `OVERLOADED`, with when to come back.
    pub fn take(&self) -> Result<Place, Failure> {
        let full = |_| Failure::of(Reason::Overloaded).retry_after(RETRY);
        let own = self.own.clone().try_acquire_owned().map_err(full)?;
        let any = self.all.clone().try_acquire_owned().map_err(full)?;
        Ok(Place([any, own]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_gateway_does_not_have_the_room_of_all() {
        let room = Room::default();
        let share = |name| room.of(&SpiffeId::client("hansa", name).unwrap());
        let one: Vec<_> = std::iter::from_fn(|| share("one").take().ok()).collect();
        assert_eq!(one.len(), SHARE_MAX);
        let refused = share("one").take().err().unwrap();
        assert_eq!((refused.reason(), refused.wait()), (Reason::Overloaded, Some(RETRY)));
        let two: Vec<_> = std::iter::from_fn(|| share("two").take().ok()).collect();
        assert_eq!(one.len() + two.len(), ALL_MAX);
        assert!(share("three").take().is_err());
        drop(one);
        assert!(share("three").take().is_ok() && share("one").take().is_ok());
    }
}
