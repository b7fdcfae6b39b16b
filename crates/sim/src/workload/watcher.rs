//! A client that watches orders: each stream, as far as it came, is judged.

use std::cell::Cell;
use std::time::Duration;

use hansa_api::client::League as Door;
use hansa_api::pb::order::watch_order_response::Item as Wire;
use hansa_api::pb::order::{WatchOrderRequest, WatchOrderResponse};
use hansa_checker::watch::{Item, Stream};
use hansa_checker::wire;
use tonic::{Request, Streaming};

use super::{Board, Known, door};
use crate::dice::Dice;
use crate::plan::Plan;
use crate::trace;
use crate::world::Region;

const OPEN_MAX: Duration = Duration::from_secs(3);
const NUMBER: u32 = 60;
const PART: u64 = 300;
/// Streams of one order, each going on from the last one's cursor.
const LEGS_MAX: u64 = 3;
/// Streams of one run.
const STREAMS_MAX: usize = 200;

/// A watcher of a region's orders.
pub struct Watcher<'a> {
    door: Door,
    number: u32,
    board: &'a Board,
    dice: Dice,
}

impl<'a> Watcher<'a> {
    pub async fn new(plan: &Plan, region: &Region, number: usize, board: &'a Board) -> Self {
        let dice = Dice::of(plan.seed, PART + number as u64);
        let number = NUMBER + number as u32;
        Self { door: door(plan, region, "storefront", number).await, number, board, dice }
    }

    /// Watches one order after the other until the clients stop.
    pub(super) async fn run(mut self, known: Known, stop: &Cell<bool>) {
        while !stop.get() && self.board.streams.borrow().len() < STREAMS_MAX {
            if let Some(order) = known.newest() {
                self.order(&order).await;
            }
            tokio::time::sleep(Duration::from_millis(self.dice.within(50, 400))).await;
        }
    }

    async fn order(&mut self, order: &str) {
        let (mut after, mut cursor) = (0, String::new());
        for leg in 0..self.dice.within(1, LEGS_MAX) {
            let dwell = Duration::from_millis(self.dice.within(200, 2_500));
            // Some turn away in the middle, and go on from there.
            let most =
                if self.dice.one_in(2) { self.dice.within(1, 4) as usize } else { usize::MAX };
            let patience = |stream: &Stream| match stream.items.len() < most {
                true => dwell,
                false => Duration::ZERO,
            };
            let watched = watch(&self.door, self.number, order, after, cursor, patience).await;
            let (stream, last) = watched;
            if leg > 0 && !stream.items.is_empty() {
                trace::count("watch resumed", 1);
            }
            after = sequence(&stream).unwrap_or(after);
            self.board.streams.borrow_mut().push(stream);
            let Some(last) = last else { return };
            cursor = last;
        }
    }
}

/// Opens a stream and takes what comes, each item within the time that `patience` allows after the
/// items so far. The stream, and the cursor of its last item.
pub(crate) async fn watch(
    door: &Door,
    client: u32,
    order: &str,
    after: u64,
    cursor: String,
    patience: impl Fn(&Stream) -> Duration,
) -> (Stream, Option<String>) {
    let mut stream = Stream { order: order.to_owned(), client, after, items: Vec::new() };
    let mut last = None;
    let Some(mut came) = open(door, order, cursor).await else { return (stream, last) };
    trace::count("order watched", 1);
    loop {
        let wait = patience(&stream);
        if wait.is_zero() {
            return (stream, last);
        }
        let item = match tokio::time::timeout(wait, came.message()).await {
            Ok(Ok(Some(item))) => item,
            // It broke off, or nothing more came in time.
            Ok(Ok(None) | Err(_)) | Err(_) => return (stream, last),
        };
        stream.items.extend(item.item.as_ref().and_then(seen));
        last = Some(item.cursor);
    }
}

async fn open(door: &Door, order: &str, cursor: String) -> Option<Streaming<WatchOrderResponse>> {
    let message = WatchOrderRequest { order: order.to_owned(), cursor };
    let asked = door.call(OPEN_MAX, |mut services, _| {
        // Without a deadline: the stream outlives the call that opens it.
        let request = Request::new(message.clone());
        async move { services.orders.watch_order(request).await }
    });
    asked.await.ok()
}

/// The last sequence of a stream.
pub(crate) fn sequence(stream: &Stream) -> Option<u64> {
    stream.items.last().map(|item| match item {
        Item::Event { sequence, .. }
        | Item::Bookmark { sequence }
        | Item::Compacted { sequence, .. } => *sequence,
    })
}

fn seen(item: &Wire) -> Option<Item> {
    let order = |order: &Option<_>| order.as_ref().map(|order| Box::new(wire::order(order)));
    Some(match item {
        Wire::Event(event) => Item::Event {
            sequence: event.sequence,
            kind: event.kind().as_str_name().to_owned(),
            order: order(&event.order)?,
        },
        Wire::Bookmark(bookmark) => Item::Bookmark { sequence: bookmark.sequence },
        Wire::Compacted(compacted) => {
            Item::Compacted { sequence: compacted.sequence, order: order(&compacted.order)? }
        }
    })
}
