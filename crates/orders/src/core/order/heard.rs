//! The requests that an order remembers, for who takes it over.

use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::Order;
use crate::core::keys::Scope;
use crate::core::subjects::KeyOf;

/// One request id with what it did: answers a repeat where its order was taken over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Heard {
    pub scope: Scope,
    pub body: u128,
    /// What the body was fingerprinted with, where that is not the key that seals the order.
    pub under: Option<KeyOf>,
    pub at: LogTime,
    /// Places in the list of shipments, returns or refunds.
    pub first: u16,
    pub count: u16,
}

/// Requests that an order remembers. An older one that is asked again where the order was taken
/// over is in doubt.
pub const REQUESTS_MAX: usize = 64;

/// The time of the oldest request that a list of so many may have forgotten to name: one heard
/// before that is not known to be new.
pub fn forgotten_before(requests: &[Heard]) -> Option<LogTime> {
    let full = requests.len() >= REQUESTS_MAX;
    requests.get(1).filter(|_| full).map(|oldest| oldest.at)
}

impl Order {
    /// Remembers a request that made the order what it is: the first, and the newest.
    pub fn heard(&mut self, heard: Heard) {
        if self.requests.len() == REQUESTS_MAX {
            self.requests.remove(1);
        }
        self.requests.push(heard);
    }
}
