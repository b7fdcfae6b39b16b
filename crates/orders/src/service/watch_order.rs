//! WatchOrder: an order's events, ordered, unique, gap-free, from a cursor on.
//!
//! The cursor is the order's own version, which lives in the replicated state: any node of the
//! home, after any restart, can go on from it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use hansa_api::convert::order::{WatchOrder, cursor};
use hansa_api::convert::time::from_log;
use hansa_api::pb::order as wire;
use hansa_api::pb::order::watch_order_response::Item;
use hansa_api::principal::Principal;
use hansa_api::status::{Failure, Reason};
use hansa_types::id::OrderId;
use tokio::time::Instant;
use tonic::{Request, Status};

use crate::core::contents::Contents;
use crate::core::order::Order;
use crate::shell::personal::{self, Shown};
use crate::shell::waiters::{Waiting, Want};
use crate::shell::{Hosted, Shell, deadline};
use crate::wire as show;

/// Silence after which a bookmark says that nothing was missed.
const BOOKMARK: Duration = Duration::from_secs(5);
/// When to ask again once a node has begun to stop: about when another one leads.
const AFRESH: Duration = Duration::from_millis(500);

pub async fn run(
    shell: Arc<Shell>,
    request: Request<wire::WatchOrderRequest>,
) -> Result<impl Stream<Item = Result<wire::WatchOrderResponse, Status>> + use<>, Failure> {
    let due = deadline(&request);
    Principal::of(&request)?;
    if shell.closing.is_cancelled() {
        return Err(Failure::of(Reason::Unavailable).retry_after(AFRESH));
    }
    let watch = WatchOrder::try_from(request.into_inner())?;
    let (id, hosted) = shell.find(&watch.order)?;
    shell.adopt_first(hosted, id, due).await?;
    let hosted = hosted.clone();
    // Linearizable once, so that an acknowledged order is never "not found".
    let version = hosted.read(id, due, |order, _| order.version).await?;
    if watch.after_sequence > version {
        let why = "a cursor of this order";
        return Err(Failure::field(Reason::CursorInvalid, "cursor", why));
    }
    let waiting = hosted.waiters.join(id, Want::Change);
    let (sent, ready) = (watch.after_sequence, VecDeque::new());
    let watcher = Watcher { shell, hosted, waiting, id, sent, ready, ended: false };
    Ok(stream::unfold(watcher, |mut watcher| async move {
        let item = watcher.next().await?;
        Some((item, watcher))
    }))
}

struct Watcher {
    shell: Arc<Shell>,
    hosted: Arc<Hosted>,
    waiting: Waiting,
    id: OrderId,
    /// The last event sent.
    sent: u64,
    ready: VecDeque<wire::WatchOrderResponse>,
    ended: bool,
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<wire::WatchOrderResponse, Status>> {
        if self.ended {
            return None;
        }
        let bookmark = Instant::now() + BOOKMARK;
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(Ok(item));
            }
            let woken = self.waiting.changed();
            match self.look().await {
                Err(failure) => {
                    self.ended = true;
                    return Some(Err(failure.into()));
                }
                Ok(()) if !self.ready.is_empty() => continue,
                Ok(()) => {}
            }
            tokio::select! {
                biased;
                () = self.shell.closing.cancelled() => {
                    self.ended = true;
                    return Some(Err(elsewhere(self.sent).into()));
                }
                () = tokio::time::sleep_until(bookmark) => return Some(self.bookmark()),
                () = woken => {}
            }
        }
    }

    /// A bookmark promises that nothing was missed, which only the leader can.
    fn bookmark(&mut self) -> Result<wire::WatchOrderResponse, Status> {
        let leadership = *self.hosted.group.leadership().borrow();
        if !leadership.mine {
            self.ended = true;
            return Err(Failure::not_leader(leadership.leader).into());
        }
        let sequence = self.sent;
        let item = Some(Item::Bookmark(wire::WatchBookmark { sequence }));
        Ok(wire::WatchOrderResponse { cursor: cursor(sequence), item })
    }

    /// Takes what came after `sent`.
    async fn look(&mut self) -> Result<(), Failure> {
        let (shell, id, sent) = (&self.shell, self.id, self.sent);
        self.hosted.keeps(id)?;
        let items = self
            .hosted
            .look(id, |order, contents| items_after(shell, id, order, contents, sent))?;
        if items.is_empty() {
            return Ok(());
        }
        let shown = personal::shown(shell, &self.hosted, id).await?;
        for (sequence, item) in items {
            self.sent = sequence;
            let item = Some(named(item, &shown));
            self.ready.push_back(wire::WatchOrderResponse { cursor: cursor(sequence), item });
        }
        Ok(())
    }
}

/// The item with its order's customer.
fn named(mut item: Item, shown: &Shown) -> Item {
    let order = match &mut item {
        Item::Event(event) => event.order.as_mut(),
        Item::Compacted(compacted) => compacted.order.as_mut(),
        Item::Bookmark(_) => None,
    };
    if let Some(order) = order {
        shown.put(order, false);
    }
    item
}

/// This node stops: the watch goes on from its cursor wherever the caller is sent next.
fn elsewhere(sent: u64) -> Failure {
    let failure = Failure::new(Reason::Unavailable, "the node is stopping; watch on from cursor");
    failure.with("cursor", cursor(sent)).retry_after(AFRESH)
}

fn items_after(
    shell: &Shell,
    id: OrderId,
    order: &Order,
    contents: &Contents,
    sent: u64,
) -> Vec<(u64, Item)> {
    let oldest = order.history.first().map_or(1, |change| change.version);
    if sent + 1 < oldest {
        let order_now = Some(show::order(shell, id, order, contents));
        let sequence = order.version;
        let compacted = wire::WatchCompacted { sequence, order: order_now };
        return vec![(sequence, Item::Compacted(compacted))];
    }
    let mut before = None;
    let mut items = Vec::new();
    for change in &order.history {
        if change.version > sent {
            let event = wire::OrderEvent {
                sequence: change.version,
                kind: show::kind(before, &change.face).into(),
                event_time: Some(from_log(change.at)),
                order: Some(show::order_at(shell, id, order, contents, change)),
            };
            items.push((change.version, Item::Event(event)));
        }
        before = Some(&change.face);
    }
    items
}
