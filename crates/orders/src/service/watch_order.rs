//! WatchOrder: an order's events, ordered, unique, gap-free, from a cursor on.
//!
//! The cursor is the order's own version, which lives in the replicated state: any node of the
//! home, after any restart, can go on from it. It names the epoch of whoever told it: what a lost
//! owner told of and nobody else knows is not taken for what its successor did since.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use hansa_api::convert::order::{Cursor, WatchOrder};
use hansa_api::convert::time::from_log;
use hansa_api::pb::order as wire;
use hansa_api::pb::order::watch_order_response::Item;
use hansa_api::principal::Principal;
use hansa_api::status::{Failure, Reason};
use hansa_types::id::OrderId;
use tokio::time::Instant;
use tonic::{Request, Status};

use crate::core::contents::Contents;
use crate::core::order::{Adoption, Order};
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
    let restored = hosted.restored();
    let told = hosted.read(id, due, |order, _| told(order, restored)).await?;
    let ours = |after: Cursor| (after.epoch, after.restored) == (told.epoch, told.restored);
    if watch.after.is_some_and(|after| ours(after) && after.sequence > told.sequence) {
        let why = "a cursor of this order";
        return Err(Failure::field(Reason::CursorInvalid, "cursor", why));
    }
    let waiting = hosted.waiters.join(id, Want::Change);
    let (sent, ready) = (watch.after, VecDeque::new());
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
    sent: Option<Cursor>,
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
        let sequence = self.sent.map_or(0, |sent| sent.sequence);
        let item = Some(Item::Bookmark(wire::WatchBookmark { sequence }));
        Ok(wire::WatchOrderResponse { cursor: text(self.sent), item })
    }

    /// Takes what came after `sent`.
    async fn look(&mut self) -> Result<(), Failure> {
        let (shell, id, sent) = (&self.shell, self.id, self.sent);
        self.hosted.keeps(id)?;
        let restored = self.hosted.restored();
        let look = |order: &Order, contents: &Contents| {
            let items = items_after(shell, id, order, contents, came_to(order, restored, sent));
            (told(order, restored), items)
        };
        let (told, items) = self.hosted.look(id, look)?;
        if items.is_empty() {
            return Ok(());
        }
        let shown = personal::shown(shell, &self.hosted, id).await?;
        for (sequence, item) in items {
            self.sent = Some(Cursor { sequence, ..told });
            let item = Some(named(item, &shown));
            self.ready.push_back(wire::WatchOrderResponse { cursor: text(self.sent), item });
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
fn elsewhere(sent: Option<Cursor>) -> Failure {
    let failure = Failure::new(Reason::Unavailable, "the node is stopping; watch on from cursor");
    failure.with("cursor", text(sent)).retry_after(AFRESH)
}

fn text(cursor: Option<Cursor>) -> String {
    cursor.map_or_else(String::new, |cursor| cursor.to_string())
}

/// The order's last event, as this group tells of it.
fn told(order: &Order, restored: u64) -> Cursor {
    Cursor { sequence: order.version, epoch: order.epoch, restored }
}

/// The last event of the order that a watcher knows; `None` where what he was told may not be what
/// happened: who told him was lost, or came back from a backup, and the sequences that he knows may
/// be other events by now.
fn came_to(order: &Order, restored: u64, sent: Option<Cursor>) -> Option<u64> {
    let Some(sent) = sent else { return Some(0) };
    let told = told(order, restored);
    let ours = (sent.epoch, sent.restored) == (told.epoch, told.restored);
    // What this owner went on from holds all that the one before it had told until then.
    let handed_on =
        |adopted: Adoption| sent.epoch == adopted.ended && sent.sequence <= adopted.version;
    let knows = ours || order.adopted.is_some_and(handed_on);
    knows.then_some(sent.sequence)
}

fn items_after(
    shell: &Shell,
    id: OrderId,
    order: &Order,
    contents: &Contents,
    sent: Option<u64>,
) -> Vec<(u64, Item)> {
    let oldest = order.history.first().map_or(1, |change| change.version);
    let sent = sent.filter(|sent| sent + 1 >= oldest);
    let Some(sent) = sent else {
        let order_now = Some(show::order(shell, id, order, contents));
        let sequence = order.version;
        let compacted = wire::WatchCompacted { sequence, order: order_now };
        return vec![(sequence, Item::Compacted(compacted))];
    };
    let mut before = None;
    let mut items = Vec::new();
    for change in &order.history {
        if change.version > sent {
            let event = wire::OrderEvent {
                sequence: change.version,
                kind: show::kind(before, change).into(),
                event_time: Some(from_log(change.at)),
                order: Some(show::order_at(shell, id, order, contents, change)),
            };
            items.push((change.version, Item::Event(event)));
        }
        before = Some(&change.face);
    }
    items
}
