//! What a client keeps of its requests, so that a repeat, also one of a later run, says when the
//! request was first sent, and one that nobody can answer for is not sent twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use super::core::request;

/// One client's; clones are one memory.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// By request id.
    requests: BTreeMap<String, Sent>,
    /// By invoice.
    orders: BTreeMap<String, Accepted>,
}

#[derive(Debug)]
struct Sent {
    first_ms: u64,
    /// The id under which it was sent after a doubt.
    instead: Option<String>,
}

/// An order that the league confirmed to its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub name: String,
    /// When that was first heard.
    pub at: Instant,
}

impl Memory {
    /// The id under which a request is sent now.
    pub fn id(&self, id: &str) -> String {
        let kept = self.lock();
        let mut now = id;
        while let Some(next) = kept.requests.get(now).and_then(|sent| sent.instead.as_deref()) {
            now = next;
        }
        now.to_owned()
    }

    /// When a request was first sent, Unix milliseconds: now, if it never was.
    pub fn first_sent(&self, id: &str) -> u64 {
        let mut kept = self.lock();
        let fresh = || Sent { first_ms: now_ms(), instead: None };
        kept.requests.entry(id.to_owned()).or_insert_with(fresh).first_ms
    }

    /// Gives a request up whose effect was looked for and is not there; its next id.
    pub fn instead(&self, id: &str) -> String {
        let next = request::instead(id).to_string();
        if let Some(sent) = self.lock().requests.get_mut(id) {
            sent.instead = Some(next.clone());
        }
        next
    }

    /// How many requests were given up.
    #[must_use]
    pub fn doubts(&self) -> usize {
        self.lock().requests.values().filter(|sent| sent.instead.is_some()).count()
    }

    pub fn accepted(&self, invoice: &str, name: &str) {
        let fresh = || Accepted { name: name.to_owned(), at: Instant::now() };
        self.lock().orders.entry(invoice.to_owned()).or_insert_with(fresh);
    }

    /// Orders that were confirmed, by invoice.
    #[must_use]
    pub fn orders(&self) -> BTreeMap<String, Accepted> {
        self.lock().orders.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_keeps_its_first_time_and_its_last_id() {
        let memory = Memory::default();
        let first = memory.first_sent("a");
        assert_eq!((memory.id("a").as_str(), memory.first_sent("a")), ("a", first));
        let next = memory.instead("a");
        assert_ne!(next, "a");
        assert!(memory.first_sent(&next) >= first);
        let last = memory.instead(&next);
        assert_eq!((memory.id("a"), memory.doubts()), (last, 2));
        assert_eq!(memory.first_sent("a"), first);
    }

    #[test]
    fn an_order_is_accepted_once() {
        let memory = Memory::default();
        memory.accepted("536365", "regions/eu-west/orders/1");
        let first = memory.orders();
        memory.accepted("536365", "regions/eu-west/orders/2");
        assert_eq!(memory.orders(), first);
    }
}
