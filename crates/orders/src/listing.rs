//! Listings: a view of one group's orders by customer and time, fed from its events.
//!
//! Everything here can be lost: the feed begins again from nothing. It is fed each second and
//! whenever somebody asks, not with each event: what an order went through in between is one row.

use std::sync::Arc;
use std::time::Duration;

use hansa_consensus::Group;
use hansa_types::id::OrderId;
use hansa_types::time::LogTime;
use hansa_views::{Batch, Entry, Error, Range, View};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::core::state::State;
use crate::core::status::OrderStatus;
use crate::core::subjects::SubjectId;
use crate::machine::OrdersMachine;

/// The version of keys and values below; 1 had customers by their names.
pub const SCHEMA: u32 = 2;
/// Orders put in one batch: apply waits while they are collected.
const FEED_MAX: usize = 512;
/// How often events are taken in that nobody has asked for, and how soon a failed feed is tried
/// again.
const FEED_EVERY: Duration = Duration::from_secs(1);

const BY_CUSTOMER: u8 = b'c';
const BY_TIME: u8 = b't';

/// One group's listing.
#[derive(Clone)]
pub struct Listing {
    view: Arc<dyn View>,
    /// The event up to which the view is fed.
    reached: Arc<watch::Sender<u64>>,
    asked: Arc<Notify>,
}

/// Whose orders.
pub enum Of {
    Customer(SubjectId),
    Everybody,
}

impl Listing {
    pub fn new(view: Arc<dyn View>) -> Self {
        Self { view, reached: Arc::new(watch::Sender::new(0)), asked: Arc::default() }
    }

    pub fn view(&self) -> Arc<dyn View> {
        self.view.clone()
    }

    /// Waits until the view has what was published up to `seq`; `false` if it is too late.
    pub async fn reach(&self, seq: u64, deadline: Instant) -> bool {
        let mut reached = self.reached.subscribe();
        if *reached.borrow_and_update() < seq {
            self.asked.notify_one();
        }
        let waited = tokio::time::timeout_at(deadline, reached.wait_for(|at| *at >= seq)).await;
        matches!(waited, Ok(Ok(_)))
    }

    /// Orders newest first, after `after` if it is given: key, id and status.
    pub fn page(&self, of: &Of, after: Option<&[u8]>, limit: usize) -> Result<Vec<Listed>, Error> {
        let prefix = match of {
            Of::Everybody => vec![BY_TIME],
            Of::Customer(customer) => customer_prefix(*customer),
        };
        let mut range = Range::prefix(&prefix).descending();
        if let Some(after) = after {
            let mut key = prefix.clone();
            key.extend(after);
            range = range.after(&key);
        }
        let entries = self.view.scan(&range, limit)?;
        Ok(entries.into_iter().filter_map(|entry| listed(&prefix, entry)).collect())
    }

    /// Feeds the view for as long as the node runs.
    pub async fn feed(self, group: Group<OrdersMachine>, stop: CancellationToken) {
        let applied = group.applied();
        loop {
            let fed = self.catch_up(&group);
            if let Err(error) = &fed {
                tracing::warn!(group = %group.id(), %error, "listing is built anew");
                self.reached.send_replace(0);
                if let Err(error) = self.view.reset() {
                    tracing::warn!(group = %group.id(), %error, "listing not reset");
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // Whoever asked while it was fed is seen: one ring is kept.
                () = self.asked.notified(), if fed.is_ok() => {}
                () = tokio::time::sleep(FEED_EVERY) => {}
            }
            if applied.has_changed().is_err() {
                return;
            }
        }
    }

    fn catch_up(&self, group: &Group<OrdersMachine>) -> Result<(), Error> {
        loop {
            let last = group.peek(|machine| machine.state.meta.seq);
            let position = self.view.position()?.unwrap_or(0);
            if position > last {
                // A view of another life of this group.
                self.view.reset()?;
                continue;
            }
            let (batch, upto) = group.peek(|machine| batch_after(&machine.state, position));
            if upto == position {
                self.reached.send_replace(position);
                return Ok(());
            }
            self.view.apply(batch, upto)?;
            self.reached.send_replace(upto);
        }
    }
}

/// What the view lacks after event `after`, and how far that reaches.
fn batch_after(state: &State, after: u64) -> (Batch, u64) {
    let mut batch = Batch::default();
    let mut upto = after;
    for (seq, id) in state.changed_after(after).take(FEED_MAX) {
        upto = seq;
        let (Some(order), Some(contents)) = (state.orders.get(&id), state.contents.get(&id)) else {
            continue;
        };
        let tail = tail(order.created, id);
        let value = vec![state_byte(order.order_status(contents))];
        let mut key = vec![BY_TIME];
        key.extend(&tail);
        batch.put(key, value.clone());
        if !contents.guest {
            let mut key = customer_prefix(contents.sealed_with.subject);
            key.extend(&tail);
            batch.put(key, value);
        }
    }
    // An event that is no order's has nothing to list.
    let rest = state.changed_after(upto).next().is_none();
    (batch, if rest { state.meta.seq } else { upto })
}

pub struct Listed {
    /// What a page token carries.
    pub tail: Vec<u8>,
    pub id: OrderId,
    pub state: u8,
}

/// A pseudonym: a view on disk tells no more of customers than the log does.
fn customer_prefix(customer: SubjectId) -> Vec<u8> {
    let mut key = vec![BY_CUSTOMER];
    key.extend(customer.hash.to_be_bytes());
    key
}

fn tail(created: LogTime, id: OrderId) -> Vec<u8> {
    let mut tail = created.ms().to_be_bytes().to_vec();
    tail.extend(id.to_bytes());
    tail
}

fn listed(prefix: &[u8], (key, value): Entry) -> Option<Listed> {
    let tail = key.strip_prefix(prefix)?.to_vec();
    let id = OrderId::from_bytes(tail.get(8..)?.try_into().ok()?).ok()?;
    Some(Listed { tail, id, state: *value.first()? })
}

/// The order that a row of the view is about; `None` for a row that is not one, to its last byte.
pub fn row(key: &[u8], value: &[u8]) -> Option<OrderId> {
    let tail = match key.split_first()? {
        (&BY_TIME, tail) => tail,
        (&BY_CUSTOMER, rest) => rest.get(16..)?,
        _ => return None,
    };
    let id = OrderId::from_bytes(tail.get(8..)?.try_into().ok()?).ok()?;
    matches!(value, [1..=6]).then_some(id)
}

pub fn state_byte(status: OrderStatus) -> u8 {
    match status {
        OrderStatus::Pending => 1,
        OrderStatus::Confirmed => 2,
        OrderStatus::Completed => 3,
        OrderStatus::Rejected => 4,
        OrderStatus::Cancelled => 5,
        OrderStatus::Parked => 6,
    }
}
