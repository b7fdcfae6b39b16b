//! The servers' part of a recovery: clients that were not there during the storm and try once
//! each. What an older client's patience adds is not in it.

use std::rc::Rc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hansa_checker::seen::OrderState;

use super::{Board, Caller, LOOK_EVERY, order};
use crate::director::Stage;
use crate::plan::Plan;
use crate::world::Region;

/// A fresh client comes this often until one is served.
const EVERY: Duration = Duration::from_millis(500);
const TRIES_MAX: u32 = 60;
const NUMBER: u32 = 70;

/// From the heal to the first order of a fresh client that is confirmed.
pub async fn run(plan: &Plan, region: &Region, number: usize, board: &Rc<Board>) {
    while board.stage.get() != Stage::Calm {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let healed = board.record.now();
    let mut tries = FuturesUnordered::new();
    for nth in 0..TRIES_MAX {
        tries.push(one(plan, region, NUMBER + number as u32, nth, board));
        let next = tokio::time::sleep(EVERY);
        let mut next = std::pin::pin!(next);
        loop {
            tokio::select! {
                biased;
                Some(served) = tries.next(), if !tries.is_empty() => {
                    if served {
                        let waited = Duration::from_nanos(board.record.now() - healed);
                        board.served.set(board.served.get().max(waited));
                        return;
                    }
                }
                () = &mut next => break,
            }
        }
    }
    board.served.set(Duration::MAX);
}

async fn one(plan: &Plan, region: &Region, client: u32, nth: u32, board: &Rc<Board>) -> bool {
    let caller = Caller::fresh(plan, region, client, nth as usize, board).await;
    let id = format!("q-{client}-{nth}");
    let (place, request) =
        order::asked(region, &id, format!("c-{client}-0"), &[(order::PROBED, 1)], order::PAYS);
    let placed = caller.place(place, request).await;
    placed.is_ok_and(|order| matches!(order.state, OrderState::Confirmed | OrderState::Completed))
}
